package policy

import (
	"fmt"
	"strings"
	"testing"

	"hallmark.dev/hallmark/internal/expr/value"
)

// truthTables are the operators' results over typical values: rows are the
// operand, columns the left value, where U is a property that an array's element
// lacks. T is true.
const truthTables = `
equals
   null         T T T . . . . . . .
   ""           . T T . . . . . . .
   "ABC"        . . . T . . . . . .
   "5"          . . . . T . T . . .
   5            . . . . T . T . . .
   true         . . . . . T . T . .
   "TRUE"       . . . . . T . T . .
   {"abc":1}    . . . . . . . . . T
greater
   ""           . . . T T T . . . .
   "ABC"        . . . . . T . . . .
   "5"          . . . T . T . . . .
greaterOrEquals
   ""           . . T T T T . . . .
   "ABC"        . . . T . T . . . .
   "5"          . . . T T T T . . .
   5            . . . . T . T . . .
   true         . . . . . . . T . .
   "TRUE"       . . . . . T . . . .
less
   "ABC"        . . T . T . . . . .
   "5"          . . T . . . . . . .
   "TRUE"       . . T T T . . . . .
in
   null         . . T . . . . . . .
   ""           . . T . . . . . . .
   "ABC"        . . . T . . . . . .
   "5"          . . . . T . T . . .
   5            . . . . T . T . . .
   true         . . . . . T . T . .
   "TRUE"       . . . . . T . T . .
   ["Abc","x"]  . . . T . . . . . .
   [null,5]     T . . . T . T . . .
   {"abc":1}    . . . . . . . . . T
notIn
   null         T T . T T T T T T T
   "ABC"        T T T . T T T T T T
   [null,5]     . T T T . T . T T T
   U            T T T T T T T T T T
contains
   ""           . . T T T T T T . .
   "ABC"        . . . T . . . . T T
   "5"          . . . . T . T . T .
   5            . . . . T . . . T .
   true         . . . . . T . . . .
   "TRUE"       . . . . . T . T . .
notContains
   null         T T T T T T T T T T
   "ABC"        T T T . T T T T . .
   [null,5]     T T T T T T T T T T
   U            T . . . . . . . . .
containsKey
   "ABC"        . . . . . . . . . T
notContainsKey
   null         T T T T T T T T T T
   "ABC"        T T T T T T T T T .
   [null,5]     T T T T T T T T T T
   U            T . . . . . . . . .
like
   ""           . . T . . . . . . .
   "ABC"        . . . T . . . . . .
   "5"          . . . . T . T . . .
   5            . . . . T . T . . .
   true         . . . . . T . T . .
   "TRUE"       . . . . . T . T . .
match
   ""           . . T . . . . . . .
   "5"          . . . . T . T . . .
   5            . . . . T . T . . .
   true         . . . . . T . T . .
`

var tableColumns = []string{"U", "null", `""`, `"abc"`, `"5"`, `"true"`, "5", "true", `["abc",5]`, `{"abc":1}`}

// opposites are exact negations; lessOrEquals mirrors greaterOrEquals elsewhere.
var opposites = map[string]string{"equals": "notEquals", "like": "notLike", "match": "notMatch"}

func TestTruthTables(t *testing.T) {
	operator := ""
	for _, line := range strings.Split(strings.TrimSpace(truthTables), "\n") {
		if !strings.HasPrefix(line, " ") {
			operator = line
			continue
		}
		fields := strings.Fields(line)
		for i, cell := range fields[1:] {
			checkCell(t, operator, tableColumns[i], fields[0], cell == "T")
			if opposite := opposites[operator]; opposite != "" {
				checkCell(t, opposite, tableColumns[i], fields[0], cell != "T")
			}
		}
	}
}

