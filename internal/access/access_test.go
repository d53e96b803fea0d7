package access_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hallmark.dev/hallmark/internal/access"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/directory"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/rbac"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/mem"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

type world struct {
	*access.Index
	store store.Store
	dir   *directory.Directory
}

func start(t *testing.T, s store.Store) world {
	t.Helper()
	d, err := directory.Open(s, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := access.EnsureBuiltIns(t.Context(), s, noon); err != nil {
		t.Fatal(err)
	}
	return world{access.New(s), s, d}
}

func (w world) principal(t *testing.T) identity.Principal {
	t.Helper()
	p, _, err := w.dir.Create(t.Context(), "ci", noon)
	if err != nil {
		t.Fatal(err)
	}
	return p.Identity(w.dir.TenantID())
}

func (w world) give(t *testing.T, scope arm.ID, principal string) {
	t.Helper()
	if err := w.store.Update(t.Context(), func(tx store.Tx) error {
		return access.Give(tx, scope, rbac.OwnerID, principal, "ServicePrincipal", "me", noon)
	}); err != nil {
		t.Fatal(err)
	}
}

func (w world) allows(t *testing.T, p identity.Principal) bool {
	t.Helper()
	err := w.Authorize(t.Context(), p, "A/b/write", arm.SubscriptionID("S"))
	var e *arm.Error
	if err != nil && (!errors.As(err, &e) || e.Status != 403) {
		t.Fatal(err)
	}
	return err == nil
}

func TestRightsFollowWhatIsWritten(t *testing.T) {
	w := start(t, mem.New())
	p := w.principal(t)
	if w.allows(t, p) {
		t.Error("allowed without a role")
	}
	w.give(t, arm.SubscriptionID("S"), p.ObjectID)
	w.give(t, arm.SubscriptionID("S"), p.ObjectID)
	if docs, _ := store.List(t.Context(), w.store, store.Query{Type: access.TypeAssignment}); len(docs) != 1 {
		t.Errorf("given twice: %d assignments", len(docs))
	}
	if !w.allows(t, p) {
		t.Error("denied with the role")
	}
	if err := w.dir.Delete(t.Context(), p.AppID); err != nil || w.allows(t, p) {
		t.Errorf("a token of somebody who is gone works: %v", err)
	}
}

func TestDenialNamesAllThree(t *testing.T) {
	err := start(t, mem.New()).Authorize(t.Context(), identity.Principal{ObjectID: "oid-1", Name: "ci"}, "A/b/write", arm.SubscriptionID("S"))
	var e *arm.Error
	if !errors.As(err, &e) || e.Status != 403 || e.Code != arm.CodeAuthorizationFailed {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"ci", "oid-1", "A/b/write", "/subscriptions/S"} {
		if !strings.Contains(e.Message, want) {
			t.Errorf("%q does not name %s", e.Message, want)
		}
	}
}

// An issuer elsewhere chooses what it writes into its tokens.
func TestAForeignTokenCannotStandForOurOwn(t *testing.T) {
	w := start(t, mem.New())
	p := w.principal(t)
	group := directory.Group{ObjectID: identity.NewID(), Members: []string{"foreign-group"}, Created: noon}
	if err := w.dir.AddGroup(t.Context(), group); err != nil {
		t.Fatal(err)
	}
	w.give(t, arm.Tenant, p.ObjectID)
	w.give(t, arm.Tenant, group.ObjectID)
	// What such a token leaves behind changes nothing about it.
	for _, id := range []string{p.ObjectID, group.ObjectID} {
		if err := w.dir.Seen(t.Context(), identity.Principal{ObjectID: id, Issuer: "https://issuer.example"}, "x", noon); err != nil {
			t.Fatal(err)
		}
	}
	if !w.allows(t, p) {
		t.Error("a foreign token took the rights of an object of our directory away")
	}
	foreign := func(id string, groups ...string) identity.Principal {
		return identity.Principal{ObjectID: id, Kind: "User", Issuer: "https://issuer.example", Groups: identity.NewGroups(groups)}
	}
	if w.allows(t, foreign(p.ObjectID)) || w.allows(t, foreign("u", group.ObjectID)) || w.allows(t, foreign("u", p.ObjectID)) {
		t.Error("a foreign token has the rights of an object of our directory")
	}
	if !w.allows(t, foreign("u", "foreign-group")) {
		t.Error("a foreign group that is a member of ours does not count")
	}
	w.give(t, arm.Tenant, "u")
	if err := w.dir.Seen(t.Context(), foreign("u"), "U", noon); err != nil {
		t.Fatal(err)
	}
	other := foreign("u")
	other.Issuer = "https://another.example"
	if err := w.dir.Seen(t.Context(), other, "U", noon); !errors.Is(err, directory.ErrExists) || w.allows(t, other) {
		t.Errorf("the user of another issuer took the place of one that was here: %v", err)
	}
	if !w.allows(t, foreign("U")) || w.allows(t, identity.Principal{ObjectID: "u", Kind: "ServicePrincipal"}) {
		t.Error("an assignment to a foreign user does not count, or counts for our own tokens")
	}
}

func TestWhatAnOlderVersionKeptIsImported(t *testing.T) {
	w, dir := start(t, mem.New()), t.TempDir()
	const old = `{"tenantId":"t","principals":[{"appId":"a","objectId":"o","displayName":"ci","created":"2026-01-01T00:00:00Z",
		"secrets":[{"keyId":"k","hash":"00"}],"roles":[{"name":"Owner","scope":"/subscriptions/S"},{"name":"Reader","scope":"/"}]}]}`
	if err := os.WriteFile(filepath.Join(dir, "principals.json"), []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := access.Import(t.Context(), w.store, dir, noon); err != nil {
			t.Fatal(err)
		}
	}
	p := identity.Principal{ObjectID: "o"}
	if !w.allows(t, p) || w.Authorize(t.Context(), p, "A/b/read", arm.Tenant) != nil || w.Authorize(t.Context(), p, "A/b/write", arm.Tenant) == nil {
		t.Error("the roles were not imported as they were")
	}
}

// counted counts what is asked of the store.
type counted struct {
	*mem.Store
	reads int
}

func (c *counted) View(ctx context.Context, f func(store.ReadTx) error) error {
	c.reads++
	return c.Store.View(ctx, f)
}

func (c *counted) Since(ctx context.Context, r int64, n int) ([]store.Change, int64, error) {
	c.reads++
	return c.Store.Since(ctx, r, n)
}

func TestDecisionsDoNotReadTheStore(t *testing.T) {
	c := &counted{Store: mem.New()}
	w := start(t, c)
	p := w.principal(t)
	w.give(t, arm.Tenant, p.ObjectID)
	w.allows(t, p)
	before := c.reads
	for range 10 {
		w.allows(t, p)
	}
	if c.reads != before {
		t.Errorf("%d reads for 10 decisions", c.reads-before)
	}
	revision, err := w.Revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	unchanged := func() (same bool) {
		_ = c.View(t.Context(), func(tx store.ReadTx) (err error) {
			same, err = w.Unchanged(tx, revision)
			return err
		})
		return same
	}
	if !unchanged() {
		t.Error("nothing was written, and rights have changed")
	}
	w.give(t, arm.SubscriptionID("T"), p.ObjectID)
	if unchanged() {
		t.Error("a role was given, and rights have not changed")
	}
}

func BenchmarkAuthorize(b *testing.B) {
	s := mem.New()
	if err := access.EnsureBuiltIns(b.Context(), s, noon); err != nil {
		b.Fatal(err)
	}
	d, err := directory.Open(s, b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	p, _, err := d.Create(b.Context(), "ci", noon)
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Update(b.Context(), func(tx store.Tx) error {
		return access.Give(tx, arm.SubscriptionID("S"), rbac.BuiltIns()[1].ID, p.ObjectID, "ServicePrincipal", "me", noon)
	}); err != nil {
		b.Fatal(err)
	}
	x, who := access.New(s), p.Identity("t")
	scope := arm.ResourceGroupID("S", "G").Resource("Microsoft.Compute/virtualMachines", "v")
	b.ReportAllocs()
	for b.Loop() {
		if err := x.Authorize(b.Context(), who, "Microsoft.Compute/virtualMachines/write", scope); err != nil {
			b.Fatal(err)
		}
	}
}
