package clients_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resourcegraph/armresourcegraph"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armdeployments"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armlocks"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v4"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armsubscriptions/v2"
)

func (s *sdk) subscriptions(t *testing.T) {
	c := good[*armsubscriptions.ClientFactory](t)(armsubscriptions.NewClientFactory(s.Credential, s.Options))
	got := good[armsubscriptions.ClientGetResponse](t)(c.NewClient().Get(soon(t), s.Subscription, nil))
	if *got.State != armsubscriptions.SubscriptionStateEnabled || *got.TenantID != s.Tenant {
		t.Errorf("%+v", got.Subscription)
	}
	all, _ := drain(t, c.NewClient().NewListPager(nil), func(p armsubscriptions.ClientListResponse) []*armsubscriptions.Subscription { return p.Value })
	places, _ := drain(t, c.NewClient().NewListLocationsPager(s.Subscription, nil), func(p armsubscriptions.ClientListLocationsResponse) []*armsubscriptions.Location { return p.Value })
	tenants, _ := drain(t, c.NewTenantsClient().NewListPager(nil), func(p armsubscriptions.TenantsClientListResponse) []*armsubscriptions.TenantIDDescription {
		return p.Value
	})
	if len(all) != 1 || len(places) != 2 || *places[0].Name != here || len(tenants) != 1 || *tenants[0].TenantID != s.Tenant {
		t.Errorf("%d subscriptions, %d places, %d tenants", len(all), len(places), len(tenants))
	}
}

// resources goes through groups, generic resources, tags, providers and locks.
func (s *sdk) resources(t *testing.T) {
	const name = "sdk-resources"
	group := s.group(t, name)
	c := good[*armresources.ClientFactory](t)(armresources.NewClientFactory(s.Subscription, s.Credential, s.Options))
	for _, table := range []string{"one", "two", "three"} {
		good[string](t)(s.routes(t, group, table, map[string]*string{"n": &table}))
	}
	t.Run("groups", func(t *testing.T) { s.resourceGroups(t, c.NewResourceGroupsClient(), name) })
	t.Run("generic", func(t *testing.T) { genericResources(t, c.NewClient(), name, group+"/providers/"+routeTables+"/one") })
	t.Run("tags", func(t *testing.T) { tags(t, c.NewTagsClient(), strings.TrimPrefix(group, "/")) })
	t.Run("providers", func(t *testing.T) { providers(t, c) })
	t.Run("locks", func(t *testing.T) { s.locks(t, c.NewResourceGroupsClient(), name) })
	gone, err := c.NewResourceGroupsClient().BeginDelete(soon(t), name, nil)
	finish(t, gone, err)
	if there := good[armresources.ResourceGroupsClientCheckExistenceResponse](t)(c.NewResourceGroupsClient().CheckExistence(soon(t), name, nil)); there.Success {
		t.Error("the group is still there")
	}
}

func (s *sdk) resourceGroups(t *testing.T, c *armresources.ResourceGroupsClient, name string) {
	good[armresources.ResourceGroupsClientUpdateResponse](t)(c.Update(soon(t), name, armresources.ResourceGroupPatchable{Tags: map[string]*string{"suite": to.Ptr("sdk")}}, nil))
	got := good[armresources.ResourceGroupsClientGetResponse](t)(c.Get(soon(t), name, nil))
	if *got.Tags["suite"] != "sdk" || *got.Properties.ProvisioningState != "Succeeded" || *got.Location != here {
		t.Errorf("%+v", got.ResourceGroup)
	}
	found, _ := drain(t, c.NewListPager(&armresources.ResourceGroupsClientListOptions{Filter: to.Ptr("tagName eq 'suite' and tagValue eq 'sdk'"), Top: to.Ptr[int32](1)}),
		func(p armresources.ResourceGroupsClientListResponse) []*armresources.ResourceGroup { return p.Value })
	if len(found) != 1 || *found[0].Name != name {
		t.Errorf("%d groups by tag", len(found))
	}
	p, err := c.BeginExportTemplate(soon(t), name, armresources.ExportTemplateRequest{Resources: to.SliceOfPtrs("*")}, nil)
	if template, ok := finish(t, p, err).Template.(map[string]any); !ok || len(template["resources"].([]any)) != 3 {
		t.Errorf("exported %v", template)
	}
}

