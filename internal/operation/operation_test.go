package operation_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/operation"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/mem"
)

var (
	vm   = arm.ResourceGroupID("S", "G").Resource("Microsoft.Compute/virtualMachines", "v")
	noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

func TestID(t *testing.T) {
	for _, c := range []struct {
		resource arm.ID
		location string
		want     string
	}{
		{vm, "local", "/subscriptions/S/providers/Microsoft.Compute/locations/local/operationStatuses/n"},
		{vm, "", "/subscriptions/S/providers/Microsoft.Compute/locations/global/operationStatuses/n"},
		{arm.ResourceGroupID("S", "G"), "local", "/subscriptions/S/providers/Microsoft.Resources/locations/local/operationStatuses/n"},
		{arm.Tenant.Resource("A.B/c", "d"), "", "/providers/A.B/locations/global/operationStatuses/n"},
	} {
		if got := operation.ID(c.resource, c.location, "n").String(); got != c.want {
			t.Errorf("%s: %s, want %s", c.resource, got, c.want)
		}
	}
}

// start records a running operation for each action and returns their ids.
func start(t *testing.T, s store.Store, actions ...string) (ids []string) {
	t.Helper()
	update(t, s, func(tx store.Tx) error {
		for _, a := range actions {
			id := operation.ID(vm, "local", a)
			ids = append(ids, id.String())
			if err := operation.Start(tx, id, operation.Record{Resource: vm.String(), Action: a, StartTime: noon}); err != nil {
				return err
			}
		}
		return nil
	})
	return ids
}

func update(t *testing.T, s store.Store, f func(store.Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

func states(t *testing.T, s store.Store, ids []string) (out []arm.ProvisioningState) {
	t.Helper()
	for _, id := range ids {
		d, err := store.Get(t.Context(), s, id)
		if err != nil {
			t.Fatal(err)
		}
		r, err := operation.Read(d)
		if err != nil {
			t.Fatal(err)
		}
		if r.Status.Terminal() != (r.EndTime != nil) {
			t.Errorf("%s: %s with end %v", id, r.Status, r.EndTime)
		}
		out = append(out, r.Status)
	}
	return out
}

func TestEndOnlyWhatWasAskedFor(t *testing.T) {
	s := mem.New()
	ids := start(t, s, "run", "cancel", "write")
	succeeded, failed := operation.Outcome{Status: arm.StateSucceeded}, operation.Outcome{Status: arm.StateFailed}
	update(t, s, func(tx store.Tx) error {
		left, err := operation.End(tx, ids, "CANCEL", noon, succeeded)
		if diff := cmp.Diff([]string{ids[0], ids[2]}, left); diff != "" {
			t.Errorf("left (-want +got)\n%s", diff)
		}
		return err
	})
	update(t, s, func(tx store.Tx) error {
		left, err := operation.End(tx, append(ids, "/gone"), "", noon, failed) // an ended one stays as it ended, a pruned one is no error
		if len(left) != 0 {
			t.Errorf("left %v", left)
		}
		return err
	})
	want := []arm.ProvisioningState{arm.StateFailed, arm.StateSucceeded, arm.StateFailed}
	if diff := cmp.Diff(want, states(t, s, ids)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestRemovalEndsADeleteWellAndTheRestCanceled(t *testing.T) {
	s := mem.New()
	ids := start(t, s, "delete", "start")
	update(t, s, func(tx store.Tx) error { return operation.EndAll(tx, ids, noon, operation.Removed) })
	if diff := cmp.Diff([]arm.ProvisioningState{arm.StateSucceeded, arm.StateCanceled}, states(t, s, ids)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
