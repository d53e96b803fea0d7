package clients_test

import (
	"slices"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armpolicy"
	"github.com/google/uuid"
)

// policies stores rules and initiatives at a subscription and at the root management
// group, and assigns them.
func (s *sdk) policies(t *testing.T) {
	const name = "sdk-policies"
	group := s.group(t, name)
	f := good[*armpolicy.ClientFactory](t)(armpolicy.NewClientFactory(s.Subscription, s.Credential, s.Options))
	definition, set := s.rule(t, name, `{"effect": "audit"}`)
	t.Run("definitions", func(t *testing.T) { s.definitions(t, f.NewDefinitionsClient(), name) })
	t.Run("initiatives", func(t *testing.T) { initiatives(t, f.NewSetDefinitionsClient(), name) })
	t.Run("versions", func(t *testing.T) { versions(t, f.NewDefinitionVersionsClient(), name) })
	t.Run("assignments", func(t *testing.T) { assignments(t, f.NewAssignmentsClient(), group, name, definition, set) })
	good[armpolicy.SetDefinitionsClientDeleteResponse](t)(f.NewSetDefinitionsClient().Delete(soon(t), name, nil))
	good[armpolicy.DefinitionsClientDeleteResponse](t)(f.NewDefinitionsClient().Delete(soon(t), name, nil))
	if _, err := f.NewDefinitionsClient().Get(soon(t), name, nil); refusal(err) != "PolicyDefinitionNotFound" {
		t.Errorf("after the delete: %v", err)
	}
}

func (s *sdk) definitions(t *testing.T, c *armpolicy.DefinitionsClient, name string) {
	got := good[armpolicy.DefinitionsClientGetResponse](t)(c.Get(soon(t), name, nil))
	got.Properties.DisplayName = to.Ptr("Owners")
	good[armpolicy.DefinitionsClientCreateOrUpdateResponse](t)(c.CreateOrUpdate(soon(t), name, armpolicy.Definition{Properties: got.Properties}, nil))
	mine, _ := drain(t, c.NewListPager(&armpolicy.DefinitionsClientListOptions{Filter: to.Ptr("policyType eq 'Custom'")}), func(p armpolicy.DefinitionsClientListResponse) []*armpolicy.Definition { return p.Value })
	if !slices.ContainsFunc(mine, func(d *armpolicy.Definition) bool { return *d.Name == name && *d.Properties.DisplayName == "Owners" }) {
		t.Errorf("%d rules without the new one", len(mine))
	}
	theirs, _ := drain(t, c.NewListBuiltInPager(nil), func(p armpolicy.DefinitionsClientListBuiltInResponse) []*armpolicy.Definition { return p.Value })
	if len(theirs) != 0 {
		t.Errorf("%d built-in rules, and none was imported", len(theirs))
	}
	above := armpolicy.Definition{Properties: &armpolicy.DefinitionProperties{Mode: to.Ptr("All"), PolicyRule: got.Properties.PolicyRule}}
	good[armpolicy.DefinitionsClientCreateOrUpdateAtManagementGroupResponse](t)(c.CreateOrUpdateAtManagementGroup(soon(t), s.Tenant, name, above, nil))
	good[armpolicy.DefinitionsClientGetAtManagementGroupResponse](t)(c.GetAtManagementGroup(soon(t), s.Tenant, name, nil))
	all, _ := drain(t, c.NewListByManagementGroupPager(s.Tenant, &armpolicy.DefinitionsClientListByManagementGroupOptions{Filter: to.Ptr("policyType eq 'Custom'")}),
		func(p armpolicy.DefinitionsClientListByManagementGroupResponse) []*armpolicy.Definition {
			return p.Value
		})
	if !slices.ContainsFunc(all, func(d *armpolicy.Definition) bool { return *d.Name == name }) {
		t.Errorf("%d rules of the management group without the new one", len(all))
	}
	good[armpolicy.DefinitionsClientDeleteAtManagementGroupResponse](t)(c.DeleteAtManagementGroup(soon(t), s.Tenant, name, nil))
}

func initiatives(t *testing.T, c *armpolicy.SetDefinitionsClient, name string) {
	got := good[armpolicy.SetDefinitionsClientGetResponse](t)(c.Get(soon(t), name, nil))
	got.Properties.Description = to.Ptr("see the wiki")
	good[armpolicy.SetDefinitionsClientCreateOrUpdateResponse](t)(c.CreateOrUpdate(soon(t), name, armpolicy.SetDefinition{Properties: got.Properties}, nil))
	mine, _ := drain(t, c.NewListPager(&armpolicy.SetDefinitionsClientListOptions{Filter: to.Ptr("policyType eq 'Custom'")}), func(p armpolicy.SetDefinitionsClientListResponse) []*armpolicy.SetDefinition { return p.Value })
	if !slices.ContainsFunc(mine, func(d *armpolicy.SetDefinition) bool {
		return *d.Name == name && *d.Properties.Description == "see the wiki"
	}) {
		t.Errorf("%d initiatives without the new one", len(mine))
	}
}

