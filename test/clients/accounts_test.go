package clients_test

import (
	"strings"
	"testing"
)

// accounts is what everybody does first.
func (s *suite) accounts(t *testing.T) {
	subscription := s.endpoint.Subscription
	s.expect(t, subscription, "[*].id", "account", "list")
	s.expect(t, subscription, "id", "account", "show")
	s.expect(t, "eastus westeurope", "[].name", "account", "list-locations")
	s.expect(t, "Succeeded", "properties.provisioningState", "group", "create", "-n", "web", "-l", "eastus", "--tags", "team=blue")
	s.expect(t, "true", "@", "group", "exists", "-n", "WEB")
	s.expect(t, "false", "@", "group", "exists", "-n", "nowhere")
	s.expect(t, "web", "[].name", "group", "list", "--tag", "team=blue")
	s.expect(t, "eastus", "location", "group", "show", "-n", "web")
	s.expect(t, "green", "tags.team", "group", "update", "-n", "web", "--tags", "team=green")
	s.expect(t, "green", "tags.team", "group", "show", "-n", "web")
	s.refused(t, 3, []string{"ResourceGroupNotFound"}, "group", "show", "-n", "nowhere")
	s.refused(t, 1, []string{"LocationNotAvailableForResourceGroup", "eastus"}, "group", "create", "-n", "far", "-l", "mars")
	s.expect(t, "Registered", "registrationState", "provider", "show", "-n", "Microsoft.Compute")
	if !strings.Contains(s.az.Query(t, "[].namespace", "provider", "list"), "Microsoft.PolicyInsights") {
		t.Error("az provider list does not name Microsoft.PolicyInsights")
	}
	s.az.Run(t, "group", "create", "-n", "short-lived", "-l", "westeurope")
	s.az.Run(t, "group", "delete", "-n", "short-lived", "--yes")
	s.expect(t, "false", "@", "group", "exists", "-n", "short-lived")
}
