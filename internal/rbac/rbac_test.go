package rbac_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/rbac"
)

func TestAllows(t *testing.T) {
	const me = "11111111-0000-0000-0000-000000000000"
	const vm = "/subscriptions/S/resourceGroups/G/providers/Microsoft.Compute/virtualMachines/v"
	for _, c := range []struct {
		name, role, at, action, scope string
		want                          bool
	}{
		{"owner at the tenant", rbac.Owner, "/", "Microsoft.Compute/virtualMachines/write", vm, true},
		{"owner at the group, other case", rbac.Owner, "/SUBSCRIPTIONS/s/resourcegroups/g", "Microsoft.Compute/virtualMachines/delete", vm, true},
		{"owner of a group with a longer name", rbac.Owner, "/subscriptions/S/resourceGroups/GG", "Microsoft.Compute/virtualMachines/write", vm, false},
		{"owner of a group with a shorter name", rbac.Owner, "/subscriptions/S/resourceGroups/G", "x/write", "/subscriptions/S/resourceGroups/GG", false},
		{"owner below does not count above", rbac.Owner, vm, "Microsoft.Resources/subscriptions/resourceGroups/write", "/subscriptions/S/resourceGroups/G", false},
		{"reader reads", rbac.Reader, "/subscriptions/S", "Microsoft.Compute/virtualMachines/READ", vm, true},
		{"reader does not write", rbac.Reader, "/", "Microsoft.Compute/virtualMachines/write", vm, false},
		{"reader does not act", rbac.Reader, "/", "Microsoft.Compute/virtualMachines/start/action", vm, false},
		{"reader of a group sees its subscription", rbac.Reader, "/subscriptions/S/resourceGroups/G", "Microsoft.Resources/subscriptions/read", "/subscriptions/S", true},
		{"but nothing else of it", rbac.Reader, "/subscriptions/S/resourceGroups/G", "Microsoft.Compute/virtualMachines/read", "/subscriptions/S", false},
		{"nor another subscription", rbac.Reader, "/subscriptions/S/resourceGroups/G", "Microsoft.Resources/subscriptions/read", "/subscriptions/T", false},
		{"an unknown role", "Admin", "/", "x/read", "/", false},
		{"no role", "", "/", "x/read", "/", false},
	} {
		as := []rbac.Assignment{{PrincipalID: me, Role: c.role, Scope: parse(t, c.at)}}
		if got := rbac.Allows(as, me, c.action, parse(t, c.scope)); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
		if rbac.Allows(as, "somebody else", c.action, parse(t, c.scope)) {
			t.Errorf("%s: somebody else is allowed", c.name)
		}
	}
}

func parse(t *testing.T, s string) arm.ID {
	t.Helper()
	id, err := arm.ParseID(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

type none struct{ err error }

func (n none) Assignments(context.Context, string) ([]rbac.Assignment, error) { return nil, n.err }

func TestDenialNamesAllThree(t *testing.T) {
	err := rbac.Authorizer{Source: none{}}.Authorize(t.Context(), identity.Principal{ObjectID: "oid-1", Name: "ci"}, "A/b/write", arm.SubscriptionID("S"))
	var e *arm.Error
	if !errors.As(err, &e) || e.Status != 403 || e.Code != arm.CodeAuthorizationFailed {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"ci", "oid-1", "A/b/write", "/subscriptions/S"} {
		if !strings.Contains(e.Message, want) {
			t.Errorf("%q does not name %s", e.Message, want)
		}
	}
}

func TestFailureToReadAssignmentsDenies(t *testing.T) {
	boom := errors.New("boom")
	if err := (rbac.Authorizer{Source: none{boom}}).Authorize(t.Context(), identity.Principal{ObjectID: "o"}, "A/b/read", arm.Tenant); !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
}

func TestRolesOfADirectory(t *testing.T) {
	d, err := identity.OpenDirectory(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sp, _, err := d.Create("ci", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	role := identity.Role{Name: rbac.Owner, Scope: "/subscriptions/S"}
	a := rbac.Authorizer{Source: rbac.Roles{Directory: d}}
	p := identity.Principal{ObjectID: sp.ObjectID}
	allowed := func() bool { return a.Authorize(t.Context(), p, "A/b/write", arm.SubscriptionID("S")) == nil }
	if allowed() {
		t.Error("allowed without a role")
	}
	if err := d.Grant(sp.AppID, role); err != nil || !allowed() {
		t.Errorf("denied with the role: %v", err)
	}
	if err := d.Delete(sp.AppID); err != nil || allowed() {
		t.Errorf("a token of somebody who is gone works: %v", err)
	}
}
