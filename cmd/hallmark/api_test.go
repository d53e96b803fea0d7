package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"go/parser"
	"go/token"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/policy/alias"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/authorization"
	"hallmark.dev/hallmark/internal/rp/compute"
	"hallmark.dev/hallmark/internal/rp/control"
	"hallmark.dev/hallmark/internal/rp/deployments"
	"hallmark.dev/hallmark/internal/rp/gallery"
	"hallmark.dev/hallmark/internal/rp/imagebuilder"
	"hallmark.dev/hallmark/internal/rp/images"
	"hallmark.dev/hallmark/internal/rp/insights"
	"hallmark.dev/hallmark/internal/rp/locks"
	"hallmark.dev/hallmark/internal/rp/managedidentity"
	"hallmark.dev/hallmark/internal/rp/managementgroups"
	"hallmark.dev/hallmark/internal/rp/network"
	"hallmark.dev/hallmark/internal/rp/policyinsights"
	"hallmark.dev/hallmark/internal/rp/recorded"
	"hallmark.dev/hallmark/internal/rp/resourcegraph"
	"hallmark.dev/hallmark/internal/rp/resources"
	"hallmark.dev/hallmark/internal/rp/roles"
	"hallmark.dev/hallmark/internal/secret"
)

var update = flag.Bool("update", false, "write the generated parts of docs/api.md anew")

const reference = "../../docs/api.md"

// registered is every provider that serve wires, without the engines that they drive:
// what they register does not depend on those. TestEveryProviderIsInTheReference
// holds the list to what cmd/hallmark imports.
func registered(t testing.TB) map[string]provider.Provider {
	t.Helper()
	sealer, err := secret.Open(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	networks := network.Config{Prefix: netip.MustParsePrefix("10.9.0.0/24")}
	return map[string]provider.Provider{
		"authorization":     authorization.New(authorization.Config{}),
		"compute":           compute.New(compute.Config{Locations: []string{providertest.Location, providertest.Location2}, Catalogue: shelf{}, Memory: 1 << 20, Secrets: sealer}),
		"control":           control.New(control.Config{}),
		"deployments":       deployments.New(deployments.Config{Sealer: sealer}),
		"gallery":           gallery.New(gallery.Config{Locations: []string{providertest.Location, providertest.Location2}}),
		"imagebuilder":      imagebuilder.New(imagebuilder.Config{}),
		"images":            images.New(images.Config{}),
		"insights":          insights.New(""),
		"locks":             locks.New(),
		"managedidentity":   managedidentity.New(managedidentity.Config{}),
		"managementgroups":  managementgroups.New(managementgroups.Config{}),
		"network":           network.New(networks),
		"network/scalesets": network.NewScaleSets(networks),
		"policyinsights":    policyinsights.New(policyinsights.Config{}),
		"resourcegraph":     resourcegraph.New(resourcegraph.Config{}),
		"resources":         resources.New(resources.Config{}),
		"roles":             roles.New(roles.Config{}),
	}
}

// shelf has every marketplace image.
type shelf struct{ compute.Catalogue }

func (shelf) Resolve(_ context.Context, publisher, offer, sku, _ string) (compute.PlatformImage, error) {
	return compute.PlatformImage{Entry: compute.Entry{Publisher: publisher, Offer: offer, SKU: sku}, Version: "12.0.1", Digest: "sha256:1", OSType: "Linux", Generation: "V2"}, nil
}

func withRecordedTypes(t testing.TB) (real []provider.Provider, rec provider.Provider) {
	t.Helper()
	all := registered(t)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		real = append(real, all[name])
	}
	rec, err := recorded.New(recorded.Config{Real: real})
	if err != nil {
		t.Fatal(err)
	}
	return real, rec
}

func TestEveryProviderIsInTheReference(t *testing.T) {
	const rp = "hallmark.dev/hallmark/internal/rp/"
	all := registered(t)
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), f, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range parsed.Imports {
			name, ok := strings.CutPrefix(strings.Trim(i.Path.Value, `"`), rp)
			if !ok || name == "recorded" || strings.Contains(name, "/") {
				continue
			}
			if _, ok := all[name]; !ok {
				t.Errorf("%s imports rp/%s, which the reference does not know: add it to registered", f, name)
			}
		}
	}
}

