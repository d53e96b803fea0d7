package admission_test

import (
	"encoding/json"
	"io/fs"
	"strings"
	"testing"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/golden"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/provider/providertest"
)

// compute has what the golden initiative looks at, with what a provider writes by itself.
func compute() provider.Provider {
	born := func(w *provider.Write) (err error) {
		if w.Create() {
			w.Doc.Body, err = arm.Set(w.Doc.Body, "properties.timeCreated", "2026-01-01T00:00:00Z")
		}
		return err
	}
	typ := func(t arm.Type) provider.ResourceType {
		return provider.ResourceType{Type: t, Scopes: provider.AtResourceGroup, APIVersions: []string{"2024-07-01"}, Location: provider.LocationRequired,
			Tags: true, ReadOnly: []string{"properties.timeCreated"}, Default: born}
	}
	part := func(t arm.Type) provider.ResourceType {
		return provider.ResourceType{Type: t, APIVersions: []string{"2024-07-01"}, Tags: true}
	}
	gallery := typ("Microsoft.Compute/galleries")
	gallery.ReadOnly, gallery.Default = nil, nil
	return provider.Provider{Types: []provider.ResourceType{typ("Microsoft.Compute/virtualMachines"), typ("Microsoft.Compute/virtualMachineScaleSets"),
		typ("Microsoft.Compute/disks"), gallery, part("Microsoft.Compute/galleries/images"), part("Microsoft.Compute/galleries/images/versions")}}
}

func inGroup(path string) string {
	return providertest.Group().String() + "/providers/Microsoft.Compute/" + path
}

// importGolden stores the initiative as it is shipped, at the subscription.
func importGolden(t *testing.T, s *providertest.Server) {
	t.Helper()
	for _, kind := range []string{"policyDefinitions", "policySetDefinitions"} {
		files, err := fs.Glob(golden.Files(), kind+"/*.json")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := fs.ReadFile(golden.Files(), file)
			if err != nil {
				t.Fatal(err)
			}
			moved := strings.ReplaceAll(string(text), `"/providers/Microsoft.Authorization/policyDefinitions/`, `"`+subscription()+`/providers/Microsoft.Authorization/policyDefinitions/`)
			do(t, s, "PUT", subscription()+"/providers/Microsoft.Authorization/"+kind+"/"+arm.GetString(text, "name"), moved, 201)
		}
	}
}

