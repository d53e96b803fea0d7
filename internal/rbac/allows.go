package rbac

import (
	"strings"

	"hallmark.dev/hallmark/internal/arm"
)

// Allows reports whether who may do an action ("Microsoft.Compute/virtualMachines/read")
// at a scope or resource.
func (s *Set) Allows(who Who, action string, scope arm.ID) bool {
	action = strings.ToLower(action)
	return s.each(who, scope, func(r *role) bool { return allowed(r.control, action) }) || s.finds(who, action, scope)
}

// AllowsData is Allows for data actions: what is inside a resource.
func (s *Set) AllowsData(who Who, action string, scope arm.ID) bool {
	action = strings.ToLower(action)
	return s.each(who, scope, func(r *role) bool { return allowed(r.data, action) })
}

// Permissions are those of all roles that who has at a scope, inherited ones included.
func (s *Set) Permissions(who Who, scope arm.ID) []Permission {
	out := []Permission{}
	s.each(who, scope, func(r *role) bool {
		out = append(out, r.source...)
		return false
	})
	return out
}

// MemberOf are the groups that a principal or group is in, at all levels, in lower case.
func (s *Set) MemberOf(id string) []string { return s.memberOf[strings.ToLower(id)] }

func allowed(all []allowance, action string) bool {
	for _, a := range all {
		if a.yes.match(action) && !a.no.match(action) {
			return true
		}
	}
	return false
}

// each calls f with the roles that who has at a scope, until it returns true.
func (s *Set) each(who Who, scope arm.ID, f func(*role) bool) bool {
	key := scope.Key()
	return s.eachGrants(who, func(g *grants) bool { return s.roles(g, key, scope, f) })
}

// eachGrants calls f with what is granted to who and to the groups that it is in.
func (s *Set) eachGrants(who Who, f func(*grants) bool) bool {
	try := func(id string) bool {
		if g := s.grants[id]; g != nil && f(g) {
			return true
		}
		for _, group := range s.memberOf[id] {
			if g := s.grants[group]; g != nil && f(g) {
				return true
			}
		}
		return false
	}
	if who.ID != "" && try(strings.ToLower(who.ID)) {
		return true
	}
	for _, g := range who.Groups {
		if try(strings.ToLower(g)) {
			return true
		}
	}
	return false
}

// roles calls f with what is granted at the scope and at every scope around it: the
// beginnings of the key that end before a slash, the management groups, the tenant.
func (s *Set) roles(g *grants, key string, scope arm.ID, f func(*role) bool) bool {
	for end := len(key); end > 0; end = strings.LastIndexByte(key[:end], '/') {
		if some(g.at[key[:end]], f) {
			return true
		}
	}
	if key != "/" && some(g.at["/"], f) {
		return true
	}
	if !g.management || s.hierarchy == nil {
		return false
	}
	for _, above := range s.hierarchy.Ancestors(scope) {
		if some(g.at[above.Key()], f) {
			return true
		}
	}
	return false
}

func some(roles []*role, f func(*role) bool) bool {
	for _, r := range roles {
		if f(r) {
			return true
		}
	}
	return false
}

// finds lets somebody who has a role somewhere find the way there, as Azure does: see
// that the tenant is there, what it can do, and the subscription that the role is in.
// No client gets to its group otherwise.
func (s *Set) finds(who Who, action string, scope arm.ID) bool {
	switch {
	case scope.IsRoot() && public[action]:
		return s.eachGrants(who, func(*grants) bool { return true })
	case action == ownPermissions:
		return s.each(who, scope, func(*role) bool { return true })
	case scope.Kind() == arm.KindSubscription && navigation[action]:
		key := scope.Key()
		return s.eachGrants(who, func(g *grants) bool { return g.subscriptions[key] })
	}
	return s.builtin(who, action, scope)
}

// builtin: definitions at the tenant are Azure's own ones, which everybody may read.
func (s *Set) builtin(who Who, action string, scope arm.ID) bool {
	return scope.Kind() == arm.KindResource && scope.Scope().IsRoot() && public[action] &&
		s.eachGrants(who, func(*grants) bool { return true })
}

const ownPermissions = "microsoft.authorization/permissions/read"

var navigation = map[string]bool{
	"microsoft.resources/subscriptions/read":           true,
	"microsoft.resources/subscriptions/locations/read": true,
	"microsoft.resources/subscriptions/providers/read": true,
}

var public = map[string]bool{
	"microsoft.resources/tenants/read":                           true,
	"microsoft.resources/subscriptions/providers/read":           true,
	"microsoft.authorization/provideroperations/read":            true,
	"microsoft.authorization/roledefinitions/read":               true,
	"microsoft.authorization/policydefinitions/read":             true,
	"microsoft.authorization/policysetdefinitions/read":          true,
	"microsoft.authorization/policydefinitions/versions/read":    true,
	"microsoft.authorization/policysetdefinitions/versions/read": true,
}
