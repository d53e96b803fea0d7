package imagebuilder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/artifact"
	"hallmark.dev/hallmark/internal/build"
	"hallmark.dev/hallmark/internal/disk"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/mem"
)

const subscription = "00000000-0000-0000-0000-000000000001"

var (
	group      = arm.ResourceGroupID(subscription, "rg")
	definition = group.Resource("Microsoft.Compute/galleries", "golden").Child("images", "web-base")
	template   = group.Resource(TypeTemplate, "web-base")
)

// engines is the fake of everything that a run uses besides documents. What it keeps
// survives a "kill". A call can be made to fail, applied or not.
type engines struct {
	dir     string
	calls   []string
	plans   []build.Plan
	fault   func(call string) mem.Fault
	during  func(ctx context.Context, call string) error
	fetched map[string]string
}

var errEngine = errors.New("no space left on device")

func (e *engines) do(ctx context.Context, call string, apply func() error) error {
	e.calls = append(e.calls, call)
	if e.during != nil {
		if err := e.during(ctx, call); err != nil {
			return err
		}
	}
	fate := mem.None
	if e.fault != nil {
		fate = e.fault(call)
	}
	if fate == mem.FailNotApplied {
		return errEngine
	}
	err := errors.Join(ctx.Err(), apply())
	if fate == mem.FailApplied && err == nil {
		return errEngine
	}
	return err
}

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func (e *engines) Build(ctx context.Context, run string, plan build.Plan, sink func(build.Event)) (build.Result, error) {
	e.plans = append(e.plans, plan)
	const bytes = "the image"
	path := filepath.Join(e.dir, "image.qcow2")
	err := e.do(ctx, "build", func() error {
		for _, s := range plan.Steps {
			sink(build.Event{Run: run, Stage: build.StageCustomize, Step: s.Name, Kind: build.Started, Percent: 50})
		}
		return os.WriteFile(path, []byte(bytes), 0o600)
	})
	return build.Result{Run: run, Path: path, Digest: "sha256:" + sumOf(bytes)}, err
}

func (e *engines) source(ctx context.Context, call string, b Base) (Base, error) {
	b.Base = build.Base{Path: filepath.Join(e.dir, "base.qcow2"), Format: disk.QCOW2, Digest: "sha256:" + sumOf(call), Foreign: b.Foreign}
	return b, e.do(ctx, call, func() error { return nil })
}

func (e *engines) Platform(ctx context.Context, publisher, offer, sku, version string, progress func(string)) (Base, error) {
	progress("resolving")
	return e.source(ctx, "platform "+version, Base{Version: "12.20261101.0", SourceDigest: "sha256:" + sumOf("releases")})
}

func (e *engines) Fetched(ctx context.Context, u URL, progress func(string)) (Base, error) {
	return e.source(ctx, "fetch "+u.URI, Base{})
}

func (e *engines) Stored(ctx context.Context, location, digest string) (Base, error) {
	return e.source(ctx, "stored "+digest+" in "+location, Base{})
}

func (e *engines) Fetch(ctx context.Context, uri string, limit int64) ([]byte, error) {
	text, ok := e.fetched[uri]
	if !ok {
		return nil, errors.New("fetch " + uri + ": the server answered 404 Not Found")
	}
	return []byte(text), nil
}

func (e *engines) convert(ctx context.Context, from, to string) error {
	return e.do(ctx, "convert", func() error { return os.WriteFile(to, []byte("vhd"), 0o600) })
}

// world is a control plane without a runner: a test decides when Reconcile is called.
type world struct {
	*provider.Pipeline
	store     *mem.Store
	engines   *engines
	artifacts *artifact.Store
	logs      string
	now       func() time.Time
}

type everything struct{}

func (everything) Authorize(context.Context, identity.Principal, string, arm.ID) error { return nil }

func plain(t arm.Type) provider.ResourceType {
	r := provider.ResourceType{Type: t, APIVersions: apiVersions, Location: provider.LocationRequired, Tags: true}
	if _, child := t.Parent(); !child {
		r.Scopes = provider.AtResourceGroup
	}
	return r
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{store: mem.New(), engines: &engines{dir: dir, fetched: map[string]string{}}, logs: filepath.Join(dir, "logs"), now: time.Now}
	var err error
	if w.artifacts, err = artifact.Open(filepath.Join(dir, "artifacts"), "https://localhost:8443"); err != nil {
		t.Fatal(err)
	}
	w.start(t)
	w.must(t, "PUT", definition.Parent(), `{"location":"eastus"}`, 201)
	w.must(t, "PUT", definition, `{"location":"eastus"}`, 201)
	return w
}

