// Package metadata is the service at 169.254.169.254 that machines ask for tokens of
// their managed identities, shaped as Azure's instance metadata service is.
//
// The proof of who asks is the address that a request comes from: the network lets a
// machine send from its own address only, and lets nobody but machines in (package
// network). It listens for machines alone and answers nothing but tokens. cmd starts
// it; docs/security.md says what it protects from whom.
package metadata

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"hallmark.dev/hallmark/internal/directory"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/store"
)

// Config is what tokens are made of.
type Config struct {
	Store     store.Store
	Directory *directory.Directory
	Issuer    Issuer
	URL       string // of this server
	Log       *slog.Logger
	Now       func() time.Time // nil: time.Now
}

// Issuer signs tokens; *identity.Issuer does.
type Issuer interface {
	Issue(p identity.Principal, issuer, audience string) (string, error)
}

type service struct {
	Config
	limit limiter
}

// New is the handler. It may be served to machines only.
func New(cfg Config) http.Handler {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &service{Config: cfg, limit: limiter{now: cfg.Now, left: map[netip.Addr]*bucket{}}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metadata/identity/oauth2/token", s.token)
	// The form of MSI_ENDPOINT, which Azure's cloud shell has: the same question.
	mux.HandleFunc("/msi/token", s.token)
	return mux
}

// failure is an answer that says no.
type failure struct {
	status        int
	code, message string
}

func (f *failure) Error() string { return f.code + ": " + f.message }

func (s *service) token(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	answer, err := s.answer(w, r)
	var no *failure
	switch {
	case errors.As(err, &no):
		s.Log.Warn("token refused to a machine", "remote", r.RemoteAddr, "reason", no.Error())
		write(w, no.status, map[string]string{"error": no.code, "error_description": no.message})
	case err != nil:
		s.Log.Error("token for a machine", "remote", r.RemoteAddr, "error", err)
		write(w, http.StatusInternalServerError, map[string]string{"error": "server_error", "error_description": "The token could not be made; the server's log says why."})
	default:
		write(w, http.StatusOK, answer)
	}
}

func write(w http.ResponseWriter, status int, v map[string]string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the machine went away: nobody to tell
}

func (s *service) answer(w http.ResponseWriter, r *http.Request) (map[string]string, error) {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	if err := r.ParseForm(); err != nil {
		return nil, &failure{http.StatusBadRequest, "invalid_request", "The request is malformed."}
	}
	// Something in the machine that fetches URLs for others sets no such header, and a
	// proxy sets the other one.
	if !strings.EqualFold(r.Header.Get("Metadata"), "true") || r.Header.Get("X-Forwarded-For") != "" {
		return nil, &failure{http.StatusBadRequest, "bad_request_102", "Required metadata header not specified: send Metadata: true, and no X-Forwarded-For."}
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return nil, err
	}
	if !s.limit.take(from.Addr().Unmap()) {
		w.Header().Set("Retry-After", "1")
		return nil, &failure{http.StatusTooManyRequests, "too_many_requests", "Too many requests: keep the token, it lives for an hour."}
	}
	if !s.serves(r.Form.Get("resource")) {
		return nil, &failure{http.StatusBadRequest, "invalid_resource", "AADSTS500011: The resource principal named " + clip(r.Form.Get("resource")) + " was not found: ask for " + s.URL + "/."}
	}
	p, err := s.principal(r.Context(), from.Addr().Unmap(), r.Form)
	if err != nil {
		return nil, err
	}
	return s.issue(p, r.Form.Get("resource"))
}

func (s *service) issue(p identity.Principal, resource string) (map[string]string, error) {
	token, err := s.Issuer.Issue(p, s.URL+"/adfs", resource)
	if err != nil {
		return nil, err
	}
	now := s.Now()
	seconds := strconv.Itoa(int(identity.Lifetime.Seconds()) - 1)
	return map[string]string{"access_token": token, "client_id": p.AppID, "expires_in": seconds, "ext_expires_in": seconds,
		"expires_on": strconv.FormatInt(now.Add(identity.Lifetime).Unix(), 10), "not_before": strconv.FormatInt(now.Unix(), 10),
		"resource": resource, "token_type": "Bearer"}, nil
}

// serves reports whether a token for a resource is one for us: this server under its
// own name, or under those that clients ask for unless they are told otherwise.
func (s *service) serves(resource string) bool {
	u, err := url.Parse(resource)
	if err != nil || u.Scheme != "https" {
		return false
	}
	own, _ := url.Parse(s.URL)
	path := strings.Trim(u.Path, "/")
	switch u.Host {
	case own.Host:
		return path == "" || path == "graph"
	case "management.azure.com", "management.core.windows.net":
		return path == ""
	}
	return false
}

func clip(s string) string {
	if len(s) > 100 {
		return strings.ToValidUTF8(s[:100], "") + "…"
	}
	return s
}

// limiter lets each address ask ten times at once and once a second after that: to
// find out who an address is costs more than to ask.
type limiter struct {
	now  func() time.Time
	mu   sync.Mutex
	left map[netip.Addr]*bucket
}

type bucket struct {
	left int
	at   time.Time
}

const burst = 10

func (l *limiter) take(a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.left[a]
	if b == nil {
		b = &bucket{left: burst, at: l.now()}
		l.left[a] = b // as many as there are addresses on the bridge
	}
	if more := int(l.now().Sub(b.at) / time.Second); more > 0 {
		b.left, b.at = min(b.left+more, burst), b.at.Add(time.Duration(more)*time.Second)
	}
	if b.left == 0 {
		return false
	}
	b.left--
	return true
}

// Serve answers machines on a listener until ctx ends.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{Handler: h, MaxHeaderBytes: 16 << 10, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	err := srv.Serve(netutil.LimitListener(l, maxConnections))
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("serving machines on %s: %w", l.Addr(), err)
}

const maxConnections = 256
