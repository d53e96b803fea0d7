package mem_test

import (
	"errors"
	"testing"

	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/mem"
	"hallmark.dev/hallmark/internal/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return mem.New() })
}

func TestFaults(t *testing.T) {
	for fault, applied := range map[mem.Fault]bool{mem.FailNotApplied: false, mem.FailApplied: true} {
		s := mem.New()
		s.SetFault(func(commit int) mem.Fault {
			if commit == 1 {
				return fault
			}
			return mem.None
		})
		d := storetest.Doc("a")
		err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Put(d, store.Absent) })
		if !errors.Is(err, mem.ErrInjected) {
			t.Errorf("fault %d: %v", fault, err)
		}
		if _, err := store.Get(t.Context(), s, d.ID); (err == nil) != applied {
			t.Errorf("fault %d: get says %v", fault, err)
		}
	}
}
