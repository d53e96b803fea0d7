// Package storetest is the conformance suite of store.Store. Every implementation
// runs it; only tests import it.
package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
)

// Run runs the suite; open returns a fresh, empty store.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	tests := map[string]func(*testing.T, store.Store){
		"a document comes back as it was put":            roundTrip,
		"expectations guard puts":                        expectations,
		"deletes leave tombstones":                       tombstones,
		"a failed update leaves nothing":                 rollback,
		"an update reads its own writes":                 ownWrites,
		"documents are copies":                           copies,
		"lists select and page in key order":             lists,
		"each goes through every page":                   each,
		"a prefix is not a pattern":                      prefixIsText,
		"a scan tells what a list would":                 scans,
		"types are those that there are":                 types,
		"since keeps the newest change of each document": since,
		"pruned history is said to be pruned":            pruned,
		"changes wake those who wait":                    wakes,
		"concurrent increments are not lost":             increments,
		"reading once is a view":                         readsOnce,
		"a view sees one state":                          oneState,
		"a canceled context writes nothing":              canceled,
		"a closed store says so":                         closed,
		"a backup is a whole copy":                       backup,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() { _ = s.Close() })
			test(t, s)
		})
	}
}

// Doc is a machine named name in group rg of subscription s.
func Doc(name string) *store.Document {
	return &store.Document{
		ID:   "/subscriptions/S/resourceGroups/RG/providers/Microsoft.Compute/virtualMachines/" + name,
		Type: "Microsoft.Compute/virtualMachines", SubscriptionID: "S", ResourceGroup: "RG", Location: "local",
		Tags: map[string]string{"team": "Blue"},
		Body: json.RawMessage(`{"b":1,"a":{"Zeta":null,"x":1.50}}`), Private: json.RawMessage(`{"secret":"x"}`),
		Operations: []string{"/op/1", "/op/2"}, Deleting: true,
		CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 678000000, time.UTC), UpdatedAt: time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC),
		CreatedBy: "alice", UpdatedBy: "bob",
	}
}

func put(t *testing.T, s store.Store, expect int64, ds ...*store.Document) {
	t.Helper()
	err := s.Update(t.Context(), func(tx store.Tx) error {
		for _, d := range ds {
			if err := tx.Put(d, expect); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("put: %v", err)
	}
}

func roundTrip(t *testing.T, s store.Store) {
	want := Doc("Web-1")
	put(t, s, store.Absent, want)
	if want.Revision <= 0 || want.ETag == "" || want.Key != want.ARMID().Key() {
		t.Fatalf("put left revision %d, etag %q, key %q", want.Revision, want.ETag, want.Key)
	}
	got, err := store.Get(t.Context(), s, "/SUBSCRIPTIONS/s/resourcegroups/rg/providers/microsoft.compute/VirtualMachines/WEB-1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-put +got)\n%s", diff)
	}
	plain := &store.Document{ID: "/a/b", Type: "A/b", Body: json.RawMessage(`{}`)}
	put(t, s, store.Absent, plain)
	got, err = store.Get(t.Context(), s, "/a/b")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plain, got); diff != "" {
		t.Errorf("empty fields (-put +got)\n%s", diff)
	}
}

func expectations(t *testing.T, s store.Store) {
	d := Doc("a")
	put(t, s, store.Absent, d)
	first := d.Revision
	put(t, s, first, d)
	if d.Revision <= first || d.ETag == store.ETagOf(first) {
		t.Errorf("revision %d then %d, etag %s", first, d.Revision, d.ETag)
	}
	put(t, s, store.Any, d)
	for name, c := range map[string]struct {
		doc    *store.Document
		expect int64
	}{
		"absent but there": {Doc("a"), store.Absent}, "other case, absent": {Doc("A"), store.Absent},
		"old revision": {Doc("a"), first}, "revision of nothing": {Doc("b"), first},
	} {
		err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Put(c.doc, c.expect) })
		if !errors.Is(err, store.ErrConflict) {
			t.Errorf("%s: %v, want ErrConflict", name, err)
		}
	}
}

