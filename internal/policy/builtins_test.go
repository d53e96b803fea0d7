package policy

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy/alias"
	"hallmark.dev/hallmark/internal/policy/sample"
)

// builtins returns the texts of Azure's public definitions by file name. They
// are no part of the project: HALLMARK_SHARED or a folder shared beside the
// project's holds them.
func builtins(t testing.TB, folder string) map[string]string {
	t.Helper()
	shared := os.Getenv("HALLMARK_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "..", "shared")
	}
	f, err := os.Open(filepath.Join(shared, "data", "azure-policy-builtins.tar.gz"))
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("the public built-in definitions are not here; set HALLMARK_SHARED to the folder that has data/azure-policy-builtins.tar.gz")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return texts
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(h.Name, "/"+folder+"/") && strings.HasSuffix(h.Name, ".json") {
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			texts[h.Name] = string(b)
		}
	}
}

// knownFailures are the public definitions that do not compile, with the reason.
var knownFailures = map[string]string{}

func TestBuiltInsCompile(t *testing.T) {
	texts := builtins(t, "policyDefinitions")
	if len(texts) != 3594 {
		t.Errorf("%d definitions, want 3594", len(texts))
	}
	aliases := alias.Default()
	failures := 0
	for name, text := range texts {
		def, err := ParseDefinition(text)
		if err == nil {
			_, err = Compile(def, Options{Aliases: aliases})
		}
		want, known := knownFailures[filepath.Base(name)]
		switch {
		case err == nil && known:
			t.Errorf("%s compiles, but is listed as a failure", name)
		case err != nil && (!known || !strings.Contains(err.Error(), want)):
			failures++
			t.Errorf("%s: %v", name, err)
		}
	}
	t.Logf("%d definitions, %d failures", len(texts), failures)
}

