package template

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/expr/value"
)

const head = `{"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#","contentVersion":"1.0.0.0",`

func parsed(t *testing.T, body string) *Template {
	t.Helper()
	tpl, err := Parse(head + body + "}")
	if err != nil {
		t.Fatal(err)
	}
	return tpl
}

func testContext() Context {
	return Context{
		Scope: arm.ResourceGroupID("s", "rg"), Deployment: "dep", Now: time.Date(2026, 11, 28, 10, 0, 0, 0, time.UTC),
		NewGUID:       func() string { return "11111111-1111-1111-1111-111111111111" },
		Subscription:  object("subscriptionId", "s", "id", "/subscriptions/s"),
		ResourceGroup: object("name", "rg", "location", "local"),
		Provider: func(ns string) Value {
			v, _ := value.Parse(`{"namespace":"` + ns + `","resourceTypes":[{"resourceType":"things","apiVersions":["2024-01-01"]}]}`)
			return v
		},
	}
}

func expanded(t *testing.T, body, parameters string) (*Plan, error) {
	t.Helper()
	values, err := value.Parse(parameters)
	if err != nil {
		t.Fatal(err)
	}
	return parsed(t, body).Expand(testContext(), values)
}

func mustExpand(t *testing.T, body, parameters string) *Plan {
	t.Helper()
	p, err := expanded(t, body, parameters)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// summary is one line for each resource: what it is, what it waits for, what is sent.
func summary(p *Plan) (lines []string) {
	for _, r := range p.Resources {
		line := strings.TrimPrefix(r.ID.String(), "/subscriptions/s/resourceGroups/rg/providers/") + " " + fmt.Sprint(r.DependsOn)
		switch {
		case r.Skipped:
			line += " skipped"
		case r.Existing:
			line += " existing"
		}
		if r.Open {
			line += " open"
		}
		lines = append(lines, line+" "+r.Body.JSON())
	}
	return lines
}

func TestExpand(t *testing.T) {
	tests := []struct {
		name, template, parameters string
		want                       []string
	}{
		{"what az vm create sends: Type/name in another case, nulls", `"resources":[
			{"name":"VNet","type":"Microsoft.Network/virtualNetworks","location":"local","apiVersion":"2015-06-15","dependsOn":[],"tags":{},"zones":null,"properties":{"a":null,"subnets":[{"name":"s"}]}},
			{"name":"nic","type":"Microsoft.Network/networkInterfaces","apiVersion":"2015-06-15","dependsOn":["Microsoft.Network/virtualnetworks/vnet"]},
			{"name":"vm","type":"Microsoft.Compute/virtualMachines","apiVersion":"2024-11-01","dependsOn":["Microsoft.Network/networkInterfaces/nic"]}]`, `{}`, []string{
			`Microsoft.Network/virtualNetworks/VNet [] {"location":"local","tags":{},"properties":{"a":null,"subnets":[{"name":"s"}]}}`,
			`Microsoft.Network/networkInterfaces/nic [0] {}`,
			`Microsoft.Compute/virtualMachines/vm [1] {}`}},
		{"functions", `"parameters":{"n":{"type":"string","defaultValue":"[concat('x', parameters('m'))]"},"m":{"type":"int","minValue":1}},
			"variables":{"a":"[concat(parameters('n'), variables('b')[0])]","copy":[{"name":"b","count":2,"input":"[string(copyIndex('b', 5))]"}]},
			"functions":[{"namespace":"own","members":{"twice":{"parameters":[{"name":"v","type":"string"}],"output":{"type":"string","value":"[concat(parameters('v'), parameters('v'))]"}}}}],
			"resources":[{"type":"A.B/c","name":"[own.twice(variables('a'))]","apiVersion":"[providers('A.B','things').apiVersions[0]]","location":"[resourceGroup().location]","tags":{"[variables('a')]":"[[literal]"},
			"properties":{"id":"[resourceId('A.B/c/d', 'x', 'y')]","sub":"[subscriptionResourceId('A.B/c', 'x')]","ext":"[extensionResourceId(resourceId('A.B/c','x'),'E.F/g','h')]","d":"[deployment().name]","copy":[{"name":"disks","count":2,"input":{"lun":"[copyIndex('disks')]"}}]}}]`, `{"M":3}`, []string{
			`A.B/c/x35x35 [] {"location":"local","tags":{"x35":"[literal]"},"properties":{"id":"/subscriptions/s/resourceGroups/rg/providers/A.B/c/x/d/y","sub":"/subscriptions/s/providers/A.B/c/x","ext":"/subscriptions/s/resourceGroups/rg/providers/A.B/c/x/providers/E.F/g/h","d":"dep","disks":[{"lun":0},{"lun":1}]}}`}},
		{"loops, serial, by the loop's name", `"resources":[
			{"type":"A.B/c","name":"[concat('c', copyIndex(1))]","apiVersion":"2024-01-01","copy":{"name":"loop","count":3,"mode":"serial"},"properties":{"i":"[copyIndex()]"}},
			{"type":"A.B/d","name":"after","apiVersion":"2024-01-01","dependsOn":["LOOP"]}]`, `{}`, []string{
			`A.B/c/c1 [] {"properties":{"i":0}}`, `A.B/c/c2 [0] {"properties":{"i":1}}`, `A.B/c/c3 [1] {"properties":{"i":2}}`, `A.B/d/after [0 1 2] {}`}},
		{"conditions and children", `"resources":[
			{"type":"A.B/c","name":"no","apiVersion":"2024-01-01","condition":false,"resources":[{"type":"d","name":"x","apiVersion":"2024-01-01"}]},
			{"type":"A.B/c","name":"yes","apiVersion":"2024-01-01","condition":"[equals(1,1)]","resources":[{"type":"d","name":"x","apiVersion":"2024-01-01"}]},
			{"type":"A.B/c/providers/locks","name":"yes/Microsoft.Authorization/l","apiVersion":"2024-01-01","dependsOn":["[resourceId('A.B/c','yes')]","no"]},
			{"type":"Microsoft.Authorization/locks","name":"m","scope":"[format('A.B/c/{0}', 'yes')]","apiVersion":"2024-01-01"}]`, `{}`, []string{
			`A.B/c/no [] skipped {}`, `A.B/c/no/d/x [0] skipped {}`, `A.B/c/yes [] {}`, `A.B/c/yes/d/x [2] {}`,
			`A.B/c/yes/providers/Microsoft.Authorization/locks/l [0 2] {}`, `A.B/c/yes/providers/Microsoft.Authorization/locks/m [] {}`}},
		{"two declarations, one condition holds", `"resources":[
			{"type":"A.B/c","name":"x","apiVersion":"2024-01-01","condition":true,"properties":{"v":1}},
			{"type":"A.B/c","name":"x","apiVersion":"2024-01-01","condition":false,"properties":{"v":2}},
			{"type":"A.B/d","name":"d","apiVersion":"2024-01-01","dependsOn":["x","[resourceId('A.B/c','x')]"]}]`, `{}`, []string{
			`A.B/c/x [] {"properties":{"v":1}}`, `A.B/c/x [] skipped {"properties":{"v":2}}`, `A.B/d/d [0] {}`}},
		{"reference makes an order", `"resources":[
			{"type":"A.B/d","name":"after","apiVersion":"2024-01-01","properties":{"p":"[reference(resourceId('A.B/c','c'),'2024-01-01','Full').identity.principalId]","q":"[if(true(), 'x', reference('e').y)]"}},
			{"type":"A.B/c","name":"c","apiVersion":"2024-01-01"},{"type":"A.B/e","name":"e","apiVersion":"2024-01-01"}]`, `{}`, []string{
			`A.B/d/after [1 2] open {"properties":{"p":"[reference(resourceId('A.B/c','c'),'2024-01-01','Full').identity.principalId]","q":"x"}}`, `A.B/c/c [] {}`, `A.B/e/e [] {}`}},
		{"symbolic names, existing", `"languageVersion":"2.0","resources":{
			"old":{"existing":true,"type":"A.B/c","name":"old","apiVersion":"2024-01-01"},
			"many":{"type":"A.B/d","name":"[format('m{0}', copyIndex())]","apiVersion":"2024-01-01","copy":{"name":"many","count":"[length(range(0,2))]"},"dependsOn":["old"]},
			"one":{"type":"A.B/e","name":"e","apiVersion":"2024-01-01","dependsOn":["[format('many[{0}]', 1)]"],"properties":{"x":"[reference('old').y]"}}}`, `{}`, []string{
			`A.B/c/old [] existing {}`, `A.B/d/m0 [0] {}`, `A.B/d/m1 [0] {}`, `A.B/e/e [0 2] open {"properties":{"x":"[reference('old').y]"}}`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, summary(mustExpand(t, test.template, test.parameters))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestProblems(t *testing.T) {
	const one = `"resources":[{"type":"A.B/c","name":"c","apiVersion":"2024-01-01"}]`
	tests := []struct{ name, template, parameters, want string }{
		{"missing parameter", `"parameters":{
"x":{"type":"string"}},` + one, `{}`, "line 2, column 5: The value for the template parameter 'x' is not provided. Please see https://aka.ms/arm-create-parameter-file for usage details"},
		{"unknown parameter", `"parameters":{"x":{"type":"string","defaultValue":""}},` + one, `{"y":1}`, "The template parameters 'y' in the parameters file are not valid"},
		{"wrong type", `"parameters":{"x":{"type":"int"}},` + one, `{"x":"a"}`, "expected a value of type 'Int' and got the string"},
		{"not allowed", `"parameters":{"x":{"type":"string","allowedValues":["a","b"]}},` + one, `{"x":"c"}`, "'c' is not part of the allowed value(s): 'a,b'"},
		{"a secure value is not shown", `"parameters":{"x":{"type":"securestring","minLength":30}},` + one, `{"x":"hunter2"}`, "the length of the value is 7; it must be at least 30"},
		{"bounds", `"parameters":{"x":{"type":"int","maxValue":3}},` + one, `{"x":4}`, "'4' exceeds the maximum value '3'"},
		{"circle", `"resources":[{"type":"A.B/c","name":"a","apiVersion":"1","dependsOn":["b"]},
{"type":"A.B/c","name":"b","apiVersion":"1","dependsOn":["a"]}]`, `{}`, "Circular dependency detected on resource: '/subscriptions/s/resourceGroups/rg/providers/A.B/c/a': A.B/c/a depends on A.B/c/b depends on A.B/c/a"},
		{"not defined", `"resources":[
{"type":"A.B/c","name":"a","apiVersion":"1","dependsOn":["A.B/c/x"]}]`, `{}`, "line 2, column 57: The resource 'A.B/c/x' is not defined in the template"},
		{"twice", `"resources":[{"type":"A.B/c","name":"a","apiVersion":"1"},{"type":"a.b/C","name":"A","apiVersion":"1"}]`, `{}`, "is defined multiple times"},
		{"no such function", `"resources":[{"type":"A.B/c","name":"[foo()]","apiVersion":"1"}]`, `{}`, "foo: there is no such function"},
		{"runtime function in a name", `"resources":[{"type":"A.B/c","name":"[reference('x').y]","apiVersion":"1"}]`, `{}`, "the name must be known before the deployment starts"},
		{"segments", `"resources":[{"type":"A.B/c/d","name":"a","apiVersion":"1"}]`, `{}`, "incorrect segment lengths"},
		{"variable circle", `"variables":{"a":"[variables('b')]","b":"[variables('a')]"},` + one, `{}`, "refers to itself in a circle"},
		{"too many copies", `"resources":[{"type":"A.B/c","name":"[string(copyIndex())]","apiVersion":"1","copy":{"name":"l","count":801}}]`, `{}`, "it must be a number from 0 to 800"},
		{"utcNow elsewhere", `"resources":[{"type":"A.B/c","name":"[utcNow()]","apiVersion":"1"}]`, `{}`, "can only be called in the default value of a parameter"},
		{"linked", `"resources":[{"type":"Microsoft.Resources/deployments","name":"n","apiVersion":"1","properties":{"mode":"Incremental","templateLink":{"uri":"https://x"}}}]`, `{}`, "linked templates are not supported"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := expanded(t, test.template, test.parameters)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Error("the problem shows a secret")
			}
		})
	}
}

func TestParseReportsAllWithLines(t *testing.T) {
	_, err := Parse("{\n  // nothing\n  \"parameters\": {\"x\": {\"type\": \"strin\"}},\n \"variables\": []\n}")
	problems, ok := err.(Problems)
	if !ok || len(problems) < 4 {
		t.Fatalf("got %v, want at least four problems", err)
	}
	if p := problems[len(problems)-1]; p.Line != 4 {
		t.Errorf("the last is %v, want it on line 4", p)
	}
	if _, err := Parse("{\n\"a\": tru\n}"); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("got %v, want a syntax error on line 2", err)
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"{a: 1, /* x\n */ \"b\": 'it\\'s \"q\"', // end\n c : [1,2,],}": "{\"a\": 1,  \n \"b\": \"it's \\\"q\\\"\",  \n \"c\" : [1,2 ] }",
		"{\"a\":\"x\ny\"}":      "{\"a\":\"x\\ny\"\n}",
		`{"u":"http://x/*y*/"}`: `{"u":"http://x/*y*/"}`,
		`{"properties":{"mode":"Incremental", template:{"x":null}}}`: `{"properties":{"mode":"Incremental", "template":{"x":null}}}`,
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q)\n got %q\nwant %q", in, got, want)
		}
	}
}

