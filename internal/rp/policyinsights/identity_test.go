package policyinsights_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"hallmark.dev/hallmark/internal/admission"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/compliance"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/authorization"
	"hallmark.dev/hallmark/internal/rp/deployments"
	"hallmark.dev/hallmark/internal/rp/managedidentity"
	"hallmark.dev/hallmark/internal/rp/policyinsights"
	"hallmark.dev/hallmark/internal/secret"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/mem"
)

// startWithRights is a server whose assignments act as their identities.
func startWithRights(t *testing.T) *providertest.Server {
	t.Helper()
	db := mem.New()
	key, err := secret.Open(t.TempDir() + "/key")
	if err != nil {
		t.Fatal(err)
	}
	index := assignment.New(db, nil)
	engine := compliance.New(compliance.Config{Store: db, Index: index})
	var s *providertest.Server
	as := func(ctx context.Context, a *assignment.Assignment) (identity.Principal, error) {
		return s.Directory.OfResource(ctx, a.IdentityOf, a.Identity)
	}
	s = providertest.Start(t, providertest.WithStore(db), providertest.WithAdmitter(admission.New(admission.Config{Store: db, Index: index})),
		providertest.With(authorization.New(authorization.Config{TenantID: "t"}), machines(), deployments.New(deployments.Config{Sealer: key}), managedidentity.New(managedidentity.Config{TenantID: "t"}),
			policyinsights.New(policyinsights.Config{TenantID: "t", Engine: engine, Index: index, Actor: as})))
	return s
}

const sizeModifyRule = `{"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},{"field":"Microsoft.Compute/virtualMachines/priority","exists":false}]},
	"then":{"effect":"modify","details":{"roleDefinitionIds":["/providers/Microsoft.Authorization/roleDefinitions/9980e02c-c2be-4d73-94e8-173b1dc7cf3c"],
	"operations":[{"operation":"add","field":"Microsoft.Compute/virtualMachines/priority","value":"Regular"}]}}}`

type remediationTest struct {
	*providertest.Server
	names int
}

// remedy runs a remediation of an assignment to its end and answers with what became of
// its only resource.
func (s *remediationTest) remedy(t *testing.T, name string) (status, code, message string) {
	t.Helper()
	s.names++
	id := subscription() + "/providers/Microsoft.PolicyInsights/remediations/r" + strings.Repeat("x", s.names)
	do(t, s.Server, "PUT", id, `{"properties":{"policyAssignmentId":"`+subscription()+`/providers/Microsoft.Authorization/policyAssignments/`+name+`"}}`, 201)
	eventually(t, "the remediation ends", func() bool {
		return arm.ProvisioningState(arm.GetString(do(t, s.Server, "GET", id, "", 200), "properties.provisioningState")).Terminal()
	})
	var list struct {
		Value []struct {
			Status string
			Error  struct{ Code, Message string }
		}
	}
	raw := do(t, s.Server, "POST", id+"/listDeployments", "", 200)
	if err := json.Unmarshal(raw, &list); err != nil || len(list.Value) != 1 {
		t.Fatalf("%v %s", err, raw)
	}
	return list.Value[0].Status, list.Value[0].Error.Code, list.Value[0].Error.Message
}

func assignmentIdentity(t *testing.T, s *providertest.Server, name string) string {
	t.Helper()
	return arm.GetString(do(t, s, "GET", subscription()+"/providers/Microsoft.Authorization/policyAssignments/"+name, "", 200), "identity.principalId")
}

