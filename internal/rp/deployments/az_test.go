package deployments_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/admission"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/authorization"
	"hallmark.dev/hallmark/internal/store/mem"
)

// machines stands for compute in what az asks around vm create: images, sizes, and
// machines that are there at once. That they boot is seen in test/clients.
func machines() provider.Provider {
	kind := func(name string) provider.ResourceType {
		return provider.ResourceType{Type: "Microsoft.Compute/virtualMachines", Scopes: provider.AtResourceGroup, APIVersions: []string{"2024-11-01"}, Location: provider.LocationRequired, Tags: true}
	}
	vm := kind("virtualMachines")
	vm.View = func(_ context.Context, v *provider.View) (json.RawMessage, error) {
		return arm.Set(v.Doc.Body, "properties.instanceView", map[string]any{"statuses": []map[string]string{{"code": "PowerState/running", "displayStatus": "VM running"}}})
	}
	image := kind("images")
	image.Type = "Microsoft.Compute/images"
	return provider.Provider{Types: []provider.ResourceType{vm, image}, Routes: []provider.Route{{
		Pattern: "/subscriptions/{subscription}/providers/Microsoft.Compute/locations/{location}/vmSizes", Permission: "Microsoft.Compute/locations/vmSizes/read",
		Handle: func(context.Context, *provider.Call) (*provider.Response, error) {
			return provider.JSON(200, map[string]any{"value": []any{}})
		},
	}}}
}

const azTemplate = `// a comment before
{
  "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
  "contentVersion": "1.0.0.0", /* another */
  "parameters": { "name": {"type": "string"}, "pw": {"type": "securestring", "defaultValue": "s3cr3tvalue"} },
  "resources": [
    { "type": "Test.Toys/things", "apiVersion": "2024-01-01", "name": "[concat(parameters('name'), copyIndex())]",
      "location": "[resourceGroup().location]", "copy": {"name": "l", "count": 2} }
  ],
  "outputs": { "id": {"type": "string", "value": "[resourceId('Test.Toys/things', concat(parameters('name'),'0'))]"} }
}
`