func tombstones(t *testing.T, s store.Store) {
	d := Doc("a")
	put(t, s, store.Absent, d)
	del := func(key string, expect int64) error {
		return s.Update(t.Context(), func(tx store.Tx) error { return tx.Delete(key, expect) })
	}
	if err := del(d.Key, d.Revision+1); !errors.Is(err, store.ErrConflict) {
		t.Errorf("wrong revision: %v", err)
	}
	if err := del(d.ID, d.Revision); err != nil {
		t.Fatal(err)
	}
	if err := del(d.Key, store.Any); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("twice: %v", err)
	}
	if _, err := store.Get(t.Context(), s, d.Key); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("get: %v", err)
	}
	cs, newest, err := s.Since(t.Context(), d.Revision, 0)
	if err != nil || len(cs) != 1 || !cs[0].Deleted || cs[0].Key != d.Key || cs[0].Type != d.Type || cs[0].Revision != newest {
		t.Errorf("since: %+v, newest %d, %v", cs, newest, err)
	}
	put(t, s, store.Absent, Doc("a"))
	if cs, _, _ = s.Since(t.Context(), 0, 0); len(cs) != 1 || cs[0].Deleted {
		t.Errorf("after putting it again: %+v", cs)
	}
}

func rollback(t *testing.T, s store.Store) {
	put(t, s, store.Absent, Doc("keep"))
	_, before, _ := s.Since(t.Context(), 0, 0)
	boom := errors.New("boom")
	err := s.Update(t.Context(), func(tx store.Tx) error {
		if err := tx.Put(Doc("new"), store.Absent); err != nil {
			return err
		}
		if err := tx.Delete(Doc("keep").ID, store.Any); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatalf("got %v, want the error of the function", err)
	}
	ds, err := store.List(t.Context(), s, store.Query{})
	if err != nil || len(ds) != 1 || ds[0].ARMID().Name() != "keep" {
		t.Errorf("left: %v, %v", ds, err)
	}
	if _, after, _ := s.Since(t.Context(), 0, 0); after != before {
		t.Errorf("revision went from %d to %d", before, after)
	}
}

func ownWrites(t *testing.T, s store.Store) {
	err := s.Update(t.Context(), func(tx store.Tx) error {
		d := Doc("a")
		if err := tx.Put(d, store.Absent); err != nil {
			return err
		}
		got, err := tx.Get(d.ID)
		if err != nil || got.Revision != d.Revision {
			return fmt.Errorf("get: %v, %w", got, err)
		}
		if ds, err := tx.List(store.Query{Type: d.Type}); err != nil || len(ds) != 1 {
			return fmt.Errorf("list: %d, %w", len(ds), err)
		}
		if err := tx.Put(d, d.Revision); err != nil {
			return err
		}
		return tx.Delete(d.Key, d.Revision)
	})
	if err != nil {
		t.Error(err)
	}
}

func copies(t *testing.T, s store.Store) {
	d := Doc("a")
	put(t, s, store.Absent, d)
	d.Body[2], d.Tags["team"], d.Operations[0] = 'X', "Red", "other"
	got, err := store.Get(t.Context(), s, d.Key)
	if err != nil {
		t.Fatal(err)
	}
	if string(got.Body) != string(Doc("a").Body) || got.Tags["team"] != "Blue" || got.Operations[0] != "/op/1" {
		t.Errorf("the store shares memory with its caller: %s %v %v", got.Body, got.Tags, got.Operations)
	}
}

func lists(t *testing.T, s store.Store) {
	var all []*store.Document
	for _, n := range []string{"c", "A", "b"} {
		all = append(all, Doc(n))
	}
	other := Doc("d")
	other.ID, other.ResourceGroup, other.Location = "/subscriptions/S/resourceGroups/rg2/providers/Microsoft.Compute/disks/d", "rg2", "north"
	other.Type = "Microsoft.Compute/disks"
	put(t, s, store.Absent, append(all, other)...)
	for name, c := range map[string]struct {
		q    store.Query
		want []string
	}{
		"all":          {store.Query{}, []string{"A", "b", "c", "d"}},
		"type":         {store.Query{Type: "microsoft.compute/VIRTUALMACHINES"}, []string{"A", "b", "c"}},
		"group":        {store.Query{SubscriptionID: "s", ResourceGroup: "RG2"}, []string{"d"}},
		"location":     {store.Query{Location: "North"}, []string{"d"}},
		"subscription": {store.Query{SubscriptionID: "T"}, nil},
		"first page":   {store.Query{Limit: 2}, []string{"A", "b"}},
		"next page":    {store.Query{Limit: 2, After: Doc("B").ID}, []string{"c", "d"}},
		"prefix":       {store.Query{Prefix: "/subscriptions/s/resourceGroups/RG/"}, []string{"A", "b", "c"}},
		"prefix, next": {store.Query{Prefix: "/subscriptions/s/resourceGroups/RG/", After: Doc("a").ID, Limit: 1}, []string{"b"}},
		"prefix later": {store.Query{Prefix: "/subscriptions/s/resourceGroups/RG/", After: "/subscriptions/s/resourcegroups/q"}, []string{"A", "b", "c"}},
		"prefix over":  {store.Query{Prefix: "/subscriptions/s/resourceGroups/RG/", After: "/subscriptions/s/resourcegroups/rg2"}, nil},
		"before":       {store.Query{Before: Doc("C").ID}, []string{"A", "b"}},
		"between":      {store.Query{After: Doc("a").ID, Before: Doc("c").ID}, []string{"b"}},
		"prefix, to":   {store.Query{Prefix: "/subscriptions/s/resourceGroups/RG/", Before: Doc("b").ID}, []string{"A"}},
		"prefix, past": {store.Query{Prefix: "/subscriptions/s/resourceGroups/RG/", Before: "/subscriptions/s/resourcegroups/rh"}, []string{"A", "b", "c"}},
		"name":         {store.Query{Name: "B"}, []string{"b"}},
		"no name":      {store.Query{Name: "achines/b"}, nil},
		"combined":     {store.Query{Type: other.Type, SubscriptionID: "S", ResourceGroup: "rg2", Location: "north", Prefix: "/s"}, []string{"d"}},
	} {
		ds, err := store.List(t.Context(), s, c.q)
		var got []string
		for _, d := range ds {
			got = append(got, d.ARMID().Name())
		}
		if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
			t.Errorf("%s (-want +got) %v\n%s", name, err, diff)
		}
	}
}