func TestGoldenImages(t *testing.T) {
	s := startWith(t, compute())
	importGolden(t, s)
	do(t, s, "PUT", inGroup("galleries/golden"), `{"location":"local"}`, 201)
	do(t, s, "PUT", inGroup("galleries/golden/images/web"), `{"properties":{}}`, 201)
	version := func(n, mark string) {
		do(t, s, "PUT", inGroup("galleries/golden/images/web/versions/"+n), `{"tags":{"hallmark-state":"`+mark+`"},"properties":{"publishingProfile":{"publishedDate":"2026-01-01T00:00:00Z"}}}`, 0)
	}
	version("1.0.0", "published")
	version("1.0.1", "published")
	image := func(n string) string { return inGroup("galleries/golden/images/web/versions/" + n) }
	machine := func(reference, more string) string {
		return `{"location":"local"` + more + `,"properties":{"storageProfile":{"imageReference":` + reference + `}}}`
	}
	set := func(reference string, capacity string) string {
		return `{"location":"local","sku":{"capacity":` + capacity + `},"properties":{"virtualMachineProfile":{"storageProfile":{"imageReference":` + reference + `}}}}`
	}
	from := func(n string) string { return `{"id":"` + image(n) + `"}` }
	const market = `{"publisher":"Debian","offer":"debian-12","sku":"12","version":"latest"}`
	disk := `{"location":"local","properties":{"osType":"Linux","creationData":{"createOption":"FromImage","imageReference":{"id":"/subscriptions/s/providers/Microsoft.Compute/locations/l/publishers/Debian/artifacttypes/vmimage/offers/debian-12/skus/12/versions/1"}}}`

	do(t, s, "PUT", vm("before"), machine(market, ""), 201)
	do(t, s, "PUT", vm("old"), machine(from("1.0.0"), ""), 201)
	do(t, s, "PUT", inGroup("virtualMachineScaleSets/web"), set(from("1.0.0"), "2"), 201)
	do(t, s, "PUT", subscription()+"/providers/Microsoft.Authorization/policyAssignments/golden",
		`{"properties":{"policyDefinitionId":"`+subscription()+`/providers/Microsoft.Authorization/policySetDefinitions/golden-images"},"location":"local","identity":{"type":"SystemAssigned"}}`, 201)

	refused := func(method, path, body, reference string) {
		t.Helper()
		var r refusal
		if err := json.Unmarshal(do(t, s, method, path, body, 403), &r); err != nil {
			t.Fatal(err)
		}
		var by []string
		for _, i := range r.Error.AdditionalInfo {
			by = append(by, i.Info.PolicyDefinitionID[strings.LastIndexByte(i.Info.PolicyDefinitionID, '/')+1:])
		}
		if strings.Join(by, " ") != "golden-"+reference {
			t.Errorf("%s %s: refused by %v, want golden-%s", method, path, by, reference)
		}
	}
	refused("PUT", vm("rogue"), machine(market, ""), "approved-image")
	refused("PUT", inGroup("disks/loose"), disk+"}", "approved-image")
	refused("PUT", vm("before"), machine(market, ""), "approved-image")
	do(t, s, "PATCH", vm("before"), `{"tags":{"team":"web"}}`, 200) // Azure asks only policies about tags
	do(t, s, "PUT", inGroup("disks/brought"), disk+`,"managedBy":"`+vm("before")+`"}`, 201)
	do(t, s, "PUT", inGroup("disks/data"), `{"location":"local","properties":{"creationData":{"createOption":"Empty"}}}`, 201)
	if tag := arm.GetString(do(t, s, "PUT", vm("new"), machine(from("1.0.1"), ""), 201), "tags.service-model"); tag != "pet" {
		t.Errorf("the service model of a machine that does not say is %q", tag)
	}
	if at := arm.GetString(do(t, s, "GET", vm("new"), "", 200), "properties.timeCreated"); at == "" {
		t.Error("a machine that a policy changed lost what its provider wrote")
	}

	do(t, s, "PUT", image("1.0.0"), `{"tags":{"hallmark-state":"published"},"properties":{"publishingProfile":{"publishedDate":"2026-01-01T00:00:00Z","endOfLifeDate":"2026-02-01T00:00:00Z"}}}`, 0)
	refused("PUT", vm("new-old"), machine(from("1.0.0"), ""), "end-of-life-new")
	refused("PUT", inGroup("virtualMachineScaleSets/more"), set(from("1.0.0"), "1"), "end-of-life-new")
	do(t, s, "PUT", inGroup("virtualMachineScaleSets/web"), set(from("1.0.0"), "20"), 200)
	do(t, s, "PUT", vm("old"), machine(from("1.0.0"), ""), 200)

	do(t, s, "PUT", image("1.0.0"), `{"tags":{"hallmark-state":"revoked"},"properties":{}}`, 0)
	refused("PUT", vm("new-old"), machine(from("1.0.0"), ""), "revoked-image")
	refused("PUT", inGroup("virtualMachineScaleSets/web"), set(from("1.0.0"), "40"), "revoked-image")
	do(t, s, "PUT", inGroup("virtualMachineScaleSets/web")+"/providers/Microsoft.Authorization/policyExemptions/until-replaced",
		`{"properties":{"exemptionCategory":"Waiver","policyAssignmentId":"`+subscription()+`/providers/Microsoft.Authorization/policyAssignments/golden","policyDefinitionReferenceIds":["revoked-image"]}}`, 201)
	do(t, s, "PUT", inGroup("virtualMachineScaleSets/web"), set(from("1.0.0"), "40"), 200)
}
