package tfplan

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// field says where an attribute goes. Where an attribute is a list of blocks,
// block says where the attributes of the first go, or with each those of every.
type field struct {
	from, to string
	as       func(any) any // what ARM calls the value; nil leaves it out
	block    []field
	each     bool
	member   string // the list's elements become objects with this member
	is       any    // a constant, whatever the plan says
}

// writer fills one document.
type writer struct {
	resource    *Resource
	body        map[string]any
	expressions map[string]any
}

// write translates the attributes of a block, and lists those that have no place.
func (w *writer) write(fields []field, n node, to, attribute string, ignored ...string) {
	known := map[string]bool{}
	for _, f := range fields {
		if f.from == "" {
			w.set(join(to, f.to), f.is, attribute)
			continue
		}
		known[f.from] = true
		w.field(f, n.get(f.from), join(to, f.to), join(attribute, f.from))
	}
	values, _ := n.value.(map[string]any)
	for _, key := range sortedKeys(values) {
		if !known[key] && !slices.Contains(ignored, key) && !empty(values[key]) {
			w.resource.Untranslated = append(w.resource.Untranslated, join(attribute, key))
		}
	}
}

func (w *writer) field(f field, n node, to, attribute string) {
	switch {
	case n.hidden():
		w.hide(to, attribute)
	case n.value == nil:
	case f.block != nil && f.each:
		for i := range n.len() {
			w.write(f.block, n.at(i), fmt.Sprintf("%s[%d]", to, i), attribute)
		}
	case f.block != nil:
		if n.len() > 0 {
			w.write(f.block, n.at(0), to, attribute)
		}
	case f.member != "":
		for i := range n.len() {
			at := fmt.Sprintf("%s[%d]", to, i)
			w.set(at, map[string]any{}, attribute)
			w.field(field{}, n.at(i), join(at, f.member), attribute)
		}
	default:
		w.value(f, n, to, attribute)
	}
}

func (w *writer) value(f field, n node, to, attribute string) {
	v := n.value
	if f.as != nil {
		v = f.as(v)
	}
	if v == nil || v == "" {
		return
	}
	w.set(to, v, attribute)
	w.hideInside(n, to, attribute)
}

// hideInside names what is unknown inside a map or list.
func (w *writer) hideInside(n node, to, attribute string) {
	for _, marks := range []any{n.unknown, n.sensitive} {
		switch marks := marks.(type) {
		case map[string]any:
			for _, key := range sortedKeys(marks) {
				w.hideMark(n.get(key), inObject(to, key), attribute)
			}
		case []any:
			for i := range marks {
				w.hideMark(n.at(i), fmt.Sprintf("%s[%d]", to, i), attribute)
			}
		}
	}
}

func (w *writer) hideMark(n node, to, attribute string) {
	if n.hidden() {
		w.unset(to)
		w.hide(to, attribute)
		return
	}
	w.hideInside(n, to, attribute)
}

func (w *writer) hide(to, attribute string) {
	if slices.Contains(w.resource.Unknown, to) {
		return
	}
	w.resource.Unknown = append(w.resource.Unknown, to)
	w.from(to, attribute)
	if address, ok := w.idOf(attribute); ok {
		at := to
		if strings.HasSuffix(to, "imageReference") { // hidden as a whole: which member it has depends on the id
			at += ".id"
		}
		w.resource.Links = append(w.resource.Links, Link{at, to, address})
	}
}

func (w *writer) from(to, attribute string) {
	if w.resource.From == nil {
		w.resource.From = map[string]string{}
	}
	if _, set := w.resource.From[to]; !set {
		w.resource.From[to] = attribute
	}
}

// idOf is the resource whose id an attribute refers to, and to nothing else.
func (w *writer) idOf(attribute string) (string, bool) {
	var at any = w.expressions
	for _, name := range strings.Split(attribute, ".") {
		if list, ok := at.([]any); ok {
			if len(list) != 1 {
				return "", false
			}
			at = list[0]
		}
		at = member(at, name)
	}
	references, _ := member(at, "references").([]any)
	if len(references) != 2 { // Terraform lists a.b.id and a.b
		return "", false
	}
	first, _ := references[0].(string)
	second, _ := references[1].(string)
	if first != second+".id" || strings.HasPrefix(first, "data.") || strings.Count(second, ".") != 1 {
		return "", false
	}
	return second, true
}

// finish makes the document.
func (w *writer) finish() (err error) {
	sort.Strings(w.resource.Unknown)
	w.resource.Body, err = json.Marshal(w.body)
	return err
}

// set puts a value at a path of the document.
func (w *writer) set(to string, v any, attribute string) {
	w.from(to, attribute)
	var root any = w.body
	put(&root, steps(to), v)
}

func put(at *any, path []step, v any) {
	if len(path) == 0 {
		if existing, ok := (*at).(map[string]any); ok {
			if more, ok := v.(map[string]any); ok {
				for k, m := range more {
					existing[k] = m
				}
				return
			}
		}
		*at = v
		return
	}
	if i := path[0].index; i >= 0 {
		list, _ := (*at).([]any)
		for len(list) <= i {
			list = append(list, nil)
		}
		put(&list[i], path[1:], v)
		*at = list
		return
	}
	object, ok := (*at).(map[string]any)
	if !ok {
		object = map[string]any{}
		*at = object
	}
	inner := object[path[0].name]
	put(&inner, path[1:], v)
	object[path[0].name] = inner
}

// unset takes a value out; an element of a list stays, as nothing.
func (w *writer) unset(to string) {
	path := steps(to)
	var at any = w.body
	for i, s := range path {
		last := i == len(path)-1
		switch v := at.(type) {
		case map[string]any:
			if last {
				delete(v, s.name)
			}
			at = v[s.name]
		case []any:
			if s.index < 0 || s.index >= len(v) {
				return
			}
			if last {
				v[s.index] = nil
			}
			at = v[s.index]
		default:
			return
		}
	}
}

// step is a member of an object, or an element of a list; index is -1 for a member.
type step struct {
	name  string
	index int
}

// steps splits a.b[0].c and tags['x'], as this package writes them.
func steps(to string) []step {
	var all []step
	for rest := to; rest != ""; {
		switch {
		case strings.HasPrefix(rest, "['"):
			name, after, _ := strings.Cut(rest[2:], "']")
			all, rest = append(all, step{name, -1}), after
		case rest[0] == '[':
			number, after, _ := strings.Cut(rest[1:], "]")
			i, err := strconv.Atoi(number)
			if err != nil {
				i = -1
			}
			all, rest = append(all, step{number, i}), after
		case rest[0] == '.':
			rest = rest[1:]
		default:
			end := strings.IndexAny(rest, ".[")
			if end < 0 {
				end = len(rest)
			}
			all, rest = append(all, step{rest[:end], -1}), rest[end:]
		}
	}
	return all
}

func inObject(to, key string) string {
	if strings.ContainsAny(key, ".[]' ") || to == "tags" {
		return to + "['" + strings.ReplaceAll(key, "']", "") + "']"
	}
	return join(to, key)
}

func join(a, b string) string {
	switch {
	case a == "":
		return b
	case b == "":
		return a
	}
	return a + "." + b
}

// empty is what an attribute that nobody set looks like.
func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}