// each needs more documents than a page of store.Each holds.
func each(t *testing.T, s store.Store) {
	var want []string
	var all []*store.Document
	for i := range 1203 {
		all = append(all, Doc(fmt.Sprintf("vm-%04d", i)))
		want = append(want, all[i].ARMID().Name())
	}
	put(t, s, store.Absent, all...)
	for after, want := range map[string][]string{"": want, all[201].ID: want[202:]} {
		var got []string
		err := s.View(t.Context(), func(tx store.ReadTx) error {
			return store.Each(tx, store.Query{Type: all[0].Type, After: after, Limit: 7}, func(d *store.Document) error {
				got = append(got, d.ARMID().Name())
				return nil
			})
		})
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("after %q (-want +got) %v\n%s", after, err, diff)
		}
	}
	enough := errors.New("enough")
	if err := s.View(t.Context(), func(tx store.ReadTx) error {
		return store.Each(tx, store.Query{}, func(*store.Document) error { return enough })
	}); !errors.Is(err, enough) {
		t.Errorf("the error of f is lost: %v", err)
	}
}

// scans are of more than a page of store.Each, with and without what is optional.
func scans(t *testing.T, s store.Store) {
	var all []*store.Document
	for i := range 600 {
		d := Doc(fmt.Sprintf("vm-%04d", i))
		if i%2 == 1 {
			d.Tags, d.Location = nil, "North"
		}
		d.Deleting = i%5 == 0
		all = append(all, d)
	}
	other := &store.Document{ID: "/a/b", Type: "A/b"}
	put(t, s, store.Absent, append(all, other)...)
	for name, q := range map[string]store.Query{
		"all": {}, "type": {Type: "microsoft.compute/VIRTUALMACHINES"}, "none": {Type: "A/c"}, "location": {Type: all[0].Type, Location: "NORTH"}, "name": {Name: "vm-0007"},
		"prefix": {Type: all[0].Type, Prefix: "/subscriptions/S/"}, "after": {Type: all[0].Type, After: all[300].ID, Limit: 7}, "plain": {Type: "a/B"},
		"before": {Type: all[0].Type, Before: all[3].ID}, "between": {Type: all[0].Type, After: all[3].ID, Before: all[9].ID}, "before in prefix": {Type: all[0].Type, Prefix: "/subscriptions/S/", Before: "/subscriptions/S0"},
	} {
		for _, bodies := range []bool{false, true} {
			sameAsList(t, s, name, q, bodies)
		}
	}
	enough := errors.New("enough")
	if err := s.View(t.Context(), func(tx store.ReadTx) error {
		return store.Scan(tx, store.Query{}, false, func(*store.Head) error { return enough })
	}); !errors.Is(err, enough) {
		t.Errorf("the error of f is lost: %v", err)
	}
}