// start makes a new process on what is durable.
func (w *world) start(t *testing.T) {
	t.Helper()
	builder := New(Config{Builder: w.engines, Sources: w.engines, Fetch: w.engines, Artifacts: w.artifacts, Logs: w.logs, Convert: w.engines.convert, EngineVersion: "1"})
	others := provider.Provider{Types: []provider.ResourceType{plain("Microsoft.Compute/galleries"), plain(typeDefinition), plain(typeVersion), plain(typeImage)}}
	var err error
	w.Pipeline, err = provider.New(provider.Config{Store: w.store, Providers: []provider.Provider{builder, others}, Authorizer: everything{}, Now: func() time.Time { return w.now() }})
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) do(method, path, body string) *provider.Response {
	path, query, _ := strings.Cut(path, "?")
	q, _ := url.ParseQuery(query)
	q.Set("api-version", "2024-02-01")
	return w.Do(context.Background(), &provider.Request{Method: method, Path: path, Query: q, Body: []byte(body), Principal: identity.Principal{ObjectID: "someone", Name: "someone"}})
}

func (w *world) must(t *testing.T, method string, id arm.ID, body string, status int) json.RawMessage {
	t.Helper()
	return w.mustPath(t, method, id.String(), body, status)
}

func (w *world) mustPath(t *testing.T, method, path, body string, status int) json.RawMessage {
	t.Helper()
	r := w.do(method, path, body)
	if r.Status != status {
		t.Fatalf("%s %s: %d %s, want %d", method, path, r.Status, r.Body, status)
	}
	return r.Body
}

func (w *world) reconcile() error {
	for _, c := range w.Controllers() {
		if c.Name == string(TypeTemplate) {
			_, err := c.Reconcile(context.Background(), template.Key())
			return err
		}
	}
	return errors.New("no controller")
}

func (w *world) settle(t *testing.T) {
	t.Helper()
	for range 20 {
		before, _ := store.Get(t.Context(), w.store, template.Key())
		err := w.reconcile()
		after, gone := store.Get(t.Context(), w.store, template.Key())
		if gone != nil || (err == nil && before.Revision == after.Revision) {
			return
		}
	}
	t.Fatalf("the template does not settle: %v", w.engines.calls)
}

func (w *world) document(t *testing.T, id arm.ID) *store.Document {
	t.Helper()
	d, err := store.Get(t.Context(), w.store, id.Key())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

const (
	shellStep = `{"type":"Shell","name":"install","inline":["apt-get install -y nginx"]}`
	platform  = `{"type":"PlatformImage","publisher":"Debian","offer":"debian-12","sku":"12-gen2","version":"latest"}`
)

var toGallery = `{"type":"SharedImage","runOutputName":"gallery","galleryImageId":"` + definition.String() + `","excludeFromLatest":true,"artifactTags":{"team":"web"},"targetRegions":[{"name":"eastus"},{"name":"westeurope","replicaCount":2,"storageAccountType":"Standard_ZRS"}]}`

func templateText(parts ...string) string {
	distribute := toGallery
	if len(parts) > 0 {
		distribute = parts[0]
	}
	extra := ""
	if len(parts) > 1 {
		extra = "," + parts[1]
	}
	return `{"location":"eastus","properties":{"source":` + platform + `,"customize":[` + shellStep + `],"distribute":[` + distribute + `]` + extra + `}}`
}

// create makes the template.
func (w *world) create(t *testing.T, text string) {
	t.Helper()
	w.must(t, "PUT", template, text, 201)
	w.settle(t)
}

// runIt runs the template to its end and returns its status.
func (w *world) runIt(t *testing.T, body string) runStatus {
	t.Helper()
	w.mustPath(t, "POST", template.String()+"/run", body, 202)
	w.settle(t)
	return w.status(t)
}

func (w *world) status(t *testing.T) (s runStatus) {
	t.Helper()
	raw, _ := arm.Get(w.must(t, "GET", template, "", 200), "properties.lastRunStatus")
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	return s
}