func versions(t *testing.T, c *armpolicy.DefinitionVersionsClient, name string) {
	rule := armpolicy.DefinitionVersion{Properties: &armpolicy.DefinitionVersionProperties{Version: to.Ptr("2.0.0"), Mode: to.Ptr("Indexed"), PolicyRule: document(t, `{"if": {"field": "type", "equals": "x/y"}, "then": {"effect": "audit"}}`)}}
	good[armpolicy.DefinitionVersionsClientCreateOrUpdateResponse](t)(c.CreateOrUpdate(soon(t), name, "2.0.0", rule, nil))
	all, _ := drain(t, c.NewListPager(name, nil), func(p armpolicy.DefinitionVersionsClientListResponse) []*armpolicy.DefinitionVersion { return p.Value })
	if !slices.ContainsFunc(all, func(v *armpolicy.DefinitionVersion) bool { return *v.Properties.Version == "2.0.0" }) {
		t.Errorf("%d versions", len(all))
	}
	if _, err := c.Delete(soon(t), name, "2.0.0", nil); refusal(err) != "InvalidDeletePolicyDefinitionVersionRequest" {
		t.Errorf("deleting the newest version: %v", err)
	}
	good[armpolicy.DefinitionVersionsClientDeleteResponse](t)(c.Delete(soon(t), name, "1.0.0", nil))
}

func assignments(t *testing.T, c *armpolicy.AssignmentsClient, group, name, definition, set string) {
	rule := armpolicy.Assignment{Location: to.Ptr(here), Identity: &armpolicy.Identity{Type: to.Ptr(armpolicy.ResourceIdentityTypeSystemAssigned)}, Properties: &armpolicy.AssignmentProperties{PolicyDefinitionID: &definition}}
	made := good[armpolicy.AssignmentsClientCreateResponse](t)(c.Create(soon(t), group, "rule", rule, nil))
	if *made.Properties.Scope != group || *made.Identity.PrincipalID == "" || *made.Properties.EnforcementMode != armpolicy.EnforcementModeDefault {
		t.Errorf("%+v", made.Assignment)
	}
	good[armpolicy.AssignmentsClientCreateByIDResponse](t)(c.CreateByID(soon(t), group+"/providers/Microsoft.Authorization/policyAssignments/set", armpolicy.Assignment{Properties: &armpolicy.AssignmentProperties{PolicyDefinitionID: &set}}, nil))
	changed := good[armpolicy.AssignmentsClientUpdateResponse](t)(c.Update(soon(t), group, "rule", armpolicy.AssignmentUpdate{Properties: &armpolicy.AssignmentUpdateProperties{ResourceSelectors: []*armpolicy.ResourceSelector{{Name: to.Ptr("places"),
		Selectors: []*armpolicy.Selector{{Kind: to.Ptr(armpolicy.SelectorKindResourceLocation), In: to.SliceOfPtrs(here)}}}}}}, nil))
	if len(changed.Properties.ResourceSelectors) != 1 || *changed.Identity.PrincipalID != *made.Identity.PrincipalID {
		t.Errorf("%+v", changed.Assignment)
	}
	if got := good[armpolicy.AssignmentsClientGetResponse](t)(c.Get(soon(t), group, "rule", nil)); *got.ID != *made.ID {
		t.Errorf("%s", *got.ID)
	}
	in, _ := drain(t, c.NewListForResourceGroupPager(name, &armpolicy.AssignmentsClientListForResourceGroupOptions{Filter: to.Ptr("atExactScope()")}), func(p armpolicy.AssignmentsClientListForResourceGroupResponse) []*armpolicy.Assignment {
		return p.Value
	})
	below, _ := drain(t, c.NewListPager(nil), func(p armpolicy.AssignmentsClientListResponse) []*armpolicy.Assignment { return p.Value })
	if len(in) != 2 || len(below) < 2 {
		t.Errorf("%d assignments, %d below the subscription", len(in), len(below))
	}
	good[armpolicy.AssignmentsClientDeleteResponse](t)(c.Delete(soon(t), group, "rule", nil))
	good[armpolicy.AssignmentsClientDeleteByIDResponse](t)(c.DeleteByID(soon(t), group+"/providers/Microsoft.Authorization/policyAssignments/set", nil))
}

