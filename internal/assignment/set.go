package assignment

import (
	"maps"
	"slices"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
)

// Set is what is effective at one revision of the policies. It is immutable.
type Set struct {
	// Epoch is the revision of the last change of a policy.
	Epoch int64
	// Assignments are all of them, by id.
	Assignments []*Assignment
	Hierarchy   *Hierarchy

	shape      string // of the hierarchy
	byScope    map[string][]*Assignment
	byKey      map[string]*Assignment
	byShort    map[string]*Assignment
	exemptions map[string][]*Exemption // by the assignment's key
}

func newSet() *Set {
	return &Set{byScope: map[string][]*Assignment{}, byKey: map[string]*Assignment{}, byShort: map[string]*Assignment{}, exemptions: map[string][]*Exemption{}}
}

// clone is a set that can be changed and shares all that is in it.
func (s *Set) clone() *Set {
	return &Set{Epoch: s.Epoch, Assignments: s.Assignments, Hierarchy: s.Hierarchy, shape: s.shape, byScope: maps.Clone(s.byScope),
		byKey: maps.Clone(s.byKey), byShort: maps.Clone(s.byShort), exemptions: maps.Clone(s.exemptions)}
}

// put adds an assignment, or replaces what it was.
func (s *Set) put(a *Assignment) {
	scope := a.Scope.Key()
	s.Assignments, s.byScope[scope] = with(s.Assignments, a.docKey, a), with(s.byScope[scope], a.docKey, a)
	s.byKey[a.docKey], s.byShort[a.Key] = a, a
}

// remove takes an assignment out; nothing happens if it is not there.
func (s *Set) remove(key string) {
	a := s.byKey[key]
	if a == nil {
		return
	}
	scope := a.Scope.Key()
	s.Assignments, s.byScope[scope] = with(s.Assignments, key, nil), with(s.byScope[scope], key, nil)
	if len(s.byScope[scope]) == 0 {
		delete(s.byScope, scope)
	}
	delete(s.byKey, key)
	delete(s.byShort, a.Key)
}

// keyed is what is kept in the order of its document's key.
type keyed interface {
	*Assignment | *Exemption
	documentKey() string
}

func (a *Assignment) documentKey() string { return a.docKey }
func (e *Exemption) documentKey() string  { return e.docKey }

// with is a list with one more, another or (nil) none under a key. The list itself stays
// as it is, but for room behind its end.
func with[T keyed](list []T, key string, v T) []T {
	i, found := slices.BinarySearchFunc(list, key, func(have T, key string) int { return strings.Compare(have.documentKey(), key) })
	switch {
	case found && v == nil:
		return slices.Concat(list[:i], list[i+1:])
	case v == nil:
		return list
	case i == len(list):
		return append(list, v)
	case found:
		return slices.Concat(list[:i], []T{v}, list[i+1:])
	}
	return slices.Concat(list[:i], []T{v}, list[i:])
}

// Unchanged reports, inside a transaction, whether this set still is what is
// effective.
func (s *Set) Unchanged(tx store.ReadTx) (bool, error) {
	now, err := epoch(tx)
	return now == s.Epoch, err
}

// Assignment is the one with this id, or nil.
func (s *Set) Assignment(id string) *Assignment {
	return s.byKey[strings.ToLower(strings.TrimSuffix(id, "/"))]
}

// Named is the assignment with this Key, or nil.
func (s *Set) Named(key string) *Assignment { return s.byShort[key] }

// At are the assignments that cover a resource or scope, outermost scope first:
// their scope contains it and none of their notScopes does.
func (s *Set) At(id arm.ID) []*Assignment {
	if len(s.Assignments) == 0 {
		return nil
	}
	var chain []arm.ID
	for at := id; !at.IsRoot() && (at.Equal(id) || at.Kind() != arm.KindManagementGroup); at = at.Parent() {
		chain = append(chain, at)
	}
	chain = append(chain, s.Hierarchy.Ancestors(id)...) // with the group that id hangs on
	var out []*Assignment
	for _, scope := range slices.Backward(chain) {
		for _, a := range s.byScope[scope.Key()] {
			if !s.excluded(a, id) {
				out = append(out, a)
			}
		}
	}
	return out
}

