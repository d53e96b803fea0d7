package assignment

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/policy/alias"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/sqlite"
)

const testSubscription = "/subscriptions/00000000-0000-0000-0000-000000000001"

func policyID(kind, name string) string {
	return testSubscription + "/providers/Microsoft.Authorization/" + kind + "/" + name
}

func document(id, body string) *store.Document {
	parsed, err := arm.ParseID(id)
	if err != nil {
		panic(err) // a test's own id
	}
	now := time.Unix(1_700_000_000, 0).UTC()
	return &store.Document{ID: id, Type: parsed.Type(), SubscriptionID: parsed.Subscription(), ResourceGroup: parsed.ResourceGroup(),
		Body: json.RawMessage(body), CreatedAt: now, UpdatedAt: now}
}

// write stores documents as the providers do: in one transaction, with the epoch.
func write(tb testing.TB, s store.Store, docs ...*store.Document) {
	tb.Helper()
	err := s.Update(tb.Context(), func(tx store.Tx) error {
		for _, d := range docs {
			if err := tx.Put(d, store.Any); err != nil {
				return err
			}
		}
		return Touch(tx)
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// definition is one of two and a half kilobytes.
func definition(i, version int) *store.Document {
	names := make([]string, 40)
	for k := range names {
		names[k] = fmt.Sprintf(`"Standard_D%ds_v%d_in_the_list_of_%d"`, k, version, i)
	}
	return document(policyID("policyDefinitions", fmt.Sprintf("d%04d", i)), fmt.Sprintf(`{"properties":{"mode":"Indexed","version":"1.0.%d","parameters":{"effect":{"type":"String","defaultValue":"Audit"}},
		"policyRule":{"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},{"field":"tags['t%d']","notIn":[%s]}]},"then":{"effect":"[parameters('effect')]"}}}}`, version, i, strings.Join(names, ",")))
}

func initiative(i, members int) *store.Document {
	all := make([]string, members)
	for k := range all {
		all[k] = fmt.Sprintf(`{"policyDefinitionId":%q,"policyDefinitionReferenceId":"r%d","parameters":{"effect":{"value":"Audit"}}}`, policyID("policyDefinitions", fmt.Sprintf("d%04d", i*members+k)), k)
	}
	return document(policyID("policySetDefinitions", fmt.Sprintf("s%03d", i)), `{"properties":{"policyDefinitions":[`+strings.Join(all, ",")+`]}}`)
}

func assigned(name, kind, what string) *store.Document {
	return document(policyID("policyAssignments", name), fmt.Sprintf(`{"properties":{"policyDefinitionId":%q}}`, policyID(kind, what)))
}

// estate has 4,000 definitions and 200 assignments, 20 of them of initiatives with 100
// policies each.
func estate(b *testing.B) store.Store {
	b.Helper()
	s, err := sqlite.Open(context.Background(), filepath.Join(b.TempDir(), "db"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	var docs []*store.Document
	for i := range 4000 {
		docs = append(docs, definition(i, 0))
	}
	for i := range 20 {
		docs = append(docs, initiative(i, 100), assigned(fmt.Sprintf("set%03d", i), "policySetDefinitions", fmt.Sprintf("s%03d", i)))
	}
	for i := range 180 {
		docs = append(docs, assigned(fmt.Sprintf("one%03d", i), "policyDefinitions", fmt.Sprintf("d%04d", 2000+i)))
	}
	write(b, s, docs...)
	return s
}

// BenchmarkIndex writes one policy and asks what is effective; the write itself is not
// measured.
func BenchmarkIndex(b *testing.B) {
	s := estate(b)
	for name, doc := range map[string]func(n int) *store.Document{
		"unassigned definition":    func(n int) *store.Document { return definition(3999, n) },
		"assigned definition":      func(n int) *store.Document { return definition(2000, n) },
		"definition in initiative": func(n int) *store.Document { return definition(7, n) },
		"assignment":               func(int) *store.Document { return assigned("one000", "policyDefinitions", "d2000") },
	} {
		b.Run(name, func(b *testing.B) {
			x := New(s, alias.Default())
			if _, err := x.Current(b.Context()); err != nil {
				b.Fatal(err)
			}
			for n := 0; b.Loop(); n++ {
				b.StopTimer()
				write(b, s, doc(n+1))
				b.StartTimer()
				if _, err := x.Current(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
