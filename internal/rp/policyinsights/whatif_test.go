package policyinsights_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/compliance"
	"hallmark.dev/hallmark/internal/provider/providertest"
)

const supposed = `"definitions":[
	{"name":"sizes","properties":{"mode":"Indexed","displayName":"Small machines","parameters":{"effect":{"type":"String","defaultValue":"Deny"}},"policyRule":` +
	`{"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},{"field":"Microsoft.Compute/virtualMachines/sku.name","like":"*_M*"}]},"then":{"effect":"[parameters('effect')]"}}}},
	{"name":"owners","properties":{"mode":"Indexed","policyRule":{"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},{"field":"tags['owner']","exists":false}]},
		"then":{"effect":"modify","details":{"roleDefinitionIds":["/x"],"operations":[{"operation":"add","field":"tags['owner']","value":"nobody"}]}}}}},
	{"name":"both","properties":{"parameters":{"sizeEffect":{"type":"String","defaultValue":"Deny"}},"policyDefinitions":[
		{"policyDefinitionReferenceId":"size","policyDefinitionId":"SUB/providers/Microsoft.Authorization/policyDefinitions/sizes","parameters":{"effect":{"value":"[parameters('sizeEffect')]"}}},
		{"policyDefinitionReferenceId":"owner","policyDefinitionId":"SUB/providers/Microsoft.Authorization/policyDefinitions/owners"}]}}]`

func whatIf(properties string) string {
	return strings.ReplaceAll(`{"teamTag":"Owner","assignment":{"properties":{"policyDefinitionId":"SUB/providers/Microsoft.Authorization/policySetDefinitions/both"`+properties+`}},`+supposed+`}`, "SUB", subscription())
}

// A what-if says what an assignment would do, by team, and leaves nothing behind.
func TestWhatIf(t *testing.T) {
	s := estate(t)
	var got compliance.WhatIf
	if err := json.Unmarshal(do(t, s, "POST", subscription()+"/providers/Hallmark.Compliance/whatIf", whatIf(""), 200), &got); err != nil {
		t.Fatal(err)
	}
	want := compliance.WhatIf{Scope: subscription(), Enforced: true,
		Total: compliance.Impact{Resources: 3, Flagged: 2, Denied: 2, Changed: 1},
		Policies: []compliance.PolicyImpact{{ReferenceID: "size", Name: "Small machines", Impact: compliance.Impact{Resources: 3, Flagged: 2, Denied: 2}},
			{ReferenceID: "owner", Name: "owners", Impact: compliance.Impact{Resources: 3, Flagged: 1, Changed: 1}}},
		Teams: []compliance.TeamImpact{
			{Team: "", Impact: compliance.Impact{Resources: 1, Flagged: 1, Denied: 1, Changed: 1}},
			{Team: "bob", Impact: compliance.Impact{Resources: 1, Flagged: 1, Denied: 1}},
			{Team: "ann", Impact: compliance.Impact{Resources: 1}}}}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(compliance.PolicyImpact{}, "DefinitionID"), cmpopts.IgnoreFields(compliance.TeamImpact{}, "Examples")); diff != "" {
		t.Error(diff)
	}
	examples := got.Teams[0].Examples
	if len(examples) != 2 || examples[0].What != "deny" || examples[1].What != "change" || examples[1].Changes[0] != `add tags['owner'] = "nobody"` || !strings.Contains(examples[0].Reasons[0], "Standard_M8") {
		t.Errorf("%+v", examples)
	}
	do(t, s, "GET", subscription()+"/providers/Microsoft.Authorization/policySetDefinitions/both", "", 404)
	do(t, s, "PUT", vm("d"), `{"location":"local","properties":{"hardwareProfile":{"vmSize":"Standard_M8"}}}`, 201)

	if err := json.Unmarshal(do(t, s, "POST", subscription()+"/providers/Hallmark.Compliance/whatIf", whatIf(`,"notScopes":["SUB"],"enforcementMode":"DoNotEnforce"`), 200), &got); err != nil {
		t.Fatal(err)
	}
	if got.Enforced || got.Total.Resources != 0 {
		t.Errorf("%+v", got)
	}
}

