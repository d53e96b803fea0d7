package policy

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy/alias"
	"hallmark.dev/hallmark/internal/policy/sample"
)

func TestParseErrors(t *testing.T) {
	tests := []struct {
		rule string
		want []string // code path
	}{
		{`{"if":{"allOf":"x"},"then":{"effect":"audit"}}`, []string{"InvalidPolicyRule if.allOf"}},
		{`{"if":{"not":[]},"then":{"effect":"audit"}}`, []string{"InvalidPolicyRule if.not"}},
		{`{"if":{"field":3,"equals":1},"then":{"effect":3}}`, []string{"InvalidPolicyRule if.field", "InvalidPolicyRule then.effect"}},
		{`{"if":{"field":"a"},"then":{}}`, []string{"InvalidPolicyRule if", "InvalidPolicyRule then"}},
		{`{"if":{"field":"a","equals":1,"in":[]},"then":{"effect":"audit"}}`, []string{"InvalidPolicyRule if"}},
		{`{"if":{"field":"a","value":1,"equals":1},"then":{"effect":"audit"}}`, []string{"InvalidPolicyRule if"}},
		{`{"if":{"field":"a","equals":1,"Equals":1},"then":{"effect":"audit"}}`, []string{"DuplicateKey if.Equals"}},
		{`{"if":{"field":"a","equals":1,"extra":1},"then":{"effect":"audit"}}`, []string{"InvalidPolicyRule if.extra"}},
		{`{"if":{"allOf":[],"field":"a"},"then":{"effect":"audit"}}`, []string{"InvalidPolicyRule if.allOf"}},
		{`{"if":{"count":{"field":"a[*]","value":1},"equals":1},"then":{"effect":"audit"}}`, []string{"InvalidPolicyRule if.count"}},
		{`{"if":{"count":{"field":"a[*]","name":"n"},"equals":1},"then":{"effect":"audit"}}`, []string{"InvalidPolicyRule if.count"}},
		{`{"if":{"count":{"field":"a[*]","x":1},"equals":1},"then":{"effect":"audit"}}`, []string{"InvalidPolicyRule if.count.x"}},
		{`{"if":{"allOf":[{"field":"a","equals":1},{"anyOf":[{"field":"b","nope":1}]}]},"then":{"effect":"audit","details":{"existenceCondition":{"field":"c"}}}}`,
			[]string{"InvalidPolicyRule if.allOf[1].anyOf[0].nope", "InvalidPolicyRule if.allOf[1].anyOf[0]", "InvalidPolicyRule then.details.existenceCondition"}},
		{`{"then":{"effect":"audit"}}`, []string{"InvalidPolicyRule "}},
		{`[]`, []string{"InvalidPolicyRule "}},
	}
	for _, tt := range tests {
		_, err := ParseRule(tt.rule)
		checkProblems(t, tt.rule, err, tt.want)
	}
}

func checkProblems(t *testing.T, text string, err error, want []string) {
	t.Helper()
	var problems Problems
	errors.As(err, &problems)
	var got []string
	for _, p := range problems {
		got = append(got, string(p.Code)+" "+p.Path)
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s:\n got %q\nwant %q", text, got, want)
	}
}

