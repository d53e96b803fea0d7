package provider

import (
	"encoding/json"
	"testing"

	"hallmark.dev/hallmark/internal/store"
)

func TestFilters(t *testing.T) {
	d := &store.Document{ID: "/subscriptions/S/resourceGroups/Web/providers/Microsoft.Compute/virtualMachines/app-1", Type: "Microsoft.Compute/virtualMachines",
		ResourceGroup: "Web", Location: "westeurope", Tags: map[string]string{"Team": "Blue", "cost": "x and 'y'"},
		Body: json.RawMessage(`{"kind":"k","identity":{"principalId":"P"},"plan":{"publisher":"contoso"}}`)}
	for text, want := range map[string]bool{
		"": true,
		"resourceType eq 'microsoft.compute/VIRTUALMACHINES'":                       true,
		"resourceType ne 'microsoft.compute/virtualmachines'":                       false,
		"name eq 'app-1' and resourceGroup eq 'web'":                                true,
		"name eq 'app-2' or resourceGroup eq 'web'":                                 true,
		"name eq 'app-2' or resourceGroup eq 'db'":                                  false,
		"name eq 'x' and name eq 'y' or location eq 'West Europe'":                  true,
		"(name eq 'x' or name eq 'app-1') and (location eq 'a' or location eq 'b')": false,
		"tagName eq 'team'":                                                                 true,
		"tagName eq 'team' and tagValue eq 'Blue'":                                          true,
		"tagName eq 'team' and tagValue eq 'blue'":                                          false,
		"tagName eq 'team' and tagValue eq 'x and ''y'''":                                   false,
		"tagName eq 'cost' and tagValue eq 'x and ''y'''":                                   true,
		"tagName eq 'a' and tagValue eq 'Blue' or tagName eq 'TEAM' and tagValue eq 'Blue'": true,
		"tagName ne 'team'":                                                                 false,
		"startswith(tagName, 'te')":                                                         true,
		"startswith(tagname,'zz')":                                                          false,
		"substringof('PP', name)":                                                           true,
		"substringof('zz',name)":                                                            false,
		"startswith(name, 'APP')":                                                           true,
		"substringof('we',resourceGroup)":                                                   true,
		"identity/principalId eq 'p'":                                                       true,
		"plan/publisher eq 'fabrikam'":                                                      false,
		"kind eq 'k' and atScope()":                                                         true,
		"atScope()":                                                                         true,
	} {
		f, err := parseFilter(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := f.matches(d); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	for _, bad := range []string{"name", "name eq", "name eq app", "name gt 'a'", "nothing eq 'a'", "name eq 'a", "name eq 'a' and", "(name eq 'a'", "name eq 'a')", "substringof(name)", "substringof('a', tagValue)",
		"name eq 'a' name eq 'b'", "((((((((((((((((((name eq 'a'))))))))))))))))))"} {
		if _, err := parseFilter(bad); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

func TestFiltersOfATypesOwnProperties(t *testing.T) {
	d := &store.Document{ID: "/subscriptions/S/x", Body: json.RawMessage(`{"properties":{"policyAssignmentId":"/A","complianceState":"Compliant"}}`)}
	for text, want := range map[string]bool{
		"PolicyAssignmentId eq '/a'":                                    true,
		"policyAssignmentId eq '/a' AND complianceState eq 'Compliant'": true,
		"policyAssignmentId eq '/a' and complianceState ne 'Compliant'": false,
	} {
		f, err := parseFilter(text, "policyAssignmentId", "complianceState")
		if err != nil || f.matches(d) != want {
			t.Errorf("%s: not %v, %v", text, want, err)
		}
	}
	if _, err := parseFilter("complianceState eq 'a'"); err == nil {
		t.Error("a property of another type was taken")
	}
}

func FuzzFilter(f *testing.F) {
	f.Add("name eq 'a' and (tagName eq 'b' or startswith(name, 'c'))")
	d := &store.Document{ID: "/subscriptions/S", Body: json.RawMessage(`{}`)}
	f.Fuzz(func(t *testing.T, text string) {
		if parsed, err := parseFilter(text); err == nil {
			parsed.matches(d)
			parsed.required("name")
		}
	})
}
