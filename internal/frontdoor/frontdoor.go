// Package frontdoor is the HTTPS face of the control plane: TLS with a local
// certificate authority, sign-in endpoints, authentication, correlation ids, limits,
// health, metrics and logs. What a request means is decided behind it, by
// internal/provider.
//
// It knows no resource type. Only cmd imports it.
package frontdoor

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/correlation"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/provider"
)

// Config is what the front door opens to.
type Config struct {
	Pipeline provider.Doer
	Verifier identity.Verifier
	SignIn   SignIn
	Log      *slog.Logger // one line a request; nil discards
	// Health is asked by /healthz, which needs no token; nil is always healthy.
	Health func(ctx context.Context) error
	// Metrics is served at /metrics to those who send MetricsToken as a bearer
	// token; nil, or an empty token, serves nothing there.
	Metrics      *prometheus.Registry
	MetricsToken string
	// Mounts serve further paths that start with the key ("/graph/", "/ui/"). They
	// authenticate by themselves; Authenticate helps.
	Mounts map[string]http.Handler
}

type door struct {
	Config
	shares  shares
	metrics metrics
}

// New is the handler of everything.
func New(cfg Config) http.Handler {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Log = slog.New(correlation.Handler(cfg.Log.Handler()))
	d := &door{Config: cfg, shares: shares{of: map[string]*share{}}, metrics: newMetrics(cfg.Metrics)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", d.health)
	if cfg.Metrics != nil && cfg.MetricsToken != "" {
		mux.Handle("GET /metrics", d.guarded(promhttp.HandlerFor(cfg.Metrics, promhttp.HandlerOpts{})))
	}
	cfg.SignIn.register(mux)
	for prefix, h := range cfg.Mounts {
		mux.Handle(prefix, h)
	}
	return d.observe(d.route(mux))
}

// route sends what the mux knows to the mux and everything else to the pipeline;
// a ServeMux by itself would redirect paths with "//". What lies in a subscription is
// a resource, which it need not be asked about.
func (d *door) route(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/subscriptions/") {
			d.arm(w, r)
			return
		}
		if path.Clean(r.URL.Path) == strings.TrimSuffix(r.URL.Path, "/") {
			if _, pattern := mux.Handler(r); pattern != "" {
				mux.ServeHTTP(w, r)
				return
			}
		}
		d.arm(w, r)
	})
}

// info is what a request's log line gathers on the way.
type info struct {
	correlationID, requestID string
	principal                identity.Principal
}

type infoKey struct{}

var safeID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// observe gives every request its ids, its log line and its metrics, and turns a
// panic into a 500.
func (d *door) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		in := &info{requestID: newID(), correlationID: r.Header.Get("X-Ms-Correlation-Request-Id")}
		if !safeID.MatchString(in.correlationID) {
			in.correlationID = in.requestID
		}
		h := w.Header()
		h.Set("X-Ms-Request-Id", in.requestID)
		h.Set("X-Ms-Correlation-Request-Id", in.correlationID)
		if id := r.Header.Get("X-Ms-Client-Request-Id"); safeID.MatchString(id) {
			h.Set("X-Ms-Client-Request-Id", id)
		}
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		rec := &recorder{ResponseWriter: w}
		ctx := correlation.With(context.WithValue(r.Context(), infoKey{}, in), in.correlationID)
		defer func() {
			if p := recover(); p != nil {
				d.panicked(ctx, rec, p)
			}
			d.done(ctx, r, rec, in, time.Since(start))
		}()
		next.ServeHTTP(rec, r.WithContext(ctx))
	})
}

func (d *door) panicked(ctx context.Context, w *recorder, p any) {
	d.metrics.panics.Inc()
	d.Log.ErrorContext(ctx, "bug: panic in the front door", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	if w.status == 0 {
		writeError(w, arm.AsError(errors.New("panic")))
	}
}

func (d *door) done(ctx context.Context, r *http.Request, w *recorder, in *info, took time.Duration) {
	d.metrics.observe(r.Method, w.status, took)
	d.Log.LogAttrs(ctx, slog.LevelInfo, "request", slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", w.status),
		slog.Int64("ms", took.Milliseconds()), slog.Int("bytes", w.bytes), slog.String("principal", in.principal.ObjectID),
		slog.String("requestId", in.requestID), slog.String("client", r.UserAgent()))
}

// recorder remembers what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int
}

func (r *recorder) WriteHeader(code int) {
	if r.status == 0 {
		r.status = code
	}
	r.ResponseWriter.WriteHeader(code)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += n
	return n, err
}

// Unwrap lets http.ResponseController reach the connection (streams, deadlines).
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	var text [36]byte
	hex.Encode(text[:], b[:4])
	hex.Encode(text[9:], b[4:6])
	hex.Encode(text[14:], b[6:8])
	hex.Encode(text[19:], b[8:10])
	hex.Encode(text[24:], b[10:])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text[:])
}

