package rbac_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/rbac"
)

const (
	me = "11111111-0000-0000-0000-000000000000"
	vm = "/subscriptions/S/resourceGroups/G/providers/Microsoft.Compute/virtualMachines/v"
	mg = "/providers/Microsoft.Management/managementGroups/"
)

// tree says that subscription S lies in child, and child in root.
type tree struct{}

func (tree) Ancestors(id arm.ID) []arm.ID {
	switch {
	case strings.EqualFold(id.Subscription(), "S"):
		return []arm.ID{parse(mg + "child"), parse(mg + "root")}
	case id.Subscription() != "" || id.Equal(parse(mg+"child")):
		return []arm.ID{parse(mg + "root")}
	}
	return nil
}

func builtin(t *testing.T, name string) rbac.Role {
	t.Helper()
	for _, b := range rbac.BuiltIns() {
		if b.Name == name {
			return b.Role
		}
	}
	t.Fatalf("no built-in role %q", name)
	return rbac.Role{}
}

func TestAllows(t *testing.T) {
	for _, c := range []struct {
		name, role, at, action, scope string
		want                          bool
	}{
		{"owner at the tenant", "Owner", "/", "Microsoft.Compute/virtualMachines/write", vm, true},
		{"owner at the group, other case", "Owner", "/SUBSCRIPTIONS/s/resourcegroups/g", "Microsoft.Compute/virtualMachines/delete", vm, true},
		{"owner of a group with a longer name", "Owner", "/subscriptions/S/resourceGroups/GG", "Microsoft.Compute/virtualMachines/write", vm, false},
		{"owner of a group with a shorter name", "Owner", "/subscriptions/S/resourceGroups/G", "x/write", "/subscriptions/S/resourceGroups/GG", false},
		{"owner below does not count above", "Owner", vm, "Microsoft.Resources/subscriptions/resourceGroups/write", "/subscriptions/S/resourceGroups/G", false},
		{"owner of a machine reaches its extensions", "Owner", vm, "x/write", vm + "/extensions/e", true},
		{"owner of the management group above", "Owner", mg + "child", "x/write", vm, true},
		{"owner of the management group above that", "Owner", mg + "root", "x/write", vm, true},
		{"of a subscription that is elsewhere", "Owner", mg + "child", "x/write", "/subscriptions/T", false},
		{"of a management group below", "Owner", mg + "root", "x/write", mg + "child", true},
		{"of one beside", "Owner", mg + "child", "x/write", mg + "root", false},
		{"reader reads", "Reader", "/subscriptions/S", "Microsoft.Compute/virtualMachines/READ", vm, true},
		{"reader does not write", "Reader", "/", "Microsoft.Compute/virtualMachines/write", vm, false},
		{"reader does not act", "Reader", "/", "Microsoft.Compute/virtualMachines/start/action", vm, false},
		{"contributor writes", "Contributor", "/", "Microsoft.Compute/virtualMachines/start/action", vm, true},
		{"contributor gives no role", "Contributor", "/", "Microsoft.Authorization/roleAssignments/write", vm, false},
		{"contributor deletes no policy", "Contributor", "/", "microsoft.authorization/POLICYASSIGNMENTS/delete", vm, false},
		{"contributor shares no gallery", "Contributor", "/", "Microsoft.Compute/galleries/share/action", vm, false},
		{"access administrator gives roles", "User Access Administrator", "/", "Microsoft.Authorization/roleAssignments/write", vm, true},
		{"and creates no machine", "User Access Administrator", "/", "Microsoft.Compute/virtualMachines/write", vm, false},
		{"machine contributor starts", "Virtual Machine Contributor", "/subscriptions/S", "Microsoft.Compute/virtualMachines/start/action", vm, true},
		{"and makes no gallery", "Virtual Machine Contributor", "/subscriptions/S", "Microsoft.Compute/galleries/write", "/subscriptions/S/resourceGroups/G", false},
		{"image reader reads versions", "Compute Gallery Image Reader", "/subscriptions/S", "Microsoft.Compute/galleries/images/versions/read", vm, true},
		{"and no gallery", "Compute Gallery Image Reader", "/subscriptions/S", "Microsoft.Compute/galleries/read", vm, false},
		{"a role in a group shows its subscription", "Reader", "/subscriptions/S/resourceGroups/G", "Microsoft.Resources/subscriptions/read", "/subscriptions/S", true},
		{"but nothing else of it", "Reader", "/subscriptions/S/resourceGroups/G", "Microsoft.Compute/virtualMachines/read", "/subscriptions/S", false},
		{"nor another subscription", "Reader", "/subscriptions/S/resourceGroups/G", "Microsoft.Resources/subscriptions/read", "/subscriptions/T", false},
		{"own permissions", "Compute Gallery Sharing Admin", "/subscriptions/S", "Microsoft.Authorization/permissions/read", vm, true},
		{"not elsewhere", "Compute Gallery Sharing Admin", "/subscriptions/S", "Microsoft.Authorization/permissions/read", "/subscriptions/T", false},
		{"built-in definitions", "Compute Gallery Sharing Admin", vm, "Microsoft.Authorization/roleDefinitions/read", "/providers/Microsoft.Authorization/roleDefinitions/x", true},
	} {
		role := builtin(t, c.role)
		s := rbac.Compile(rbac.Rights{Roles: []rbac.Role{role}, Hierarchy: tree{},
			Assignments: []rbac.Assignment{{PrincipalID: strings.ToUpper(me), RoleID: strings.ToUpper(role.ID), Scope: parse(c.at)}}})
		if got := s.Allows(rbac.Who{ID: me}, c.action, parse(c.scope)); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
		if s.Allows(rbac.Who{ID: "somebody else"}, c.action, parse(c.scope)) || s.Allows(rbac.Who{}, c.action, parse(c.scope)) {
			t.Errorf("%s: somebody else is allowed", c.name)
		}
		if s.AllowsData(rbac.Who{ID: me}, c.action, parse(c.scope)) {
			t.Errorf("%s: a role on the control plane reaches data", c.name)
		}
	}
}