// ByGroup reports whether all resources of a group are covered by the same assignments,
// since none has a scope, or a notScope, inside a group.
func (s *Set) ByGroup() bool {
	inside := func(id arm.ID) bool { return id.Kind() == arm.KindResource }
	return !slices.ContainsFunc(s.Assignments, func(a *Assignment) bool { return inside(a.Scope) || slices.ContainsFunc(a.notScopes, inside) })
}

func (s *Set) excluded(a *Assignment, id arm.ID) bool {
	return slices.ContainsFunc(a.notScopes, func(n arm.ID) bool { return s.Hierarchy.Contains(n, id) })
}

// Covers reports whether an assignment covers a resource.
func (s *Set) Covers(a *Assignment, id arm.ID) bool {
	return s.Hierarchy.Contains(a.Scope, id) && !s.excluded(a, id)
}

// Assignment is an effective assignment with its compiled rules.
type Assignment struct {
	ID         arm.ID
	Scope      arm.ID
	Name       string
	Definition arm.ID // of the definition or initiative
	Initiative bool
	Spec       Spec
	Enforced   bool
	Units      []*Unit
	Location   string
	// Identity is the object id of the managed identity that deploys and changes on
	// the assignment's behalf; "" without one. IdentityOf is the resource whose identity
	// that is: the assignment itself, or a user-assigned identity.
	Identity   string
	IdentityOf arm.ID
	// Key is a short name, the same for the same id: ids are long, and a verdict is
	// kept for each resource and assignment.
	Key string
	// Generation changes whenever a verdict of the assignment could: with its own
	// document, with what it assigns, and with where its scope reaches.
	Generation string
	// Problem says why nothing of the assignment can be evaluated; nil if it can.
	Problem error

	notScopes []arm.ID
	docKey    string
}

// Message is what a user is told who does not comply with a unit: the message for
// the policy, else the assignment's; "" without one.
func (u *Unit) Message() string {
	general := ""
	for _, m := range u.Assignment.Spec.NonComplianceMessages {
		switch {
		case m.PolicyDefinitionReferenceID == "":
			general = m.Message
		case strings.EqualFold(m.PolicyDefinitionReferenceID, u.ReferenceID):
			return m.Message
		}
	}
	return general
}

// Exemption is an exemption that is written down; whether it holds is a question
// of resource and time.
type Exemption struct {
	ID       arm.ID
	Scope    arm.ID
	Category string
	Expires  time.Time // zero: never
	// Owner and Ticket are who answers for it and where that was agreed, of its
	// metadata.
	Owner, Ticket string
	refs          []string
	selectors     []Selectors
	docKey        string
	of            string // the key of the assignment
}

// Exempt is the exemption that holds for a resource and a unit at a time, or nil.
func (s *Set) Exempt(u *Unit, id arm.ID, typ arm.Type, location string, now time.Time) *Exemption {
	for _, e := range s.exemptions[u.Assignment.ID.Key()] {
		if e.holds(s, u, id, target{location: location, typ: typ}, now) {
			return e
		}
	}
	return nil
}

func (e *Exemption) holds(s *Set, u *Unit, id arm.ID, t target, now time.Time) bool {
	switch {
	case !e.Expires.IsZero() && !now.Before(e.Expires):
		return false
	case len(e.refs) > 0 && !slices.ContainsFunc(e.refs, func(r string) bool { return strings.EqualFold(r, u.ReferenceID) }):
		return false
	}
	return s.Hierarchy.Contains(e.Scope, id) && selects(e.selectors, t)
}

// Exemptions are all of an assignment, held or not.
func (s *Set) Exemptions(a *Assignment) []*Exemption { return s.exemptions[a.ID.Key()] }

// Expiring are the exemptions that hold now and end within a time, the soonest first.
func (s *Set) Expiring(now time.Time, within time.Duration) (out []*Exemption) {
	for _, all := range s.exemptions {
		for _, e := range all {
			if now.Before(e.Expires) && e.Expires.Before(now.Add(within)) {
				out = append(out, e)
			}
		}
	}
	slices.SortFunc(out, func(a, b *Exemption) int { return a.Expires.Compare(b.Expires) })
	return out
}
