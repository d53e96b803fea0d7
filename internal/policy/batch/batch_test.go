package batch

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/expr"
	"hallmark.dev/hallmark/internal/policy/alias"
)

func TestPolicies(t *testing.T) {
	provider := `[{"namespace":"C.T","resourceTypes":[{"resourceType":"things","aliases":[{"name":"C.T/things/size","defaultPath":"properties.size","paths":[{"path":"properties.old","apiVersions":["2019-01-01"]}]}]}]}]`
	tests := []struct{ name, request, want string }{
		{"hit", `{"id":1,"policyRule":{"if":{"field":"x","equals":"A"},"then":{"effect":"Audit"}},"resource":{"x":"a"},"aliases":null}`,
			`{"id":1,"state":"effect","effect":"Audit"}`},
		{"none", `{"id":"n","policyRule":{"if":{"field":"x","equals":"A"},"then":{"effect":"deny"}},"resource":{"x":"b"},"aliases":null}`,
			`{"id":"n","state":"none"}`},
		{"text with duplicate keys", `{"id":1,"policyRule":"{\"if\":{\"field\":\"x\",\"equals\":1},\"then\":{\"effect\":\"audit\",\"Effect\":\"deny\"}}","resource":{},"aliases":null}`,
			`{"id":1,"state":"error","error":{"code":"DuplicateKey","message":"line 1, column 57: the key Effect is given twice","path":"then.Effect"}}`},
		{"broken text", `{"id":1,"definition":"{\"policyRule\": ","resource":{},"aliases":null}`,
			`{"id":1,"state":"error","error":{"code":"InvalidJson","message":"line 1, column 16: the text ends where a value is wanted","path":""}}`},
		{"broken line", `{"id":1`,
			`{"id":null,"state":"error","error":{"code":"InvalidJson","message":"the request: line 1, column 8: a comma or } is wanted in this object","path":""}}`},
		{"failing rule", `{"id":1,"policyRule":{"if":{"value":"[int('x')]","equals":1},"then":{"effect":"audit"}},"resource":{},"aliases":null}`,
			`{"id":1,"state":"error","error":{"code":"PolicyEvaluationFailed","message":"int: the argument must be a number or numeric text, not the string x (position 2 of [int('x')])","path":"if.value"}}`},
		{"parameters by default, disabled", `{"id":1,"definition":{"properties":{"parameters":{"effect":{"type":"String","defaultValue":"Disabled"}},"policyRule":{"if":{"allOf":[]},"then":{"effect":"[parameters('Effect')]"}}}},"resource":{},"aliases":null}`,
			`{"id":1,"state":"none"}`},
		{"parameters given", `{"id":1,"definition":{"properties":{"parameters":{"effect":{"type":"String","defaultValue":"Disabled"}},"policyRule":{"if":{"allOf":[]},"then":{"effect":"[parameters('Effect')]"}}}},"parameters":{"effect":"dEny"},"resource":{},"aliases":null}`,
			`{"id":1,"state":"effect","effect":"dEny"}`},
		{"provider list", `{"id":1,"policyRule":{"if":{"field":"C.T/things/SIZE","greater":5},"then":{"effect":"audit"}},"resource":{"type":"C.T/things","properties":{"size":6}},"aliases":` + provider + `}`,
			`{"id":1,"state":"effect","effect":"audit"}`},
		{"provider list, older version", `{"id":1,"policyRule":{"if":{"field":"C.T/things/size","greater":5},"then":{"effect":"audit"}},"resource":{"type":"c.t/things","properties":{"old":6}},"apiVersion":"2019-01-01","aliases":` + provider + `}`,
			`{"id":1,"state":"effect","effect":"audit"}`},
		{"unknown alias", `{"id":1,"policyRule":{"if":{"field":"C.T/things/sise","greater":5},"then":{"effect":"audit"}},"resource":{},"aliases":` + provider + `}`,
			`{"id":1,"state":"error","error":{"code":"InvalidPolicyAlias","message":"C.T/things/sise is not a known alias; the nearest known one is C.T/things/size","path":"if.field"}}`},
		{"not modifiable", `{"id":1,"policyRule":{"if":{"field":"C.T/things/size","greater":5},"then":{"effect":"modify","details":{"roleDefinitionIds":["r"],"operations":[{"operation":"add","field":"C.T/things/size","value":1}]}}},"resource":{},"aliases":` + provider + `}`,
			`{"id":1,"state":"error","error":{"code":"PolicyAliasNotModifiable","message":"the alias C.T/things/size of C.T/things is not modifiable","path":"then.details.operations[0].field"}}`},
		{"default table", `{"id":1,"policyRule":{"if":{"field":"Microsoft.Compute/virtualMachines/sku.name","equals":"Standard_B1s"},"then":{"effect":"audit"}},"resource":{"type":"Microsoft.Compute/virtualMachines","properties":{"hardwareProfile":{"vmSize":"standard_b1s"}}}}`,
			`{"id":1,"state":"effect","effect":"audit"}`},
		{"existence satisfied by the second of several", `{"id":1,"policyRule":{"if":{"field":"x","exists":true},"then":{"effect":"auditIfNotExists","details":{"type":"T/y","existenceCondition":{"field":"p","equals":1}}}},"resource":{"x":1},"related":[[{"p":2},{"p":1}]],"aliases":null}`,
			`{"id":1,"state":"none"}`},
		{"existence unsatisfied", `{"id":1,"policyRule":{"if":{"field":"x","exists":true},"then":{"effect":"deployIfNotExists","details":{"type":"[concat('T/', field('x'))]","roleDefinitionIds":["r"],"existenceCondition":{"allOf":[]},"deployment":{}}}},"resource":{"x":"y"},"related":[null],"aliases":null}`,
			`{"id":1,"state":"effect","effect":"deployIfNotExists","details":{"type":"T/y","roleDefinitionIds":["r"]}}`},
		{"modify", `{"id":1,"policyRule":{"if":{"field":"x","exists":true},"then":{"effect":"modify","details":{"conflictEffect":"audit","roleDefinitionIds":["r"],"operations":[{"operation":"ADDORREPLACE","field":"tags['env']","value":"[field('x')]"},{"operation":"remove","field":"tags['old']","condition":"[equals(field('x'),'no')]"}]}}},"resource":{"x":"y"},"aliases":null}`,
			`{"id":1,"state":"effect","effect":"modify","details":{"roleDefinitionIds":["r"],"operations":[{"operation":"addOrReplace","field":"tags['env']","value":"y"}]}}`},
		{"append", `{"id":1,"policyRule":{"if":{"allOf":[]},"then":{"effect":"append","details":{"field":"tags.a","value":1}}},"resource":{},"aliases":null}`,
			`{"id":1,"state":"effect","effect":"append","details":[{"field":"tags.a","value":1}]}`},
		{"unknown effect", `{"id":1,"policyRule":{"if":{"allOf":[]},"then":{"effect":"Mutate"}},"resource":{},"aliases":null}`,
			`{"id":1,"state":"effect","effect":"Mutate"}`},
		{"audit given to an existence check", `{"id":1,"definition":{"parameters":{"effect":{"type":"String"}},"policyRule":{"if":{"allOf":[]},"then":{"effect":"[parameters('effect')]","details":{"type":"T/y"}}}},"parameters":{"effect":"Audit"},"related":[{}],"resource":{},"aliases":null}`,
			`{"id":1,"state":"effect","effect":"Audit"}`},
		{"mode", `{"id":1,"definition":{"mode":"Indexed","policyRule":{"if":{"allOf":[]},"then":{"effect":"audit"}}},"resource":{"type":"Microsoft.Authorization/roleAssignments"},"aliases":null}`,
			`{"id":1,"state":"none"}`},
	}
	for _, tt := range tests {
		var out strings.Builder
		if err := Policies(strings.NewReader(tt.request+"\n"), &out, alias.Default()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want+"\n", out.String()); diff != "" {
			t.Errorf("%s:\n%s", tt.name, diff)
		}
	}
}