func TestGroups(t *testing.T) {
	owner := builtin(t, "Owner")
	s := rbac.Compile(rbac.Rights{
		Roles:       []rbac.Role{owner},
		Assignments: []rbac.Assignment{{PrincipalID: "outer", RoleID: owner.ID, Scope: arm.Tenant}, {PrincipalID: "claimed", RoleID: owner.ID, Scope: parse(vm)}},
		Groups:      map[string][]string{"outer": {"inner", "outer"}, "inner": {"ME", "outer"}, "other": {"you"}},
	})
	for who, want := range map[string]bool{"me": true, "inner": true, "outer": true, "you": false, "other": false} {
		if got := s.Allows(rbac.Who{ID: who}, "x/write", parse(vm)); got != want {
			t.Errorf("%s: %v", who, got)
		}
	}
	if !s.Allows(rbac.Who{ID: "you", Groups: []string{"CLAIMED"}}, "x/write", parse(vm)) {
		t.Error("a group of the token does not count")
	}
	if !s.Allows(rbac.Who{ID: "you", Groups: []string{"inner"}}, "x/write", arm.Tenant) {
		t.Error("a group of the token is not looked for in other groups")
	}
	if diff := cmp.Diff([]string{"inner", "outer"}, s.MemberOf("Me")); diff != "" {
		t.Error(diff)
	}
}

func TestEachPermissionTakesItsOwnExceptionsOut(t *testing.T) {
	s := rbac.Compile(rbac.Rights{
		Roles: []rbac.Role{{ID: "r", Permissions: []rbac.Permission{
			{Actions: []string{"A/*"}, NotActions: []string{"A/x/*"}},
			{Actions: []string{"A/x/read"}, DataActions: []string{"D/*"}, NotDataActions: []string{"D/w"}},
		}}},
		Assignments: []rbac.Assignment{{PrincipalID: me, RoleID: "r", Scope: arm.Tenant}},
	})
	who := rbac.Who{ID: me}
	got := []bool{s.Allows(who, "A/x/write", arm.Tenant), s.Allows(who, "A/x/read", arm.Tenant), s.AllowsData(who, "d/r", arm.Tenant), s.AllowsData(who, "d/w", arm.Tenant), s.Allows(who, "d/r", arm.Tenant)}
	if want := []bool{false, true, true, false, false}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if n := len(s.Permissions(who, parse(vm))); n != 2 {
		t.Errorf("%d permissions", n)
	}
}

func TestBuiltInsAreWhole(t *testing.T) {
	guid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	ids, names := map[string]bool{}, map[string]bool{}
	for _, b := range rbac.BuiltIns() {
		if !guid.MatchString(b.ID) || ids[b.ID] || names[b.Name] || b.Description == "" || len(b.Permissions) == 0 {
			t.Errorf("%+v", b)
		}
		ids[b.ID], names[b.Name] = true, true
	}
}

// naive is the definition of a decision, with nothing done to make it quick.
func naive(r rbac.Rights, who rbac.Who, action string, data bool, scope arm.ID) bool {
	ids := map[string]bool{who.ID: true}
	for _, g := range who.Groups {
		ids[g] = true
	}
	for range r.Groups {
		for g, members := range r.Groups {
			for _, m := range members {
				ids[g] = ids[g] || ids[m]
			}
		}
	}
	for _, a := range r.Assignments {
		covers := a.Scope.Contains(scope) || slices.ContainsFunc(r.Hierarchy.Ancestors(scope), a.Scope.Equal)
		for _, role := range r.Roles {
			for _, p := range role.Permissions {
				yes, no := p.Actions, p.NotActions
				if data {
					yes, no = p.DataActions, p.NotDataActions
				}
				if ids[a.PrincipalID] && covers && role.ID == a.RoleID && glob(yes, action) && !glob(no, action) {
					return true
				}
			}
		}
	}
	return false
}

