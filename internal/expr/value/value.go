// Package value holds the JSON values that expressions and policies compute with:
// a small tagged struct, a strict parser that remembers positions and never
// allocates per value, and the comparison rules of the Azure Policy language.
//
// It is not a general JSON library: it has no struct mapping and no streaming.
// Package expr, package policy and their callers may import it.
package value

import (
	"math"
	"slices"
	"strings"
)

// Kind is what a Value is. Undefined, the zero Kind, means "there is no value
// here": a property that does not exist, as opposed to an explicit null.
type Kind uint8

// The kinds of values. JSON numbers without fraction or exponent that fit are
// Int, the rest Float; both are "number" to a user.
const (
	Undefined Kind = iota
	Null
	Bool
	Int
	Float
	String
	Array
	Object
)

// String names the kind in the words of a JSON author.
func (k Kind) String() string {
	return [...]string{"missing value", "null", "boolean", "integer", "number", "string", "array", "object"}[k]
}

// Value is one immutable JSON value or Undefined (the zero Value). Copying it is
// cheap; strings, arrays and objects are shared, never copied. A Value is safe
// for concurrent reading for as long as the Parser it came from is not Reset.
type Value struct {
	str  string
	box  *box
	num  uint64
	pos  uint32
	kind Kind
}

// box holds what an array or object contains, in source order.
type box struct {
	elems   []Value
	members []member
	hashes  []uint32 // of the members' keys, side by side so that a search stays in the cache
	folded  bool     // keys match ignoring ASCII case: an ARM resource document
}

type member struct {
	key string
	pos uint32
	val Value
}

func (b *box) add(m member) {
	b.members = append(b.members, m)
	b.hashes = append(b.hashes, keyHash(m.key))
}

// NullValue is the JSON null.
var NullValue = Value{kind: Null}

// FromBool returns a JSON boolean.
func FromBool(b bool) Value {
	v := Value{kind: Bool}
	if b {
		v.num = 1
	}
	return v
}

// FromInt returns an integer.
func FromInt(i int64) Value { return Value{kind: Int, num: uint64(i)} }

// FromFloat returns a number; one that is integral and exactly representable
// becomes an Int, so that 2.0 prints as 2.
func FromFloat(f float64) Value {
	if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return FromInt(int64(f))
	}
	return Value{kind: Float, num: math.Float64bits(f)}
}

// FromString returns a string.
func FromString(s string) Value { return Value{kind: String, str: s} }

// FromSlice returns an array; it keeps elems.
func FromSlice(elems []Value) Value { return Value{kind: Array, box: &box{elems: elems}} }

// Field is one member of an object under construction.
type Field struct {
	Key   string
	Value Value
}

// FromFields returns an object with the fields in the order given; of two equal
// keys the later wins.
func FromFields(fields []Field) Value {
	b := &box{members: make([]member, 0, len(fields)), hashes: make([]uint32, 0, len(fields))}
	seen := map[string]int{}
	for _, f := range fields {
		m := member{key: f.Key, val: f.Value}
		if at, ok := seen[f.Key]; ok {
			b.members[at] = m
			continue
		}
		seen[f.Key] = len(b.members)
		b.add(m)
	}
	return Value{kind: Object, box: b}
}

// Kind returns what v is.
func (v Value) Kind() Kind { return v.kind }

// IsUndefined reports that there is no value.
func (v Value) IsUndefined() bool { return v.kind == Undefined }

// IsNothing reports that v is null or no value at all.
func (v Value) IsNothing() bool { return v.kind <= Null }

// IsNumber reports that v is an Int or a Float.
func (v Value) IsNumber() bool { return v.kind == Int || v.kind == Float }

// IsTrue reports that v is exactly the boolean true.
func (v Value) IsTrue() bool { return v.kind == Bool && v.num == 1 }

// Str returns the text of a String, "" for any other kind.
func (v Value) Str() string { return v.str }

// Int64 returns the integer of an Int, 0 for any other kind.
func (v Value) Int64() int64 {
	if v.kind != Int {
		return 0
	}
	return int64(v.num)
}

// Float64 returns a number as a float, 0 for any other kind.
func (v Value) Float64() float64 {
	switch v.kind {
	case Int:
		return float64(int64(v.num))
	case Float:
		return math.Float64frombits(v.num)
	}
	return 0
}

