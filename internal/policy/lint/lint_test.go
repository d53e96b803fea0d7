package lint

import (
	"strings"
	"testing"

	"hallmark.dev/hallmark/internal/policy/alias"
)

func TestDefinition(t *testing.T) {
	rule := func(condition string) string { return `{"if":` + condition + `,"then":{"effect":"audit"}}` }
	vm := func(condition string) string {
		return rule(`{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},` + condition + `]}`)
	}
	tests := []struct{ name, text, want string }{
		{"clean", vm(`{"field":"Microsoft.Compute/virtualMachines/sku.name","in":["a"]}`), ""},
		{"broken", `{"if":{"field":"a"},"then":{"effect":"audit"}}`, "InvalidPolicyRule"},
		{"unknown alias", vm(`{"field":"Microsoft.Compute/virtualMachines/storageProfile.osDisk.osTyp","equals":"x"}`), "unknown-alias"},
		{"contradiction", vm(`{"field":"TYPE","equals":"Microsoft.Compute/disks"}`), "never-holds"},
		{"empty in", vm(`{"field":"name","in":[]}`), "never-holds"},
		{"greater than a list", vm(`{"field":"name","greater":[1]}`), "never-holds"},
		{"count below zero", vm(`{"count":{"field":"Microsoft.Compute/virtualMachines/storageProfile.dataDisks[*]"},"less":0}`), "never-holds"},
		{"exists", vm(`{"field":"name","exists":"yes"}`), "bad-exists"},
		{"like", vm(`{"field":"name","like":"abc"}`), "like-without-wildcard"},
		{"no type", rule(`{"field":"Microsoft.Compute/virtualMachines/sku.name","notIn":["a"]}`), "no-type-guard"},
		{"other type", vm(`{"field":"Microsoft.Storage/storageAccounts/minimumTlsVersion","equals":"a"}`), "alias-of-other-type"},
		{"unused parameter", `{"parameters":{"p":{"type":"String"}},"policyRule":` + rule(`{"field":"name","equals":"a"}`) + `}`, "unused-parameter"},
		{"undeclared parameter", rule(`{"field":"name","equals":"[parameters('p')]"}`), "undeclared-parameter"},
		{"default not allowed", `{"parameters":{"p":{"type":"String","allowedValues":["a"],"defaultValue":"b"}},"policyRule":` + rule(`{"field":"name","equals":"[parameters('p')]"}`) + `}`, "bad-default"},
		{"mode", `{"mode":"Indexed","policyRule":` + rule(`{"field":"type","equals":"Microsoft.Authorization/roleAssignments"}`) + `}`, "mode-does-not-fit"},
		{"delay", `{"policyRule":{"if":{"field":"type","equals":"Microsoft.Compute/virtualMachines"},"then":{"effect":"auditIfNotExists","details":{"type":"Microsoft.Compute/virtualMachines/extensions","evaluationDelay":"PT7H"}}}}`, "bad-delay"},
		{"good delay", `{"policyRule":{"if":{"field":"type","equals":"Microsoft.Compute/virtualMachines"},"then":{"effect":"auditIfNotExists","details":{"type":"Microsoft.Compute/virtualMachines/extensions","evaluationDelay":"PT6H"}}}}`, ""},
		{"unknown mode", `{"mode":"Some","policyRule":` + rule(`{"field":"name","equals":"a"}`) + `}`, "unknown-mode"},
	}
	for _, tt := range tests {
		var rules []string
		for _, f := range Definition(tt.text, alias.Default()) {
			rules = append(rules, f.Rule)
		}
		if got := strings.Join(rules, " "); !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestNearestAliasIsNamed(t *testing.T) {
	text := `{"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},{"field":"Microsoft.Compute/virtualMachines/storageProfile.osDisk.osTyp","equals":"x"}]},"then":{"effect":"audit"}}`
	findings := Definition(text, alias.Default())
	if len(findings) != 1 || !strings.HasSuffix(findings[0].Message, "osDisk.osType") || findings[0].Line != 1 {
		t.Errorf("%+v", findings)
	}
}
