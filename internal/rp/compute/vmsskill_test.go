package compute_test

import (
	"fmt"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/rp/compute"
	"hallmark.dev/hallmark/internal/rp/network"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/mem"
)

// askSet sends a request about the set without waiting for its operation.
func (r *rig) askSet(method, action string, body any) error {
	r.t.Helper()
	at := setID("web").String() + action + computeVersion
	if status, _, got := r.Do(r.t, method, at, body); status >= 300 {
		return fmt.Errorf("%s %s: %d %s", method, at, status, got)
	}
	return nil
}

func setStories(mode armcompute.OrchestrationMode) []story {
	made := func(r *rig) {
		r.publish("1.0.0", "")
		if err := r.askSet("PUT", "", r.scaleSet(mode, r.publish("1.0.0", "").String(), 2)); err != nil {
			r.t.Fatal(err)
		}
		r.finish()
	}
	moved := func(r *rig) {
		made(r)
		if _, err := r.move("web", "2.0.0"); err != nil {
			r.t.Fatal(err)
		}
		r.finish()
	}
	return []story{
		{"create", func(r *rig) { r.publish("1.0.0", ""); r.subnet() }, func(r *rig) error {
			return r.askSet("PUT", "", r.scaleSet(mode, id("Microsoft.Compute/galleries", "g").Child("images", "web").Child("versions", "1.0.0").String(), 2))
		}, wantInstances(2, "1")},
		{"grow", made, func(r *rig) error { return r.askSet("PATCH", "", `{"sku":{"capacity":3}}`) }, wantInstances(3, "1")},
		{"shrink", made, func(r *rig) error { return r.askSet("PATCH", "", `{"sku":{"capacity":1}}`) }, wantInstances(1, "1")},
		{"upgrade", moved, func(r *rig) error { return r.askSet("POST", "/manualupgrade", `{"instanceIds":["*"]}`) }, wantInstances(2, "2")},
		{"delete", made, func(r *rig) error { return r.askSet("DELETE", "", nil) }, func(t *testing.T, r *rig) {
			wantNothing(t, r)
			wantNone(t, r, compute.TypeScaleSet, compute.TypeInstance, network.TypeInstanceInterface)
		}},
	}
}

func wantNone(t *testing.T, r *rig, types ...arm.Type) {
	for _, typ := range types {
		if left, err := store.List(t.Context(), r.Store, store.Query{Type: typ}); err != nil || len(left) != 0 {
			t.Errorf("%s left: %v %v", typ, left, err)
		}
	}
}

// wantInstances looks at a set that is at rest: so many machines run on the image, and there
// is nothing that belongs to none of them.
func wantInstances(n int, image string) func(*testing.T, *rig) {
	return func(t *testing.T, r *rig) {
		d, err := store.Get(t.Context(), r.Store, setID("web").Key())
		if err != nil || d.State() != arm.StateSucceeded || len(d.Operations) != 0 {
			t.Fatalf("%v: %+v", err, d)
		}
		if ids := r.instanceIDs("web"); len(ids) != n || len(r.w.machines) != n || len(r.w.folders) != n || len(r.w.ports) != n || len(r.w.volumes) != n {
			t.Errorf("instances %v, %d run, %d folders, %d ports, %d volumes", ids, len(r.w.machines), len(r.w.folders), len(r.w.ports), len(r.w.volumes))
		}
		for _, b := range r.backings() {
			if b != image {
				t.Errorf("a disk stands on image %s, want %s", b, image)
			}
		}
		for _, vm := range r.instances("web") {
			if !*vm.Properties.LatestModelApplied {
				t.Errorf("%s has not the latest model", *vm.Name)
			}
		}
		for typ, want := range map[arm.Type]int{compute.TypeDisk: n, network.TypeInterface: n, network.TypeInstanceInterface: n} {
			all, err := store.List(t.Context(), r.Store, store.Query{Type: typ})
			if err != nil || len(all) != want && len(all) != 0 {
				t.Errorf("%d %s: %v", len(all), typ, err)
			}
		}
	}
}

// TestScaleSetKilledAnywhere kills the process before every write to the store and around
// every side effect, and looks at where that ends.
func TestScaleSetKilledAnywhere(t *testing.T) {
	for _, mode := range armcompute.PossibleOrchestrationModeValues() {
		for _, s := range setStories(mode) {
			t.Run(string(mode)+" "+s.name, func(t *testing.T) {
				step := 1
				if mode == armcompute.OrchestrationModeFlexible {
					step = 4 // the same code: a sample
				}
				for i, point := range pointsOf(t, s) {
					if i%step == 0 {
						t.Run(point, func(t *testing.T) { killedAt(t, s, point) })
					}
				}
				for n := 2; killedAtWrite(t, s, n); n += step {
				}
			})
		}
	}
}

// killedAtWrite is false when the story was over before its nth write.
func killedAtWrite(t *testing.T, s story, n int) bool {
	w, st := newWorld(), mem.New()
	reached, asked := true, false
	t.Run(fmt.Sprintf("write %d", n), func(t *testing.T) {
		t.Run("until", func(t *testing.T) {
			r := start(t, w, st)
			s.prepare(r)
			w.revive()
			w.locked(func() { w.last = n })
			if asked = s.ask(r) == nil; asked {
				reached = r.diesOrFinishes()
			}
		})
		w.revive()
		if !asked {
			return // it died before there was anything to resume
		}
		t.Run("again", func(t *testing.T) {
			r := start(t, w, st)
			r.finish()
			s.check(t, r)
		})
	})
	return reached && !t.Failed()
}

// diesOrFinishes waits until the world is dead (true) or nothing is under way.
func (r *rig) diesOrFinishes() bool {
	for {
		r.Settle(r.t)
		select {
		case <-r.w.died:
			return true
		default:
		}
		if !r.busy() {
			return false
		}
	}
}
