package control_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/control"
	"hallmark.dev/hallmark/internal/store/sqlite"
)

type cache struct{ entries []control.Entry }

func (c *cache) Entries(context.Context) ([]control.Entry, error) { return c.entries, nil }

func (c *cache) Prune(_ context.Context, _ int64, all bool) ([]control.Entry, error) {
	if !all {
		return nil, nil
	}
	removed := c.entries
	c.entries = nil
	return removed, nil
}

const subscription = "/subscriptions/" + providertest.Subscription

func TestOperationsAndEventsNameWhoDidWhat(t *testing.T) {
	s := providertest.Start(t, providertest.With(control.New(control.Config{Cache: &cache{}})))
	s.Do(t, "PUT", subscription+"/resourceGroups/fresh?api-version=2021-04-01", `{"location":"local"}`)
	s.Do(t, "DELETE", subscription+"/resourceGroups/fresh?api-version=2021-04-01", "")
	s.Settle(t)
	status, _, body := s.Do(t, "GET", subscription+"/providers/Hallmark.Control/operations?api-version=2026-11-01", "")
	var operations struct {
		Value []struct{ Resource, Action, Status string }
	}
	if err := json.Unmarshal(body, &operations); err != nil || status != 200 {
		t.Fatalf("status %d, %v: %s", status, err, body)
	}
	found := false
	for _, o := range operations.Value {
		found = found || o.Action == "delete" && o.Status == "Succeeded" && o.Resource == subscription+"/resourceGroups/fresh"
	}
	if !found {
		t.Errorf("the deletion is not among the operations: %s", body)
	}
	_, _, body = s.Do(t, "GET", subscription+"/providers/Hallmark.Control/events?api-version=2026-11-01&$top=1", "")
	var events struct {
		Value []struct{ Action, Principal string }
	}
	if err := json.Unmarshal(body, &events); err != nil {
		t.Fatal(err)
	}
	if len(events.Value) != 1 || events.Value[0].Action != "Microsoft.Resources/subscriptions/resourceGroups/delete" || events.Value[0].Principal == "" {
		t.Errorf("the newest event: %s", body)
	}
	if status, _, _ := s.Do(t, "GET", subscription+"/providers/Hallmark.Control/events?api-version=2026-11-01&$top=x", ""); status != 400 {
		t.Errorf("$top=x: status %d", status)
	}
}

func TestTheCacheIsShownAndPruned(t *testing.T) {
	c := &cache{entries: []control.Entry{{Kind: "layer", Digest: "sha256:1", Size: 7, Used: time.Unix(0, 0).UTC()}}}
	s := providertest.Start(t, providertest.With(control.New(control.Config{Cache: c})))
	_, _, body := s.Do(t, "GET", "/providers/Hallmark.Control/cache?api-version=2026-11-01", "")
	want := `{"value":[{"kind":"layer","digest":"sha256:1","size":7,"used":"1970-01-01T00:00:00Z","inUse":false}]}`
	if diff := cmp.Diff(want, string(body)); diff != "" {
		t.Error(diff)
	}
	if status, _, body := s.Do(t, "POST", "/providers/Hallmark.Control/cache/prune?api-version=2026-11-01", `{}`); status != 400 {
		t.Errorf("prune without a limit: %d %s", status, body)
	}
	s.Do(t, "POST", "/providers/Hallmark.Control/cache/prune?api-version=2026-11-01", `{"all":true}`)
	if len(c.entries) != 0 {
		t.Error("nothing was pruned")
	}
}

func TestABackupOpensAsAStore(t *testing.T) {
	live, err := sqlite.Open(t.Context(), t.TempDir()+"/live.db")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { live.Close() })
	s := providertest.Start(t, providertest.WithStore(live), providertest.With(control.New(control.Config{Cache: &cache{}, BackupDir: t.TempDir()})))
	status, _, body := s.Do(t, "POST", "/providers/Hallmark.Control/backup?api-version=2026-11-01", "")
	var answer struct{ Database string }
	if err := json.Unmarshal(body, &answer); err != nil || status != 200 {
		t.Fatalf("status %d, %v: %s", status, err, body)
	}
	copied, err := sqlite.Open(t.Context(), answer.Database)
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	changes, _, err := copied.Since(t.Context(), 0, 0)
	if err != nil || len(changes) == 0 {
		t.Errorf("the copy holds %d documents, %v", len(changes), err)
	}
}
