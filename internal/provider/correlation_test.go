package provider_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"hallmark.dev/hallmark/internal/correlation"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/store"
)

// What a controller does for a request carries the request's correlation id, into the
// events of what it writes through the pipeline too.
func TestControllersCarryTheCorrelationID(t *testing.T) {
	seen := make(chan string, 16)
	slow := provider.ResourceType{Type: "Test.Slow/slow", Scopes: provider.AtResourceGroup, APIVersions: []string{"2024-01-01"}, Tags: true,
		Reconcile: func(ctx context.Context, w *provider.Work) (time.Duration, error) {
			if w.Doc.State().Terminal() {
				return 0, nil
			}
			seen <- correlation.ID(ctx)
			if _, err := w.Client.Patch(ctx, providertest.Group(), map[string]any{"tags": map[string]string{"by": "slow"}}); err != nil {
				return 0, err
			}
			return 0, w.Update(ctx, func(d *provider.Draft) { d.Succeed() })
		}}
	s := providertest.Start(t, providertest.With(provider.Provider{Types: []provider.ResourceType{slow}}))
	r := &provider.Request{Method: http.MethodPut, Path: providertest.Group().Resource("Test.Slow/slow", "x").String(), Query: url.Values{"api-version": {"2024-01-01"}},
		Body: []byte("{}"), Principal: s.Client.Principal(), CorrelationID: "corr-7"}
	if resp := s.Pipeline.Do(t.Context(), r); resp.Status != 201 {
		t.Fatalf("%d %s", resp.Status, resp.Body)
	}
	s.Settle(t)
	if id := <-seen; id != "corr-7" {
		t.Errorf("the controller saw %q", id)
	}
	events, err := store.List(t.Context(), s.Store, store.Query{Type: provider.EventType})
	if err != nil {
		t.Fatal(err)
	}
	var by []string
	for _, d := range events {
		var e provider.Event
		if err := json.Unmarshal(d.Private, &e); err != nil {
			t.Fatal(err)
		}
		if e.CorrelationID == "corr-7" {
			by = append(by, e.Action)
		}
	}
	slices.Sort(by)
	want := []string{"Microsoft.Resources/subscriptions/resourceGroups/write", "Test.Slow/slow/write"}
	if !slices.Equal(by, want) {
		t.Errorf("events of the request: %v, want %v", by, want)
	}
}