func TestCompileErrors(t *testing.T) {
	tests := []struct {
		rule string
		want []string
	}{
		{`{"if":{"field":"[parameters('f')]","equals":"[nosuch()]"},"then":{"effect":"audit"}}`, []string{"InvalidTemplateExpression if.field", "InvalidTemplateExpression if.equals"}},
		{`{"if":{"value":"[current()]","equals":1},"then":{"effect":"audit"}}`, []string{"InvalidTemplateExpression if.value"}},
		{`{"if":{"count":{"field":"a"},"equals":1},"then":{"effect":"audit"}}`, []string{"InvalidPolicyRule if.count.field"}},
		{`{"if":{"count":{"field":"[concat('a','[*]')]"},"equals":1},"then":{"effect":"audit"}}`, []string{"InvalidPolicyRule if.count.field"}},
		{`{"if":{"value":"[parameters(concat('a'))]","equals":1},"then":{"effect":"audit"}}`, []string{"InvalidTemplateExpression if.value"}},
		{`{"if":{"value":"[concat(]","equals":1},"then":{"effect":"audit"}}`, []string{"InvalidTemplateExpression if.value"}},
		{`{"if":{"allOf":[]},"then":{"effect":"auditIfNotExists"}}`, []string{"InvalidPolicyRule then.details"}},
		{`{"if":{"allOf":[]},"then":{"effect":"modify","details":{"operations":[{"operation":"x","field":"a"}]}}}`,
			[]string{"InvalidPolicyRule then.details", "InvalidPolicyRule then.details.operations[0].operation", "InvalidPolicyRule then.details.operations[0]"}},
		{`{"if":{"allOf":[]},"then":{"effect":"append","details":[]}}`, []string{"InvalidPolicyRule then.details"}},
		{`{"if":{"allOf":[]},"then":{"effect":"append","details":[{"field":"a"}]}}`, []string{"InvalidPolicyRule then.details[0]"}},
	}
	for _, tt := range tests {
		def, err := ParseRule(tt.rule)
		if err != nil {
			t.Errorf("%s: %v", tt.rule, err)
			continue
		}
		_, err = Compile(def, Options{})
		checkProblems(t, tt.rule, err, tt.want)
	}
}

func TestPositionsPointIntoTheText(t *testing.T) {
	_, err := ParseDefinition("{\n  \"properties\": {\n    \"mode\": \"All\",\n    \"policyRule\": {\n      \"if\": {\"field\": \"a\", \"equal\": 1},\n      \"then\": {\"effect\": \"audit\"}\n    }\n  }\n}")
	var problems Problems
	if !errors.As(err, &problems) || problems[0].Line != 5 || problems[0].Column != 28 || problems[0].Path != "properties.policyRule.if.equal" {
		t.Errorf("%v", err)
	}
}

func TestDefinitionKeysMayNotClash(t *testing.T) {
	rule := `{"if":{"allOf":[]},"then":{"effect":"audit"}}`
	_, err := ParseDefinition(`{"mode":"All","properties":{"Mode":"Indexed","policyRule":` + rule + `}}`)
	checkProblems(t, "before", err, []string{"DuplicateKey properties.Mode"})
	def, err := ParseDefinition(`{"properties":{"mode":"Indexed","policyRule":` + rule + `},"mode":"All"}`)
	if err != nil || def.Mode != "Indexed" {
		t.Errorf("after: %v %+v", err, def)
	}
	_, err = ParseDefinition(`{"parameters":{"a":{},"A":{}},"policyRule":` + rule + `}`)
	checkProblems(t, "parameters", err, []string{"DuplicateKey parameters.A"})
}

func TestPathologicalRulesAreBounded(t *testing.T) {
	many := `{"if":{"allOf":[` + strings.TrimSuffix(strings.Repeat(`{"field":"a","equals":1},`, 10_000), ",") + `]},"then":{"effect":"audit"}}`
	deep := `{"if":` + strings.Repeat(`{"not":`, 1000) + `{"field":"a","equals":1}` + strings.Repeat(`}`, 1000) + `,"then":{"effect":"audit"}}`
	deepLists := `{"if":` + strings.Repeat(`{"not":`, 300) + `{"field":"a","equals":1}` + strings.Repeat(`}`, 300) + `,"then":{"effect":"audit"}}`
	for name, tt := range map[string]struct{ rule, want string }{
		"10,000 conditions": {many, "more than 4096 conditions"}, "1,000 deep": {deep, "nest deeper than 512"}, "300 deep": {deepLists, "nest deeper than 128"},
	} {
		if _, err := ParseRule(tt.rule); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %.200v", name, err)
		}
	}
	list := "[" + strings.TrimSuffix(strings.Repeat("{},", 2000), ",") + "]"
	explosion := `{"count":{"field":"a[*]","where":{"count":{"field":"b[*]","where":{"field":"b[*].x","exists":false}},"equals":2000}},"equals":2000}`
	v := evalCondition(t, explosion, `{"a":`+list+`,"b":`+list+`}`, "")
	if v.State != Failed || v.Problem.Code != TooComplex {
		t.Errorf("%s %v", v.State, v.Problem)
	}
	v = evalCondition(t, `{"value":"[length(concat(field('a[*]'), field('a[*]')))]","equals":4000}`, `{"a":`+list+`}`, "")
	if v.State != Hit {
		t.Errorf("%s %v", v.State, v.Problem)
	}
}

