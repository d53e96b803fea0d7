package cli

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func runCheck(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	var stdout, stderr bytes.Buffer
	a := NewApp("test")
	a.Out, a.Err = &stdout, &stderr
	code = a.Run(t.Context(), a.Command(), append([]string{"policy", "check"}, args...))
	return code, stdout.String(), stderr.String()
}

func TestPolicyCheckCommand(t *testing.T) {
	dir := authorFiles(t, map[string]string{"d.json": tagPolicy, "vm.json": taggedVM, "p.json": `{"effect":"Deny"}`})
	sarif, junit := dir+"/out.sarif", dir+"/out.xml"
	code, out, errs := runCheck(t, dir+"/vm.json", "--policy", dir+"/d.json", "--policy-parameters", dir+"/p.json", "--sarif", sarif, "--junit", junit)
	if code != ExitFindings || !strings.Contains(out, "vm.json:1: denied (Deny): Machines need a service model") || !strings.Contains(errs, "--fail-on") {
		t.Errorf("%d\n%s\n%s", code, out, errs)
	}
	for _, name := range []string{sarif, junit} {
		if text, err := os.ReadFile(name); err != nil || !bytes.Contains(text, []byte("Machines need a service model")) {
			t.Errorf("%s: %v %s", name, err, text)
		}
	}
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{dir + "/vm.json", "--policy", dir + "/d.json", "--fail-on", "deny"}, ExitOK, "non-compliant (Audit)"},
		{[]string{dir + "/vm.json", "--policy", dir + "/d.json", "--fail-on", "none", "-o", "json"}, ExitOK, `"nonCompliant": 1`},
		{[]string{dir + "/vm.json", "--policy", dir + "/d.json", "--fail-on", "none", "-o", "tsv", "--query", "[].policy"}, ExitOK, "Machines need a service model\n"},
		{[]string{dir + "/vm.json", "--policy", dir + "/d.json", "--format", "sarif"}, ExitFindings, `"startLine":1`},
		{[]string{dir + "/vm.json"}, ExitUsage, "--policy"},
		{[]string{dir + "/vm.json", "--policy", dir + "/d.json", "--fail-on", "x"}, ExitUsage, "does not know"},
		{[]string{dir + "/p.json", "--policy", dir + "/d.json"}, ExitFailed, "nothing to check"},
	} {
		code, out, errs := runCheck(t, tt.args...)
		if code != tt.code || !strings.Contains(out+errs, tt.want) {
			t.Errorf("%v: exit %d, want %d and %q\n%s%s", tt.args, code, tt.code, tt.want, out, errs)
		}
	}
}
