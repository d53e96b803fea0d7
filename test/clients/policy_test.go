package clients_test

import (
	"testing"

	"hallmark.dev/hallmark/test/outside"
)

const approvedLocations = `{"if": {"allOf": [{"field": "type", "equals": "Microsoft.Compute/disks"}, {"field": "location", "notIn": "[parameters('allowed')]"}]},
  "then": {"effect": "[parameters('effect')]"}}`

const locationParameters = `{"allowed": {"type": "Array"}, "effect": {"type": "String", "defaultValue": "Deny", "allowedValues": ["Audit", "Deny", "Disabled"]}}`

// policy writes a rule, assigns it, meets it, is exempted from it, and asks how things stand.
func (s *suite) policy(t *testing.T) {
	group := s.endpoint.Group("")
	group = group[:len(group)-len("hallmark")] + "web"
	rule, parameters := s.plane.Write(t, "rule.json", approvedLocations), s.plane.Write(t, "parameters.json", locationParameters)
	s.expect(t, "where-disks-are", "name", "policy", "definition", "create", "-n", "where-disks-are", "--rules", rule, "--params", parameters, "--mode", "Indexed", "--description", "see the wiki")
	s.expect(t, "see the wiki", "description", "policy", "definition", "show", "-n", "where-disks-are")
	s.expect(t, "where-disks-are", "[?policyType=='Custom'].name", "policy", "definition", "list")
	s.expect(t, "Where disks are", "displayName", "policy", "definition", "update", "-n", "where-disks-are", "--display-name", "Where disks are")
	definition := s.az.Query(t, "id", "policy", "definition", "show", "-n", "where-disks-are")
	members := s.plane.Write(t, "members.json", `[{"policyDefinitionId": "`+definition+`", "policyDefinitionReferenceId": "disks", "parameters": {"allowed": {"value": ["eastus"]}, "effect": {"value": "Audit"}}}]`)
	s.expect(t, "disks", "policyDefinitions[].policyDefinitionReferenceId", "policy", "set-definition", "create", "-n", "places", "--definitions", members)
	s.expect(t, "places", "name", "policy", "set-definition", "show", "-n", "places")
	s.expect(t, "places", "[?policyType=='Custom'].name", "policy", "set-definition", "list")
	s.expect(t, "Places", "displayName", "policy", "set-definition", "update", "-n", "places", "--display-name", "Places")

	s.az.Run(t, "disk", "create", "-g", "web", "-n", "far", "-l", "westeurope", "--size-gb", "1")
	s.expect(t, group, "scope", "policy", "assignment", "create", "-n", "deny-far", "--policy", "where-disks-are", "--scope", group, "-p", `{"allowed": {"value": ["eastus"]}}`)
	s.expect(t, group, "scope", "policy", "assignment", "create", "-n", "audit-far", "--policy-set-definition", "places", "--scope", group)
	s.expect(t, "audit-far deny-far", "sort([].name)", "policy", "assignment", "list", "-g", "web")
	s.expect(t, "Default", "enforcementMode", "policy", "assignment", "show", "-n", "deny-far", "--scope", group)
	s.expect(t, "Far disks", "displayName", "policy", "assignment", "update", "-n", "deny-far", "--scope", group, "--display-name", "Far disks")
	s.refused(t, 1, []string{"RequestDisallowedByPolicy", "deny-far"}, "disk", "create", "-g", "web", "-n", "farther", "-l", "westeurope", "--size-gb", "1")
	s.expect(t, "far", "[].name", "disk", "list", "-g", "web")

	s.az.Run(t, "policy", "state", "trigger-scan", "-g", "web")
	s.expect(t, "audit-far deny-far", "sort([?complianceState=='NonCompliant'].policyAssignmentName)", "policy", "state", "list", "-g", "web")
	s.expect(t, "1", "results.nonCompliantResources", "policy", "state", "summarize", "-g", "web")
	s.expect(t, "deny", "[?policyDefinitionAction=='deny']|[0].policyDefinitionAction", "policy", "event", "list", "-g", "web")

	assignment := s.az.Query(t, "id", "policy", "assignment", "show", "-n", "deny-far", "--scope", group)
	s.expect(t, "Waiver", "exemptionCategory", "policy", "exemption", "create", "-n", "moving", "--policy-assignment", assignment, "--exemption-category", "Waiver", "--scope", group, "--expires-on", "2099-01-01T00:00:00Z")
	s.expect(t, "moving", "[].name", "policy", "exemption", "list", "-g", "web")
	s.expect(t, "Mitigated", "exemptionCategory", "policy", "exemption", "update", "-n", "moving", "--scope", group, "--exemption-category", "Mitigated")
	s.expect(t, "Mitigated", "exemptionCategory", "policy", "exemption", "show", "-n", "moving", "--scope", group)
	s.expect(t, "Exempt", "[?policyAssignmentName=='deny-far'].complianceState", "policy", "state", "list", "-g", "web")
	s.az.Run(t, "policy", "exemption", "delete", "-n", "moving", "--scope", group)
	s.expect(t, "NonCompliant", "[?policyAssignmentName=='deny-far'].complianceState", "policy", "state", "list", "-g", "web")

	for _, name := range []string{"deny-far", "audit-far"} {
		s.az.Run(t, "policy", "assignment", "delete", "-n", name, "--scope", group)
	}
	s.expect(t, "", "[].name", "policy", "assignment", "list", "-g", "web")
	s.remediation(t, group)
	s.az.Run(t, "policy", "set-definition", "delete", "-n", "places")
	s.az.Run(t, "policy", "definition", "delete", "-n", "where-disks-are")
	s.refused(t, 3, []string{"PolicyDefinitionNotFound"}, "policy", "definition", "show", "-n", "where-disks-are")
	s.az.Run(t, "disk", "delete", "-g", "web", "-n", "far", "--yes")
}

