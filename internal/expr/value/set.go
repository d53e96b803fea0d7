package value

// Set answers the operator in for a constant array, without looking at every
// element where the left value is ASCII text.
type Set struct {
	all   Value
	table []int32 // open addressing; index into texts plus 1
	texts []string
	slow  []Value // elements that only a full comparison can decide
}

// NewSet prepares an array.
func NewSet(array Value) *Set {
	s := &Set{all: array}
	size := 8
	for size < 2*array.Len() {
		size *= 2
	}
	s.table = make([]int32, size)
	for _, e := range array.Elems() {
		if e.kind == String && isASCII(e.str) {
			s.insert(e.str)
		} else if e.kind != Null {
			s.slow = append(s.slow, e)
		}
	}
	return s
}

func (s *Set) insert(text string) {
	mask := uint32(len(s.table) - 1)
	i := keyHash(text) & mask
	for s.table[i] != 0 {
		i = (i + 1) & mask
	}
	s.texts = append(s.texts, text)
	s.table[i] = int32(len(s.texts))
}

// Has reports In(l, array).
func (s *Set) Has(l Value) bool {
	if l.kind != String {
		return In(l, s.all)
	}
	mask := uint32(len(s.table) - 1)
	for i := keyHash(l.str) & mask; s.table[i] != 0; i = (i + 1) & mask {
		if EqualASCII(s.texts[s.table[i]-1], l.str) {
			return true
		}
	}
	if !isASCII(l.str) {
		return In(l, s.all)
	}
	for i := range s.slow {
		if Equal(l, s.slow[i]) {
			return true
		}
	}
	return false
}

// HasEqual reports whether l Equals an element; unlike Has it also compares null.
func (s *Set) HasEqual(l Value) bool {
	if l.kind == String {
		return s.Has(l)
	}
	for _, e := range s.all.box.elems {
		if Equal(l, e) {
			return true
		}
	}
	return false
}
