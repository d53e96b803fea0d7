package resources_test

import (
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/provider/providertest"
)

// azure is an Azure CLI in a home of its own that is signed in to a server.
type azure struct {
	path string
	env  []string
}

// signedIn finds the CLI that HALLMARK_AZ names and signs it in as a user would.
func signedIn(t *testing.T, s *providertest.Server) azure {
	t.Helper()
	path := os.Getenv("HALLMARK_AZ")
	if path == "" {
		t.Skip("HALLMARK_AZ does not name an Azure CLI (pip install azure-cli in a virtual environment)")
	}
	home := t.TempDir()
	ca := filepath.Join(home, "ca.crt")
	raw := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate.Raw})
	config, err := json.Marshal(map[string]any{
		"profile":   "latest",
		"endpoints": map[string]string{"resourceManager": s.URL, "microsoftGraphResourceId": s.URL + "/graph/", "vmImageAliasDoc": s.URL + "/aliases.json"},
		"suffixes":  map[string]string{"storageEndpoint": "local.invalid", "keyvaultDns": ".vault.local.invalid"},
	})
	if err != nil {
		t.Fatal(err)
	}
	cloud := filepath.Join(home, "cloud.json")
	for name, data := range map[string][]byte{ca: raw, cloud: config} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a := azure{path: path, env: append(os.Environ(), "HOME="+home, "AZURE_CONFIG_DIR="+home+"/.azure", "REQUESTS_CA_BUNDLE="+ca, "AZURE_CORE_COLLECT_TELEMETRY=no",
		"AZURE_CORE_SURVEY_MESSAGE=no", "AZURE_CORE_ONLY_SHOW_ERRORS=yes", "AZURE_CORE_NO_COLOR=true", "AZURE_CORE_ENCRYPT_TOKEN_CACHE=no")}
	a.run(t, "cloud", "register", "-n", "local", "--cloud-config", "@"+cloud)
	a.run(t, "cloud", "set", "-n", "local")
	a.run(t, "login", "--service-principal", "-u", s.AppID, "-p", s.Secret, "--tenant", s.TenantID)
	return a
}

func (a azure) run(t *testing.T, args ...string) string {
	t.Helper()
	out, code := a.try(t, args...)
	if code != 0 {
		t.Fatalf("az %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

func (a azure) try(t *testing.T, args ...string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), a.path, args...)
	cmd.Env = a.env
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out) + errs.String(), cmd.ProcessState.ExitCode()
}

func (a azure) query(t *testing.T, query string, args ...string) []string {
	t.Helper()
	out := a.run(t, append(args, "--query", query, "-o", "tsv")...)
	return strings.Fields(out)
}

func TestAzureCLI(t *testing.T) {
	s := providertest.Start(t, providertest.With(thing(provider.ResourceType{})))
	az := signedIn(t, s)
	expect := func(want string, got []string) {
		t.Helper()
		if diff := cmp.Diff(strings.Fields(want), got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
	expect(providertest.Subscription, az.query(t, "[].id", "account", "list"))
	expect("local north", az.query(t, "[].name", "account", "list-locations"))
	expect("Succeeded", az.query(t, "properties.provisioningState", "group", "create", "-n", "web", "-l", "local", "--tags", "team=Blue"))
	expect("true", az.query(t, "@", "group", "exists", "-n", "WEB"))
	expect("false", az.query(t, "@", "group", "exists", "-n", "nope"))
	expect("rg web", az.query(t, "[].name", "group", "list"))
	expect("web", az.query(t, "[].name", "group", "list", "--tag", "team=Blue"))
	put(t, s, "a", `{"location":"local","tags":{"team":"Blue"}}`)
	id := thingID("a").String()
	expect("a", az.query(t, "[].name", "resource", "list", "-g", "rg"))
	expect("rg", az.query(t, "[].resourceGroup", "resource", "list", "--resource-type", "Test.Things/things"))
	expect(id, az.query(t, "id", "resource", "show", "--ids", id))
	expect("1", az.query(t, "properties.tags.cost", "tag", "create", "--resource-id", id, "--tags", "cost=1"))
	expect("Registered", az.query(t, "registrationState", "provider", "show", "-n", "Test.Things"))
	if out, code := az.try(t, "group", "show", "-n", "nope"); code != 3 || !strings.Contains(out, "ResourceGroupNotFound") {
		t.Errorf("a missing group: exit code %d, %s", code, out)
	}
	az.run(t, "resource", "delete", "--ids", id)
	az.run(t, "group", "delete", "-n", "web", "--yes")
	expect("rg", az.query(t, "[].name", "group", "list"))
}
