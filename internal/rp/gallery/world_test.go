package gallery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/artifact"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/mem"
)

const subscription = "00000000-0000-0000-0000-000000000001"

var (
	group      = arm.ResourceGroupID(subscription, "rg")
	galleryID  = group.Resource(TypeGallery, "golden")
	definition = galleryID.Child("images", "web-base")
)

func versionID(v string) arm.ID { return definition.Child("versions", v) }

// engines is the fake of Bytes and Regions: what it keeps survives a "kill" of
// the provider. A call can be made to fail without having been applied, or
// although it was.
type engines struct {
	stored   map[string]bool            // digests
	replicas map[string]map[string]bool // location, digest
	calls    []string
	fault    func(call string) mem.Fault
	during   func(call string) // runs while the call is under way
}

var errEngine = errors.New("no space left on device")

func newEngines() *engines {
	return &engines{stored: map[string]bool{}, replicas: map[string]map[string]bool{"eastus": {}, "westeurope": {}}}
}

// do runs one call with the fault that is wanted for it.
func (e *engines) do(ctx context.Context, call string, apply func() error) error {
	e.calls = append(e.calls, call)
	if e.during != nil {
		e.during(call)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	fate := mem.None
	if e.fault != nil {
		fate = e.fault(call)
	}
	if fate == mem.FailNotApplied {
		return errEngine
	}
	err := apply()
	if fate == mem.FailApplied && err == nil {
		return errEngine
	}
	return err
}

func digestOf(text string) string {
	return fmt.Sprintf("sha256:%064x", []byte(text)[:min(8, len(text))])
}

func (e *engines) Ingest(ctx context.Context, location, file string, recorded func(context.Context, Image) error, report func(int)) error {
	return e.do(ctx, "ingest in "+location, func() error {
		raw, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		report(50)
		digest := digestOf(string(raw))
		e.stored[digest] = true
		return recorded(ctx, Image{Digest: digest, VirtualSize: 1 << 30, DataBytes: int64(len(raw)), BytesNew: int64(len(raw)), ChunksNew: 1})
	})
}

func (e *engines) Stat(_ context.Context, digest string) (Image, error) {
	if !e.stored[digest] {
		return Image{}, errors.New("no region has the image")
	}
	return Image{Digest: digest, VirtualSize: 1 << 30}, nil
}

func (e *engines) Export(ctx context.Context, location, digest, format, file string) error {
	return e.do(ctx, "export "+format, func() error { return os.WriteFile(file, []byte(format+digest), 0o600) })
}

func (e *engines) Ready(_ context.Context, location, digest string) (bool, error) {
	return e.replicas[location][digest], nil
}

func (e *engines) Replicate(ctx context.Context, location, digest string, report func(int)) (int64, error) {
	return 7, e.do(ctx, "replicate to "+location, func() error {
		if !e.stored[digest] {
			return errors.New("no region has the image")
		}
		report(40)
		report(90)
		e.replicas[location][digest] = true
		return nil
	})
}

func (e *engines) Remove(ctx context.Context, location, digest string, users func(context.Context) ([]string, error)) error {
	return e.do(ctx, "remove from "+location, func() error {
		in, err := users(ctx)
		if err == nil && len(in) > 0 {
			err = fmt.Errorf("%w by %s", ErrInUse, strings.Join(in, ", "))
		}
		if err != nil {
			return err
		}
		delete(e.replicas[location], digest)
		return nil
	})
}

// world is a control plane without a runner: a test decides when Reconcile is called.
type world struct {
	*provider.Pipeline
	store     *mem.Store
	engines   *engines
	artifacts *artifact.Store
	now       time.Time
}

type everything struct{}

func (everything) Authorize(context.Context, identity.Principal, string, arm.ID) error { return nil }

func plain(t arm.Type) provider.ResourceType {
	return provider.ResourceType{Type: t, Scopes: provider.AtResourceGroup, APIVersions: apiVersions, Location: provider.LocationRequired}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{store: mem.New(), engines: newEngines(), now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	var err error
	if w.artifacts, err = artifact.Open(filepath.Join(t.TempDir(), "artifacts"), "https://localhost:8443"); err != nil {
		t.Fatal(err)
	}
	w.start(t)
	w.must(t, "PUT", galleryID, `{"location":"eastus","properties":{}}`, 201)
	w.must(t, "PUT", definition, definitionText, 201)
	return w
}

const definitionText = `{"location":"eastus","properties":{"osType":"Linux","osState":"Generalized","hyperVGeneration":"V2","identifier":{"publisher":"p","offer":"o","sku":"s"}}}`

// start makes a new process on what is durable.
func (w *world) start(t *testing.T) {
	t.Helper()
	w.startWith(t, w.engines, w.engines)
}

func (w *world) startWith(t *testing.T, bytes Bytes, regions Regions) {
	t.Helper()
	gallery := New(Config{Bytes: bytes, Regions: regions, Artifacts: w.artifacts, Locations: []string{"eastus", "westeurope"}})
	others := provider.Provider{Types: []provider.ResourceType{plain(typeVM), plain(typeScaleSet), plain(typeDisk), plain(typeSnapshot), plain(typeImage)}}
	var err error
	w.Pipeline, err = provider.New(provider.Config{Store: w.store, Providers: []provider.Provider{gallery, others}, Authorizer: everything{}, Now: func() time.Time { return w.now }})
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) do(method string, id arm.ID, body string) *provider.Response {
	path, query, _ := strings.Cut(id.String(), "?")
	return w.doPath(method, path, query, body)
}

func (w *world) doPath(method, path, query, body string) *provider.Response {
	q, _ := url.ParseQuery(query)
	q.Set("api-version", "2024-03-03")
	return w.Do(context.Background(), &provider.Request{Method: method, Path: path, Query: q, Body: []byte(body), Principal: identity.Principal{ObjectID: "someone", Name: "someone"}})
}

func (w *world) must(t *testing.T, method string, id arm.ID, body string, status int) json.RawMessage {
	t.Helper()
	r := w.do(method, id, body)
	if r.Status != status {
		t.Fatalf("%s %s: %d %s, want %d", method, id.Name(), r.Status, r.Body, status)
	}
	return r.Body
}

// reconcile calls Reconcile of the version once.
func (w *world) reconcile(id arm.ID) error {
	for _, c := range w.Controllers() {
		if c.Name == string(TypeVersion) {
			_, err := c.Reconcile(context.Background(), id.Key())
			return err
		}
	}
	return errors.New("no controller")
}

// settle calls Reconcile until nothing changes any more.
func (w *world) settle(t *testing.T, id arm.ID) {
	t.Helper()
	for range 20 {
		before, _ := store.Get(t.Context(), w.store, id.Key())
		err := w.reconcile(id)
		after, gone := store.Get(t.Context(), w.store, id.Key())
		if gone != nil || (err == nil && before.Revision == after.Revision) {
			return
		}
	}
	t.Fatalf("%s does not settle: %v", id.Name(), w.engines.calls)
}

func (w *world) get(t *testing.T, id arm.ID, query string) json.RawMessage {
	t.Helper()
	r := w.doPath("GET", id.String(), query, "")
	if r.Status != 200 {
		t.Fatalf("GET %s: %d %s", id.Name(), r.Status, r.Body)
	}
	return r.Body
}

// blob puts a file and returns its URI.
func (w *world) blob(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := w.artifacts.Put(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return w.artifacts.URI(f.Digest)
}

// versionText is a version from a blob in these regions.
func versionText(uri string, regions ...string) string {
	var targets []string
	for _, r := range regions {
		targets = append(targets, fmt.Sprintf(`{"name":%q}`, r))
	}
	return fmt.Sprintf(`{"location":"eastus","properties":{"publishingProfile":{"targetRegions":[%s]},"storageProfile":{"osDiskImage":{"source":{"uri":%q}}}}}`, strings.Join(targets, ","), uri)
}

// publish makes a version and waits for it.
func (w *world) publish(t *testing.T, v string, regions ...string) arm.ID {
	t.Helper()
	id := versionID(v)
	w.must(t, "PUT", id, versionText(w.blob(t, v), regions...), 201)
	w.settle(t, id)
	if st := arm.GetString(w.get(t, id, ""), "properties.provisioningState"); st != "Succeeded" {
		t.Fatalf("%s is %s: %s", v, st, w.get(t, id, "$expand=ReplicationStatus"))
	}
	return id
}

func (w *world) replicas(location string) []string {
	var all []string
	for d := range w.engines.replicas[location] {
		all = append(all, d)
	}
	slices.Sort(all)
	return all
}
