// Package providertest starts a whole control plane in memory for the tests of
// resource providers: pipeline, controllers, HTTPS, an Owner's token. Only tests
// import it.
package providertest

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azarm "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"hallmark.dev/hallmark/internal/access"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/controller"
	"hallmark.dev/hallmark/internal/directory"
	"hallmark.dev/hallmark/internal/federation"
	"hallmark.dev/hallmark/internal/frontdoor"
	"hallmark.dev/hallmark/internal/graph"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/rbac"
	"hallmark.dev/hallmark/internal/rp/resources"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/mem"
)

// What the server starts with: a subscription, a group in it, two locations.
const (
	Subscription  = "00000000-0000-0000-0000-000000000001"
	ResourceGroup = "rg"
	Location      = "local"
	Location2     = "north"
)

// Server is a running control plane. It stops at the end of the test.
type Server struct {
	URL   string // https://127.0.0.1:port
	Store store.Store
	// Pipeline is what serves the requests.
	Pipeline *provider.Pipeline
	// Client acts in process as an Owner of everything.
	Client provider.Client
	// HTTP trusts the server and sends the Owner's token with requests that have none.
	HTTP *http.Client
	// Credential and Options make SDK clients: armX.NewClient(Subscription, s.Credential, s.Options).
	Credential azcore.TokenCredential
	Options    *azarm.ClientOptions
	// Certificate is the server's; clients that take a CA bundle take it.
	Certificate *x509.Certificate
	// AppID and Secret sign the Owner in at URL/adfs/oauth2/token.
	AppID, Secret, TenantID string

	// Directory and Index are who there is, and who may do what.
	Directory *directory.Directory
	Index     *access.Index

	issuer   *identity.Issuer
	verifier *federation.Verifier
	keys     string // where the issuer's key is
	log      *slog.Logger
	runner   *controller.Runner
}

// Option changes how the server starts.
type Option func(*config)

type config struct {
	store     store.Store
	admitter  provider.Admitter
	providers []provider.Provider
	aliases   func(string) []provider.Alias
	log       *slog.Logger
	frozen    bool
	issuers   []federation.Config
}

// WithStore uses another store than a fresh one in memory.
func WithStore(s store.Store) Option { return func(c *config) { c.store = s } }

// WithAdmitter puts something into the write pipeline's admit step.
func WithAdmitter(a provider.Admitter) Option { return func(c *config) { c.admitter = a } }

// With adds providers; rp/resources is always there.
func With(ps ...provider.Provider) Option {
	return func(c *config) { c.providers = append(c.providers, ps...) }
}

// WithAliases puts policy aliases into the providers listing.
func WithAliases(f func(namespace string) []provider.Alias) Option {
	return func(c *config) { c.aliases = f }
}

// WithIssuers accepts tokens of other issuers.
func WithIssuers(all ...federation.Config) Option { return func(c *config) { c.issuers = all } }

// WithLog logs there instead of into the test's output.
func WithLog(l *slog.Logger) Option { return func(c *config) { c.log = l } }

// WithoutControllers starts no controllers, as if they were slow.
func WithoutControllers() Option { return func(c *config) { c.frozen = true } }

// Start starts a server for the test.
func Start(t testing.TB, options ...Option) *Server {
	t.Helper()
	c := config{}
	for _, o := range options {
		o(&c)
	}
	if c.store == nil {
		c.store = mem.New()
	}
	if c.log == nil {
		c.log = logger(t)
	}
	s := &Server{Store: c.store, log: c.log}
	s.identities(t, c)
	s.pipeline(t, c)
	s.listen(t)
	if !c.frozen {
		s.run(t)
	}
	s.populate(t)
	return s
}

