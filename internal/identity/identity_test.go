package identity_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/identity"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestTenantIsKept(t *testing.T) {
	dir := t.TempDir()
	first, err := identity.OpenTenant(dir)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := identity.OpenTenant(dir); again != first || err != nil {
		t.Errorf("%s became %s, %v", first, again, err)
	}
}

func TestWhatAnOlderVersionKept(t *testing.T) {
	dir := t.TempDir()
	const old = `{"tenantId":"t","principals":[{"appId":"a","objectId":"o","displayName":"ci","created":"2026-01-01T00:00:00Z",
		"secrets":[{"keyId":"k","hash":"00"}],"roles":[{"name":"Owner","scope":"/"}]}]}`
	if err := os.WriteFile(filepath.Join(dir, "principals.json"), []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	if tenant, err := identity.OpenTenant(dir); tenant != "t" || err != nil {
		t.Errorf("tenant %q, %v", tenant, err)
	}
	ps, err := identity.ReadLegacy(dir)
	if err != nil || len(ps) != 1 || ps[0].Roles[0] != (identity.LegacyRole{Name: "Owner", Scope: "/"}) {
		t.Fatalf("%+v, %v", ps, err)
	}
	if err := errors.Join(identity.ForgetLegacy(dir), identity.ForgetLegacy(dir)); err != nil {
		t.Error(err)
	}
	if ps, err := identity.ReadLegacy(dir); len(ps) != 0 || err != nil {
		t.Errorf("%+v, %v", ps, err)
	}
}

func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	hasher := func() *identity.Hasher {
		h, err := identity.OpenHasher(dir)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	text, forever := hasher().New(noon, time.Time{})
	short, hour := hasher().New(noon, noon.Add(time.Hour))
	all := []identity.Secret{forever, hour}
	for _, c := range []struct {
		text string
		at   time.Time
		want bool
	}{{text, noon, true}, {text + "x", noon, false}, {"", noon, false}, {short, noon.Add(59 * time.Minute), true}, {short, noon.Add(time.Hour), false}} {
		if got := hasher().Matches(all, c.text, c.at); got != c.want {
			t.Errorf("%q at %v: %v", c.text, c.at, got)
		}
	}
}

func TestNothingSecretIsReadable(t *testing.T) {
	dir := t.TempDir()
	_, tenant := identity.OpenTenant(dir)
	_, hasher := identity.OpenHasher(dir)
	if err := errors.Join(tenant, hasher); err != nil {
		t.Fatal(err)
	}
	if _, err := identity.OpenIssuer(dir, "t", nil); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(files) != 3 {
		t.Errorf("files: %v", files)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		info, _ := os.Stat(f)
		if err != nil || info.Mode().Perm() != 0o600 || len(raw) == 0 {
			t.Errorf("%s: mode %v, %v", f, info.Mode(), err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "signing.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := identity.OpenIssuer(dir, "t", nil); err == nil {
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
	if _, err := iss.Verify(t.Context(), token); err != nil { // it is remembered now, and must not outlive its time
		t.Error(err)
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
