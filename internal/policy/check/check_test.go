package check

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/junit"
	"hallmark.dev/hallmark/internal/policy/alias"
	"hallmark.dev/hallmark/internal/sarif"
)

var update = flag.Bool("update", false, "write the golden files")

var now = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

// check reads, loads and checks.
func checked(t *testing.T, names []string, o Options, p Policies) *Report {
	t.Helper()
	in, err := Read(names, o)
	if err != nil {
		t.Fatal(err)
	}
	p.Aliases, p.Subscriptions = alias.Default(), in.Subscriptions()
	rules, err := Load(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return rules.Check(in, now)
}

func rendered(t *testing.T, format string, r *Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, format, r, Info{Version: "test"}); err != nil {
		t.Fatal(err)
	}
	return filepath.ToSlash(b.String())
}

// Every kind of input, as people see it: each finding with its file and line, and
// what is unknown named.
func TestCheck(t *testing.T) {
	for _, name := range []string{"terraform", "template", "documents"} {
		t.Run(name, func(t *testing.T) {
			got := rendered(t, "table", checked(t, []string{"testdata/" + name}, Options{}, Policies{Files: []string{"testdata/policies"}}))
			golden := "testdata/" + name + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("-want +got (-update writes it):\n%s", diff)
			}
		})
	}
}

// Ids of the plan's own resources are known where the subscription is.
func TestIDsWithinAPlan(t *testing.T) {
	r := checked(t, []string{"testdata/terraform"}, Options{Place: Place{Subscription: "0b1f6471-1bf0-4dda-aec3-cb9272f09590"}}, Policies{Files: []string{"testdata/policies/images.json"}})
	states := map[string]State{}
	for _, f := range r.Findings {
		states[f.Resource] = f.State
	}
	want := map[string]State{`azurerm_linux_virtual_machine.web["a"]`: Compliant, "azapi_resource.vm": Unknown, "azapi_update_resource.vm": Unknown}
	if diff := cmp.Diff(want, states); diff != "" {
		t.Error(diff)
	}
}

func TestNoSecretInAnyReport(t *testing.T) {
	for _, name := range []string{"terraform", "template"} {
		r := checked(t, []string{"testdata/" + name}, Options{}, Policies{Files: []string{"testdata/policies"}})
		for _, format := range Formats() {
			if strings.Contains(rendered(t, format, r), "s3cret") {
				t.Errorf("%s: the %s report shows a secret", name, format)
			}
		}
	}
}

// write makes files and returns their folder.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const (
	sub        = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590"
	definition = `{"name":"tagged","properties":{"displayName":"Tagged","parameters":{"effect":{"type":"String","defaultValue":"Audit"}},
		"policyRule":{"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/disks"},{"field":"tags.owner","exists":false}]},"then":{"effect":"[parameters('effect')]"}}}}`
)

func disk(group, name string) string {
	return `{"type":"Microsoft.Compute/disks","name":"` + name + `","id":"` + sub + `/resourceGroups/` + group + `/providers/Microsoft.Compute/disks/` + name + `","location":"westeurope","properties":{}}`
}

func assigned(scope, name, more string) string {
	return `{"id":"` + scope + `/providers/Microsoft.Authorization/policyAssignments/` + name + `","name":"` + name + `","properties":{"policyDefinitionId":"/providers/Microsoft.Authorization/policyDefinitions/tagged"` + more + `}}`
}

// words are the findings in short.
func words(r *Report) []string {
	got := []string{}
	for _, f := range r.Findings {
		got = append(got, strings.Join([]string{f.Resource[strings.LastIndexByte(f.Resource, ' ')+1:], string(f.State), f.Effect, f.Message}, "|"))
	}
	return got
}

