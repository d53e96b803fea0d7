package compliance

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/mem"
)

func write(states ...State) runs {
	var w runWriter
	for _, s := range states {
		w.add(s)
	}
	return runs(w.end())
}

func TestRunsKeepTheStateOfEachUnit(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		states := make([]State, r.IntN(40))
		for i := range states {
			states[i] = codes[r.IntN(len(codes))]
		}
		text := write(states...)
		back := make([]State, len(states))
		text.each(func(unit int, s State) { back[unit] = s })
		if !slices.Equal(states, back) {
			t.Fatalf("%v came back as %v", states, back)
		}
	}
	if nothing := write("", "", ""); nothing != "" {
		t.Errorf("units without states are %q", nothing)
	}
	if same := write(Compliant, "", ""); same != write(Compliant) {
		t.Errorf("what follows the last state is kept: %q", same)
	}
}

func TestMergeReplacesWhatIsEvaluatedAnew(t *testing.T) {
	old := assemble([]part{{3, write(Compliant)}, {7, write(NonCompliant)}, {300, write(Failed)}})
	found := assemble([]part{{301, write(Unknown)}, {5, write(Compliant)}})
	got := old.merge(found, func(n uint32) bool { return n == 7 })
	want := assemble([]part{{3, write(Compliant)}, {5, write(Compliant)}, {300, write(Failed)}, {301, write(Unknown)}})
	if got != want {
		t.Errorf("%q, not %q", got, want)
	}
}

// Random records come back as they were, and take little: they share what is alike.
func TestBlocksKeepRecords(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	var records []record
	for i := range 128 {
		var parts []part
		for n := range uint32(200) {
			parts = append(parts, part{n + 1, write([]State{Compliant, NonCompliant}[i%2])})
		}
		id := fmt.Sprintf("/subscriptions/S/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/m%04d", i)
		records = append(records, record{ID: id, Key: strings.ToLower(id), Type: "Microsoft.Compute/virtualMachines", Location: "local", Verdicts: assemble(parts),
			At: time.UnixMilli(1_800_000_000_000 + r.Int64N(1e9)).UTC()})
	}
	text := encode(records)
	back, err := decode(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(records, back); diff != "" {
		t.Error(diff)
	}
	if len(text) > 128*24 {
		t.Errorf("128 machines under 200 assignments take %d bytes", len(text))
	}
	for i := range text {
		damaged := slices.Clone(text)
		damaged[i] ^= 0x55
		_, _ = decode(string(damaged)) // must not panic
		if _, err := decode(string(text[:i])); err == nil {
			t.Errorf("cut at %d, it reads", i)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(string(encode([]record{{ID: "/a", Key: "/a", Type: "t/t", Verdicts: assemble([]part{{1, write(Compliant)}})}})))
	f.Fuzz(func(t *testing.T, text string) {
		records, err := decode(text)
		if err != nil {
			return
		}
		back, err := decode(string(encode(records)))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(records, back); diff != "" {
			t.Error(diff)
		}
		for _, r := range records {
			r.Verdicts.each(func(p part) { p.states.each(func(int, State) {}) })
		}
	})
}

// Blocks are cut and given up as resources come and go, and what they say stays true.
func TestBlocksGrowAndShrink(t *testing.T) {
	x := newEstate(t)
	x.define("big", bigRule)
	x.assign(sub, "big", "")
	name := func(i int) string { return vm("g", fmt.Sprintf("m%04d", i*7919%1000)) }
	for i := range 1000 {
		x.put(name(i), fmt.Sprintf(`{"properties":{"size":"%s"}}`, []string{"big", "small"}[i%2]))
		if i%100 == 0 {
			x.states()
		}
	}
	x.whole()
	many := len(*x.shelf.fences.Load())
	if many < 8 {
		t.Errorf("1000 machines lie in %d blocks", many)
	}
	x.restart()
	for i := range 990 {
		x.remove(name(i))
		if i%90 == 0 {
			x.states()
		}
	}
	x.whole()
	if few := len(*x.shelf.fences.Load()); few >= many {
		t.Errorf("ten machines lie in %d blocks", few)
	}
}

// whole compares what is known with what a fresh engine finds on a copy.
func (x *estate) whole() {
	x.t.Helper()
	got := x.states()
	s := mem.New()
	err := x.store.View(x.t.Context(), func(tx store.ReadTx) error {
		docs, err := tx.List(store.Query{})
		if err != nil {
			return err
		}
		return s.Update(x.t.Context(), func(to store.Tx) error {
			for _, d := range docs {
				if own(d.Type) {
					continue
				}
				if err := to.Put(d, store.Any); err != nil {
					return err
				}
			}
			return assignment.Touch(to)
		})
	})
	if err != nil {
		x.t.Fatal(err)
	}
	if diff := cmp.Diff(statesOf(x.t, x.fresh(s)), got); diff != "" {
		x.t.Errorf("followed (+) differs from scanned (-):\n%s", diff)
	}
}

// A damaged block, and a store of the former layout, are evaluated anew.
func TestDamagedStatesAreEvaluatedAnew(t *testing.T) {
	x := newEstate(t)
	x.define("big", bigRule)
	x.assign(sub, "big", "")
	x.put(vm("g", "a"), `{"properties":{"size":"big"}}`)
	want := x.states()
	damage := func() {
		x.update(func(tx store.Tx) error {
			d, err := tx.Get(blockKey(firstFence))
			if err != nil {
				return err
			}
			d.Private = json.RawMessage(`"AAAA"`)
			return tx.Put(d, store.Any)
		})
		x.states() // finds out
	}
	damage()
	if diff := cmp.Diff(want, x.states()); diff != "" {
		t.Error(diff)
	}
	x.update(func(tx store.Tx) error {
		d, err := tx.Get(progressID.Key())
		if err != nil {
			return err
		}
		d.Private = json.RawMessage(`{"evaluated":3,"known":{}}`)
		former := &store.Document{ID: "/providers/Hallmark.Compliance/states/subscriptions/s", Type: typeFormer, Body: json.RawMessage("{}")}
		return firstError(tx.Put(d, store.Any), tx.Put(former, store.Any))
	})
	x.restart()
	if diff := cmp.Diff(want, x.states()); diff != "" {
		t.Error(diff)
	}
	x.remove(sub + "/providers/Microsoft.Authorization/policyAssignments/big")
	damage() // and nothing will be written there
	x.states()
	x.states()
	if x.damaged {
		t.Error("the damaged block is found again and again")
	}
	left, err := store.List(t.Context(), x.store, store.Query{Type: typeFormer})
	if err != nil || len(left) > 0 {
		t.Error(len(left), err)
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
