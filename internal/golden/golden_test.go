package golden

import (
	"io/fs"
	"strings"
	"testing"

	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/policy/alias"
	"hallmark.dev/hallmark/internal/policy/lint"
	"hallmark.dev/hallmark/internal/policy/policytest"
)

func TestEveryConditionIsSeenBothWays(t *testing.T) {
	files, err := policytest.Run("policies", alias.Default())
	if err != nil {
		t.Fatal(err)
	}
	tested := map[string]bool{}
	for _, f := range files {
		tested[f.Definition] = true
		if f.Problem != "" {
			t.Errorf("%s: %s", f.Path, f.Problem)
		}
		for _, r := range f.Results {
			if r.Problem != "" {
				t.Errorf("%s: %s: %s", f.Path, r.Name, r.Problem)
			}
		}
		for _, c := range f.Coverage {
			if !c.Covered() {
				t.Errorf("%s: no test sees %s (%s) both ways", f.Path, c.Path, c.Text)
			}
		}
	}
	for name, def := range definitions(t) {
		if !tested["policies/policyDefinitions/"+name+".json"] {
			t.Errorf("%s has no tests", name)
		}
		effect, ok := def.ParameterNamed("effect")
		if !ok || def.Effect != "[parameters('effect')]" || effect.Default.IsUndefined() || !strings.Contains(effect.AllowedValues.JSON(), "Disabled") {
			t.Errorf("%s: the effect is no parameter that can be disabled", name)
		}
	}
}

func TestLintHasNothingToSay(t *testing.T) {
	for name := range definitions(t) {
		for _, f := range lint.Definition(read(t, "policyDefinitions/"+name+".json"), alias.Default()) {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

// What an initiative leaves at its default and what its definitions have by themselves
// must be the same, and every parameter of an initiative must reach a definition.
func TestInitiativesPassEverythingOn(t *testing.T) {
	defs := definitions(t)
	for _, name := range []string{Images, Azure} {
		text := read(t, "policySetDefinitions/"+name+".json")
		set, err := policy.ParseInitiative(text)
		if err != nil {
			t.Fatal(err)
		}
		given := value.FromFields([]value.Field{{Key: "images", Value: value.FromSlice(nil)}})
		for _, m := range set.Members {
			def := defs[m.DefinitionID[strings.LastIndexByte(m.DefinitionID, '/')+1:]]
			if def == nil {
				t.Errorf("%s: %s does not exist", name, m.DefinitionID)
				continue
			}
			values, err := set.MemberParameters(m, given)
			if err != nil {
				t.Error(err)
			}
			for _, p := range def.Parameters {
				got := values.Find(value.NewKey(p.Name))
				if got.IsUndefined() || !p.Default.IsUndefined() && !value.Equal(got, p.Default) {
					t.Errorf("%s: %s gets %s for %s, by itself it has %s", name, m.ReferenceID, got.JSON(), p.Name, p.Default.JSON())
				}
			}
		}
		for _, p := range set.Parameters {
			if !strings.Contains(text, "[parameters('"+p.Name+"')]") {
				t.Errorf("%s: the parameter %s reaches no definition", name, p.Name)
			}
		}
	}
}

func definitions(t *testing.T) map[string]*policy.Definition {
	t.Helper()
	paths, err := fs.Glob(Files(), "policyDefinitions/*.json")
	if err != nil || len(paths) == 0 {
		t.Fatal(len(paths), err)
	}
	all := map[string]*policy.Definition{}
	for _, p := range paths {
		def, err := policy.ParseDefinition(read(t, p))
		if err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		all[def.Name] = def
	}
	return all
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := fs.ReadFile(Files(), name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