func genericResources(t *testing.T, c *armresources.Client, group, id string) {
	p, err := c.BeginUpdateByID(soon(t), id, routesAPI, armresources.GenericResource{Tags: map[string]*string{"n": to.Ptr("1")}}, nil)
	finish(t, p, err)
	if got := good[armresources.ClientGetByIDResponse](t)(c.GetByID(soon(t), id, routesAPI, nil)); *got.Tags["n"] != "1" || *got.Type != routeTables {
		t.Errorf("%+v", got.GenericResource)
	}
	found, pages := drain(t, c.NewListByResourceGroupPager(group, &armresources.ClientListByResourceGroupOptions{Filter: to.Ptr("resourceType eq '" + routeTables + "'"), Top: to.Ptr[int32](2), Expand: to.Ptr("createdTime")}),
		func(p armresources.ClientListByResourceGroupResponse) []*armresources.GenericResourceExpanded {
			return p.Value
		})
	if len(found) != 3 || pages != 2 || found[0].CreatedTime == nil {
		t.Errorf("%d resources on %d pages", len(found), pages)
	}
	d, err := c.BeginDeleteByID(soon(t), id, routesAPI, nil)
	finish(t, d, err)
	if there := good[armresources.ClientCheckExistenceByIDResponse](t)(c.CheckExistenceByID(soon(t), id, routesAPI, nil)); there.Success {
		t.Error("the resource is still there")
	}
}

func tags(t *testing.T, c *armresources.TagsClient, scope string) {
	set := armresources.Tags{Tags: map[string]*string{"team": to.Ptr("Blue")}}
	p, err := c.BeginCreateOrUpdateAtScope(soon(t), scope, armresources.TagsResource{Properties: &set}, nil)
	finish(t, p, err)
	more := armresources.Tags{Tags: map[string]*string{"cost": to.Ptr("1")}}
	u, err := c.BeginUpdateAtScope(soon(t), scope, armresources.TagsPatchResource{Operation: to.Ptr(armresources.TagsPatchOperationMerge), Properties: &more}, nil)
	finish(t, u, err)
	if got := good[armresources.TagsClientGetAtScopeResponse](t)(c.GetAtScope(soon(t), scope, nil)); len(got.Properties.Tags) != 2 || *got.Properties.Tags["team"] != "Blue" {
		t.Errorf("%+v", got.Properties.Tags)
	}
	good[armresources.TagsClientCreateOrUpdateResponse](t)(c.CreateOrUpdate(soon(t), "sdk-owner", nil))
	good[armresources.TagsClientCreateOrUpdateValueResponse](t)(c.CreateOrUpdateValue(soon(t), "sdk-owner", "ops", nil))
	all, _ := drain(t, c.NewListPager(nil), func(p armresources.TagsClientListResponse) []*armresources.TagDetails { return p.Value })
	if !slices.ContainsFunc(all, func(d *armresources.TagDetails) bool { return *d.TagName == "sdk-owner" && len(d.Values) == 1 }) {
		t.Errorf("%d tag names without the new one", len(all))
	}
	good[armresources.TagsClientDeleteValueResponse](t)(c.DeleteValue(soon(t), "sdk-owner", "ops", nil))
	good[armresources.TagsClientDeleteResponse](t)(c.Delete(soon(t), "sdk-owner", nil))
	d, err := c.BeginDeleteAtScope(soon(t), scope, nil)
	finish(t, d, err)
}

func providers(t *testing.T, f *armresources.ClientFactory) {
	c := f.NewProvidersClient()
	all, _ := drain(t, c.NewListPager(nil), func(p armresources.ProvidersClientListResponse) []*armresources.Provider { return p.Value })
	tenant, _ := drain(t, c.NewListAtTenantScopePager(nil), func(p armresources.ProvidersClientListAtTenantScopeResponse) []*armresources.Provider { return p.Value })
	if len(all) < 50 || len(tenant) != len(all) {
		t.Errorf("%d and %d providers", len(all), len(tenant))
	}
	vm := func(r *armresources.ProviderResourceType) bool {
		return *r.ResourceType == "virtualMachines" && len(r.APIVersions) > 0 && len(r.Aliases) > 50
	}
	if got := good[armresources.ProvidersClientGetResponse](t)(c.Get(soon(t), "Microsoft.Compute", &armresources.ProvidersClientGetOptions{Expand: to.Ptr("resourceTypes/aliases")})); !slices.ContainsFunc(got.ResourceTypes, vm) {
		t.Error("no virtual machines with aliases")
	}
	if got := good[armresources.ProvidersClientRegisterResponse](t)(c.Register(soon(t), "Microsoft.Compute", nil)); *got.RegistrationState != "Registered" {
		t.Errorf("%s", *got.RegistrationState)
	}
	if _, err := c.Unregister(soon(t), "Microsoft.Compute", nil); refusal(err) != "CannotUnregisterProvider" {
		t.Errorf("unregistering: %v", err)
	}
	operations, _ := drain(t, f.NewOperationsClient().NewListPager(nil), func(p armresources.OperationsClientListResponse) []*armresources.Operation { return p.Value })
	if !slices.ContainsFunc(operations, func(o *armresources.Operation) bool { return *o.Name == "Microsoft.Resources/deployments/write" }) {
		t.Errorf("%d operations", len(operations))
	}
}

