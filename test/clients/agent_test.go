package clients_test

import (
	"strings"
	"testing"
)

// agentRule has an agent installed, by an extension, on the machine by-urn.
const agentRule = `{"if": {"allOf": [{"field": "type", "equals": "Microsoft.Compute/virtualMachines"}, {"field": "name", "equals": "by-urn"}]},
  "then": {"effect": "deployIfNotExists", "details": {
    "type": "Microsoft.Compute/virtualMachines/extensions", "name": "[concat(field('name'), '/agent')]",
    "roleDefinitionIds": ["/providers/Microsoft.Authorization/roleDefinitions/b24988ac-6180-42a0-ab88-20f7382dd24c"],
    "existenceCondition": {"field": "Microsoft.Compute/virtualMachines/extensions/provisioningState", "equals": "Succeeded"},
    "deployment": {"properties": {"mode": "incremental",
      "parameters": {"machine": {"value": "[field('name')]"}, "location": {"value": "[field('location')]"}},
      "template": {"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",
        "parameters": {"machine": {"type": "string"}, "location": {"type": "string"}},
        "resources": [{"type": "Microsoft.Compute/virtualMachines/extensions", "apiVersion": "2022-03-01",
          "name": "[concat(parameters('machine'), '/agent')]", "location": "[parameters('location')]",
          "properties": {"publisher": "Microsoft.Azure.Extensions", "type": "CustomScript", "typeHandlerVersion": "2.1", "autoUpgradeMinorVersion": true,
            "settings": {"commandToExecute": "printf '[Service]\\nExecStart=/bin/sleep infinity\\n[Install]\\nWantedBy=multi-user.target\\n' > /etc/systemd/system/corp-agent.service && systemctl enable --now corp-agent"}}}]}}}}}}`

// agentByPolicy has a policy install an agent on a machine that was there before it, as
// the assignment's identity, and sees the agent run.
func (s *suite) agentByPolicy(t *testing.T) {
	group := strings.TrimSuffix(s.endpoint.Group(""), "hallmark") + "web"
	s.az.Run(t, "policy", "definition", "create", "-n", "agent", "--rules", s.plane.Write(t, "agent.json", agentRule), "--mode", "Indexed")
	s.az.Run(t, "policy", "assignment", "create", "-n", "agent", "--policy", "agent", "--scope", group, "--mi-system-assigned", "--role", "Contributor", "--identity-scope", group, "-l", "eastus")
	s.expect(t, "NonCompliant", "[?policyAssignmentName=='agent'].complianceState", "policy", "state", "list", "-g", "web")
	s.az.Run(t, "policy", "remediation", "create", "-n", "agents", "-g", "web", "--policy-assignment", "agent")
	s.wait(t, "Succeeded", "provisioningState", "policy", "remediation", "show", "-n", "agents", "-g", "web")
	if got := s.ssh(t, "by-urn", "systemctl is-active corp-agent"); got != "active" {
		t.Errorf("the agent is %q", got)
	}
	s.expect(t, "Compliant", "[?policyAssignmentName=='agent'].complianceState", "policy", "state", "list", "-g", "web")
	deployment := s.az.Query(t, "[0].deploymentId", "policy", "remediation", "deployment", "list", "-n", "agents", "-g", "web")
	s.expect(t, "Succeeded", "properties.provisioningState", "deployment", "group", "show", "-g", "web", "-n", deployment[strings.LastIndexByte(deployment, '/')+1:])
}
