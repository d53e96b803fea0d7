package policyinsights_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"hallmark.dev/hallmark/internal/admission"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/compliance"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/authorization"
	"hallmark.dev/hallmark/internal/rp/deployments"
	"hallmark.dev/hallmark/internal/rp/policyinsights"
	"hallmark.dev/hallmark/internal/secret"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/mem"
)

// agentRule installs an extension on machines that have none.
const agentRule = `{"if":{"field":"type","equals":"Microsoft.Compute/virtualMachines"},"then":{"effect":"deployIfNotExists","details":{
	"type":"Microsoft.Compute/virtualMachines/extensions","roleDefinitionIds":["/providers/Microsoft.Authorization/roleDefinitions/9980e02c-c2be-4d73-94e8-173b1dc7cf3c"],
	"deployment":{"properties":{"mode":"incremental","parameters":{"vm":{"value":"[field('name')]"},"location":{"value":"[field('location')]"}},
	"template":{"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#","contentVersion":"1.0.0.0",
	"parameters":{"vm":{"type":"string"},"location":{"type":"string"}},
	"resources":[{"type":"Microsoft.Compute/virtualMachines/extensions","name":"[concat(parameters('vm'), '/agent')]","apiVersion":"2024-07-01","location":"[parameters('location')]","properties":{"publisher":"Hallmark"}}]}}}}}}`

const withIdentity = `},"location":"local","identity":{"type":"SystemAssigned"`

func assignAgent(t *testing.T, s *providertest.Server, more string) {
	t.Helper()
	def := subscription() + "/providers/Microsoft.Authorization/policyDefinitions/agent"
	do(t, s, "PUT", def, `{"properties":{"mode":"Indexed","policyRule":`+agentRule+`}}`, 201)
	do(t, s, "PUT", subscription()+"/providers/Microsoft.Authorization/policyAssignments/agent", `{"properties":{"policyDefinitionId":"`+def+`"`+more+`}}`, 201)
}

// eventually waits for what a controller does a moment later.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("still not: %s", what)
}

func hasAgent(t *testing.T, s *providertest.Server, name string) bool {
	t.Helper()
	status, _, _ := s.Do(t, "GET", providertest.Query(vm(name)+"/extensions/agent", "2024-07-01"), nil)
	return status == 200
}

func dues(t *testing.T, s *providertest.Server) int {
	t.Helper()
	docs, err := store.List(t.Context(), s.Store, store.Query{Type: admission.TypeDue})
	if err != nil {
		t.Fatal(err)
	}
	return len(docs)
}

func TestDeployAfterAWrite(t *testing.T) {
	s := start(t)
	do(t, s, "PUT", vm("before"), `{"location":"local"}`, 201)
	assignAgent(t, s, withIdentity)
	do(t, s, "PUT", vm("a"), `{"location":"local"}`, 201)
	eventually(t, "the agent is installed", func() bool { return hasAgent(t, s, "a") })
	eventually(t, "nothing is due", func() bool { return dues(t, s) == 0 })
	if hasAgent(t, s, "before") {
		t.Error("a machine that nobody wrote was changed")
	}
	got := query(t, s, subscription(), latest).lines("resourceId", "complianceState")
	if want := "[a Compliant before NonCompliant]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	list := do(t, s, "GET", providertest.Group().String()+"/providers/Microsoft.Resources/deployments", "", 200)
	if !strings.Contains(string(list), "/PolicyDeployment_") {
		t.Errorf("got %s", list)
	}
}

// assignBlind assigns the agent's policy without an identity: Azure refuses that, but a
// definition may come to deploy something after it was assigned.
func assignBlind(t *testing.T, s *providertest.Server) {
	t.Helper()
	assign(t, s, "agent", tagRule, "")
	def := subscription() + "/providers/Microsoft.Authorization/policyDefinitions/agent"
	do(t, s, "PUT", def, `{"properties":{"mode":"Indexed","policyRule":`+agentRule+`}}`, 201)
}

