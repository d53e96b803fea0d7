package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy/alias"
)

// forecast evaluates a condition over a document of which parts are unknown.
func forecast(t *testing.T, aliases *alias.Table, condition, then, document string, u Unknown, context string, related ...string) Outlook {
	t.Helper()
	def, err := ParseRule(`{"if":` + condition + `,"then":` + then + `}`)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(def, Options{Aliases: aliases})
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseResource(document, "")
	if err != nil {
		t.Fatal(err)
	}
	if r, err = r.WithUnknown(u); err != nil {
		t.Fatal(err)
	}
	in := Input{Resource: r}
	if context != "" {
		if in.Context, err = value.Parse(context); err != nil {
			t.Fatal(err)
		}
	}
	var found answers
	for _, text := range related {
		other, err := ParseResource(text, "")
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, other)
	}
	in.Related = found
	return NewForecast(p).Evaluate(in)
}

type answers []*Resource

func (a answers) FindRelated(Query) ([]*Resource, error) { return a, nil }

// said is what an outlook comes to, in one word and the fields in doubt.
func said(o Outlook) string {
	if len(o.Doubts) == 0 {
		return o.State.String()
	}
	var fields []string
	for _, d := range o.Doubts {
		fields = append(fields, d.Field)
	}
	return "unknown " + strings.Join(fields, " ")
}

func TestForecast(t *testing.T) {
	const doc = `{"type":"T/t","name":"n","a":"x","l":[{"x":1},{"x":2,"y":{}}],"tags":{"env":"prod"}}`
	tests := []struct {
		condition string
		unknown   []string
		want      string
	}{
		{`{"field":"a","equals":"x"}`, nil, "effect"},
		{`{"field":"a","equals":"x"}`, []string{"b"}, "effect"},
		{`{"field":"b","equals":"x"}`, []string{"b"}, "unknown b"},
		{`{"field":"b","exists":false}`, []string{"b"}, "unknown b"},
		{`{"field":"b.c","equals":"x"}`, []string{"b"}, "unknown b.c"},
		{`{"field":"b","containsKey":"x"}`, []string{"b.c"}, "unknown b"},
		{`{"not":{"field":"b","equals":"x"}}`, []string{"b"}, "unknown b"},
		{`{"allOf":[{"field":"b","equals":"x"},{"field":"a","equals":"z"}]}`, []string{"b"}, "none"},
		{`{"allOf":[{"field":"b","equals":"x"},{"field":"a","equals":"x"}]}`, []string{"b"}, "unknown b"},
		{`{"anyOf":[{"field":"b","equals":"x"},{"field":"a","equals":"x"}]}`, []string{"b"}, "effect"},
		{`{"anyOf":[{"field":"b","equals":"x"},{"field":"c","equals":"x"}]}`, []string{"b", "c"}, "unknown b c"},
		{`{"value":"[toLower(field('b'))]","equals":"x"}`, []string{"b"}, "unknown b"},
		{`{"value":"[concat(field('a'), 'y')]","equals":"[field('b')]"}`, []string{"b"}, "unknown b"},
		{`{"field":"tags['env']","equals":"prod"}`, []string{"tags['owner']"}, "effect"},
		{`{"field":"tags['Owner']","exists":false}`, []string{"tags['owner']"}, "unknown tags['Owner']"},
		{`{"field":"tags.owner","exists":false}`, []string{"tags"}, "unknown tags.owner"},
		{`{"field":"[concat('tags[', field('a'), ']')]","exists":false}`, []string{"tags['x']"}, "unknown [concat('tags[', field('a'), ']')]"},
		{`{"field":"tags","containsKey":"env"}`, []string{"tags['x']"}, "unknown tags"},
		{`{"field":"l[*].x","greater":0}`, []string{"l[1].y.z"}, "effect"},
		{`{"field":"l[*].y","exists":true}`, []string{"l[1].y.z"}, "unknown l[*].y"},
		{`{"field":"l[*].x","greater":0}`, []string{"l[1]"}, "unknown l[*].x"},
		{`{"count":{"field":"l[*]"},"equals":2}`, []string{"l[1]"}, "effect"},
		{`{"count":{"field":"l[*]"},"equals":2}`, []string{"l"}, "unknown l[*]"},
		{`{"count":{"field":"l[*]","where":{"field":"l[*].x","greater":1}},"equals":1}`, []string{"l[0].y"}, "effect"},
		{`{"count":{"field":"l[*]","where":{"field":"l[*].y","exists":true}},"equals":1}`, []string{"l[0].y"}, "unknown l[*].y"},
		{`{"count":{"field":"l[*]","where":{"value":"[current('l[*].x')]","greater":1}},"equals":1}`, []string{"l[0].x"}, "unknown l[*].x"},
		{`{"count":{"field":"l[*]","where":{"value":"[current().x]","greater":1}},"equals":1}`, []string{"l[0].y"}, "unknown l[*]"},
		{`{"count":{"value":"[field('l[*].x')]","name":"n","where":{"value":"[current('n')]","greater":1}},"equals":1}`, []string{"l[0].x"}, "unknown l[*].x"},
		{`{"count":{"value":"[field('l[*].x')]","name":"n","where":{"field":"b","equals":1}},"equals":1}`, []string{"b"}, "unknown b"},
		{`{"value":"[resourceGroup().location]","equals":"x"}`, nil, "unknown resourceGroup()"},
		{`{"value":"[subscription().tags['x']]","equals":"1"}`, nil, "effect"},
		{`{"value":"[utcNow()]","equals":"1"}`, nil, "unknown utcNow()"},
		{`{"field":"fullName","equals":"n"}`, []string{"id"}, "unknown fullName"},
		{`{"allOf":[{"field":"type","equals":"T/t"},{"field":"id","contains":"x"}]}`, []string{""}, "unknown id"},
		{`{"field":"Hallmark.Image/state","equals":"aged"}`, nil, "none"},
		{`{"allOf":[{"field":"b","equals":1},{"value":"[add(field('a'),1)]","equals":2},{"field":"a","equals":"z"}]}`, []string{"b"}, "unknown b"},
		{`{"allOf":[{"value":"[add(field('a'),1)]","equals":2},{"field":"b","equals":1}]}`, []string{"b"}, "error"},
	}
	for _, tt := range tests {
		o := forecast(t, nil, tt.condition, `{"effect":"audit"}`, doc, Unknown{Paths: tt.unknown}, `{"subscription":{"tags":{"x":"1"}}}`)
		if got := said(o); got != tt.want {
			t.Errorf("%s with %q unknown: %s, want %s (%v)", tt.condition, tt.unknown, got, tt.want, o.Problem)
		}
	}
}

