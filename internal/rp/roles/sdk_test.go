package roles_test

import (
	"errors"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/provider/providertest"
)

// The SDK's clients, which are not ours, go through the life of a role.
func TestSDK(t *testing.T) {
	s := start(t)
	clients, err := armauthorization.NewClientFactory(providertest.Subscription, s.Credential, s.Options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, definitions, scope := t.Context(), clients.NewRoleDefinitionsClient(), providertest.Group().String()
	id := identity.NewID()
	made, err := definitions.CreateOrUpdate(ctx, scope, id, armauthorization.RoleDefinition{Properties: &armauthorization.RoleDefinitionProperties{
		RoleName: to.Ptr("Operator"), AssignableScopes: []*string{to.Ptr(scope)},
		Permissions: []*armauthorization.Permission{{Actions: []*string{to.Ptr("Microsoft.Compute/virtualMachines/*")}}},
	}}, nil)
	if err != nil || *made.Properties.RoleType != "CustomRole" {
		t.Fatalf("%+v, %v", made.RoleDefinition, err)
	}
	got, err := definitions.GetByID(ctx, *made.ID, nil)
	if err != nil || *got.Properties.RoleName != "Operator" {
		t.Fatalf("%+v, %v", got.RoleDefinition, err)
	}
	found := 0
	for pager := definitions.NewListPager(scope, &armauthorization.RoleDefinitionsClientListOptions{Filter: to.Ptr("type eq 'CustomRole'")}); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		found += len(page.Value)
	}
	if found != 1 {
		t.Errorf("%d custom roles", found)
	}
	assigned(t, clients, scope, *made.ID, principal(t, s))
	if _, err := definitions.Delete(ctx, scope, id, nil); err != nil {
		t.Fatal(err)
	}
	var e *azcore.ResponseError
	if _, err := definitions.Get(ctx, scope, id, nil); !errors.As(err, &e) || e.StatusCode != 404 {
		t.Errorf("after the delete: %v", err)
	}
	operations(t, clients)
}

func assigned(t *testing.T, clients *armauthorization.ClientFactory, scope, role, principal string) {
	t.Helper()
	ctx, assignments := t.Context(), clients.NewRoleAssignmentsClient()
	a, err := assignments.Create(ctx, scope, identity.NewID(), armauthorization.RoleAssignmentCreateParameters{Properties: &armauthorization.RoleAssignmentProperties{
		RoleDefinitionID: to.Ptr(role), PrincipalID: to.Ptr(principal), PrincipalType: to.Ptr(armauthorization.PrincipalTypeServicePrincipal), Description: to.Ptr("for now"),
	}}, nil)
	if err != nil || *a.Properties.Scope != scope || *a.Properties.Description != "for now" {
		t.Fatalf("%+v, %v", a.RoleAssignment, err)
	}
	for _, list := range []func() (int, error){
		func() (n int, err error) {
			for p := assignments.NewListForScopePager(scope, nil); p.More() && err == nil; {
				page, e := p.NextPage(ctx)
				n, err = n+len(page.Value), e
			}
			return n, err
		},
		func() (n int, err error) {
			for p := assignments.NewListForSubscriptionPager(nil); p.More() && err == nil; {
				page, e := p.NextPage(ctx)
				n, err = n+len(page.Value), e
			}
			return n, err
		},
	} {
		if n, err := list(); n != 2 || err != nil { // the Owner of everything is inherited
			t.Errorf("%d assignments, %v", n, err)
		}
	}
	page, err := clients.NewPermissionsClient().NewListForResourceGroupPager(providertest.ResourceGroup, nil).NextPage(ctx)
	if err != nil || len(page.Value) != 1 || *page.Value[0].Actions[0] != "*" {
		t.Errorf("%+v, %v", page.Value, err)
	}
	if gone, err := assignments.DeleteByID(ctx, *a.ID, nil); err != nil {
		t.Errorf("%+v, %v", gone, err)
	}
}

func operations(t *testing.T, clients *armauthorization.ClientFactory) {
	t.Helper()
	one, err := clients.NewProviderOperationsMetadataClient().Get(t.Context(), "Microsoft.Resources", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range one.ResourceTypes {
		if *r.Name == arm.TypeResourceGroup.Path() || *r.Name == "subscriptions/resourceGroups" {
			return
		}
	}
	t.Errorf("no groups among %d types", len(one.ResourceTypes))
}