func TestDeployIsNotForced(t *testing.T) {
	for name, assign := range map[string]func(*testing.T, *providertest.Server){"without an identity": assignBlind,
		"not enforced": func(t *testing.T, s *providertest.Server) {
			assignAgent(t, s, `,"enforcementMode":"DoNotEnforce"`+withIdentity)
		}} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			assign(t, s)
			do(t, s, "PUT", vm("a"), `{"location":"local"}`, 201)
			eventually(t, "nothing is due", func() bool { return dues(t, s) == 0 })
			s.Settle(t)
			if hasAgent(t, s, "a") {
				t.Error("the agent was installed")
			}
		})
	}
}

func remediated(t *testing.T, s *providertest.Server) json.RawMessage {
	t.Helper()
	id := subscription() + "/providers/Microsoft.PolicyInsights/remediations/r"
	do(t, s, "PUT", id, `{"properties":{"policyAssignmentId":"`+subscription()+`/providers/Microsoft.Authorization/policyAssignments/agent","parallelDeployments":2}}`, 201)
	var r json.RawMessage
	eventually(t, "the remediation ends", func() bool {
		r = do(t, s, "GET", id, "", 200)
		return arm.ProvisioningState(arm.GetString(r, "properties.provisioningState")).Terminal()
	})
	return r
}

func TestRemediationDeploys(t *testing.T) {
	s := start(t)
	for _, n := range []string{"a", "b", "c"} {
		do(t, s, "PUT", vm(n), `{"location":"local"}`, 201)
	}
	assignAgent(t, s, withIdentity)
	if r := remediated(t, s); arm.GetString(r, "properties.provisioningState") != "Succeeded" {
		t.Errorf("%s", r)
	}
	for _, n := range []string{"a", "b", "c"} {
		if !hasAgent(t, s, n) {
			t.Errorf("%s has no agent", n)
		}
	}
	var list struct {
		Value []struct{ DeploymentID, Status string }
	}
	raw := do(t, s, "POST", subscription()+"/providers/Microsoft.PolicyInsights/remediations/r/listDeployments", "", 200)
	if err := json.Unmarshal(raw, &list); err != nil || len(list.Value) != 3 {
		t.Fatalf("%v %s", err, raw)
	}
	for _, d := range list.Value {
		if doc := do(t, s, "GET", d.DeploymentID, "", 200); d.Status != "Succeeded" || arm.GetString(doc, "properties.provisioningState") != "Succeeded" {
			t.Errorf("%+v %s", d, doc)
		}
	}
	if got := summarize(t, s, subscription()); got.Results.NonCompliantResources != 0 {
		t.Errorf("after: %+v", got.Results)
	}
}

func TestRemediationWithoutIdentity(t *testing.T) {
	s := start(t)
	do(t, s, "PUT", vm("a"), `{"location":"local"}`, 201)
	assignBlind(t, s)
	if r := remediated(t, s); arm.GetString(r, "properties.provisioningState") != "Failed" {
		t.Errorf("%s", r)
	}
	raw := do(t, s, "POST", subscription()+"/providers/Microsoft.PolicyInsights/remediations/r/listDeployments", "", 200)
	if !strings.Contains(string(raw), "PolicyAssignmentWithoutIdentity") {
		t.Errorf("%s", raw)
	}
}

// frozen is a server without controllers, and nobody evaluates in the background.
func frozen(t *testing.T, db *mem.Store) *providertest.Server {
	t.Helper()
	key, err := secret.Open(t.TempDir() + "/key")
	if err != nil {
		t.Fatal(err)
	}
	index := assignment.New(db, nil)
	engine := compliance.New(compliance.Config{Store: db, Index: index})
	return providertest.Start(t, providertest.WithStore(db), providertest.WithoutControllers(), providertest.WithAdmitter(admission.New(admission.Config{Store: db, Index: index})),
		providertest.With(authorization.New(authorization.Config{TenantID: "t"}), machines(), deployments.New(deployments.Config{Sealer: key}),
			policyinsights.New(policyinsights.Config{TenantID: "t", Engine: engine, Index: index})))
}

