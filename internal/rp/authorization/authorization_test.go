package authorization_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armpolicy"
	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/authorization"
	"hallmark.dev/hallmark/internal/rp/managementgroups"
)

const tenant = "11111111-2222-3333-4444-555555555555"

func start(t *testing.T) *providertest.Server {
	s := providertest.Start(t, providertest.With(authorization.New(authorization.Config{TenantID: tenant}), managementgroups.New(managementgroups.Config{TenantID: tenant})))
	if err := managementgroups.EnsureRoot(t.Context(), s.Store, tenant, s.Pipeline.Runtime().Now()); err != nil {
		t.Fatal(err)
	}
	return s
}

func subscription() string { return arm.SubscriptionID(providertest.Subscription).String() }

const tagRule = `{"properties":{"displayName":"Require a tag","mode":"Indexed",
	"parameters":{"tagName":{"type":"String"},"effect":{"type":"String","defaultValue":"Audit","allowedValues":["Audit","Deny","Disabled"]}},
	"policyRule":{"if":{"field":"[concat('tags[', parameters('tagName'), ']')]","exists":"false"},"then":{"effect":"[parameters('effect')]"}}}}`

func put(t *testing.T, s *providertest.Server, path, body string, want int) []byte {
	t.Helper()
	status, _, answer := s.Do(t, "PUT", path+"?api-version=2023-04-01", body)
	if status != want {
		t.Fatalf("PUT %s: %d, want %d: %s", path, status, want, answer)
	}
	return answer
}