func TestAPIReference(t *testing.T) {
	raw, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	real, rec := withRecordedTypes(t)
	text := string(raw)
	for name, generated := range map[string]string{"types": typeTable(t, real), "routes": routeTable(real), "recorded": recordedTable(rec), "codes": codeTable(t)} {
		begin, end := "<!-- generated: "+name+" -->\n", "<!-- end: "+name+" -->"
		before, rest, ok := strings.Cut(text, begin)
		_, after, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("%s has no %q", reference, begin)
		}
		text = before + begin + generated + end + after
	}
	if text == string(raw) {
		return
	}
	if !*update {
		t.Fatalf("%s is not what the registrations say: go test ./cmd/hallmark -run TestAPIReference -update", reference)
	}
	if err := os.WriteFile(reference, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func typeTable(t *testing.T, real []provider.Provider) string {
	var types []provider.ResourceType
	for _, p := range real {
		types = append(types, p.Types...)
	}
	slices.SortFunc(types, func(a, b provider.ResourceType) int { return cmp.Compare(a.Type.Key(), b.Type.Key()) })
	known := map[string]bool{}
	var b strings.Builder
	b.WriteString("| type | at | api-versions | what can be done | what stands behind it |\n|---|---|---|---|---|\n")
	for _, typ := range types {
		known[typ.Type.Key()] = true
		what := behind[typ.Type.Key()]
		if what == "" {
			t.Errorf("say in behind.go's test table what stands behind %s", typ.Type)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", typ.Type, places(typ), strings.Join(typ.APIVersions, ", "), verbs(typ), what)
	}
	for key := range behind {
		if !known[key] {
			t.Errorf("behind has %s, which no provider serves", key)
		}
	}
	return b.String()
}

func places(t provider.ResourceType) string {
	if parent, child := t.Type.Parent(); child {
		return "its " + parent.Name()
	}
	var at []string
	for _, s := range []struct {
		scope provider.Scopes
		name  string
	}{{provider.AtTenant, "tenant"}, {provider.AtManagementGroup, "management group"}, {provider.AtSubscription, "subscription"},
		{provider.AtResourceGroup, "group"}, {provider.AtResource, "any resource"}} {
		if t.Scopes&s.scope != 0 {
			at = append(at, s.name)
		}
	}
	return strings.Join(at, ", ")
}

func verbs(t provider.ResourceType) string {
	can := []string{"GET"}
	for _, v := range []struct {
		name string
		not  bool
	}{{"PUT", t.NoPut}, {"PATCH", t.NoPatch}, {"DELETE", t.NoDelete}} {
		if !v.not {
			can = append(can, v.name)
		}
	}
	for _, a := range t.Actions {
		can = append(can, a.Name)
	}
	return strings.Join(can, ", ")
}

func routeTable(real []provider.Provider) string {
	var rows []string
	for _, p := range real {
		for _, r := range p.Routes {
			rows = append(rows, fmt.Sprintf("| %s | %s `%s` | %s |\n", cmp.Or(arm.Type(r.Permission).Namespace(), "–"), cmp.Or(r.Method, "GET"), r.Pattern, r.Permission))
		}
	}
	slices.Sort(rows)
	return "| namespace | request | permission |\n|---|---|---|\n" + strings.Join(slices.Compact(rows), "")
}

func recordedTable(rec provider.Provider) string {
	namespaces := map[string][]string{}
	for _, t := range rec.Types {
		name := t.Type.Path()
		if t.Scopes != 0 && t.Scopes != provider.AtResourceGroup {
			name += " (" + places(t) + ")"
		}
		namespaces[strings.ToLower(t.Type.Namespace())] = append(namespaces[strings.ToLower(t.Type.Namespace())], name)
	}
	var b strings.Builder
	b.WriteString("| namespace | types |\n|---|---|\n")
	for _, key := range slices.Sorted(maps.Keys(namespaces)) {
		fmt.Fprintf(&b, "| %s | %s |\n", spelled(rec, key), strings.Join(namespaces[key], ", "))
	}
	return b.String()
}

func spelled(rec provider.Provider, namespace string) string {
	for _, t := range rec.Types {
		if strings.EqualFold(t.Type.Namespace(), namespace) {
			return t.Type.Namespace()
		}
	}
	return namespace
}

// full is a server with everything registered and no controller running: nothing that
// would need a machine is ever begun.
func full(t testing.TB, options ...providertest.Option) *providertest.Server {
	t.Helper()
	real, rec := withRecordedTypes(t)
	real = slices.DeleteFunc(real, func(p provider.Provider) bool { // providertest has its own
		return slices.ContainsFunc(p.Types, func(t provider.ResourceType) bool { return t.Type.Equal(arm.TypeSubscription) })
	})
	return providertest.Start(t, append(options, providertest.With(append(real, rec)...), providertest.WithoutControllers(), providertest.WithAliases(recorded.Aliases(alias.Default())))...)
}
