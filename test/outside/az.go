package outside

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Az is the real Azure CLI in a home of its own, signed in to one endpoint.
type Az struct {
	// Home is its home directory, where it puts the SSH keys that it makes.
	Home string
	// Ran is told of every command line, without "az"; may be nil.
	Ran  func(arguments []string)
	path string
	env  []string
}

// NewAz finds the CLI that HALLMARK_AZ names and registers an instance's
// endpoint as its cloud. It is not signed in.
func NewAz(t testing.TB, i *Instance) *Az {
	t.Helper()
	return AzAt(t, i.Endpoint(t), i.Run(t, 0, "context", "cloud").Out)
}

// AzAt is NewAz for any endpoint; cloud describes it as `hallmark context cloud` does.
func AzAt(t testing.TB, e *Endpoint, cloud string) *Az {
	t.Helper()
	path := os.Getenv("HALLMARK_AZ")
	if path == "" {
		t.Skip("HALLMARK_AZ does not name an Azure CLI; scripts/az installs one and prints its path")
	}
	home := t.TempDir()
	file := filepath.Join(home, "cloud.json")
	if err := os.WriteFile(file, []byte(cloud), 0o600); err != nil {
		t.Fatal(err)
	}
	a := &Az{Home: home, path: path, env: append(os.Environ(), "HOME="+home, "AZURE_CONFIG_DIR="+home+"/.azure", "REQUESTS_CA_BUNDLE="+e.CAFile,
		"AZURE_CORE_COLLECT_TELEMETRY=no", "AZURE_CORE_SURVEY_MESSAGE=no", "AZURE_CORE_ONLY_SHOW_ERRORS=yes", "AZURE_CORE_NO_COLOR=true", "AZURE_CORE_ENCRYPT_TOKEN_CACHE=no")}
	a.Run(t, "cloud", "register", "-n", "local", "--cloud-config", "@"+file)
	a.Run(t, "cloud", "set", "-n", "local")
	return a
}

// SignIn signs in as the administrator of the endpoint.
func (a *Az) SignIn(t testing.TB, e *Endpoint) {
	t.Helper()
	secret, err := os.ReadFile(e.SecretFile)
	if err != nil {
		t.Fatal(err)
	}
	a.Run(t, "login", "--service-principal", "-u", e.ClientID, "-p", strings.TrimSpace(string(secret)), "--tenant", e.Tenant)
}

// Setenv adds a variable to the CLI's environment.
func (a *Az) Setenv(name, value string) { a.env = append(a.env, name+"="+value) }

// Try runs a command line to its end, whatever that is.
func (a *Az) Try(t testing.TB, arguments ...string) Result {
	t.Helper()
	return a.start(t, nil, a.path, arguments)
}

// Answer runs a command line at a terminal and types into it: az asks before it
// deletes, and only where somebody can answer.
func (a *Az) Answer(t testing.TB, typed string, arguments ...string) Result {
	t.Helper()
	words := []string{a.path}
	for _, word := range arguments {
		words = append(words, "'"+strings.ReplaceAll(word, "'", `'\''`)+"'")
	}
	if a.Ran != nil {
		a.Ran(arguments)
	}
	return a.run(t, strings.NewReader(typed), "script", []string{"-qec", strings.Join(words, " "), "/dev/null"})
}

func (a *Az) start(t testing.TB, in io.Reader, path string, arguments []string) Result {
	t.Helper()
	if a.Ran != nil {
		a.Ran(arguments)
	}
	return a.run(t, in, path, arguments)
}

func (a *Az) run(t testing.TB, in io.Reader, path string, arguments []string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	c := exec.CommandContext(ctx, path, arguments...)
	var out, errs strings.Builder
	c.Stdin, c.Stdout, c.Stderr, c.Env, c.Dir = in, &out, &errs, a.env, a.Home
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s %q: %v", path, arguments, err)
	}
	return Result{c.ProcessState.ExitCode(), out.String(), errs.String()}
}

// Run wants a command line to succeed and returns what it printed.
func (a *Az) Run(t testing.TB, arguments ...string) string {
	t.Helper()
	r := a.Try(t, arguments...)
	if r.Code != 0 {
		t.Fatalf("az %s: exit code %d\n%s", strings.Join(arguments, " "), r.Code, r)
	}
	return r.Out
}

// Query runs a command line with a JMESPath query and returns the words that it prints.
func (a *Az) Query(t testing.TB, query string, arguments ...string) string {
	t.Helper()
	return strings.Join(strings.Fields(a.Run(t, append(arguments, "--query", query, "-o", "tsv")...)), " ")
}

// Ask decodes the JSON that a command line prints.
func (a *Az) Ask(t testing.TB, into any, arguments ...string) {
	t.Helper()
	out := a.Run(t, append(arguments, "-o", "json")...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("az %s: %v: %s", strings.Join(arguments, " "), err, out)
	}
}
