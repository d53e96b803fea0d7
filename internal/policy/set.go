package policy

// Set is many programs, indexed by the resource types they can hold for. It is
// immutable. A resource of a type that no program names costs one look-up, plus
// the programs that look at every type.
type Set struct {
	byType map[typeKey][]int
	any    []int
	all    []*Program
}

// NewSet indexes programs; verdicts come in their order.
func NewSet(programs []*Program) *Set {
	s := &Set{byType: map[typeKey][]int{}, all: programs}
	for i, p := range programs {
		if p.types == nil {
			s.any = append(s.any, i)
			continue
		}
		seen := map[typeKey]bool{}
		for _, t := range p.types {
			if key := newTypeKey(t); !seen[key] {
				seen[key] = true
				s.byType[key] = append(s.byType[key], i)
			}
		}
	}
	return s
}

// Programs returns the programs of the set; an index given to yield is into it.
func (s *Set) Programs() []*Program { return s.all }

// For calls yield with the index of every program that may hold for the
// resource, in order, until yield returns false.
func (s *Set) For(r *Resource, yield func(i int, p *Program) bool) {
	named, any := s.byType[r.typeKey], s.any
	for len(named) > 0 || len(any) > 0 {
		var i int
		if len(any) == 0 || len(named) > 0 && named[0] < any[0] {
			i, named = named[0], named[1:]
		} else {
			i, any = any[0], any[1:]
		}
		if !yield(i, s.all[i]) {
			return
		}
	}
}