// Pos returns the byte offset at which the value stood in the parsed text; 0
// for a computed value.
func (v Value) Pos() int { return int(v.pos) }

// Len returns the number of elements of an array or members of an object.
func (v Value) Len() int {
	switch v.kind {
	case Array:
		return len(v.box.elems)
	case Object:
		return len(v.box.members)
	}
	return 0
}

// At returns the element or member value at i, Undefined when out of range.
func (v Value) At(i int) Value {
	switch {
	case i < 0:
	case v.kind == Array && i < len(v.box.elems):
		return v.box.elems[i]
	case v.kind == Object && i < len(v.box.members):
		return v.box.members[i].val
	}
	return Value{}
}

// Elems returns an array's elements, nil for any other kind. The caller must not
// change the slice.
func (v Value) Elems() []Value {
	if v.kind != Array {
		return nil
	}
	return v.box.elems
}

// Key returns the key of an object's member at i; i must be in range.
func (v Value) Key(i int) string { return v.box.members[i].key }

// KeyPos returns the byte offset of the key of the member at i.
func (v Value) KeyPos(i int) int { return int(v.box.members[i].pos) }

// Get returns the member with exactly this key; in a document parsed as a
// resource a key that differs in ASCII case is found too.
func (v Value) Get(key string) Value {
	if v.kind != Object {
		return Value{}
	}
	for i := len(v.box.members) - 1; i >= 0; i-- {
		if v.box.members[i].key == key {
			return v.box.members[i].val
		}
	}
	if v.box.folded {
		return v.Find(NewKey(key))
	}
	return Value{}
}

// Key is a member name prepared for lookups that ignore ASCII case.
type Key struct {
	Name string
	hash uint32
}

// NewKey prepares a name.
func NewKey(name string) Key { return Key{Name: name, hash: keyHash(name)} }

// Find returns the member whose key equals k ignoring ASCII case; of several the
// last. Undefined when v is not an object or has no such key.
func (v Value) Find(k Key) Value {
	if v.kind != Object {
		return Value{}
	}
	return *v.box.find(&k)
}

// Folded returns v with its own keys (not those of nested objects) matching
// ignoring ASCII case.
func (v Value) Folded() Value {
	if v.kind != Object || v.box.folded {
		return v
	}
	v.box = &box{members: v.box.members, hashes: v.box.hashes, folded: true}
	return v
}

// SortedKeys returns an object's keys in byte order.
func (v Value) SortedKeys() []string {
	keys := make([]string, v.Len())
	for i := range keys {
		keys[i] = v.Key(i)
	}
	slices.Sort(keys)
	return keys
}

// EqualASCII compares ignoring the case of ASCII letters only, as property keys do.
func EqualASCII(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(a); i++ {
		if lower[a[i]] != lower[b[i]] {
			return false
		}
	}
	return true
}

// LowerASCII lowers ASCII letters and leaves every other byte alone.
func LowerASCII(s string) string {
	for i := 0; i < len(s); i++ {
		if lower[s[i]] == s[i] {
			continue
		}
		var b strings.Builder
		b.Grow(len(s))
		for j := 0; j < len(s); j++ {
			b.WriteByte(lower[s[j]])
		}
		return b.String()
	}
	return s
}

var lower = func() (table [256]byte) {
	for i := range table {
		table[i] = byte(i)
		if i >= 'A' && i <= 'Z' {
			table[i] += 'a' - 'A'
		}
	}
	return table
}()

// keyHash is equal for keys that are equal ignoring ASCII case. It looks at the
// length and at most 16 bytes; a collision only costs a comparison.
func keyHash(s string) uint32 {
	const fold = 0x2020202020202020
	n := len(s)
	var h uint64
	switch {
	case n >= 8:
		h = (load64(s, 0) | fold) * 0x9e3779b97f4a7c15
		h ^= (load64(s, n-8) | fold) * 0xc2b2ae3d27d4eb4f
	default:
		for i := 0; i < n; i++ {
			h = h<<8 | uint64(s[i]|0x20)
		}
		h *= 0x9e3779b97f4a7c15
	}
	return uint32(h>>32) ^ uint32(n)
}

func load64(s string, i int) uint64 {
	_ = s[i+7]
	return uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
		uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
}
