package resources_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/provider/providertest"
)

func TestAzureCLI(t *testing.T) {
	s := providertest.Start(t, providertest.With(thing(provider.ResourceType{})))
	az := providertest.AzureCLI(t, s)
	expect := func(want string, got []string) {
		t.Helper()
		if diff := cmp.Diff(strings.Fields(want), got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
	expect(providertest.Subscription, az.Query(t, "[].id", "account", "list"))
	expect("local north", az.Query(t, "[].name", "account", "list-locations"))
	expect("Succeeded", az.Query(t, "properties.provisioningState", "group", "create", "-n", "web", "-l", "local", "--tags", "team=Blue"))
	expect("true", az.Query(t, "@", "group", "exists", "-n", "WEB"))
	expect("false", az.Query(t, "@", "group", "exists", "-n", "nope"))
	expect("rg web", az.Query(t, "[].name", "group", "list"))
	expect("web", az.Query(t, "[].name", "group", "list", "--tag", "team=Blue"))
	put(t, s, "a", `{"location":"local","tags":{"team":"Blue"}}`)
	id := thingID("a").String()
	expect("a", az.Query(t, "[].name", "resource", "list", "-g", "rg"))
	expect("rg", az.Query(t, "[].resourceGroup", "resource", "list", "--resource-type", "Test.Things/things"))
	expect(id, az.Query(t, "id", "resource", "show", "--ids", id))
	expect("1", az.Query(t, "properties.tags.cost", "tag", "create", "--resource-id", id, "--tags", "cost=1"))
	expect("Registered", az.Query(t, "registrationState", "provider", "show", "-n", "Test.Things"))
	if out, code := az.Try(t, "group", "show", "-n", "nope"); code != 3 || !strings.Contains(out, "ResourceGroupNotFound") {
		t.Errorf("a missing group: exit code %d, %s", code, out)
	}
	az.Run(t, "resource", "delete", "--ids", id)
	az.Run(t, "group", "delete", "-n", "web", "--yes")
	expect("rg", az.Query(t, "[].name", "group", "list"))
}
