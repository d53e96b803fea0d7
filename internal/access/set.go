package access

import (
	"fmt"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/directory"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/rbac"
	"hallmark.dev/hallmark/internal/store"
)

// Set is everything that decides who may do what, at one revision. It is immutable.
type Set struct {
	// Epoch is the revision of the last change of rights.
	Epoch     int64
	Rights    *rbac.Set
	Directory *directory.Snapshot
	Hierarchy *assignment.Hierarchy

	definitions map[string]Definition // by GUID
}

// isSource reports whether a change of a document of this type can change a Set.
func isSource(t arm.Type) bool {
	return directory.IsSource(t) || t.Equal(TypeAssignment) || t.Equal(TypeDefinition) ||
		t.Equal(arm.TypeManagementGroup) || t.Equal(assignment.TypeMember)
}

// ReadSet reads what holds in a transaction. Where there is none, ask an Index.
func ReadSet(tx store.ReadTx) (*Set, error) {
	s := &Set{definitions: map[string]Definition{}}
	var err error
	if s.Epoch, err = directory.Epoch(tx); err != nil {
		return nil, err
	}
	if s.Directory, err = directory.Read(tx); err != nil {
		return nil, err
	}
	if s.Hierarchy, err = assignment.ReadHierarchy(tx); err != nil {
		return nil, err
	}
	rights := rbac.Rights{Groups: s.Directory.Members(), Hierarchy: s.Hierarchy}
	if rights.Roles, err = s.readRoles(tx); err != nil {
		return nil, err
	}
	if rights.Assignments, err = readAssignments(tx); err != nil {
		return nil, err
	}
	s.Rights = rbac.Compile(rights)
	return s, nil
}

func (s *Set) readRoles(tx store.ReadTx) (roles []rbac.Role, err error) {
	err = store.Each(tx, store.Query{Type: TypeDefinition}, func(d *store.Document) error {
		def, err := ReadDefinition(d.Body)
		if err != nil {
			return fmt.Errorf("%s: %w", d.ID, err)
		}
		guid := strings.ToLower(d.ARMID().Name())
		s.definitions[guid] = def
		roles = append(roles, rbac.Role{ID: guid, Permissions: def.Permissions})
		return nil
	})
	return roles, err
}

func readAssignments(tx store.ReadTx) (all []rbac.Assignment, err error) {
	err = store.Each(tx, store.Query{Type: TypeAssignment}, func(d *store.Document) error {
		g, err := ReadGrant(d.Body)
		if err != nil {
			return fmt.Errorf("%s: %w", d.ID, err)
		}
		all = append(all, rbac.Assignment{PrincipalID: g.PrincipalID, RoleID: g.RoleID(), Scope: d.ARMID().Scope()})
		return nil
	})
	return all, err
}

// Definition is a role by its GUID, and false if there is none.
func (s *Set) Definition(guid string) (Definition, bool) {
	d, ok := s.definitions[strings.ToLower(guid)]
	return d, ok
}

// Definitions are all roles, by GUID. Do not change them.
func (s *Set) Definitions() map[string]Definition { return s.definitions }

// Who is a caller as rights know it. Somebody of this tenant who is gone is nobody,
// whatever a token that still lives says. A token of another issuer can never stand
// for an object of our own directory: ids that look like one do not count.
func (s *Set) Who(p identity.Principal) rbac.Who {
	kind := s.Directory.Kind(p.ObjectID)
	if p.Issuer == "" {
		if kind != directory.KindServicePrincipal {
			return rbac.Who{}
		}
		return rbac.Who{ID: p.ObjectID}
	}
	who := rbac.Who{}
	if kind == "" || kind == directory.KindUser && s.Directory.Issuer(p.ObjectID) == p.Issuer {
		who.ID = p.ObjectID
	}
	for _, g := range p.Groups.IDs() {
		if s.Directory.Kind(g) == "" {
			who.Groups = append(who.Groups, g)
		}
	}
	return who
}

// Allows reports whether a caller may do an action at a scope or resource.
func (s *Set) Allows(p identity.Principal, action string, scope arm.ID) bool {
	return p == identity.System || s.Rights.Allows(s.Who(p), action, scope)
}

// AssignableAt reports whether a role may be assigned at a scope.
func (s *Set) AssignableAt(d Definition, scope arm.ID) bool {
	for _, text := range d.AssignableScopes {
		if at, err := arm.ParseID(text); err == nil && s.Hierarchy.Contains(at, scope) {
			return true
		}
	}
	return false
}
