package tfplan

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

func testPlan(t *testing.T) *Plan {
	t.Helper()
	text, err := os.ReadFile("testdata/plan.json")
	if err != nil {
		t.Fatal(err)
	}
	p, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What becomes of a plan, document by document.
func TestParse(t *testing.T) {
	var got bytes.Buffer
	for _, r := range testPlan(t).Resources {
		fmt.Fprintf(&got, "# %s (%s) %s\n", r.Address, strings.Join(r.Actions, ", "), r.Directory)
		fmt.Fprintf(&got, "%s %s names %q group %q id %q parent %q %q partial %v\n", r.ARMType, r.APIVersion, r.Names, r.ResourceGroup, r.ID, r.ParentID, r.ParentAddress, r.Partial)
		fmt.Fprintf(&got, "unknown %q\nlinks %v\nuntranslated %q\n", r.Unknown, r.Links, r.Untranslated)
		if err := json.Indent(&got, r.Body, "", "  "); err != nil {
			t.Fatal(err)
		}
		got.WriteString("\n")
	}
	golden(t, "testdata/plan.golden", got.String())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update writes it):\n%s", name, diff)
	}
}

// A password stands in a plan in clear; it must not get any further.
func TestSecretsStayInThePlan(t *testing.T) {
	for _, r := range testPlan(t).Resources {
		if bytes.Contains(r.Body, []byte("s3cret")) {
			t.Errorf("%s: the document holds a sensitive value", r.Address)
		}
	}
}

func TestUntranslatedTypesAreCounted(t *testing.T) {
	if diff := cmp.Diff(map[string]int{"azurerm_virtual_network": 1}, testPlan(t).Untranslated); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsNoPlan(t *testing.T) {
	for text, want := range map[string]string{
		`{`: "no JSON", `{}`: "format_version is missing", `{"format_version":"2.0"}`: "format version 2.0", `{"format_version":"1.0","resource_changes":3}`: "no JSON",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestModuleNames(t *testing.T) {
	for address, want := range map[string]string{"": "[]", "module.a": "[a]", `module.a["x.module.y"].module.b[0]`: "[a b]"} {
		if got := fmt.Sprint(moduleNames(address)); got != want {
			t.Errorf("%s: %s", address, got)
		}
	}
}

// Every table of attributes holds together: no attribute is named twice for the
// same place, and every place is a path.
func TestTables(t *testing.T) {
	for name, k := range kinds() {
		var walk func(fields []field, at string)
		walk = func(fields []field, at string) {
			seen := map[string]bool{}
			for _, f := range fields {
				if f.from != "" && seen[f.from] {
					t.Errorf("%s: %s.%s is translated twice", name, at, f.from)
				}
				seen[f.from] = f.from != ""
				if len(f.block) > 0 {
					walk(f.block, join(at, f.from))
				}
			}
		}
		walk(k.fields, "")
	}
}

func FuzzParse(f *testing.F) {
	text, err := os.ReadFile("testdata/plan.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"format_version":"1.0","resource_changes":[{"mode":"managed","type":"azapi_resource","change":{"after":{"type":"A.B/c","body":"[1"},"after_unknown":true}}]}`))
	f.Add([]byte(`{"format_version":"1.0","resource_changes":[{"mode":"managed","type":"azapi_resource","change":{"after":{"type":"A.B/c","tags":{"]":"x","99999999999":"y"},"body":{"9999999999":1,"a['":{"b":1},"']":2}},"after_unknown":{"tags":{"]":true,"'":true},"body":{"a['":{"b":true}}}}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		for _, r := range p.Resources {
			if !json.Valid(r.Body) {
				t.Errorf("%s: the document is no JSON", r.Address)
			}
		}
	})
}
