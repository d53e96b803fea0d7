package value

// Segment is one step of a path: a key, or the index of an array's element.
type Segment struct {
	Key   Key
	Index int // -1: by key
}

// missing is what Walk points to where a path leads nowhere.
var missing Value

// Walk follows segments from v and returns a pointer into the tree, never nil;
// it points to an Undefined value where they lead nowhere. The caller must not
// write through it.
func Walk(v *Value, segments []Segment) *Value {
	for i := range segments {
		s := &segments[i]
		if s.Index >= 0 {
			if v.kind != Array || s.Index >= len(v.box.elems) {
				return &missing
			}
			v = &v.box.elems[s.Index]
			continue
		}
		if v.kind != Object {
			return &missing
		}
		v = v.box.find(&s.Key)
	}
	return v
}

// FindIn is Find without copying; it never returns nil.
func FindIn(v *Value, k *Key) *Value {
	if v.kind != Object {
		return &missing
	}
	return v.box.find(k)
}

func (b *box) find(k *Key) *Value {
	for i := len(b.hashes) - 1; i >= 0; i-- {
		if b.hashes[i] == k.hash {
			if m := &b.members[i]; m.key == k.Name || EqualASCII(m.key, k.Name) {
				return &m.val
			}
		}
	}
	return &missing
}
