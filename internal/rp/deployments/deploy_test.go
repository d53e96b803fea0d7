package deployments_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armdeployments"
	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider/providertest"
)

// vmNetwork is the network part of what az vm create sends: Type/name in dependsOn, in
// another case, and many nulls.
const vmNetwork = `"parameters":{},"variables":{},"resources":[
{"name":"vmVNET","type":"Microsoft.Network/virtualNetworks","location":"local","apiVersion":"2022-07-01","dependsOn":[],"tags":{},"properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[{"name":"vmSubnet","properties":{"addressPrefix":"10.0.0.0/24"}}]}},
{"type":"Microsoft.Network/networkSecurityGroups","name":"vmNSG","apiVersion":"2022-07-01","location":"local","tags":{},"dependsOn":[],"properties":{"securityRules":[{"name":"default-allow-ssh","properties":{"protocol":"Tcp","sourcePortRange":"*","destinationPortRange":"22","sourceAddressPrefix":"*","destinationAddressPrefix":"*","access":"Allow","priority":1000,"direction":"Inbound"}}]}},
{"apiVersion":"2022-11-01","type":"Microsoft.Network/publicIPAddresses","name":"vmPublicIP","location":"local","tags":{},"dependsOn":[],"properties":{"publicIPAllocationMethod":"Static","dnsSettings":null},"sku":{"name":"Standard"},"zones":null},
{"apiVersion":"2022-07-01","type":"Microsoft.Network/networkInterfaces","name":"vmVMNic","location":"local","tags":{},"dependsOn":["Microsoft.Network/virtualNetworks/vmVNET","Microsoft.Network/networkSecurityGroups/vmNSG","Microsoft.Network/publicIpAddresses/vmPublicIP"],"properties":{"ipConfigurations":[{"name":"ipconfigvm","properties":{"privateIPAllocationMethod":"Dynamic","subnet":{"id":"/subscriptions/` + providertest.Subscription + `/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/vmVNET/subnets/vmSubnet"},"publicIPAddress":{"id":"/subscriptions/` + providertest.Subscription + `/resourceGroups/rg/providers/Microsoft.Network/publicIPAddresses/vmPublicIP"}}}],"networkSecurityGroup":{"id":"/subscriptions/` + providertest.Subscription + `/resourceGroups/rg/providers/Microsoft.Network/networkSecurityGroups/vmNSG"}}}],
"outputs":{"nic":{"type":"object","value":"[reference('vmVMNic')]"}}`

func clients(t *testing.T, s *providertest.Server) (*armdeployments.DeploymentsClient, *armdeployments.DeploymentOperationsClient) {
	t.Helper()
	c, err := armdeployments.NewDeploymentsClient(providertest.Subscription, s.Credential, s.Options)
	if err != nil {
		t.Fatal(err)
	}
	o, err := armdeployments.NewDeploymentOperationsClient(providertest.Subscription, s.Credential, s.Options)
	if err != nil {
		t.Fatal(err)
	}
	return c, o
}

var poll = &runtime.PollUntilDoneOptions{Frequency: time.Millisecond}

