package compliance

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/policy/sample"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/sqlite"
)

// machinesIn are how many machines the benchmarks have: -short has fewer.
func machinesIn(b *testing.B) int {
	if testing.Short() {
		return 20_000
	}
	return 100_000
}

// fleet is a store in SQLite with machines of 3.5 KB.
func fleet(b *testing.B, machines int) store.Store {
	b.Helper()
	s, err := sqlite.Open(context.Background(), filepath.Join(b.TempDir(), "db"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	putAll(b, s, document(sub, `{}`), document(sub+"/resourceGroups/g", `{}`))
	for n := 0; n < machines; n += 1000 {
		var docs []*store.Document
		for i := n; i < min(n+1000, machines); i++ {
			docs = append(docs, document(vm("g", fmt.Sprintf("m%06d", i)), machine(i)))
		}
		putAll(b, s, docs...)
	}
	return s
}

// machine is one of the fleet: some are small, some have no owner.
func machine(i int) string {
	text := strings.Replace(sample.VM, "Standard_D4s_v5", fmt.Sprintf("Standard_D%ds_v5", 2<<(i%4)), 1)
	if i%3 == 0 {
		text = strings.Replace(text, `"owner"`, `"origin"`, 1)
	}
	return text
}

func document(id, body string) *store.Document {
	parsed, err := arm.ParseID(id)
	if err != nil {
		panic(err) // a test's own id
	}
	return &store.Document{ID: id, Type: parsed.Type(), SubscriptionID: parsed.Subscription(), ResourceGroup: parsed.ResourceGroup(), Body: json.RawMessage(body)}
}

func putAll(b *testing.B, s store.Store, docs ...*store.Document) {
	b.Helper()
	err := s.Update(b.Context(), func(tx store.Tx) error {
		for _, d := range docs {
			if assignment.IsSource(d.Type) {
				if err := assignment.Touch(tx); err != nil {
					return err
				}
			}
			if err := tx.Put(d, store.Any); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

// policies are n assigned definitions over machines.
func policies(n int) (docs []*store.Document) {
	for i := range n {
		name := fmt.Sprint("p", i)
		rule := fmt.Sprintf(`{"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},{"field":"tags['owner']","exists":false},
			{"field":"Microsoft.Compute/virtualMachines/sku.name","in":["Standard_D%ds_v5"]}]},"then":{"effect":"audit"}}`, 2<<(i%5))
		docs = append(docs, document(definition(name), `{"properties":{"version":"1.0.0","mode":"Indexed","policyRule":`+rule+`}}`),
			document(sub+"/providers/Microsoft.Authorization/policyAssignments/"+name, `{"properties":{"policyDefinitionId":"`+definition(name)+`"}}`))
	}
	return docs
}

func caughtUp(b *testing.B, e *Engine) {
	b.Helper()
	if _, ok, err := e.Wait(b.Context(), 10*time.Minute); err != nil || !ok {
		b.Fatal(ok, err)
	}
}

func engineOn(s store.Store) *Engine { return New(Config{Store: s, Index: assignment.New(s, nil)}) }

// BenchmarkNewAssignment is one new assignment over all machines, until its states
// can be read.
func BenchmarkNewAssignment(b *testing.B) {
	n := machinesIn(b)
	s := fleet(b, n)
	e := engineOn(s)
	caughtUp(b, e)
	for i := 0; b.Loop(); i++ {
		docs := policies(i + 1)
		putAll(b, s, docs[len(docs)-2:]...)
		caughtUp(b, e)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/machine")
}

// BenchmarkChangedMachine is one machine that is written, until its states under 200
// definitions can be read.
func BenchmarkChangedMachine(b *testing.B) {
	n := machinesIn(b)
	s := fleet(b, n)
	putAll(b, s, policies(200)...)
	e := engineOn(s)
	caughtUp(b, e)
	b.Logf("the first scan took %v", b.Elapsed())
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		putAll(b, s, document(vm("g", fmt.Sprintf("m%06d", i%n)), machine(i+1)))
		caughtUp(b, e)
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-median")
}

// BenchmarkWhatIf tries an assignment that nobody has made on all machines.
func BenchmarkWhatIf(b *testing.B) {
	n := machinesIn(b)
	s := fleet(b, n)
	e := engineOn(s)
	docs := policies(1)
	var answer *WhatIf
	for b.Loop() {
		var err error
		if answer, err = e.WhatIf(b.Context(), WhatIfRequest{Assignment: docs[1], Definitions: docs[:1], TeamTag: "team", Examples: 3}); err != nil {
			b.Fatal(err)
		}
	}
	if answer.Total.Resources != n || answer.Total.Flagged == 0 {
		b.Errorf("%+v", answer.Total)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/machine")
}
