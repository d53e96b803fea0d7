package policyinsights_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/admission"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/compliance"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/authorization"
	"hallmark.dev/hallmark/internal/rp/deployments"
	"hallmark.dev/hallmark/internal/rp/policyinsights"
	"hallmark.dev/hallmark/internal/secret"
	"hallmark.dev/hallmark/internal/store/mem"
)

// machines refer to another resource, which whoever writes them has to be able to read.
func machines() provider.Provider {
	load := func(ctx context.Context, w *provider.Write) error {
		id, err := arm.ParseID(arm.GetString(w.Doc.Body, "properties.set"))
		if err != nil || id.IsRoot() {
			return nil
		}
		_, err = w.Client.Get(ctx, id)
		return err
	}
	return provider.Provider{Types: []provider.ResourceType{
		{Type: "Microsoft.Compute/virtualMachines", Scopes: provider.AtResourceGroup, APIVersions: []string{"2024-07-01"}, Location: provider.LocationRequired, Tags: true, Load: load},
		{Type: "Microsoft.Compute/virtualMachines/extensions", APIVersions: []string{"2024-07-01"}, Tags: true},
	}}
}

func start(t *testing.T) *providertest.Server {
	s := mem.New()
	index := assignment.New(s, nil)
	engine := compliance.New(compliance.Config{Store: s, Index: index, Facts: compliance.ImageFacts{}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- engine.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the engine: %v", err)
		}
	})
	key, err := secret.Open(t.TempDir() + "/key")
	if err != nil {
		t.Fatal(err)
	}
	return providertest.Start(t, providertest.WithStore(s), providertest.WithAdmitter(admission.New(admission.Config{Store: s, Index: index})),
		providertest.With(authorization.New(authorization.Config{TenantID: "t"}), machines(), deployments.New(deployments.Config{Sealer: key}),
			policyinsights.New(policyinsights.Config{TenantID: "t", Engine: engine, Index: index})))
}

func subscription() string { return arm.SubscriptionID(providertest.Subscription).String() }

func do(t *testing.T, s *providertest.Server, method, path, body string, want int) []byte {
	t.Helper()
	path, query, _ := strings.Cut(path, "?")
	status, _, answer := s.Do(t, method, providertest.Query(path, "2023-04-01", strings.Split(query, "\n")...), body)
	if status != want {
		t.Fatalf("%s %s: %d, want %d: %s", method, path, status, want, answer)
	}
	return answer
}

func assign(t *testing.T, s *providertest.Server, name, rule, more string) {
	t.Helper()
	def := subscription() + "/providers/Microsoft.Authorization/policyDefinitions/" + name
	do(t, s, "PUT", def, `{"properties":{"mode":"Indexed","metadata":{"category":"Compute"},"policyRule":`+rule+`}}`, 201)
	do(t, s, "PUT", subscription()+"/providers/Microsoft.Authorization/policyAssignments/"+name, `{"properties":{"policyDefinitionId":"`+def+`"`+more+`}}`, 201)
}

func vm(name string) string {
	return providertest.Group().String() + "/providers/Microsoft.Compute/virtualMachines/" + name
}

const sizeRule = `{"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},{"field":"Microsoft.Compute/virtualMachines/sku.name","like":"*_M*"}]},"then":{"effect":"audit"}}`
const tagRule = `{"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},{"field":"tags['owner']","exists":false}]},"then":{"effect":"audit"}}`

// estate has three machines and two policies.
func estate(t *testing.T) *providertest.Server {
	s := start(t)
	assign(t, s, "sizes", sizeRule, "")
	assign(t, s, "tags", tagRule, "")
	do(t, s, "PUT", vm("a"), `{"location":"local","tags":{"owner":"ann"},"properties":{"hardwareProfile":{"vmSize":"Standard_B1s"}}}`, 201)
	do(t, s, "PUT", vm("b"), `{"location":"north","properties":{"hardwareProfile":{"vmSize":"Standard_M8"}}}`, 201)
	do(t, s, "PUT", vm("c"), `{"location":"local","tags":{"owner":"bob"},"properties":{"hardwareProfile":{"vmSize":"Standard_M8"}}}`, 201)
	return s
}