// killEverywhere lets a controller work on a key, kills the process at each of its
// commits, before or after its effect, starts it again and checks how things are.
func killEverywhere(t *testing.T, name string, prepare func(t *testing.T, s *providertest.Server) (key string), check func(t *testing.T, s *providertest.Server)) {
	for _, fate := range []mem.Fault{mem.FailNotApplied, mem.FailApplied} {
		for at := 1; ; at++ {
			db := mem.New()
			s := frozen(t, db)
			key := prepare(t, s)
			var mu sync.Mutex
			passed := 0
			db.SetFault(func(int) mem.Fault {
				mu.Lock()
				defer mu.Unlock()
				switch passed++; {
				case passed < at:
					return mem.None
				case passed == at:
					return fate
				}
				return mem.FailNotApplied
			})
			for _, c := range s.Pipeline.Controllers() {
				for i := 0; i < 4 && c.Name == name; i++ {
					_, _ = c.Reconcile(t.Context(), key)
				}
			}
			db.SetFault(nil)
			if passed < at {
				if at < 3 {
					t.Fatalf("only %d commits", passed)
				}
				break
			}
			t.Run(fmt.Sprintf("%s commit %d", map[mem.Fault]string{mem.FailNotApplied: "before", mem.FailApplied: "after"}[fate], at), func(t *testing.T) {
				providertest.RunToRest(t, s)
				check(t, s)
			})
		}
	}
}

func agentOnce(t *testing.T, s *providertest.Server) {
	t.Helper()
	eventually(t, "the agent is installed", func() bool { return hasAgent(t, s, "a") })
	docs, err := store.List(t.Context(), s.Store, store.Query{Type: "Microsoft.Resources/deployments"})
	if err != nil || len(docs) != 1 {
		t.Errorf("%d deployments: %v", len(docs), err)
	}
}

func TestDeployKilledAnywhere(t *testing.T) {
	killEverywhere(t, "deployIfNotExists", func(t *testing.T, s *providertest.Server) string {
		assignAgent(t, s, withIdentity)
		do(t, s, "PUT", vm("a"), `{"location":"local"}`, 201)
		docs, err := store.List(t.Context(), s.Store, store.Query{Type: admission.TypeDue})
		if err != nil || len(docs) != 1 {
			t.Fatalf("%d are due: %v", len(docs), err)
		}
		return docs[0].Key
	}, func(t *testing.T, s *providertest.Server) {
		agentOnce(t, s)
		eventually(t, "nothing is due", func() bool { return dues(t, s) == 0 })
	})
}

func TestRemediationKilledAnywhere(t *testing.T) {
	id := subscription() + "/providers/Microsoft.PolicyInsights/remediations/r"
	killEverywhere(t, "Microsoft.PolicyInsights/remediations", func(t *testing.T, s *providertest.Server) string {
		do(t, s, "PUT", vm("a"), `{"location":"local"}`, 201)
		assignAgent(t, s, withIdentity)
		query(t, s, subscription(), latest) // evaluates
		do(t, s, "PUT", id, `{"properties":{"policyAssignmentId":"`+subscription()+`/providers/Microsoft.Authorization/policyAssignments/agent"}}`, 201)
		return strings.ToLower(id)
	}, func(t *testing.T, s *providertest.Server) {
		eventually(t, "the remediation succeeds", func() bool {
			return arm.GetString(do(t, s, "GET", id, "", 200), "properties.provisioningState") == "Succeeded"
		})
		agentOnce(t, s)
	})
}

// late is the rule with an evaluationDelay.
func late(t *testing.T, s *providertest.Server, delay string) {
	t.Helper()
	assign(t, s, "late", strings.Replace(agentRule, `"details":{`, `"details":{"evaluationDelay":`+delay+`,`, 1), withIdentity)
}

