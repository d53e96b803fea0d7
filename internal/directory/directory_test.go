package directory_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/directory"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/mem"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, s store.Store, dir string) *directory.Directory {
	t.Helper()
	d, err := directory.Open(s, dir)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestItSurvivesAndAuthenticates(t *testing.T) {
	s, dir := mem.New(), t.TempDir()
	d := open(t, s, dir)
	p, secret, err := d.Create(t.Context(), "ci", noon)
	if err != nil {
		t.Fatal(err)
	}
	d = open(t, s, dir) // a restart
	got, err := d.Authenticate(t.Context(), strings.ToUpper(p.AppID), secret, noon)
	want := identity.Principal{ObjectID: p.ObjectID, AppID: p.AppID, Name: "ci", TenantID: d.TenantID(), Kind: "ServicePrincipal"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	for name, c := range map[string][2]string{"wrong secret": {p.AppID, secret + "x"}, "no secret": {p.AppID, ""}, "unknown client": {"x", secret}, "a path": {"x/../y", secret}} {
		if _, err := d.Authenticate(t.Context(), c[0], c[1], noon); !errors.Is(err, identity.ErrUnauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := d.Add(t.Context(), p); !errors.Is(err, directory.ErrExists) {
		t.Errorf("added twice: %v", err)
	}
	docs, err := store.List(t.Context(), s, store.Query{Type: directory.TypePrincipal})
	if err != nil || len(docs) != 1 || strings.Contains(string(docs[0].Private), secret) || string(docs[0].Body) != "{}" {
		t.Errorf("%v, %v", docs, err)
	}
}

func TestSecretsRotate(t *testing.T) {
	d := open(t, mem.New(), t.TempDir())
	p, first, err := d.Create(t.Context(), "ci", noon)
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := d.AddSecret(t.Context(), p.AppID, "next", noon, noon.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.RemoveSecret(t.Context(), p.AppID, p.Secrets[0].KeyID); err != nil {
		t.Fatal(err)
	}
	works := func(secret string, at time.Time) bool {
		_, err := d.Authenticate(t.Context(), p.AppID, secret, at)
		return err == nil
	}
	if works(first, noon) || !works(second, noon) || works(second, noon.Add(time.Hour)) {
		t.Error("a removed or expired secret works, or the new one does not")
	}
	if err := d.RemoveSecret(t.Context(), p.AppID, p.Secrets[0].KeyID); !errors.Is(err, directory.ErrNotFound) {
		t.Errorf("removed twice: %v", err)
	}
	if err := d.Delete(t.Context(), p.AppID); err != nil || works(second, noon) {
		t.Errorf("%v", err)
	}
	if err := d.Delete(t.Context(), p.AppID); !errors.Is(err, directory.ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
}

func TestGroups(t *testing.T) {
	d := open(t, mem.New(), t.TempDir())
	g := directory.Group{ObjectID: identity.NewID(), DisplayName: "ops", Created: noon}
	if err := errors.Join(d.AddGroup(t.Context(), g), d.AddMember(t.Context(), g.ObjectID, "A"), d.AddMember(t.Context(), g.ObjectID, "b")); err != nil {
		t.Fatal(err)
	}
	if err := d.AddMember(t.Context(), g.ObjectID, "a"); !errors.Is(err, directory.ErrExists) {
		t.Errorf("a member twice: %v", err)
	}
	if err := errors.Join(d.RemoveMember(t.Context(), g.ObjectID, "a"), d.See(t.Context(), directory.User{ObjectID: "u", DisplayName: "U"})); err != nil {
		t.Fatal(err)
	}
	s, err := d.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string][]string{g.ObjectID: {"b"}}, s.Members()); diff != "" {
		t.Error(diff)
	}
	if s.Kind(strings.ToUpper(g.ObjectID)) != directory.KindGroup || s.Kind("u") != directory.KindUser || s.Kind("") != "" || s.Name("U") != "U" {
		t.Error("kinds or names are wrong")
	}
	if err := d.DeleteGroup(t.Context(), g.ObjectID); err != nil {
		t.Fatal(err)
	}
	if err := d.AddMember(t.Context(), g.ObjectID, "c"); !errors.Is(err, directory.ErrNotFound) {
		t.Errorf("a member of nothing: %v", err)
	}
}
