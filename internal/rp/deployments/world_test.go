package deployments_test

import (
	"context"
	"encoding/json"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/deployments"
	"hallmark.dev/hallmark/internal/rp/network"
	"hallmark.dev/hallmark/internal/secret"
)

// toys is a provider of things: one kind that is there at once, one that takes time
// and may fail.
type toys struct {
	mu      sync.Mutex
	order   []string // names in the order of their writes
	release chan struct{}
}

func (y *toys) note(name string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.order = append(y.order, name)
}

func (y *toys) written() []string {
	y.mu.Lock()
	defer y.mu.Unlock()
	return append([]string(nil), y.order...)
}

func (y *toys) provider() provider.Provider {
	validate := func(w *provider.Write) []*arm.Error {
		y.note(w.ID.Name())
		if msg := arm.GetString(w.Doc.Body, "properties.refuse"); msg != "" {
			return []*arm.Error{arm.BadRequest("BadToy", "properties.refuse", "%s", msg)}
		}
		return nil
	}
	kind := func(name string) provider.ResourceType {
		return provider.ResourceType{Type: arm.Type("Test.Toys/" + name), Scopes: provider.AtResourceGroup | provider.AtSubscription | provider.AtResource, APIVersions: []string{"2024-01-01"},
			Location: provider.LocationOptional, Tags: true, Validate: validate,
			Actions: []provider.Action{{Name: "listKeys", Apply: func(_ context.Context, w *provider.Write) (any, error) {
				return map[string]string{"key": "key of " + w.ID.Name()}, nil
			}}}}
	}
	slow := kind("slow")
	slow.Reconcile = func(ctx context.Context, w *provider.Work) (time.Duration, error) {
		switch {
		case w.Doc.Deleting:
			return 0, w.Remove(ctx)
		case w.Doc.State().Terminal():
			return 0, nil
		}
		if y.release != nil {
			select {
			case <-y.release:
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		return 0, w.Update(ctx, func(d *provider.Draft) {
			if why := arm.GetString(d.Doc.Body, "properties.fail"); why != "" {
				d.Fail(arm.Errorf(0, "ToyBroke", "%s", why))
				return
			}
			d.Succeed()
		})
	}
	return provider.Provider{Types: []provider.ResourceType{kind("things"), slow, {Type: "Test.Toys/things/parts", APIVersions: []string{"2024-01-01"}, Validate: validate}}}
}

// sealer is a key of the test.
func sealer(t testing.TB) *secret.Key {
	t.Helper()
	key, err := secret.Open(t.TempDir() + "/key")
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func start(t testing.TB, y *toys, options ...providertest.Option) *providertest.Server {
	t.Helper()
	return providertest.Start(t, append([]providertest.Option{providertest.With(
		deployments.New(deployments.Config{Sealer: sealer(t), TenantID: "tenant", URL: "https://hallmark.test"}), y.provider(),
		network.New(network.Config{Prefix: netip.MustParsePrefix("10.99.0.0/24")}))}, options...)...)
}

const schema = `"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#","contentVersion":"1.0.0.0"`

func tpl(rest string) string { return "{" + schema + "," + rest + "}" }

func body(template, parameters string) string {
	if parameters == "" {
		parameters = "{}"
	}
	return `{"properties":{"mode":"Incremental","parameters":` + parameters + `,"template":` + template + `}}`
}

func deploymentID(name string) arm.ID { return providertest.Group().Resource(deployments.Type, name) }

func thing(name string) arm.ID { return providertest.Group().Resource("Test.Toys/things", name) }

func path(id arm.ID) string { return providertest.Query(id.String(), "2021-04-01") }

// deploy puts a deployment and waits for its end.
func deploy(t testing.TB, s *providertest.Server, name, body string) (state string, doc map[string]any) {
	t.Helper()
	status, _, answer := s.Do(t, "PUT", path(deploymentID(name)), body)
	if status != 201 && status != 200 {
		t.Fatalf("PUT answered %d: %s", status, answer)
	}
	return ended(t, s, name)
}

func ended(t testing.TB, s *providertest.Server, name string) (state string, doc map[string]any) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		status, _, answer := s.Do(t, "GET", path(deploymentID(name)), nil)
		if status != 200 {
			t.Fatalf("GET answered %d: %s", status, answer)
		}
		if err := json.Unmarshal(answer, &doc); err != nil {
			t.Fatal(err)
		}
		if state = at(doc, "properties.provisioningState").(string); arm.ProvisioningState(state).Terminal() {
			return state, doc
		}
	}
	t.Fatalf("the deployment %s does not end: %v", name, doc)
	return "", nil
}

// at is the value at a dotted path, nil if there is none.
func at(v any, path string) any {
	for key := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[key]
		case []any:
			n := int(key[0] - '0')
			if n >= len(x) {
				return nil
			}
			v = x[n]
		default:
			return nil
		}
	}
	return v
}
