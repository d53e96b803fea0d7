package compute_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/compute"
	"hallmark.dev/hallmark/internal/rp/network"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/mem"
)

// A story is something that a client asks for, on a control plane that has been
// prepared; killed anywhere on the way, it must come to the same end.
type story struct {
	name    string
	prepare func(r *rig)
	ask     func(r *rig) error
	check   func(t *testing.T, r *rig)
}

func request() armcompute.VirtualMachine {
	vm := machine(id("Microsoft.Compute/galleries", "g").Child("images", "web").Child("versions", "1.0.0").String())
	vm.Properties.StorageProfile.OSDisk = &armcompute.OSDisk{CreateOption: to.Ptr(armcompute.DiskCreateOptionTypesFromImage), DeleteOption: to.Ptr(armcompute.DiskDeleteOptionTypesDelete)}
	vm.Properties.StorageProfile.DataDisks = []*armcompute.DataDisk{{Lun: to.Ptr(int32(0)), CreateOption: to.Ptr(armcompute.DiskCreateOptionTypesEmpty),
		DiskSizeGB: to.Ptr(int32(1)), DeleteOption: to.Ptr(armcompute.DiskDeleteOptionTypesDelete)}}
	return vm
}

func created(r *rig) {
	r.publish("1.0.0", "")
	if err := r.asks("PUT", "", request()); err != nil {
		r.t.Fatal(err)
	}
	r.finish()
}

// asks sends a request without waiting for its operation.
func (r *rig) asks(method, action string, body any) error {
	r.t.Helper()
	at := vmID("web-1").String() + action + computeVersion
	if status, _, got := r.Do(r.t, method, at, body); status >= 300 {
		return fmt.Errorf("%s %s: %d %s", method, at, status, got)
	}
	return nil
}

var stories = []story{
	{"create", func(r *rig) { r.publish("1.0.0", "") }, func(r *rig) error { return r.asks("PUT", "", request()) }, wantRunning(1)},
	{"restart", created, func(r *rig) error { return r.asks("POST", "/restart", nil) }, wantRunning(2)},
	{"reimage", created, func(r *rig) error { return r.asks("POST", "/reimage", nil) }, wantRunning(2)},
	{"deallocate", created, func(r *rig) error { return r.asks("POST", "/deallocate", nil) }, func(t *testing.T, r *rig) {
		if len(r.w.machines) != 0 || len(r.w.ports) != 0 || len(r.w.volumes) != 2 {
			t.Errorf("%d run, %d ports, %d volumes", len(r.w.machines), len(r.w.ports), len(r.w.volumes))
		}
	}},
	{"resize", created, func(r *rig) error {
		return r.asks("PATCH", "", `{"properties":{"hardwareProfile":{"vmSize":"Standard_B2s"}}}`)
	}, wantRunning(2)},
	{"attach", func(r *rig) { created(r); r.disk("one") }, func(r *rig) error {
		return r.asks("POST", "/attachDetachDataDisks", fmt.Sprintf(`{"dataDisksToAttach":[{"diskId":%q}]}`, id(compute.TypeDisk, "one")))
	}, wantDisks(3, true)},
	{"attach a new one", created, func(r *rig) error {
		data := *request().Properties.StorageProfile.DataDisks[0]
		return r.asks("PATCH", "", fmt.Sprintf(`{"properties":{"storageProfile":{"dataDisks":[{"lun":0,"createOption":"Empty","diskSizeGB":%d},{"lun":1,"name":"one","createOption":"Empty","diskSizeGB":1}]}}}`, *data.DiskSizeGB))
	}, wantDisks(3, true)},
	{"detach", attached, func(r *rig) error {
		return r.asks("POST", "/attachDetachDataDisks", fmt.Sprintf(`{"dataDisksToDetach":[{"diskId":%q}]}`, id(compute.TypeDisk, "one")))
	}, wantDisks(2, false)},
	{"extension", created, func(r *rig) error { return r.asks("PUT", "/extensions/setup", scriptOf("echo one")) }, wantExtension(1)},
	{"extension, reimage", extended, func(r *rig) error { return r.asks("POST", "/reimage", nil) }, wantExtension(2)},
	{"extension, delete", busyExtended, func(r *rig) error { return r.asks("DELETE", "/extensions/setup", nil) }, func(t *testing.T, r *rig) {
		if left, err := store.List(t.Context(), r.Store, store.Query{Type: compute.TypeExtension}); err != nil || len(left) != 0 || len(r.w.jobs) != 0 {
			t.Errorf("%v, left %v, jobs %v", err, left, r.w.jobs)
		}
	}},
	{"run command", created, func(r *rig) error {
		return r.asks("PUT", "/runCommands/job", `{"location":"local","properties":{"source":{"script":"echo"},"protectedParameters":[{"name":"a","value":"b"}]}}`)
	}, func(t *testing.T, r *rig) {
		d, err := store.Get(t.Context(), r.Store, vmID("web-1").Child("runCommands", "job").Key())
		if err != nil || d.State() != arm.StateSucceeded || len(r.ran()) != 1 {
			t.Errorf("%v %s, ran %q", err, d.State(), r.ran())
		}
	}},
	{"snapshot", created, func(r *rig) error { return r.asksSnapshot("snap") }, func(t *testing.T, r *rig) {
		wantRunning(1)(t, r)
		d, err := store.Get(t.Context(), r.Store, id(compute.TypeSnapshot, "snap").Key())
		if err != nil || d.State() != arm.StateSucceeded || len(r.w.volumes) != 2 {
			t.Errorf("%v %s, %d volumes", err, d.State(), len(r.w.volumes))
		}
	}},
	{"delete", created, func(r *rig) error { return r.asks("DELETE", "", nil) }, wantNothing},
}

