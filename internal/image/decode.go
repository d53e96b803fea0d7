package image

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// decoder fills structs from a tree and collects every mistake on the way. It
// knows a struct's fields by their json tags, so that names are written once.
type decoder struct {
	file     string
	problems Problems
	places   map[string]Position // path → where its value is
}

func newDecoder(file string) *decoder {
	return &decoder{file: file, places: map[string]Position{}}
}

func (d *decoder) report(pos Position, path, message, hint string) {
	if len(d.problems) < maxProblems {
		d.problems = append(d.problems, Problem{File: d.file, Position: pos, Path: path, Message: message, Hint: hint})
	}
}

// fail reports a mistake at a path; if the path has no place (a missing
// field), at the nearest one around it.
func (d *decoder) fail(path, message, hint string) {
	d.report(d.place(path), path, message, hint)
}

func (d *decoder) place(path string) Position {
	for {
		if pos, ok := d.places[path]; ok || path == "" {
			return pos
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
}

func (d *decoder) value(n *node, path string, into reflect.Value) {
	d.places[path] = n.pos
	if n.kind == kindNull {
		return
	}
	switch target := into.Addr().Interface().(type) {
	case *Lines:
		d.lines(n, path, target)
		return
	case *Duration:
		d.duration(n, path, target)
		return
	case *Variable:
		if n.kind != kindMap && n.kind != kindList {
			target.Default = &n.text
			return
		}
	case *CommandTest:
		if n.kind == kindString {
			target.Run = n.text
			return
		}
	}
	switch into.Kind() {
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		d.value(n, path, into.Elem())
	case reflect.Struct:
		d.object(n, path, into)
	case reflect.Map:
		d.mapping(n, path, into)
	case reflect.Slice:
		d.list(n, path, into)
	default:
		d.scalar(n, path, into)
	}
}

func (d *decoder) wrongKind(n *node, path string, want string) {
	d.report(n.pos, path, fmt.Sprintf("this is %s, but it has to be %s", n.kind, want), "")
}

func (d *decoder) scalar(n *node, path string, into reflect.Value) {
	if n.kind == kindList || n.kind == kindMap {
		d.wrongKind(n, path, scalarName(into.Kind()))
		return
	}
	loose := n.replaced || n.kind != kindString
	switch into.Kind() {
	case reflect.String:
		into.SetString(n.text)
		return
	case reflect.Bool:
		if v, err := strconv.ParseBool(n.text); err == nil && (n.kind == kindBool || n.replaced) {
			into.SetBool(v)
			return
		}
	case reflect.Int:
		if v, err := strconv.ParseInt(n.text, 10, 32); err == nil && loose {
			into.SetInt(v)
			return
		}
	case reflect.Float64:
		if v, err := strconv.ParseFloat(n.text, 64); err == nil && loose {
			into.SetFloat(v)
			return
		}
	}
	d.wrongKind(n, path, scalarName(into.Kind()))
}

func scalarName(k reflect.Kind) string {
	switch k {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	}
	return "text"
}

func (d *decoder) lines(n *node, path string, into *Lines) {
	switch n.kind {
	case kindMap:
		d.wrongKind(n, path, "text or a list of texts")
	case kindList:
		d.list(n, path, reflect.ValueOf(into).Elem())
	default:
		*into = Lines{n.text}
	}
}

func (d *decoder) duration(n *node, path string, into *Duration) {
	if n.kind == kindList || n.kind == kindMap || n.kind == kindBool {
		d.wrongKind(n, path, "a duration such as 10m")
		return
	}
	parsed, err := ParseDuration(n.text)
	if err != nil {
		d.report(n.pos, path, err.Error(), "")
		return
	}
	*into = parsed
}

func (d *decoder) list(n *node, path string, into reflect.Value) {
	if n.kind != kindList {
		d.wrongKind(n, path, "a list")
		return
	}
	out := reflect.MakeSlice(into.Type(), len(n.items), len(n.items))
	for i, item := range n.items {
		d.value(item, fmt.Sprintf("%s[%d]", path, i), out.Index(i))
	}
	into.Set(out)
}

func (d *decoder) mapping(n *node, path string, into reflect.Value) {
	if n.kind != kindMap {
		d.wrongKind(n, path, "a mapping")
		return
	}
	out := reflect.MakeMapWithSize(into.Type(), len(n.fields))
	for i, f := range n.fields {
		d.duplicate(n, i, path)
		element := reflect.New(into.Type().Elem()).Elem()
		d.value(f.value, join(path, f.key), element)
		out.SetMapIndex(reflect.ValueOf(f.key), element)
	}
	into.Set(out)
}

func (d *decoder) object(n *node, path string, into reflect.Value) {
	if n.kind != kindMap {
		d.wrongKind(n, path, "a mapping")
		return
	}
	known := fieldNames(into.Type())
	for i, f := range n.fields {
		d.duplicate(n, i, path)
		index := slices.Index(known, f.key)
		if index < 0 {
			d.report(f.pos, join(path, f.key), "there is no such field", suggest(f.key, known))
			continue
		}
		d.value(f.value, join(path, f.key), into.Field(index))
		if f.value.kind != kindList && f.value.kind != kindMap {
			continue
		}
		d.places[join(path, f.key)] = f.pos // a collection's place is its name
	}
}

// duplicate reports a key that an earlier field of the same mapping has.
func (d *decoder) duplicate(n *node, i int, path string) {
	key := n.fields[i].key
	for _, earlier := range n.fields[:min(i, 1000)] {
		if earlier.key == key {
			d.report(n.fields[i].pos, join(path, key), fmt.Sprintf("this field is here twice; the first is on line %d", earlier.pos.Line), "")
			return
		}
	}
}

// fieldNames are a struct's names in documents; field i has name i.
func fieldNames(t reflect.Type) []string {
	names := make([]string, t.NumField())
	for i := range names {
		names[i], _, _ = strings.Cut(t.Field(i).Tag.Get("json"), ",")
	}
	return names
}

func join(path, key string) string {
	if len(key) > 64 {
		key = key[:64] + "…"
	}
	if path == "" {
		return key
	}
	return path + "." + key
}
