package rbac

import (
	"strings"

	"hallmark.dev/hallmark/internal/arm"
)

// Permission is what a role allows: what Actions match and NotActions do not, and
// the same for data. The names are those of role definitions.
type Permission struct {
	Actions        []string `json:"actions"`
	NotActions     []string `json:"notActions"`
	DataActions    []string `json:"dataActions"`
	NotDataActions []string `json:"notDataActions"`
}

// Role is a role definition.
type Role struct {
	ID          string // a GUID
	Permissions []Permission
}

// Assignment gives a principal a role at a scope and everything below.
type Assignment struct {
	PrincipalID string // object id of a principal or group
	RoleID      string // a GUID; a role that does not exist allows nothing
	Scope       arm.ID
}

// Hierarchy says where scopes lie in the tree of management groups.
type Hierarchy interface {
	// Ancestors are the management groups above a scope, not the scope itself.
	Ancestors(scope arm.ID) []arm.ID
}

// Rights is everything that there is to decide by.
type Rights struct {
	Roles       []Role
	Assignments []Assignment
	Groups      map[string][]string // group's object id → its direct members'
	Hierarchy   Hierarchy           // nil: there are no management groups
}

// Who is asking: an object id, and the groups that its token names.
type Who struct {
	ID     string
	Groups []string
}

// Set is compiled Rights. It is immutable and safe for concurrent use.
type Set struct {
	grants    map[string]*grants // by principal, in lower case
	memberOf  map[string][]string
	hierarchy Hierarchy
}

// grants are the assignments of one principal or group.
type grants struct {
	at            map[string][]*role // by the scope's key
	subscriptions map[string]bool    // keys of those with an assignment in them
	management    bool               // some are at management groups
}

type role struct {
	source  []Permission
	control []allowance
	data    []allowance
}

// allowance is one permission of a role: each takes its own exceptions out, not
// those of the role's other ones.
type allowance struct{ yes, no patterns }

// Compile makes a Set. The cost is that of reading everything once.
func Compile(r Rights) *Set {
	s := &Set{grants: map[string]*grants{}, memberOf: memberships(r.Groups), hierarchy: r.Hierarchy}
	roles := map[string]*role{}
	for _, one := range r.Roles {
		roles[strings.ToLower(one.ID)] = compileRole(one)
	}
	for _, a := range r.Assignments {
		if role := roles[strings.ToLower(a.RoleID)]; role != nil && a.PrincipalID != "" {
			s.grant(strings.ToLower(a.PrincipalID), a.Scope, role)
		}
	}
	return s
}

func compileRole(r Role) *role {
	c := &role{source: r.Permissions}
	for _, p := range r.Permissions {
		c.control = append(c.control, allowance{compilePatterns(p.Actions), compilePatterns(p.NotActions)})
		c.data = append(c.data, allowance{compilePatterns(p.DataActions), compilePatterns(p.NotDataActions)})
	}
	return c
}

func (s *Set) grant(principal string, scope arm.ID, r *role) {
	g := s.grants[principal]
	if g == nil {
		g = &grants{at: map[string][]*role{}, subscriptions: map[string]bool{}}
		s.grants[principal] = g
	}
	g.at[scope.Key()] = append(g.at[scope.Key()], r)
	if sub := scope.Subscription(); sub != "" {
		g.subscriptions[arm.SubscriptionID(sub).Key()] = true
	}
	g.management = g.management || scope.Kind() == arm.KindManagementGroup
}

// memberships turns groups around, through all levels. A group in itself does no harm.
func memberships(groups map[string][]string) map[string][]string {
	direct := map[string][]string{}
	for g, members := range groups {
		for _, m := range members {
			direct[strings.ToLower(m)] = append(direct[strings.ToLower(m)], strings.ToLower(g))
		}
	}
	all := map[string][]string{}
	for m := range direct {
		all[m] = closure(direct, m)
	}
	return all
}

func closure(direct map[string][]string, member string) []string {
	seen := map[string]bool{}
	var out []string
	for next := direct[member]; len(next) > 0; {
		var further []string
		for _, g := range next {
			if !seen[g] {
				seen[g] = true
				out = append(out, g)
				further = append(further, direct[g]...)
			}
		}
		next = further
	}
	return out
}
