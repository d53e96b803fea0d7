package imagebuilder

import (
	"fmt"
	"testing"

	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/mem"
)

// killer strikes at a boundary (a commit of the store or a call of an engine), before or
// after its effect; all that comes later in that process fails too.
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
	return mem.FailNotApplied
}

func killEverywhere(t *testing.T, work, check func(t *testing.T, w *world)) {
	for _, fate := range []mem.Fault{mem.FailNotApplied, mem.FailApplied} {
		for at := 1; ; at++ {
			w := newWorld(t)
			work(t, w)
			k := &killer{at: at, fate: fate}
			w.engines.fault = k.next
			w.store.SetFault(func(commit int) mem.Fault { return k.next(fmt.Sprintf("commit %d", commit)) })
			for range 2 {
				_ = w.reconcile()
			}
			w.engines.fault = nil
			w.store.SetFault(nil)
			if k.struck == "" {
				if at < 2 {
					t.Fatalf("only %d boundaries were found", at-1)
				}
				break
			}
			name := fmt.Sprintf("%s %s (%d)", map[mem.Fault]string{mem.FailNotApplied: "before", mem.FailApplied: "after"}[fate], k.struck, at)
			t.Run(name, func(t *testing.T) {
				w.start(t)
				w.settle(t)
				check(t, w)
			})
		}
	}
}

// Killed anywhere, a run goes on after the restart or has ended as failed with a reason,
// and what it published is whole and there once.
func TestKilledAnywhereWhileRunning(t *testing.T) {
	image := group.Resource(typeImage, "web-base")
	killEverywhere(t, func(t *testing.T, w *world) {
		w.create(t, templateText(toGallery+`,{"type":"ManagedImage","runOutputName":"image","imageId":"`+image.String()+`","location":"eastus"},{"type":"VHD","runOutputName":"vhd"}`))
		w.mustPath(t, "POST", template.String()+"/run", "", 202)
	}, func(t *testing.T, w *world) {
		s := w.status(t)
		d := w.document(t, template)
		if len(d.Operations) > 0 {
			t.Errorf("operations that never end: %v", d.Operations)
		}
		versions, err := store.List(t.Context(), w.store, store.Query{Type: typeVersion})
		if err != nil {
			t.Fatal(err)
		}
		switch s.RunState {
		case runSucceeded:
			if len(versions) != 1 {
				t.Errorf("%d versions", len(versions))
			}
			for _, name := range []string{"gallery", "image", "vhd"} {
				w.mustPath(t, "GET", template.String()+"/runOutputs/"+name, "", 200)
			}
		case runFailed, runPartiallySucceeded:
			if s.Message == "" {
				t.Error("failed without a reason")
			}
			outputs, err := store.List(t.Context(), w.store, store.Query{Type: TypeRunOutput})
			if err != nil || len(versions) > len(outputs) {
				t.Errorf("%d versions and %d outputs: something half-published is left (%v)", len(versions), len(outputs), err)
			}
		default:
			t.Errorf("%+v", s)
		}
	})
}

func TestKilledAnywhereWhileDeleting(t *testing.T) {
	killEverywhere(t, func(t *testing.T, w *world) {
		w.create(t, templateText(toGallery))
		w.mustPath(t, "POST", template.String()+"/run", "", 202)
		w.must(t, "DELETE", template, "", 202)
	}, func(t *testing.T, w *world) {
		w.must(t, "GET", template, "", 404)
	})
}
