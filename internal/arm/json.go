package arm

import (
	"encoding/json"
	"fmt"
	"strings"
)

// ARM documents are kept as raw JSON. These functions read and change single
// properties and leave everything else, the order of properties included, as it was.
// A path is dotted, such as "properties.storageProfile.osDisk"; its names match
// without regard to case, as ARM's do. (For reading many fields decode into a small
// struct: encoding/json matches names the same way.)

type member struct {
	name  string
	value json.RawMessage
}

func write(ms []member) json.RawMessage {
	size := 2
	for _, m := range ms {
		size += len(m.name) + len(m.value) + 4
	}
	out := append(make(json.RawMessage, 0, size), '{')
	for i, m := range ms {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(AppendString(out, m.name), ':')
		out = append(out, m.value...)
	}
	return append(out, '}')
}

// AppendString appends a text as json.Marshal writes it; few have anything to escape.
func AppendString(out []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(text) // never fails
			return append(out, quoted...)
		}
	}
	return append(append(append(out, '"'), text...), '"')
}

func index(ms []member, name string) int {
	for i, m := range ms {
		if strings.EqualFold(m.name, name) {
			return i
		}
	}
	return -1
}

// Get is the value at path, and false if it or something on the way is missing
// or null.
func Get(doc json.RawMessage, path string) (json.RawMessage, bool) {
	head, rest, more := strings.Cut(path, ".")
	ms, err := members(doc)
	if err != nil {
		return nil, false
	}
	i := index(ms, head)
	if i < 0 || string(ms[i].value) == "null" {
		return nil, false
	}
	if more {
		return Get(ms[i].value, rest)
	}
	return ms[i].value, true
}

// GetString is the string at path, or "".
func GetString(doc json.RawMessage, path string) string {
	var s string
	if v, ok := Get(doc, path); ok {
		_ = json.Unmarshal(v, &s) // not a string: ""
	}
	return s
}

// Set writes value (marshalled unless it is json.RawMessage) at path, making the
// objects on the way, and keeps the case of names that are already there.
// An empty doc counts as {}.
func Set(doc json.RawMessage, path string, value any) (json.RawMessage, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("setting %s: %w", path, err)
	}
	out, err := set(doc, path, raw)
	if err != nil {
		return nil, fmt.Errorf("setting %s: %w", path, err)
	}
	return out, nil
}

func set(doc json.RawMessage, path string, raw json.RawMessage) (json.RawMessage, error) {
	if len(doc) == 0 || string(doc) == "null" {
		doc = json.RawMessage("{}")
	}
	ms, err := members(doc)
	if err != nil {
		return nil, err
	}
	head, rest, more := strings.Cut(path, ".")
	i := index(ms, head)
	if i < 0 {
		ms, i = append(ms, member{name: head}), len(ms)
	}
	if more {
		if raw, err = set(ms[i].value, rest, raw); err != nil {
			return nil, err
		}
	}
	ms[i].value = raw
	return write(ms), nil
}

// Remove takes the property at path out; a missing one is no error.
func Remove(doc json.RawMessage, path string) json.RawMessage {
	ms, err := members(doc)
	if err != nil {
		return doc
	}
	head, rest, more := strings.Cut(path, ".")
	i := index(ms, head)
	switch {
	case i < 0:
		return doc
	case more:
		ms[i].value = Remove(ms[i].value, rest)
	default:
		ms = append(ms[:i], ms[i+1:]...)
	}
	return write(ms)
}

// Merge applies a JSON merge patch (RFC 7396), matching names without regard to case.
func Merge(doc, patch json.RawMessage) (json.RawMessage, error) {
	ps, err := members(patch)
	if err != nil {
		return patch, nil // not an object: replaces
	}
	ms, err := members(doc)
	if err != nil {
		ms = nil
	}
	for _, p := range ps {
		i := index(ms, p.name)
		switch {
		case string(p.value) == "null" && i >= 0:
			ms = append(ms[:i], ms[i+1:]...)
		case string(p.value) == "null":
		default:
			if i < 0 {
				ms, i = append(ms, member{name: p.name}), len(ms)
			}
			if ms[i].value, err = Merge(ms[i].value, p.value); err != nil {
				return nil, err
			}
		}
	}
	return write(ms), nil
}
