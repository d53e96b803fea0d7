package resources_test

import (
	"context"
	"slices"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v4"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armsubscriptions/v2"
	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/provider/providertest"
)

// pages gathers what a pager has.
func pages[P, T any](t *testing.T, pager *runtime.Pager[P], items func(P) []*T) (all []*T) {
	t.Helper()
	for pager.More() {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, items(page)...)
	}
	return all
}

const balancerVersion = "2023-11-01"

func TestSDKGenericResources(t *testing.T) {
	s := surface(t)
	ctx := t.Context()
	c, err := armresources.NewClient(providertest.Subscription, s.Credential, s.Options)
	if err != nil {
		t.Fatal(err)
	}
	id := func(name string) string {
		return providertest.Group().Resource("Microsoft.Network/loadBalancers", name).String()
	}
	for _, name := range []string{"one", "two", "three"} {
		body := armresources.GenericResource{Location: to.Ptr("local"), SKU: &armresources.SKU{Name: to.Ptr("Standard")}, Tags: map[string]*string{"n": to.Ptr(name)}}
		p, err := c.BeginCreateOrUpdateByID(ctx, id(name), balancerVersion, body, nil)
		if err := await(p, err); err != nil {
			t.Fatal(err)
		}
	}
	there, err := c.CheckExistenceByID(ctx, id("one"), balancerVersion, nil)
	if err != nil || !there.Success {
		t.Errorf("exists: %v, %v", there.Success, err)
	}
	if gone, err := c.CheckExistenceByID(ctx, id("none"), balancerVersion, nil); err != nil || gone.Success {
		t.Errorf("none exists: %v, %v", gone.Success, err)
	}
	p, err := c.BeginUpdateByID(ctx, id("one"), balancerVersion, armresources.GenericResource{Tags: map[string]*string{"n": to.Ptr("1")}}, nil)
	if err := await(p, err); err != nil {
		t.Error(err)
	}
	got, err := c.GetByID(ctx, id("one"), balancerVersion, nil)
	if err != nil || *got.Tags["n"] != "1" || *got.SKU.Name != "Standard" {
		t.Errorf("%+v, %v", got.GenericResource, err)
	}
	listed := pages(t, c.NewListByResourceGroupPager("rg", &armresources.ClientListByResourceGroupOptions{Top: to.Ptr[int32](1), Expand: to.Ptr("createdTime,changedTime,provisioningState"),
		Filter: to.Ptr("resourceType eq 'Microsoft.Network/loadBalancers' and (name eq 'one' or startswith(name, 'TH'))")}),
		func(p armresources.ClientListByResourceGroupResponse) []*armresources.GenericResourceExpanded {
			return p.Value
		})
	var names []string
	for _, r := range listed {
		names = append(names, *r.Name)
		if r.CreatedTime == nil || r.ChangedTime == nil || *r.ProvisioningState != "Succeeded" {
			t.Errorf("%s is not expanded: %+v", *r.Name, r)
		}
	}
	if diff := cmp.Diff([]string{"one", "three"}, names); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	move, err := c.BeginMoveResources(ctx, "rg", armresources.MoveInfo{Resources: []*string{to.Ptr(id("one"))}, TargetResourceGroup: to.Ptr("/subscriptions/x/resourceGroups/y")}, nil)
	if err := await(move, err); code(err) != "ResourceMoveNotSupported" {
		t.Errorf("moving: %v", err)
	}
	export, err := groups(t, s, s.Credential).BeginExportTemplate(ctx, "rg", armresources.ExportTemplateRequest{Resources: []*string{to.Ptr(id("two"))}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	template, err := export.PollUntilDone(ctx, fast)
	if resources, ok := template.Template.(map[string]any)["resources"].([]any); err != nil || !ok || len(resources) != 1 {
		t.Errorf("exported %+v, %v", template.Template, err)
	}
	del, err := c.BeginDeleteByID(ctx, id("one"), balancerVersion, nil)
	if err := await(del, err); err != nil {
		t.Error(err)
	}
	if _, err := c.GetByID(ctx, id("one"), balancerVersion, nil); code(err) != "ResourceNotFound" {
		t.Errorf("after the delete: %v", err)
	}
}

func TestSDKTags(t *testing.T) {
	s := surface(t)
	ctx := t.Context()
	c, err := armresources.NewTagsClient(providertest.Subscription, s.Credential, s.Options)
	if err != nil {
		t.Fatal(err)
	}
	scope := "subscriptions/" + providertest.Subscription
	set := func(tags map[string]*string) armresources.TagsResource {
		return armresources.TagsResource{Properties: &armresources.Tags{Tags: tags}}
	}
	p, err := c.BeginCreateOrUpdateAtScope(ctx, scope, set(map[string]*string{"team": to.Ptr("Blue")}), nil)
	if err := await(p, err); err != nil {
		t.Fatal(err)
	}
	u, err := c.BeginUpdateAtScope(ctx, scope, armresources.TagsPatchResource{Operation: to.Ptr(armresources.TagsPatchOperationMerge), Properties: &armresources.Tags{Tags: map[string]*string{"cost": to.Ptr("1")}}}, nil)
	if err := await(u, err); err != nil {
		t.Fatal(err)
	}
	got, err := c.GetAtScope(ctx, scope, nil)
	if err != nil || len(got.Properties.Tags) != 2 {
		t.Errorf("%+v, %v", got.Properties, err)
	}
	if _, err := c.CreateOrUpdate(ctx, "owner", nil); err != nil {
		t.Error(err)
	}
	if _, err := c.CreateOrUpdateValue(ctx, "owner", "ops", nil); err != nil {
		t.Error(err)
	}
	var names []string
	for _, d := range pages(t, c.NewListPager(nil), func(p armresources.TagsClientListResponse) []*armresources.TagDetails { return p.Value }) {
		names = append(names, *d.TagName)
	}
	if diff := cmp.Diff([]string{"cost", "owner", "team"}, names); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if _, err := c.DeleteValue(ctx, "owner", "ops", nil); err != nil {
		t.Error(err)
	}
	if _, err := c.Delete(ctx, "owner", nil); err != nil {
		t.Error(err)
	}
	d, err := c.BeginDeleteAtScope(ctx, scope, nil)
	if err := await(d, err); err != nil {
		t.Error(err)
	}
}

func TestSDKProvidersAndSubscriptions(t *testing.T) {
	s := surface(t)
	ctx := context.Background()
	c, err := armresources.NewProvidersClient(providertest.Subscription, s.Credential, s.Options)
	if err != nil {
		t.Fatal(err)
	}
	all := pages(t, c.NewListPager(nil), func(p armresources.ProvidersClientListResponse) []*armresources.Provider { return p.Value })
	if !slices.ContainsFunc(all, func(p *armresources.Provider) bool { return *p.Namespace == "Microsoft.KeyVault" }) {
		t.Errorf("%d providers without Microsoft.KeyVault", len(all))
	}
	vault, err := c.Get(ctx, "Microsoft.KeyVault", &armresources.ProvidersClientGetOptions{Expand: to.Ptr("resourceTypes/aliases")})
	if err != nil || !slices.ContainsFunc(vault.ResourceTypes, func(r *armresources.ProviderResourceType) bool {
		return *r.ResourceType == "vaults" && len(r.Aliases) > 20 && *r.Properties["recordedOnly"] == "true"
	}) {
		t.Errorf("Microsoft.KeyVault: %v", err)
	}
	if r, err := c.Register(ctx, "Microsoft.KeyVault", nil); err != nil || *r.RegistrationState != "Registered" {
		t.Errorf("register: %v", err)
	}
	if _, err := c.Unregister(ctx, "Microsoft.KeyVault", nil); code(err) != "CannotUnregisterProvider" {
		t.Errorf("unregister: %v", err)
	}
	subs, err := armsubscriptions.NewClient(s.Credential, s.Options)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := subs.Get(ctx, providertest.Subscription, nil); err != nil || *got.State != armsubscriptions.SubscriptionStateEnabled {
		t.Errorf("%+v, %v", got.Subscription, err)
	}
	locations := pages(t, subs.NewListLocationsPager(providertest.Subscription, nil), func(p armsubscriptions.ClientListLocationsResponse) []*armsubscriptions.Location { return p.Value })
	if len(locations) != 2 {
		t.Errorf("%d locations", len(locations))
	}
}
