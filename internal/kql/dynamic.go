package kql

import (
	"strings"
	"unsafe"

	"github.com/valyala/fastjson"
)

// bytesText shares b's memory: the caller sees to it that b does not change while
// the text is in use.
func bytesText(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// step is one step into a dynamic value: a name or an index.
type step struct {
	name  string
	index int // if name is "" and isIndex
	at    bool
}

// walk follows steps into a value; what is not there is null.
func walk(v Value, steps []step) Value {
	if len(steps) == 0 {
		return v
	}
	if v.kind != KindDynamic {
		return Null
	}
	if v.list != nil || v.live == nil && v.s == "" {
		s := steps[0]
		if i, ok := position(s, len(v.list)); s.at && ok {
			return walk(v.list[i], steps[1:])
		}
		return Null
	}
	live := v.live
	if live == nil {
		live = parsed(v.s)
	}
	return walkLive(live, steps)
}

func walkLive(live *fastjson.Value, steps []step) Value {
	for _, s := range steps {
		if live == nil {
			return Null
		}
		if s.at {
			items := live.GetArray()
			i, ok := position(s, len(items))
			if !ok {
				return Null
			}
			live = items[i]
			continue
		}
		live = member(live, s.name)
	}
	return fromLive(live)
}

// position counts from the end if the index is negative.
func position(s step, length int) (int, bool) {
	i := s.index
	if i < 0 {
		i += length
	}
	return i, i >= 0 && i < length
}

// member finds a member by its name, and if there is none, by its name in another
// case: documents keep the spelling of whoever wrote them.
func member(v *fastjson.Value, name string) *fastjson.Value {
	o := v.GetObject()
	if o == nil {
		return nil
	}
	if got := o.Get(name); got != nil {
		return got
	}
	var found *fastjson.Value
	o.Visit(func(key []byte, m *fastjson.Value) {
		if found == nil && len(key) == len(name) && strings.EqualFold(bytesText(key), name) {
			found = m
		}
	})
	return found
}

func parsed(text string) *fastjson.Value {
	v, err := fastjson.Parse(text)
	if err != nil {
		return nil
	}
	return v
}

// tree is the parsed form of a dynamic value that is no list of ours.
func (v Value) tree() *fastjson.Value {
	if v.live != nil {
		return v.live
	}
	return parsed(v.s)
}

// items are the elements of a dynamic array; ok is false if it is none.
func (v Value) items() (all []Value, ok bool) {
	if v.kind != KindDynamic {
		return nil, false
	}
	if v.list != nil || v.live == nil && v.s == "" {
		return v.list, true
	}
	t := v.tree()
	if t == nil || t.Type() != fastjson.TypeArray {
		return nil, false
	}
	for _, item := range t.GetArray() {
		all = append(all, fromLive(item))
	}
	return all, true
}

// keys are the names of an object's members.
func (v Value) keys() (all []Value, ok bool) {
	if v.kind != KindDynamic || v.list != nil || v.live == nil && v.s == "" {
		return nil, false
	}
	t := v.tree()
	if t == nil || t.Type() != fastjson.TypeObject {
		return nil, false
	}
	t.GetObject().Visit(func(key []byte, _ *fastjson.Value) { all = append(all, String(string(key))) })
	return all, true
}
