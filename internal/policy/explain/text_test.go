package explain

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/policy/alias"
)

const rule = `{"if":{"allOf":[
	{"field":"type","equals":"Microsoft.Compute/virtualMachines"},
	{"anyOf":[{"field":"tags.env","equals":"dev"},{"not":{"field":"Microsoft.Compute/imagePublisher","in":["debian","canonical"]}},{"field":"name","like":"x*"}]},
	{"count":{"field":"Microsoft.Compute/virtualMachines/storageProfile.dataDisks[*]","where":{"field":"Microsoft.Compute/virtualMachines/storageProfile.dataDisks[*].diskSizeGB","greater":100}},"greater":0}]},
	"then":{"effect":"deny"}}`

const vm = `{"name":"v","type":"microsoft.compute/virtualmachines","tags":{"env":"prod"},"properties":{"storageProfile":{"imageReference":{"publisher":"Rogue"},"dataDisks":[{"diskSizeGB":50},{"diskSizeGB":200}]}}}`

func explained(t *testing.T) (policy.Verdict, *policy.Explanation) {
	t.Helper()
	def, err := policy.ParseRule(rule)
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Compile(def, policy.Options{Aliases: alias.Default()})
	if err != nil {
		t.Fatal(err)
	}
	r, err := policy.ParseResource(vm, "")
	if err != nil {
		t.Fatal(err)
	}
	return p.Explain(policy.Input{Resource: r})
}

func TestText(t *testing.T) {
	v, tree := explained(t)
	var b strings.Builder
	if err := Text(&b, v, tree); err != nil {
		t.Fatal(err)
	}
	want := `effect: deny

true   allOf
  true   type equals "Microsoft.Compute/virtualMachines": it is "microsoft.compute/virtualmachines"
  true   anyOf
    false  tags.env equals "dev": it is "prod" (at tags['env'])
    true   not
      false  Microsoft.Compute/imagePublisher in ["debian","canonical"]: it is "Rogue" (at properties.storageProfile.imageReference.publisher)
    -      name like: not needed
  true   count of Microsoft.Compute/virtualMachines/storageProfile.dataDisks[*] greater 0: it is 1
    false  Microsoft.Compute/virtualMachines/storageProfile.dataDisks[*].diskSizeGB greater 100: it is 50 (at properties.storageProfile.dataDisks[*].diskSizeGB)
    true   Microsoft.Compute/virtualMachines/storageProfile.dataDisks[*].diskSizeGB greater 100: it is 200 (at properties.storageProfile.dataDisks[*].diskSizeGB)
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestReasons(t *testing.T) {
	_, tree := explained(t)
	var got []string
	for _, e := range Reasons(tree) {
		got = append(got, e.Path)
	}
	want := []string{"if.allOf[0]", "if.allOf[1].anyOf[1].not", "if.allOf[2]"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTreeIsJSON(t *testing.T) {
	_, tree := explained(t)
	b, err := json.Marshal(tree)
	if err != nil || !strings.Contains(string(b), `"wanted":["debian","canonical"]`) {
		t.Errorf("%s %v", b, err)
	}
}