func TestWhatIfTellsEverythingThatIsWrong(t *testing.T) {
	s := estate(t)
	var e struct {
		Error struct {
			Details []struct{ Code, Target string }
		}
	}
	body := `{"examples":-1,"assignment":{"properties":{"policyDefinitionId":""}},"definitions":[{"name":"x","properties":{"policyRule":{"if":{"field":"a"},"then":{"effect":"audit"}}}},{"properties":{"policyDefinitions":[]}}]}`
	if err := json.Unmarshal(do(t, s, "POST", subscription()+"/providers/Hallmark.Compliance/whatIf", body, 400), &e); err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, d := range e.Error.Details {
		targets = append(targets, d.Target)
	}
	want := []string{"examples", "definitions[0].properties.policyRule.if", "definitions[1].name", "assignment.properties.policyDefinitionId"}
	if diff := cmp.Diff(want, targets); diff != "" {
		t.Error(diff)
	}
	for _, body := range []string{`{}`, `{"assignment":[]}`, whatIf(`,"parameters":{"sizeEffect":{"value":1}}`), whatIf(`,"parameters":{"no":{"value":"x"}}`),
		`{"assignment":{"properties":{"policyDefinitionId":"` + subscription() + `/providers/Microsoft.Authorization/policyDefinitions/sizes","parameters":{"no":{"value":1}}}}}`,
		`{"assignment":{"properties":{"policyDefinitionId":"/no/such"}}}`, `{"assignment":{"name":"a/b","properties":{"policyDefinitionId":"` + subscription() + `/providers/Microsoft.Authorization/policyDefinitions/none"}}}`} {
		do(t, s, "POST", subscription()+"/providers/Hallmark.Compliance/whatIf", body, 400)
	}
}

// Everything there is to say about one resource, from one question.
func TestExplain(t *testing.T) {
	s := estate(t)
	do(t, s, "PUT", vm("b")+"/providers/Microsoft.Authorization/policyExemptions/x", `{"properties":{"exemptionCategory":"Waiver","expiresOn":"2099-01-31T00:00:00Z",
		"metadata":{"owner":"ann","ticket":"T-1"},"policyAssignmentId":"`+subscription()+`/providers/Microsoft.Authorization/policyAssignments/tags"}}`, 201)
	var got struct {
		ComplianceState string
		Policies        []struct {
			DisplayName, ComplianceState, Effect string
			Reasons, Advice                      []string
			Exemption                            *struct{ Owner, Ticket string }
			Explanation                          struct{ Kind string }
		}
	}
	if err := json.Unmarshal(do(t, s, "POST", vm("b")+"/providers/Hallmark.Compliance/explain", "", 200), &got); err != nil {
		t.Fatal(err)
	}
	if got.ComplianceState != "NonCompliant" || len(got.Policies) != 2 {
		t.Fatalf("%+v", got)
	}
	size, tags := got.Policies[0], got.Policies[1]
	if size.ComplianceState != "NonCompliant" || size.Explanation.Kind != "allOf" || len(size.Reasons) != 1 || !strings.Contains(size.Reasons[0], "Standard_M8") || len(size.Advice) != 2 {
		t.Errorf("%+v", size)
	}
	if tags.ComplianceState != "Exempt" || tags.Exemption == nil || tags.Exemption.Owner != "ann" || tags.Exemption.Ticket != "T-1" || !strings.Contains(tags.Advice[0], "2099-01-31") {
		t.Errorf("%+v", tags)
	}
	do(t, s, "POST", vm("nobody")+"/providers/Hallmark.Compliance/explain", "", 404)
	do(t, s, "POST", subscription()+"/providers/Hallmark.Compliance/explain", "", 200)
	do(t, s, "POST", "/providers/Hallmark.Compliance/explain", "", 404)
	token, _ := s.TokenFor(t, "", arm.Tenant) // no role anywhere
	for _, path := range []string{vm("b") + "/providers/Hallmark.Compliance/explain", subscription() + "/providers/Hallmark.Compliance/whatIf"} {
		if status, _, _ := s.DoAs(t, token, "POST", providertest.Query(path, "2026-11-01"), whatIf("")); status != 403 {
			t.Errorf("%s without rights: %d", path, status)
		}
	}
}