const tagRule = `{"if": {"allOf": [{"field": "type", "equals": "Microsoft.Compute/disks"}, {"field": "tags['owner']", "exists": false}]},
  "then": {"effect": "modify", "details": {"roleDefinitionIds": ["/providers/microsoft.authorization/roleDefinitions/b24988ac-6180-42a0-ab88-20f7382dd24c"],
    "operations": [{"operation": "add", "field": "tags['owner']", "value": "platform"}]}}}`

// remediation has a tag put onto a disk that was there before the policy, as the
// assignment's identity: first one without rights, then one that may write tags.
func (s *suite) remediation(t *testing.T, group string) {
	s.az.Run(t, "policy", "definition", "create", "-n", "owner", "--rules", s.plane.Write(t, "tag.json", tagRule), "--mode", "Indexed")
	s.refused(t, 1, []string{"ResourceIdentityRequired"}, "policy", "assignment", "create", "-n", "owner", "--policy", "owner", "--scope", group)
	s.az.Run(t, "policy", "assignment", "create", "-n", "owner", "--policy", "owner", "--scope", group, "--mi-system-assigned", "-l", "eastus")
	principal := s.az.Query(t, "principalId", "policy", "assignment", "identity", "show", "-n", "owner", "--scope", group)
	s.az.Run(t, "policy", "remediation", "create", "-n", "refused", "-g", "web", "--policy-assignment", "owner")
	outside.Until(t, "the remediation without rights ends", func() bool {
		return s.az.Query(t, "provisioningState", "policy", "remediation", "show", "-n", "refused", "-g", "web") == "Failed"
	})
	s.expect(t, "AuthorizationFailed", "[].error.code", "policy", "remediation", "deployment", "list", "-n", "refused", "-g", "web")
	s.az.Run(t, "role", "assignment", "create", "--assignee-object-id", principal, "--assignee-principal-type", "ServicePrincipal", "--role", "Tag Contributor", "--scope", group)
	s.az.Run(t, "policy", "remediation", "create", "-n", "owners", "-g", "web", "--policy-assignment", "owner")
	s.wait(t, "Succeeded", "provisioningState", "policy", "remediation", "show", "-n", "owners", "-g", "web")
	s.expect(t, "owners refused", "sort([].name)", "policy", "remediation", "list", "-g", "web")
	s.expect(t, "Succeeded", "[].status", "policy", "remediation", "deployment", "list", "-n", "owners", "-g", "web")
	s.expect(t, "platform", "tags.owner", "disk", "show", "-g", "web", "-n", "far")
	s.refused(t, 1, []string{"InvalidCancelRemediationRequest"}, "policy", "remediation", "cancel", "-n", "owners", "-g", "web")
	s.az.Run(t, "policy", "remediation", "delete", "-n", "owners", "-g", "web")
	s.az.Run(t, "policy", "assignment", "delete", "-n", "owner", "--scope", group)
	s.userAssigned(t, group)
	s.az.Run(t, "policy", "definition", "delete", "-n", "owner")
}

