package clients_test

import (
	"slices"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	groups "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/managementgroups/armmanagementgroups"
	"github.com/google/go-cmp/cmp"
)

// groups makes "sdk-corp" with "sdk-prod" and "sdk-test" in it, and moves the
// subscription there and back.
func (s *sdk) groups(t *testing.T) {
	f := good[*groups.ClientFactory](t)(groups.NewClientFactory(s.Credential, s.Options))
	c := f.NewClient()
	corp := s.managementGroup(t, c, "sdk-corp", "")
	for _, name := range []string{"sdk-prod", "sdk-test"} {
		s.managementGroup(t, c, name, corp)
	}
	t.Run("names", func(t *testing.T) { checkNames(t, f.NewAPIClient(), s.Tenant) })
	t.Run("get", func(t *testing.T) { s.groupIsShown(t, c) })
	t.Run("update", func(t *testing.T) { groupChanges(t, c, corp) })
	t.Run("subscriptions", func(t *testing.T) { s.subscriptionMoves(t, f) })
	t.Run("settings", func(t *testing.T) { s.hierarchySettings(t, f.NewHierarchySettingsClient()) })
	t.Run("delete", func(t *testing.T) { groupsGo(t, c) })
}

func (s *sdk) managementGroup(t *testing.T, c *groups.Client, name, parent string) string {
	t.Helper()
	request := groups.CreateManagementGroupRequest{Name: &name, Properties: &groups.CreateManagementGroupProperties{DisplayName: to.Ptr("The " + name)}}
	if parent != "" {
		request.Properties.Details = &groups.CreateManagementGroupDetails{Parent: &groups.CreateParentGroupInfo{ID: &parent}}
	}
	p, err := c.BeginCreateOrUpdate(soon(t), name, request, &groups.ClientBeginCreateOrUpdateOptions{CacheControl: to.Ptr("no-cache")})
	made := finish(t, p, err).ManagementGroup
	if *made.Name != name || *made.Properties.TenantID != s.Tenant || *made.Properties.DisplayName != "The "+name || *made.Properties.Details.Version != 1 {
		t.Errorf("%+v", made.Properties)
	}
	return *made.ID
}

func checkNames(t *testing.T, c *groups.APIClient, tenant string) {
	for name, want := range map[string]groups.Reason{"sdk-corp": groups.ReasonAlreadyExists, "no/name": groups.ReasonInvalid, "sdk-free": ""} {
		got := good[groups.APIClientCheckNameAvailabilityResponse](t)(c.CheckNameAvailability(soon(t), groups.CheckNameAvailabilityRequest{Name: to.Ptr(name), Type: to.Ptr("Microsoft.Management/managementGroups")}, nil))
		if *got.NameAvailable != (want == "") || want != "" && (*got.Reason != want || *got.Message == "") {
			t.Errorf("%s: %+v", name, got.CheckNameAvailabilityResult)
		}
	}
	begun := good[groups.APIClientStartTenantBackfillResponse](t)(c.StartTenantBackfill(soon(t), nil))
	status := good[groups.APIClientTenantBackfillStatusResponse](t)(c.TenantBackfillStatus(soon(t), nil))
	if *begun.Status != groups.StatusCompleted || *status.Status != groups.StatusCompleted || *status.TenantID != tenant {
		t.Errorf("%v, %v", *begun.Status, *status.Status)
	}
}

