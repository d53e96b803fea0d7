package admission_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/admission"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/compliance"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/authorization"
	"hallmark.dev/hallmark/internal/rp/managementgroups"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/mem"
)

const version = "?api-version=2023-04-01"

// machines are virtual machines without machines.
func machines() provider.Provider {
	return provider.Provider{Types: []provider.ResourceType{
		{Type: "Microsoft.Compute/virtualMachines", Scopes: provider.AtResourceGroup, APIVersions: []string{"2024-07-01"}, Location: provider.LocationRequired, Tags: true},
		{Type: "Microsoft.Network/virtualNetworks", Scopes: provider.AtResourceGroup, APIVersions: []string{"2024-07-01"}, Location: provider.LocationRequired, Tags: true},
	}}
}

// hooked lets a test look into the middle of a request.
type hooked struct {
	provider.Admitter
	after func()
}

func (h *hooked) Admit(ctx context.Context, w *provider.Write) error {
	err := h.Admitter.Admit(ctx, w)
	if h.after != nil && w.ID.Type().Namespace() == "Microsoft.Compute" {
		f := h.after
		h.after = nil
		f()
	}
	return err
}

func start(t *testing.T) (*providertest.Server, *hooked) { return startHooked(t, machines()) }

func startWith(t *testing.T, types provider.Provider) *providertest.Server {
	s, _ := startHooked(t, types)
	return s
}

func startHooked(t *testing.T, types provider.Provider) (*providertest.Server, *hooked) {
	s := mem.New()
	h := &hooked{Admitter: admission.New(admission.Config{Store: s, Index: assignment.New(s, nil), Facts: compliance.ImageFacts{}})}
	return providertest.Start(t, providertest.WithStore(s), providertest.WithAdmitter(h), providertest.With(
		authorization.New(authorization.Config{TenantID: "t"}), managementgroups.New(managementgroups.Config{TenantID: "t"}), types)), h
}

func subscription() string { return arm.SubscriptionID(providertest.Subscription).String() }

func do(t *testing.T, s *providertest.Server, method, path, body string, want int) []byte {
	t.Helper()
	status, _, answer := s.Do(t, method, path+version, body)
	if status != want && (want != 0 || status >= 300) { // 0: any success
		t.Fatalf("%s %s: %d, want %d: %s", method, path, status, want, answer)
	}
	return answer
}

// assign defines a rule and assigns it at the subscription.
func assign(t *testing.T, s *providertest.Server, name, rule, more string) {
	t.Helper()
	def := subscription() + "/providers/Microsoft.Authorization/policyDefinitions/" + name
	do(t, s, "PUT", def, `{"properties":{"mode":"Indexed","policyRule":`+rule+`}}`, 201)
	do(t, s, "PUT", subscription()+"/providers/Microsoft.Authorization/policyAssignments/"+name,
		`{"properties":{"policyDefinitionId":"`+def+`"`+more+`}}`, 201)
}

func vm(name string) string {
	return providertest.Group().String() + "/providers/Microsoft.Compute/virtualMachines/" + name
}

const bigSize = `{"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},
	{"not":{"field":"Microsoft.Compute/virtualMachines/sku.name","in":["Standard_B1s","Standard_B2s"]}}]},"then":{"effect":"%s"}}`

const big = `{"location":"local","properties":{"hardwareProfile":{"vmSize":"Standard_M128"}}}`
const small = `{"location":"local","properties":{"hardwareProfile":{"vmSize":"standard_b1S"}}}`

type refusal struct {
	Error struct {
		Code, Message, Target string
		AdditionalInfo        []struct {
			Type string
			Info struct {
				PolicyDefinitionEffect, PolicyAssignmentName, PolicyDefinitionID string
				EvaluationDetails                                                struct {
					Reason               string
					EvaluatedExpressions []map[string]any
				}
			}
		}
	}
}