func TestAnswersStayInOrder(t *testing.T) {
	in := `{"id":"a","policyRule":{"if":{"field":"x","equals":1},"then":{"effect":"audit"}},"resource":{"x":1},"aliases":null}
nonsense

{"id":"b","policyRule":{"if":{"field":"x","equals":1},"then":{"effect":"audit"}},"resource":{"x":2},"aliases":null}`
	var out strings.Builder
	if err := Policies(strings.NewReader(in), &out, nil); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 || !strings.Contains(lines[0], `"a"`) || !strings.Contains(lines[1], "InvalidJson") || !strings.Contains(lines[2], `"b"`) {
		t.Error(out.String())
	}
}

func TestExpressions(t *testing.T) {
	in := `{"id":1,"expression":"[concat('a', parameters('B'))]","parameters":{"b":"x"}}
{"id":2,"expression":"[resourceGroup().name]","context":{"resourceGroup":{"name":"rg"}}}
{"id":3,"expression":"[[literal]"}
{"id":4,"expression":"[toLower(1)]"}
{"id":5,"expression":"[parameters('none')]"}
{"id":6,"expression":"[map(createArray(1), lambda('x', lambdaVariables('x')))]","language":"dsc"}
{"id":7}
`
	want := `{"id":1,"value":"ax"}
{"id":2,"value":"rg"}
{"id":3,"value":"[literal]"}
{"id":4,"error":{"code":"InvalidTemplateExpression","message":"toLower: the argument must be text, not the integer 1 (position 2 of [toLower(1)])","position":2}}
{"id":5,"value":null}
{"id":6,"value":[1]}
{"id":7,"error":{"code":"InvalidRequest","message":"expression is missing, or is not text"}}
`
	var out strings.Builder
	if err := Expressions(strings.NewReader(in), &out, expr.Policy); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}
