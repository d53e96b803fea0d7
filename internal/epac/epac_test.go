package epac

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sub = "/subscriptions/00000000-0000-0000-0000-000000000001"

func raw(texts ...string) (out []json.RawMessage) {
	for _, t := range texts {
		out = append(out, json.RawMessage(strings.ReplaceAll(t, "SUB", sub+"/providers/Microsoft.Authorization")))
	}
	return out
}

func TestExport(t *testing.T) {
	files, notes, err := Export(Estate{
		Definitions: raw(`{"id":"SUB/policyDefinitions/tags","name":"tags","properties":{"displayName":"Tags","policyType":"Custom","mode":"Indexed","version":"1.0.0",
			"metadata":{"category":"Golden images","version":"1.2.0","createdBy":"x","createdOn":"2026-01-01"},"policyRule":{"if":{"field":"type","equals":"x"},"then":{"effect":"audit"}}}}`),
		Initiatives: raw(`{"id":"SUB/policySetDefinitions/both","name":"both","properties":{"displayName":"","metadata":{},"parameters":{"p":{"type":"String"}},"policyDefinitionGroups":[{"name":"g"}],
			"policyDefinitions":[{"policyDefinitionReferenceId":"a","policyDefinitionId":"SUB/policyDefinitions/tags","definitionVersion":"1.*.*","groupNames":["g"]},
			{"policyDefinitionReferenceId":"b","policyDefinitionId":"/providers/Microsoft.Authorization/policyDefinitions/1234","definitionVersion":"2.*.*","parameters":{"effect":{"value":"[parameters('p')]"}}}]}}`),
		Assignments: raw(`{"id":"SUB/policyAssignments/golden","name":"golden","location":"eastus","identity":{"type":"SystemAssigned","principalId":"x"},
			"properties":{"policyDefinitionId":"SUB/policySetDefinitions/both","displayName":"Golden","description":"https://wiki","enforcementMode":"Default","scope":"` + sub + `",
			"notScopes":["` + sub + `/resourceGroups/build"],"parameters":{"p":{"value":"Audit"}},"nonComplianceMessages":[{"message":"m"}],"metadata":{"createdBy":"x"},
			"overrides":[{"kind":"policyEffect","value":"Disabled","selectors":[{"kind":"policyDefinitionReferenceId","in":["a"]}]},{"kind":"definitionVersion","value":"1.0.*"}]}}`),
		Exemptions: raw(`{"id":"` + sub + `/resourceGroups/g/providers/Microsoft.Authorization/policyExemptions/x","name":"x","properties":{"policyAssignmentId":"SUB/policyAssignments/golden",
			"exemptionCategory":"Waiver","expiresOn":"2027-01-31T00:00:00Z","policyDefinitionReferenceIds":["a"],"metadata":{"owner":"ann","updatedBy":null}}}`),
	}, Options{Selector: "epac-prod", Tenant: "t", Root: sub, Location: "eastus", Owner: "o"})
	if err != nil {
		t.Fatal(err)
	}
	if len(notes) != 1 || !strings.Contains(notes[0], "overrides[1]") {
		t.Error(notes)
	}
	want := map[string]string{
		"global-settings.jsonc": `{"pacOwnerId":"o","pacEnvironments":[{"pacSelector":"epac-prod","cloud":"AzureCloud","tenantId":"t","deploymentRootScope":"` + sub + `","desiredState":{"strategy":"ownedOnly","keepDfcSecurityAssignments":true},"managedIdentityLocation":"eastus"}]}`,
		"policyDefinitions/Golden images/tags.json": `{"name":"tags","properties":{"displayName":"Tags","description":"","mode":"Indexed","metadata":{"category":"Golden images","version":"1.2.0"},"parameters":{},
			"policyRule":{"if":{"field":"type","equals":"x"},"then":{"effect":"audit"}}}}`,
		"policySetDefinitions/General/both.json": `{"name":"both","properties":{"displayName":"both","description":"","metadata":{"category":"General","version":"1.0.0"},"policyDefinitionGroups":[{"name":"g"}],"parameters":{"p":{"type":"String"}},
			"policyDefinitions":[{"policyDefinitionReferenceId":"a","policyDefinitionName":"tags","parameters":{},"groupNames":["g"]},
			{"policyDefinitionReferenceId":"b","policyDefinitionId":"/providers/Microsoft.Authorization/policyDefinitions/1234","definitionVersion":"2.*.*","parameters":{"effect":{"value":"[parameters('p')]"}}}]}}`,
		"policyAssignments/golden.json": `{"nodeName":"/golden","scope":{"epac-prod":["` + sub + `"]},"definitionEntry":{"policySetName":"both","displayName":"Golden"},
			"assignment":{"name":"golden","displayName":"Golden","description":"https://wiki"},"enforcementMode":"Default","parameters":{"p":"Audit"},"notScopes":{"epac-prod":["` + sub + `/resourceGroups/build"]},
			"nonComplianceMessages":[{"message":"m"}],"overrides":[{"policySetName":"both","effect":"Disabled","policyDefinitionReferences":["a"]}],"managedIdentityLocations":{"epac-prod":"eastus"},"metadata":{}}`,
		"policyExemptions/epac-prod/x.json": `{"exemptions":[{"name":"x","displayName":"x","description":"","exemptionCategory":"Waiver","expiresOn":"2027-01-31T00:00:00Z","scope":"` + sub + `/resourceGroups/g",
			"policyAssignmentId":"` + sub + `/providers/Microsoft.Authorization/policyAssignments/golden","policyDefinitionReferenceIds":["a"],"metadata":{"owner":"ann"}}]}`,
	}
	for _, f := range files {
		var got, wanted map[string]any
		if err := json.Unmarshal([]byte(f.Text), &got); err != nil {
			t.Fatalf("%s: %v", f.Path, err)
		}
		if s, _ := got["$schema"].(string); !strings.HasPrefix(s, schemas) {
			t.Errorf("%s: the schema is %q", f.Path, s)
		}
		delete(got, "$schema")
		if err := json.Unmarshal([]byte(want[f.Path]), &wanted); err != nil {
			t.Fatalf("%s is not expected", f.Path)
		}
		if diff := cmp.Diff(wanted, got); diff != "" {
			t.Errorf("%s: %s", f.Path, diff)
		}
	}
	if len(files) != len(want) {
		t.Errorf("%d files, want %d", len(files), len(want))
	}
}

// Names come from others; a file must not get out of the folder, nor cover another.
func TestNamesStayInTheirFolder(t *testing.T) {
	doc := `{"name":"../../x","properties":{"metadata":{"category":".."},"policyRule":{}}}`
	files, _, err := Export(Estate{Definitions: raw(doc, doc)}, Options{Selector: "../s"})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := files[1].Path, files[2].Path; a != "policyDefinitions/unnamed/-..-x.json" || b != "policyDefinitions/unnamed/-..-x-2.json" {
		t.Error(a, b)
	}
}
