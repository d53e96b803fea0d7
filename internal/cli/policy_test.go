package cli

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// authorCommand runs a command for policy authors below a root that has the
// global flags.
func authorCommand(t *testing.T, input string, args ...string) (string, error) {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	root := &cobra.Command{Use: "hallmark", SilenceErrors: true, SilenceUsage: true}
	root.PersistentFlags().StringP("output", "o", "table", "")
	root.PersistentFlags().String("context", "", "")
	root.AddCommand(newPolicyCommand(func(_ int, err error) error { return err }), newExprCommand())
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetIn(strings.NewReader(input))
	root.SetArgs(args)
	err := root.Execute()
	return out.String(), err
}

func authorFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const tagPolicy = `{"properties":{"displayName":"Machines need a service model","mode":"Indexed","parameters":{"effect":{"type":"String","defaultValue":"Audit"}},
 "policyRule":{"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},{"field":"tags['service-model']","notIn":["pet","cattle"]}]},
 "then":{"effect":"[parameters('effect')]"}}}}`

const taggedVM = `{"type":"Microsoft.Compute/virtualMachines","location":"local","tags":{"service-model":"zoo"}}`

func TestPolicyEvalCommand(t *testing.T) {
	dir := authorFiles(t, map[string]string{"d.json": tagPolicy, "vm.json": taggedVM, "p.json": `{"effect":{"value":"Deny"}}`})
	out, err := authorCommand(t, "", "policy", "eval", "--definition", dir+"/d.json", "--resource", dir+"/vm.json", "--parameters", dir+"/p.json", "--explain")
	if err != nil || !strings.HasPrefix(out, "effect: Deny\n") || !strings.Contains(out, `notIn ["pet","cattle"]: it is "zoo"`) {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = authorCommand(t, "", "policy", "eval", "--definition", dir+"/d.json", "--resource", dir+"/vm.json", "-o", "json")
	if err != nil || !strings.Contains(out, `"effect": "Audit"`) {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = authorCommand(t, `{"id":1,"policyRule":{"if":{"field":"a","equals":1},"then":{"effect":"audit"}},"resource":{"a":1},"aliases":null}`, "policy", "eval", "--batch", "-")
	if err != nil || out != `{"id":1,"state":"effect","effect":"audit"}`+"\n" {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestPolicyLintAndTestCommands(t *testing.T) {
	dir := authorFiles(t, map[string]string{
		"d.json": strings.Replace(tagPolicy, "notIn", "notin", 1), "vm.json": taggedVM,
		"bad.json":    `{"if":{"field":"a"},"then":{"effect":"audit"}}`,
		"d.test.yaml": "tests:\n  - {file: vm.json, expect: audit}\n",
	})
	out, err := authorCommand(t, "", "policy", "lint", dir)
	if err == nil || !strings.Contains(out, "bad.json:1:7: error: a condition needs exactly one operator") {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = authorCommand(t, "", "policy", "test", dir, "--junit", dir+"/out.xml")
	if err != nil || !strings.Contains(out, "1 tests, 0 failed") {
		t.Errorf("%v\n%s", err, out)
	}
	if xml, err := os.ReadFile(dir + "/out.xml"); err != nil || !bytes.Contains(xml, []byte("<testsuites>")) {
		t.Errorf("%v %s", err, xml)
	}
}

func TestImportAliasesCommand(t *testing.T) {
	dir := authorFiles(t, map[string]string{"providers.json": `[{"namespace":"C.T","resourceTypes":[{"resourceType":"t","aliases":[{"name":"C.T/t/x","defaultPath":"properties.x"}]}]}]`})
	out, err := authorCommand(t, "", "policy", "import-aliases", dir+"/providers.json")
	if err != nil || !strings.HasPrefix(out, "1 aliases imported to ") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := authorCommand(t, "", "policy", "import-aliases", dir+"/nothing.json"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestExprCommand(t *testing.T) {
	dir := authorFiles(t, map[string]string{"p.json": `{"b":"x"}`})
	out, err := authorCommand(t, "", "expr", "[concat('a', parameters('b'))]", "--parameters", dir+"/p.json")
	if err != nil || out != "\"ax\"\n" {
		t.Errorf("%v %q", err, out)
	}
	if _, err = authorCommand(t, "", "expr", "[reference('x')]"); err == nil || !strings.Contains(err.Error(), "cannot be called in policies") {
		t.Errorf("%v", err)
	}
}
