package provider_test

import (
	"testing"
	"time"

	"hallmark.dev/hallmark/internal/access"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/operation"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/mem"
)

func TestOldRecordsAreRemoved(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	st := mem.New()
	p, err := provider.New(provider.Config{Store: st, Authorizer: access.New(st), Providers: []provider.Provider{toy{}.provider()}, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	id := arm.ResourceGroupID("S", "G").Resource("Hallmark.Toy/wheels", "w")
	ended, running := operation.ID(id, "", "ended"), operation.ID(id, "", "running")
	err = st.Update(t.Context(), func(tx store.Tx) error {
		for _, op := range []arm.ID{ended, running} {
			if err := operation.Start(tx, op, operation.Record{Resource: id.String(), Action: "write", StartTime: now}); err != nil {
				return err
			}
		}
		_, err := operation.End(tx, []string{ended.String()}, "", now, operation.Outcome{Status: arm.StateSucceeded})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// An axle needs no controller; its event is what we look at.
	if _, err := p.Runtime().Client.Put(t.Context(), arm.Tenant.Resource("Hallmark.Toy/labels", "l"), map[string]any{}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		days               int
		operations, events int
	}{{6, 2, 1}, {8, 1, 1}, {91, 1, 0}} {
		now = time.Date(2026, 1, 1+c.days, 0, 0, 0, 0, time.UTC)
		if err := p.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		for typ, want := range map[arm.Type]int{operation.Type: c.operations, provider.EventType: c.events} {
			if ds, err := store.List(t.Context(), st, store.Query{Type: typ}); err != nil || len(ds) != want {
				t.Errorf("after %d days: %d of %s, want %d, %v", c.days, len(ds), typ, want, err)
			}
		}
	}
}