// asksSnapshot asks for one of the machine's first disk, without waiting for it.
func (r *rig) asksSnapshot(name string) error {
	r.t.Helper()
	disks, err := store.List(r.t.Context(), r.Store, store.Query{Type: compute.TypeDisk})
	if err != nil || len(disks) == 0 {
		r.t.Fatal(err)
	}
	body := fmt.Sprintf(`{"location":"local","properties":{"creationData":{"createOption":"Copy","sourceResourceId":%q}}}`, disks[0].ID)
	if status, _, got := r.Do(r.t, "PUT", id(compute.TypeSnapshot, name).String()+computeVersion, body); status >= 300 {
		return fmt.Errorf("%d %s", status, got)
	}
	return nil
}

func attached(r *rig) {
	created(r)
	if _, err := r.exchange("web-1", []arm.ID{r.disk("one")}, nil); err != nil {
		r.t.Fatal(err)
	}
}

func scriptOf(command string) any {
	return customScript(map[string]any{"commandToExecute": command}, nil)
}

func extended(r *rig) {
	created(r)
	if _, err := r.extend(customScript(nil, command("echo one"))); err != nil {
		r.t.Fatal(err)
	}
}

// busyExtended has an extension whose script has not ended.
func busyExtended(r *rig) {
	created(r)
	r.w.locked(func() { r.w.endless = true })
	if err := r.asks("PUT", "/extensions/setup", scriptOf("sleep inf")); err != nil {
		r.t.Fatal(err)
	}
	for begun := 0; begun == 0; r.w.locked(func() { begun = len(r.w.jobs) }) {
		r.Settle(r.t)
	}
}

// wantDisks: the machine runs, was not restarted, and has so many disks.
func wantDisks(want int, attached bool) func(*testing.T, *rig) {
	return func(t *testing.T, r *rig) {
		for name, m := range r.w.machines {
			if len(m.Disks) != want || r.w.started[name] != 1 {
				t.Errorf("started %d times, with %+v", r.w.started[name], m.Disks)
			}
		}
		d, err := store.Get(t.Context(), r.Store, id(compute.TypeDisk, "one").Key())
		if err != nil {
			t.Fatal(err)
		}
		if (arm.GetString(d.Body, "managedBy") != "") != attached || len(r.w.volumes) != 3 {
			t.Errorf("%d volumes: %s", len(r.w.volumes), d.Body)
		}
	}
}

// wantExtension: its script ran so many times, in as many guests, whatever was killed.
func wantExtension(runs int) func(*testing.T, *rig) {
	return func(t *testing.T, r *rig) {
		body := r.settled(vmID("web-1").Child("extensions", "setup"))
		if got := r.ran(); len(got) != runs || arm.GetString(body, "properties.provisioningState") != "Succeeded" {
			t.Errorf("ran %q: %s", got, body)
		}
	}
}

func wantRunning(atLeast int) func(*testing.T, *rig) {
	return func(t *testing.T, r *rig) {
		d, err := store.Get(t.Context(), r.Store, vmID("web-1").Key())
		if err != nil || d.State() != arm.StateSucceeded || len(d.Operations) != 0 {
			t.Fatalf("%v: %+v", err, d)
		}
		if len(r.w.machines) != 1 || len(r.w.folders) != 1 || len(r.w.ports) != 1 || len(r.w.volumes) != 2 {
			t.Errorf("%d run, %d folders, %d ports, %d volumes", len(r.w.machines), len(r.w.folders), len(r.w.ports), len(r.w.volumes))
		}
		for name, m := range r.w.machines {
			if r.w.started[name] < atLeast {
				t.Errorf("started %d times, want at least %d", r.w.started[name], atLeast)
			}
			for _, disk := range m.Disks {
				if size, err := (volumes{r.w}).Size(t.Context(), disk.Path); err != nil || size == 0 {
					t.Errorf("the machine runs on a disk that is not there: %v", err)
				}
			}
		}
	}
}

func wantNothing(t *testing.T, r *rig) {
	if len(r.w.machines)+len(r.w.folders)+len(r.w.ports)+len(r.w.volumes) != 0 {
		t.Errorf("left: %v, ports %v, volumes %v", r.w.folders, r.w.ports, r.w.volumes)
	}
	for _, typ := range []arm.Type{compute.TypeVM, compute.TypeDisk, network.TypeInterface} {
		if left, err := store.List(t.Context(), r.Store, store.Query{Type: typ}); err != nil || len(left) != 0 {
			t.Errorf("%s left: %v %v", typ, left, err)
		}
	}
}

