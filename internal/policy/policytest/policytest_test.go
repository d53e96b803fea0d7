package policytest

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hallmark.dev/hallmark/internal/junit"
	"hallmark.dev/hallmark/internal/policy/alias"
)

const definition = `{"properties":{"mode":"Indexed","parameters":{"effect":{"type":"String","defaultValue":"Deny"}},"policyRule":{
	"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},{"anyOf":[{"field":"Microsoft.Compute/imagePublisher","notEquals":"debian"},{"field":"tags['owner']","exists":false}]}]},
	"then":{"effect":"[parameters('effect')]"}}}}`

const tests = `
tests:
  - name: approved
    file: vm.json
    expect: none
  - name: another publisher
    resource: {type: Microsoft.Compute/virtualMachines, location: here, properties: {storageProfile: {imageReference: {publisher: other}}}}
    parameters: {effect: Audit}
    expect: audit
  - name: wrong on purpose
    file: vm.json
    expect: deny
  - name: outside
    file: ../vm.json
    expect: none
`

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRun(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "images.json", definition)
	write(t, dir, "images.test.yaml", tests)
	write(t, dir, "vm.json", `{"type":"Microsoft.Compute/virtualMachines","location":"here","tags":{"owner":"me"},"properties":{"storageProfile":{"imageReference":{"publisher":"Debian"}}}}`)
	write(t, dir, "lost.test.yaml", "tests: [{resource: {}, expect: none}]")
	files, err := Run(dir, alias.Default())
	if err != nil || len(files) != 2 {
		t.Fatalf("%v, %d files", err, len(files))
	}
	var b strings.Builder
	n, failures, err := WriteText(&b, files)
	if err != nil || n != 4 || failures != 3 {
		t.Errorf("%d tests, %d failures, %v", n, failures, err)
	}
	for _, want := range []string{
		"ok    approved: none", "ok    another publisher: Audit", "FAIL  wrong on purpose: expected deny, got none",
		`Microsoft.Compute/imagePublisher notEquals "debian": it is "Debian"`, "must be a file beside or below",
		"1 of 3 conditions were seen both ways", "allOf[1].anyOf[1]: no test reached it holding", "allOf[0]: no test reached it not holding",
		"lost.json",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, b.String())
		}
	}
}

func TestJUnit(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "images.json", definition)
	write(t, dir, "images.test.yaml", tests)
	files, err := Run(dir, alias.Default())
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := WriteJUnit(&b, files); err != nil {
		t.Fatal(err)
	}
	var back junit.Suites
	if err := xml.Unmarshal([]byte(b.String()), &back); err != nil || back.Suites[0].Tests != 4 || back.Suites[0].Failures != 3 {
		t.Errorf("%v\n%s", err, b.String())
	}
}