// checkCell evaluates l OP r in every way in which a rule can come to it.
func checkCell(t *testing.T, operator, l, r string, want bool) {
	t.Helper()
	operand := r
	if r == "U" {
		operand = `"[parameters('missing')]"`
	}
	inLoop := fmt.Sprintf(`{"field":"list[*].x","%s":%s}`, operator, operand)
	document := fmt.Sprintf(`{"list":[{"x":%s}],"x":%s}`, l, l)
	if l == "U" {
		document = `{"list":[{}]}`
	}
	check(t, inLoop, document, want)
	if l == "U" {
		check(t, fmt.Sprintf(`{"value":"[parameters('missing')]","%s":%s}`, operator, operand), `{}`, false)
		return
	}
	check(t, fmt.Sprintf(`{"field":"x","%s":%s}`, operator, operand), document, want)
	check(t, fmt.Sprintf(`{"value":%s,"%s":%s}`, l, operator, operand), `{}`, want)
	if l == "null" {
		check(t, fmt.Sprintf(`{"field":"nothing","%s":%s}`, operator, operand), document, want)
	}
	// an operand that is only known when evaluating
	check(t, fmt.Sprintf(`{"field":"x","%s":"[field('r')]"}`, operator), fmt.Sprintf(`{"x":%s,"r":%s}`, l, orNothing(r)), wantDynamic(operator, l, r, want))
}

func orNothing(r string) string {
	if r == "U" {
		return "null"
	}
	return r
}

// wantDynamic: field() turns a missing operand into null.
func wantDynamic(operator, l, r string, want bool) bool {
	if r != "U" {
		return want
	}
	lv, _ := value.Parse(l)
	op, _ := operatorNamed(operator)
	return compare[op](lv, value.NullValue)
}

func check(t *testing.T, condition, document string, want bool) {
	t.Helper()
	v := evalCondition(t, condition, document, "")
	if v.State == Failed {
		t.Errorf("%s over %s: %v", condition, document, v.Problem)
	} else if (v.State == Hit) != want {
		t.Errorf("%s over %s = %v, want %v", condition, document, v.State == Hit, want)
	}
}

// evalCondition evaluates one condition without aliases.
func evalCondition(t testing.TB, condition, document, context string) Verdict {
	t.Helper()
	def, err := ParseRule(`{"if":` + condition + `,"then":{"effect":"audit"}}`)
	if err != nil {
		t.Fatalf("%s: %v", condition, err)
	}
	return evalDefinition(t, def, document, context, "")
}