func (s *sdk) locks(t *testing.T, groups *armresources.ResourceGroupsClient, group string) {
	c := good[*armlocks.ManagementLocksClient](t)(armlocks.NewManagementLocksClient(s.Subscription, s.Credential, s.Options))
	keep := armlocks.ManagementLockObject{Properties: &armlocks.ManagementLockProperties{Level: to.Ptr(armlocks.LockLevelCanNotDelete), Notes: to.Ptr("not yet")}}
	good[armlocks.ManagementLocksClientCreateOrUpdateAtResourceGroupLevelResponse](t)(c.CreateOrUpdateAtResourceGroupLevel(soon(t), group, "keep", keep, nil))
	if got := good[armlocks.ManagementLocksClientGetAtResourceGroupLevelResponse](t)(c.GetAtResourceGroupLevel(soon(t), group, "keep", nil)); *got.Properties.Notes != "not yet" {
		t.Errorf("%+v", got.Properties)
	}
	if _, err := groups.BeginDelete(soon(t), group, nil); refusal(err) != "ScopeLocked" {
		t.Errorf("deleting a locked group: %v", err)
	}
	for _, list := range [][]*armlocks.ManagementLockObject{
		first(drain(t, c.NewListAtResourceGroupLevelPager(group, nil), func(p armlocks.ManagementLocksClientListAtResourceGroupLevelResponse) []*armlocks.ManagementLockObject {
			return p.Value
		})),
		first(drain(t, c.NewListAtSubscriptionLevelPager(nil), func(p armlocks.ManagementLocksClientListAtSubscriptionLevelResponse) []*armlocks.ManagementLockObject {
			return p.Value
		})),
	} {
		if len(list) != 1 || *list[0].Name != "keep" {
			t.Errorf("%d locks", len(list))
		}
	}
	good[armlocks.ManagementLocksClientDeleteAtResourceGroupLevelResponse](t)(c.DeleteAtResourceGroupLevel(soon(t), group, "keep", nil))
}

func first[T any](all []T, _ int) []T { return all }

const tablesTemplate = `{"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",
  "parameters": {"count": {"type": "int"}},
  "resources": [{"type": "Microsoft.Network/routeTables", "apiVersion": "2023-11-01", "name": "[concat('table-', copyIndex())]", "location": "[resourceGroup().location]",
    "copy": {"name": "tables", "count": "[parameters('count')]"}}],
  "outputs": {"first": {"type": "string", "value": "[resourceId('Microsoft.Network/routeTables', 'table-0')]"}}}`