type answer struct {
	Count int              `json:"@odata.count"`
	Next  string           `json:"@odata.nextLink"`
	Value []map[string]any `json:"value"`
}

func query(t *testing.T, s *providertest.Server, scope, what string, options ...string) answer {
	t.Helper()
	var a answer
	raw := do(t, s, "POST", scope+"/providers/Microsoft.PolicyInsights/"+what+"?"+strings.Join(options, "\n"), "", 200)
	if err := json.Unmarshal(raw, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

// lines are some properties of each record.
func (a answer) lines(names ...string) []string {
	out := []string{}
	for _, v := range a.Value {
		var parts []string
		for _, n := range names {
			s := fmt.Sprint(v[n])
			parts = append(parts, s[strings.LastIndexByte(s, '/')+1:])
		}
		out = append(out, strings.Join(parts, " "))
	}
	return out
}

const latest = "policyStates/latest/queryResults"

func TestStatesAreWhatWasWrittenJustBefore(t *testing.T) {
	s := estate(t)
	want := []string{"a sizes Compliant", "a tags Compliant", "b sizes NonCompliant", "b tags NonCompliant", "c sizes NonCompliant", "c tags Compliant"}
	got := query(t, s, subscription(), latest)
	if diff := cmp.Diff(want, got.lines("resourceId", "policyAssignmentName", "complianceState")); diff != "" {
		t.Error(diff)
	}
	do(t, s, "DELETE", vm("b"), "", 200)
	do(t, s, "PUT", vm("c"), `{"location":"local","properties":{"hardwareProfile":{"vmSize":"Standard_B1s"}}}`, 200)
	want = []string{"a sizes Compliant", "a tags Compliant", "c sizes Compliant", "c tags NonCompliant"}
	if diff := cmp.Diff(want, query(t, s, subscription(), latest).lines("resourceId", "policyAssignmentName", "complianceState")); diff != "" {
		t.Error(diff)
	}
}

func TestQueries(t *testing.T) {
	s := estate(t)
	tests := map[string]struct {
		scope   string
		options []string
		show    []string
		want    []string
	}{
		"filter as az writes it": {subscription(), []string{"$filter", "complianceState eq 'NonCompliant' and resourceLocation eq 'LOCAL'"}, []string{"resourceId", "policyDefinitionName"}, []string{"c sizes"}},
		"not compliant":          {subscription(), []string{"$filter", "(isCompliant eq false)", "$top", "1"}, []string{"resourceId", "policyDefinitionName"}, []string{"b sizes"}},
		"order and select": {providertest.Group().String(), []string{"$filter", "policyAssignmentName eq 'tags'", "$orderby", "complianceState desc, resourceId desc", "$select", "resourceId,complianceState"},
			[]string{"resourceId", "complianceState", "policyDefinitionId"}, []string{"b NonCompliant <nil>", "c Compliant <nil>", "a Compliant <nil>"}},
		"functions": {subscription(), []string{"$filter", "startswith(policyDefinitionName, 'SIZ') and not (endswith(resourceId, '/b') or resourceId in ('x', 'y'))"}, []string{"resourceId"}, []string{"a", "c"}},
		"groups": {subscription(), []string{"$apply", "filter(complianceState eq 'NonCompliant')/groupby((policyAssignmentName),aggregate($count as n))", "$orderby", "n desc"},
			[]string{"policyAssignmentName", "n"}, []string{"sizes 2", "tags 1"}},
		"count of groups":   {subscription(), []string{"$apply", "groupby((resourceId))/aggregate($count as n)"}, []string{"n"}, []string{"3"}},
		"one resource":      {vm("b"), nil, []string{"policyAssignmentName", "complianceState"}, []string{"sizes NonCompliant", "tags NonCompliant"}},
		"by assignment":     {subscription() + "/providers/Microsoft.Authorization/policyAssignments/tags", []string{"$filter", "isCompliant eq false"}, []string{"resourceId"}, []string{"b"}},
		"by definition":     {subscription() + "/providers/Microsoft.Authorization/policyDefinitions/sizes", nil, []string{"resourceId"}, []string{"a", "b", "c"}},
		"another group":     {subscription() + "/resourceGroups/" + providertest.ResourceGroup, []string{"$filter", "resourceGroup eq 'other'"}, nil, []string{}},
		"the past is empty": {subscription(), []string{"$filter", "timestamp lt 2001-01-01T00:00:00Z"}, nil, []string{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, query(t, s, tt.scope, latest, tt.options...).lines(tt.show...)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBadQueriesSayWhere(t *testing.T) {
	s := estate(t)
	for option, bad := range map[string]string{"$filter": "colour eq 'red'", "$orderby": "colour", "$select": "colour", "$apply": "groupby((colour))", "$top": "x", "$from": "yesterday"} {
		body := do(t, s, "POST", subscription()+"/providers/Microsoft.PolicyInsights/"+latest+"?"+option+"\n"+bad, "", 400)
		if !strings.Contains(string(body), `"target":"`+option+`"`) {
			t.Errorf("%s: %s", option, body)
		}
	}
}

func TestReasons(t *testing.T) {
	s := estate(t)
	a := query(t, s, vm("b"), latest, "$filter", "policyAssignmentName eq 'sizes'", "$expand", "PolicyEvaluationDetails")
	raw, err := json.Marshal(a.Value[0]["policyEvaluationDetails"])
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		EvaluatedExpressions []struct{ Path, Operator, Result, ExpressionValue, TargetValue string }
	}
	if err := json.Unmarshal(raw, &d); err != nil || len(d.EvaluatedExpressions) != 2 {
		t.Fatalf("%s, %v", raw, err)
	}
	got := d.EvaluatedExpressions[1]
	if got.Path != "properties.hardwareProfile.vmSize" || got.Operator != "Like" || got.ExpressionValue != "Standard_M8" || got.TargetValue != "*_M*" {
		t.Errorf("%+v", got)
	}
}

func TestPages(t *testing.T) {
	s := estate(t)
	var seen []string
	a := query(t, s, subscription(), latest, "$top", "4")
	seen = append(seen, a.lines("resourceId", "policyAssignmentName")...)
	_, _, raw := s.Do(t, "POST", a.Next, nil)
	if err := json.Unmarshal(raw, &a); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	seen = append(seen, a.lines("resourceId", "policyAssignmentName")...)
	if diff := cmp.Diff([]string{"a sizes", "a tags", "b sizes", "b tags", "c sizes", "c tags"}, seen); diff != "" {
		t.Error(diff)
	}
}

type summarized struct {
	Results struct {
		NonCompliantResources, NonCompliantPolicies int
		ResourceDetails                             []struct {
			ComplianceState string
			Count           int
		}
		Percentage float64 `json:"hallmark.compliancePercentage"`
	}
	Expiring          []map[string]string `json:"hallmark.expiringExemptions"`
	PolicyAssignments []struct {
		PolicyAssignmentID string
		Results            struct{ NonCompliantResources, NonCompliantPolicies int }
		PolicyDefinitions  []struct{ PolicyDefinitionID, Effect string }
	}
}

func summarize(t *testing.T, s *providertest.Server, scope string) summarized {
	t.Helper()
	var out struct{ Value []summarized }
	if err := json.Unmarshal(do(t, s, "POST", scope+"/providers/Microsoft.PolicyInsights/policyStates/latest/summarize", "", 200), &out); err != nil {
		t.Fatal(err)
	}
	return out.Value[0]
}

func TestSummaryRollsUp(t *testing.T) {
	s := estate(t)
	got := summarize(t, s, subscription())
	// a complies; b and c do not: the worst state of a resource decides.
	if got.Results.NonCompliantResources != 2 || got.Results.NonCompliantPolicies != 2 || int(got.Results.Percentage) != 33 {
		t.Errorf("%+v", got.Results)
	}
	for _, a := range got.PolicyAssignments {
		want := map[string]int{"sizes": 2, "tags": 1}[a.PolicyAssignmentID[strings.LastIndexByte(a.PolicyAssignmentID, '/')+1:]]
		if a.Results.NonCompliantResources != want || len(a.PolicyDefinitions) != 1 || a.PolicyDefinitions[0].Effect != "audit" {
			t.Errorf("%+v, want %d", a, want)
		}
	}
	do(t, s, "PUT", providertest.Group().String()+"/providers/Microsoft.Authorization/policyExemptions/x", `{"properties":{"exemptionCategory":"Mitigated",
		"policyAssignmentId":"`+subscription()+`/providers/Microsoft.Authorization/policyAssignments/sizes"}}`, 201)
	if got := summarize(t, s, subscription()); got.Results.NonCompliantResources != 1 {
		t.Errorf("with an exemption: %+v", got.Results)
	}
}

func TestExemptionsThatEndSoonArePointedOut(t *testing.T) {
	s := estate(t)
	for name, days := range map[string]int{"soon": 3, "later": 30, "over": -1} {
		do(t, s, "PUT", vm("b")+"/providers/Microsoft.Authorization/policyExemptions/"+name, `{"properties":{"exemptionCategory":"Waiver","metadata":{"owner":"ann","ticket":"T-1"},
			"expiresOn":"`+time.Now().AddDate(0, 0, days).UTC().Format(time.RFC3339)+`","policyAssignmentId":"`+subscription()+`/providers/Microsoft.Authorization/policyAssignments/sizes"}}`, 201)
	}
	got := summarize(t, s, subscription()).Expiring
	if len(got) != 1 || !strings.HasSuffix(got[0]["policyExemptionId"], "/soon") || got[0]["owner"] != "ann" || got[0]["ticket"] != "T-1" {
		t.Errorf("%v", got)
	}
}

// A group goes with everything that policies have put into it.
func TestAGroupCanBeDeleted(t *testing.T) {
	s := estate(t)
	in := providertest.Group().String()
	assigned := in + "/providers/Microsoft.Authorization/policyAssignments/inner"
	do(t, s, "PUT", assigned, `{"properties":{"policyDefinitionId":"`+subscription()+`/providers/Microsoft.Authorization/policyDefinitions/sizes"}}`, 201)
	do(t, s, "PUT", in+"/providers/Microsoft.Authorization/policyExemptions/x", `{"properties":{"exemptionCategory":"Waiver","policyAssignmentId":"`+assigned+`"}}`, 201)
	do(t, s, "PUT", in+"/providers/Microsoft.PolicyInsights/attestations/w", `{"properties":{"policyAssignmentId":"`+assigned+`","complianceState":"Compliant"}}`, 201)
	do(t, s, "PUT", vm("a")+"/providers/Microsoft.Authorization/policyAssignments/on", `{"properties":{"policyDefinitionId":"`+subscription()+`/providers/Microsoft.Authorization/policyDefinitions/tags"}}`, 201)
	query(t, s, subscription(), latest)
	do(t, s, "DELETE", in, "", 202)
	s.Settle(t)
	if status, _, body := s.Do(t, "GET", in+"?api-version=2021-04-01", nil); status != 404 {
		t.Errorf("%d %s", status, body)
	}
	if got := query(t, s, subscription(), latest); len(got.Value) != 0 {
		t.Errorf("left: %v", got.lines("resourceId", "policyAssignmentName"))
	}
}

func TestEventsTellWhoDidWhat(t *testing.T) {
	s := estate(t)
	got := query(t, s, subscription(), "policyEvents/default/queryResults", "$filter", "policyAssignmentName eq 'sizes'")
	if diff := cmp.Diff([]string{"b audit NonCompliant", "c audit NonCompliant"}, got.lines("resourceId", "policyDefinitionAction", "complianceState")); diff != "" {
		t.Error(diff)
	}
}

func TestTriggerEvaluation(t *testing.T) {
	s := estate(t)
	status, h, _ := s.Do(t, "POST", subscription()+"/providers/Microsoft.PolicyInsights/policyStates/latest/triggerEvaluation?api-version=2019-10-01", nil)
	if status != 202 || h.Get("Location") == "" {
		t.Fatalf("%d %v", status, h)
	}
	if status, _, body := s.Do(t, "GET", h.Get("Location"), nil); status != 200 {
		t.Errorf("%d %s", status, body)
	}
}

func TestRestrictionsBeforeAnythingIsMade(t *testing.T) {
	s := start(t)
	assign(t, s, "sizes", strings.Replace(sizeRule, "audit", "deny", 1), "")
	assign(t, s, "places", `{"if":{"field":"location","notIn":["local"]},"then":{"effect":"deny"}}`, "")
	body := do(t, s, "POST", providertest.Group().String()+"/providers/Microsoft.PolicyInsights/checkPolicyRestrictions",
		`{"resourceDetails":{"resourceContent":{"type":"Microsoft.Compute/virtualMachines","location":"local","properties":{"hardwareProfile":{"vmSize":"Standard_M1"}}}},
		"pendingFields":[{"field":"location","values":["local","north"]}]}`, 200)
	var r struct {
		FieldRestrictions []struct {
			Field        string
			Restrictions []struct {
				Result string
				Values []string
				Policy struct{ PolicyAssignmentID string }
			}
		}
		ContentEvaluationResult struct {
			PolicyEvaluations []struct {
				EvaluationResult string
				PolicyInfo       struct{ PolicyAssignmentID string }
			}
		}
	}
	if err := json.Unmarshal(body, &r); err != nil {
		t.Fatal(err)
	}
	if n := len(r.ContentEvaluationResult.PolicyEvaluations); n != 1 || !strings.HasSuffix(r.ContentEvaluationResult.PolicyEvaluations[0].PolicyInfo.PolicyAssignmentID, "/sizes") {
		t.Errorf("%s", body)
	}
	north := 0
	for _, x := range r.FieldRestrictions[0].Restrictions {
		if strings.HasSuffix(x.Policy.PolicyAssignmentID, "/places") && x.Values[0] == "north" {
			north++
		}
	}
	if north != 1 {
		t.Errorf("%s", body)
	}
}

const modifyRule = `{"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},{"field":"tags['owner']","exists":false}]},
	"then":{"effect":"modify","details":{"roleDefinitionIds":["/providers/Microsoft.Authorization/roleDefinitions/b24988ac-6180-42a0-ab88-20f7382dd24c"],
	"operations":[{"operation":"add","field":"tags['owner']","value":"nobody"}]}}}`

func TestRemediationPutsRightWhatWasThereBefore(t *testing.T) {
	s := start(t)
	for _, n := range []string{"a", "b", "c"} {
		location := map[bool]string{true: "north", false: "local"}[n == "c"]
		do(t, s, "PUT", vm(n), `{"location":"`+location+`","properties":{"keep":"me"}}`, 201)
	}
	assign(t, s, "owner", modifyRule, withIdentity)
	if got := summarize(t, s, subscription()); got.Results.NonCompliantResources != 3 {
		t.Fatalf("%+v", got)
	}
	id := subscription() + "/providers/Microsoft.PolicyInsights/remediations/r"
	assigned := subscription() + "/providers/Microsoft.Authorization/policyAssignments/owner"
	do(t, s, "PUT", id, `{"properties":{"policyAssignmentId":"`+assigned+`","filters":{"locations":["local"]}}}`, 201)
	s.Settle(t)
	r := do(t, s, "GET", id, "", 200)
	if state := arm.GetString(r, "properties.provisioningState"); state != "Succeeded" {
		t.Errorf("%s", r)
	}
	if got, _ := arm.Get(r, "properties.deploymentStatus.successfulDeployments"); string(got) != "2" {
		t.Errorf("%s", r)
	}
	a := do(t, s, "GET", vm("a"), "", 200)
	if arm.GetString(a, "tags.owner") != "nobody" || arm.GetString(a, "properties.keep") != "me" {
		t.Errorf("%s", a)
	}
	if got := summarize(t, s, subscription()); got.Results.NonCompliantResources != 1 {
		t.Errorf("after: %+v", got.Results)
	}
	if list := do(t, s, "POST", id+"/listDeployments", "", 200); strings.Count(string(list), `"Succeeded"`) != 2 {
		t.Errorf("%s", list)
	}
	do(t, s, "POST", id+"/cancel", "", 409)
	do(t, s, "PUT", id, `{"properties":{"policyAssignmentId":"`+assigned+`","resourceCount":7}}`, 400)
	do(t, s, "DELETE", id, "", 200)
}

func TestNothingIsSaidOfWhatIsNotThere(t *testing.T) {
	s := estate(t)
	for _, scope := range []string{"/providers/Microsoft.Management/managementGroups/nowhere", "/subscriptions/99999999-0000-0000-0000-000000000001"} {
		for _, what := range []string{"policyStates/latest/queryResults", "policyStates/latest/summarize", "policyEvents/default/queryResults", "policyStates/latest/triggerEvaluation"} {
			do(t, s, "POST", scope+"/providers/Microsoft.PolicyInsights/"+what, "", 404)
		}
	}
}

func TestRemediationOfWhatCannotBe(t *testing.T) {
	s := estate(t)
	id := subscription() + "/providers/Microsoft.PolicyInsights/remediations/r"
	do(t, s, "PUT", id, `{"properties":{"policyAssignmentId":"`+subscription()+`/providers/Microsoft.Authorization/policyAssignments/sizes"}}`, 201)
	s.Settle(t)
	if r := do(t, s, "GET", id, "", 200); arm.GetString(r, "properties.provisioningState") != "Failed" || !strings.Contains(string(r), "Only modify and deployIfNotExists") {
		t.Errorf("%s", r)
	}
	do(t, s, "PUT", id+"2", `{"properties":{"policyAssignmentId":"`+subscription()+`/providers/Microsoft.Authorization/policyAssignments/none"}}`, 400)
}

func TestAttestations(t *testing.T) {
	s := start(t)
	assign(t, s, "manual", `{"if":{"field":"type","equals":"Microsoft.Compute/virtualMachines"},"then":{"effect":"manual"}}`, "")
	do(t, s, "PUT", vm("a"), `{"location":"local"}`, 201)
	id := vm("a") + "/providers/Microsoft.PolicyInsights/attestations/w"
	do(t, s, "PUT", id, `{"properties":{"policyAssignmentId":"`+subscription()+`/providers/Microsoft.Authorization/policyAssignments/manual","complianceState":"Compliant","expiresOn":"2999-01-01T00:00:00Z"}}`, 201)
	if got := query(t, s, vm("a"), latest).lines("complianceState"); len(got) != 1 || got[0] != "Compliant" {
		t.Errorf("%v", got)
	}
	do(t, s, "PUT", id, `{"properties":{"policyAssignmentId":"`+subscription()+`/providers/Microsoft.Authorization/policyAssignments/manual","complianceState":"Maybe"}}`, 400)
}