func evalDefinition(t testing.TB, def *Definition, document, context, parameters string) Verdict {
	t.Helper()
	parse := func(text string) Value {
		if text == "" {
			return Value{}
		}
		v, err := value.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	p, err := Compile(def, Options{Parameters: parse(parameters)})
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseResource(document, "")
	if err != nil {
		t.Fatal(err)
	}
	in := Input{Resource: r, Context: parse(context)}
	v, tree := p.Explain(in)
	if plain := p.Evaluate(in); plain.State != v.State {
		t.Errorf("explained %s, evaluated %s", v.State, plain.State)
	}
	if tree != nil && v.State != Failed && tree.Held != (v.State == Hit) && !def.hidesOutcome() {
		t.Errorf("the explanation says held=%v, the verdict is %s", tree.Held, v.State)
	}
	return v
}

// hidesOutcome: a disabled effect or an existence check decides after the rule.
func (d *Definition) hidesOutcome() bool { return EffectNamed(d.Effect) != Audit }

func TestExists(t *testing.T) {
	for _, operand := range []string{"true", `"TRUE"`, `"true"`} {
		check(t, `{"field":"x","exists":`+operand+`}`, `{"x":false}`, true)
		check(t, `{"field":"x","exists":`+operand+`}`, `{"x":""}`, true)
		check(t, `{"field":"x","exists":`+operand+`}`, `{"x":null}`, false)
		check(t, `{"field":"x","exists":`+operand+`}`, `{}`, false)
	}
	for _, operand := range []string{"false", `"false"`, `"yes"`, "1", "null", "[]"} {
		check(t, `{"field":"x","exists":`+operand+`}`, `{"x":0}`, false)
		check(t, `{"field":"x","exists":`+operand+`}`, `{}`, true)
	}
}

func TestConditions(t *testing.T) {
	tests := []struct {
		condition, document string
		want                bool
	}{
		// logic
		{`{"allOf":[]}`, `{}`, true},
		{`{"anyOf":[]}`, `{}`, false},
		{`{"NOT":{"anyOf":[{"field":"x","EQUALS":1}]}}`, `{"x":2}`, true},
		// text
		{`{"field":"x","equals":"STRASSE"}`, `{"x":"straße"}`, true},
		{`{"field":"x","like":"a*c*e"}`, `{"x":"ABCDE"}`, true},
		{`{"field":"x","like":"a?c"}`, `{"x":"abc"}`, true},
		{`{"field":"x","match":"##-??"}`, `{"x":"12-ab"}`, true},
		{`{"field":"x","match":"a"}`, `{"x":"A"}`, false},
		{`{"field":"x","matchInsensitively":"a"}`, `{"x":"A"}`, true},
		{`{"field":"x","less":"2026-01-01"}`, `{"x":"2025-12-31T00:00:00Z"}`, true},
		// tags
		{`{"field":"tags.Env","equals":"prod"}`, `{"tags":{"eNV":"PROD"}}`, true},
		{`{"field":"tags.a.b","equals":"x"}`, `{"tags":{"a.b":"x"}}`, true},
		{`{"field":"tags['a]b']","equals":"x"}`, `{"tags":{"a]b":"x"}}`, true},
		{`{"field":"tags[env]","exists":false}`, `{"tags":{}}`, true},
		{`{"field":"tags","containsKey":"ENV"}`, `{"tags":{"env":"x"}}`, true},
		{`{"field":"[concat('tags[', toLower('ENV'), ']')]","equals":"x"}`, `{"tags":{"env":"x"}}`, true},
		{`{"field":"[concat('tags[', field('which'), ']')]","equals":"x"}`, `{"tags":{"env":"x"},"which":"env"}`, true},
		{`{"field":"[if(equals(field('kind'),'a'),'x','y')]","equals":1}`, `{"kind":"b","x":2,"y":1}`, true},
		{`{"value":"[field('tags.a.b')]","equals":"x"}`, `{"tags":{"a.b":"x"}}`, false},
		{`{"value":"[field('tags[a.b]')]","equals":"x"}`, `{"tags":{"a.b":"x"}}`, true},
		// built-in names
		{`{"field":"FullName","equals":"vm1/ext1"}`, `{"id":"/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm1/extensions/ext1"}`, true},
		{`{"field":"identity.type","contains":"assigned"}`, `{"identity":{"type":"SystemAssigned"}}`, true},
		// paths
		{`{"field":"PROPERTIES.x[1]['y.z']","equals":1}`, `{"properties":{"X":[0,{"y.z":1}]}}`, true},
		{`{"field":"properties.123","exists":true}`, `{"properties":{"123":1}}`, false},
		// implicit allOf
		{`{"field":"a[*]","equals":"x"}`, `{"a":["X","x"]}`, true},
		{`{"field":"a[*]","equals":"x"}`, `{"a":["x","y"]}`, false},
		{`{"field":"a[*]","equals":"x"}`, `{"a":[]}`, true},
		{`{"field":"a[*]","equals":"x"}`, `{}`, false},
		{`{"field":"a[*]","notEquals":"x"}`, `{}`, true},
		{`{"field":"a[*]","exists":false}`, `{"a":{"k":1}}`, true},
		{`{"field":"a[*].b","equals":""}`, `{"a":[{}]}`, false},
		{`{"field":"a[*].b","in":[null]}`, `{"a":[{}]}`, true},
		{`{"field":"a[*].b[*].c","equals":1}`, `{"a":[{"b":[]},{"b":[{"c":1}]}]}`, true},
		{`{"field":"a[*].b[*].c","equals":1}`, `{"a":[{"b":[{"c":1}]},{}]}`, false},
		{`{"not":{"field":"a[*]","notEquals":"x"}}`, `{"a":[]}`, false},
		// count
		{`{"count":{"field":"a[*]"},"equals":2}`, `{"a":[1,null]}`, true},
		{`{"count":{"field":"a[*]"},"equals":0}`, `{"a":{"x":1}}`, true},
		{`{"count":{"field":"a[*].b[*]"},"equals":2}`, `{"a":[{"b":[1,2]},{}]}`, true},
		{`{"count":{"field":"a[*]","where":{"field":"a[*].x","greater":1}},"equals":1}`, `{"a":[{"x":1},{"x":2},{}]}`, true},
		{`{"count":{"field":"a[*]","where":{"field":"a[*]","equals":"y"}},"greater":0}`, `{"a":["x","Y"]}`, true},
		{`{"count":{"field":"a[*]","where":{"field":"a.x","equals":2}},"equals":1}`, `{"a":[{"x":1},{"x":2}]}`, true},
		{`{"count":{"field":"a[*]","where":{"field":"z","equals":1}},"equals":2}`, `{"a":[1,2],"z":1}`, true},
		{`{"count":{"field":"a[*]","where":{"count":{"field":"a[*].b[*]","where":{"field":"a[*].b[*]","equals":1}},"equals":1}},"equals":1}`, `{"a":[{"b":[1,2]},{"b":[1,1]}]}`, true},
		{`{"count":{"field":"a[*].b[*]","where":{"allOf":[{"field":"a[*].k","equals":1},{"field":"a[*].b[*]","equals":5}]}},"equals":1}`, `{"a":[{"k":1,"b":[5]},{"k":2,"b":[5]}]}`, true},
		{`{"count":{"field":"a[*]","where":{"field":"a[*].b[*].c","equals":1}},"equals":2}`, `{"a":[{"b":[{"c":1}]},{"b":[]},{}]}`, true},
		{`{"count":{"value":["a","b"],"name":"n","where":{"value":"[current('n')]","equals":"b"}},"equals":1}`, `{}`, true},
		{`{"count":{"value":"[field('list')]","where":{"value":"[current()]","equals":1}},"equals":2}`, `{"list":[1,1,2]}`, true},
		{`{"count":{"value":"x"},"equals":0}`, `{}`, true},
		{`{"count":{"value":[{"k":"a"}],"name":"n","where":{"count":{"field":"tags[*]"},"equals":0}},"equals":1}`, `{}`, true},
		{`{"count":{"value":[{"k":"env"}],"name":"n","where":{"field":"[concat('tags[', current('n').k, ']')]","equals":"x"}},"equals":1}`, `{"tags":{"ENV":"x"}}`, true},
		{`{"count":{"value":[1,2],"name":"n","where":{"count":{"field":"a[*]","where":{"value":"[current('a[*].x')]","equals":"[current('n')]"}},"equals":1}},"equals":2}`, `{"a":[{"x":1},{"x":2}]}`, true},
		// field() and [*]
		{`{"value":"[length(field('a[*].b'))]","equals":2}`, `{"a":[{"b":1},{},{"b":null}]}`, true},
		{`{"value":"[length(field('none[*].b'))]","equals":0}`, `{}`, true},
		{`{"count":{"field":"a[*]","where":{"value":"[first(field('a[*].b'))]","equals":2}},"equals":1}`, `{"a":[{"b":1},{"b":2}]}`, true},
		{`{"count":{"field":"a[*]","where":{"value":"[length(field('a[*].b'))]","equals":1}},"equals":2}`, `{"a":[{"b":1},{"b":2}]}`, true},
		{`{"value":"[field('nothing')]","equals":""}`, `{}`, true},
		// values
		{`{"value":"[parameters('missing')]","notEquals":"x"}`, `{}`, false},
		{`{"value":["[field('a')]"],"contains":"x"}`, `{"a":"X"}`, true},
		{`{"field":"a","in":["[field('b')]","z"]}`, `{"a":"q","b":"Q"}`, true},
		{`{"field":"a","equals":"[[b]"}`, `{"a":"[b]"}`, true},
	}
	for _, tt := range tests {
		check(t, tt.condition, tt.document, tt.want)
	}
}

func TestContextFunctions(t *testing.T) {
	context := `{"resourceGroup":{"name":"rg1","tags":{"cost":"7"}},"subscription":{"subscriptionId":"s"},"policy":{"assignmentId":"a"},"utcNow":"2026-11-22T00:00:00Z","requestContext":{"apiVersion":"2024-01-01"}}`
	for condition, want := range map[string]bool{
		`{"value":"[resourceGroup().tags.cost]","equals":7}`:                                             true,
		`{"value":"[resourceGroup().tags['nope']]","exists":false}`:                                      false,
		`{"value":"[requestContext().apiVersion]","less":"2025-01-01"}`:                                  true,
		`{"value":"[addDays(utcNow(), -30)]","greater":"2026-10-01"}`:                                    true,
		`{"value":"[concat(policy().assignmentId, '-', policy().definitionReferenceId)]","equals":"a-"}`: true,
		`{"value":"[utcNow('yyyy')]","equals":"2026"}`:                                                   true,
		`{"field":"a","equals":"[concat(resourceGroup().name, '-', subscription().subscriptionId)]"}`:    true,
	} {
		if v := evalCondition(t, condition, `{"a":"rg1-S"}`, context); v.State == Failed || (v.State == Hit) != want {
			t.Errorf("%s: %s %v", condition, v.State, v.Problem)
		}
	}
}

func TestFailuresAreErrors(t *testing.T) {
	for condition, reason := range map[string]string{
		`{"value":"[toLower(field('nothing'))]","equals":"x"}`:                                        "toLower: the argument must be text",
		`{"value":"[resourceGroup().name]","equals":"x"}`:                                             "resourceGroup: the context",
		`{"anyOf":[{"value":"[int('x')]","equals":1},{"field":"a","exists":true}]}`:                   "int:",
		`{"not":{"value":"[first(field('a'))]","equals":1}}`:                                          "first:",
		`{"count":{"field":"l[*]","where":{"value":"[int(current('l[*]'))]","equals":1}},"equals":0}`: "int:",
		`{"field":"l[*]","equals":"[int('x')]"}`:                                                      "int:",
	} {
		v := evalCondition(t, condition, `{"a":5,"l":["x"]}`, "")
		if v.State != Failed || !strings.Contains(v.Problem.Message, reason) || v.Problem.Path == "" {
			t.Errorf("%s: %s %v, want an error with %q", condition, v.State, v.Problem, reason)
		}
	}
	// what is not reached cannot fail
	for _, condition := range []string{
		`{"allOf":[{"field":"a","equals":1},{"value":"[int('x')]","equals":1}]}`,
		`{"value":"[if(equals(field('a'),5), 'ok', int('x'))]","equals":"no"}`,
	} {
		if v := evalCondition(t, condition, `{"a":5}`, ""); v.State != None {
			t.Errorf("%s: %s %v", condition, v.State, v.Problem)
		}
	}
}

func TestIncomparableLeavesADiagnostic(t *testing.T) {
	v := evalCondition(t, `{"field":"a","greater":5}`, `{"a":"many"}`, "")
	if v.State != None || len(v.Diagnostics) != 1 || !strings.Contains(v.Diagnostics[0].Message, "cannot compare") {
		t.Errorf("%+v", v)
	}
}
