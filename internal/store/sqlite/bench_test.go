package sqlite

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/storetest"
)

// The numbers are for 100,000 resources of 3.5 KB:
//
//	go test -run xxx -bench . ./internal/store/sqlite
const resources = 100_000

func resource(i int) *store.Document {
	d := storetest.Doc(fmt.Sprintf("vm-%06d", i))
	group := fmt.Sprintf("rg-%03d", i%200)
	d.ID = strings.Replace(d.ID, "/RG/", "/"+group+"/", 1)
	d.ResourceGroup, d.Operations, d.Deleting = group, nil, false
	d.Body = json.RawMessage(`{"properties":{"filling":"` + strings.Repeat("x", 3400) + `"}}`)
	return d
}

func filled(b *testing.B) *Store {
	b.Helper()
	s := open(b, filepath.Join(b.TempDir(), "s.db"))
	for i := 0; i < resources; i += 1000 {
		err := s.Update(b.Context(), func(tx store.Tx) error {
			for j := range 1000 {
				if err := tx.Put(resource(i+j), store.Absent); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return s
}

// processor reports how long the processors worked for one: what others do on the
// machine is hardly in it.
func processor(b *testing.B) func() {
	var start, end unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &start) // never fails
	return func() {
		_ = unix.Getrusage(unix.RUSAGE_SELF, &end)
		b.ReportMetric(float64(end.Utime.Nano()+end.Stime.Nano()-start.Utime.Nano()-start.Stime.Nano())/float64(b.N), "cpu-ns/op")
	}
}

func BenchmarkStore(b *testing.B) {
	s := filled(b)
	put := func(b *testing.B, i int) {
		d := resource(i)
		if err := s.Update(b.Context(), func(tx store.Tx) error { return tx.Put(d, store.Any) }); err != nil {
			b.Error(err)
		}
	}
	b.Run("get", func(b *testing.B) {
		defer processor(b)()
		for b.Loop() {
			if _, err := store.Get(b.Context(), s, resource(rand.N(resources)).ID); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("scan", func(b *testing.B) {
		defer processor(b)()
		for b.Loop() {
			n := 0
			err := s.View(b.Context(), func(tx store.ReadTx) error {
				return store.Scan(tx, store.Query{Type: "Microsoft.Compute/virtualMachines"}, false, func(*store.Head) error { n++; return nil })
			})
			if n != resources || err != nil {
				b.Fatal(n, err)
			}
		}
	})
	for name, q := range map[string]store.Query{
		"list100-type":  {Type: "Microsoft.Compute/virtualMachines", Limit: 100, After: resource(50_100).ID},
		"list100-next":  {Type: "Microsoft.Compute/virtualMachines", Prefix: "/subscriptions/s/", After: resource(50_100).ID, Limit: 100},
		"list100-group": {Type: "Microsoft.Compute/virtualMachines", Prefix: "/subscriptions/s/resourcegroups/rg-077/", Limit: 100},
	} {
		b.Run(name, func(b *testing.B) {
			defer processor(b)()
			for b.Loop() {
				if ds, err := store.List(b.Context(), s, q); err != nil || len(ds) != 100 {
					b.Fatal(len(ds), err)
				}
			}
		})
	}
	b.Run("put-1000-in-one", func(b *testing.B) {
		defer processor(b)()
		for b.Loop() {
			first := rand.N(resources - 1000)
			err := s.Update(b.Context(), func(tx store.Tx) error {
				for i := range 1000 {
					if err := tx.Put(resource(first+i), store.Any); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("write-one-by-one", func(b *testing.B) {
		defer processor(b)()
		for b.Loop() {
			put(b, rand.N(resources))
		}
	})
	b.Run("write-64-clients", func(b *testing.B) {
		defer processor(b)()
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				put(b, rand.N(resources))
			}
		})
	})
}
