package providertest

import (
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// CLI is an Azure CLI in a home of its own that is signed in to a server.
type CLI struct {
	path string
	env  []string
}

// AzureCLI finds the CLI that HALLMARK_AZ names and signs it in as the Owner, as a
// user would; the test is skipped without one.
func AzureCLI(t *testing.T, s *Server) CLI {
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
	a := CLI{path: path, env: append(os.Environ(), "HOME="+home, "AZURE_CONFIG_DIR="+home+"/.azure", "REQUESTS_CA_BUNDLE="+ca, "AZURE_CORE_COLLECT_TELEMETRY=no",
		"AZURE_CORE_SURVEY_MESSAGE=no", "AZURE_CORE_ONLY_SHOW_ERRORS=yes", "AZURE_CORE_NO_COLOR=true", "AZURE_CORE_ENCRYPT_TOKEN_CACHE=no")}
	a.Run(t, "cloud", "register", "-n", "local", "--cloud-config", "@"+cloud)
	a.Run(t, "cloud", "set", "-n", "local")
	a.Run(t, "login", "--service-principal", "-u", s.AppID, "-p", s.Secret, "--tenant", s.TenantID)
	return a
}

// With is the same CLI with more in its environment.
func (a CLI) With(env ...string) CLI {
	a.env = append(slices.Clone(a.env), env...)
	return a
}

// Run is what a command prints; the test fails if the command does.
func (a CLI) Run(t *testing.T, args ...string) string {
	t.Helper()
	out, code := a.Try(t, args...)
	if code != 0 {
		t.Fatalf("az %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// Try is what a command prints, errors included, and its exit code.
func (a CLI) Try(t *testing.T, args ...string) (string, int) {
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

// Query is a command's answer to a JMESPath query, as words.
func (a CLI) Query(t *testing.T, query string, args ...string) []string {
	t.Helper()
	out := a.Run(t, append(args, "--query", query, "-o", "tsv")...)
	return strings.Fields(out)
}