func TestDenyExplainsItself(t *testing.T) {
	s, _ := start(t)
	assign(t, s, "sizes", fmt.Sprintf(bigSize, "Deny"), `,"nonComplianceMessages":[{"message":"Use a small size, see the wiki."}]`)
	do(t, s, "PUT", vm("small"), small, 201)
	var r refusal
	if err := json.Unmarshal(do(t, s, "PUT", vm("big"), big, http.StatusForbidden), &r); err != nil {
		t.Fatal(err)
	}
	if r.Error.Code != "RequestDisallowedByPolicy" || r.Error.Target != "big" || !strings.Contains(r.Error.Message, "see the wiki") {
		t.Errorf("%+v", r.Error)
	}
	info := r.Error.AdditionalInfo[0]
	if info.Type != "PolicyViolation" || info.Info.PolicyDefinitionEffect != "Deny" || info.Info.PolicyAssignmentName != "sizes" {
		t.Errorf("%+v", info)
	}
	want := []map[string]any{
		{"result": "True", "expressionKind": "Field", "expression": "type", "path": "type", "operator": "Equals",
			"expressionValue": "Microsoft.Compute/virtualMachines", "targetValue": "Microsoft.Compute/virtualMachines"},
		{"result": "False", "expressionKind": "Field", "expression": "Microsoft.Compute/virtualMachines/sku.name", "path": "properties.hardwareProfile.vmSize",
			"operator": "In", "expressionValue": "Standard_M128", "targetValue": []any{"Standard_B1s", "Standard_B2s"}},
	}
	if diff := cmp.Diff(want, info.Info.EvaluationDetails.EvaluatedExpressions); diff != "" {
		t.Error(diff)
	}
	if status, _, _ := s.Do(t, "GET", vm("big")+version, nil); status != 404 {
		t.Error("the refused machine exists")
	}
	if n := len(events(t, s)); n != 1 {
		t.Errorf("%d events", n)
	}
}