func TestAzureCLI(t *testing.T) {
	db := mem.New()
	index := assignment.New(db, nil)
	s := start(t, &toys{}, providertest.WithStore(db), providertest.WithAdmitter(admission.New(admission.Config{Store: db, Index: index})),
		providertest.With(authorization.New(authorization.Config{TenantID: "t"}), machines()))
	az := providertest.AzureCLI(t, s)
	file := filepath.Join(t.TempDir(), "t.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(want string, got []string) {
		t.Helper()
		if diff := cmp.Diff(strings.Fields(want), got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
	refused := func(texts []string, args ...string) {
		t.Helper()
		out, code := az.Try(t, args...)
		for _, text := range texts {
			if code == 0 || !strings.Contains(out, text) {
				t.Errorf("az %s: exit code %d, want %q in\n%s", strings.Join(args, " "), code, text, out)
			}
		}
	}
	write(azTemplate)
	expect("Succeeded 2", az.Query(t, "[properties.provisioningState, length(properties.validatedResources)]", "deployment", "group", "validate", "-g", "rg", "-f", file, "-p", "name=x"))
	expect("Succeeded "+thing("x0").String(), az.Query(t, "[properties.provisioningState, properties.outputs.id.value]", "deployment", "group", "create", "-g", "rg", "-n", "d", "-f", file, "-p", "name=x"))
	if out := az.Run(t, "deployment", "group", "show", "-g", "rg", "-n", "d"); strings.Contains(out, "s3cr3tvalue") {
		t.Errorf("the deployment shows a secret: %s", out)
	}
	expect("d", az.Query(t, "[].name", "deployment", "group", "list", "-g", "rg"))
	expect("d", az.Query(t, "[].name", "deployment", "group", "list", "-g", "rg", "--filter", "provisioningState eq 'Succeeded'"))
	expect("x0 x1", az.Query(t, "[].properties.targetResource.resourceName", "deployment", "operation", "group", "list", "-g", "rg", "-n", "d"))
	if out := az.Run(t, "deployment", "group", "export", "-g", "rg", "-n", "d"); !strings.Contains(out, `"contentVersion": "1.0.0.0"`) {
		t.Errorf("the exported template is %s", out)
	}
	write(strings.Replace(azTemplate, "resourceGroup()", "nope()", 1))
	refused([]string{"InvalidTemplate", "there is no such function", "line 8"}, "deployment", "group", "create", "-g", "rg", "-n", "e", "-f", file, "-p", "name=x")
	az.Run(t, "deployment", "group", "delete", "-g", "rg", "-n", "d")
	expect("", az.Query(t, "[].name", "deployment", "group", "list", "-g", "rg"))

	write(`{"$schema":"https://schema.management.azure.com/schemas/2018-05-01/subscriptionDeploymentTemplate.json#","contentVersion":"1.0.0.0",
		"resources":[{"type":"Microsoft.Resources/resourceGroups","apiVersion":"2022-09-01","name":"made","location":"[deployment().location]"}]}`)
	expect("Succeeded", az.Query(t, "properties.provisioningState", "deployment", "sub", "validate", "-l", "local", "-f", file))
	expect("Succeeded", az.Query(t, "properties.provisioningState", "deployment", "sub", "create", "-l", "local", "-n", "s", "-f", file))
	expect("s", az.Query(t, "[].name", "deployment", "sub", "list"))
	expect("made", az.Query(t, "[].properties.targetResource.resourceName", "deployment", "operation", "sub", "list", "-n", "s"))
	expect("local", az.Query(t, "location", "group", "show", "-n", "made"))
}

func TestAzureCLICreatesMachines(t *testing.T) {
	db := mem.New()
	index := assignment.New(db, nil)
	s := start(t, &toys{}, providertest.WithStore(db), providertest.WithAdmitter(admission.New(admission.Config{Store: db, Index: index})),
		providertest.With(authorization.New(authorization.Config{TenantID: "t"}), machines()))
	az := providertest.AzureCLI(t, s)
	image := providertest.Group().Resource("Microsoft.Compute/images", "golden")
	if _, err := s.Client.Put(t.Context(), image, map[string]any{"location": "local", "properties": map[string]any{
		"storageProfile": map[string]any{"osDisk": map[string]any{"osType": "Linux", "osState": "Generalized"}}, "hyperVGeneration": "V2"}}); err != nil {
		t.Fatal(err)
	}
	create := []string{"vm", "create", "-g", "rg", "--image", image.String(), "--size", "Standard_DS2_v2", "--admin-username", "azureuser", "--generate-ssh-keys"}
	az.Run(t, append(create, "-n", "web", "--no-wait")...)
	s.Settle(t)
	for _, typ := range []string{"Microsoft.Network/virtualNetworks/webVNET", "Microsoft.Network/networkSecurityGroups/webNSG", "Microsoft.Network/publicIPAddresses/webPublicIP",
		"Microsoft.Network/networkInterfaces/webVMNic", "Microsoft.Compute/virtualMachines/web"} {
		if status, _, answer := s.Do(t, "GET", providertest.Query(providertest.Group().String()+"/providers/"+typ, "2024-05-01"), nil); status != 200 {
			t.Errorf("%s: %d %s", typ, status, answer)
		}
	}
	if out, code := az.Try(t, append(create, "-n", "counted", "--count", "2")...); code != 0 {
		t.Errorf("two machines at once: exit code %d\n%s", code, out)
	}
	def := "/subscriptions/" + providertest.Subscription + "/providers/Microsoft.Authorization/"
	if status, _, answer := s.Do(t, "PUT", providertest.Query(def+"policyDefinitions/team", "2023-04-01"),
		`{"properties":{"mode":"Indexed","policyRule":{"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},{"field":"tags['team']","exists":false}]},"then":{"effect":"deny"}}}}`); status != 201 {
		t.Fatalf("%d %s", status, answer)
	}
	if status, _, answer := s.Do(t, "PUT", providertest.Query(def+"policyAssignments/team", "2023-04-01"), `{"properties":{"policyDefinitionId":"`+def+`policyDefinitions/team","displayName":"Machines have a team"}}`); status != 201 {
		t.Fatalf("%d %s", status, answer)
	}
	out, code := az.Try(t, append(create, "-n", "rogue")...)
	for _, text := range []string{"InvalidTemplateDeployment", "policy violation", "RequestDisallowedByPolicy", "rogue", "Machines have a team"} {
		if code != 1 || !strings.Contains(out, text) {
			t.Errorf("exit code %d, want %q in\n%s", code, text, out)
		}
	}
	if status, _, _ := s.Do(t, "GET", providertest.Query(providertest.Group().String()+"/providers/Microsoft.Network/networkSecurityGroups/rogueNSG", "2024-05-01"), nil); status != 404 {
		t.Error("a deployment that policy refuses has made something")
	}
}
