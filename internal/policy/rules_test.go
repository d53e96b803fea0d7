package policy

import (
	"strings"
	"testing"

	"hallmark.dev/hallmark/internal/policy/alias"
)

// The numbered rules of the language that the other tests do not show.
func TestRulesOfTheLanguage(t *testing.T) {
	tests := []struct {
		rule                string // where the language's description has it
		condition, document string
		want                bool
	}{
		{"12 names in any case", `{"FIELD":"TYPE","Equals":"t/T"}`, `{"type":"T/t"}`, true},
		{"12 identity", `{"field":"IDENTITY.userAssignedIdentities","containsKey":"/x"}`, `{"identity":{"userAssignedIdentities":{"/X":{}}}}`, true},
		{"13 tags in double quotes", `{"field":"tags[\"a b\"]","equals":"x"}`, `{"tags":{"A B":"x"}}`, true},
		{"13 everything after the dot is one name", `{"field":"tags.a[0].b","equals":"x"}`, `{"tags":{"a[0].b":"x"}}`, true},
		{"16 a bracket that never closes is text", `{"field":"a","equals":"[a"}`, `{"a":"[a"}`, true},
		{"16 two brackets are one", `{"value":"[[x","equals":"[[x"}`, `{}`, true},
		{"17 bare words", `{"value":"[TRUE]","equals":true}`, `{}`, true},
		{"17 null", `{"value":"[null]","equals":null}`, `{}`, true},
		{"17 a quote in a literal", `{"value":"[concat('it''s')]","equals":"it's"}`, `{}`, true},
		{"17 minus", `{"value":"[-5]","less":"[add(-2,-2)]"}`, `{}`, true},
		{"18 functions ignore case", `{"value":"[TOLOWER('A')]","equals":"a"}`, `{}`, true},
		{"18 keys of a resource have any case", `{"value":"[field('o').INNER]","equals":1}`, `{"o":{"inner":1}}`, true},
		{"19 an index out of range is nothing", `{"value":"[field('l')[9]]","notEquals":"x"}`, `{"l":[1]}`, false},
		{"19 nor does a wrong index exist", `{"value":"[field('l').x]","exists":false}`, `{"l":[1]}`, false},
		{"20 a missing part takes the whole list with it", `{"field":"a","in":["[parameters('nope')]","x"]}`, `{"a":"x"}`, false},
		{"20 notIn of such a list", `{"field":"a","notIn":["[parameters('nope')]","x"]}`, `{"a":"x"}`, true},
		{"24 field() of nothing is null", `{"value":"[field('zz')]","equals":null}`, `{}`, true},
		{"25 nested arrays are flattened", `{"value":"[field('a[*].b[*]')]","equals":[1,2,3]}`, `{"a":[{"b":[1,2]},{},{"b":[3]},{"b":4}]}`, true},
		{"26 field() in its count is a list of one", `{"count":{"field":"a[*]","where":{"value":"[field('a[*]')]","equals":[2]}},"equals":1}`, `{"a":[1,2]}`, true},
		{"27 the outer count by its name", `{"count":{"value":[1,2],"name":"o","where":{"count":{"value":[2,3],"name":"i","where":{"value":"[current('o')]","equals":"[current('i')]"}},"equals":1}},"equals":1}`, `{}`, true},
		{"27 current() is the innermost", `{"count":{"value":[1],"name":"o","where":{"count":{"value":[7],"name":"i","where":{"value":"[current()]","equals":7}},"equals":1}},"equals":1}`, `{}`, true},
		{"33 missing and null are the same", `{"allOf":[{"field":"x","notIn":["a"]},{"field":"y","notIn":["a"]},{"field":"x","equals":""},{"field":"y","equals":""}]}`, `{"y":null}`, true},
		{"34 numbers and their text", `{"allOf":[{"field":"a","equals":"1.0"},{"field":"b","equals":5},{"field":"a","notEquals":true}]}`, `{"a":1,"b":" 5 "}`, true},
		{"34 arrays are compared exactly", `{"field":"a","equals":["X"]}`, `{"a":["x"]}`, false},
		{"34 final sigma", `{"field":"a","equals":"ΟΔΟΣ"}`, `{"a":"οδος"}`, true},
		{"35 booleans have an order", `{"field":"a","greater":false}`, `{"a":true}`, true},
		{"35 not less is not greaterOrEquals", `{"allOf":[{"not":{"field":"a","less":5}},{"not":{"field":"a","greaterOrEquals":5}}]}`, `{"a":[]}`, true},
		{"37 contains looks at keys", `{"field":"o","contains":"KEY"}`, `{"o":{"key":1}}`, true},
		{"39 like has no escapes", `{"field":"a","like":"[[*]"}`, `{"a":"[x]"}`, true},
		{"39 numbers are text for like", `{"field":"a","like":"4*"}`, `{"a":42}`, true},
		{"40 match is as long as its text", `{"field":"a","match":"##"}`, `{"a":"123"}`, false},
		{"40 a dot is any character", `{"field":"a","match":"a.c"}`, `{"a":"a-c"}`, true},
		{"40 only ASCII letters", `{"field":"a","match":"?"}`, `{"a":"é"}`, false},
		{"43 a value that does not exist meets nothing", `{"value":"[field('o').x]","notLike":"y"}`, `{"o":{}}`, false},
		{"44 not of nothing", `{"not":{"anyOf":[]}}`, `{}`, true},
		{"46 an empty array meets every operator", `{"allOf":[{"field":"a[*]","equals":1},{"field":"a[*]","notEquals":1},{"field":"a[*]","exists":true},{"field":"a[*]","exists":false}]}`, `{"a":[]}`, true},
		{"47 an object is no array", `{"field":"a[*].b","equals":1}`, `{"a":{"b":1}}`, false},
		{"49 an element without the inner array", `{"field":"a[*].b[*]","exists":false}`, `{"a":[{"b":[]},{}]}`, true},
		{"52 sums over parents, a missing one is empty", `{"count":{"field":"a[*].b[*]"},"equals":3}`, `{"a":[{"b":[1]},{},{"b":[1,1]},{"b":{"x":1}}]}`, true},
		{"53 a value that is no array", `{"count":{"value":"[field('o')]","where":{"value":"[current()]","exists":true}},"equals":0}`, `{"o":{"x":1}}`, true},
		{"54 a[*] without the star is the element", `{"count":{"field":"a[*]","where":{"field":"a","equals":2}},"equals":1}`, `{"a":[1,2]}`, true},
		{"54 other arrays stay implicit allOf", `{"count":{"field":"a[*]","where":{"field":"b[*]","equals":1}},"equals":2}`, `{"a":[1,2],"b":[1,1]}`, true},
		{"55 a nested count counts its own element only", `{"count":{"field":"a[*]","where":{"count":{"field":"a[*].b[*]"},"equals":1}},"equals":2}`, `{"a":[{"b":[1]},{"b":[1]},{"b":[1,2]}]}`, true},
		{"56 a count is a number for every operator", `{"count":{"field":"a[*]"},"like":"1*"}`, `{"a":[1,2,3,4,5,6,7,8,9,0]}`, true},
		{"56 in", `{"count":{"field":"a[*]"},"in":[2,3]}`, `{"a":[1,2]}`, true},
		{"56 text", `{"count":{"field":"a[*]"},"equals":"2"}`, `{"a":[1,2]}`, true},
		{"57 where must be true", `{"count":{"field":"a[*]","where":{"value":"[current().x]","notEquals":1}},"equals":1}`, `{"a":[{},{"x":2}]}`, true},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) { check(t, tt.condition, tt.document, tt.want) })
	}
}