// deployments makes three resources with a template, and looks at how that went.
func (s *sdk) deployments(t *testing.T) {
	const name = "sdk-deployments"
	group := s.group(t, name)
	f := good[*armdeployments.ClientFactory](t)(armdeployments.NewClientFactory(s.Subscription, s.Credential, s.Options))
	c, ask := f.NewDeploymentsClient(), armdeployments.Deployment{Properties: &armdeployments.DeploymentProperties{Mode: to.Ptr(armdeployments.DeploymentModeIncremental),
		Template: document(t, tablesTemplate), Parameters: map[string]*armdeployments.DeploymentParameter{"count": {Value: 3}}}}
	v, err := c.BeginValidate(soon(t), name, "tables", ask, nil)
	if checked := finish(t, v, err); len(checked.Properties.ValidatedResources) != 3 {
		t.Errorf("%d resources are valid", len(checked.Properties.ValidatedResources))
	}
	p, err := c.BeginCreateOrUpdate(soon(t), name, "tables", ask, nil)
	made := finish(t, p, err).Properties
	if outputs := made.Outputs.(map[string]any)["first"].(map[string]any); *made.ProvisioningState != armdeployments.ProvisioningStateSucceeded || len(made.OutputResources) != 3 || !strings.EqualFold(outputs["value"].(string), group+"/providers/"+routeTables+"/table-0") {
		t.Errorf("%+v", made)
	}
	if got := good[armdeployments.DeploymentsClientGetResponse](t)(c.Get(soon(t), name, "tables", nil)); *got.Properties.TemplateHash == "" {
		t.Errorf("%+v", got.Properties)
	}
	operations, pages := drain(t, f.NewDeploymentOperationsClient().NewListPager(name, "tables", &armdeployments.DeploymentOperationsClientListOptions{Top: to.Ptr[int32](2)}),
		func(p armdeployments.DeploymentOperationsClientListResponse) []*armdeployments.DeploymentOperation {
			return p.Value
		})
	if len(operations) != 3 || pages != 2 {
		t.Errorf("%d operations on %d pages", len(operations), pages)
	}
	exported := good[armdeployments.DeploymentsClientExportTemplateResponse](t)(c.ExportTemplate(soon(t), name, "tables", nil))
	if fmt.Sprint(exported.Template) != fmt.Sprint(document(t, tablesTemplate)) {
		t.Errorf("%v", exported.Template)
	}
	all, _ := drain(t, c.NewListByResourceGroupPager(name, &armdeployments.DeploymentsClientListByResourceGroupOptions{Filter: to.Ptr("provisioningState eq 'Succeeded'")}),
		func(p armdeployments.DeploymentsClientListByResourceGroupResponse) []*armdeployments.DeploymentExtended {
			return p.Value
		})
	if len(all) != 1 {
		t.Errorf("%d deployments", len(all))
	}
	if _, err := c.Cancel(soon(t), name, "tables", nil); refusal(err) != "DeploymentNotRunning" {
		t.Errorf("cancelling what has ended: %v", err)
	}
	ask.Location = to.Ptr(here)
	ask.Properties.Template = document(t, `{"$schema": "https://schema.management.azure.com/schemas/2018-05-01/subscriptionDeploymentTemplate.json#", "contentVersion": "1.0.0.0", "resources": [
	  {"type": "Microsoft.Resources/resourceGroups", "apiVersion": "2024-11-01", "name": "sdk-deployed", "location": "eastus"}]}`)
	ask.Properties.Parameters = nil
	at, err := c.BeginCreateOrUpdateAtSubscriptionScope(soon(t), "sdk-group", ask, nil)
	if got := finish(t, at, err); last(got.Properties.OutputResources[0].ID) != "sdk-deployed" {
		t.Errorf("%+v", got.Properties.OutputResources)
	}
	d, err := c.BeginDelete(soon(t), name, "tables", nil)
	finish(t, d, err)
	if there := good[armdeployments.DeploymentsClientCheckExistenceResponse](t)(c.CheckExistence(soon(t), name, "tables", nil)); there.Success {
		t.Error("the deployment is still there")
	}
}

// graph pages through an inventory.
func (s *sdk) graph(t *testing.T) {
	group := s.group(t, "sdk-graph")
	for _, table := range []string{"x", "y", "z"} {
		good[string](t)(s.routes(t, group, table, map[string]*string{"n": &table}))
	}
	c := good[*armresourcegraph.Client](t)(armresourcegraph.NewClient(s.Credential, s.Options))
	ask := armresourcegraph.QueryRequest{Subscriptions: to.SliceOfPtrs(s.Subscription), Options: &armresourcegraph.QueryRequestOptions{Top: to.Ptr[int32](2), ResultFormat: to.Ptr(armresourcegraph.ResultFormatObjectArray)},
		Query: to.Ptr("Resources | where resourceGroup =~ 'sdk-graph' and type =~ 'microsoft.network/routetables' | project name, n = tostring(tags.n) | order by name asc")}
	var rows []any
	for {
		got := good[armresourcegraph.ClientResourcesResponse](t)(c.Resources(soon(t), ask, nil))
		rows = append(rows, got.Data.([]any)...)
		if *got.TotalRecords != 3 {
			t.Errorf("%d records", *got.TotalRecords)
		}
		if got.SkipToken == nil {
			break
		}
		ask.Options.SkipToken = got.SkipToken
	}
	if fmt.Sprint(rows) != "[map[n:x name:x] map[n:y name:y] map[n:z name:z]]" {
		t.Errorf("%v", rows)
	}
	ask.Query, ask.Options.SkipToken = to.Ptr("Resources | fly away"), nil
	if _, err := c.Resources(soon(t), ask, nil); err == nil || !strings.Contains(err.Error(), "fly") {
		t.Errorf("an operator that is none: %v", err)
	}
	operations := good[*armresourcegraph.OperationsClient](t)(armresourcegraph.NewOperationsClient(s.Credential, s.Options))
	if all, _ := drain(t, operations.NewListPager(nil), func(p armresourcegraph.OperationsClientListResponse) []*armresourcegraph.Operation { return p.Value }); len(all) == 0 {
		t.Error("no operations")
	}
}
