package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"hallmark.dev/hallmark/internal/access"
	"hallmark.dev/hallmark/internal/admission"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/compliance"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/authorization"
	"hallmark.dev/hallmark/internal/rp/managementgroups"
	"hallmark.dev/hallmark/internal/rp/policyinsights"
	"hallmark.dev/hallmark/internal/rp/roles"
	"hallmark.dev/hallmark/internal/store/mem"
)

// shell runs commands against a control plane in memory.
type shell struct {
	t      *testing.T
	server *providertest.Server
	last   bytes.Buffer // stderr of the last command
}

// compute is machines without machines, and galleries without disks.
func compute() provider.Provider {
	versions := []string{apiCompute}
	born := func(w *provider.Write) (err error) {
		if w.Create() {
			w.Doc.Body, err = arm.Set(w.Doc.Body, "properties.timeCreated", "2026-01-01T00:00:00Z")
		}
		return err
	}
	part := func(t arm.Type) provider.ResourceType {
		return provider.ResourceType{Type: t, APIVersions: versions, Tags: true}
	}
	return provider.Provider{Types: []provider.ResourceType{
		{Type: typeVM, Scopes: provider.AtResourceGroup, APIVersions: versions, Location: provider.LocationRequired, Tags: true, ReadOnly: []string{"properties.timeCreated"}, Default: born},
		{Type: typeGallery, Scopes: provider.AtResourceGroup, APIVersions: versions, Location: provider.LocationRequired, Tags: true},
		part(typeGalleryImage), part(typeGalleryVersion)}}
}

