package value

import (
	"math"
	"strconv"
	"unicode/utf8"
)

// AppendJSON appends v as compact JSON, members in source order. Undefined
// prints as null.
func (v Value) AppendJSON(b []byte) []byte { return v.append(b, false) }

// AppendSorted is AppendJSON with the keys of every object in byte order.
func (v Value) AppendSorted(b []byte) []byte { return v.append(b, true) }

// JSON returns v as compact JSON, members in source order.
func (v Value) JSON() string { return string(v.AppendJSON(nil)) }

// MarshalJSON implements json.Marshaler.
func (v Value) MarshalJSON() ([]byte, error) { return v.AppendJSON(nil), nil }

// UnmarshalJSON implements json.Unmarshaler.
func (v *Value) UnmarshalJSON(text []byte) error {
	parsed, err := Parse(string(text))
	*v = parsed
	return err
}

func (v Value) append(b []byte, sorted bool) []byte {
	switch v.kind {
	case Bool:
		return strconv.AppendBool(b, v.num == 1)
	case Int:
		return strconv.AppendInt(b, int64(v.num), 10)
	case Float:
		return appendFloat(b, v.Float64())
	case String:
		return AppendQuoted(b, v.str)
	case Array:
		b = append(b, '[')
		for i, e := range v.box.elems {
			if i > 0 {
				b = append(b, ',')
			}
			b = e.append(b, sorted)
		}
		return append(b, ']')
	case Object:
		return v.appendObject(b, sorted)
	}
	return append(b, "null"...)
}

func (v Value) appendObject(b []byte, sorted bool) []byte {
	b = append(b, '{')
	write := func(i int, key string, val Value) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(AppendQuoted(b, key), ':')
		b = val.append(b, sorted)
	}
	if sorted {
		for i, key := range v.SortedKeys() {
			write(i, key, v.exact(key))
		}
	} else {
		for i := range v.box.members {
			write(i, v.box.members[i].key, v.box.members[i].val)
		}
	}
	return append(b, '}')
}

func (v Value) exact(key string) Value {
	for i := len(v.box.members) - 1; i >= 0; i-- {
		if v.box.members[i].key == key {
			return v.box.members[i].val
		}
	}
	return Value{}
}

// appendFloat writes plain decimals where that stays short, else an exponent.
func appendFloat(b []byte, f float64) []byte {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return append(b, "null"...)
	}
	if abs := math.Abs(f); abs != 0 && (abs < 1e-7 || abs >= 1e21) {
		return strconv.AppendFloat(b, f, 'g', -1, 64)
	}
	return strconv.AppendFloat(b, f, 'f', -1, 64)
}

// AppendQuoted appends s as a JSON string.
func AppendQuoted(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				b = append(append(b, s[start:i]...), "\ufffd"...)
				start = i + 1
			}
			i += size
			continue
		}
		if c >= 0x20 && c != '"' && c != '\\' {
			i++
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		start = i
	}
	return append(append(b, s[start:]...), '"')
}

// Text returns a scalar as text, as like, match and contains see it: a string as
// it is, a number in decimal, a boolean as true or false.
func (v Value) Text() (string, bool) {
	switch v.kind {
	case String:
		return v.str, true
	case Bool, Int, Float:
		return v.JSON(), true
	}
	return "", false
}
