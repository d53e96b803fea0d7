package federation

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"hallmark.dev/hallmark/internal/identity"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestConfigurationsThatAreRefused(t *testing.T) {
	ok := Config{Issuer: "https://a.example/x", Audiences: []string{"a"}}
	if err := Check([]Config{ok, {Issuer: "http://127.0.0.1:99", Audiences: []string{"a"}, AllowHTTP: true, ObjectIDs: FromIssuer}}); err != nil {
		t.Error(err)
	}
	for want, c := range map[string]Config{
		"must be https":    {Issuer: "http://a.example", Audiences: []string{"a"}},
		"on this machine":  {Issuer: "http://a.example", Audiences: []string{"a"}, AllowHTTP: true},
		"not the URL":      {Issuer: "a.example", Audiences: []string{"a"}},
		"at least one":     {Issuer: "https://a.example"},
		"there twice":      ok,
		"is neither":       {Issuer: "https://b.example", Audiences: []string{"a"}, ObjectIDs: "mine"},
		"only one issuer":  {Issuer: "https://b.example", Audiences: []string{"a"}, ObjectIDs: FromIssuer},
		"localhost is not": {Issuer: "http://localhost:1", Audiences: []string{"a"}, AllowHTTP: true},
	} {
		if want == "localhost is not" {
			want = "on this machine"
		}
		err := Check([]Config{ok, c, {Issuer: "https://c.example", Audiences: []string{"a"}, ObjectIDs: c.ObjectIDs}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func TestDerivedIDsDifferByIssuer(t *testing.T) {
	a, b := Config{Issuer: "https://a.example"}, Config{Issuer: "https://b.example"}
	if a.ObjectID("x") == b.ObjectID("x") || a.ObjectID("x") == a.GroupID("x") || a.ObjectID("x") != a.ObjectID("x") {
		t.Error("derived ids are not what they should be")
	}
}

// fake is an issuer whose tokens and clock a test can bend; that the verifier gets on
// with a real one is another test's business.
type fake struct {
	*httptest.Server
	key    *rsa.PrivateKey
	reads  int
	broken bool
}

func newFake(t *testing.T) *fake {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{key: key}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.reads++
		switch {
		case f.broken:
			http.Redirect(w, r, "http://elsewhere.example/", http.StatusFound)
		case strings.HasSuffix(r.URL.Path, "/keys"):
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "RS256", Use: "sig"}}})
		default:
			_ = json.NewEncoder(w).Encode(map[string]any{"issuer": f.URL, "jwks_uri": f.URL + "/keys", "authorization_endpoint": f.URL, "token_endpoint": f.URL})
		}
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *fake) token(t *testing.T, kid string, claims jwt.MapClaims) string {
	t.Helper()
	all := jwt.MapClaims{"iss": f.URL, "aud": "me", "sub": "s", "exp": noon.Add(time.Hour).Unix()}
	for k, v := range claims {
		all[k] = v
	}
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, all)
	token.Header["kid"] = kid
	s, err := token.SignedString(f.key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

type own struct{}

func (own) Verify(context.Context, string) (identity.Principal, error) {
	return identity.Principal{Name: "own"}, nil
}

func verifier(t *testing.T, f *fake, now *time.Time) *Verifier {
	t.Helper()
	v, err := New([]Config{{Issuer: f.URL, Audiences: []string{"me"}, AllowHTTP: true}}, own{}, nil, func() time.Time { return *now })
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func code(err error) string {
	var e *identity.TokenError
	if errors.As(err, &e) && errors.Is(err, identity.ErrUnauthenticated) {
		return e.Code
	}
	return ""
}

func TestTimes(t *testing.T) {
	f, now := newFake(t), noon
	v := verifier(t, f, &now)
	for _, c := range []struct {
		at   time.Time
		want string
	}{{noon, ""}, {noon.Add(time.Hour + 30*time.Second), ""}, {noon.Add(time.Hour + 2*time.Minute), identity.CodeExpiredToken}} {
		now = c.at
		if _, err := v.Verify(t.Context(), f.token(t, "k", nil)); code(err) != c.want {
			t.Errorf("at %v: %v", c.at, err)
		}
	}
	now = noon
	if _, err := v.Verify(t.Context(), f.token(t, "k", jwt.MapClaims{"nbf": noon.Add(time.Hour).Unix()})); code(err) != identity.CodeInvalidToken {
		t.Errorf("before its time: %v", err)
	}
	if _, err := v.Verify(t.Context(), f.token(t, "k", jwt.MapClaims{"oid": identity.System.ObjectID, "sub": ""})); err != nil {
		t.Errorf("a derived id: %v", err)
	}
	if p, err := v.Verify(t.Context(), "a.b.c"); err != nil || p.Name != "own" {
		t.Errorf("another's token: %v, %v", p, err)
	}
}

// Tokens that anybody can make up must not have the issuer asked again and again.
func TestKeysAreNotReadForEachToken(t *testing.T) {
	f, now := newFake(t), noon
	v := verifier(t, f, &now)
	for i := range 50 {
		if _, err := v.Verify(t.Context(), f.token(t, "made-up", jwt.MapClaims{"jti": i})); code(err) != identity.CodeInvalidToken {
			t.Fatal(err)
		}
	}
	if f.reads > fetchBurst {
		t.Errorf("%d reads", f.reads)
	}
	if _, err := v.Verify(t.Context(), f.token(t, "k", nil)); err != nil {
		t.Errorf("a good token suffers: %v", err)
	}
}

func TestAnIssuerThatIsAwayOrSendsUsElsewhere(t *testing.T) {
	f, now := newFake(t), noon
	f.broken = true
	v := verifier(t, f, &now)
	if _, err := v.Verify(t.Context(), f.token(t, "k", nil)); code(err) != identity.CodeInvalidToken || !strings.Contains(err.Error(), "redirect") {
		t.Errorf("%v", err)
	}
	f.broken = false
	if _, err := v.Verify(t.Context(), f.token(t, "k", nil)); err != nil {
		t.Errorf("when it is back: %v", err)
	}
}
