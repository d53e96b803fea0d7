package deployments_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/controller"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/deployments"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/mem"
)

// killer strikes at a commit, before or after its effect; all that comes later in that
// process fails too.
type killer struct {
	mu     sync.Mutex
	at     int
	fate   mem.Fault
	passed int
}

func (k *killer) next(int) mem.Fault {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch k.passed++; {
	case k.passed < k.at:
		return mem.None
	case k.passed == k.at:
		return k.fate
	}
	return mem.FailNotApplied
}

func (k *killer) struck() bool { return k.passed >= k.at }

// driver is the controller of deployments, to be called by hand.
func driver(t *testing.T, s *providertest.Server) controller.Controller {
	t.Helper()
	for _, c := range s.Pipeline.Controllers() {
		if c.Name == string(deployments.Type) {
			return c
		}
	}
	t.Fatal("there is no controller of deployments")
	return controller.Controller{}
}

// killEverywhere runs work, kills the process at every commit of driving the deployment
// d, starts it again, and checks how things are in the end.
func killEverywhere(t *testing.T, work, check func(t *testing.T, s *providertest.Server)) {
	for _, fate := range []mem.Fault{mem.FailNotApplied, mem.FailApplied} {
		for at := 1; ; at++ {
			db := mem.New()
			s := start(t, &toys{}, providertest.WithStore(db), providertest.WithoutControllers())
			work(t, s)
			c, k := driver(t, s), &killer{at: at, fate: fate}
			db.SetFault(k.next)
			for range 3 {
				_, _ = c.Reconcile(t.Context(), deploymentID("d").Key())
			}
			db.SetFault(nil)
			if !k.struck() {
				if at < 2 {
					t.Fatalf("only %d commits", at-1)
				}
				break
			}
			t.Run(fmt.Sprintf("%s commit %d", map[mem.Fault]string{mem.FailNotApplied: "before", mem.FailApplied: "after"}[fate], at), func(t *testing.T) {
				providertest.RunToRest(t, s)
				rest(t, s)
				check(t, s)
			})
		}
	}
}

// rest waits until the deployment has ended: between two looks at a slow resource its
// controller is at rest, too.
func rest(t *testing.T, s *providertest.Server) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if read(t, s, deploymentID("d").Key()).State().Terminal() {
			return
		}
	}
	t.Fatal("the deployment does not end")
}

const killed = `"parameters":{"p":{"type":"securestring"}},"resources":[
	{"type":"Test.Toys/things","name":"first","apiVersion":"2024-01-01"},
	{"type":"Test.Toys/slow","name":"slow","apiVersion":"2024-01-01","dependsOn":["first"]},
	{"type":"Test.Toys/things","name":"beside","apiVersion":"2024-01-01","dependsOn":["first"]},
	{"type":"Test.Toys/things","name":"last","apiVersion":"2024-01-01","dependsOn":["slow","beside"],"properties":{"secret":"[parameters('p')]"}}]`

func TestKilledAnywhere(t *testing.T) {
	killEverywhere(t, func(t *testing.T, s *providertest.Server) {
		if status, _, answer := s.Do(t, "PUT", path(deploymentID("d")), body(tpl(killed), `{"p":{"value":"hunter2hunter2"}}`)); status != 201 {
			t.Fatalf("%d %s", status, answer)
		}
	}, func(t *testing.T, s *providertest.Server) {
		d := read(t, s, deploymentID("d").Key())
		if d.State() != arm.StateSucceeded || len(d.Operations) > 0 {
			t.Errorf("the deployment is %s with operations %v: %s", d.State(), d.Operations, d.Body)
		}
		for _, kind := range []arm.Type{"Test.Toys/things", "Test.Toys/slow"} {
			docs, err := store.List(t.Context(), s.Store, store.Query{Type: kind})
			if err != nil || len(docs) != map[arm.Type]int{"Test.Toys/things": 3, "Test.Toys/slow": 1}[kind] {
				t.Errorf("%d %s: %v", len(docs), kind, err)
			}
		}
		if got := arm.GetString(read(t, s, thing("last").Key()).Body, "properties.secret"); got != "hunter2hunter2" {
			t.Errorf("the secret became %q", got)
		}
	})
}

func TestKilledAnywhereAfterACancel(t *testing.T) {
	killEverywhere(t, func(t *testing.T, s *providertest.Server) {
		s.Do(t, "PUT", path(deploymentID("d")), body(tpl(killed), `{"p":{"value":"hunter2hunter2"}}`))
		_, _ = driver(t, s).Reconcile(t.Context(), deploymentID("d").Key())
		if status, _, answer := s.Do(t, "POST", providertest.Query(deploymentID("d").String()+"/cancel", "2021-04-01"), nil); status != 204 {
			t.Fatalf("%d %s", status, answer)
		}
	}, func(t *testing.T, s *providertest.Server) {
		d := read(t, s, deploymentID("d").Key())
		if d.State() != arm.StateCanceled || len(d.Operations) > 0 {
			t.Errorf("the deployment is %s with operations %v", d.State(), d.Operations)
		}
	})
}
