package managementgroups_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/managementgroups"
	"hallmark.dev/hallmark/internal/store"
)

const tenant = "11111111-2222-3333-4444-555555555555"

func start(t *testing.T) *providertest.Server {
	s := providertest.Start(t, providertest.With(managementgroups.New(managementgroups.Config{TenantID: tenant})))
	if err := managementgroups.EnsureRoot(t.Context(), s.Store, tenant, s.Pipeline.Runtime().Now()); err != nil {
		t.Fatal(err)
	}
	return s
}

func path(name string) string { return "/providers/Microsoft.Management/managementGroups/" + name }

func do(t *testing.T, s *providertest.Server, method, path, body string) (int, string) {
	t.Helper()
	status, _, answer := s.Do(t, method, path+"?api-version=2023-04-01", body)
	return status, string(answer)
}

func create(t *testing.T, s *providertest.Server, name, parent string) (int, string) {
	t.Helper()
	body := `{}`
	if parent != "" {
		body = `{"properties":{"details":{"parent":{"id":"` + path(parent) + `"}}}}`
	}
	return do(t, s, "PUT", path(name), body)
}

func ancestors(t *testing.T, s *providertest.Server, id arm.ID) (names []string) {
	t.Helper()
	err := s.Store.View(t.Context(), func(tx store.ReadTx) error {
		h, err := assignment.ReadHierarchy(tx)
		if err != nil {
			return err
		}
		for _, a := range h.Ancestors(id) {
			names = append(names, a.Name())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestTree(t *testing.T) {
	s := start(t)
	if status, body := create(t, s, "corp", ""); status != 200 || !strings.Contains(body, path(tenant)) {
		t.Fatalf("%d %s", status, body)
	}
	create(t, s, "prod", "corp")
	sub := arm.SubscriptionID(providertest.Subscription)
	if got := fmt.Sprint(ancestors(t, s, sub)); got != "["+tenant+"]" {
		t.Errorf("a subscription that was not moved: %s", got)
	}
	if status, body := do(t, s, "PUT", path("prod")+"/subscriptions/"+providertest.Subscription, ""); status != 200 {
		t.Fatalf("moving: %d %s", status, body)
	}
	if got := fmt.Sprint(ancestors(t, s, providertest.Group())); got != "[prod corp "+tenant+"]" {
		t.Errorf("after the move: %s", got)
	}
	do(t, s, "PUT", path("corp")+"/subscriptions/"+providertest.Subscription, "{}")
	if got := fmt.Sprint(ancestors(t, s, sub)); got != "[corp "+tenant+"]" {
		t.Errorf("after another move: %s", got)
	}
	if _, body := do(t, s, "GET", path("corp")+"/descendants", ""); !strings.Contains(body, `"prod"`) || !strings.Contains(body, providertest.Subscription) {
		t.Errorf("descendants: %s", body)
	}
}

func TestTheTreeStaysATree(t *testing.T) {
	s := start(t)
	create(t, s, "a", "")
	create(t, s, "b", "a")
	tests := map[string]struct {
		name, parent string
		status       int
		code         string
	}{
		"below itself":     {"a", "b", 400, "cannot lie below itself"},
		"no such parent":   {"c", "nothing", 404, "ParentManagementGroupNotFound"},
		"the root moves":   {tenant, "a", 400, "cannot be moved"},
		"a name with dots": {"c.", "", 400, "InvalidResourceName"},
	}
	for name, tt := range tests {
		if status, body := create(t, s, tt.name, tt.parent); status != tt.status || !strings.Contains(body, tt.code) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if status, body := do(t, s, "DELETE", path("a"), ""); status != 400 {
		t.Errorf("deleting a group with one below: %d %s", status, body)
	}
	parent := "b"
	for i := range 4 {
		name := fmt.Sprint("deep", i)
		if status, body := create(t, s, name, parent); status != 200 {
			t.Fatalf("level %d: %d %s", i+3, status, body)
		}
		parent = name
	}
	if status, body := create(t, s, "deepest", parent); status != 400 || !strings.Contains(body, "HierarchyDepthExceeded") {
		t.Errorf("the seventh level: %d %s", status, body)
	}
}

// Only the root group has settings, and they may not point nowhere.
func TestHierarchySettings(t *testing.T) {
	s := start(t)
	create(t, s, "corp", "")
	for name, tt := range map[string]struct {
		group, name, body string
		status            int
		code              string
	}{
		"of the root":      {tenant, "default", `{"properties":{"defaultManagementGroup":"` + path("corp") + `"}}`, 200, `"tenantId":"` + tenant},
		"of another group": {"corp", "default", `{}`, 400, "InvalidParameter"},
		"another name":     {tenant, "mine", `{}`, 400, "InvalidResourceName"},
		"no such group":    {tenant, "default", `{"properties":{"defaultManagementGroup":"` + path("none") + `"}}`, 400, "InvalidResourceReference"},
		"of another shape": {tenant, "default", `{"properties":{"requireAuthorizationForGroupCreation":"often"}}`, 400, "InvalidRequestContent"},
	} {
		if status, body := do(t, s, "PUT", path(tt.group)+"/settings/"+tt.name, tt.body); status != tt.status || !strings.Contains(body, tt.code) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
}

// Who may read one group gets that one, with what lies in it, and no other.
func TestEntitiesAreTheCallers(t *testing.T) {
	s := start(t)
	for _, g := range []struct{ name, parent string }{{"corp", ""}, {"prod", "corp"}, {"other", ""}} {
		create(t, s, g.name, g.parent)
	}
	token, _ := s.TokenFor(t, "Reader", arm.Tenant.Resource(arm.TypeManagementGroup, "corp"))
	status, _, raw := s.DoAs(t, token, "POST", "/providers/Microsoft.Management/getEntities?api-version=2023-04-01", nil)
	var answer struct {
		Value []struct {
			Name       string
			Properties struct{ Permissions, InheritedPermissions string }
		}
	}
	if err := json.Unmarshal(raw, &answer); err != nil || status != 200 {
		t.Fatalf("%d %s %v", status, raw, err)
	}
	if got := fmt.Sprint(answer.Value); got != "[{corp {view noaccess}} {prod {view view}}]" {
		t.Errorf("%s", got)
	}
	for option, want := range map[string]int{"$filter=contains(displayName,'RO')": 200, "$filter=name%20gt%201": 400, "$search=ParentOnly": 400, "$view=GroupsOnly": 200, "$top=many": 400} {
		if status, body := get(t, s, "/providers/Microsoft.Management/getEntities", option); status != want {
			t.Errorf("%s: %d %s", option, status, body)
		}
	}
}

func get(t *testing.T, s *providertest.Server, path, option string) (int, string) {
	t.Helper()
	status, _, answer := s.Do(t, "GET", path+"?api-version=2023-04-01&"+option, nil)
	return status, string(answer)
}