func asAny(t *testing.T, text string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSDK(t *testing.T) {
	s := start(t, &toys{})
	c, o := clients(t, s)
	ctx := t.Context()
	ask := armdeployments.Deployment{Properties: &armdeployments.DeploymentProperties{Mode: to.Ptr(armdeployments.DeploymentModeIncremental), Template: asAny(t, tpl(vmNetwork))}}

	validation, err := c.BeginValidate(ctx, "rg", "vm", ask, nil)
	if err != nil {
		t.Fatal(err)
	}
	checked, err := validation.PollUntilDone(ctx, poll)
	if err != nil || len(checked.Properties.ValidatedResources) != 4 {
		t.Errorf("validate: %v, %v", checked.Properties, err)
	}
	if exists, err := c.CheckExistence(ctx, "rg", "vm", nil); err != nil || exists.Success {
		t.Errorf("the deployment exists although it was only validated: %v", err)
	}
	poller, err := c.BeginCreateOrUpdate(ctx, "rg", "vm", ask, nil)
	if err != nil {
		t.Fatal(err)
	}
	done, err := poller.PollUntilDone(ctx, poll)
	if err != nil {
		t.Fatal(err)
	}
	if *done.Properties.ProvisioningState != armdeployments.ProvisioningStateSucceeded || len(done.Properties.OutputResources) != 4 || len(done.Properties.Dependencies) != 1 {
		t.Errorf("got %+v", done.Properties)
	}
	outputs, err := json.Marshal(done.Properties.Outputs)
	if err != nil || !strings.Contains(string(outputs), `"privateIPAddress":"10.99.0.`) {
		t.Errorf("outputs: %s %v", outputs, err)
	}
	var targets []string
	for pager := o.NewListPager("rg", "vm", nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, op := range page.Value {
			targets = append(targets, *op.Properties.TargetResource.ResourceName+" "+*op.Properties.ProvisioningState)
			if one, err := o.Get(ctx, "rg", "vm", *op.OperationID, nil); err != nil || *one.ID != *op.ID {
				t.Errorf("operation %s: %v", *op.OperationID, err)
			}
		}
	}
	if diff := cmp.Diff([]string{"vmVNET Succeeded", "vmNSG Succeeded", "vmPublicIP Succeeded", "vmVMNic Succeeded"}, targets); diff != "" {
		t.Error(diff)
	}
	exported, err := c.ExportTemplate(ctx, "rg", "vm", nil)
	if err != nil || exported.Template.(map[string]any)["contentVersion"] != "1.0.0.0" {
		t.Errorf("export: %v, %v", exported, err)
	}
	names := 0
	for pager := c.NewListByResourceGroupPager("rg", &armdeployments.DeploymentsClientListByResourceGroupOptions{Filter: to.Ptr("provisioningState eq 'Succeeded'")}); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		names += len(page.Value)
	}
	if names != 1 {
		t.Errorf("%d deployments are listed", names)
	}
	if _, err := c.Cancel(ctx, "rg", "vm", nil); err == nil || !strings.Contains(err.Error(), "DeploymentNotRunning") {
		t.Errorf("canceling what has ended: %v", err)
	}
	if h, err := c.CalculateTemplateHash(ctx, asAny(t, tpl(vmNetwork)), nil); err != nil || *h.TemplateHash == "" {
		t.Errorf("hash: %v", err)
	}
	gone, err := c.BeginDelete(ctx, "rg", "vm", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gone.PollUntilDone(ctx, poll); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Client.Get(ctx, providertest.Group().Resource("Microsoft.Network/networkInterfaces", "vmVMNic")); err != nil {
		t.Errorf("deleting a deployment took a resource along: %v", err)
	}
}

func TestAtSubscription(t *testing.T) {
	s := start(t, &toys{})
	c, _ := clients(t, s)
	template := asAny(t, tpl(`"resources":[{"type":"Microsoft.Resources/resourceGroups","name":"made","apiVersion":"2021-04-01","location":"[deployment().location]"},
		{"type":"Microsoft.Resources/deployments","name":"inside","apiVersion":"2021-04-01","resourceGroup":"made","dependsOn":["[resourceId('Microsoft.Resources/resourceGroups','made')]"],
		"properties":{"mode":"Incremental","expressionEvaluationOptions":{"scope":"inner"},"parameters":{"n":{"value":"a"}},"template":`+tpl(`"parameters":{"n":{"type":"string"}},
			"resources":[{"type":"Test.Toys/slow","name":"[parameters('n')]","apiVersion":"2024-01-01","location":"[resourceGroup().location]"}],"outputs":{"id":{"type":"string","value":"[resourceId('Test.Toys/slow',parameters('n'))]"}}`)+`}}],
		"outputs":{"id":{"type":"string","value":"[reference('inside').outputs.id.value]"}}`))
	poller, err := c.BeginCreateOrUpdateAtSubscriptionScope(t.Context(), "sub", armdeployments.Deployment{Location: to.Ptr("local"),
		Properties: &armdeployments.DeploymentProperties{Mode: to.Ptr(armdeployments.DeploymentModeIncremental), Template: template}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	done, err := poller.PollUntilDone(t.Context(), poll)
	if err != nil {
		t.Fatal(err)
	}
	want := "/subscriptions/" + providertest.Subscription + "/resourceGroups/made/providers/Test.Toys/slow/a"
	if got := at(done.Properties.Outputs, "id.value"); got != want {
		t.Errorf("the output is %v", got)
	}
	if _, err := s.Client.Get(t.Context(), arm.ResourceGroupID(providertest.Subscription, "made").Resource("Test.Toys/slow", "a")); err != nil {
		t.Error(err)
	}
	for pager := c.NewListAtSubscriptionScopePager(nil); pager.More(); {
		page, err := pager.NextPage(t.Context())
		if err != nil || len(page.Value) != 1 {
			t.Fatalf("%d at the subscription: %v", len(page.Value), err)
		}
	}
}

func TestOrderAndLoops(t *testing.T) {
	y := &toys{}
	s := start(t, y)
	state, doc := deploy(t, s, "d", body(tpl(`"resources":[
		{"type":"Test.Toys/things","name":"last","apiVersion":"2024-01-01","dependsOn":["loop"],"properties":{"k":"[listKeys(resourceId('Test.Toys/slow','s1'),'2024-01-01').key]"}},
		{"type":"Test.Toys/slow","name":"[concat('s',copyIndex())]","apiVersion":"2024-01-01","copy":{"name":"loop","count":3},"dependsOn":["first"]},
		{"type":"Test.Toys/things","name":"first","apiVersion":"2024-01-01","resources":[{"type":"parts","name":"p","apiVersion":"2024-01-01"}]}]`), ""))
	if state != "Succeeded" {
		t.Fatalf("got %v", doc)
	}
	order := y.written()
	if order[0] != "first" || order[len(order)-1] != "last" || len(order) != 6 {
		t.Errorf("the order was %v", order)
	}
	raw, err := s.Client.Get(t.Context(), thing("last"))
	if err != nil || arm.GetString(raw, "properties.k") != "key of s1" {
		t.Errorf("got %s, %v", raw, err)
	}
}

func TestFailure(t *testing.T) {
	y := &toys{}
	s := start(t, y)
	state, doc := deploy(t, s, "d", body(tpl(`"resources":[
		{"type":"Test.Toys/things","name":"good","apiVersion":"2024-01-01"},
		{"type":"Test.Toys/things","name":"bad","apiVersion":"2024-01-01","properties":{"refuse":"no such colour"}},
		{"type":"Test.Toys/slow","name":"broken","apiVersion":"2024-01-01","properties":{"fail":"the spring is too short"}},
		{"type":"Test.Toys/things","name":"never","apiVersion":"2024-01-01","dependsOn":["bad"]}]`), ""))
	e := at(doc, "properties.error")
	if state != "Failed" || at(e, "code") != "DeploymentFailed" {
		t.Fatalf("%s: %v", state, e)
	}
	raw, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"no such colour", "BadToy", "/providers/Test.Toys/things/bad", "ResourceDeploymentFailure", "ToyBroke", "the spring is too short", "/providers/Test.Toys/slow/broken"} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("the error lacks %q: %s", want, raw)
		}
	}
	if _, err := s.Client.Get(t.Context(), thing("good")); err != nil {
		t.Errorf("what was made is gone: %v", err)
	}
	if slices.Contains(y.written(), "never") {
		t.Error("a resource was asked for although what it depends on failed")
	}
	c, _ := clients(t, s)
	poller, err := c.BeginCreateOrUpdate(t.Context(), "rg", "d", armdeployments.Deployment{Properties: &armdeployments.DeploymentProperties{Mode: to.Ptr(armdeployments.DeploymentModeIncremental),
		Template: asAny(t, tpl(`"resources":[{"type":"Test.Toys/things","name":"bad","apiVersion":"2024-01-01","properties":{"refuse":"still"}}]`))}}, nil)
	if err == nil {
		_, err = poller.PollUntilDone(t.Context(), poll)
	}
	if err == nil || !strings.Contains(err.Error(), "DeploymentFailed") {
		t.Errorf("the SDK sees %v", err)
	}
}