// condition draws conditions that cannot fail.
func condition(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		kinds := 5
		if depth == 0 {
			kinds = 3
		}
		operand := rapid.SampledFrom([]string{`"x"`, `"X"`, `1`, `true`, `null`, `""`, `["x",1]`, `"x*"`}).Draw(t, "operand")
		op := rapid.SampledFrom(operatorNames[:]).Draw(t, "operator")
		switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
		case 0:
			field := rapid.SampledFrom([]string{"a", "b", "tags.t", "l[*]", "l[*].x", "type"}).Draw(t, "field")
			return fmt.Sprintf(`{"field":%q,%q:%s}`, field, op, operand)
		case 1:
			val := rapid.SampledFrom([]string{`"[field('a')]"`, `"[parameters('p')]"`, `1`, `"[if(equals(field('b'), 1), 'x', 'y')]"`}).Draw(t, "value")
			return fmt.Sprintf(`{"value":%s,%q:%s}`, val, op, operand)
		case 2:
			return fmt.Sprintf(`{"count":{"field":"l[*]","where":{"field":"l[*].x",%q:%s}},"greater":%d}`, op, operand, rapid.IntRange(-1, 3).Draw(t, "n"))
		case 3:
			return `{"not":` + condition(depth-1).Draw(t, "inner") + `}`
		}
		parts := rapid.SliceOfN(condition(depth-1), 0, 6).Draw(t, "parts")
		return fmt.Sprintf(`{%q:[%s]}`, rapid.SampledFrom([]string{"allOf", "anyOf"}).Draw(t, "junction"), strings.Join(parts, ","))
	})
}

func document() *rapid.Generator[string] {
	scalar := rapid.SampledFrom([]string{`"x"`, `"X1"`, `1`, `true`, `null`, `""`, `{"x":1}`, `["x"]`})
	return rapid.Custom(func(t *rapid.T) string {
		list := rapid.SampledFrom([]string{`[]`, `[{"x":1},{"x":"x"}]`, `["x"]`, `[{}]`, `null`, `{"x":1}`}).Draw(t, "list")
		return fmt.Sprintf(`{"type":"T/t","a":%s,"b":%s,"tags":{"T":%s},"l":%s}`, scalar.Draw(t, "a"), scalar.Draw(t, "b"), scalar.Draw(t, "t"), list)
	})
}

func TestProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		doc := document().Draw(rt, "document")
		parts := rapid.SliceOfN(condition(2), 1, 5).Draw(rt, "parts")
		held := func(c string) bool {
			v := evalCondition(t, c, doc, "")
			if v.State == Failed {
				rt.Fatalf("%s failed: %v", c, v.Problem)
			}
			return v.State == Hit
		}
		x := parts[0]
		if held(x) != held(`{"not":{"not":`+x+`}}`) {
			rt.Fatalf("not(not x) differs for %s over %s", x, doc)
		}
		for _, junction := range []string{"allOf", "anyOf"} {
			want := held(`{"` + junction + `":[` + strings.Join(parts, ",") + `]}`)
			shuffled := append([]string(nil), parts...)
			rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			if held(`{"`+junction+`":[`+strings.Join(shuffled, ",")+`]}`) != want {
				rt.Fatalf("the order of %s matters: %s over %s", junction, parts, doc)
			}
			want2 := junction == "allOf"
			for _, part := range parts {
				if held(part) != want2 {
					want2 = !want2
					break
				}
			}
			if want != want2 {
				rt.Fatalf("%s of %s is %v over %s, its parts say %v", junction, parts, want, doc, want2)
			}
		}
	})
}

