package policy

import (
	"encoding/json"
	"strconv"
	"testing"

	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy/alias"
	"hallmark.dev/hallmark/internal/policy/sample"
)

func TestHandWrittenRulesAgree(t *testing.T) {
	var doc map[string]any
	if err := json.Unmarshal([]byte(sample.VM), &doc); err != nil {
		t.Fatal(err)
	}
	for _, b := range sample.Rules() {
		p, in := compileSample(t, b)
		v := p.Evaluate(in)
		if v.State == Failed || (v.State == Hit) != b.Hand(doc) {
			t.Errorf("%s: %s %v, by hand %v", b.Name, v.State, v.Problem, b.Hand(doc))
		}
	}
	if len(sample.VM) < 3300 || len(sample.VM) > 5000 {
		t.Errorf("the document has %d bytes", len(sample.VM))
	}
}

func compileSample(t testing.TB, b sample.Rule) (*Program, Input) {
	t.Helper()
	def, err := ParseRule(`{"if":` + b.If + `,"then":{"effect":"audit"}}`)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(def, Options{Aliases: alias.Default()})
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseResource(sample.VM, "")
	if err != nil {
		t.Fatal(err)
	}
	context := value.NullValue
	if b.Context != "" {
		if context, err = value.Parse(b.Context); err != nil {
			t.Fatal(err)
		}
	}
	return p, Input{Resource: r, Context: context}
}

func BenchmarkRule(b *testing.B) {
	var doc map[string]any
	if err := json.Unmarshal([]byte(sample.VM), &doc); err != nil {
		b.Fatal(err)
	}
	for i, rule := range sample.Rules() {
		p, in := compileSample(b, rule)
		name := strconv.Itoa(i+1) + " " + rule.Name
		b.Run(name+"/hallmark", func(b *testing.B) {
			b.ReportAllocs()
			// the documents take turns, so that nothing is remembered of them
			turns := make([]*Resource, 16)
			for i := range turns {
				turns[i] = NewResource(in.Resource.root, "")
			}
			turn := 0
			for b.Loop() {
				in.Resource = turns[turn&15]
				turn++
				p.Evaluate(in)
			}
		})
		b.Run(name+"/by hand", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				rule.Hand(doc)
			}
		})
	}
}

func BenchmarkParseDocument(b *testing.B) {
	p := value.Parser{Folded: true}
	b.SetBytes(int64(len(sample.VM)))
	b.ReportAllocs()
	for b.Loop() {
		p.Reset()
		if _, err := p.Parse(sample.VM); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	def, err := ParseRule(`{"if":` + sample.Rules()[2].If + `,"then":{"effect":"audit"}}`)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compile(def, Options{Aliases: alias.Default()}); err != nil {
			b.Fatal(err)
		}
	}
}