func sameAsList(t *testing.T, s store.Store, name string, q store.Query, bodies bool) {
	t.Helper()
	type line struct {
		id, typ, location, tags, body string
		deleting                      bool
	}
	var want, got []line
	err := s.View(t.Context(), func(tx store.ReadTx) error {
		ds, err := tx.List(q)
		for _, d := range ds {
			l := line{d.ID, string(d.Type), d.Location, "", "", false}
			if d.Tags != nil {
				l.tags = `{"team":"Blue"}`
			}
			if bodies {
				l.body, l.deleting = string(d.Body), d.Deleting
			}
			want = append(want, l)
		}
		return errors.Join(err, store.Scan(tx, q, bodies, func(h *store.Head) error {
			got = append(got, line{string(h.ID), string(h.Type), h.Location, string(h.Tags), string(h.Body), h.Deleting})
			if h.Type != "A/b" {
				_, err := tx.Get(string(h.ID))
				return err
			}
			return nil
		}))
	})
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(line{})); diff != "" || err != nil {
		t.Errorf("%s, bodies %v (-list +scan) %v\n%s", name, bodies, err, diff)
	}
}

func types(t *testing.T, s store.Store) {
	put(t, s, store.Absent, Doc("a"), Doc("b"), &store.Document{ID: "/z/z", Type: "Z/z"}, &store.Document{ID: "/a/b", Type: "A/b"})
	var got []arm.Type
	err := s.View(t.Context(), func(tx store.ReadTx) (err error) {
		got, err = store.Types(tx)
		return err
	})
	if diff := cmp.Diff([]arm.Type{"A/b", Doc("a").Type, "Z/z"}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
}

func prefixIsText(t *testing.T, s store.Store) {
	a, b, c := Doc("a_b"), Doc("axb"), Doc("ü")
	put(t, s, store.Absent, a, b, c)
	ds, err := store.List(t.Context(), s, store.Query{Prefix: a.Key})
	if err != nil || len(ds) != 1 {
		t.Errorf("prefix %q found %d documents, %v", a.Key, len(ds), err)
	}
	if ds, err = store.List(t.Context(), s, store.Query{Prefix: c.Key}); err != nil || len(ds) != 1 {
		t.Errorf("prefix %q found %d documents, %v", c.Key, len(ds), err)
	}
}

func since(t *testing.T, s store.Store) {
	a, b := Doc("a"), Doc("b")
	put(t, s, store.Absent, a, b)
	put(t, s, a.Revision, a)
	cs, newest, err := s.Since(t.Context(), 0, 0)
	want := []store.Change{{Revision: b.Revision, Key: b.Key, Type: b.Type}, {Revision: a.Revision, Key: a.Key, Type: a.Type}}
	if diff := cmp.Diff(want, cs); diff != "" || err != nil || newest != a.Revision {
		t.Errorf("newest %d, %v (-want +got)\n%s", newest, err, diff)
	}
	if cs, _, _ = s.Since(t.Context(), 0, 1); len(cs) != 1 || cs[0].Key != b.Key {
		t.Errorf("limit 1: %+v", cs)
	}
	if cs, _, _ = s.Since(t.Context(), newest, 0); len(cs) != 0 {
		t.Errorf("since the newest: %+v", cs)
	}
}

func pruned(t *testing.T, s store.Store) {
	p, ok := s.(store.Pruner)
	if !ok {
		t.Log("an optional ability: this store does not prune")
		return
	}
	a := Doc("a")
	put(t, s, store.Absent, a)
	if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Delete(a.Key, store.Any) }); err != nil {
		t.Fatal(err)
	}
	_, newest, _ := s.Since(t.Context(), 0, 0)
	if err := p.Prune(t.Context(), newest); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Since(t.Context(), a.Revision, 0); !errors.Is(err, store.ErrPruned) {
		t.Errorf("since %d: %v, want ErrPruned", a.Revision, err)
	}
	if cs, _, err := s.Since(t.Context(), 0, 0); err != nil || len(cs) != 0 {
		t.Errorf("since 0: %v, %v", cs, err)
	}
	if cs, _, err := s.Since(t.Context(), newest, 0); err != nil || len(cs) != 0 {
		t.Errorf("since %d: %v, %v", newest, cs, err)
	}
}

func wakes(t *testing.T, s store.Store) {
	n, ok := s.(store.Notifier)
	if !ok {
		t.Log("an optional ability: this store does not notify")
		return
	}
	c := n.Changed()
	select {
	case <-c:
		t.Fatal("woken without a change")
	default:
	}
	put(t, s, store.Absent, Doc("a"))
	<-c
}

