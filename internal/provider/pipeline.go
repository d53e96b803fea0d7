package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/controller"
	"hallmark.dev/hallmark/internal/correlation"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/store"
)

// MaxBody is the longest request body, in bytes; Azure's own limit is 4 MB.
const MaxBody = 4 << 20

// Config is what a pipeline is made of.
type Config struct {
	Store      store.Store
	Providers  []Provider
	Authorizer Authorizer // required: without one nothing is allowed
	Admitter   Admitter   // nil admits everything
	TenantID   string     // of managed identities; "" makes none
	Locations  []string   // where resources may be; empty allows any
	// Aliases are a namespace's policy aliases ("": of all); nil: there are none.
	Aliases    func(namespace string) []Alias
	Log        *slog.Logger
	Now        func() time.Time // nil: time.Now
	RetryAfter int              // seconds between polls that clients are told; 0 leaves it to them
}

// Pipeline serves all registered types. It is safe for concurrent use.
type Pipeline struct {
	cfg    Config
	reg    *registry
	panics atomic.Int64

	refusals limiter
	listings sync.Map // scope → the providers with their aliases
}

// New checks the registrations and builds the pipeline. Start its Controllers on
// the same store.
func New(cfg Config) (*Pipeline, error) {
	if cfg.Store == nil || cfg.Authorizer == nil {
		return nil, fmt.Errorf("building the pipeline: it needs a store and an authorizer")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Log = slog.New(correlation.Handler(cfg.Log.Handler()))
	reg, err := newRegistry(cfg.Providers)
	if err != nil {
		return nil, fmt.Errorf("registering resource types: %w", err)
	}
	p := &Pipeline{cfg: cfg, reg: reg}
	return p, reg.addRoutes(append(p.operationRoutes(), p.exportRoute()))
}

// Panics is how many requests ended in a panic since the start: bugs, all of them.
func (p *Pipeline) Panics() int64 { return p.panics.Load() }

// Runtime is what background work may use.
func (p *Pipeline) Runtime() Runtime {
	return Runtime{Store: p.cfg.Store, Client: NewClient(p, identity.System), Now: p.now}
}

// now has millisecond steps in UTC, as documents keep it.
func (p *Pipeline) now() time.Time { return p.cfg.Now().UTC().Truncate(time.Millisecond) }

// Controllers is one for each type with a Reconcile, and those of the providers.
func (p *Pipeline) Controllers() []controller.Controller {
	var cs []controller.Controller
	for _, t := range p.reg.sorted() {
		if t.Reconcile != nil {
			cs = append(cs, p.controller(t))
		}
	}
	for _, pr := range p.cfg.Providers {
		if pr.Controllers != nil {
			cs = append(cs, pr.Controllers(p.Runtime())...)
		}
	}
	return cs
}

// Do implements Doer: authorise, find out what the path means, and run it. It
// never panics.
func (p *Pipeline) Do(ctx context.Context, r *Request) (resp *Response) {
	ctx, r = correlate(ctx, r)
	defer func() {
		if v := recover(); v != nil {
			p.panics.Add(1)
			p.cfg.Log.ErrorContext(ctx, "bug: panic in a request", "method", r.Method, "path", r.Path, "panic", v, "stack", string(debug.Stack()))
			resp = errorResponse(arm.AsError(fmt.Errorf("panic: %v", v)))
		}
	}()
	resp, err := p.dispatch(ctx, r)
	if err != nil {
		e := arm.AsError(err)
		if e.Status >= 500 {
			p.cfg.Log.ErrorContext(ctx, "request failed", "method", r.Method, "path", r.Path, "error", err, "cause", e.Cause)
		}
		return errorResponse(e)
	}
	if resp.Header == nil {
		resp.Header = http.Header{}
	}
	return resp
}

// correlate gives the requests that one request makes inside the same correlation id.
func correlate(ctx context.Context, r *Request) (context.Context, *Request) {
	if r.CorrelationID != "" {
		return correlation.With(ctx, r.CorrelationID), r
	}
	copied := *r
	copied.CorrelationID = correlation.ID(ctx)
	return ctx, &copied
}

func errorResponse(e *arm.Error) *Response {
	return &Response{Status: e.Status, Header: http.Header{}, Body: e.MarshalEnvelope()}
}

// call is one request inside the pipeline.
type call struct {
	p *Pipeline
	*Request
	path       arm.Path
	asked      arm.ID     // as the request names it; path.ID is where the document is
	rights     int64      // the revision that a write was authorised at
	tried      string     // the RBAC action of a write, delete or action
	query      url.Values // names in lower case
	apiVersion string
}

func (p *Pipeline) dispatch(ctx context.Context, r *Request) (*Response, error) {
	path, err := arm.ParsePath(r.Path)
	if err != nil {
		return nil, err
	}
	c := &call{p: p, Request: r, path: path, asked: path.ID, query: lowerNames(r.Query)}
	if len(r.Body) > MaxBody {
		return nil, arm.Errorf(413, arm.CodeRequestTooLarge, "The request body has %d bytes; at most %d are accepted.", len(r.Body), MaxBody).At("body")
	}
	if c.apiVersion, err = apiVersion(c.query); err != nil {
		return nil, err
	}
	resp, err := c.serve(ctx)
	if err != nil {
		c.refused(ctx, err)
	}
	return resp, err
}

func (c *call) serve(ctx context.Context) (*Response, error) {
	if handled, resp, err := c.routes(ctx); handled {
		return resp, err
	}
	if c.path.Tail == "" && c.path.Namespace == "" {
		return c.resource(ctx)
	}
	return c.tail(ctx)
}

func lowerNames(q url.Values) url.Values {
	out := url.Values{}
	for k, v := range q {
		out[strings.ToLower(k)] = v
	}
	return out
}

func apiVersion(q url.Values) (string, error) {
	v := q.Get("api-version")
	switch {
	case v == "":
		return "", arm.BadRequest(arm.CodeMissingAPIVersion, "api-version", "The api-version query parameter (?api-version=) is required for all requests.")
	case !arm.ValidAPIVersion(v):
		return "", arm.BadRequest(arm.CodeInvalidAPIVersion, "api-version", "The api-version %q is invalid. It must be a date such as 2024-03-01, optionally followed by -preview.", clip(v))
	}
	return v, nil
}

func clip(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}

func (c *call) routes(ctx context.Context) (bool, *Response, error) {
	seg := strings.Split(strings.Trim(c.Path, "/"), "/")
	for i := range c.p.reg.routes {
		rt := &c.p.reg.routes[i]
		if rt.Method != c.Method {
			continue
		}
		if vars, scope, ok := rt.match(seg); ok {
			resp, err := c.route(ctx, rt, vars, scope)
			return true, resp, err
		}
	}
	return false, nil, nil
}

func (c *call) route(ctx context.Context, rt *compiledRoute, vars map[string]string, scope arm.ID) (*Response, error) {
	if rt.Method != "GET" {
		c.tried, c.asked = rt.Permission, scope
	}
	if err := c.authorize(ctx, rt.Permission, scope); err != nil && !rt.Filtered {
		return nil, err
	}
	if err := c.p.scopeExists(ctx, scope); err != nil {
		return nil, err
	}
	if rt.Method != "GET" {
		if err := c.p.cfg.Store.View(ctx, func(tx store.ReadTx) error { return c.guard(tx, rt.Permission, scope) }); err != nil {
			return nil, err
		}
	}
	if len(c.Body) > 0 && !rt.RawBody {
		if err := arm.CheckJSON(c.Body); err != nil {
			return nil, err
		}
	}
	return rt.Handle(ctx, &Call{Request: c.Request, Vars: vars, Scope: scope, Client: c.client(), Runtime: c.p.Runtime(),
		Allowed: func(action string, scope arm.ID) bool { return c.authorize(ctx, action, scope) == nil },
		CanRead: func(t arm.Type, scope arm.ID) bool {
			return c.authorize(ctx, c.p.readOf(t, string(t)+"/read"), scope) == nil
		},
		Listed: c.p.lists, Retag: c.retagger()})
}

// retagger implements Call.Retag.
func (c *call) retagger() func(context.Context, arm.ID, map[string]any) error {
	return func(ctx context.Context, id arm.ID, tags map[string]any) error {
		t, err := c.p.reg.find(id.Type(), c.apiVersion)
		if err != nil {
			return err
		}
		if !t.Tags {
			return arm.BadRequest("TagsNotSupportedForResourceType", id.String(), "The resource type '%s' does not have tags.", t.Type)
		}
		body, err := json.Marshal(map[string]any{"tags": tags})
		if err != nil {
			return err
		}
		resp := c.p.Do(ctx, &Request{Method: http.MethodPatch, Path: id.String(), Query: url.Values{"api-version": {c.apiVersion}}, Body: body,
			Principal: c.Principal, CorrelationID: c.CorrelationID, BaseURL: c.BaseURL, retag: true})
		if resp.Status >= 400 {
			return parseError(resp)
		}
		return nil
	}
}

func (c *call) client() Client { return NewClient(c.p, c.Principal) }

// authorize asks the Authorizer; the control plane itself may do everything.
func (c *call) authorize(ctx context.Context, action string, scope arm.ID) error {
	if c.Principal == identity.System {
		return nil
	}
	return c.p.cfg.Authorizer.Authorize(ctx, c.Principal, action, scope)
}

// guard asks the guards of everything but reading.
func (c *call) guard(tx store.ReadTx, action string, id arm.ID) error {
	if c.Principal == identity.System || strings.HasSuffix(action, "/read") {
		return nil
	}
	for _, g := range c.p.reg.guards {
		if err := g(tx, action, id); err != nil {
			return err
		}
	}
	return nil
}

// locate finds where the document of the request is kept.
func (c *call) locate(t *ResourceType) {
	if t.Home != nil {
		c.path.ID = t.Home(c.path.ID)
	}
}

// resource serves a path that ends in a name.
func (c *call) resource(ctx context.Context) (*Response, error) {
	if name := c.path.ID.Type().Path(); strings.EqualFold(name, "locations/operationStatuses") || strings.EqualFold(name, "locations/operationResults") {
		return c.operation(ctx)
	}
	t, err := c.p.reg.find(c.path.ID.Type(), c.apiVersion)
	if err != nil {
		return nil, err
	}
	if err := t.checkID(c.path.ID); err != nil {
		return nil, err
	}
	c.locate(t)
	switch c.Method {
	case "GET", "HEAD":
		return c.get(ctx, t)
	case "PUT":
		if c.Check {
			return c.check(ctx, t)
		}
		if !t.NoPut {
			return c.write(ctx, t)
		}
	case "PATCH":
		if !t.NoPatch || c.retag && t.Tags {
			return c.write(ctx, t)
		}
	case "DELETE":
		if !t.NoDelete {
			return c.delete(ctx, t)
		}
	}
	return nil, c.notAllowed()
}

func (c *call) notAllowed() error {
	return arm.Errorf(405, arm.CodeMethodNotAllowed, "The method %s is not possible on '%s'.", c.Method, c.path.ID.Type()).At(c.Path)
}

// checkID refuses scopes that the type cannot be at.
func (t *ResourceType) checkID(id arm.ID) error {
	if _, child := t.Type.Parent(); !child && !t.allows(id.Scope()) {
		return arm.Errorf(404, arm.CodeInvalidResourceType, "The resource type '%s' does not exist at a %s.", t.Type, id.Scope().Kind()).At(id.String())
	}
	return nil
}

// checkName is asked of new resources; on others any case of the name will do.
func (t *ResourceType) checkName(id arm.ID) error {
	if t.Name != nil && !t.Name.MatchString(id.Name()) {
		return arm.BadRequest(arm.CodeInvalidResourceName, id.String(), "The name '%s' of the %s is not allowed: %s.", id.Name(), t.Type.Name(), t.nameHint())
	}
	return nil
}

func (t *ResourceType) nameHint() string {
	if t.NameHint != "" {
		return "use " + t.NameHint
	}
	return "it must match " + t.Name.String()
}

// tail serves collections, actions and the providers listing.
func (c *call) tail(ctx context.Context) (*Response, error) {
	id, tail := c.path.ID, c.path.Tail
	switch {
	case c.path.Namespace != "" && tail == "", strings.EqualFold(tail, "providers"):
		return c.providers(ctx)
	case c.path.Namespace != "" && strings.EqualFold(tail, "register"), c.path.Namespace != "" && strings.EqualFold(tail, "unregister"):
		return c.register(ctx)
	case c.path.Namespace != "":
		return c.collection(ctx, arm.Type(c.path.Namespace+"/"+tail))
	case id.IsRoot() && strings.EqualFold(tail, "subscriptions"):
		return c.collection(ctx, arm.TypeSubscription)
	case id.Subscription() != "" && id.Kind() != arm.KindResource && strings.EqualFold(tail, "resources"):
		return c.resources(ctx)
	case id.Kind() == arm.KindSubscription && strings.EqualFold(tail, "resourceGroups"):
		return c.collection(ctx, arm.TypeResourceGroup)
	case c.Method == "GET" && c.p.reg.types[id.Type().Child(tail).Key()] != nil:
		return c.collection(ctx, id.Type().Child(tail))
	}
	return c.action(ctx)
}
