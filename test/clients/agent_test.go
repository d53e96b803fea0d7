package clients_test

import (
	"strings"
	"testing"
)

// agentRule has an agent installed, by an extension, on the machine governed.
const agentRule = `{"if": {"allOf": [{"field": "type", "equals": "Microsoft.Compute/virtualMachines"}, {"field": "name", "equals": "governed"}]},
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

// agentByPolicy has a policy install an agent on a machine as soon as it is made, as the
// assignment's identity, and sees the agent run.
func (s *suite) agentByPolicy(t *testing.T) {
	group := strings.TrimSuffix(s.endpoint.Group(""), "hallmark") + "web"
	s.az.Run(t, "policy", "definition", "create", "-n", "agent", "--rules", s.plane.Write(t, "agent.json", agentRule), "--mode", "Indexed")
	s.az.Run(t, "policy", "assignment", "create", "-n", "agent", "--policy", "agent", "--scope", group, "--mi-system-assigned", "--role", "Contributor", "--identity-scope", group, "-l", "eastus")
	s.create(t, "governed", "Debian:debian-12:12-gen2:latest")
	s.wait(t, "agent", "[?provisioningState=='Succeeded'].name", "vm", "extension", "list", "-g", "web", "--vm-name", "governed")
	if got := s.ssh(t, "governed", "systemctl is-active corp-agent"); got != "active" {
		t.Errorf("the agent is %q", got)
	}
	s.expect(t, "Compliant", "[?policyAssignmentName=='agent' && ends_with(resourceId, '/governed')].complianceState", "policy", "state", "list", "-g", "web")
	s.az.Run(t, "vm", "delete", "-g", "web", "-n", "governed", "--yes")
}
