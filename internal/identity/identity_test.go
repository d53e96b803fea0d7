package identity_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/identity"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, dir string) *identity.Directory {
	t.Helper()
	d, err := identity.OpenDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDirectorySurvivesAndAuthenticates(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	sp, secret, err := d.Create("ci", noon)
	if err != nil {
		t.Fatal(err)
	}
	role := identity.Role{Name: "Owner", Scope: "/"}
	if err := errors.Join(d.Grant(sp.AppID, role), d.Grant(sp.AppID, role)); err != nil {
		t.Fatal(err)
	}
	d = open(t, dir) // a restart
	p, err := d.Authenticate(t.Context(), strings.ToUpper(sp.AppID), secret, noon)
	want := identity.Principal{ObjectID: sp.ObjectID, AppID: sp.AppID, Name: "ci", TenantID: d.TenantID(), Kind: "ServicePrincipal"}
	if diff := cmp.Diff(want, p); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if got := d.List()[0].Roles; !cmp.Equal(got, []identity.Role{role}) {
		t.Errorf("roles %v", got)
	}
	for name, c := range map[string][2]string{"wrong secret": {sp.AppID, secret + "x"}, "no secret": {sp.AppID, ""}, "unknown client": {"x", secret}} {
		if _, err := d.Authenticate(t.Context(), c[0], c[1], noon); !errors.Is(err, identity.ErrUnauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSecretsExpireAndRotate(t *testing.T) {
	d := open(t, t.TempDir())
	sp, first, err := d.Create("ci", noon)
	if err != nil {
		t.Fatal(err)
	}
	second, err := d.AddSecret(sp.AppID, noon, noon.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Authenticate(t.Context(), sp.AppID, second, noon.Add(59*time.Minute)); err != nil {
		t.Error(err)
	}
	if _, err := d.Authenticate(t.Context(), sp.AppID, second, noon.Add(time.Hour)); err == nil {
		t.Error("an expired secret works")
	}
	if err := d.RemoveSecret(sp.AppID, sp.Secrets[0].KeyID); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Authenticate(t.Context(), sp.AppID, first, noon); err == nil {
		t.Error("a removed secret works")
	}
	if err := d.Delete(sp.AppID); err != nil {
		t.Fatal(err)
	}
	if err := d.Delete(sp.AppID); !errors.Is(err, identity.ErrNoSuchPrincipal) {
		t.Errorf("deleted twice: %v", err)
	}
}

func TestNothingSecretIsReadable(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	_, secret, err := d.Create("ci", noon)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := identity.OpenIssuer(dir, d.TenantID(), nil); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(files) != 3 {
		t.Errorf("files: %v", files)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		info, _ := os.Stat(f)
		if err != nil || info.Mode().Perm() != 0o600 || strings.Contains(string(raw), secret) {
			t.Errorf("%s: mode %v, holds the secret: %v, %v", f, info.Mode(), strings.Contains(string(raw), secret), err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "signing.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := identity.OpenIssuer(dir, d.TenantID(), nil); err == nil {
		t.Error("a key that others can read is used")
	}
}

func TestTokens(t *testing.T) {
	dir := t.TempDir()
	now := noon
	clock := func() time.Time { return now }
	iss := issuer(t, dir, "tenant", clock)
	want := identity.Principal{ObjectID: "oid", AppID: "app", Name: "ci", TenantID: "tenant", Kind: "ServicePrincipal"}
	token := issue(t, iss, want, "https://127.0.0.1:8443/")
	for range 2 { // also after a restart
		got, err := iss.Verify(t.Context(), token)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v\n%s", err, diff)
		}
		iss = issuer(t, dir, "tenant", clock)
	}
	none, _ := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{"oid": "oid", "tid": "tenant", "aud": "https://h/", "exp": noon.Unix() + 60}).
		SignedString(jwt.UnsafeAllowNoneSignatureType)
	bad := map[string]string{
		"empty": "", "not a token": "a.b.c", "cut": token[:len(token)-2], "not signed": none,
		"for the graph":        issue(t, iss, want, "https://127.0.0.1:8443/graph/"),
		"another key":          issue(t, issuer(t, t.TempDir(), "tenant", clock), want, "https://h/"),
		"another tenant":       issue(t, issuer(t, dir, "other", clock), want, "https://h/"),
		"the system":           issue(t, iss, identity.System, "https://h/"),
		"nobody":               issue(t, iss, identity.Principal{}, "https://h/"),
		"audience is no URL":   issue(t, iss, want, "graph"),
		"signed with a secret": hs256(t, iss),
	}
	for name, token := range bad {
		if _, err := iss.Verify(t.Context(), token); !errors.Is(err, identity.ErrUnauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
	}
	now = noon.Add(identity.Lifetime + 2*time.Minute)
	if _, err := iss.Verify(t.Context(), token); !errors.Is(err, identity.ErrUnauthenticated) {
		t.Errorf("expired: %v", err)
	}
}

// hs256 is the classic confusion: the public key used as a shared secret.
func hs256(t *testing.T, iss *identity.Issuer) string {
	t.Helper()
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"oid": "oid", "tid": "tenant", "aud": "https://h/", "exp": noon.Unix() + 60}).
		SignedString([]byte(iss.JWK()["x"]))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func issuer(t *testing.T, dir, tenant string, now func() time.Time) *identity.Issuer {
	t.Helper()
	i, err := identity.OpenIssuer(dir, tenant, now)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func issue(t *testing.T, i *identity.Issuer, p identity.Principal, audience string) string {
	t.Helper()
	s, err := i.Issue(p, "https://127.0.0.1:8443/adfs", audience)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