// What is no rule is said when it is written, with the reason.
func TestWhatDoesNotCompile(t *testing.T) {
	for condition, want := range map[string]string{
		`{"field":"[toLower('tags.x')]","equals":1}`:                                                  "may be expressions",
		`{"field":"[concat('x','tags')]","equals":1}`:                                                 "may be expressions",
		`{"field":"[if(true, field('a'), 'b')]","equals":1}`:                                          "must be an alias",
		`{"value":"[null()]","equals":1}`:                                                             "null",
		`{"value":"[reference('x')]","equals":1}`:                                                     "cannot be called in policies",
		`{"value":"[field(concat('a', field('b')))]","equals":1}`:                                     "known before evaluation",
		`{"value":"[current('x')]","equals":1}`:                                                       "count",
		`{"count":{"value":[1],"name":"n","where":{"value":"[current('m')]","equals":1}},"equals":1}`: "no count around it",
		`{"count":{"field":"tags.x"},"equals":1}`:                                                     "[*]",
		`{"value":"[concat('a']","equals":1}`:                                                         "",
		`{"value":"[toLower('a') x]","equals":1}`:                                                     "",
	} {
		def, err := ParseRule(`{"if":` + condition + `,"then":{"effect":"audit"}}`)
		if err == nil {
			_, err = Compile(def, Options{})
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", condition, err, want)
		}
	}
}