func TestRefusals(t *testing.T) {
	s := start(t, &toys{})
	one := `"resources":[{"type":"Test.Toys/things","name":"a","apiVersion":"2024-01-01"}]`
	tests := []struct {
		name, body string
		status     int
		code, text string
	}{
		{"complete", `{"properties":{"mode":"Complete","template":` + tpl(one) + `}}`, 400, "NotSupported", "Use Incremental"},
		{"linked", `{"properties":{"mode":"Incremental","templateLink":{"uri":"https://x"}}}`, 400, "NotSupported", "linked templates"},
		{"no template", `{"properties":{"mode":"Incremental"}}`, 400, "InvalidRequestContent", "no template"},
		{"line", "{\"properties\":{\"mode\":\"Incremental\", template:{" + schema + ",\n// comment\n\"resources\":[\n{\"type\":\"Test.Toys/things\",\"name\":\"[nope()]\",\"apiVersion\":\"2024-01-01\"}]}}}", 400, "InvalidTemplate", "(line 4, column"},
		{"syntax", "{\"properties\":{\"mode\":\"Incremental\", template:{\n\"a\" 1}}}", 400, "InvalidRequestContent", "line 2"},
		{"circle", body(tpl(`"resources":[{"type":"Test.Toys/things","name":"a","apiVersion":"2024-01-01","dependsOn":["b"]},{"type":"Test.Toys/things","name":"b","apiVersion":"2024-01-01","dependsOn":["a"]}]`), ""), 400, "InvalidTemplate", "Circular dependency detected on resource"},
		{"parameter", body(tpl(`"parameters":{"p":{"type":"string"}},`+one), ""), 400, "InvalidTemplate", "'p' is not provided"},
		{"unknown type", body(tpl(`"resources":[{"type":"Test.Toys/none","name":"a","apiVersion":"2024-01-01"}]`), ""), 400, "InvalidTemplateDeployment", "could not be found in the namespace"},
		{"location", body(tpl(`"resources":[{"type":"Test.Toys/things","name":"a","apiVersion":"2024-01-01","location":"mars"}]`), ""), 400, "InvalidTemplateDeployment", "is not available"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, target := range []string{path(deploymentID("d")), providertest.Query(deploymentID("d").String()+"/validate", "2021-04-01")} {
				method := "PUT"
				if strings.Contains(target, "validate") {
					method = "POST"
				}
				status, _, answer := s.Do(t, method, target, test.body)
				var e struct{ Error arm.Error }
				if err := json.Unmarshal(answer, &e); err != nil {
					t.Fatal(err)
				}
				if status != test.status || e.Error.Code != test.code || !strings.Contains(string(answer), test.text) {
					t.Errorf("%s answered %d %s", method, status, answer)
				}
			}
		})
	}
	if status, _, answer := s.Do(t, "POST", providertest.Query(deploymentID("d").String()+"/whatIf", "2021-04-01"), "{}"); status != 400 || !strings.Contains(string(answer), "NotSupported") {
		t.Errorf("what-if answered %d %s", status, answer)
	}
	reader, _ := s.TokenFor(t, "Reader", arm.Tenant)
	if status, _, answer := s.DoAs(t, reader, "PUT", path(deploymentID("d")), body(tpl(one), "")); status != 403 {
		t.Errorf("a reader deploys: %d %s", status, answer)
	}
}