func TestSDKLifeOfDefinitionAndAssignment(t *testing.T) {
	s := start(t)
	defs, err := armpolicy.NewDefinitionsClient(providertest.Subscription, s.Credential, s.Options)
	if err != nil {
		t.Fatal(err)
	}
	var body armpolicy.Definition
	if err := json.Unmarshal([]byte(tagRule), &body); err != nil {
		t.Fatal(err)
	}
	for range 2 { // 201 also on update
		made, err := defs.CreateOrUpdate(t.Context(), "require-tag", body, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := *made.Properties.PolicyType; got != armpolicy.PolicyTypeCustom {
			t.Errorf("policyType %s", got)
		}
		if got := *made.Properties.Version; got != "1.0.0" {
			t.Errorf("version %s", got)
		}
	}
	as, err := armpolicy.NewAssignmentsClient(providertest.Subscription, s.Credential, s.Options)
	if err != nil {
		t.Fatal(err)
	}
	made, err := as.Create(t.Context(), strings.TrimPrefix(providertest.Group().String(), "/"), "tags", armpolicy.Assignment{
		Location: to.Ptr(providertest.Location), Identity: &armpolicy.Identity{Type: to.Ptr(armpolicy.ResourceIdentityTypeSystemAssigned)},
		Properties: &armpolicy.AssignmentProperties{
			PolicyDefinitionID: to.Ptr(subscription() + "/providers/Microsoft.Authorization/policyDefinitions/require-tag"),
			Parameters:         map[string]*armpolicy.ParameterValuesValue{"TAGNAME": {Value: "owner"}},
		}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := *made.Properties.Scope, providertest.Group().String(); got != want {
		t.Errorf("scope %s, want %s", got, want)
	}
	if made.Identity.PrincipalID == nil || *made.Identity.TenantID != s.TenantID {
		t.Errorf("identity %+v", made.Identity)
	}
	if *made.Properties.EnforcementMode != armpolicy.EnforcementModeDefault || *made.Properties.DefinitionVersion != "1.*.*" {
		t.Errorf("properties %+v", made.Properties)
	}
	// The subscription's list has what stands at groups.
	page, err := as.NewListPager(nil).NextPage(t.Context())
	if err != nil || len(page.Value) != 1 {
		t.Errorf("list: %v, %v", page.Value, err)
	}
	_, err = defs.Delete(t.Context(), "require-tag", nil)
	if code(err) != "InvalidDeletePolicyDefinitionRequest" {
		t.Errorf("deleting a used definition: %v", err)
	}
	if _, err := as.Delete(t.Context(), strings.TrimPrefix(providertest.Group().String(), "/"), "tags", nil); err != nil {
		t.Error(err)
	}
	if _, err := defs.Delete(t.Context(), "require-tag", nil); err != nil {
		t.Error(err)
	}
}

func code(err error) string {
	var re *azcore.ResponseError
	if errors.As(err, &re) {
		return re.ErrorCode
	}
	return fmt.Sprint(err)
}

// codes are the code and target of an answer and of its details.
func codes(t *testing.T, body []byte) []string {
	t.Helper()
	var e struct{ Error arm.Error }
	if err := json.Unmarshal(body, &e); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	if len(e.Error.Details) == 0 {
		return []string{e.Error.Code + " " + e.Error.Target}
	}
	var out []string
	for _, d := range e.Error.Details {
		out = append(out, d.Code+" "+d.Target)
	}
	return out
}

func TestEveryFaultOfADefinitionIsReported(t *testing.T) {
	s := start(t)
	tests := map[string]struct {
		body string
		want []string
	}{
		"no rule": {`{"properties":{}}`, []string{"InvalidPolicyDefinition properties"}},
		"two faults in the rule": {
			`{"properties":{"policyRule":{"if":{"anyOf":[{"field":"Microsoft.Compute/virtualMachines/nothing","equals":"x"},{"field":"type","equals":"[parametres('a')]"}]},"then":{"effect":"deny"}}}}`,
			[]string{"InvalidPolicyAlias properties.policyRule.if.anyOf[0].field", "InvalidTemplateExpression properties.policyRule.if.anyOf[1].equals"},
		},
		"an unused parameter and a bad default": {
			`{"properties":{"parameters":{"n":{"type":"Integer","defaultValue":"seven"}},"policyRule":{"if":{"field":"type","equals":"x"},"then":{"effect":"audit"}}}}`,
			[]string{"UnusedPolicyParameters properties.parameters.n", "InvalidPolicyParameter properties.parameters.n.defaultValue"},
		},
		"a bad version": {
			`{"properties":{"version":"one","policyRule":{"if":{"field":"type","equals":"x"},"then":{"effect":"audit"}}}}`,
			[]string{"InvalidPolicyDefinition properties.version"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			answer := put(t, s, subscription()+"/providers/Microsoft.Authorization/policyDefinitions/bad", tt.body, http.StatusBadRequest)
			if diff := cmp.Diff(tt.want, codes(t, answer)); diff != "" {
				t.Errorf("%s\n%s", diff, answer)
			}
		})
	}
}

func TestAssignmentFaults(t *testing.T) {
	s := start(t)
	defs := subscription() + "/providers/Microsoft.Authorization/policyDefinitions/"
	put(t, s, defs+"tag", tagRule, http.StatusCreated)
	put(t, s, "/providers/Microsoft.Management/managementGroups/mg", `{}`, http.StatusOK)
	tests := map[string]struct {
		scope, properties string
		want              []string
	}{
		"no such definition": {subscription(), `"policyDefinitionId":"` + defs + `nothing"`, []string{"PolicyDefinitionNotFound properties.policyDefinitionId"}},
		"parameters": {subscription(), `"policyDefinitionId":"` + defs + `tag","parameters":{"effect":{"value":"Modify"},"x":{"value":1}}`,
			[]string{"MissingPolicyParameter properties.parameters.tagName", "PolicyParameterValueNotAllowed properties.parameters.effect", "UndefinedPolicyParameter properties.parameters.x"}},
		"a definition that stands below": {"/providers/Microsoft.Management/managementGroups/mg", `"policyDefinitionId":"` + defs + `tag","parameters":{"tagName":{"value":"a"}}`,
			[]string{"InvalidCreatePolicyAssignmentRequest properties.policyDefinitionId"}},
		"notScopes, selectors and overrides": {providertest.Group().String(), `"policyDefinitionId":"` + defs + `tag","parameters":{"tagName":{"value":"a"}},"notScopes":["` + subscription() + `"],
			"enforcementMode":"Sometimes","resourceSelectors":[{"selectors":[{"kind":"colour","in":["x"]},{"kind":"resourceType"}]}],"overrides":[{"kind":"policyEffect","value":"explode"}]`,
			[]string{"InvalidParameter properties.enforcementMode", "InvalidPolicyAssignmentNotScopes properties.notScopes[0]",
				"InvalidParameter properties.resourceSelectors[0].selectors[0].kind", "InvalidParameter properties.resourceSelectors[0].selectors[1]", "InvalidParameter properties.overrides[0].value"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			answer := put(t, s, tt.scope+"/providers/Microsoft.Authorization/policyAssignments/a", `{"properties":{`+tt.properties+`}}`, http.StatusBadRequest)
			if diff := cmp.Diff(tt.want, codes(t, answer)); diff != "" {
				t.Errorf("%s\n%s", diff, answer)
			}
		})
	}
	answer := put(t, s, "/providers/Microsoft.Management/managementGroups/mg/providers/Microsoft.Authorization/policyAssignments/"+strings.Repeat("n", 25), `{"properties":{"policyDefinitionId":"`+defs+`nothing"}}`, 400)
	if got := codes(t, answer)[0]; got != "InvalidPolicyAssignmentName name" {
		t.Errorf("name at a management group: %s", answer)
	}
}

func TestInitiativeChecksItsMembers(t *testing.T) {
	s := start(t)
	defs := subscription() + "/providers/Microsoft.Authorization/policyDefinitions/"
	sets := subscription() + "/providers/Microsoft.Authorization/policySetDefinitions/"
	put(t, s, defs+"tag", tagRule, http.StatusCreated)
	made := put(t, s, sets+"good", `{"properties":{"parameters":{"tag":{"type":"String"}},"policyDefinitions":[
		{"policyDefinitionId":"`+defs+`tag","parameters":{"tagName":{"value":"[parameters('tag')]"}}}]}}`, http.StatusCreated)
	var set armpolicy.SetDefinition
	if err := json.Unmarshal(made, &set); err != nil || *set.Properties.PolicyDefinitions[0].PolicyDefinitionReferenceID == "" {
		t.Errorf("no reference id: %s, %v", made, err)
	}
	answer := put(t, s, sets+"bad", `{"properties":{"policyDefinitions":[
		{"policyDefinitionId":"`+defs+`nothing"},{"policyDefinitionId":"`+defs+`tag","parameters":{"colour":{"value":"red"}}}]}}`, http.StatusBadRequest)
	want := []string{"PolicyDefinitionNotFound properties.policyDefinitions[0].policyDefinitionId",
		"MissingPolicyParameter properties.policyDefinitions[1].parameters.tagName", "UndefinedPolicyParameter properties.policyDefinitions[1].parameters.colour"}
	if diff := cmp.Diff(want, codes(t, answer)); diff != "" {
		t.Errorf("%s\n%s", diff, answer)
	}
}

func TestVersionsAreKept(t *testing.T) {
	s := start(t)
	def := subscription() + "/providers/Microsoft.Authorization/policyDefinitions/v"
	body := func(version, effect string) string {
		return `{"properties":{"version":"` + version + `","policyRule":{"if":{"field":"type","equals":"x/y"},"then":{"effect":"` + effect + `"}}}}`
	}
	put(t, s, def, body("1.0.0", "audit"), 201)
	put(t, s, def, body("1.1.0", "deny"), 201)
	answer := put(t, s, def+"/versions/2.0.0", body("2.0.0", "disabled"), 201)
	if got := arm.GetString(answer, "properties.version"); got != "2.0.0" {
		t.Errorf("version %s", got)
	}
	_, _, main := s.Do(t, "GET", def+"?api-version=2023-04-01", nil)
	if got, _ := arm.Get(main, "properties.versions"); string(got) != `["2.0.0","1.1.0","1.0.0"]` || arm.GetString(main, "properties.version") != "2.0.0" {
		t.Errorf("versions %s of %s", got, main)
	}
	_, _, old := s.Do(t, "GET", def+"/versions/1.0.0?api-version=2023-04-01", nil)
	if got := arm.GetString(old, "properties.policyRule.then.effect"); got != "audit" {
		t.Errorf("1.0.0 has become %s", old)
	}
}

func TestParametersCannotBeTakenAway(t *testing.T) {
	s := start(t)
	def := subscription() + "/providers/Microsoft.Authorization/policyDefinitions/tag"
	put(t, s, def, tagRule, 201)
	answer := put(t, s, def, strings.Replace(strings.Replace(tagRule, `"tagName":{`, `"label":{`, 1), "'tagName'", "'label'", 1), 400)
	want := []string{"InvalidPolicyParameterUpdate properties.parameters.label", "InvalidPolicyParameterUpdate properties.parameters.tagName"}
	if diff := cmp.Diff(want, codes(t, answer)); diff != "" {
		t.Errorf("%s\n%s", diff, answer)
	}
}

func TestExemptions(t *testing.T) {
	s := start(t)
	def := subscription() + "/providers/Microsoft.Authorization/policyDefinitions/tag"
	put(t, s, def, tagRule, 201)
	assigned := providertest.Group().String() + "/providers/Microsoft.Authorization/policyAssignments/a"
	put(t, s, assigned, `{"properties":{"policyDefinitionId":"`+def+`","parameters":{"tagName":{"value":"owner"}}}}`, 201)
	x := "/providers/Microsoft.Authorization/policyExemptions/x"
	put(t, s, providertest.Group().String()+x, `{"properties":{"policyAssignmentId":"`+assigned+`","exemptionCategory":"Waiver","expiresOn":"2030-01-01T00:00:00Z"}}`, 201)
	answer := put(t, s, subscription()+x, `{"properties":{"policyAssignmentId":"`+assigned+`","exemptionCategory":"Waiver"}}`, 400)
	if got := codes(t, answer)[0]; !strings.HasPrefix(got, "InvalidPolicyExemptionScope") {
		t.Errorf("a scope that the assignment does not cover: %s", answer)
	}
	answer = put(t, s, subscription()+x, `{"properties":{"policyAssignmentId":"`+assigned+`","exemptionCategory":"Because","expiresOn":"soon","policyDefinitionReferenceIds":["r"]}}`, 400)
	want := []string{"InvalidParameter properties.exemptionCategory", "InvalidParameter properties.expiresOn", "InvalidPolicyExemption properties.policyDefinitionReferenceIds[0]"}
	if diff := cmp.Diff(want, codes(t, answer)); diff != "" {
		t.Error(diff)
	}
	s.Do(t, "DELETE", assigned+"?api-version=2023-04-01", nil)
	if status, _, _ := s.Do(t, "GET", providertest.Group().String()+x+"?api-version=2022-07-01-preview", nil); status != 404 {
		t.Errorf("the exemption outlived its assignment: %d", status)
	}
}

func TestBuiltInsAreSeenEverywhere(t *testing.T) {
	s := start(t)
	put(t, s, "/providers/Microsoft.Authorization/policyDefinitions/builtin", strings.Replace(tagRule, `"mode"`, `"policyType":"BuiltIn","mode"`, 1), 201)
	_, _, list := s.Do(t, "GET", providertest.Query(subscription()+"/providers/Microsoft.Authorization/policyDefinitions", "2023-04-01", "$filter", "policyType eq 'BuiltIn'"), nil)
	if !strings.Contains(string(list), `"builtin"`) {
		t.Errorf("list: %s", list)
	}
}

// An initiative's body names the initiative itself too: that is no use of it.
func TestAnUnusedInitiativeCanBeDeletedAndItsMembersOnlyAfterIt(t *testing.T) {
	s := start(t)
	definition, set := subscription()+"/providers/Microsoft.Authorization/policyDefinitions/tag", subscription()+"/providers/Microsoft.Authorization/policySetDefinitions/tags"
	put(t, s, definition, tagRule, 201)
	put(t, s, set, `{"properties":{"policyDefinitions":[{"policyDefinitionId":"`+definition+`","parameters":{"tagName":{"value":"owner"}}}]}}`, 201)
	for _, step := range []struct {
		path string
		want int
	}{{definition, 400}, {set, 200}, {definition, 200}} {
		if status, _, body := s.Do(t, "DELETE", step.path+"?api-version=2023-04-01", ""); status != step.want {
			t.Errorf("DELETE %s: %d, want %d: %s", step.path, status, step.want, body)
		}
	}
}