// The role that is enough differs: tags alone take the right to write tags.
func TestModifyActsAsTheAssignmentsIdentity(t *testing.T) {
	for name, test := range map[string]struct{ rule, tooLittle, enough, action string }{
		"tags":     {modifyRule, "Reader", "Tag Contributor", "Microsoft.Resources/tags/write"},
		"anything": {sizeModifyRule, "Tag Contributor", "Virtual Machine Contributor", "Microsoft.Compute/virtualMachines/write"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &remediationTest{Server: startWithRights(t)}
			do(t, s.Server, "PUT", vm("b"), `{"location":"local","tags":{"owner":"ann"},"properties":{"priority":"Spot"}}`, 201)
			do(t, s.Server, "PUT", vm("a"), `{"location":"local","tags":{"keep":"me"},"properties":{"keep":"me","set":"`+vm("b")+`"}}`, 201)
			assign(t, s.Server, "rule", test.rule, withIdentity)
			who := assignmentIdentity(t, s.Server, "rule")
			s.Give(t, who, test.tooLittle, arm.Tenant)
			status, code, message := s.remedy(t, "rule")
			if status != "Failed" || code != "AuthorizationFailed" {
				t.Fatalf("%s %s %s", status, code, message)
			}
			for _, part := range []string{who, test.action, "/virtualMachines/a"} {
				if !strings.Contains(message, part) {
					t.Errorf("%q does not name %s", message, part)
				}
			}
			s.Give(t, who, test.enough, providertest.Group())
			if status, code, message := s.remedy(t, "rule"); status != "Succeeded" {
				t.Errorf("%s %s %s", status, code, message)
			}
			a := do(t, s.Server, "GET", vm("a"), "", 200)
			if arm.GetString(a, "properties.keep") != "me" || arm.GetString(a, "tags.keep") != "me" {
				t.Errorf("%s", a)
			}
			if got := summarize(t, s.Server, subscription()); got.Results.NonCompliantResources != 0 {
				t.Errorf("after: %+v", got.Results)
			}
		})
	}
}