// TestSecrets: a secure value is nowhere to be found, whatever the template does with
// it, but in the resource that it was meant for.
func TestSecrets(t *testing.T) {
	const canary = "c4n4ry-hunter2"
	s := start(t, &toys{})
	state, doc := deploy(t, s, "d", body(tpl(`"parameters":{"p":{"type":"securestring"},"o":{"type":"secureObject"},"plain":{"type":"string","defaultValue":"x"}},"resources":[
		{"type":"Microsoft.Resources/deployments","name":"out","apiVersion":"2021-04-01","properties":{"mode":"Incremental","template":`+tpl(`"resources":[{"type":"Test.Toys/slow","name":"quiet","apiVersion":"2024-01-01","properties":{"fail":"[concat('it broke, said ', parameters('p'))]"}}]`)+`}},
		{"type":"Test.Toys/things","name":"loud","apiVersion":"2024-01-01","properties":{"refuse":"[concat('I refuse ', parameters('o').deep)]"}}],
		"outputs":{"leak":{"type":"string","value":"[concat('it is ', parameters('p'))]"},"fine":{"type":"securestring","value":"[parameters('p')]"}}`),
		`{"p":{"value":"`+canary+`"},"o":{"value":{"deep":"`+canary+`"}}}`))
	if state != "Failed" {
		t.Fatalf("got %v", doc)
	}
	seen := fmt.Sprint(doc)
	for _, p := range []string{path(deploymentID("out")), providertest.Query(deploymentID("d").String()+"/operations", "2021-04-01"), providertest.Query(deploymentID("out").String()+"/operations", "2021-04-01")} {
		_, _, answer := s.Do(t, "GET", p, nil)
		seen += string(answer)
	}
	_, _, exported := s.Do(t, "POST", providertest.Query(deploymentID("out").String()+"/exportTemplate", "2021-04-01"), nil)
	if seen += string(exported); !strings.Contains(seen, "outerSecret0") {
		t.Errorf("the exported template is %s", exported)
	}
	docs, _, err := s.Store.Since(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range docs {
		if change.Deleted || strings.Contains(change.Key, "test.toys/slow") {
			continue
		}
		d := read(t, s, change.Key)
		if strings.Contains(change.Key, "operationstatuses") && strings.Contains(string(d.Private), "Test.Toys/slow") {
			continue // the toy says its secret itself
		}
		seen += string(d.Body) + string(d.Private)
	}
	if i := strings.Index(seen, canary); i >= 0 {
		t.Errorf("the secret shows: …%s…", seen[max(0, i-300):min(len(seen), i+60)])
	}
	state, doc = deploy(t, s, "e", body(tpl(`"parameters":{"p":{"type":"securestring"}},"resources":[],"outputs":{"leak":{"type":"object","value":{"a":["[concat('it is ', parameters('p'))]"]}},"ok":{"type":"string","value":"y"}}`), `{"p":{"value":"`+canary+`"}}`))
	if state != "Succeeded" || strings.Contains(fmt.Sprint(doc), canary) || at(doc, "properties.outputs.ok.value") != "y" {
		t.Errorf("got %v", doc)
	}
}

func TestCancel(t *testing.T) {
	y := &toys{release: make(chan struct{})}
	s := start(t, y)
	template := body(tpl(`"resources":[{"type":"Test.Toys/slow","name":"s","apiVersion":"2024-01-01"},{"type":"Test.Toys/things","name":"after","apiVersion":"2024-01-01","dependsOn":["s"]}]`), "")
	if status, _, answer := s.Do(t, "PUT", path(deploymentID("d")), template); status != 201 {
		t.Fatalf("%d %s", status, answer)
	}
	if status, _, answer := s.Do(t, "PUT", path(deploymentID("d")), template); status != 409 || !strings.Contains(string(answer), "DeploymentActive") {
		t.Errorf("a second PUT answered %d %s", status, answer)
	}
	if status, _, answer := s.Do(t, "DELETE", path(deploymentID("d")), nil); status != 409 {
		t.Errorf("a DELETE answered %d %s", status, answer)
	}
	if status, _, answer := s.Do(t, "POST", providertest.Query(deploymentID("d").String()+"/cancel", "2021-04-01"), nil); status != 204 {
		t.Fatalf("cancel answered %d %s", status, answer)
	}
	if state, doc := ended(t, s, "d"); state != "Canceled" {
		t.Errorf("got %v", doc)
	}
	close(y.release)
	s.Settle(t)
	if slices.Contains(y.written(), "after") {
		t.Error("a canceled deployment went on")
	}
}