func (s *Server) identities(t testing.TB, c config) {
	dir := t.TempDir()
	s.keys = dir
	var err error
	if s.Directory, err = directory.Open(s.Store, dir); err != nil {
		t.Fatal(err)
	}
	if s.issuer, err = identity.OpenIssuer(dir, s.Directory.TenantID(), nil); err != nil {
		t.Fatal(err)
	}
	if err := access.EnsureBuiltIns(t.Context(), s.Store, time.Now()); err != nil {
		t.Fatal(err)
	}
	s.Index = access.New(s.Store)
	if s.verifier, err = federation.New(c.issuers, s.issuer, s.Directory.Seen, nil); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) pipeline(t testing.TB, c config) {
	rp := resources.New(resources.Config{TenantID: s.Directory.TenantID(),
		Locations: []resources.Location{{Name: Location, DisplayName: "Local"}, {Name: Location2, DisplayName: "North"}}})
	p, err := provider.New(provider.Config{Store: c.store, Providers: append([]provider.Provider{rp}, c.providers...),
		Authorizer: s.Index, TenantID: s.Directory.TenantID(), Admitter: c.admitter, Aliases: c.aliases, Locations: []string{Location, Location2}, Log: c.log})
	if err != nil {
		t.Fatal(err)
	}
	s.Pipeline = p
	if err := resources.EnsureSubscription(t.Context(), c.store, s.Directory.TenantID(), Subscription, "Test", time.Now()); err != nil {
		t.Fatal(err)
	}
}

// logger shows warnings and errors in the test's output.
func logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func (s *Server) listen(t testing.TB) {
	srv := httptest.NewUnstartedServer(frontdoor.New(frontdoor.Config{Pipeline: s.Pipeline, Verifier: s.verifier,
		SignIn: frontdoor.SignIn{Directory: s.Directory, Issuer: s.issuer}, Log: s.log,
		Mounts: map[string]http.Handler{graph.PathPrefix: graph.New(graph.Config{Directory: s.Directory, Index: s.Index, Log: s.log, Unauthorized: frontdoor.Unauthorized,
			Authenticate: func(r *http.Request) (identity.Principal, error) {
				return frontdoor.Authenticate(r, s.verifier.With(s.issuer.Graph()))
			}})}}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	s.URL, s.Certificate = srv.URL, srv.Certificate()
	owner, secret := s.principal(t, rbac.Owner, arm.Tenant)
	s.AppID, s.Secret, s.TenantID = owner.AppID, secret, owner.TenantID
	s.Client = provider.NewClient(s.Pipeline, owner)
	s.Credential = credential{s, owner}
	s.HTTP = &http.Client{Transport: bearer{s, owner, srv.Client().Transport}}
	s.Options = &azarm.ClientOptions{DisableRPRegistration: true, ClientOptions: policy.ClientOptions{
		Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: s.URL, Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Endpoint: s.URL, Audience: s.URL + "/"}}},
		Transport: srv.Client(), Retry: policy.RetryOptions{MaxRetries: -1},
	}}
}

func (s *Server) run(t testing.TB) {
	s.runner = controller.NewRunner(s.Store, s.log, s.Pipeline.Controllers())
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.runner.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("controllers: %v", err)
		}
		if n := s.Pipeline.Panics(); n > 0 {
			t.Errorf("%d requests ended in a panic", n)
		}
	})
}

func (s *Server) populate(t testing.TB) {
	if _, err := s.Client.Put(t.Context(), Group(), map[string]string{"location": Location}); err != nil {
		t.Fatalf("creating the group: %v", err)
	}
	s.Settle(t)
}