func increments(t *testing.T, s store.Store) {
	d := Doc("n")
	d.Body = json.RawMessage(`0`)
	put(t, s, store.Absent, d)
	var wg sync.WaitGroup
	const workers, rounds = 8, 20
	for range workers {
		wg.Go(func() {
			for range rounds {
				if err := s.Update(t.Context(), increment(d.Key)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got, err := store.Get(t.Context(), s, d.Key)
	if err != nil || string(got.Body) != fmt.Sprint(workers*rounds) {
		t.Errorf("%s after %d increments, %v", got.Body, workers*rounds, err)
	}
}

func increment(key string) func(store.Tx) error {
	return func(tx store.Tx) error {
		d, err := tx.Get(key)
		if err != nil {
			return err
		}
		var n int
		if err := json.Unmarshal(d.Body, &n); err != nil {
			return err
		}
		d.Body = json.RawMessage(fmt.Sprint(n + 1))
		return tx.Put(d, d.Revision)
	}
}

func oneState(t *testing.T, s store.Store) {
	a, b := Doc("a"), Doc("b")
	a.Body, b.Body = json.RawMessage(`0`), json.RawMessage(`0`)
	put(t, s, store.Absent, a, b)
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 50 {
			if err := s.Update(t.Context(), func(tx store.Tx) error {
				return errors.Join(increment(a.Key)(tx), increment(b.Key)(tx))
			}); err != nil {
				t.Error(err)
			}
		}
	})
	for range 50 {
		err := s.View(t.Context(), func(tx store.ReadTx) error {
			x, err1 := tx.Get(a.Key)
			y, err2 := tx.Get(b.Key)
			if err1 != nil || err2 != nil || string(x.Body) != string(y.Body) {
				return fmt.Errorf("saw %v and %v: %w", x, y, errors.Join(err1, err2))
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}

// readsOnce compares Get and List with what a View reads: stores may have a shorter way.
func readsOnce(t *testing.T, s store.Store) {
	d := Doc("a")
	put(t, s, store.Absent, d, Doc("b"))
	for range 3 {
		put(t, s, d.Revision, d)
		q := store.Query{Type: d.Type, Prefix: "/subscriptions/s/"}
		got, err := store.Get(t.Context(), s, strings.ToUpper(d.ID))
		list, listErr := store.List(t.Context(), s, q)
		if err := errors.Join(err, listErr); err != nil {
			t.Fatal(err)
		}
		_ = s.View(t.Context(), func(tx store.ReadTx) error {
			want, err := tx.Get(d.ID)
			if diff := cmp.Diff(want, got); diff != "" || err != nil || got.Revision != d.Revision {
				t.Errorf("get (-view +once) %v\n%s", err, diff)
			}
			all, err := tx.List(q)
			if diff := cmp.Diff(all, list); diff != "" || err != nil || len(list) != 2 {
				t.Errorf("list (-view +once) %v\n%s", err, diff)
			}
			return nil
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store.Get(t.Context(), s, d.ID+"x"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	if _, err := store.Get(ctx, s, d.ID); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's reason", err)
	}
	if _, err := store.List(ctx, s, store.Query{Type: d.Type, Prefix: "/"}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's reason", err)
	}
}

func canceled(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Update(ctx, func(tx store.Tx) error { return tx.Put(Doc("a"), store.Absent) }); !errors.Is(err, context.Canceled) {
		t.Errorf("update: %v", err)
	}
	if ds, _ := store.List(t.Context(), s, store.Query{}); len(ds) != 0 {
		t.Error("it wrote")
	}
}

func closed(t *testing.T, s store.Store) {
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(t.Context(), func(store.Tx) error { return nil }); !errors.Is(err, store.ErrClosed) {
		t.Errorf("update: %v", err)
	}
	if _, err := store.List(t.Context(), s, store.Query{}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("view: %v", err)
	}
	if _, err := store.Get(t.Context(), s, "/a"); !errors.Is(err, store.ErrClosed) {
		t.Errorf("get: %v", err)
	}
}

func backup(t *testing.T, s store.Store) {
	b, ok := s.(store.Backuper)
	if !ok {
		t.Log("an optional ability: this store cannot be backed up")
		return
	}
	put(t, s, store.Absent, Doc("a"))
	path := filepath.Join(t.TempDir(), "copy with 'quotes'.db")
	if err := b.Backup(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if err := b.Backup(t.Context(), path); err == nil {
		t.Error("a second backup overwrote the first")
	}
}