// fakeRuntime knows a few resources.
type fakeRuntime map[string]string

func (f fakeRuntime) Reference(id arm.ID, _ string) (Value, error) {
	body, ok := f[strings.ToLower(id.String())]
	if !ok {
		return Value{}, arm.NotFound(id)
	}
	return value.ParseResource(body)
}

func (f fakeRuntime) List(function string, id arm.ID, version string, _ Value) (Value, error) {
	return object("said", function+" "+id.Name()+" "+version), nil
}

func TestBodyAndOutputs(t *testing.T) {
	p := mustExpand(t, `"parameters":{"p":{"type":"secureString"}},"resources":[
		{"type":"A.B/c","name":"c","apiVersion":"2024-01-01"},
		{"type":"A.B/d","name":"[concat('d',copyIndex())]","apiVersion":"2024-01-01","copy":{"name":"l","count":2},"tags":{"x":"[reference('c').deep.x]"},"properties":{"n":"[concat(reference('c').deep.x, copyIndex())]","k":"[listKeys('c','2024-01-01').said]"}}],
		"outputs":{"state":{"type":"object","value":"[reference('c','2024-01-01','Full')]"},"hidden":{"type":"securestring","value":"[parameters('p')]"},"no":{"condition":false,"type":"string","value":""},
		"all":{"type":"array","copy":{"count":2,"input":"[reference(concat('d',copyIndex())).v]"}}}`, `{"p":"hunter2"}`)
	rt := fakeRuntime{"/subscriptions/s/resourcegroups/rg/providers/a.b/c/c": `{"location":"local","properties":{"deep":{"X":"v"}}}`,
		"/subscriptions/s/resourcegroups/rg/providers/a.b/d/d0": `{"properties":{"v":1}}`, "/subscriptions/s/resourcegroups/rg/providers/a.b/d/d1": `{"properties":{"v":2}}`}
	body, err := p.Body(p.Resources[2], rt)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"tags":{"x":"v"},"properties":{"n":"v1","k":"listKeys c 2024-01-01"}}`; body.JSON() != want {
		t.Errorf("got %s, want %s", body.JSON(), want)
	}
	outputs, err := p.Outputs(rt)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range outputs {
		got = append(got, o.Name+" "+o.Type+" "+o.Value.JSON())
	}
	want := []string{`state Object {"location":"local","properties":{"deep":{"X":"v"}},"apiVersion":"2024-01-01","resourceId":"/subscriptions/s/resourceGroups/rg/providers/A.B/c/c","scope":"/subscriptions/s/resourceGroups/rg","subscriptionId":"s","resourceGroupName":"rg"}`,
		`hidden SecureString null`, `all Array [1,2]`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"hunter2"}, p.Secrets()); diff != "" {
		t.Error(diff)
	}
	if _, err := p.Body(p.Resources[1], fakeRuntime{}); err == nil || !strings.Contains(err.Error(), "was not found") {
		t.Errorf("got %v, want that the resource was not found", err)
	}
}

func TestNested(t *testing.T) {
	const inner = `{"$schema":"x","contentVersion":"1.0.0.0","parameters":{"q":{"type":"string"}},"resources":[{"type":"A.B/c","name":"[parameters('q')]","apiVersion":"1"}]}`
	p := mustExpand(t, `"parameters":{"q":{"type":"string","defaultValue":"outer"}},"resources":[
		{"type":"Microsoft.Resources/deployments","name":"in","apiVersion":"1","resourceGroup":"other","properties":{"mode":"Incremental","expressionEvaluationOptions":{"scope":"inner"},"parameters":{"q":{"value":"[concat(parameters('q'),'!')]"}},"template":`+inner+`}},
		{"type":"Microsoft.Resources/deployments","name":"out","apiVersion":"1","properties":{"mode":"Incremental","template":{"$schema":"x","contentVersion":"1.0.0.0","resources":[
			{"type":"A.B/c","name":"[concat(parameters('q'), copyIndex())]","apiVersion":"1","copy":{"name":"l","count":2},"properties":{"t":"[[x]"}},
			{"type":"A.B/d","name":"d","apiVersion":"1","dependsOn":["l"]}]}}}]`, `{}`)
	if id := p.Resources[0].ID.String(); id != "/subscriptions/s/resourceGroups/other/providers/Microsoft.Resources/deployments/in" {
		t.Errorf("the nested deployment is %s", id)
	}
	if got := p.Resources[0].Nested.Resources[0].ID.String(); got != "/subscriptions/s/resourceGroups/other/providers/A.B/c/outer!" {
		t.Errorf("inner scope: the resource is %s", got)
	}
	if diff := cmp.Diff([]string{`A.B/c/outer0 [] {"properties":{"t":"[x]"}}`, `A.B/c/outer1 [] {"properties":{"t":"[x]"}}`, `A.B/d/d [0 1] {}`}, summary(p.Resources[1].Nested)); diff != "" {
		t.Error(diff)
	}
	if got := get(get(p.Resources[0].Body, "properties"), "template").JSON(); got != inner {
		t.Errorf("the inner template became %s", got)
	}
	literal := get(get(p.Resources[1].Body, "properties"), "template").JSON()
	again, err := Parse(literal)
	if err != nil {
		t.Fatalf("%v\n%s", err, literal)
	}
	q, err := again.Expand(testContext(), Value{})
	if err != nil {
		t.Fatalf("%v\n%s", err, literal)
	}
	if diff := cmp.Diff(summary(p.Resources[1].Nested), summary(q)); diff != "" {
		t.Error(diff)
	}
}

// A secret that an outer template writes into nested ones, however deep, is passed on
// as a secure parameter.
func TestHide(t *testing.T) {
	nest := func(resources string) string {
		return `{"type":"Microsoft.Resources/deployments","name":"n","apiVersion":"1","properties":{"mode":"Incremental","template":{"$schema":"x","contentVersion":"1.0.0.0","resources":[` + resources + `]}}}`
	}
	p := mustExpand(t, `"parameters":{"p":{"type":"secureString"}},"resources":[`+nest(nest(`{"type":"A.B/c","name":"c","apiVersion":"1","properties":{"s":"[concat('[is ',parameters('p'))]"}}`))+`]`, `{"p":"hunter2"}`)
	outer := Hide(p.Resources[0].Body, p.Secrets())
	for range 2 {
		properties := get(outer, "properties")
		if strings.Contains(get(properties, "template").JSON(), "hunter2") {
			t.Fatalf("the template shows the secret: %s", outer.JSON())
		}
		given, err := ParameterValues(get(properties, "parameters"))
		if err != nil {
			t.Fatal(err)
		}
		tpl, err := Parse(get(properties, "template").JSON())
		if err != nil {
			t.Fatal(err)
		}
		if p, err = tpl.Expand(testContext(), given); err != nil {
			t.Fatal(err)
		}
		outer = p.Resources[0].Body
	}
	if got := outer.JSON(); got != `{"properties":{"s":"[is hunter2"}}` {
		t.Errorf("the resource is %s", got)
	}
}

func TestPartial(t *testing.T) {
	ctx := Context{Scope: arm.ResourceGroupID("s", "rg"), Partial: true}
	tpl := parsed(t, `"parameters":{"name":{"type":"string"},"n":{"type":"int"}},"variables":{"v":"[parameters('name')]"},"resources":[
		{"type":"A.B/c","name":"[variables('v')]","apiVersion":"1","location":"[resourceGroup().location]","condition":"[equals(parameters('n'),1)]"},
		{"type":"A.B/c","name":"[concat('k',copyIndex())]","apiVersion":"1","copy":{"name":"l","count":"[parameters('n')]"},"properties":{"known":1}}]`)
	p, err := tpl.Expand(ctx, Value{})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Resources) != 2 || p.Resources[0].Name != "[variables('v')]" || !p.Resources[0].Conditional || p.Resources[0].Body.JSON() != `{"location":"[resourceGroup().location]"}` {
		t.Errorf("got %+v", p.Resources)
	}
	if got := p.Resources[1].Body.JSON(); got != `{"properties":{"known":1}}` {
		t.Errorf("got %s", got)
	}
}

func TestParameterShapes(t *testing.T) {
	for _, text := range []string{`{"a":{"value":1}}`, "{\"$schema\":\"x\",\"contentVersion\":\"1\", // c\n\"parameters\":{\"a\":{\"value\":1}}}"} {
		v, err := ParameterFile(text)
		if err != nil || v.JSON() != `{"a":1}` {
			t.Errorf("%s: got %s, %v", text, v.JSON(), err)
		}
	}
	if _, err := ParameterFile(`{"a":{"reference":{"keyVault":{}}}}`); err == nil || !strings.Contains(err.Error(), "key vault") {
		t.Errorf("got %v", err)
	}
}

func TestExpansionIsBounded(t *testing.T) {
	var variables []string
	variables = append(variables, `"v0":"0123456789"`)
	for i := 1; i < 40; i++ {
		variables = append(variables, fmt.Sprintf(`"v%d":"[createArray(variables('v%d'),variables('v%d'))]"`, i, i-1, i-1))
	}
	_, err := expanded(t, `"variables":{`+strings.Join(variables, ",")+`},"resources":[]`, `{}`)
	if err == nil || !strings.Contains(err.Error(), "expands to more than") {
		t.Errorf("got %v", err)
	}
}

// Loops in loops, and nested deployments in loops, end in a problem, not in memory.
func TestLoopsAreBounded(t *testing.T) {
	loops := `{"copy":[{"name":"a","count":800,"input":{"copy":[{"name":"b","count":800,"input":{"copy":[{"name":"c","count":800,"input":"x"}]}}]}}]}`
	if _, err := expanded(t, `"resources":[{"type":"A.B/c","name":"c","apiVersion":"1","properties":`+loops+`}]`, `{}`); err == nil || !strings.Contains(err.Error(), "expands to more than") {
		t.Errorf("loops in loops: %v", err)
	}
	many := func(inner string) string {
		return `{"type":"Microsoft.Resources/deployments","name":"[concat('n',copyIndex())]","apiVersion":"1","copy":{"name":"l","count":100},"properties":{"mode":"Incremental","expressionEvaluationOptions":{"scope":"inner"},"template":{"$schema":"x","contentVersion":"1.0.0.0","resources":[` + inner + `]}}}`
	}
	p, err := expanded(t, `"resources":[`+many(many(many(`{"type":"A.B/c","name":"c","apiVersion":"1"}`)))+`]`, `{}`)
	if err != nil || len(p.Resources) != 100 {
		t.Errorf("deployments in deployments: %v", err)
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add(head+`"resources":[{"type":"A.B/c","name":"[concat('a',copyIndex())]","apiVersion":"1","copy":{"name":"l","count":2},"dependsOn":["x"]}]}`, `{"a":{"value":1}}`)
	f.Add(head+`"parameters":{"p":{"type":"string","defaultValue":"[newGuid()]"}},"variables":{"copy":[{"name":"b","count":2,"input":"[copyIndex('b')]"}]},"resources":{"s":{"type":"Microsoft.Resources/deployments","name":"n","apiVersion":"1","properties":{"mode":"Incremental","template":{"resources":[]}}}}}`, `{}`)
	f.Add("{a:1,/*", `'`)
	f.Fuzz(func(t *testing.T, text, parameters string) {
		if clean := Clean(text); Clean(clean) != clean && value1(clean) {
			t.Errorf("cleaning twice changes %q", text)
		}
		values, err := ParameterFile(parameters)
		if err != nil {
			values = Value{}
		}
		tpl, err := Parse(text)
		if err != nil {
			return
		}
		for _, partial := range []bool{false, true} {
			ctx := testContext()
			ctx.Partial = partial
			p, err := tpl.Expand(ctx, values)
			if err != nil {
				continue
			}
			for _, r := range p.Resources {
				_, _ = p.Body(r, fakeRuntime{})
				_ = r.Document()
			}
			_, _ = p.Outputs(fakeRuntime{})
		}
	})
}

func value1(text string) bool { _, err := value.Parse(text); return err == nil }