func TestForecastOfAliases(t *testing.T) {
	const vm = `{"type":"Microsoft.Compute/virtualMachines","properties":{"storageProfile":{"imageReference":{},"dataDisks":[{"diskSizeGB":10}]}}}`
	for _, tt := range []struct{ condition, unknown, want string }{
		{`{"field":"Microsoft.Compute/imagePublisher","equals":"x"}`, "properties.storageProfile.imageReference.publisher", "unknown Microsoft.Compute/imagePublisher"},
		{`{"field":"Microsoft.Compute/imagePublisher","equals":"x"}`, "properties.storageProfile.imageReference.sku", "none"},
		{`{"field":"Microsoft.Compute/virtualMachines/storageProfile.dataDisks[*].diskSizeGB","less":20}`, "properties.storageProfile.dataDisks[0].managedDisk.id", "effect"},
		{`{"field":"Microsoft.Compute/virtualMachines/storageProfile.dataDisks[*].diskSizeGB","less":20}`, "properties.storageProfile.dataDisks", "unknown Microsoft.Compute/virtualMachines/storageProfile.dataDisks[*].diskSizeGB"},
	} {
		if got := said(forecast(t, alias.Default(), tt.condition, `{"effect":"audit"}`, vm, Unknown{Paths: []string{tt.unknown}}, "")); got != tt.want {
			t.Errorf("%s with %s unknown: %s, want %s", tt.condition, tt.unknown, got, tt.want)
		}
	}
}

