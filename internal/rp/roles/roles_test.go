package roles_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/access"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/directory"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rbac"
	"hallmark.dev/hallmark/internal/rp/managementgroups"
	"hallmark.dev/hallmark/internal/rp/roles"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/mem"
)

const (
	version     = "?api-version=2022-04-01"
	definitions = "/providers/Microsoft.Authorization/roleDefinitions/"
	assignments = "/providers/Microsoft.Authorization/roleAssignments/"
	reader      = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	contributor = "b24988ac-6180-42a0-ab88-20f7382dd24c"
)

var subscription = arm.SubscriptionID(providertest.Subscription)

func start(t *testing.T) *providertest.Server {
	t.Helper()
	s := mem.New()
	if err := managementgroups.EnsureRoot(t.Context(), s, "root", time.Now()); err != nil {
		t.Fatal(err)
	}
	return providertest.Start(t, providertest.WithStore(s), providertest.With(
		roles.New(roles.Config{Index: access.New(s)}), managementgroups.New(managementgroups.Config{TenantID: "root"})))
}

func principal(t *testing.T, s *providertest.Server) string {
	t.Helper()
	_, p := s.TokenFor(t, "", arm.Tenant)
	return p.ObjectID
}

func assign(scope arm.ID, name string) string {
	return strings.TrimSuffix(scope.String(), "/") + assignments + name + version
}

func body(role, principal, more string) string {
	return fmt.Sprintf(`{"properties":{"roleDefinitionId":"/subscriptions/x/providers/Microsoft.Authorization/roleDefinitions/%s","principalId":"%s"%s}}`, role, principal, more)
}

func code(t *testing.T, answer []byte) string {
	t.Helper()
	var e struct{ Error *arm.Error }
	if err := json.Unmarshal(answer, &e); err != nil || e.Error == nil {
		return ""
	}
	return e.Error.Code
}

func values(t *testing.T, s *providertest.Server, token, path string, query ...string) (all []json.RawMessage) {
	t.Helper()
	status, _, answer := s.DoAs(t, token, "GET", providertest.Query(path, "2022-04-01", query...), nil)
	var l struct{ Value []json.RawMessage }
	if err := json.Unmarshal(answer, &l); err != nil || status != 200 {
		t.Fatalf("%s: %d %s", path, status, answer)
	}
	return l.Value
}

func TestAnAssignmentComesAndGoes(t *testing.T) {
	s := start(t)
	token, p := s.TokenFor(t, "", arm.Tenant)
	vm := providertest.Group().String() + version
	may := func() bool { status, _, _ := s.DoAs(t, token, "GET", vm, nil); return status == 200 }
	if may() {
		t.Fatal("allowed without a role")
	}
	path := assign(subscription, identity.NewID())
	for range 2 { // Azure answers 201 to the same again
		status, _, answer := s.Do(t, "PUT", path, body(reader, p.ObjectID, ""))
		if status != 201 || arm.GetString(answer, "properties.scope") != subscription.String() || arm.GetString(answer, "properties.principalType") != "ServicePrincipal" ||
			arm.GetString(answer, "properties.roleDefinitionId") != subscription.String()+definitions+reader {
			t.Fatalf("%d %s", status, answer)
		}
	}
	if !may() {
		t.Error("denied with the role")
	}
	if status, _, answer := s.Do(t, "PUT", assign(subscription, identity.NewID()), body(reader, p.ObjectID, "")); status != 409 || code(t, answer) != "RoleAssignmentExists" {
		t.Errorf("the same under another name: %d %s", status, answer)
	}
	if status, _, answer := s.Do(t, "PUT", path, body(contributor, p.ObjectID, "")); code(t, answer) != "RoleAssignmentUpdateNotPermitted" {
		t.Errorf("another role under the same name: %d %s", status, answer)
	}
	if status, _, _ := s.Do(t, "DELETE", path, nil); status != 200 || may() {
		t.Errorf("deleted: %d, allowed %v", status, may())
	}
	if status, _, _ := s.Do(t, "DELETE", path, nil); status != 204 {
		t.Errorf("deleted again: %d", status)
	}
}

