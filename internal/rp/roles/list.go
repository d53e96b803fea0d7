package roles

import (
	"context"
	"maps"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/access"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

func nothing(context.Context, *provider.Call) (*provider.Response, error) {
	return provider.JSON(200, map[string]any{"value": []any{}})
}

// listDefinitions lists the roles that can be assigned at the scope; with
// atScopeAndBelow() also those for scopes below it.
func (cfg Config) listDefinitions(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	f, err := parseFilter(c.Request.Query.Get("$filter"), "roleName", "type")
	if err != nil {
		return nil, err
	}
	set, err := cfg.Index.Current(ctx)
	if err != nil {
		return nil, err
	}
	var out []any
	all := set.Definitions()
	for _, id := range slices.Sorted(maps.Keys(all)) {
		d := all[id]
		if !f.definition(d) || !set.AssignableAt(d, c.Scope) && !(f.andBelow && assignableBelow(set, d, c.Scope)) {
			continue
		}
		out = append(out, map[string]any{"id": access.DefinitionAt(c.Scope, id), "type": access.TypeDefinition, "name": id, "properties": d})
	}
	return provider.Page(c, out)
}

func (f filter) definition(d access.Definition) bool {
	name, byName := f.equals["rolename"]
	kind, byKind := f.equals["type"]
	return (!byName || strings.EqualFold(name, d.RoleName)) && (!byKind || strings.EqualFold(kind, d.Type))
}

func assignableBelow(set *access.Set, d access.Definition, scope arm.ID) bool {
	return slices.ContainsFunc(d.AssignableScopes, func(text string) bool {
		id, err := arm.ParseID(text)
		return err == nil && (scope.IsRoot() || set.Hierarchy.Contains(scope, id))
	})
}

// listAssignments lists what is assigned at the scope, above it and below it; with
// atScope() not below. Of those, the ones that the caller may read: who may read at
// the scope sees what is inherited, too.
func (cfg Config) listAssignments(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	f, err := parseFilter(c.Request.Query.Get("$filter"), "principalId", "roleDefinitionId")
	if err != nil {
		return nil, err
	}
	set, err := cfg.Index.Current(ctx)
	if err != nil {
		return nil, err
	}
	docs, err := store.List(ctx, c.Runtime.Store, store.Query{Type: access.TypeAssignment})
	if err != nil {
		return nil, err
	}
	here := c.Allowed(readAssignments, c.Scope)
	var out []any
	for _, d := range docs {
		g, err := access.ReadGrant(d.Body)
		if err != nil {
			return nil, err
		}
		if f.assignment(set, g) && f.reaches(set, c.Scope, d.ARMID().Scope()) && (here || c.Allowed(readAssignments, d.ARMID())) {
			// Clients find the role's name by comparing this with the ids of the roles at the scope.
			body, err := arm.Set(d.Body, "properties.roleDefinitionId", access.DefinitionAt(c.Scope, g.RoleID()))
			if err != nil {
				return nil, err
			}
			out = append(out, body)
		}
	}
	return provider.Page(c, out)
}

const readAssignments = string(access.TypeAssignment) + "/read"

// reaches: at or above the scope, or below it.
func (f filter) reaches(set *access.Set, asked, at arm.ID) bool {
	above := at.IsRoot() || set.Hierarchy.Contains(at, asked)
	return above || !f.atScope && (asked.IsRoot() || set.Hierarchy.Contains(asked, at))
}

func (f filter) assignment(set *access.Set, g access.Grant) bool {
	principal, byPrincipal := f.equals["principalid"]
	role, byRole := f.equals["roledefinitionid"]
	if byPrincipal && !strings.EqualFold(principal, g.PrincipalID) || byRole && !strings.EqualFold(role[strings.LastIndexByte(role, '/')+1:], g.RoleID()) {
		return false
	}
	return f.assignedTo == "" || strings.EqualFold(f.assignedTo, g.PrincipalID) || slices.Contains(set.Rights.MemberOf(f.assignedTo), strings.ToLower(g.PrincipalID))
}

// permissions are those of the caller.
func (cfg Config) permissions(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	set, err := cfg.Index.Current(ctx)
	if err != nil {
		return nil, err
	}
	return provider.JSON(200, map[string]any{"value": set.Rights.Permissions(set.Who(c.Request.Principal), c.Scope)})
}
