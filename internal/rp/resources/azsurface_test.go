package resources_test

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/policy/alias"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/locks"
	"hallmark.dev/hallmark/internal/rp/network"
	"hallmark.dev/hallmark/internal/rp/recorded"
)

// surface is a server with locks and with the types that are only recorded.
func surface(t *testing.T) *providertest.Server {
	t.Helper()
	real := []provider.Provider{thing(provider.ResourceType{}), network.New(network.Config{Prefix: netip.MustParsePrefix("10.9.0.0/24")}), locks.New()}
	p, err := recorded.New(recorded.Config{Real: real})
	if err != nil {
		t.Fatal(err)
	}
	return providertest.Start(t, providertest.With(append(real, p)...), providertest.WithAliases(recorded.Aliases(alias.Default())))
}

func TestAzureCLIOnTheRestOfTheSurface(t *testing.T) {
	s := surface(t)
	az := signedIn(t, s)
	expect := func(want string, got []string) {
		t.Helper()
		if diff := cmp.Diff(strings.Fields(want), got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
	refused := func(code string, args ...string) {
		t.Helper()
		if out, exit := az.try(t, args...); exit == 0 || !strings.Contains(out, code) {
			t.Errorf("az %s: exit code %d, want %s in\n%s", strings.Join(args, " "), exit, code, out)
		}
	}
	sub := "/subscriptions/" + providertest.Subscription
	group := providertest.Group().String()

	t.Run("resource", func(t *testing.T) {
		balancer := []string{"-g", "rg", "-n", "front", "--resource-type", "Microsoft.Network/loadBalancers"}
		with := func(verb string, more ...string) []string {
			return append(append([]string{"resource", verb}, balancer...), more...)
		}
		expect("Succeeded", az.query(t, "properties.provisioningState", with("create", "--is-full-object", "-p", `{"location":"local","sku":{"name":"Standard"},"properties":{"frontendIPConfigurations":[]}}`)...))
		expect("Standard", az.query(t, "sku.name", with("show")...))
		expect("front", az.query(t, "[].name", "resource", "list", "--name", "front"))
		expect("true", az.query(t, "properties.marked", with("update", "--set", "properties.marked=true")...))
		expect("Blue", az.query(t, "tags.team", with("tag", "--tags", "team=Blue")...))
		expect("front", az.query(t, "[].name", "resource", "list", "--tag", "team=Blue"))
		expect("front", az.query(t, "[].name", "resource", "list", "--tag", "team"))
		expect("front", az.query(t, "[].name", "resource", "list", "-l", "local", "--namespace", "Microsoft.Network", "--resource-type", "loadBalancers"))
		refused("ResourceRecordedOnly", with("invoke-action", "--action", "listSecrets")...)
		az.run(t, "group", "create", "-n", "other", "-l", "local")
		refused("ResourceMoveNotSupported", "resource", "move", "--ids", group+"/providers/Microsoft.Network/loadBalancers/front", "--destination-group", "other")
		expect("front", az.query(t, "resources[].name", "group", "export", "-n", "rg", "--skip-all-params"))
		az.run(t, with("delete")...)
		refused("ResourceNotFound", with("show")...)
	})
	t.Run("lock", func(t *testing.T) {
		put(t, s, "a", `{"location":"local"}`)
		expect("CanNotDelete", az.query(t, "level", "lock", "create", "-n", "keep", "-g", "rg", "--lock-type", "CanNotDelete", "--notes", "ours"))
		refused("ScopeLocked", "resource", "delete", "--verbose", "--ids", thingID("a").String())
		refused("ScopeLocked", "group", "delete", "-n", "rg", "--yes")
		expect("keep", az.query(t, "[].name", "lock", "list"))
		expect("ours", az.query(t, "notes", "lock", "show", "-n", "keep", "-g", "rg"))
		expect("ReadOnly", az.query(t, "level", "lock", "update", "-n", "keep", "-g", "rg", "--lock-type", "ReadOnly"))
		refused("ScopeLocked", "tag", "update", "--resource-id", thingID("a").String(), "--operation", "merge", "--tags", "a=b")
		az.run(t, "lock", "delete", "-n", "keep", "-g", "rg")
		expect("one", az.query(t, "name", "lock", "create", "-n", "one", "-t", "CanNotDelete", "-g", "rg", "--resource", "a", "--resource-type", "Test.Things/things"))
		az.run(t, "lock", "delete", "--ids", thingID("a").Resource(locks.Type, "one").String())
		az.run(t, "group", "lock", "create", "-n", "g", "-g", "rg", "-t", "ReadOnly")
		expect("g", az.query(t, "[].name", "group", "lock", "list", "-g", "rg"))
		az.run(t, "group", "lock", "delete", "-n", "g", "-g", "rg")
		expect("all", az.query(t, "name", "account", "lock", "create", "-n", "all", "-t", "CanNotDelete"))
		az.run(t, "account", "lock", "delete", "-n", "all")
	})
	t.Run("tag", func(t *testing.T) {
		expect("Blue", az.query(t, "properties.tags.team", "tag", "create", "--resource-id", sub, "--tags", "team=Blue"))
		expect("1", az.query(t, "properties.tags.cost", "tag", "update", "--resource-id", sub, "--operation", "merge", "--tags", "cost=1"))
		expect("Blue", az.query(t, "properties.tags.team", "tag", "list", "--resource-id", sub))
		az.run(t, "tag", "create", "-n", "owner")
		az.run(t, "tag", "add-value", "-n", "owner", "--value", "ops")
		expect("ops", az.query(t, "[?tagName=='owner'].values[].tagValue", "tag", "list"))
		az.run(t, "tag", "remove-value", "-n", "owner", "--value", "ops")
		az.run(t, "tag", "delete", "-n", "owner", "--yes")
		az.run(t, "tag", "delete", "--resource-id", sub, "--yes")
		refused("InvalidTagNameCharacters", "tag", "create", "--resource-id", group, "--tags", "a/b=c")
	})
	t.Run("provider", func(t *testing.T) {
		if got := az.query(t, "[].namespace", "provider", "list"); len(got) < 100 || !slices.Contains(got, "Microsoft.Network") {
			t.Errorf("%d providers: %v", len(got), got)
		}
		expect("Microsoft.KeyVault", az.query(t, "namespace", "provider", "show", "-n", "Microsoft.KeyVault"))
		out := az.run(t, "provider", "list", "--expand", "resourceTypes/aliases", "--query", "[?namespace=='Microsoft.KeyVault']", "-o", "json")
		if found, err := alias.Import(out); err != nil || len(found) < 50 {
			t.Errorf("%d aliases, %v", len(found), err)
		}
		az.run(t, "provider", "register", "-n", "Microsoft.KeyVault", "--wait")
		refused("CannotUnregisterProvider", "provider", "unregister", "-n", "Microsoft.KeyVault")
		expect("Microsoft.KeyVault/vaults/write", az.query(t, "resourceTypes[?name=='vaults'].operations[].name|[?contains(@,'write')]", "provider", "operation", "show", "--namespace", "Microsoft.KeyVault"))
		var all []map[string]any
		if err := json.Unmarshal([]byte(az.run(t, "provider", "operation", "list", "-o", "json")), &all); err != nil || len(all) < 100 {
			t.Errorf("%d providers with operations, %v", len(all), err)
		}
		expect("", az.query(t, "[].name", "feature", "list"))
	})
}