func TestAssignmentsThatAreRefused(t *testing.T) {
	s := start(t)
	sp := principal(t, s)
	for name, c := range map[string]struct {
		scope      arm.ID
		name, body string
		status     int
		code       string
	}{
		"no such role":      {subscription, identity.NewID(), body(identity.NewID(), sp, ""), 404, "RoleDefinitionDoesNotExist"},
		"no such principal": {subscription, identity.NewID(), body(reader, identity.NewID(), `,"principalType":"User"`), 400, "PrincipalNotFound"},
		"another type":      {subscription, identity.NewID(), body(reader, sp, `,"principalType":"Group"`), 400, "UnmatchedPrincipalType"},
		"a condition":       {subscription, identity.NewID(), body(reader, sp, `,"condition":"@Resource[x] StringEquals 'y'","conditionVersion":"2.0"`), 400, "RoleAssignmentConditionNotSupported"},
		"no GUID":           {subscription, "mine", body(reader, sp, ""), 400, "InvalidResourceName"},
		"nothing":           {subscription, identity.NewID(), `{}`, 400, "MultipleErrorsOccurred"},
		"wrong shape":       {subscription, identity.NewID(), `{"properties":{"principalId":5}}`, 400, "InvalidRequestContent"},
		"no subscription":   {arm.SubscriptionID("gone"), identity.NewID(), body(reader, sp, ""), 404, "SubscriptionNotFound"},
	} {
		if status, _, answer := s.Do(t, "PUT", assign(c.scope, c.name), c.body); status != c.status || code(t, answer) != c.code {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
}

func TestNobodyGivesMoreThanHeMayGive(t *testing.T) {
	s := start(t)
	contributes, me := s.TokenFor(t, "Contributor", subscription)
	if status, _, answer := s.DoAs(t, contributes, "PUT", assign(subscription, identity.NewID()), body(rbac.OwnerID, me.ObjectID, "")); status != 403 || code(t, answer) != "AuthorizationFailed" {
		t.Errorf("a contributor made himself owner: %d %s", status, answer)
	}
	admin, _ := s.TokenFor(t, "User Access Administrator", providertest.Group())
	for scope, want := range map[arm.ID]int{providertest.Group(): 201, subscription: 403, arm.Tenant: 403} {
		if status, _, answer := s.DoAs(t, admin, "PUT", assign(scope, identity.NewID()), body(reader, me.ObjectID, "")); status != want {
			t.Errorf("at %s: %d %s", scope, status, answer)
		}
	}
	custom := func(scopes ...string) string {
		raw, _ := json.Marshal(map[string]any{"properties": map[string]any{"roleName": "mine", "assignableScopes": scopes, "permissions": []any{map[string]any{"actions": []string{"*"}}}}})
		return string(raw)
	}
	id := identity.NewID()
	at := providertest.Group().String() + definitions + id + version
	if status, _, answer := s.DoAs(t, admin, "PUT", at, custom(providertest.Group().String(), subscription.String())); status != 403 {
		t.Errorf("a role for a scope where one may not write roles: %d %s", status, answer)
	}
	if status, _, answer := s.Do(t, "PUT", at, custom(subscription.String())); status != 201 {
		t.Fatalf("%d %s", status, answer)
	}
	if status, _, answer := s.DoAs(t, admin, "PUT", at, custom(providertest.Group().String())); status != 403 {
		t.Errorf("a role of the subscription, changed by an administrator of a group: %d %s", status, answer)
	}
	if status, _, answer := s.DoAs(t, admin, "DELETE", at, nil); status != 403 {
		t.Errorf("and deleted: %d %s", status, answer)
	}
}

func TestTheLastOwnerStays(t *testing.T) {
	s := start(t)
	owners := values(t, s, "", assignments[:len(assignments)-1], "$filter", "atScope()")
	if len(owners) != 1 {
		t.Fatalf("%s", owners)
	}
	if status, _, answer := s.Do(t, "DELETE", arm.GetString(owners[0], "id")+version, nil); code(t, answer) != "CannotDeleteLastRbacAdminAssignment" {
		t.Errorf("%d %s", status, answer)
	}
	if status, _, answer := s.Do(t, "PUT", assign(arm.Tenant, identity.NewID()), body(rbac.OwnerID, principal(t, s), "")); status != 201 {
		t.Fatalf("%d %s", status, answer)
	}
	if status, _, answer := s.Do(t, "DELETE", arm.GetString(owners[0], "id")+version, nil); status != 200 {
		t.Errorf("with another owner: %d %s", status, answer)
	}
}

func TestCustomRoles(t *testing.T) {
	s := start(t)
	id := identity.NewID()
	at := subscription.String() + definitions + id
	role := `{"properties":{"roleName":"Starter","description":"starts","type":"CustomRole","assignableScopes":["` + subscription.String() + `"],
		"permissions":[{"actions":["Microsoft.Resources/subscriptions/resourceGroups/*"],"notActions":["*/delete"]}]}}`
	status, _, answer := s.Do(t, "PUT", at+version, role)
	if got, _ := arm.Get(answer, "properties.permissions"); status != 201 || arm.GetString(answer, "id") != at ||
		string(got) != `[{"actions":["Microsoft.Resources/subscriptions/resourceGroups/*"],"notActions":["*/delete"],"dataActions":[],"notDataActions":[]}]` {
		t.Fatalf("%d %s", status, answer)
	}
	token, p := s.TokenFor(t, "", arm.Tenant)
	grant := assign(subscription, identity.NewID())
	if status, _, answer := s.Do(t, "PUT", grant, body(id, p.ObjectID, "")); status != 201 {
		t.Fatalf("%d %s", status, answer)
	}
	group := subscription.String() + "/resourceGroups/new" + version
	if status, _, answer := s.DoAs(t, token, "PUT", group, `{"location":"local"}`); status != 201 {
		t.Errorf("%d %s", status, answer)
	}
	if status, _, answer := s.DoAs(t, token, "DELETE", group, nil); status != 403 {
		t.Errorf("what notActions take out: %d %s", status, answer)
	}
	if status, _, answer := s.Do(t, "DELETE", at+version, nil); code(t, answer) != "RoleDefinitionHasAssignments" {
		t.Errorf("deleted while assigned: %d %s", status, answer)
	}
	if status, _, answer := s.Do(t, "PUT", subscription.String()+definitions+identity.NewID()+version, role); code(t, answer) != "RoleDefinitionWithSameNameExists" {
		t.Errorf("the same name: %d %s", status, answer)
	}
	s.Do(t, "DELETE", grant, nil)
	if status, _, answer := s.Do(t, "DELETE", definitions+id+version, nil); status != 200 {
		t.Errorf("deleted at another scope: %d %s", status, answer)
	}
	answerTo := func(body string) string {
		_, _, answer := s.Do(t, "PUT", subscription.String()+definitions+identity.NewID()+version, body)
		return string(answer)
	}
	for _, want := range []string{"properties.roleName", "properties.permissions[0].actions[0]", "properties.assignableScopes[0]", "properties.assignableScopes[1]"} {
		if got := answerTo(`{"properties":{"permissions":[{"actions":["read all"]}],"assignableScopes":["/","here"]}}`); !strings.Contains(got, want) {
			t.Errorf("no word of %s: %s", want, got)
		}
	}
	if status, _, answer := s.Do(t, "PUT", subscription.String()+definitions+reader+version, role); status != 403 || code(t, answer) != "BuiltInRoleCannotBeModified" {
		t.Errorf("a built-in role changed: %d %s", status, answer)
	}
	if status, _, answer := s.Do(t, "DELETE", definitions+reader+version, nil); status != 403 {
		t.Errorf("a built-in role deleted: %d %s", status, answer)
	}
}

func names(items []json.RawMessage, path string) []string {
	out := []string{}
	for _, i := range items {
		out = append(out, arm.GetString(i, path))
	}
	slices.Sort(out)
	return out
}

func TestLists(t *testing.T) {
	s := start(t)
	if status, _, answer := s.Do(t, "PUT", "/providers/Microsoft.Management/managementGroups/m?api-version=2023-04-01", `{}`); status != 200 {
		t.Fatalf("%d %s", status, answer)
	}
	if status, _, answer := s.Do(t, "PUT", "/providers/Microsoft.Management/managementGroups/m/subscriptions/"+providertest.Subscription+"?api-version=2023-04-01", `{}`); status != 200 {
		t.Fatalf("%d %s", status, answer)
	}
	m := arm.Tenant.Resource(arm.TypeManagementGroup, "m")
	token, p := s.TokenFor(t, "Reader", providertest.Group())
	group := directory.Group{ObjectID: identity.NewID(), DisplayName: "ops", Members: []string{p.ObjectID}}
	if err := s.Directory.AddGroup(t.Context(), group); err != nil {
		t.Fatal(err)
	}
	if status, _, answer := s.Do(t, "PUT", assign(subscription, identity.NewID()), body(contributor, group.ObjectID, `,"principalType":"Group"`)); status != 201 {
		t.Fatalf("%d %s", status, answer)
	}
	path := assignments[:len(assignments)-1]
	at := func(scope arm.ID, filter string) []string {
		return names(values(t, s, "", strings.TrimSuffix(scope.String(), "/")+path, "$filter", filter), "properties.scope")
	}
	sub, rg := subscription.String(), providertest.Group().String()
	for _, c := range []struct {
		scope  arm.ID
		filter string
		want   []string
	}{
		{subscription, "", []string{"/", sub, rg}},
		{subscription, "atScope()", []string{"/", sub}},
		{providertest.Group(), "atScope()", []string{"/", sub, rg}},
		{subscription, "principalId eq '" + p.ObjectID + "'", []string{rg}},
		{subscription, "assignedTo('" + p.ObjectID + "')", []string{sub, rg}},
		{subscription, "atScope() and assignedTo('" + p.ObjectID + "')", []string{sub}},
		{m, "atScope()", []string{"/"}},
		{m, "", []string{"/", sub, rg}},
	} {
		if diff := cmp.Diff(c.want, at(c.scope, c.filter)); diff != "" {
			t.Errorf("%s %s: %s", c.scope, c.filter, diff)
		}
	}
	// Of what is below, each sees what is his to see; here through the group, too.
	other, _ := s.TokenFor(t, "Reader", providertest.Group())
	if got := names(values(t, s, other, sub+path), "properties.scope"); !slices.Equal(got, []string{rg, rg}) {
		t.Errorf("a reader of the group sees %v", got)
	}
	if got := values(t, s, token, rg+"/providers/Microsoft.Authorization/permissions"); len(got) != 2 {
		t.Errorf("permissions %s", got)
	}
	if status, _, answer := s.Do(t, "GET", providertest.Query(sub+path, "2022-04-01", "$filter", "principalId gt 'x'"), nil); status != 400 {
		t.Errorf("%d %s", status, answer)
	}
	roles := values(t, s, "", sub+definitions[:len(definitions)-1], "$filter", "roleName eq 'Contributor'")
	if len(roles) != 1 || arm.GetString(roles[0], "id") != sub+definitions+contributor {
		t.Errorf("%s", roles)
	}
	if all := values(t, s, other, definitions[:len(definitions)-1], "$filter", "type eq 'BuiltInRole'"); len(all) != len(rbac.BuiltIns()) {
		t.Errorf("%d roles", len(all))
	}
	_, _, one := s.Do(t, "GET", rg+definitions+contributor+version, nil)
	if arm.GetString(one, "id") != sub+definitions+contributor {
		t.Errorf("%s", one)
	}
}

// A role that is taken away while a write is on its way counts for that write.
func TestAWriteIsDecidedByTheRightsThatHoldWhenItCommits(t *testing.T) {
	st := mem.New()
	var once func()
	slow := provider.Provider{Types: []provider.ResourceType{{
		Type: "Hallmark.Slow/things", Scopes: provider.AtResourceGroup, APIVersions: []string{"2022-04-01"},
		Default: func(*provider.Write) error { once(); return nil },
	}}}
	s := providertest.Start(t, providertest.WithStore(st), providertest.With(slow))
	token, p := s.TokenFor(t, "Owner", providertest.Group())
	tries := 0
	once = func() {
		tries++
		docs, err := store.List(t.Context(), st, store.Query{Type: access.TypeAssignment, ResourceGroup: providertest.ResourceGroup})
		if err != nil || tries > 1 {
			t.Errorf("decided %d times, %v", tries, err)
			return
		}
		err = st.Update(t.Context(), func(tx store.Tx) error {
			for _, d := range docs {
				if g, _ := access.ReadGrant(d.Body); g.PrincipalID == p.ObjectID {
					if err := tx.Delete(d.Key, store.Any); err != nil {
						return err
					}
				}
			}
			return directory.Touch(tx)
		})
		if err != nil {
			t.Error(err)
		}
	}
	thing := providertest.Group().Resource("Hallmark.Slow/things", "x")
	if status, _, answer := s.DoAs(t, token, http.MethodPut, thing.String()+version, `{}`); status != 403 {
		t.Errorf("%d %s", status, answer)
	}
	if _, err := store.Get(t.Context(), st, thing.Key()); err == nil {
		t.Error("it was written")
	}
}