// A resource that is being changed by somebody else is put right after that.
func TestModifyWaitsForOthers(t *testing.T) {
	s := start(t)
	do(t, s, "PUT", vm("a"), `{"location":"local"}`, 201)
	operations := func(all ...string) {
		t.Helper()
		err := s.Store.Update(t.Context(), func(tx store.Tx) error {
			d, err := tx.Get(vm("a"))
			if err != nil {
				return err
			}
			d.Operations = all
			return tx.Put(d, d.Revision)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	operations("somebody-changes-it")
	assign(t, s, "rule", sizeModifyRule, withIdentity)
	id := subscription() + "/providers/Microsoft.PolicyInsights/remediations/r"
	state := func() string { return arm.GetString(do(t, s, "GET", id, "", 200), "properties.provisioningState") }
	do(t, s, "PUT", id, `{"properties":{"policyAssignmentId":"`+subscription()+`/providers/Microsoft.Authorization/policyAssignments/rule"}}`, 201)
	eventually(t, "the remediation runs", func() bool { return state() == "Running" })
	s.Settle(t)
	if got := state(); got != "Running" {
		t.Errorf("it is %s", got)
	}
	operations()
	eventually(t, "the remediation succeeds", func() bool { return state() == "Succeeded" })
	if a := do(t, s, "GET", vm("a"), "", 200); arm.GetString(a, "properties.priority") != "Regular" {
		t.Errorf("%s", a)
	}
}

func TestModifyOfTags(t *testing.T) {
	const rule = `{"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},{"field":"tags['old']","exists":true}]},
	"then":{"effect":"modify","details":{"roleDefinitionIds":["/providers/Microsoft.Authorization/roleDefinitions/4a9ae827-6dc8-4573-8ac7-8239d42aa03f"],
	"operations":[{"operation":"remove","field":"tags['old']"},{"operation":"addOrReplace","field":"tags.team","value":"[field('tags.old')]"}]}}}`
	s := &remediationTest{Server: startWithRights(t)}
	do(t, s.Server, "PUT", vm("a"), `{"location":"local","tags":{"OLD":"web","Keep":"me","team":"x"}}`, 201)
	assign(t, s.Server, "rule", rule, withIdentity)
	s.Give(t, assignmentIdentity(t, s.Server, "rule"), "Tag Contributor", arm.Tenant)
	if status, code, message := s.remedy(t, "rule"); status != "Succeeded" {
		t.Errorf("%s %s %s", status, code, message)
	}
	raw, _ := arm.Get(do(t, s.Server, "GET", vm("a"), "", 200), "tags")
	var tags map[string]string
	if err := json.Unmarshal(raw, &tags); err != nil || len(tags) != 2 || tags["Keep"] != "me" || tags["team"] != "web" {
		t.Errorf("%s: %v", raw, err)
	}
}

func TestUserAssignedIdentityRemediates(t *testing.T) {
	s := &remediationTest{Server: startWithRights(t)}
	id := providertest.Group().Resource(provider.TypeUserAssigned, "remedy").String()
	principal := arm.GetString(do(t, s.Server, "PUT", id, `{"location":"local"}`, 201), "properties.principalId")
	s.Give(t, principal, "Contributor", providertest.Group())
	do(t, s.Server, "PUT", vm("a"), `{"location":"local","properties":{"priority":"Regular"}}`, 201)
	with := `},"location":"local","identity":{"type":"UserAssigned","userAssignedIdentities":{"` + id + `":{}}`
	assign(t, s.Server, "owner", modifyRule, with)
	assignAgent(t, s.Server, with)
	made := do(t, s.Server, "GET", subscription()+"/providers/Microsoft.Authorization/policyAssignments/owner", "", 200)
	raw, _ := arm.Get(made, "identity")
	if arm.GetString(made, "identity.principalId") != "" || !strings.Contains(string(raw), principal) {
		t.Errorf("the assignment's identity: %s", raw)
	}
	for _, name := range []string{"owner", "agent"} {
		if status, code, message := s.remedy(t, name); status != "Succeeded" {
			t.Errorf("%s: %s %s %s", name, status, code, message)
		}
	}
	if a := do(t, s.Server, "GET", vm("a"), "", 200); arm.GetString(a, "tags.owner") != "nobody" || !hasAgent(t, s.Server, "a") {
		t.Errorf("%s", a)
	}
	do(t, s.Server, "PUT", vm("b"), `{"location":"local"}`, 201)
	eventually(t, "the agent is installed", func() bool { return hasAgent(t, s.Server, "b") })
}

// The wording is what Azure answers, as people quote it.
func TestRemediationsThatAreRefused(t *testing.T) {
	s := frozen(t, mem.New())
	definitions := subscription() + "/providers/Microsoft.Authorization/"
	assign(t, s, "owner", modifyRule, withIdentity)
	do(t, s, "PUT", definitions+"policySetDefinitions/set", `{"properties":{"policyDefinitions":[{"policyDefinitionId":"`+definitions+`policyDefinitions/owner","policyDefinitionReferenceId":"one"}]}}`, 201)
	do(t, s, "PUT", definitions+"policyAssignments/set", `{"properties":{"policyDefinitionId":"`+definitions+`policySetDefinitions/set"`+withIdentity+`}}`, 201)
	remediate := func(scope, name, assignment, more string, want int) string {
		t.Helper()
		return string(do(t, s, "PUT", scope+"/providers/Microsoft.PolicyInsights/remediations/"+name, `{"properties":{"policyAssignmentId":"`+definitions+`policyAssignments/`+assignment+`"`+more+`}}`, want))
	}
	refused := func(answer, why string) {
		t.Helper()
		if !strings.Contains(answer, `"InvalidCreateRemediationRequest"`) || !strings.Contains(answer, why) {
			t.Errorf("%s", answer)
		}
	}
	refused(remediate(subscription(), "a", "set", "", 400), "Remediations must specify a single policy definition reference ID within the policy set definition.")
	remediate(subscription(), "a", "set", `,"policyDefinitionReferenceId":"one"`, 201)
	remediate(subscription(), "a", "set", `,"policyDefinitionReferenceId":"one"`, 200) // the same again
	refused(remediate(providertest.Group().String(), "b", "set", `,"policyDefinitionReferenceId":"ONE"`, 400), "'a' are already running")
	remediate(providertest.Group().String(), "b", "owner", "", 201)
	refused(remediate(subscription(), "c", "owner", "", 400), "'b' are already running")
}
