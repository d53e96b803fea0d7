package value

import "slices"

// With returns a copy of an object in which key has the value; the key of an
// existing member keeps its spelling. Anything but an object counts as an empty
// one.
func (v Value) With(key string, val Value) Value {
	b := &box{}
	if v.kind == Object {
		*b = box{members: slices.Clone(v.box.members), hashes: slices.Clone(v.box.hashes), folded: v.box.folded}
	}
	for i := len(b.members) - 1; i >= 0; i-- {
		if have := &b.members[i]; have.key == key || b.folded && EqualASCII(have.key, key) {
			have.val = val
			return Value{kind: Object, box: b}
		}
	}
	b.add(member{key: key, val: val})
	return Value{kind: Object, box: b}
}

// Without returns a copy of an object that lacks key.
func (v Value) Without(key string) Value {
	if v.kind != Object {
		return v
	}
	b := &box{folded: v.box.folded}
	for _, m := range v.box.members {
		if m.key != key && !(b.folded && EqualASCII(m.key, key)) {
			b.add(m)
		}
	}
	return Value{kind: Object, box: b}
}

// AsResource returns v, and everything in it, with keys that match ignoring
// ASCII case, and without the earlier of equal keys.
func (v Value) AsResource() Value { return v.rebuilt(true) }

// AsPlain returns v, and everything in it, without the earlier of equal keys,
// which a Parser that keeps duplicates leaves in.
func (v Value) AsPlain() Value { return v.rebuilt(false) }

func (v Value) rebuilt(folded bool) Value {
	switch v.kind {
	case Array:
		elems := make([]Value, len(v.box.elems))
		for i, e := range v.box.elems {
			elems[i] = e.rebuilt(folded)
		}
		v.box = &box{elems: elems, folded: folded}
	case Object:
		fields := make([]Field, len(v.box.members))
		for i, m := range v.box.members {
			fields[i] = Field{Key: m.key, Value: m.val.rebuilt(folded)}
		}
		pos := v.pos
		v = FromFields(fields)
		v.pos, v.box.folded = pos, folded
	}
	return v
}