func TestForecastOfPartsAndFacts(t *testing.T) {
	for _, tt := range []struct {
		condition string
		u         Unknown
		want      string
	}{
		{`{"field":"a","equals":"x"}`, Unknown{Rest: true}, "effect"},
		{`{"field":"b","equals":"x"}`, Unknown{Rest: true}, "unknown b"},
		{`{"field":"o","containsKey":"x"}`, Unknown{Rest: true}, "unknown o"},
		{`{"field":"Hallmark.Image/state","equals":"aged"}`, Unknown{Facts: true}, "unknown Hallmark.Image/state"},
	} {
		if got := said(forecast(t, nil, tt.condition, `{"effect":"audit"}`, `{"a":"x","o":{"y":1}}`, tt.u, "")); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.condition, got, tt.want)
		}
	}
	r, err := ParseResource(`{}`, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.WithUnknown(Unknown{Paths: []string{"a[*]", "a..b", "c"}}); err == nil || strings.Count(err.Error(), "no path of one value") != 2 {
		t.Errorf("%v", err)
	}
}

func TestForecastOfEffects(t *testing.T) {
	const always = `{"allOf":[]}`
	const exists = `{"effect":"auditIfNotExists","details":{"type":"T/r","existenceCondition":{"field":"x","equals":1}}}`
	for _, tt := range []struct {
		name, condition, then string
		related               []string
		want, lacks           string
	}{
		{"nothing related", always, exists, nil, "effect", "T/r"},
		{"one meets the condition", always, exists, []string{`{"x":0}`, `{"x":1}`}, "none", ""},
		{"none meets the condition", always, exists, []string{`{"x":0}`}, "effect", ""},
		{"disabled", `{"field":"b","equals":1}`, `{"effect":"Disabled"}`, nil, "none", ""},
		{"a value to write is unknown", always, `{"effect":"append","details":[{"field":"c","value":"[resourceGroup().location]"}]}`, nil, "effect", ""},
		{"the name of what is looked for is unknown", always, `{"effect":"auditIfNotExists","details":{"type":"T/r","name":"[subscription().name]"}}`, nil, "unknown what to look for", ""},
	} {
		o := forecast(t, nil, tt.condition, tt.then, `{"type":"T/t"}`, Unknown{Paths: []string{"b"}}, "", tt.related...)
		if said(o) != tt.want || o.Lacks != tt.lacks {
			t.Errorf("%s: %s %q, want %s %q", tt.name, said(o), o.Lacks, tt.want, tt.lacks)
		}
	}
}

// What a forecast is sure of holds whatever the unknown values turn out to be.
func TestForecastsAreNeverWrong(t *testing.T) {
	places := []string{"a", "b", "tags['t']", "tags", "l", "l[0]", "l[0].x", "l[1].x", ""}
	rapid.Check(t, func(rt *rapid.T) {
		known := document().Draw(rt, "document")
		rule := condition(3).Draw(rt, "condition")
		unknown := rapid.SliceOfNDistinct(rapid.SampledFrom(places), 0, 3, rapid.ID[string]).Draw(rt, "unknown")
		truth, err := value.Parse(known)
		if err != nil {
			rt.Fatal(err)
		}
		o := forecast(t, nil, rule, `{"effect":"audit"}`, without(truth, "", unknown).JSON(), Unknown{Paths: unknown}, "")
		if len(o.Doubts) > 0 {
			if len(unknown) == 0 {
				rt.Fatalf("%s over %s: doubts %v although everything is known", rule, known, o.Doubts)
			}
			return
		}
		if v := evalCondition(t, rule, known, ""); v.State != o.State {
			rt.Fatalf("%s over %s with %q unknown: forecast %s, in truth %s", rule, known, unknown, o.State, v.State)
		}
	})
}

// without removes what is at some places; an element of an array becomes null.
func without(v Value, at string, places []string) Value {
	if at != "type" && at != "" && slices.Contains(places, at) {
		return value.NullValue
	}
	switch v.Kind() {
	case value.Object:
		var fields []value.Field
		for i := range v.Len() {
			name := strings.TrimPrefix(at+"."+v.Key(i), ".")
			if at == "tags" {
				name = "tags['" + strings.ToLower(v.Key(i)) + "']"
			}
			if name == "type" || !slices.Contains(places, name) && !(at == "" && slices.Contains(places, "")) {
				fields = append(fields, value.Field{Key: v.Key(i), Value: without(v.At(i), name, places)})
			}
		}
		return value.FromFields(fields)
	case value.Array:
		var elems []Value
		for i, e := range v.Elems() {
			elems = append(elems, without(e, fmt.Sprintf("%s[%d]", at, i), places))
		}
		return value.FromSlice(elems)
	}
	return v
}
