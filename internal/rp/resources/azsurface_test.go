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
	az := providertest.AzureCLI(t, s)
	expect := func(want string, got []string) {
		t.Helper()
		if diff := cmp.Diff(strings.Fields(want), got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
	refused := func(code string, args ...string) {
		t.Helper()
		if out, exit := az.Try(t, args...); exit == 0 || !strings.Contains(out, code) {
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
		expect("Succeeded", az.Query(t, "properties.provisioningState", with("create", "--is-full-object", "-p", `{"location":"local","sku":{"name":"Standard"},"properties":{"frontendIPConfigurations":[]}}`)...))
		expect("Standard", az.Query(t, "sku.name", with("show")...))
		expect("front", az.Query(t, "[].name", "resource", "list", "--name", "front"))
		expect("true", az.Query(t, "properties.marked", with("update", "--set", "properties.marked=true")...))
		expect("Blue", az.Query(t, "tags.team", with("tag", "--tags", "team=Blue")...))
		expect("front", az.Query(t, "[].name", "resource", "list", "--tag", "team=Blue"))
		expect("front", az.Query(t, "[].name", "resource", "list", "--tag", "team"))
		expect("front", az.Query(t, "[].name", "resource", "list", "-l", "local", "--namespace", "Microsoft.Network", "--resource-type", "loadBalancers"))
		refused("ResourceRecordedOnly", with("invoke-action", "--action", "listSecrets")...)
		az.Run(t, "group", "create", "-n", "other", "-l", "local")
		refused("ResourceMoveNotSupported", "resource", "move", "--ids", group+"/providers/Microsoft.Network/loadBalancers/front", "--destination-group", "other")
		expect("front", az.Query(t, "resources[].name", "group", "export", "-n", "rg", "--skip-all-params"))
		az.Run(t, with("delete")...)
		refused("ResourceNotFound", with("show")...)
	})
	t.Run("lock", func(t *testing.T) {
		put(t, s, "a", `{"location":"local"}`)
		expect("CanNotDelete", az.Query(t, "level", "lock", "create", "-n", "keep", "-g", "rg", "--lock-type", "CanNotDelete", "--notes", "ours"))
		refused("ScopeLocked", "resource", "delete", "--verbose", "--ids", thingID("a").String())
		refused("ScopeLocked", "group", "delete", "-n", "rg", "--yes")
		expect("keep", az.Query(t, "[].name", "lock", "list"))
		expect("ours", az.Query(t, "notes", "lock", "show", "-n", "keep", "-g", "rg"))
		expect("ReadOnly", az.Query(t, "level", "lock", "update", "-n", "keep", "-g", "rg", "--lock-type", "ReadOnly"))
		refused("ScopeLocked", "tag", "update", "--resource-id", thingID("a").String(), "--operation", "merge", "--tags", "a=b")
		az.Run(t, "lock", "delete", "-n", "keep", "-g", "rg")
		expect("one", az.Query(t, "name", "lock", "create", "-n", "one", "-t", "CanNotDelete", "-g", "rg", "--resource", "a", "--resource-type", "Test.Things/things"))
		az.Run(t, "lock", "delete", "--ids", thingID("a").Resource(locks.Type, "one").String())
		az.Run(t, "group", "lock", "create", "-n", "g", "-g", "rg", "-t", "ReadOnly")
		expect("g", az.Query(t, "[].name", "group", "lock", "list", "-g", "rg"))
		az.Run(t, "group", "lock", "delete", "-n", "g", "-g", "rg")
		expect("all", az.Query(t, "name", "account", "lock", "create", "-n", "all", "-t", "CanNotDelete"))
		az.Run(t, "account", "lock", "delete", "-n", "all")
	})
	t.Run("tag", func(t *testing.T) {
		expect("Blue", az.Query(t, "properties.tags.team", "tag", "create", "--resource-id", sub, "--tags", "team=Blue"))
		expect("1", az.Query(t, "properties.tags.cost", "tag", "update", "--resource-id", sub, "--operation", "merge", "--tags", "cost=1"))
		expect("Blue", az.Query(t, "properties.tags.team", "tag", "list", "--resource-id", sub))
		az.Run(t, "tag", "create", "-n", "owner")
		az.Run(t, "tag", "add-value", "-n", "owner", "--value", "ops")
		expect("ops", az.Query(t, "[?tagName=='owner'].values[].tagValue", "tag", "list"))
		az.Run(t, "tag", "remove-value", "-n", "owner", "--value", "ops")
		az.Run(t, "tag", "delete", "-n", "owner", "--yes")
		az.Run(t, "tag", "delete", "--resource-id", sub, "--yes")
		refused("InvalidTagNameCharacters", "tag", "create", "--resource-id", group, "--tags", "a/b=c")
	})
	t.Run("provider", func(t *testing.T) {
		if got := az.Query(t, "[].namespace", "provider", "list"); len(got) < 100 || !slices.Contains(got, "Microsoft.Network") {
			t.Errorf("%d providers: %v", len(got), got)
		}
		expect("Microsoft.KeyVault", az.Query(t, "namespace", "provider", "show", "-n", "Microsoft.KeyVault"))
		out := az.Run(t, "provider", "list", "--expand", "resourceTypes/aliases", "--query", "[?namespace=='Microsoft.KeyVault']", "-o", "json")
		if found, err := alias.Import(out); err != nil || len(found) < 50 {
			t.Errorf("%d aliases, %v", len(found), err)
		}
		az.Run(t, "provider", "register", "-n", "Microsoft.KeyVault", "--wait")
		refused("CannotUnregisterProvider", "provider", "unregister", "-n", "Microsoft.KeyVault")
		expect("Microsoft.KeyVault/vaults/write", az.Query(t, "resourceTypes[?name=='vaults'].operations[].name|[?contains(@,'write')]", "provider", "operation", "show", "--namespace", "Microsoft.KeyVault"))
		var all []map[string]any
		if err := json.Unmarshal([]byte(az.Run(t, "provider", "operation", "list", "-o", "json")), &all); err != nil || len(all) < 100 {
			t.Errorf("%d providers with operations, %v", len(all), err)
		}
		expect("", az.Query(t, "[].name", "feature", "list"))
	})
}
