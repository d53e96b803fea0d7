package clients_test

import (
	"strings"
	"testing"
)

// surface is what az does with any resource: locks, tags, types that are only recorded,
// and what providers may do.
func (s *suite) surface(t *testing.T) {
	subscription := "/subscriptions/" + s.endpoint.Subscription
	group := subscription + "/resourceGroups/edge"
	front := group + "/providers/Microsoft.Network/loadBalancers/front"
	s.az.Run(t, "group", "create", "-n", "edge", "-l", "eastus")

	s.expect(t, "Succeeded", "properties.provisioningState", "resource", "create", "-g", "edge", "-n", "front", "--resource-type", "Microsoft.Network/loadBalancers",
		"--is-full-object", "-p", `{"location":"eastus","sku":{"name":"Standard"},"properties":{}}`)
	s.expect(t, "Standard", "sku.name", "resource", "show", "--ids", front)
	s.expect(t, "true", "properties.marked", "resource", "update", "--ids", front, "--set", "properties.marked=true")
	s.expect(t, "blue", "tags.team", "resource", "tag", "--ids", front, "--tags", "team=blue")
	s.expect(t, "front", "[].name", "resource", "list", "--tag", "team=blue")
	s.refused(t, 1, []string{"ResourceRecordedOnly"}, "resource", "invoke-action", "--ids", front, "--action", "listSecrets")
	s.expect(t, "front", "resources[].name", "group", "export", "-n", "edge", "--skip-all-params")

	s.expect(t, "CanNotDelete", "level", "lock", "create", "-n", "keep", "-g", "edge", "--lock-type", "CanNotDelete")
	s.refused(t, 1, []string{"ScopeLocked"}, "group", "delete", "-n", "edge", "--yes")
	s.expect(t, "keep", "[].name", "lock", "list", "-g", "edge")
	s.expect(t, "ReadOnly", "level", "lock", "update", "-n", "keep", "-g", "edge", "--lock-type", "ReadOnly")
	s.refused(t, 1, []string{"ScopeLocked"}, "tag", "update", "--resource-id", front, "--operation", "merge", "--tags", "a=b")
	s.expect(t, "ReadOnly", "level", "lock", "show", "-n", "keep", "-g", "edge")
	s.az.Run(t, "lock", "delete", "-n", "keep", "-g", "edge")

	s.expect(t, "red", "properties.tags.team", "tag", "create", "--resource-id", subscription, "--tags", "team=red")
	s.expect(t, "1", "properties.tags.cost", "tag", "update", "--resource-id", subscription, "--operation", "merge", "--tags", "cost=1")
	s.expect(t, "red", "properties.tags.team", "tag", "list", "--resource-id", subscription)
	s.az.Run(t, "tag", "delete", "--resource-id", subscription, "--yes")

	s.az.Run(t, "provider", "register", "-n", "Microsoft.KeyVault")
	if got := s.az.Query(t, "resourceTypes[?name=='vaults'].operations[].name", "provider", "operation", "show", "--namespace", "Microsoft.KeyVault"); !strings.Contains(got, "Microsoft.KeyVault/vaults/write") {
		t.Errorf("az provider operation show: %s", got)
	}
	s.az.Run(t, "resource", "delete", "--ids", front)
	s.expect(t, "", "[].name", "resource", "list", "-g", "edge")
	s.az.Run(t, "group", "delete", "-n", "edge", "--yes")
}