// TestKilledAnywhere kills the process before and after every side effect of every
// story, starts it again, and looks at where that ends.
func TestKilledAnywhere(t *testing.T) {
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			points := pointsOf(t, s)
			if len(points) < 2 {
				t.Fatalf("the story passes no points: %v", points)
			}
			for _, point := range points {
				t.Run(point, func(t *testing.T) { killedAt(t, s, point) })
			}
		})
	}
}

// pointsOf runs a story undisturbed.
func pointsOf(t *testing.T, s story) []string {
	r := fresh(t)
	s.prepare(r)
	r.w.revive()
	if err := s.ask(r); err != nil {
		t.Fatal(err)
	}
	r.Settle(t)
	s.check(t, r)
	points := r.w.revive()
	slices.Sort(points)
	return slices.Compact(points)
}

func killedAt(t *testing.T, s story, point string) {
	w, st := newWorld(), mem.New()
	t.Run("until", func(t *testing.T) {
		r := start(t, w, st)
		s.prepare(r)
		w.revive()
		w.locked(func() { w.die = point })
		if err := s.ask(r); err != nil {
			t.Fatal(err)
		}
		waitDead(t, w)
	})
	if passed := w.revive(); !slices.Contains(passed, point) {
		t.Fatalf("%s was not reached", point)
	}
	t.Run("again", func(t *testing.T) {
		r := start(t, w, st)
		r.finish()
		s.check(t, r)
	})
}

// finish waits until nothing is under way any more. Settle alone is not enough: a pass that met
// another's write is tried again a little later.
func (r *rig) finish() {
	r.t.Helper()
	for {
		r.Settle(r.t)
		if !r.busy() {
			return
		}
	}
}

// busy reports whether something is under way.
func (r *rig) busy() bool {
	r.t.Helper()
	busy := false
	for _, typ := range []arm.Type{compute.TypeVM, compute.TypeDisk, compute.TypeScaleSet, compute.TypeInstance, compute.TypeExtension, compute.TypeCommand} {
		all, err := store.List(r.t.Context(), r.Store, store.Query{Type: typ})
		if err != nil {
			r.t.Fatal(err) // also when the test's time is over
		}
		busy = busy || slices.ContainsFunc(all, func(d *store.Document) bool { return !d.State().Terminal() })
	}
	return busy
}

func waitDead(t *testing.T, w *world) {
	t.Helper()
	select {
	case <-w.died:
	case <-t.Context().Done():
		t.Fatal("the point was not reached")
	}
}

// TestDeleteAfterAFailedCreate: whatever a creation stumbled over, and whether that had done
// its work or not, a delete leaves nothing.
func TestDeleteAfterAFailedCreate(t *testing.T) {
	for _, point := range []string{"Volumes.Overlay", "Volumes.Empty", "Network.Attach", "Machines.Start"} {
		for _, lies := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s applied=%v", point, lies), func(t *testing.T) {
				r := fresh(t)
				r.publish("1.0.0", "")
				r.w.broken[point], r.w.lies = fmt.Errorf("%s is broken", point), lies
				if _, err := r.create("web-1", request()); err == nil {
					t.Fatal("the creation succeeded")
				}
				p, err := r.vms().BeginDelete(t.Context(), providertest.ResourceGroup, "web-1", nil)
				if _, err := wait(t, p, err); err != nil {
					t.Fatal(err)
				}
				r.finish()
				wantNothing(t, r)
			})
		}
	}
}

// A creation that failed is tried again by the same request.
func TestCreateAgainAfterAFailure(t *testing.T) {
	r := fresh(t)
	r.publish("1.0.0", "")
	r.w.broken["Machines.Start"] = fmt.Errorf("no luck")
	if _, err := r.create("web-1", request()); code(err) != "InternalExecutionError" {
		t.Fatal(err)
	}
	r.w.locked(func() { clear(r.w.broken) })
	if _, err := r.create("web-1", request()); err != nil {
		t.Fatal(err)
	}
	wantRunning(1)(t, r)
	if _, err := r.create("web-1", request()); err != nil { // and once more, as a deployment does
		t.Fatal(err)
	}
	wantRunning(1)(t, r)
}

// What no document names is gone after the next start.
func TestSweep(t *testing.T) {
	w, st := newWorld(), mem.New()
	t.Run("before", func(t *testing.T) { created(start(t, w, st)) })
	w.locked(func() {
		w.folders["stray"], w.machines["stray"], w.volumes["stray"] = compute.Machine{}, compute.Machine{}, volume{}
		w.ports["stray"] = w.config().Gateway
	})
	if err := compute.Sweep(context.Background(), w.config(), st); err != nil {
		t.Fatal(err)
	}
	if len(w.folders) != 1 || len(w.machines) != 1 || len(w.volumes) != 2 || len(w.ports) != 1 {
		t.Errorf("after the sweep: %v %v %v", w.folders, w.volumes, w.ports)
	}
}
