package sqlite

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/storetest"
)

// TestMemoryTellsWhatTheFileDoes asks for changes twice: what is remembered, and then,
// having forgotten it, what the file says.
func TestMemoryTellsWhatTheFileDoes(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "s.db"))
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		_ = s.Update(t.Context(), func(tx store.Tx) error {
			for range 1 + rnd.IntN(4) {
				d := storetest.Doc(fmt.Sprint("d", rnd.IntN(12)))
				if rnd.IntN(3) > 0 {
					if err := tx.Put(d, store.Any); err != nil {
						return err
					}
				} else if err := tx.Delete(d.ID, store.Any); err != nil {
					return err // of one that is not there: nothing of the update stays
				}
			}
			return nil
		})
	}
	type answer struct {
		Changes []store.Change
		Newest  int64
	}
	ask := func() (all []answer) {
		for revision := range int64(100) {
			for _, limit := range []int{0, 1, 5} {
				cs, newest, err := s.Since(t.Context(), revision+1, limit)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, answer{cs, newest})
			}
		}
		return all
	}
	if _, _, ok := s.recent.after(1, 0); !ok {
		t.Fatal("nothing is remembered")
	}
	remembered := ask()
	s.recent.forget()
	if diff := cmp.Diff(ask(), remembered); diff != "" {
		t.Errorf("(-file +memory)\n%s", diff)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	var r recent
	r.restart(10)
	for i := int64(11); i < 3*mostRecent; i++ {
		r.add([]store.Change{{Revision: i, Key: fmt.Sprint(i)}}, i)
	}
	newest := int64(3*mostRecent - 1)
	if len(r.all) > 2*mostRecent {
		t.Errorf("%d changes are kept", len(r.all))
	}
	if _, _, ok := r.after(r.since-1, 0); ok {
		t.Error("it answers for what it has forgotten")
	}
	cs, got, ok := r.after(r.since, 0)
	if !ok || got != newest || int64(len(cs)) != newest-r.since || cs[0].Revision != r.since+1 {
		t.Errorf("since %d: %d changes up to %d, %v", r.since, len(cs), got, ok)
	}
}
