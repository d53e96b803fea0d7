package frontdoor_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/prometheus/client_golang/prometheus"

	"hallmark.dev/hallmark/internal/directory"
	"hallmark.dev/hallmark/internal/frontdoor"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store/mem"
)

// echo answers what it was asked, and panics on demand.
type echo struct{ asked *provider.Request }

func (e *echo) Do(_ context.Context, r *provider.Request) *provider.Response {
	e.asked = r
	if strings.Contains(r.Path, "panic") {
		panic("secret of the inside")
	}
	resp, _ := provider.JSON(200, map[string]string{"path": r.Path})
	return resp
}

type front struct {
	*httptest.Server
	echo          *echo
	logs          *bytes.Buffer
	appID, secret string
	issuer        *identity.Issuer
	principal     identity.Principal
}

func start(t *testing.T) *front {
	t.Helper()
	dir := t.TempDir()
	d, err := directory.Open(mem.New(), dir)
	if err != nil {
		t.Fatal(err)
	}
	iss, err := identity.OpenIssuer(dir, d.TenantID(), nil)
	if err != nil {
		t.Fatal(err)
	}
	sp, secret, err := d.Create(t.Context(), "test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	f := &front{echo: &echo{}, logs: &bytes.Buffer{}, appID: sp.AppID, secret: secret, issuer: iss}
	f.principal = identity.Principal{ObjectID: sp.ObjectID, AppID: sp.AppID, Name: "test", TenantID: d.TenantID(), Kind: "ServicePrincipal"}
	f.Server = httptest.NewTLSServer(frontdoor.New(frontdoor.Config{
		Pipeline: f.echo, Verifier: iss, SignIn: frontdoor.SignIn{Directory: d, Issuer: iss}, Log: slog.New(slog.NewJSONHandler(f.logs, nil)),
		Metrics: prometheus.NewRegistry(), MetricsToken: "m3trics",
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *front) send(t *testing.T, method, path, token, body string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, f.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := f.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(raw)
}

func (f *front) token(t *testing.T) string {
	t.Helper()
	token, err := f.issuer.Issue(f.principal, f.URL+"/adfs", f.URL+"/")
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (f *front) signIn(t *testing.T, form url.Values) (int, map[string]any) {
	t.Helper()
	resp, body := f.send(t, "POST", "/adfs/oauth2/token", "", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	var m map[string]any
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return resp.StatusCode, m
}

func TestNothingWithoutAToken(t *testing.T) {
	f := start(t)
	graph, err := f.issuer.Issue(f.principal, f.URL, f.URL+"/graph/")
	if err != nil {
		t.Fatal(err)
	}
	for token, code := range map[string]string{"": "AuthenticationFailed", "x.y.z": "InvalidAuthenticationToken", graph: "InvalidAuthenticationTokenAudience"} {
		resp, body := f.send(t, "GET", "/subscriptions?api-version=2022-12-01", token, "")
		if resp.StatusCode != 401 || !strings.Contains(body, `"`+code+`"`) || !strings.Contains(resp.Header.Get("WWW-Authenticate"), f.URL+"/adfs") {
			t.Errorf("%s: %d %s %v", code, resp.StatusCode, body, resp.Header)
		}
	}
	if f.echo.asked != nil {
		t.Error("the pipeline was asked")
	}
	if resp, body := f.send(t, "GET", "/healthz", "", ""); resp.StatusCode != 200 || body != "ok\n" {
		t.Errorf("healthz: %d %s", resp.StatusCode, body)
	}
	if resp, _ := f.send(t, "GET", "/metrics", f.token(t), ""); resp.StatusCode != 401 {
		t.Errorf("metrics with an ARM token: %d", resp.StatusCode)
	}
	if resp, body := f.send(t, "GET", "/metrics", "m3trics", ""); resp.StatusCode != 200 || !strings.Contains(body, `hallmark_http_requests_total{code="401",method="GET"} 4`) {
		t.Errorf("metrics: %d %s", resp.StatusCode, body)
	}
}

func TestClientCredentials(t *testing.T) {
	f := start(t)
	ok := url.Values{"client_id": {f.appID}, "client_secret": {f.secret}, "grant_type": {"client_credentials"}, "client_info": {"1"}}
	with := func(key string, values ...string) url.Values {
		v := url.Values{}
		for k, x := range ok {
			v[k] = x
		}
		v[key] = values
		return v
	}
	// az and Go write the scope differently; both must work.
	for _, scope := range []string{f.URL + "//.default", f.URL + "//.default openid offline_access profile", f.URL + "/.default"} {
		status, m := f.signIn(t, with("scope", scope))
		if status != 200 || m["token_type"] != "Bearer" || m["expires_in"] != 3599.0 {
			t.Fatalf("%s: %d %v", scope, status, m)
		}
		token, _ := m["access_token"].(string)
		if resp, body := f.send(t, "GET", "/subscriptions?api-version=2022-12-01", token, ""); resp.StatusCode != 200 || f.echo.asked.Principal != f.principal {
			t.Errorf("%s: %d %s, as %+v", scope, resp.StatusCode, body, f.echo.asked)
		}
	}
	ok.Set("scope", f.URL+"//.default")
	for name, c := range map[string]struct {
		form   url.Values
		status int
		code   string
	}{
		"wrong secret":   {with("client_secret", "x"), 401, "invalid_client"},
		"unknown client": {with("client_id", "x"), 401, "invalid_client"},
		"other grant":    {with("grant_type", "password"), 400, "unsupported_grant_type"},
		"other host":     {with("scope", "https://evil.example/.default"), 400, "invalid_resource"},
		"no scope":       {with("scope"), 400, "invalid_resource"},
	} {
		status, m := f.signIn(t, c.form)
		text, _ := m["error_description"].(string)
		if status != c.status || m["error"] != c.code || !strings.HasPrefix(text, "AADSTS") {
			t.Errorf("%s: %d %v", name, status, m)
		}
	}
	if strings.Contains(f.logs.String(), f.secret) {
		t.Error("the secret is in the log")
	}
}

// go-oidc, which is not ours, discovers the authority and checks a token.
func TestTokensVerifyWithOIDC(t *testing.T) {
	f := start(t)
	ctx := oidc.ClientContext(t.Context(), f.Client())
	p, err := oidc.NewProvider(ctx, f.URL+"/adfs")
	if err != nil {
		t.Fatal(err)
	}
	token, err := p.Verifier(&oidc.Config{ClientID: f.URL + "/", SupportedSigningAlgs: []string{"ES256"}}).Verify(ctx, f.token(t))
	if err != nil || token.Subject != f.principal.ObjectID {
		t.Fatalf("%+v, %v", token, err)
	}
	var claims struct{ Tid, Oid, Appid string }
	if err := token.Claims(&claims); err != nil || claims.Tid != f.principal.TenantID || claims.Oid != f.principal.ObjectID || claims.Appid != f.appID {
		t.Errorf("%+v, %v", claims, err)
	}
}

func TestMetadata(t *testing.T) {
	f := start(t)
	_, old := f.send(t, "GET", "/metadata/endpoints?api-version=2015-01-01", "", "")
	if want := `{"authentication":{"audiences":["` + f.URL + `/"],"loginEndpoint":"` + f.URL + `/adfs"},"galleryEndpoint":"` + f.URL + `","graphEndpoint":"` + f.URL + `/graph/","portalEndpoint":"` + f.URL + `"}`; old != want {
		t.Errorf("2015: %s", old)
	}
	type cloud struct{ Name, ResourceManager string }
	_, array := f.send(t, "GET", "/metadata/endpoints?api-version=2019-05-01", "", "")
	var clouds []cloud
	if err := json.Unmarshal([]byte(array), &clouds); err != nil || len(clouds) != 1 || clouds[0].ResourceManager != f.URL {
		t.Errorf("2019: %s, %v", array, err)
	}
	_, object := f.send(t, "GET", "/metadata/endpoints?api-version=2022-09-01", "", "")
	var one cloud
	if err := json.Unmarshal([]byte(object), &one); err != nil || one.ResourceManager != f.URL {
		t.Errorf("2022: %s, %v", object, err)
	}
}

func TestPaths(t *testing.T) {
	f := start(t)
	token := f.token(t)
	for path, want := range map[string]string{
		"//subscriptions//S///x/": "/subscriptions/S/x", "/": "/", "/subscriptions/a%20b": "/subscriptions/a b", "/healthz/": "/healthz", "/subscriptions/S/./x": "/subscriptions/S/./x", "/subscriptions%2Fa%2fb/c": "/subscriptions/a/b/c", "/a%252Fb": "/a%2Fb",
	} {
		resp, body := f.send(t, "GET", path, token, "")
		if resp.StatusCode != 200 || f.echo.asked.Path != want {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
	for _, path := range []string{"/subscriptions/S?x=%zz"} {
		if resp, body := f.send(t, "GET", path, token, ""); resp.StatusCode != 400 {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
}

func TestCorrelation(t *testing.T) {
	f := start(t)
	resp, _ := f.send(t, "GET", "/x", f.token(t), "", "X-Ms-Correlation-Request-Id", "corr-1", "X-Ms-Client-Request-Id", "mine")
	if resp.Header.Get("X-Ms-Correlation-Request-Id") != "corr-1" || resp.Header.Get("X-Ms-Client-Request-Id") != "mine" || f.echo.asked.CorrelationID != "corr-1" {
		t.Errorf("%v", resp.Header)
	}
	if !strings.Contains(f.logs.String(), `"correlationId":"corr-1"`) {
		t.Errorf("log: %s", f.logs)
	}
	resp, _ = f.send(t, "GET", "/x", f.token(t), "", "X-Ms-Correlation-Request-Id", `"}{ forged`)
	if got := resp.Header.Get("X-Ms-Correlation-Request-Id"); got == "" || strings.Contains(got, "forged") || got != resp.Header.Get("X-Ms-Request-Id") {
		t.Errorf("a forged id became %q", got)
	}
}

func TestAPanicSaysNothingOutside(t *testing.T) {
	f := start(t)
	resp, body := f.send(t, "GET", "/panic", f.token(t), "")
	if resp.StatusCode != 500 || strings.Contains(body, "secret") || !strings.Contains(f.logs.String(), "secret of the inside") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

func TestLongBodies(t *testing.T) {
	f := start(t)
	resp, body := f.send(t, "PUT", "/x", f.token(t), strings.Repeat("x", provider.MaxBody+1))
	if resp.StatusCode != 413 || !strings.Contains(body, "RequestEntityTooLarge") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

func TestServeWithTheLocalAuthority(t *testing.T) {
	dir := t.TempDir()
	cert, err := frontdoor.Certificates(dir, []string{"hall.example", "::1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- frontdoor.Serve(ctx, l, cert, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }), slog.New(slog.DiscardHandler))
	}()
	ca, err := os.ReadFile(filepath.Join(dir, frontdoor.CACertificate))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, host := range []string{"127.0.0.1", "localhost"} {
		resp, err := (&http.Client{Transport: tr}).Get("https://" + host + ":" + port + "/")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		if resp.Body.Close(); string(body) != "HTTP/2.0" {
			t.Errorf("%s: %s", host, body)
		}
	}
	tr.CloseIdleConnections()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestCertificatesStayAndRenew(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	get := func(at time.Time, hosts ...string) *x509.Certificate {
		t.Helper()
		c, err := frontdoor.Certificates(dir, hosts, at)
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf
	}
	ca := func() string {
		raw, err := os.ReadFile(filepath.Join(dir, frontdoor.CACertificate))
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	first, authority := get(now), ca()
	if again := get(now); again.SerialNumber.Cmp(first.SerialNumber) != 0 {
		t.Error("a second start made another certificate")
	}
	if more := get(now, "hall.example"); more.VerifyHostname("hall.example") != nil || more.VerifyHostname("127.0.0.1") != nil {
		t.Error("the new host is missing")
	}
	before := get(now, "hall.example")
	if later := get(now.Add(380*24*time.Hour), "hall.example"); later.SerialNumber.Cmp(before.SerialNumber) == 0 {
		t.Error("it was not renewed before its end")
	}
	if ca() != authority {
		t.Error("the authority changed: clients would have to trust anew")
	}
	for _, f := range []string{"ca.key", "server.key"} {
		if info, err := os.Stat(filepath.Join(dir, f)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, info, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.key"), []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := frontdoor.Certificates(dir, nil, now); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("a broken key was replaced silently: %v", err)
	}
}