func TestBuiltInInitiativesParse(t *testing.T) {
	definitions := map[string]*Definition{}
	for _, text := range builtins(t, "policyDefinitions") {
		if def, err := ParseDefinition(text); err == nil {
			definitions[strings.ToLower(def.ID)] = def
		}
	}
	texts := builtins(t, "policySetDefinitions")
	members, found := 0, 0
	for name, text := range texts {
		set, err := ParseInitiative(text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, m := range set.Members {
			members++
			values, err := set.MemberParameters(m, Value{})
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			def := definitions[strings.ToLower(m.DefinitionID)]
			if def == nil {
				continue
			}
			found++
			for _, problem := range CheckParameters(def.Parameters, values) {
				if problem.Code != UndefinedParameter {
					t.Logf("%s, %s: %v", filepath.Base(name), def.DisplayName, problem)
				}
			}
		}
	}
	if len(texts) != 181 {
		t.Errorf("%d initiatives, want 181", len(texts))
	}
	t.Logf("%d initiatives with %d members, %d of them at hand", len(texts), members, found)
}

// BenchmarkLoadBuiltIns parses and compiles every public definition.
func BenchmarkLoadBuiltIns(b *testing.B) {
	texts := builtins(b, "policyDefinitions")
	for b.Loop() {
		programs := make([]*Program, 0, len(texts))
		for _, text := range texts {
			def, err := ParseDefinition(text)
			if err != nil {
				b.Fatal(err)
			}
			p, err := Compile(def, Options{Aliases: alias.Default()})
			if err != nil {
				b.Fatal(err)
			}
			programs = append(programs, p)
		}
		NewSet(programs)
	}
	b.ReportMetric(float64(len(texts)), "definitions")
}

// always answers every existence check with the same resource.
type always []*Resource

// FindRelated implements Related.
func (a always) FindRelated(Query) ([]*Resource, error) { return a, nil }

// BenchmarkBuiltInsOverVM parses a virtual machine and evaluates every public
// definition that can hold for one, existence checks included; ns/rule is for
// one definition.
func BenchmarkBuiltInsOverVM(b *testing.B) {
	var programs []*Program
	for _, text := range builtins(b, "policyDefinitions") {
		def, err := ParseDefinition(text)
		if err != nil {
			b.Fatal(err)
		}
		p, err := Compile(def, Options{Aliases: alias.Default(), Parameters: value.FromFields(nil)})
		if err != nil {
			b.Fatal(err)
		}
		programs = append(programs, p)
	}
	set := NewSet(programs)
	related, err := ParseResource(`{"type":"Microsoft.GuestConfiguration/guestConfigurationAssignments","name":"x","properties":{"complianceStatus":"Compliant"}}`, "")
	if err != nil {
		b.Fatal(err)
	}
	context, err := value.Parse(`{"utcNow":"2026-11-22T00:00:00Z","resourceGroup":{"name":"g","tags":{}},"subscription":{"tags":{}},"requestContext":{"apiVersion":"2024-07-01"}}`)
	if err != nil {
		b.Fatal(err)
	}
	parser := value.Parser{Folded: true}
	evaluated := 0
	states := map[State]int{}
	b.ReportAllocs()
	for b.Loop() {
		parser.Reset()
		root, err := parser.Parse(sample.VM)
		if err != nil {
			b.Fatal(err)
		}
		in := Input{Resource: NewResource(root, ""), Context: context, Related: always{related}}
		set.For(in.Resource, func(_ int, p *Program) bool {
			evaluated++
			states[p.Evaluate(in).State]++
			return true
		})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(evaluated), "ns/rule")
	b.ReportMetric(float64(evaluated)/float64(b.N), "rules")
	b.Logf("states %v", states)
}

// TestBuiltInsAgreeWithTheirExplanation evaluates every public definition over
// some documents, one after another so that what is shared between definitions
// and documents is exercised, and compares with the plan that shares nothing.
func TestBuiltInsAgreeWithTheirExplanation(t *testing.T) {
	var resources []*Resource
	for _, text := range []string{
		sample.VM,
		strings.Replace(sample.VM, "Canonical", "Other", 1),
		`{"type":"Microsoft.Storage/storageAccounts","location":"x","kind":"StorageV2","sku":{"name":"Standard_LRS"},"properties":{"minimumTlsVersion":"TLS1_0","networkAcls":{"defaultAction":"Allow","ipRules":[{"value":"1.2.3.4"}]}}}`,
		`{"type":"Microsoft.Network/networkSecurityGroups","location":"x","properties":{"securityRules":[{"properties":{"access":"Allow","direction":"Inbound","destinationPortRange":"22","sourceAddressPrefix":"*"}}]}}`,
		`{"type":"Microsoft.KeyVault/vaults","location":"x","tags":{},"properties":{"enableSoftDelete":false}}`,
	} {
		r, err := ParseResource(text, "2023-01-01")
		if err != nil {
			t.Fatal(err)
		}
		resources = append(resources, r)
	}
	context, err := value.Parse(`{"utcNow":"2026-11-22T00:00:00Z","resourceGroup":{"name":"g","tags":{}},"subscription":{"subscriptionId":"s","tags":{}},"policy":{"assignmentId":"a"}}`)
	if err != nil {
		t.Fatal(err)
	}
	held := 0
	for name, text := range builtins(t, "policyDefinitions") {
		def, err := ParseDefinition(text)
		if err != nil {
			t.Fatal(err)
		}
		def.Mode = "All"
		p, err := Compile(def, Options{Aliases: alias.Default(), TolerateUnknownAliases: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range resources {
			in := Input{Resource: r, Context: context}
			v, tree := p.Explain(in)
			disabled := v.State == None && v.Reason != ""
			if v.State == Failed || disabled {
				continue
			}
			if tree.Held != (v.State == Hit) {
				t.Errorf("%s over %s: %s, the explanation says held=%v", name, r.Type(), v.State, tree.Held)
			}
			if types := p.Types(); v.State == Hit && types != nil && !slices.Contains(types, value.LowerASCII(r.Type())) {
				t.Errorf("%s holds for %s, which is not among its types %v", name, r.Type(), types)
			}
			if tree.Held {
				held++
			}
		}
	}
	if held < 100 {
		t.Errorf("only %d times did a rule hold", held)
	}
}
