package gallery

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/mem"
)

func (w *world) document(t *testing.T, id arm.ID) *store.Document {
	t.Helper()
	d, err := store.Get(t.Context(), w.store, id.Key())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A boundary is a commit of the store or a call of an engine, by its number in
// the work; a kill strikes there, before or after its effect, and all that comes
// later in that process fails too.
type killer struct {
	at     int
	fate   mem.Fault
	passed int
	struck string
}

func (k *killer) next(name string) mem.Fault {
	k.passed++
	switch {
	case k.passed < k.at:
		return mem.None
	case k.passed == k.at:
		k.struck = name
		return k.fate
	}
	return mem.FailNotApplied // the process is dead
}

// killEverywhere runs work, killed at its first boundary, its second, and so on,
// until it gets through; check looks at what a restart makes of it.
func killEverywhere(t *testing.T, work func(t *testing.T, w *world), check func(t *testing.T, w *world)) {
	for _, fate := range []mem.Fault{mem.FailNotApplied, mem.FailApplied} {
		for at := 1; ; at++ {
			w := newWorld(t)
			k := &killer{at: at, fate: fate}
			work(t, w)
			w.engines.fault = k.next
			w.store.SetFault(func(commit int) mem.Fault { return k.next(fmt.Sprintf("commit %d", commit)) })
			for range 3 { // the runner calls again after an error; dead is dead
				_ = w.reconcile(versionID("1.0.0"))
			}
			w.engines.fault = nil
			w.store.SetFault(nil)
			if k.struck == "" {
				if at < 3 {
					t.Fatalf("only %d boundaries were found", at-1)
				}
				break
			}
			name := map[mem.Fault]string{mem.FailNotApplied: "before ", mem.FailApplied: "after "}[fate] + k.struck
			t.Run(name, func(t *testing.T) {
				w.start(t)
				w.settle(t, versionID("1.0.0"))
				check(t, w)
			})
		}
	}
}

func TestKilledAnywhereWhilePublishing(t *testing.T) {
	id := versionID("1.0.0")
	killEverywhere(t, func(t *testing.T, w *world) {
		w.must(t, "PUT", id, versionText(w.blob(t, "one"), "eastus", "westeurope"), 201)
	}, func(t *testing.T, w *world) {
		d := w.document(t, id)
		if !d.State().Terminal() || len(d.Operations) > 0 {
			t.Fatalf("neither done nor failed: %s %v", d.Body, d.Operations)
		}
		if d.State() == arm.StateFailed { // an engine's error is no kill: the client is told, and another PUT mends it
			body, _ := arm.Set(d.Body, "properties.storageProfile", struct{}{})
			w.must(t, "PUT", id, string(body), 200)
			w.settle(t, id)
			d = w.document(t, id)
		}
		if d.State() != arm.StateSucceeded || len(w.replicas("eastus")) != 1 || len(w.replicas("westeurope")) != 1 {
			t.Errorf("%s, replicas %v", d.Body, w.engines.replicas)
		}
	})
}

func TestKilledAnywhereWhileDeleting(t *testing.T) {
	id := versionID("1.0.0")
	killEverywhere(t, func(t *testing.T, w *world) {
		w.publish(t, "1.0.0", "eastus", "westeurope")
		w.must(t, "DELETE", id, "", 202)
		w.engines.calls = nil
	}, func(t *testing.T, w *world) {
		w.must(t, "GET", id, "", 404)
		if len(w.replicas("eastus"))+len(w.replicas("westeurope")) != 0 {
			t.Errorf("replicas %v", w.engines.replicas)
		}
	})
}

func TestKilledAnywhereWhileMovingRegions(t *testing.T) {
	id := versionID("1.0.0")
	killEverywhere(t, func(t *testing.T, w *world) {
		w.must(t, "PUT", id, versionText(w.blob(t, "1.0.0"), "eastus"), 201)
		w.settle(t, id)
		w.must(t, "PATCH", id, `{"properties":{"publishingProfile":{"targetRegions":[{"name":"eastus"},{"name":"westeurope"}]}}}`, 200)
		w.settle(t, id)
		w.must(t, "PATCH", id, `{"properties":{"publishingProfile":{"targetRegions":[{"name":"eastus"}]}}}`, 200)
	}, func(t *testing.T, w *world) {
		d := w.document(t, id)
		if d.State() != arm.StateSucceeded || len(w.replicas("westeurope")) != 0 || len(w.replicas("eastus")) != 1 {
			t.Errorf("%s, replicas %v", d.Body, w.engines.replicas)
		}
		if strings.Contains(string(d.Private), "westeurope") {
			t.Errorf("a region that is gone is still recorded: %s", d.Private)
		}
	})
}

func TestKilledAnywhereWhileExporting(t *testing.T) {
	id := versionID("1.0.0")
	killEverywhere(t, func(t *testing.T, w *world) {
		w.publish(t, "1.0.0", "eastus")
		if got := w.doPath("POST", id.String()+"/export", "", `{"format":"raw"}`).Status; got != 202 {
			t.Fatal(got)
		}
	}, func(t *testing.T, w *world) {
		d := w.document(t, id)
		var st state
		if err := json.Unmarshal(d.Private, &st); err != nil || st.Export != "" || len(d.Operations) != 0 {
			t.Errorf("the export has no end: %s %v", d.Private, d.Operations)
		}
	})
}

func TestDeleteCutsACopyShort(t *testing.T) {
	w := newWorld(t)
	id := versionID("1.0.0")
	w.must(t, "PUT", id, versionText(w.blob(t, "one"), "eastus"), 201)
	w.engines.during = func(call string) {
		if call == "ingest in eastus" {
			w.must(t, "DELETE", id, "", 202)
		}
	}
	w.settle(t, id)
	w.must(t, "GET", id, "", 404)
	if len(w.replicas("eastus")) != 0 {
		t.Errorf("replicas %v", w.engines.replicas)
	}
}