// Assignments in files hold where, and as, they would in the cloud.
func TestAssignments(t *testing.T) {
	tests := []struct {
		name     string
		policies map[string]string
		want     []string
	}{
		{"nothing assigned: everywhere, with the defaults", map[string]string{"d.json": definition}, []string{"a|non-compliant|Audit|Tagged", "b|non-compliant|Audit|Tagged"}},
		{"one group", map[string]string{"d.json": definition, "a.json": assigned(sub+"/resourceGroups/one", "x", "")}, []string{"a|non-compliant|Audit|Tagged"}},
		{"parameters and message", map[string]string{"d.json": definition, "a.json": assigned(sub+"/resourceGroups/one", "x", `,"parameters":{"effect":{"value":"Deny"}},"nonComplianceMessages":[{"message":"Name an owner."}]`)},
			[]string{"a|non-compliant|Deny|Name an owner."}},
		{"not enforced", map[string]string{"d.json": definition, "a.json": assigned(sub+"/resourceGroups/one", "x", `,"parameters":{"effect":{"value":"Deny"}},"enforcementMode":"DoNotEnforce"`)},
			[]string{"a|non-compliant|Deny|Tagged"}},
		{"notScopes", map[string]string{"d.json": definition, "a.json": assigned(sub, "x", `,"notScopes":["`+sub+`/resourceGroups/one"]`)}, []string{"b|non-compliant|Audit|Tagged"}},
		{"a management group", map[string]string{"d.json": definition, "a.json": assigned("/providers/Microsoft.Management/managementGroups/corp", "x", "")}, []string{"a|non-compliant|Audit|Tagged", "b|non-compliant|Audit|Tagged"}},
		{"an exemption", map[string]string{"d.json": definition, "a.json": assigned(sub, "x", ""),
			"e.json": `{"id":"` + sub + `/resourceGroups/one/providers/Microsoft.Authorization/policyExemptions/e","name":"e","properties":{"exemptionCategory":"Waiver","policyAssignmentId":"` + sub + `/providers/Microsoft.Authorization/policyAssignments/x"}}`},
			[]string{"a|exempt|Audit|exempt (Waiver) by " + sub + "/resourceGroups/one/providers/Microsoft.Authorization/policyExemptions/e", "b|non-compliant|Audit|Tagged"}},
		{"an exemption that is over", map[string]string{"d.json": definition, "a.json": assigned(sub+"/resourceGroups/one", "x", ""),
			"e.json": `{"id":"` + sub + `/providers/Microsoft.Authorization/policyExemptions/e","properties":{"expiresOn":"2026-01-01T00:00:00Z","policyAssignmentId":"` + sub + `/resourceGroups/one/providers/Microsoft.Authorization/policyAssignments/x"}}`},
			[]string{"a|non-compliant|Audit|Tagged"}},
		{"an initiative over a definition that has another scope's id", map[string]string{"d.json": definition,
			"i.json": `{"name":"all","properties":{"displayName":"All","parameters":{"e":{"type":"String","defaultValue":"Deny"}},"policyDefinitions":[{"policyDefinitionReferenceId":"t","policyDefinitionId":"` + sub + `/providers/Microsoft.Authorization/policyDefinitions/tagged","parameters":{"effect":{"value":"[parameters('e')]"}}}]}}`},
			[]string{"a|non-compliant|Deny|Tagged", "b|non-compliant|Deny|Tagged"}},
		{"as az prints it", map[string]string{"d.json": `[{"id":"/providers/Microsoft.Authorization/policyDefinitions/x","name":"x","displayName":"X","policyRule":{"if":{"field":"name","equals":"b"},"then":{"effect":"deny"}}}]`},
			[]string{"a|compliant||", "b|non-compliant|deny|X"}},
		{"a bare rule", map[string]string{"r.json": `{"if":{"field":"name","equals":"b"},"then":{"effect":"deny"}}`}, []string{"a|compliant||", "b|non-compliant|deny|r"}},
		{"disabled", map[string]string{"d.json": definition, "a.json": assigned(sub, "x", `,"parameters":{"effect":{"value":"Disabled"}}`)}, []string{"a|compliant||", "b|compliant||"}},
	}
	documents := write(t, map[string]string{"1.json": disk("one", "a"), "2.json": disk("two", "b")})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, words(checked(t, []string{documents}, Options{}, Policies{Files: []string{write(t, tt.policies)}}))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A policy that cannot be evaluated must not look as if everything complied.
func TestBrokenPoliciesAreFindings(t *testing.T) {
	r := checked(t, []string{write(t, map[string]string{"1.json": disk("one", "a")})}, Options{}, Policies{Files: []string{write(t, map[string]string{
		"1.json": `{"name":"broken","properties":{"policyRule":{"if":{"field":"a","equal":1},"then":{"effect":"deny"}}}}`,
		"2.json": assigned(sub, "dangling", ""),
		"3.json": `{"name":"fails","properties":{"policyRule":{"if":{"value":"[add(field('name'), 1)]","equals":1},"then":{"effect":"deny"}}}}`,
	})}})
	var messages []string
	for _, f := range r.Findings {
		if f.State != Failed {
			t.Errorf("%+v", f)
		}
		messages = append(messages, f.Message)
	}
	all := strings.Join(messages, "\n")
	for _, want := range []string{"unknown key equal", "policyDefinitions/tagged does not exist", "failed while evaluating"} {
		if !strings.Contains(all, want) {
			t.Errorf("no finding says %q:\n%s", want, all)
		}
	}
	if fails, err := ParseFailOn("error"); err != nil || !fails.Fails(&r.Findings[0]) {
		t.Errorf("%v", err)
	}
}

// Whether an assignment of one group covers a resource whose group is unknown, is
// unknown.
func TestAnUnknownGroup(t *testing.T) {
	plan := `{"format_version":"1.2","resource_changes":[{"address":"azurerm_managed_disk.a","mode":"managed","type":"azurerm_managed_disk","name":"a","change":{"actions":["create"],
		"after":{"name":"a","location":"westeurope"},"after_unknown":{"resource_group_name":true}}}]}`
	policies := Policies{Files: []string{write(t, map[string]string{"d.json": definition, "a.json": assigned(sub+"/resourceGroups/one", "x", "")})}}
	r := checked(t, []string{write(t, map[string]string{"p.json": plan})}, Options{Place: Place{Subscription: strings.TrimPrefix(sub, "/subscriptions/")}}, policies)
	if got := words(r); len(got) != 1 || got[0] != "azurerm_managed_disk.a|unknown|Audit|it cannot be told yet, this is not known: resource group (at id)" {
		t.Errorf("%q", got)
	}
}

// The group's tags are known if the group is part of what is checked.
func TestTheResourceGroupsOwnValues(t *testing.T) {
	rule := `{"name":"inherit","properties":{"policyRule":{"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/disks"},{"field":"tags.owner","notEquals":"[resourceGroup().tags.owner]"}]},"then":{"effect":"modify","details":{"roleDefinitionIds":["x"],"operations":[{"operation":"add","field":"tags.owner","value":"[resourceGroup().tags.owner]"}]}}}}}`
	policies := Policies{Files: []string{write(t, map[string]string{"d.json": rule})}}
	group := `{"type":"Microsoft.Resources/resourceGroups","name":"one","id":"` + sub + `/resourceGroups/one","location":"westeurope","tags":{"owner":"me"}}`
	r := checked(t, []string{write(t, map[string]string{"1.json": disk("one", "a"), "2.json": disk("two", "b"), "3.json": group})}, Options{}, policies)
	if diff := cmp.Diff([]string{"a|changes|modify|inherit", "b|unknown|modify|it cannot be told yet, this is not known: resourceGroup()"}, words(r)); diff != "" {
		t.Error(diff)
	}
}

func TestRelatedResourcesAreLookedForInWhatIsChecked(t *testing.T) {
	const machine = `{"type":"Microsoft.Compute/virtualMachines","name":"m","id":"` + sub + `/resourceGroups/one/providers/Microsoft.Compute/virtualMachines/m","properties":{}}`
	extension := func(publisher string) string {
		return `{"type":"Microsoft.Compute/virtualMachines/extensions","name":"m/e","id":"` + sub + `/resourceGroups/one/providers/Microsoft.Compute/virtualMachines/m/extensions/e","properties":{"publisher":"` + publisher + `"}}`
	}
	for publisher, want := range map[string]State{"Microsoft.Azure.Monitor": Compliant, "Other": NonCompliant} {
		r := checked(t, []string{write(t, map[string]string{"1.json": machine, "2.json": extension(publisher)})}, Options{}, Policies{Files: []string{"testdata/policies/agent.json"}})
		if len(r.Findings) != 1 || r.Findings[0].State != want {
			t.Errorf("%s: %+v", publisher, r.Findings)
		}
	}
}

func TestSARIF(t *testing.T) {
	r := checked(t, []string{"testdata/terraform"}, Options{}, Policies{Files: []string{"testdata/policies"}})
	var log struct {
		Version string
		Runs    []struct {
			Tool    struct{ Driver sarif.Driver }
			Results []sarif.Result
		}
	}
	if err := json.Unmarshal([]byte(rendered(t, "sarif", r)), &log); err != nil {
		t.Fatal(err)
	}
	if len(log.Runs[0].Results) != r.Reported() {
		t.Errorf("%d results for %d findings", len(log.Runs[0].Results), r.Reported())
	}
	for _, result := range log.Runs[0].Results {
		if log.Runs[0].Tool.Driver.Rules[result.RuleIndex].ID != result.RuleID || (result.Kind == sarif.KindFail) == (result.Level == sarif.LevelNone) || result.Locations[0].PhysicalLocation.Region.StartLine < 1 {
			t.Errorf("%+v", result)
		}
	}
}

func TestJUnit(t *testing.T) {
	r := checked(t, []string{"testdata/terraform"}, Options{}, Policies{Files: []string{"testdata/policies"}})
	var back junit.Suites
	if err := xml.Unmarshal([]byte(rendered(t, "junit", r)), &back); err != nil {
		t.Fatal(err)
	}
	tests, failures, errs := 0, 0, 0
	for _, s := range back.Suites {
		tests, failures, errs = tests+len(s.Cases), failures+s.Failures, errs+s.Errors
	}
	if tests != r.Summary.Evaluations || failures != r.Summary.NonCompliant || errs != r.Summary.Unknown+r.Summary.Errors {
		t.Errorf("%d cases, %d failures, %d errors; %+v", tests, failures, errs, r.Summary)
	}
}

func TestFailOn(t *testing.T) {
	deny := Finding{State: NonCompliant, Family: "deny", Enforced: true}
	recorded := Finding{State: NonCompliant, Family: "deny"}
	for _, tt := range []struct {
		words string
		f     Finding
		want  bool
	}{
		{DefaultFailOn, deny, true}, {"audit", deny, false}, {"audit", recorded, true}, {"deny", recorded, false}, {DefaultFailOn, Finding{State: Unknown}, false},
		{"unknown", Finding{State: Unknown}, true}, {"any", Finding{State: Changes}, true}, {"none", deny, false}, {"any", Finding{State: Exempt}, false}, {"any", Finding{State: Compliant}, false},
	} {
		set, err := ParseFailOn(tt.words)
		if err != nil || set.Fails(&tt.f) != tt.want {
			t.Errorf("%s with %+v: %v %v", tt.words, tt.f, set.Fails(&tt.f), err)
		}
	}
	if _, err := ParseFailOn("deny,nonsense"); err == nil {
		t.Error("no error")
	}
}

func TestWhatIsNothingToCheck(t *testing.T) {
	dir := write(t, map[string]string{"x.json": `{"a":1}`, "broken.json": `{`, "t.json": `{"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"}`})
	for name, want := range map[string]string{"x.json": "nothing to check", "broken.json": "broken.json:", "t.json": "contentVersion", "none.json": "no such file"} {
		if _, err := Read([]string{filepath.Join(dir, name)}, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Load(t.Context(), Policies{Files: []string{filepath.Join(dir, "x.json")}}); err == nil || !strings.Contains(err.Error(), "holds no policy") {
		t.Errorf("%v", err)
	}
}

func TestParametersOfATemplate(t *testing.T) {
	given, err := value.Parse(`{"size":"Standard_B1s","adminPassword":"s3cret!","disks":1,"owner":"me"}`)
	if err != nil {
		t.Fatal(err)
	}
	r := checked(t, []string{"testdata/template/main.json"}, Options{Parameters: given}, Policies{Files: []string{"testdata/policies/sizes.json", "testdata/policies/owner.json"}})
	if diff := cmp.Diff(2, r.Summary.Compliant); diff != "" {
		t.Errorf("%s\n%s", diff, rendered(t, "table", r))
	}
}

// What no assignment reaches has no findings: that must not look like compliance.
func TestWhatNoAssignmentCoversIsSaid(t *testing.T) {
	documents := write(t, map[string]string{"1.json": disk("one", "a"), "2.json": disk("two", "b")})
	r := checked(t, []string{documents}, Options{}, Policies{Files: []string{write(t, map[string]string{"d.json": definition, "a.json": assigned(sub+"/resourceGroups/one", "x", "")})}})
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "no assignment covers Microsoft.Compute/disks b") {
		t.Errorf("%q", r.Notes)
	}
}