func newShell(t *testing.T) *shell {
	s := mem.New()
	index := assignment.New(s, nil)
	facts := compliance.ImageFacts{}
	engine := compliance.New(compliance.Config{Store: s, Index: index, Facts: facts})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- engine.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the engine: %v", err)
		}
	})
	var server *providertest.Server
	actor := func(ctx context.Context, a *assignment.Assignment) (identity.Principal, error) {
		return server.Directory.OfResource(ctx, a.IdentityOf, a.Identity)
	}
	server = providertest.Start(t, providertest.WithStore(s), providertest.WithAdmitter(admission.New(admission.Config{Store: s, Index: index, Facts: facts})),
		providertest.With(authorization.New(authorization.Config{TenantID: "t"}), managementgroups.New(managementgroups.Config{TenantID: "t"}), compute(), roles.New(roles.Config{Index: access.New(s)}),
			policyinsights.New(policyinsights.Config{TenantID: "t", Engine: engine, Index: index, Facts: facts, Actor: actor})))
	dir := t.TempDir()
	write := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	contexts, err := yaml.Marshal(contextFile{Current: "test", Contexts: []Context{{Name: "test", Endpoint: server.URL, Tenant: server.TenantID, ClientID: server.AppID,
		SecretFile: write("secret", []byte(server.Secret)), CAFile: write("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate.Raw})),
		Subscription: providertest.Subscription, Group: providertest.ResourceGroup, Location: providertest.Location}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("HALLMARK_CONFIG", write("contexts.yaml", contexts))
	t.Setenv("HALLMARK_CONTEXT", "")
	t.Setenv("XDG_CONFIG_HOME", dir)
	return &shell{t: t, server: server}
}

// run runs a command line and returns what it printed.
func (s *shell) run(want int, arguments ...string) string {
	s.t.Helper()
	var out bytes.Buffer
	s.last.Reset()
	app := NewApp("test")
	app.In, app.Out, app.Err = strings.NewReader(""), &out, &s.last
	if got := app.Run(s.t.Context(), app.Command(), arguments); got != want {
		s.t.Fatalf("hallmark %s: exit %d, want %d\n%s%s", strings.Join(arguments, " "), got, want, out.String(), s.last.String())
	}
	return out.String()
}

// put writes a document without the command line.
func (s *shell) put(path, body string) int {
	s.t.Helper()
	status, _, _ := s.server.Do(s.t, "PUT", providertest.Group().String()+"/providers/Microsoft.Compute/"+path+"?api-version="+apiCompute, body)
	return status
}

func (s *shell) has(text string, wanted ...string) {
	s.t.Helper()
	for _, w := range wanted {
		if !strings.Contains(text, w) {
			s.t.Errorf("%q is not in\n%s", w, text)
		}
	}
}

const (
	market      = `{"location":"local","tags":{"team":"web","service-model":"cattle"},"properties":{"storageProfile":{"imageReference":{"publisher":"Debian","offer":"debian-12","sku":"12","version":"latest"}}}}`
	fromGallery = `{"location":"local","tags":{"team":"shop"},"properties":{"storageProfile":{"imageReference":{"id":"` + "GALLERY" + `"}}}}`
)

// estate has a gallery with an image, a machine from it, and one that is not.
func (s *shell) estate() {
	s.t.Helper()
	gallery := providertest.Group().String() + "/providers/Microsoft.Compute/galleries/golden/images/web/versions/1.0.0"
	s.put("galleries/golden", `{"location":"local"}`)
	s.put("galleries/golden/images/web", `{"properties":{}}`)
	s.put("galleries/golden/images/web/versions/1.0.0", `{"tags":{"hallmark-state":"published"},"properties":{"publishingProfile":{"publishedDate":"`+time.Now().UTC().Format(time.RFC3339)+`"}}}`)
	if a, b := s.put("virtualMachines/rogue-1", market), s.put("virtualMachines/web-1", strings.ReplaceAll(fromGallery, "GALLERY", gallery)); a != 201 || b != 201 {
		s.t.Fatal(a, b)
	}
}

func TestPolicyService(t *testing.T) {
	s := newShell(t)
	s.estate()

	out := s.run(0, "policy", "what-if", "--definition", "golden-images", "--not-scope", "build")
	s.has(out, "of 2 resources", "2 would be non-compliant", "1 could no longer be changed", "1 would get other values", "deny    rogue-1  approved-image", `add tags['service-model'] = "pet"`)
	s.run(ExitFindings, "policy", "what-if", "--definition", "golden-images", "--fail-on", "deny")
	s.run(ExitNothing, "policy", "show", "golden-images")

	s.has(s.run(0, "policy", "import", "golden-images"), "policyDefinitions     7        0        0          0")
	s.has(s.run(0, "policy", "import", "golden-images"), "policyDefinitions     0        0        7", "policySetDefinitions  0        0        1")
	s.has(s.run(0, "policy", "list", "definitions"), "golden-approved-image", "Golden images", "Custom")
	s.has(s.run(0, "policy", "list", "initiatives", "-o", "tsv"), "golden-images\tsubscription "+providertest.Subscription+"\tCustom\t7")

	out = s.run(0, "policy", "assign", "golden-images", "--name", "golden", "--params", "maxVersionsBehind=0", "--params", "outdatedEffect=Audit", "--not-scope", "build",
		"--message", "approved-image=Take an image of the gallery.", "--description", "Why: https://wiki.example.com/golden-images.")
	s.has(out, "golden", "golden-images", "Default")
	s.has(s.last.String(), "got the role 4a9ae827-6dc8-4573-8ac7-8239d42aa03f at subscription")
	who := s.run(0, "policy", "show", "golden", "--query", "identity.principalId", "-o", "tsv")
	s.run(0, "policy", "assign", "golden-images", "--name", "golden", "--params", "maxVersionsBehind=0", "--params", "outdatedEffect=Audit", "--not-scope", "build",
		"--message", "approved-image=Take an image of the gallery.", "--description", "Why: https://wiki.example.com/golden-images.")
	if again := s.run(0, "policy", "show", "golden", "--query", "identity.principalId", "-o", "tsv"); again != who || strings.Contains(s.last.String(), "role") {
		t.Errorf("assigned again, the identity is %s, was %s: %s", again, who, s.last.String())
	}
	s.has(s.run(0, "policy", "show", "golden", "--query", "properties.parameters.maxVersionsBehind.value", "-o", "json"), "0")
	s.has(s.run(0, "policy", "show", "golden", "--query", "properties.notScopes[0]", "-o", "tsv"), "/resourceGroups/build")

	out = s.run(0, "policy", "state")
	s.has(out, "rogue-1", "NonCompliant", "approved-image", "Take an image of the gallery.", `Hallmark.Image/state is "unapproved-marketplace"`, "golden: https://wiki.example.com/golden-images\n")
	s.has(s.run(0, "policy", "state", "--team", "web", "--policy", "approved-image", "-o", "json", "--query", "[].complianceState"), "NonCompliant")
	s.has(s.run(0, "policy", "state", "--summary"), "service-model", "50 %")
	s.run(ExitFindings, "policy", "state", "--resource", "rogue-1", "--fail-on", "non-compliant")

	out = s.run(0, "policy", "explain", "rogue-1")
	s.has(out, "rogue-1: NonCompliant", "Machines come from images that the gallery publishes  (Deny)", "message     Take an image", "assignment  Golden images at subscription",
		"Read https://wiki.example.com/golden-images", "true   allOf", `Hallmark.Image/state exists true: it is "unapproved-marketplace"`)
	s.has(s.run(0, "policy", "explain", "web-1", "--all", "-o", "json", "--query", "policies[].complianceState"), "NonCompliant", "Compliant")
	s.run(ExitNothing, "policy", "explain", "nobody")

	if s.put("virtualMachines/rogue-2", market) != 403 {
		t.Error("rogue-2 was let in")
	}
	s.run(ExitUsage, "policy", "exempt", "rogue-1", "--assignment", "golden")
	s.run(ExitUsage, "policy", "exempt", "rogue-1", "--assignment", "golden", "--expires", "2020-01-01", "--owner", "ann")
	s.has(s.run(0, "policy", "exempt", "rogue-1", "--assignment", "golden", "--policy", "approved-image", "--expires", "7d", "--owner", "ann", "--ticket", "CHG-1"), "golden-approved-image", "Waiver", "ann", "CHG-1")
	s.has(s.run(0, "policy", "state", "--resource", "rogue-1"), "Exempt")
	s.has(s.last.String(), "warning: the exemption golden-approved-image", "(owner: ann)")
	s.has(s.run(0, "policy", "explain", "rogue-1"), "exemption   Waiver until", "owner ann, CHG-1")
	s.has(s.run(0, "policy", "list", "exemptions", "-o", "tsv"), "approved-image\tWaiver")

	s.run(0, "policy", "unexempt", "golden-approved-image")
	s.run(ExitNothing, "policy", "unexempt", "golden-approved-image")
	s.run(0, "identity", "revoke", "golden", "Tag Contributor")
	s.has(s.run(ExitFailed, "policy", "remediate", "golden", "--policy", "service-model-default", "--name", "refused"), "web-1", "Failed", "The client 'golden' with object id '"+strings.TrimSpace(who)+"' does not have authorization to perform action 'Microsoft.Resources/tags/write'")
	s.run(0, "identity", "grant", "golden", "Tag Contributor")
	s.has(s.run(0, "policy", "remediate", "golden", "--policy", "service-model-default"), "web-1", "Succeeded")
	s.has(s.run(0, "policy", "state", "--summary", "--policy", "service-model"), "100 %")

	dir := filepath.Join(t.TempDir(), "epac")
	s.has(s.run(0, "policy", "export", dir), "7", "1")
	s.run(ExitUsage, "policy", "export", dir)
	var exported struct {
		DefinitionEntry struct{ PolicySetName string }
	}
	if err := readDocument(filepath.Join(dir, "policyAssignments", "golden.json"), &exported); err != nil || exported.DefinitionEntry.PolicySetName != "golden-images" {
		t.Error(exported, err)
	}
	s.has(s.run(0, "policy", "import", dir), "policyDefinitions     0        0        7", "policySetDefinitions  0        0        1")

	s.run(0, "policy", "unassign", "golden")
	s.run(ExitNothing, "policy", "unassign", "golden")
	if s.run(0, "policy", "list") != "" || s.put("virtualMachines/rogue-2", market) != 201 {
		t.Error("the assignment is still there")
	}
}

// At a management group the identity gets its roles there.
func TestPolicyAssignedToAManagementGroup(t *testing.T) {
	s := newShell(t)
	s.estate()
	if err := managementgroups.EnsureRoot(t.Context(), s.server.Store, "t", time.Now()); err != nil {
		t.Fatal(err)
	}
	group := "/providers/Microsoft.Management/managementGroups/prod"
	if status, _, answer := s.server.Do(t, "PUT", group+"?api-version=2023-04-01", `{}`); status >= 300 {
		t.Fatalf("%d %s", status, answer)
	}
	if status, _, answer := s.server.Do(t, "PUT", group+"/subscriptions/"+providertest.Subscription+"?api-version=2023-04-01", nil); status >= 300 {
		t.Fatalf("%d %s", status, answer)
	}
	s.run(0, "policy", "import", "golden-images", "--scope", group)
	s.run(0, "policy", "assign", "golden-images", "--name", "golden", "--scope", group)
	s.has(s.last.String(), "got the role 4a9ae827-6dc8-4573-8ac7-8239d42aa03f at management group prod")
	s.has(s.run(0, "policy", "remediate", "golden", "--scope", group, "--policy", "service-model-default"), "web-1", "Succeeded")
}

// Azure's own definitions have names that tell nobody anything.
func TestPolicyOfNamesThatNobodyChose(t *testing.T) {
	s := newShell(t)
	s.estate()
	const name = "e56962a6-4747-49cd-b67b-bf8b01975c4c"
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "d.json"), []byte(`{"name":"`+name+`","properties":{"displayName":"Allowed locations (all)","policyType":"BuiltIn","mode":"Indexed","parameters":{"places":{"type":"Array"}},
		"policyRule":{"if":{"field":"location","notIn":"[parameters('places')]"},"then":{"effect":"audit"}}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s.run(0, "policy", "import", dir)
	s.has(s.run(0, "policy", "assign", "Allowed locations (all)", "--params", `places=["eastus"]`), "allowed-locations-all  ")
	s.has(s.run(0, "policy", "state"), "rogue-1", "Allowed locations (all)", "allowed-locations-all")
	s.has(s.run(0, "policy", "state", "--summary"), "Allowed locations (all)", "0 %")
	s.has(s.run(0, "policy", "state", "-o", "json", "--query", "[0].policy"), name)
}

// An assignment in a file may name its definition by a path beside it, by a name among
// definitions that are not stored, or by what is stored.
func TestPolicyWhatIfFromAFile(t *testing.T) {
	s := newShell(t)
	s.estate()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("teams.json", `{"name":"teams","properties":{"parameters":{"team":{"type":"String"}},"policyRule":{"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},
		{"field":"tags['team']","equals":"[parameters('team')]"}]},"then":{"effect":"deny"}}}}`)
	for _, definition := range []string{"teams.json", "teams"} {
		file := write("assignment.json", `{"properties":{"policyDefinitionId":"`+definition+`","parameters":{"team":{"value":"web"}}}}`)
		with := []string{}
		if definition == "teams" {
			with = []string{"--with", dir}
		}
		out := s.run(0, append([]string{"policy", "what-if", "--assignment", file}, with...)...)
		s.has(out, "of 2 resources", "1 would be non-compliant", "deny    rogue-1")
		s.has(s.run(0, append([]string{"policy", "what-if", "--assignment", file, "--params", "team=shop"}, with...)...), "deny    web-1")
		s.has(s.run(0, append([]string{"policy", "what-if", "--assignment", file, "--not-scope", providertest.ResourceGroup}, with...)...), "of 0 resources")
		s.run(ExitFailed, append([]string{"policy", "what-if", "--assignment", file, "--params", "nothing=1"}, with...)...)
	}
	s.run(ExitNothing, "policy", "what-if", "--assignment", write("none.json", `{"properties":{"policyDefinitionId":"nowhere"}}`))
	s.run(ExitUsage, "policy", "what-if", "--assignment", write("empty.json", `{}`))
	s.run(ExitUsage, "policy", "what-if")
}

// Everything that is wrong is said at once, and nothing is stored.
func TestPolicyImportRefusesAsAWhole(t *testing.T) {
	s := newShell(t)
	dir := t.TempDir()
	for name, text := range map[string]string{"good.json": `{"name":"good","properties":{"policyRule":{"if":{"field":"type","equals":"A.B/c"},"then":{"effect":"audit"}}}}`,
		"bad.json":     `{"name":"bad","properties":{"policyRule":{"if":{"field":"a"},"then":{"effect":3}}}}`,
		"unknown.json": `{"name":"unknown","properties":{"policyRule":{"if":{"field":"Microsoft.Compute/virtualMachines/nothing","equals":"x"},"then":{"effect":"audit"}}}}`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.run(ExitFailed, "policy", "import", dir)
	s.has(s.last.String(), "bad.json:1:", "unknown.json:1:", "nothing was stored", "3 problems")
	if out := s.run(0, "policy", "list", "definitions"); out != "" {
		t.Error(out)
	}
	s.run(ExitFailed, "policy", "import", dir, "--check")
	s.run(ExitFailed, "policy", "import", filepath.Join(dir, "none"))
	s.run(ExitNothing, "policy", "import", t.TempDir())
}

// All of Azure's public definitions go to the tenant, and a second time changes nothing.
func TestPolicyImportOfEveryPublicBuiltIn(t *testing.T) {
	shared := os.Getenv("HALLMARK_SHARED")
	if shared == "" {
		t.Skip("the public built-in definitions are not here; set HALLMARK_SHARED to the folder that has data/azure-policy-builtins.tar.gz")
	}
	if testing.Short() {
		t.Skip("importing all of them takes a while; run without -short")
	}
	s := newShell(t)
	archive := filepath.Join(shared, "data", "azure-policy-builtins.tar.gz")
	for i, want := range []string{`[[3594,0,0],[181,0,0]]`, `[[0,3594,0],[0,181,0]]`} {
		start := time.Now()
		var got bytes.Buffer
		if err := json.Compact(&got, []byte(s.run(0, "policy", "import", archive, "-o", "json", "--query", "[].[created,unchanged,failed]"))); err != nil || got.String() != want {
			t.Errorf("%s, want %s, %v", got.String(), want, err)
		}
		t.Logf("import %d took %v", i+1, time.Since(start))
	}
}