// Settle waits until no controller has anything to do now (requests to be called
// again later, and backoff, do not count).
func (s *Server) Settle(t testing.TB) {
	t.Helper()
	if s.runner == nil {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.runner.WaitIdle(ctx); err != nil {
		t.Fatalf("waiting for the controllers: %v", err)
	}
}

// Group is the id of the group that is there from the start.
func Group() arm.ID { return arm.ResourceGroupID(Subscription, ResourceGroup) }

// Do sends a request with the Owner's token; target is a path on the server or a whole
// URL (such as a link in an answer). The body may be a string, []byte, or anything that
// marshals; nil for none. It returns status, header and body.
func (s *Server) Do(t testing.TB, method, target string, body any) (int, http.Header, []byte) {
	t.Helper()
	return s.send(t, method, target, "", body)
}

// DoAs is Do with somebody else's token.
func (s *Server) DoAs(t testing.TB, token, method, target string, body any) (int, http.Header, []byte) {
	t.Helper()
	return s.send(t, method, target, token, body)
}

// DoWith is Do with one more header.
func (s *Server) DoWith(t testing.TB, method, target string, body any, header, value string) (int, http.Header, []byte) {
	t.Helper()
	return s.send(t, method, target, "", body, header, value)
}

func (s *Server) send(t testing.TB, method, target, token string, body any, header ...string) (int, http.Header, []byte) {
	t.Helper()
	raw, err := encode(body)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(target, "https://") {
		target = s.URL + target
	}
	r, err := http.NewRequestWithContext(t.Context(), method, target, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return s.roundTrip(t, r)
}

func (s *Server) roundTrip(t testing.TB, r *http.Request) (int, http.Header, []byte) {
	t.Helper()
	resp, err := s.HTTP.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, answer
}

func encode(body any) ([]byte, error) {
	switch b := body.(type) {
	case nil:
		return nil, nil
	case string:
		return []byte(b), nil
	case []byte:
		return b, nil
	}
	return json.Marshal(body)
}

// TokenFor is a token of a new principal with a built-in role ("Owner", "Reader", …; ""
// for none) at a scope.
func (s *Server) TokenFor(t testing.TB, role string, scope arm.ID) (string, identity.Principal) {
	t.Helper()
	p, _ := s.principal(t, role, scope)
	token, err := s.issuer.Issue(p, s.URL+"/adfs", s.URL+"/")
	if err != nil {
		t.Fatal(err)
	}
	return token, p
}

func (s *Server) principal(t testing.TB, role string, scope arm.ID) (identity.Principal, string) {
	t.Helper()
	sp, secret, err := s.Directory.Create(t.Context(), "test "+role, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s.Give(t, sp.ObjectID, role, scope)
	return sp.Identity(s.Directory.TenantID()), secret
}

// Issuer signs the server's tokens.
func (s *Server) Issuer() *identity.Issuer { return s.issuer }

// Give gives a built-in role at a scope; "" gives nothing.
func (s *Server) Give(t testing.TB, objectID, role string, scope arm.ID) {
	t.Helper()
	for _, b := range rbac.BuiltIns() {
		if b.Name != role {
			continue
		}
		err := s.Store.Update(t.Context(), func(tx store.Tx) error {
			return access.Give(tx, scope, b.ID, objectID, directory.KindServicePrincipal, identity.System.ObjectID, time.Now())
		})
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	if role != "" {
		t.Fatalf("there is no built-in role %q", role)
	}
}

// Issue is a token of a principal that the server's key signed at a time, for an
// audience, as the issuer of a tenant ("": the server's own).
func (s *Server) Issue(t testing.TB, p identity.Principal, audience, tenant string, at time.Time) string {
	t.Helper()
	if tenant == "" {
		tenant = s.TenantID
	}
	issuer, err := identity.OpenIssuer(s.keys, tenant, func() time.Time { return at })
	if err != nil {
		t.Fatal(err)
	}
	token, err := issuer.Issue(p, s.URL+"/adfs", audience)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

type credential struct {
	s *Server
	p identity.Principal
}

func (c credential) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	token, err := c.s.issuer.Issue(c.p, c.s.URL+"/adfs", c.s.URL+"/")
	return azcore.AccessToken{Token: token, ExpiresOn: time.Now().Add(time.Hour)}, err
}

type bearer struct {
	s    *Server
	p    identity.Principal
	next http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("Authorization") != "" {
		return b.next.RoundTrip(r)
	}
	token, err := b.s.issuer.Issue(b.p, b.s.URL+"/adfs", b.s.URL+"/")
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	return b.next.RoundTrip(r)
}

// Query adds an api-version to a path, and more parameters as pairs.
func Query(path, version string, more ...string) string {
	q := url.Values{"api-version": {version}}
	for i := 0; i+1 < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	return path + "?" + q.Encode()
}

// RunToRest runs the controllers of a server that was started without them until
// nothing is left to do, short backoffs included, as a process would that is started
// after another was killed.
func RunToRest(t testing.TB, s *Server) {
	t.Helper()
	s.run(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.runner.WaitRest(ctx); err != nil {
		t.Fatalf("waiting for the controllers: %v", err)
	}
}