// children are what lies in a group, as "name(children)".
func children(of []*groups.ManagementGroupChildInfo) (all []string) {
	for _, c := range of {
		text := *c.Name + " " + string(*c.Type)
		for _, below := range children(c.Children) {
			text += " (" + below + ")"
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return all
}

func (s *sdk) groupIsShown(t *testing.T, c *groups.Client) {
	get := func(name string, o groups.ClientGetOptions) *groups.ManagementGroup {
		return to.Ptr(good[groups.ClientGetResponse](t)(c.Get(soon(t), name, &o)).ManagementGroup)
	}
	const typ = " Microsoft.Management/managementGroups"
	if got := get("sdk-corp", groups.ClientGetOptions{}); got.Properties.Children != nil || last(got.Properties.Details.Parent.ID) != s.Tenant || *got.Properties.Details.Parent.DisplayName != "Tenant Root Group" {
		t.Errorf("%+v", got.Properties.Details.Parent)
	}
	corp := get("sdk-corp", groups.ClientGetOptions{Expand: to.Ptr(groups.ManagementGroupExpandTypeChildren)})
	if diff := cmp.Diff([]string{"sdk-prod" + typ, "sdk-test" + typ}, children(corp.Properties.Children)); diff != "" || *corp.Properties.Children[0].DisplayName != "The sdk-prod" {
		t.Error(diff)
	}
	root := get(s.Tenant, groups.ClientGetOptions{Expand: to.Ptr(groups.ManagementGroupExpandTypeChildren), Recurse: to.Ptr(true)})
	want := []string{s.Subscription + " /subscriptions", "sdk-corp" + typ + " (sdk-prod" + typ + ") (sdk-test" + typ + ")"}
	slices.Sort(want)
	if diff := cmp.Diff(want, children(root.Properties.Children)); diff != "" {
		t.Error(diff)
	}
	root = get(s.Tenant, groups.ClientGetOptions{Expand: to.Ptr(groups.ManagementGroupExpandTypeChildren), Filter: to.Ptr("children.childType ne Subscription")})
	if diff := cmp.Diff([]string{"sdk-corp" + typ}, children(root.Properties.Children)); diff != "" {
		t.Error(diff)
	}
	if got := get("sdk-prod", groups.ClientGetOptions{Expand: to.Ptr(groups.ManagementGroupExpandTypePath)}).Properties.Details; len(got.Path) != 2 || *got.Path[0].Name != s.Tenant || *got.Path[1].Name != "sdk-corp" || *got.Path[1].DisplayName != "The sdk-corp" {
		t.Errorf("%+v", got.Path)
	}
	if got := get("sdk-prod", groups.ClientGetOptions{Expand: to.Ptr(groups.ManagementGroupExpandTypeAncestors)}).Properties.Details; len(got.ManagementGroupAncestorsChain) != 2 ||
		*got.ManagementGroupAncestorsChain[0].Name != "sdk-corp" || *got.ManagementGroupAncestorsChain[1].Name != s.Tenant {
		t.Errorf("%+v", got.ManagementGroupAncestorsChain)
	}
	all, _ := drain(t, c.NewListPager(nil), func(p groups.ClientListResponse) []*groups.ManagementGroupInfo { return p.Value })
	var names []string
	for _, g := range all {
		names = append(names, *g.Properties.DisplayName)
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"Tenant Root Group", "The sdk-corp", "The sdk-prod", "The sdk-test"}, names); diff != "" {
		t.Error(diff)
	}
	below, pages := drain(t, c.NewGetDescendantsPager("sdk-corp", &groups.ClientGetDescendantsOptions{Top: to.Ptr[int32](1)}), func(p groups.ClientGetDescendantsResponse) []*groups.DescendantInfo { return p.Value })
	if len(below) != 2 || pages != 2 || last(below[0].Properties.Parent.ID) != "sdk-corp" || *below[0].Type != typ[1:] {
		t.Errorf("%d descendants on %d pages", len(below), pages)
	}
}

func groupChanges(t *testing.T, c *groups.Client, corp string) {
	moved := good[groups.ClientUpdateResponse](t)(c.Update(soon(t), "sdk-test", groups.PatchManagementGroupRequest{DisplayName: to.Ptr("Tests"), ParentGroupID: to.Ptr("/providers/Microsoft.Management/managementGroups/sdk-prod")}, nil))
	if p := moved.Properties; *p.DisplayName != "Tests" || last(p.Details.Parent.ID) != "sdk-prod" || *p.Details.Version != 2 {
		t.Errorf("%+v", p.Details)
	}
	back := good[groups.ClientUpdateResponse](t)(c.Update(soon(t), "sdk-test", groups.PatchManagementGroupRequest{ParentGroupID: &corp}, nil))
	if p := back.Properties; *p.DisplayName != "Tests" || last(p.Details.Parent.ID) != "sdk-corp" {
		t.Errorf("%+v", p.Details)
	}
	if _, err := c.Update(soon(t), "sdk-none", groups.PatchManagementGroupRequest{DisplayName: to.Ptr("x")}, nil); refusal(err) != "ResourceNotFound" {
		t.Errorf("a group that is not there: %v", err)
	}
}

func (s *sdk) subscriptionMoves(t *testing.T, f *groups.ClientFactory) {
	c := f.NewManagementGroupSubscriptionsClient()
	in := good[groups.ManagementGroupSubscriptionsClientCreateResponse](t)(c.Create(soon(t), "sdk-prod", s.Subscription, nil))
	if p := in.Properties; *in.Name != s.Subscription || last(p.Parent.ID) != "sdk-prod" || *p.Tenant != s.Tenant || *p.State != "Active" || *p.DisplayName == "" {
		t.Errorf("%+v", in.SubscriptionUnderManagementGroup)
	}
	got := good[groups.ManagementGroupSubscriptionsClientGetSubscriptionResponse](t)(c.GetSubscription(soon(t), "sdk-prod", s.Subscription, nil))
	all, _ := drain(t, c.NewGetSubscriptionsUnderManagementGroupPager("sdk-prod", nil), func(p groups.ManagementGroupSubscriptionsClientGetSubscriptionsUnderManagementGroupResponse) []*groups.SubscriptionUnderManagementGroup {
		return p.Value
	})
	if len(all) != 1 || *all[0].ID != *got.ID {
		t.Errorf("%d subscriptions", len(all))
	}
	s.entities(t, f.NewEntitiesClient())
	if _, err := c.Delete(soon(t), "sdk-prod", s.Subscription, nil); err != nil {
		t.Error(err)
	}
	if _, err := c.GetSubscription(soon(t), "sdk-prod", s.Subscription, nil); refusal(err) != "ResourceNotFound" {
		t.Errorf("after it was taken out: %v", err)
	}
}

// entities are every group and subscription that the caller may see, in one list.
func (s *sdk) entities(t *testing.T, c *groups.EntitiesClient) {
	all, pages := drain(t, c.NewListPager(&groups.EntitiesClientListOptions{Top: to.Ptr[int32](2)}), func(p groups.EntitiesClientListResponse) []*groups.EntityInfo { return p.Value })
	if len(all) != 5 || pages != 3 {
		t.Errorf("%d entities on %d pages", len(all), pages)
	}
	for _, e := range all {
		p := e.Properties
		switch *e.Name {
		case s.Tenant:
			if *p.NumberOfDescendants != 4 || *p.NumberOfChildren != 1 || *p.NumberOfChildGroups != 1 || len(p.ParentNameChain) != 0 {
				t.Errorf("the root: %+v", p)
			}
		case s.Subscription:
			if *e.Type != "/subscriptions" || last(p.Parent.ID) != "sdk-prod" || len(p.ParentNameChain) != 3 || *p.ParentNameChain[2] != "sdk-prod" || *p.ParentDisplayNameChain[0] != "Tenant Root Group" {
				t.Errorf("the subscription: %+v", p)
			}
		}
		if *p.TenantID != s.Tenant || *p.Permissions == "" || *p.InheritedPermissions == "" {
			t.Errorf("%s: %+v", *e.Name, p)
		}
	}
	some, _ := drain(t, c.NewListPager(&groups.EntitiesClientListOptions{Filter: to.Ptr("name eq 'SDK-prod'")}), func(p groups.EntitiesClientListResponse) []*groups.EntityInfo { return p.Value })
	if len(some) != 1 || *some[0].Name != "sdk-prod" {
		t.Errorf("%d by name", len(some))
	}
}

func (s *sdk) hierarchySettings(t *testing.T, c *groups.HierarchySettingsClient) {
	request := func(group string, require bool) groups.CreateOrUpdateSettingsRequest {
		return groups.CreateOrUpdateSettingsRequest{Properties: &groups.CreateOrUpdateSettingsProperties{DefaultManagementGroup: to.Ptr("/providers/Microsoft.Management/managementGroups/" + group), RequireAuthorizationForGroupCreation: &require}}
	}
	made := good[groups.HierarchySettingsClientCreateOrUpdateResponse](t)(c.CreateOrUpdate(soon(t), s.Tenant, request("sdk-prod", true), nil))
	if *made.Properties.TenantID != s.Tenant || !*made.Properties.RequireAuthorizationForGroupCreation {
		t.Errorf("%+v", made.Properties)
	}
	good[groups.HierarchySettingsClientUpdateResponse](t)(c.Update(soon(t), s.Tenant, groups.CreateOrUpdateSettingsRequest{Properties: &groups.CreateOrUpdateSettingsProperties{RequireAuthorizationForGroupCreation: to.Ptr(false)}}, nil))
	got := good[groups.HierarchySettingsClientGetResponse](t)(c.Get(soon(t), s.Tenant, nil))
	if *got.Properties.RequireAuthorizationForGroupCreation || last(got.Properties.DefaultManagementGroup) != "sdk-prod" {
		t.Errorf("%+v", got.Properties)
	}
	if all := good[groups.HierarchySettingsClientListResponse](t)(c.List(soon(t), s.Tenant, nil)); len(all.Value) != 1 {
		t.Errorf("%d settings", len(all.Value))
	}
	if _, err := c.Delete(soon(t), s.Tenant, nil); err != nil {
		t.Error(err)
	}
}

func groupsGo(t *testing.T, c *groups.Client) {
	if _, err := c.BeginDelete(soon(t), "sdk-corp", nil); refusal(err) != "CannotDeleteResource" {
		t.Errorf("a group with groups in it: %v", err)
	}
	for _, name := range []string{"sdk-prod", "sdk-test", "sdk-corp"} {
		p, err := c.BeginDelete(soon(t), name, nil)
		finish(t, p, err)
	}
	if _, err := c.Get(soon(t), "sdk-corp", nil); refusal(err) != "ResourceNotFound" {
		t.Errorf("after the delete: %v", err)
	}
}