// userAssigned has the same done by an identity that is a resource of its own.
func (s *suite) userAssigned(t *testing.T, group string) {
	s.az.Run(t, "tag", "update", "--resource-id", s.az.Query(t, "id", "disk", "show", "-g", "web", "-n", "far"), "--operation", "replace", "--tags", "a=b")
	id := s.az.Query(t, "id", "identity", "create", "-g", "web", "-n", "remedy", "-l", "eastus")
	principal := s.az.Query(t, "principalId", "identity", "show", "-g", "web", "-n", "remedy")
	s.az.Run(t, "role", "assignment", "create", "--assignee-object-id", principal, "--assignee-principal-type", "ServicePrincipal", "--role", "Tag Contributor", "--scope", group)
	s.expect(t, "UserAssigned", "identity.type", "policy", "assignment", "create", "-n", "owner", "--policy", "owner", "--scope", group, "--mi-user-assigned", id, "-l", "eastus")
	s.expect(t, principal, "userAssignedIdentities.*.principalId", "policy", "assignment", "identity", "show", "-n", "owner", "--scope", group)
	s.az.Run(t, "policy", "remediation", "create", "-n", "by-remedy", "-g", "web", "--policy-assignment", "owner")
	s.wait(t, "Succeeded", "provisioningState", "policy", "remediation", "show", "-n", "by-remedy", "-g", "web")
	s.expect(t, "platform", "tags.owner", "disk", "show", "-g", "web", "-n", "far")

	s.refused(t, 1, []string{"ResourceIdentityRequired"}, "policy", "assignment", "identity", "remove", "-n", "owner", "--scope", group, "--user-assigned", id)
	s.az.Run(t, "policy", "assignment", "create", "-n", "plain", "--policy", "where-disks-are", "--scope", group, "-p", `{"allowed": {"value": ["eastus", "westeurope"]}}`, "-l", "eastus")
	s.az.Run(t, "policy", "assignment", "identity", "remove", "-n", "plain", "--scope", group, "--system-assigned") // a location alone gets it one, says az
	s.expect(t, "UserAssigned", "type", "policy", "assignment", "identity", "assign", "-n", "plain", "--scope", group, "--user-assigned", id)
	s.az.Run(t, "policy", "assignment", "identity", "remove", "-n", "plain", "--scope", group, "--user-assigned", id)
	s.expect(t, "", "identity.userAssignedIdentities", "policy", "assignment", "show", "-n", "plain", "--scope", group)
	s.expect(t, "SystemAssigned", "type", "policy", "assignment", "identity", "assign", "-n", "plain", "--scope", group, "--system-assigned")
	s.az.Run(t, "policy", "assignment", "identity", "remove", "-n", "plain", "--scope", group, "--system-assigned")
	for _, name := range []string{"owner", "plain"} {
		s.az.Run(t, "policy", "assignment", "delete", "-n", name, "--scope", group)
	}
	s.az.Run(t, "identity", "delete", "-g", "web", "-n", "remedy")
}