// A delay outlives the process: what is due is in the store, with when it was written.
func TestDeployAfterADelay(t *testing.T) {
	db := mem.New()
	s := frozen(t, db)
	def := subscription() + "/providers/Microsoft.Authorization/policyDefinitions/late"
	do(t, s, "PUT", def, `{"properties":{"mode":"Indexed","parameters":{"delay":{"type":"String"}},"policyRule":`+
		strings.Replace(agentRule, `"details":{`, `"details":{"evaluationDelay":"[parameters('delay')]",`, 1)+`}}`, 201)
	do(t, s, "PUT", subscription()+"/providers/Microsoft.Authorization/policyAssignments/late",
		`{"properties":{"policyDefinitionId":"`+def+`","parameters":{"delay":{"value":"PT30M"}}`+withIdentity+`}}`, 201)
	do(t, s, "PUT", vm("a"), `{"location":"local"}`, 201)
	docs, err := store.List(t.Context(), s.Store, store.Query{Type: admission.TypeDue})
	if err != nil || len(docs) != 1 {
		t.Fatalf("%d are due: %v", len(docs), err)
	}
	for _, c := range s.Pipeline.Controllers() {
		if c.Name != "deployIfNotExists" {
			continue
		}
		if again, err := c.Reconcile(t.Context(), docs[0].Key); err != nil || again < 29*time.Minute || again > 30*time.Minute {
			t.Errorf("looked at again after %s: %v", again, err)
		}
	}
	var due admission.Due
	if err := json.Unmarshal(docs[0].Private, &due); err != nil {
		t.Fatal(err)
	}
	due.Time = due.Time.Add(-30 * time.Minute)
	earlier := docs[0].Clone()
	if earlier.Private, err = json.Marshal(due); err != nil {
		t.Fatal(err)
	}
	if err := db.Update(t.Context(), func(tx store.Tx) error { return tx.Put(earlier, store.Any) }); err != nil {
		t.Fatal(err)
	}
	providertest.RunToRest(t, s)
	eventually(t, "the agent is installed", func() bool { return hasAgent(t, s, "a") })
}

func TestDeployAfterProvisioning(t *testing.T) {
	for delay, want := range map[string]bool{`"PT0M"`: true, `"AfterProvisioning"`: true, `"AfterProvisioningSuccess"`: true, `"AfterProvisioningFailure"`: false, `"nonsense"`: true} {
		t.Run(delay, func(t *testing.T) {
			s := start(t)
			late(t, s, delay)
			do(t, s, "PUT", vm("a"), `{"location":"local"}`, 201)
			eventually(t, "nothing is due", func() bool { return dues(t, s) == 0 })
			s.Settle(t)
			if want {
				eventually(t, "the agent is installed", func() bool { return hasAgent(t, s, "a") })
			} else if hasAgent(t, s, "a") {
				t.Error("the agent was installed")
			}
		})
	}
}

func TestModifyKilledAnywhere(t *testing.T) {
	id := subscription() + "/providers/Microsoft.PolicyInsights/remediations/r"
	killEverywhere(t, "Microsoft.PolicyInsights/remediations", func(t *testing.T, s *providertest.Server) string {
		do(t, s, "PUT", vm("a"), `{"location":"local"}`, 201)
		assign(t, s, "owner", modifyRule, withIdentity)
		query(t, s, subscription(), latest) // evaluates
		do(t, s, "PUT", id, `{"properties":{"policyAssignmentId":"`+subscription()+`/providers/Microsoft.Authorization/policyAssignments/owner"}}`, 201)
		return strings.ToLower(id)
	}, func(t *testing.T, s *providertest.Server) {
		eventually(t, "the remediation succeeds", func() bool {
			return arm.GetString(do(t, s, "GET", id, "", 200), "properties.provisioningState") == "Succeeded"
		})
		if a := do(t, s, "GET", vm("a"), "", 200); arm.GetString(a, "tags.owner") != "nobody" {
			t.Errorf("%s", a)
		}
	})
}