func events(t *testing.T, s *providertest.Server) (out []admission.Event) {
	t.Helper()
	docs, err := store.List(t.Context(), s.Store, store.Query{Type: admission.TypeEvent})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range docs {
		var e admission.Event
		if err := json.Unmarshal(d.Private, &e); err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func TestWhatIsNotRefused(t *testing.T) {
	deny := fmt.Sprintf(bigSize, "deny")
	tests := map[string]struct {
		rule, assignment string
		events           int
	}{
		"audit leaves an event":         {fmt.Sprintf(bigSize, "audit"), "", 1},
		"not enforced: only recorded":   {deny, `,"enforcementMode":"DoNotEnforce"`, 1},
		"disabled":                      {fmt.Sprintf(bigSize, "disabled"), "", 0},
		"another location is selected":  {deny, `,"resourceSelectors":[{"name":"r","selectors":[{"kind":"resourceLocation","in":["north"]}]}]`, 0},
		"another type is selected":      {deny, `,"resourceSelectors":[{"name":"r","selectors":[{"kind":"resourceType","notIn":["microsoft.compute/VirtualMachines"]}]}]`, 0},
		"the effect is overridden":      {deny, `,"overrides":[{"kind":"policyEffect","value":"audit"}]`, 1},
		"overridden for this location":  {deny, `,"overrides":[{"kind":"policyEffect","value":"disabled","selectors":[{"kind":"resourceLocation","in":["Local"]}]}]`, 0},
		"the group is out of the scope": {deny, `,"notScopes":["` + providertest.Group().String() + `"]`, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, _ := start(t)
			assign(t, s, "sizes", tt.rule, tt.assignment)
			do(t, s, "PUT", vm("big"), big, 201)
			if n := len(events(t, s)); n != tt.events {
				t.Errorf("%d events, want %d", n, tt.events)
			}
		})
	}
}

func TestExemptionLetsThroughUntilItExpires(t *testing.T) {
	s, _ := start(t)
	assign(t, s, "sizes", fmt.Sprintf(bigSize, "deny"), "")
	exempt := func(expires string, want int) {
		do(t, s, "PUT", providertest.Group().String()+"/providers/Microsoft.Authorization/policyExemptions/x",
			`{"properties":{"policyAssignmentId":"`+subscription()+`/providers/Microsoft.Authorization/policyAssignments/sizes","exemptionCategory":"Waiver","expiresOn":"`+expires+`"}}`, want)
	}
	exempt("2999-01-01T00:00:00Z", 201)
	do(t, s, "PUT", vm("big"), big, 201)
	exempt("2001-01-01T00:00:00Z", 200)
	do(t, s, "PUT", vm("bigger"), big, 403)
}

func TestModifyAndAppendChangeTheDocument(t *testing.T) {
	s, _ := start(t)
	assign(t, s, "model", `{"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},{"field":"tags['service-model']","exists":false}]},
		"then":{"effect":"modify","details":{"roleDefinitionIds":["/providers/Microsoft.Authorization/roleDefinitions/b24988ac-6180-42a0-ab88-20f7382dd24c"],
		"operations":[{"operation":"addOrReplace","field":"tags['service-model']","value":"cattle"}]}}}`, `},"location":"local","identity":{"type":"SystemAssigned"`)
	assign(t, s, "boot", `{"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},{"field":"Microsoft.Compute/virtualMachines/priority","exists":false}]},
		"then":{"effect":"append","details":[{"field":"Microsoft.Compute/virtualMachines/priority","value":"Regular"}]}}`, "")
	// The deny sees what modify made.
	assign(t, s, "pets", `{"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},{"field":"tags['service-model']","notIn":["pet","cattle"]}]},"then":{"effect":"deny"}}`, "")
	made := do(t, s, "PUT", vm("a"), small, 201)
	if got := arm.GetString(made, "tags.service-model"); got != "cattle" {
		t.Errorf("tags: %s", made)
	}
	if got := arm.GetString(made, "properties.priority"); got != "Regular" {
		t.Errorf("priority: %s", made)
	}
	if arm.GetString(made, "properties.hardwareProfile.vmSize") != "standard_b1S" {
		t.Errorf("the rest has changed: %s", made)
	}
	doc, err := store.Get(t.Context(), s.Store, strings.ToLower(vm("a")))
	if err != nil || doc.Tags["service-model"] != "cattle" {
		t.Errorf("the stored tags: %v, %v", doc, err)
	}
	do(t, s, "PUT", vm("b"), `{"location":"local","tags":{"service-model":"dragon"}}`, 403)
}

func TestDenyActionKeepsWhatIsThere(t *testing.T) {
	s, _ := start(t)
	do(t, s, "PUT", vm("pet"), `{"location":"local","tags":{"service-model":"pet"}}`, 201)
	do(t, s, "PUT", vm("cow"), `{"location":"local","tags":{"service-model":"cattle"}}`, 201)
	assign(t, s, "keep", `{"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},{"field":"tags['service-model']","equals":"pet"}]},
		"then":{"effect":"denyAction","details":{"actionNames":["delete"],"cascadeBehaviors":{"resourceGroup":"deny"}}}}`, "")
	var r refusal
	if err := json.Unmarshal(do(t, s, "DELETE", vm("pet"), "", 403), &r); err != nil || r.Error.Code != "RequestDisallowedByPolicy" {
		t.Errorf("%+v, %v", r, err)
	}
	do(t, s, "DELETE", vm("cow"), "", 200)
	do(t, s, "DELETE", providertest.Group().String(), "", 403)
}

// A policy that is assigned between the decision and the transaction must not be
// slipped past.
func TestThePolicyThatComesInBetweenHolds(t *testing.T) {
	s, h := start(t)
	h.after = func() { assign(t, s, "sizes", fmt.Sprintf(bigSize, "deny"), "") }
	do(t, s, "PUT", vm("big"), big, 403)
}

func TestDeletesRefuseTooWhenThePolicyComesInBetween(t *testing.T) {
	s, h := start(t)
	do(t, s, "PUT", vm("pet"), small, 201)
	h.after = func() {
		assign(t, s, "keep", `{"if":{"field":"type","equals":"Microsoft.Compute/virtualMachines"},"then":{"effect":"denyAction","details":{"actionNames":["delete"]}}}`, "")
	}
	do(t, s, "DELETE", vm("pet"), "", 403)
}

func TestABrokenRuleRefusesItsOwnTypeOnly(t *testing.T) {
	s, _ := start(t)
	assign(t, s, "broken", `{"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},{"value":"[substring(field('name'), 0, 'x')]","equals":"a"}]},"then":{"effect":"deny"}}`, "")
	body := do(t, s, "PUT", vm("a"), small, 403)
	if !strings.Contains(string(body), "could not be evaluated") {
		t.Errorf("%s", body)
	}
	do(t, s, "PUT", providertest.Group().String()+"/providers/Microsoft.Network/virtualNetworks/n", small, 201)
}

func TestManagementGroupsReachTheirSubscriptions(t *testing.T) {
	s, _ := start(t)
	if err := managementgroups.EnsureRoot(t.Context(), s.Store, "t", s.Pipeline.Runtime().Now()); err != nil {
		t.Fatal(err)
	}
	const mg = "/providers/Microsoft.Management/managementGroups/"
	do(t, s, "PUT", mg+"prod", `{}`, 200)
	def := mg + "t/providers/Microsoft.Authorization/policyDefinitions/sizes"
	do(t, s, "PUT", def, `{"properties":{"policyRule":`+fmt.Sprintf(bigSize, "deny")+`}}`, 201)
	do(t, s, "PUT", mg+"prod/providers/Microsoft.Authorization/policyAssignments/sizes", `{"properties":{"policyDefinitionId":"`+def+`"}}`, 201)
	do(t, s, "PUT", vm("before"), big, 201)
	do(t, s, "PUT", mg+"prod/subscriptions/"+providertest.Subscription, `{}`, 200)
	do(t, s, "PUT", vm("after"), big, 403)
}

// The lineage of an image decides before there is a machine.
func TestOnlyPublishedImages(t *testing.T) {
	s, _ := start(t)
	assign(t, s, "golden", `{"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},
		{"field":"Hallmark.Image/state","notIn":["approved-current","approved-outdated"]}]},"then":{"effect":"deny"}}`, "")
	gallery := providertest.Group().String() + "/providers/Microsoft.Compute/galleries/g"
	for id, body := range map[string]string{gallery: "{}", gallery + "/images/web": "{}",
		gallery + "/images/web/versions/1.0.0": `{"properties":{"provisioningState":"Succeeded"}}`,
		gallery + "/images/web/versions/1.1.0": `{"tags":{"hallmark-state":"revoked"},"properties":{"provisioningState":"Succeeded"}}`} {
		parsed, err := arm.ParseID(id)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := arm.Set(json.RawMessage(body), "id", id)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Store.Update(t.Context(), func(tx store.Tx) error {
			return tx.Put(&store.Document{ID: id, Type: parsed.Type(), SubscriptionID: parsed.Subscription(), ResourceGroup: parsed.ResourceGroup(), Body: raw}, store.Absent)
		}); err != nil {
			t.Fatal(err)
		}
	}
	from := func(image string) string {
		return `{"location":"local","properties":{"storageProfile":{"imageReference":` + image + `}}}`
	}
	do(t, s, "PUT", vm("good"), from(`{"id":"`+gallery+`/images/web/versions/1.0.0"}`), 201)
	body := do(t, s, "PUT", vm("revoked"), from(`{"id":"`+gallery+`/images/web/versions/1.1.0"}`), 403)
	if !strings.Contains(string(body), `"expressionValue":"revoked"`) {
		t.Errorf("%s", body)
	}
	do(t, s, "PUT", vm("rogue"), from(`{"publisher":"Debian","offer":"debian-12","sku":"12","version":"latest"}`), 403)
}

// Policies know resource groups under their subscription's type.
func TestGroupsAreGovernedToo(t *testing.T) {
	s, _ := start(t)
	def := subscription() + "/providers/Microsoft.Authorization/policyDefinitions/tags"
	do(t, s, "PUT", def, `{"properties":{"mode":"All","policyRule":{"if":{"allOf":[{"field":"type","equals":"Microsoft.Resources/subscriptions/resourceGroups"},
		{"field":"tags['owner']","exists":"false"}]},"then":{"effect":"deny"}}}}`, 201)
	do(t, s, "PUT", subscription()+"/providers/Microsoft.Authorization/policyAssignments/tags", `{"properties":{"policyDefinitionId":"`+def+`"}}`, 201)
	do(t, s, "PUT", subscription()+"/resourceGroups/bare", `{"location":"local"}`, 403)
	do(t, s, "PUT", subscription()+"/resourceGroups/mine", `{"location":"local","tags":{"Owner":"ann"}}`, 201)
}

// An admitter whose store fails says so; it does not let anything through.
func TestNothingPassesWithoutADecision(t *testing.T) {
	s := mem.New()
	a := admission.New(admission.Config{Store: s, Index: assignment.New(s, nil)})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	id, err := arm.ParseID(vm("a"))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Admit(t.Context(), &provider.Write{ID: id, Action: "write", Doc: &store.Document{}}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("%v", err)
	}
}