func TestOneProgramServesManyGoroutines(t *testing.T) {
	var wg sync.WaitGroup
	for _, rule := range sample.Rules() {
		p, in := compileSample(t, rule)
		want := p.Evaluate(in).State
		for range 4 {
			wg.Go(func() {
				for range 500 {
					if got := p.Evaluate(in).State; got != want {
						t.Errorf("%s: %s, alone %s", rule.Name, got, want)
						return
					}
				}
			})
		}
	}
	wg.Wait()
}

func TestTypesOfARule(t *testing.T) {
	for rule, want := range map[string]string{
		`{"field":"type","equals":"A.B/c"}`: "[a.b/c]",
		`{"allOf":[{"field":"x","equals":1},{"field":"type","in":["A.B/c","A.B/d","A.B/e","A.B/f"]}]}`:                                                "[a.b/c a.b/d a.b/e a.b/f]",
		`{"anyOf":[{"field":"type","equals":"A/b"},{"allOf":[{"field":"type","equals":"A/c"}]}]}`:                                                     "[a/b a/c]",
		`{"anyOf":[{"field":"type","equals":"A/b"},{"field":"x","equals":1}]}`:                                                                        "[]",
		`{"not":{"field":"type","equals":"A/b"}}`:                                                                                                     "[]",
		`{"anyOf":[{"field":"type","equals":"A/b"},{"field":"type","equals":"A/c"},{"field":"type","equals":"A/d"},{"field":"type","equals":"A/e"}]}`: "[a/b a/c a/d a/e]",
	} {
		def, err := ParseRule(`{"if":` + rule + `,"then":{"effect":"audit"}}`)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Compile(def, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(p.Types()); got != want {
			t.Errorf("%s: %s, want %s", rule, got, want)
		}
	}
}

func FuzzEvaluate(f *testing.F) {
	f.Add(`{"if":{"count":{"field":"a[*].b[*]","where":{"field":"a[*].b[*].c","like":"x*"}},"greater":0},"then":{"effect":"modify","details":{"roleDefinitionIds":[],"operations":[{"operation":"add","field":"a[*].x","value":"[field('a')]"}]}}}`, `{"a":[{"b":[{"c":"xy"}]}]}`)
	f.Add(`{"if":{"value":"[current('n.x')]","equals":"[format('{0}', field('t'))]"},"then":{"effect":"[parameters('e')]","details":{"type":"x"}}}`, `{"type":"Microsoft.Compute/virtualMachines","tags":{"a":1}}`)
	f.Add(`{"if":{"field":"[concat('tags[', field('a'), ']')]","in":["[field('a[*]')]"]},"then":{"effect":"append","details":[{"field":"tags['x']","value":1}]}}`, `{"a":["x"]}`)
	for _, b := range sample.Rules() {
		f.Add(`{"if":`+b.If+`,"then":{"effect":"deny"}}`, sample.VM)
	}
	f.Fuzz(func(t *testing.T, rule, document string) {
		def, err := ParseRule(rule)
		if err != nil {
			return
		}
		r, err := ParseResource(document, "2024-01-01")
		if err != nil {
			return
		}
		for _, aliases := range []*alias.Table{nil, alias.Default()} {
			p, err := Compile(def, Options{Aliases: aliases, TolerateUnknownAliases: true, Parameters: value.FromFields([]value.Field{{Key: "e", Value: value.FromString("audit")}})})
			if err != nil {
				continue
			}
			in := Input{Resource: r, Context: value.NullValue}
			v := p.Evaluate(in)
			explained, _ := p.Explain(in)
			if v.State != explained.State {
				t.Errorf("evaluated %s, explained %s", v.State, explained.State)
			}
			if v.Changes != nil {
				Apply(r, Assigned{ID: "a", Changes: v.Changes})
			}
		}
	})
}

func FuzzParseDefinition(f *testing.F) {
	f.Add(`{"properties":{"mode":"All","parameters":{"a":{"type":"String","defaultValue":"x"}},"policyRule":{"if":{"allOf":[]},"then":{"effect":"audit"}}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		if def, err := ParseDefinition(text); err == nil {
			Compile(def, Options{Aliases: alias.Default()})
		}
		if set, err := ParseInitiative(text); err == nil {
			for _, m := range set.Members {
				set.MemberParameters(m, Value{})
			}
		}
	})
}