// Effects: what a parameter says decides, and nothing that fails looks compliant.
func TestRulesOfEffects(t *testing.T) {
	const dine = `"details":{"type":"T/r","roleDefinitionIds":["[concat('not','evaluated')]"],"existenceCondition":{"field":"name","notEquals":"x"}}`
	for _, tt := range []struct {
		rule, then, parameters string
		related                []string
		state                  State
		effect, details        string
	}{
		{"59 the spelling stays", `"effect":"AUDIT"`, `{}`, nil, Hit, "AUDIT", ""},
		{"60 disabled in any case", `"effect":"[parameters('e')]"`, `{"e":"DISABLED"}`, nil, None, "", ""},
		{"60, D4 a missing effect is an error", `"effect":"[parameters('e')]"`, `{}`, nil, Failed, "", ""},
		{"D6 Audit given to a rule with an existence check", `"effect":"[parameters('e')]",` + dine, `{"e":"Audit"}`, nil, Hit, "Audit", ""},
		{"D6 Deny given to a rule with operations", `"effect":"[parameters('e')]","details":{"roleDefinitionIds":[],"operations":[{"operation":"remove","field":"a"}]}`, `{"e":"Deny"}`, nil, Hit, "Deny", ""},
		{"62 unknown effects are passed on", `"effect":"mutate"`, `{}`, nil, Hit, "mutate", ""},
		{"63, D4 a missing value is an error", `"effect":"append","details":[{"field":"a","value":"[parameters('e')]"}]`, `{}`, nil, Failed, "", ""},
		{"71 nothing related, although the condition would hold", `"effect":"deployIfNotExists",` + dine, `{}`, nil, Hit, "deployIfNotExists", ""},
		{"71 one that meets it", `"effect":"deployIfNotExists",` + dine, `{}`, []string{`{"name":"x"}`, `{"name":"y"}`}, None, "", ""},
		{"73 only type and roles are emitted", `"effect":"deployIfNotExists",` + dine, `{}`, []string{`{"name":"x"}`}, Hit, "deployIfNotExists", `{"type":"T/r","roleDefinitionIds":["[concat('not','evaluated')]"]}`},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			def, err := ParseRule(`{"if":{"allOf":[]},"then":{` + tt.then + `}}`)
			if err != nil {
				t.Fatal(err)
			}
			values, err := ParseResource(tt.parameters, "")
			if err != nil {
				t.Fatal(err)
			}
			p, err := Compile(def, Options{Parameters: values.Root()})
			if err != nil {
				t.Fatal(err)
			}
			var found answers
			for _, text := range tt.related {
				r, err := ParseResource(text, "")
				if err != nil {
					t.Fatal(err)
				}
				found = append(found, r)
			}
			primary, _ := ParseResource(`{"type":"T/t","name":"primary"}`, "")
			v := p.Evaluate(Input{Resource: primary, Related: found})
			if v.State != tt.state || v.Effect != tt.effect || tt.details != "" && v.Details.JSON() != tt.details {
				t.Errorf("%s %q %s %v", v.State, v.Effect, v.Details.JSON(), v.Problem)
			}
		})
	}
}

// 24, 72: in an existence condition field: reads the related resource, field() the
// resource itself.
func TestExistenceConditionsReadTwoResources(t *testing.T) {
	def, err := ParseRule(`{"if":{"allOf":[]},"then":{"effect":"auditIfNotExists","details":{"type":"T/r","existenceCondition":{"field":"owner","equals":"[field('owner')]"}}}}`)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(def, Options{})
	if err != nil {
		t.Fatal(err)
	}
	primary, _ := ParseResource(`{"owner":"me"}`, "")
	for owner, want := range map[string]State{"me": None, "you": Hit} {
		r, _ := ParseResource(`{"owner":"`+owner+`"}`, "")
		if v := p.Evaluate(Input{Resource: primary, Related: answers{r}}); v.State != want {
			t.Errorf("%s: %s", owner, v.State)
		}
	}
}

// 30: X is known if only X[*] is listed.
func TestAnArrayAliasWithoutTheStar(t *testing.T) {
	table := alias.New(alias.Alias{Name: "C.T/things/list[*]", Type: "C.T/things", Path: "properties.list[*]"})
	checkAliased(t, `{"field":"C.T/things/list","exists":true}`, `{"type":"C.T/things","properties":{"list":[1]}}`, "", table, true)
	checkAliased(t, `{"value":"[length(field('C.T/things/list'))]","equals":2}`, `{"type":"C.T/things","properties":{"list":[1,2]}}`, "", table, true)
}

// 75, 79: members of properties count as if they stood at the root, and the root
// wins; an alias says which is meant.
func TestRootAndProperties(t *testing.T) {
	table := alias.New(alias.Alias{Name: "C.T/things/kind", Type: "C.T/things", Path: "properties.kind"},
		alias.Alias{Name: "C.T/things/sku.name", Type: "C.T/things", Path: "sku.name"})
	const document = `{"type":"C.T/things","kind":"root","sku":{"name":"a"},"properties":{"kind":"inner","sku":{"name":"b"}}}`
	checkAliased(t, `{"field":"C.T/things/kind","equals":"inner"}`, document, "", table, true)
	checkAliased(t, `{"field":"kind","equals":"root"}`, document, "", table, true)
	checkAliased(t, `{"field":"C.T/things/sku.name","equals":"a"}`, document, "", table, true)
}