func glob(patterns []string, action string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		return regexp.MustCompile(`(?is)^` + strings.ReplaceAll(regexp.QuoteMeta(p), `\*`, `.*`) + `$`).MatchString(action)
	})
}

func TestAllowsWhatTheNaiveEvaluatorAllows(t *testing.T) {
	scopes := []string{"/", mg + "root", mg + "child", "/subscriptions/S", "/subscriptions/T", "/subscriptions/S/resourceGroups/G", "/subscriptions/s/resourcegroups/GG", vm, vm + "/extensions/e", vm + "/providers/Microsoft.Authorization/locks/l"}
	ids := []string{"a", "b", "c", "d"}
	patterns := []string{"*", "*/read", "A/*", "A/b/*", "A/*/write", "A/b/write", "a/*/b*/x/action", "*b*", ""}
	actions := []string{"A/b/read", "A/b/write", "A/c/write", "B/b/x/action", "A/x/bb/x/action", "a/B/delete"}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SliceOfN(rapid.SampledFrom(patterns), 0, 2)
		one := rapid.Custom(func(t *rapid.T) rbac.Permission {
			return rbac.Permission{Actions: text.Draw(t, "actions"), NotActions: text.Draw(t, "not"), DataActions: text.Draw(t, "data"), NotDataActions: text.Draw(t, "notData")}
		})
		r := rbac.Rights{Hierarchy: tree{}, Groups: map[string][]string{}}
		for _, id := range []string{"r1", "r2"} {
			r.Roles = append(r.Roles, rbac.Role{ID: id, Permissions: rapid.SliceOfN(one, 1, 2).Draw(t, "permissions")})
		}
		r.Assignments = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) rbac.Assignment {
			return rbac.Assignment{PrincipalID: rapid.SampledFrom(ids).Draw(t, "principal"), RoleID: rapid.SampledFrom([]string{"r1", "r2", "gone"}).Draw(t, "role"),
				Scope: parse(rapid.SampledFrom(scopes).Draw(t, "scope"))}
		}), 0, 4).Draw(t, "assignments")
		for range rapid.IntRange(0, 3).Draw(t, "groups") {
			g := rapid.SampledFrom(ids).Draw(t, "group")
			r.Groups[g] = append(r.Groups[g], rapid.SampledFrom(ids).Draw(t, "member"))
		}
		who := rbac.Who{ID: rapid.SampledFrom(ids).Draw(t, "who"), Groups: rapid.SliceOfN(rapid.SampledFrom(ids), 0, 1).Draw(t, "claimed")}
		action, scope := rapid.SampledFrom(actions).Draw(t, "action"), parse(rapid.SampledFrom(scopes).Draw(t, "where"))
		s := rbac.Compile(r)
		if got, want := s.Allows(who, action, scope), naive(r, who, action, false, scope); got != want {
			t.Fatalf("Allows: %v, want %v", got, want)
		}
		if got, want := s.AllowsData(who, action, scope), naive(r, who, action, true, scope); got != want {
			t.Fatalf("AllowsData: %v, want %v", got, want)
		}
	})
}

func FuzzMatches(f *testing.F) {
	f.Add("*/read", "a/read")
	f.Add("A/*/b*", "a/x/y/bc")
	f.Add("***a", "aaa")
	f.Fuzz(func(t *testing.T, pattern, action string) {
		if pattern != strings.TrimSpace(pattern) || strings.ToLower(pattern) != strings.ToLower(strings.ToLower(pattern)) {
			t.Skip()
		}
		for _, s := range []string{pattern, action} {
			for _, r := range s {
				if r > 127 {
					t.Skip() // case of other letters is no question: actions have none
				}
			}
		}
		if got, want := rbac.Matches(pattern, action), glob([]string{pattern}, action); got != want {
			t.Errorf("Matches(%q, %q): %v, want %v", pattern, action, got, want)
		}
	})
}

func BenchmarkAllows(b *testing.B) {
	var rights rbac.Rights
	for _, r := range rbac.BuiltIns() {
		rights.Roles = append(rights.Roles, r.Role)
		rights.Assignments = append(rights.Assignments, rbac.Assignment{PrincipalID: me, RoleID: r.ID, Scope: parse("/subscriptions/T")})
	}
	contributor := rbac.BuiltIns()[1]
	rights.Hierarchy = tree{}
	rights.Assignments = append(rights.Assignments, rbac.Assignment{PrincipalID: me, RoleID: contributor.ID, Scope: parse("/subscriptions/S")})
	s, who, scope := rbac.Compile(rights), rbac.Who{ID: me}, parse(vm)
	b.ReportAllocs()
	for b.Loop() {
		if !s.Allows(who, "Microsoft.Compute/virtualMachines/write", scope) {
			b.Fatal("denied")
		}
	}
}

func parse(s string) arm.ID {
	id, err := arm.ParseID(s)
	if err != nil {
		panic(err)
	}
	return id
}