// arm authenticates a request and hands it to the pipeline.
func (d *door) arm(w http.ResponseWriter, r *http.Request) {
	p, err := Authenticate(r, d.Verifier)
	if err != nil {
		d.Log.WarnContext(r.Context(), "authentication failed", "path", r.URL.Path, "remote", r.RemoteAddr, "error", err)
		Unauthorized(w, r, err)
		return
	}
	in, _ := r.Context().Value(infoKey{}).(*info)
	in.principal = p
	v, err := d.shares.enter(p.ObjectID)
	if err != nil {
		writeError(w, arm.AsError(err))
		return
	}
	defer v.leave()
	req, err := readRequest(w, r, v, p, in)
	if err != nil {
		writeError(w, arm.AsError(err))
		return
	}
	resp := d.Pipeline.Do(r.Context(), req)
	writeResponse(w, resp)
}

// Authenticate is the principal of a request's bearer token.
func Authenticate(r *http.Request, v identity.Verifier) (identity.Principal, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return identity.Principal{}, fmt.Errorf("%w: there is no bearer token", identity.ErrUnauthenticated)
	}
	return v.Verify(r.Context(), strings.TrimSpace(token))
}

// Unauthorized answers a request that failed to authenticate.
func Unauthorized(w http.ResponseWriter, r *http.Request, err error) {
	e := arm.Errorf(401, arm.CodeAuthenticationFailed, "Authentication failed. The 'Authorization' header is missing, or is no bearer token: sign in.")
	var reason *identity.TokenError
	if errors.As(err, &reason) {
		e = arm.Errorf(401, reason.Code, "%s", reason.Message)
	}
	// The description has no quotes of its own: they would end it.
	w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer authorization_uri="%s/adfs", error="invalid_token", error_description="%s"`, baseURL(r), strings.ReplaceAll(e.Message, `"`, "'")))
	writeError(w, e)
}

func readRequest(w http.ResponseWriter, r *http.Request, v *visit, p identity.Principal, in *info) (*provider.Request, error) {
	target, err := decodePath(r.URL)
	if err != nil {
		return nil, err
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, arm.BadRequest(arm.CodeInvalidParameter, "query", "The query string is malformed.").Because(err)
	}
	body, err := readBody(w, r, v)
	if err != nil {
		return nil, err
	}
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")) // PowerShell's byte order mark
	return &provider.Request{Method: r.Method, Path: target, Query: query, Header: r.Header, Body: body, Principal: p,
		CorrelationID: in.correlationID, BaseURL: baseURL(r)}, nil
}

// decodePath undoes the escapes of a path, once, and drops empty segments. SDKs escape
// the slashes of a scope that is a parameter, and Azure reads them as slashes; names
// cannot have any, so there is one way only to read a path.
func decodePath(u *url.URL) (string, error) {
	decoded, err := url.PathUnescape(u.EscapedPath())
	if err != nil {
		return "", arm.BadRequest(arm.CodeInvalidResourceID, "path", "The path has a malformed escape.").Because(err)
	}
	segments := strings.FieldsFunc(decoded, func(r rune) bool { return r == '/' })
	return "/" + strings.Join(segments, "/"), nil
}

// baseURL is how the client reached us: links in answers must work for it, whether it
// came by name or by address.
func baseURL(r *http.Request) string { return "https://" + r.Host }

func writeResponse(w http.ResponseWriter, resp *provider.Response) {
	for k, v := range resp.Header {
		w.Header()[k] = v
	}
	if len(resp.Body) > 0 {
		if w.Header().Get("Content-Type") == "" {
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(resp.Body)))
	}
	w.WriteHeader(resp.Status)
	_, _ = w.Write(resp.Body) // the client went away: nobody to tell
}

func writeError(w http.ResponseWriter, e *arm.Error) {
	h := http.Header{}
	if e.Status == http.StatusTooManyRequests {
		h.Set("Retry-After", "1")
	}
	writeResponse(w, &provider.Response{Status: e.Status, Header: h, Body: e.MarshalEnvelope()})
}

func (d *door) health(w http.ResponseWriter, r *http.Request) {
	if d.Health != nil {
		if err := d.Health(r.Context()); err != nil {
			d.Log.ErrorContext(r.Context(), "not healthy", "error", err)
			http.Error(w, "not healthy", http.StatusServiceUnavailable)
			return
		}
	}
	_, _ = io.WriteString(w, "ok\n")
}

func (d *door) guarded(next http.Handler) http.Handler {
	want := []byte("Bearer " + d.MetricsToken)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1 {
			http.Error(w, "send the metrics token as a bearer token", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}
