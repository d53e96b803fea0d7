package policy

import (
	"testing"

	"hallmark.dev/hallmark/internal/policy/alias"
)

// checkAliased evaluates a condition with the public alias table.
func checkAliased(t *testing.T, condition, document, apiVersion string, table *alias.Table, want bool) {
	t.Helper()
	def, err := ParseRule(`{"if":` + condition + `,"then":{"effect":"audit"}}`)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(def, Options{Aliases: table})
	if err != nil {
		t.Fatalf("%s: %v", condition, err)
	}
	r, err := ParseResource(document, apiVersion)
	if err != nil {
		t.Fatal(err)
	}
	if v := p.Evaluate(Input{Resource: r}); v.State == Failed || (v.State == Hit) != want {
		t.Errorf("%s over %s: %s %v, want held=%v", condition, document, v.State, v.Problem, want)
	}
}

func TestAliases(t *testing.T) {
	const rules = "Microsoft.Network/networkSecurityGroups/securityRules[*]"
	nsg := `{"type":"Microsoft.Network/networkSecurityGroups","properties":{"securityRules":[
		{"name":"a","properties":{"protocol":"Tcp","access":"Allow","sourceAddressPrefixes":["10.0.0.0/8","*"]}},
		{"name":"b","properties":{"protocol":"Udp","access":"Deny"}}]}}`
	tests := []struct {
		condition, document string
		want                bool
	}{
		{`{"field":"` + rules + `.protocol","in":["tcp","udp"]}`, nsg, true},
		{`{"field":"` + rules + `.access","equals":"Allow"}`, nsg, false},
		{`{"count":{"field":"` + rules + `","where":{"allOf":[{"field":"` + rules + `.access","equals":"allow"},{"field":"` + rules + `.name","equals":"a"}]}},"equals":1}`, nsg, true},
		{`{"count":{"field":"` + rules + `","where":{"value":"[current('` + rules + `.protocol')]","equals":"udp"}},"equals":1}`, nsg, true},
		{`{"count":{"field":"` + rules + `","where":{"count":{"field":"` + rules + `.sourceAddressPrefixes[*]","where":{"field":"` + rules + `.sourceAddressPrefixes[*]","equals":"*"}},"greater":0}},"equals":1}`, nsg, true},
		{`{"count":{"field":"` + rules + `","where":{"value":"[first(field('` + rules + `.access'))]","equals":"deny"}},"equals":1}`, nsg, true},
		{`{"count":{"field":"` + rules + `.sourceAddressPrefixes[*]"},"equals":2}`, nsg, true},
		// one name, another path in each resource type
		{`{"field":"Microsoft.Compute/imagePublisher","equals":"x"}`, `{"type":"Microsoft.Compute/virtualMachines","properties":{"storageProfile":{"imageReference":{"publisher":"X"}}}}`, true},
		{`{"field":"Microsoft.Compute/imagePublisher","equals":"x"}`, `{"type":"Microsoft.Compute/virtualMachineScaleSets","properties":{"virtualMachineProfile":{"storageProfile":{"imageReference":{"publisher":"X"}}}}}`, true},
		// keys of documents have any case
		{`{"field":"Microsoft.Compute/imagePublisher","equals":"x"}`, `{"type":"microsoft.compute/VIRTUALMACHINES","PROPERTIES":{"StorageProfile":{"ImageReference":{"Publisher":"X"}}}}`, true},
		// a document of another type: the short name, properties counting as merged into the root
		{`{"field":"Microsoft.Storage/storageAccounts/sku.name","equals":"p1"}`, `{"type":"Other/type","sku":{"name":"P1"}}`, true},
		{`{"field":"Microsoft.Storage/storageAccounts/sku.name","exists":true}`, `{"type":"Other/type"}`, false},
		// without [*] the array itself
		{`{"value":"[length(field('` + rules + `.name'))]","equals":2}`, nsg, true},
	}
	for _, tt := range tests {
		checkAliased(t, tt.condition, tt.document, "", alias.Default(), tt.want)
	}
}

func TestVersionedAlias(t *testing.T) {
	table := alias.New(alias.Alias{Name: "C.T/things/size", Type: "C.T/things", Path: "properties.size",
		Versions: []alias.VersionPath{{Path: "properties.old.size", APIVersions: []string{"2019-01-01"}}}})
	document := `{"type":"C.T/things","properties":{"old":{"size":1},"size":2}}`
	checkAliased(t, `{"field":"C.T/things/size","equals":1}`, document, "2019-01-01", table, true)
	checkAliased(t, `{"field":"C.T/things/size","equals":2}`, document, "2024-01-01", table, true)
	checkAliased(t, `{"field":"C.T/things/size","equals":1}`, `{"apiVersion":"2019-01-01",`+document[1:], "2024-01-01", table, true)
}

func TestFacts(t *testing.T) {
	def, err := ParseRule(`{"if":{"field":"Hallmark.Image/versionsBehind","greater":2},"then":{"effect":"audit"}}`)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(def, Options{Aliases: alias.Default()})
	if err != nil {
		t.Fatal(err)
	}
	r, _ := ParseResource(`{"type":"Microsoft.Compute/virtualMachines"}`, "")
	facts, _ := ParseResource(`{"Hallmark.Image/VersionsBehind":3}`, "")
	if v := p.Evaluate(Input{Resource: r.WithFacts(facts.Root())}); v.State != Hit {
		t.Errorf("with facts: %s", v.State)
	}
	if v := p.Evaluate(Input{Resource: r}); v.State != None {
		t.Errorf("without: %s", v.State)
	}
}