// roles makes one, gives it to the caller at a group, and takes it away.
func (s *sdk) roles(t *testing.T) {
	group := s.group(t, "sdk-roles")
	f := good[*armauthorization.ClientFactory](t)(armauthorization.NewClientFactory(s.Subscription, s.Credential, s.Options))
	definitions, given, id := f.NewRoleDefinitionsClient(), f.NewRoleAssignmentsClient(), uuid.NewString()
	role := armauthorization.RoleDefinition{Properties: &armauthorization.RoleDefinitionProperties{RoleName: to.Ptr("SDK operator"), AssignableScopes: to.SliceOfPtrs(group),
		Permissions: []*armauthorization.Permission{{Actions: to.SliceOfPtrs("Microsoft.Compute/virtualMachines/*")}}}}
	good[armauthorization.RoleDefinitionsClientCreateOrUpdateResponse](t)(definitions.CreateOrUpdate(soon(t), group, id, role, nil))
	role.Properties.Description = to.Ptr("starts and stops")
	made := good[armauthorization.RoleDefinitionsClientCreateOrUpdateResponse](t)(definitions.CreateOrUpdate(soon(t), group, id, role, nil))
	if got := good[armauthorization.RoleDefinitionsClientGetByIDResponse](t)(definitions.GetByID(soon(t), *made.ID, nil)); *got.Properties.RoleType != "CustomRole" || *got.Properties.Description != "starts and stops" {
		t.Errorf("%+v", got.Properties)
	}
	all, _ := drain(t, definitions.NewListPager(group, &armauthorization.RoleDefinitionsClientListOptions{Filter: to.Ptr("type eq 'CustomRole'")}), func(p armauthorization.RoleDefinitionsClientListResponse) []*armauthorization.RoleDefinition {
		return p.Value
	})
	owners, _ := drain(t, given.NewListForSubscriptionPager(nil), func(p armauthorization.RoleAssignmentsClientListForSubscriptionResponse) []*armauthorization.RoleAssignment {
		return p.Value
	})
	if len(all) != 1 || len(owners) == 0 {
		t.Fatalf("%d custom roles, %d assignments", len(all), len(owners))
	}
	caller := owners[0].Properties.PrincipalID
	a := good[armauthorization.RoleAssignmentsClientCreateResponse](t)(given.Create(soon(t), group, uuid.NewString(), armauthorization.RoleAssignmentCreateParameters{Properties: &armauthorization.RoleAssignmentProperties{RoleDefinitionID: made.ID, PrincipalID: caller}}, nil))
	// This client sends the filter as it is: whoever calls it escapes it.
	at, _ := drain(t, given.NewListForScopePager(group, &armauthorization.RoleAssignmentsClientListForScopeOptions{Filter: to.Ptr("principalId+eq+'" + *caller + "'")}), func(p armauthorization.RoleAssignmentsClientListForScopeResponse) []*armauthorization.RoleAssignment {
		return p.Value
	})
	if !slices.ContainsFunc(at, func(x *armauthorization.RoleAssignment) bool { return *x.ID == *a.ID }) {
		t.Errorf("%d assignments of the caller without the new one", len(at))
	}
	may, _ := drain(t, f.NewPermissionsClient().NewListForResourceGroupPager("sdk-roles", nil), func(p armauthorization.PermissionsClientListForResourceGroupResponse) []*armauthorization.Permission {
		return p.Value
	})
	if len(may) < 2 {
		t.Errorf("%d permissions", len(may))
	}
	denied, _ := drain(t, f.NewDenyAssignmentsClient().NewListForScopePager(group, nil), func(p armauthorization.DenyAssignmentsClientListForScopeResponse) []*armauthorization.DenyAssignment {
		return p.Value
	})
	if len(denied) != 0 {
		t.Errorf("%d deny assignments", len(denied))
	}
	operations := good[armauthorization.ProviderOperationsMetadataClientGetResponse](t)(f.NewProviderOperationsMetadataClient().Get(soon(t), "Microsoft.Compute", nil))
	if len(operations.ResourceTypes) < 5 {
		t.Errorf("%d types with operations", len(operations.ResourceTypes))
	}
	good[armauthorization.RoleAssignmentsClientDeleteByIDResponse](t)(given.DeleteByID(soon(t), *a.ID, nil))
	good[armauthorization.RoleDefinitionsClientDeleteResponse](t)(definitions.Delete(soon(t), group, id, nil))
	if _, err := definitions.Get(soon(t), group, id, nil); refusal(err) != "ResourceNotFound" {
		t.Errorf("after the delete: %v", err)
	}
}
