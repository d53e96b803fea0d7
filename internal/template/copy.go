package template

import (
	"strings"

	"hallmark.dev/hallmark/internal/expr/value"
)

// propertyLoops are the elements of "copy": [{name, count, input}] in an object.
// Anything else named copy is a property like others.
func propertyLoops(key string, v Value) ([]Value, bool) {
	if !strings.EqualFold(key, "copy") || v.Kind() != value.Array || v.Len() == 0 {
		return nil, false
	}
	for _, l := range v.Elems() {
		if get(l, "name").Kind() != value.String || get(l, "count").IsUndefined() || get(l, "input").IsUndefined() {
			return nil, false
		}
	}
	return v.Elems(), true
}

// propertyCopies makes a property of each loop.
func (f *frame) propertyCopies(loops []Value, path string) (fields []value.Field) {
	for i, l := range loops {
		at := element(path, i)
		name := plain(f.tree(get(l, "name"), join(at, "name")))
		fields = append(fields, value.Field{Key: name, Value: f.copies(l, name, at)})
	}
	return fields
}

// copies is the array that a loop makes of its input.
func (f *frame) copies(l Value, name, path string) Value {
	count, open, ok := f.count(l, path)
	if !ok {
		return value.FromSlice(nil)
	}
	if open && f.ctx.Partial { // an array of one element would look as if it were known
		f.open = true
		return get(l, "count")
	}
	var elems []Value
	for i := range count {
		if f.left.bytes < 0 {
			break
		}
		g := *f
		g.loops = append(append([]loop(nil), f.loops...), loop{name: name, index: i, open: open})
		elems = append(elems, g.tree(get(l, "input"), join(path, "input")))
		f.open = f.open || g.open
	}
	f.open = f.open || open
	return value.FromSlice(elems)
}

// count is how many rounds a loop has. Where that is not known it counts as one.
func (f *frame) count(l Value, path string) (n int, open, ok bool) {
	before, was := len(f.problems), f.open
	f.open = false
	v := f.tree(get(l, "count"), join(path, "count"))
	open, f.open = f.open, was
	switch {
	case open:
		return 1, true, true
	case len(f.problems) > before:
		return 0, false, false
	case v.Kind() != value.Int || v.Int64() < 0 || v.Int64() > maxCopies:
		f.add(get(l, "count"), join(path, "count"), "the count of the copy loop is %s; it must be a number from 0 to %d", clip(v.JSON()), maxCopies)
		return 0, false, false
	}
	return int(v.Int64()), false, true
}

// readVariables notes the variables as they are written; loops become one each.
func (s *scope) readVariables(path string) {
	all := get(s.t.root, "variables")
	path = join(path, "variables")
	for i := range all.Len() {
		key, v := all.Key(i), all.At(i)
		if loops, ok := propertyLoops(key, v); ok {
			for j, l := range loops {
				name := get(l, "name").Str()
				s.declare(name, value.FromFields([]value.Field{{Key: loopMark, Value: l}}), element(join(path, key), j))
			}
			continue
		}
		s.declare(key, v, join(path, key))
	}
}

func (s *scope) declare(name string, v Value, path string) {
	key := value.LowerASCII(name)
	s.declared[key], s.paths[key] = v, path
}

// loopMark is the key under which readVariables keeps a variable that is a loop; no
// name in a template has a NUL.
const loopMark = "\x00copy"

// variableLoop is the loop that a declared variable is.
func variableLoop(v Value) (Value, bool) {
	if v.Kind() == value.Object && v.Len() == 1 && v.Key(0) == loopMark {
		return v.At(0), true
	}
	return Value{}, false
}
