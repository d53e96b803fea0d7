package policy

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/policy/alias"
)

// changed evaluates a rule that always holds and applies its changes.
func changed(t *testing.T, then, document string) (string, []Conflict) {
	t.Helper()
	def, err := ParseRule(`{"if":{"allOf":[]},"then":` + then + `}`)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(def, Options{Aliases: alias.Default()})
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseResource(document, "")
	if err != nil {
		t.Fatal(err)
	}
	v := p.Evaluate(Input{Resource: r})
	if v.State != Hit || v.Changes == nil {
		t.Fatalf("%s: %+v", then, v)
	}
	out, conflicts := Apply(r, Assigned{ID: "a", Changes: v.Changes})
	return out.Root().JSON(), conflicts
}

func modify(operations string) string {
	return `{"effect":"modify","details":{"roleDefinitionIds":["r"],"operations":[` + operations + `]}}`
}

func TestApply(t *testing.T) {
	const nsg = `"type":"Microsoft.Network/networkSecurityGroups"`
	tests := []struct{ name, then, document, want string }{
		{"add a tag", modify(`{"operation":"add","field":"tags['env']","value":"x"}`), `{"name":"n"}`, `{"name":"n","tags":{"env":"x"}}`},
		{"add keeps a tag, whatever its case", modify(`{"operation":"add","field":"tags['env']","value":"x"}`), `{"tags":{"ENV":"y"}}`, `{"tags":{"ENV":"y"}}`},
		{"replace a tag", modify(`{"operation":"addOrReplace","field":"tags.env","value":"x"}`), `{"Tags":{"ENV":"y","a":1}}`, `{"Tags":{"ENV":"x","a":1}}`},
		{"remove a tag", modify(`{"operation":"remove","field":"tags['env']"}`), `{"tags":{"ENV":"y","a":1}}`, `{"tags":{"a":1}}`},
		{"rename a tag", modify(`{"operation":"add","field":"tags['new']","value":"[field('tags.old')]"},{"operation":"remove","field":"tags['old']"}`), `{"tags":{"old":"v"}}`, `{"tags":{"new":"v"}}`},
		{"a property through its alias", modify(`{"operation":"addOrReplace","field":"Microsoft.Storage/storageAccounts/minimumTlsVersion","value":"TLS1_2"}`),
			`{"type":"Microsoft.Storage/storageAccounts"}`, `{"type":"Microsoft.Storage/storageAccounts","properties":{"minimumTlsVersion":"TLS1_2"}}`},
		{"fan out", modify(`{"operation":"addOrReplace","field":"Microsoft.Network/networkSecurityGroups/securityRules[*].access","value":"Deny"}`),
			`{` + nsg + `,"properties":{"securityRules":[{"properties":{"access":"Allow","priority":1}},{"name":"b"}]}}`,
			`{` + nsg + `,"properties":{"securityRules":[{"properties":{"access":"Deny","priority":1}},{"name":"b","properties":{"access":"Deny"}}]}}`},
		{"append to an array", `{"effect":"append","details":[{"field":"Microsoft.Storage/storageAccounts/networkAcls.ipRules[*]","value":{"value":"1.2.3.4"}}]}`,
			`{"type":"Microsoft.Storage/storageAccounts","properties":{"networkAcls":{"ipRules":[{"value":"5.6.7.8"}]}}}`,
			`{"type":"Microsoft.Storage/storageAccounts","properties":{"networkAcls":{"ipRules":[{"value":"5.6.7.8"},{"value":"1.2.3.4"}]}}}`},
		{"an operation whose condition is false", modify(`{"operation":"add","field":"tags['a']","value":"x","condition":"[equals(field('name'),'no')]"}`), `{"name":"n"}`, `{"name":"n"}`},
		{"an identity", modify(`{"operation":"addOrReplace","field":"identity.type","value":"SystemAssigned"}`), `{}`, `{"identity":{"type":"SystemAssigned"}}`},
	}
	for _, tt := range tests {
		got, conflicts := changed(t, tt.then, tt.document)
		if diff := cmp.Diff(tt.want, got); diff != "" || len(conflicts) > 0 {
			t.Errorf("%s: %s %v", tt.name, diff, conflicts)
		}
	}
}

func TestApplyConflicts(t *testing.T) {
	_, conflicts := changed(t, `{"effect":"append","details":[{"field":"tags['a']","value":"x"}]}`, `{"tags":{"a":"y"}}`)
	if len(conflicts) != 1 || conflicts[0].Effect != "deny" {
		t.Errorf("append over another value: %+v", conflicts)
	}
	_, conflicts = changed(t, modify(`{"operation":"add","field":"Microsoft.Storage/storageAccounts/minimumTlsVersion","value":1}`), `{"type":"Other/type"}`)
	if len(conflicts) != 1 {
		t.Errorf("an alias of another type: %+v", conflicts)
	}
}

func TestTwoAssignmentsOneField(t *testing.T) {
	op := func(value string) *Changes {
		def, err := ParseRule(`{"if":{"allOf":[]},"then":{"effect":"modify","details":{"conflictEffect":"audit","roleDefinitionIds":["r"],"operations":[{"operation":"addOrReplace","field":"tags['a']","value":"` + value + `"}]}}}`)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Compile(def, Options{})
		if err != nil {
			t.Fatal(err)
		}
		r, _ := ParseResource(`{}`, "")
		return p.Evaluate(Input{Resource: r}).Changes
	}
	r, _ := ParseResource(`{}`, "")
	out, conflicts := Apply(r, Assigned{"first", op("x")}, Assigned{"second", op("y")}, Assigned{"third", op("X")})
	if out.Root().JSON() != `{"tags":{"a":"X"}}` {
		t.Errorf("document %s", out.Root().JSON())
	}
	want := []Conflict{{ID: "second", With: "first", Field: "tags['a']", Effect: "audit", Reason: "another assignment sets the field to another value"}}
	if diff := cmp.Diff(want, conflicts); diff != "" {
		t.Error(diff)
	}
}

func TestMissingValueInDetailsIsAnError(t *testing.T) {
	def, err := ParseRule(`{"if":{"allOf":[]},"then":` + modify(`{"operation":"add","field":"tags['a']","value":"[resourceGroup().tags['none']]"}`) + `}`)
	if err != nil {
		t.Fatal(err)
	}
	v := evalDefinition(t, def, `{}`, `{"resourceGroup":{"tags":{}}}`, "")
	if v.State != Failed || v.Problem.Path != "then.details.operations[0].value" {
		t.Errorf("%+v", v)
	}
}
