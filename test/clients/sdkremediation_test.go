package clients_test

import (
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	insights "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/policyinsights/armpolicyinsights"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armpolicy"
	"github.com/google/uuid"

	"hallmark.dev/hallmark/test/outside"
)

const addOwner = `{"effect": "modify", "details": {"roleDefinitionIds": ["/providers/microsoft.authorization/roleDefinitions/b24988ac-6180-42a0-ab88-20f7382dd24c"],
  "operations": [{"operation": "add", "field": "tags['owner']", "value": "platform"}]}}`

// remediate is the life of a remediation at one scope.
type remediate struct {
	scope       string
	create      func(name string, r insights.Remediation) (insights.Remediation, error)
	get         func(name string) (insights.Remediation, error)
	list        func() ([]*insights.Remediation, int)
	deployments func(name string) ([]*insights.RemediationDeployment, int)
	cancel      func(name string) error
	delete      func(name string) error
}

// remediations puts an owner onto tables that were there before the policy, once from
// each scope that the client has operations for.
func (s *sdk) remediations(t *testing.T) {
	const name = "sdk-remedied"
	group := s.group(t, name)
	definition, _ := s.rule(t, name, addOwner)
	tables := map[string]string{}
	for _, scope := range []string{"subscription", "resourcegroup", "resource", "managementgroup"} {
		tables[scope] = good[string](t)(s.routes(t, group, scope, nil))
	}
	assignment := s.assign(t, group, name, definition, armpolicy.Assignment{Location: to.Ptr(here), Identity: &armpolicy.Identity{Type: to.Ptr(armpolicy.ResourceIdentityTypeSystemAssigned)}})
	s.tagger(t, group, name)
	p, err := s.insights(t).NewPolicyStatesClient().BeginTriggerResourceGroupEvaluation(soon(t), s.Subscription, name, nil)
	finish(t, p, err)
	for _, r := range s.remedies(t, name, tables["resource"]) {
		t.Run(r.scope, func(t *testing.T) { r.live(t, assignment, tables[r.scope]) })
	}
}

// tagger gives the identity of an assignment the right to do what its policy does.
func (s *sdk) tagger(t *testing.T, group, assignment string) {
	t.Helper()
	c := good[*armpolicy.AssignmentsClient](t)(armpolicy.NewAssignmentsClient(s.Subscription, s.Credential, s.Options))
	a := good[armpolicy.AssignmentsClientGetResponse](t)(c.Get(soon(t), group, assignment, nil))
	given := good[*armauthorization.RoleAssignmentsClient](t)(armauthorization.NewRoleAssignmentsClient(s.Subscription, s.Credential, s.Options))
	good[armauthorization.RoleAssignmentsClientCreateResponse](t)(given.Create(soon(t), group, uuid.NewString(), armauthorization.RoleAssignmentCreateParameters{Properties: &armauthorization.RoleAssignmentProperties{
		RoleDefinitionID: to.Ptr("/providers/Microsoft.Authorization/roleDefinitions/b24988ac-6180-42a0-ab88-20f7382dd24c"), PrincipalID: a.Identity.PrincipalID, PrincipalType: to.Ptr(armauthorization.PrincipalTypeServicePrincipal)}}, nil))
}

func (r remediate) live(t *testing.T, assignment, table string) {
	name := "owner-" + r.scope
	made := good[insights.Remediation](t)(r.create(name, insights.Remediation{Properties: &insights.RemediationProperties{
		PolicyAssignmentID: &assignment, Filters: &insights.RemediationFilters{Locations: to.SliceOfPtrs(here), ResourceIDs: to.SliceOfPtrs(table)}, ResourceDiscoveryMode: to.Ptr(insights.ResourceDiscoveryModeExistingNonCompliant)}}))
	if *made.Name != name || *made.Properties.ResourceCount != 500 || *made.Properties.ParallelDeployments != 10 || *made.Properties.FailureThreshold.Percentage != 1 {
		t.Errorf("%+v", made.Properties)
	}
	var got insights.Remediation
	outside.Until(t, name+" ends", func() bool {
		got = good[insights.Remediation](t)(r.get(name))
		return *got.Properties.ProvisioningState == "Succeeded" || *got.Properties.ProvisioningState == "Failed"
	})
	if d := got.Properties.DeploymentStatus; *got.Properties.ProvisioningState != "Succeeded" || *d.TotalDeployments != 1 || *d.SuccessfulDeployments != 1 || *d.FailedDeployments != 0 {
		t.Errorf("%s: %s", *got.Properties.ProvisioningState, *got.Properties.StatusMessage)
	}
	deployments, _ := r.deployments(name)
	if len(deployments) != 1 || *deployments[0].Status != "Succeeded" || last(deployments[0].RemediatedResourceID) != r.scope || deployments[0].CreatedOn == nil || *deployments[0].ResourceLocation != here {
		t.Errorf("%+v", *deployments[0])
		if e := deployments[0].Error; e != nil {
			t.Errorf("%s: %s", *e.Code, *e.Message)
		}
	}
	found := 0
	all, _ := r.list()
	for _, x := range all {
		if *x.Name == name {
			found++
		}
	}
	if found != 1 {
		t.Errorf("listed %d times among %d", found, len(all))
	}
	if err := r.cancel(name); refusal(err) != "InvalidCancelRemediationRequest" {
		t.Errorf("cancelling what has ended: %v", err)
	}
	if err := r.delete(name); err != nil {
		t.Error(err)
	}
	if _, err := r.get(name); refusal(err) != "ResourceNotFound" {
		t.Errorf("after the delete: %v", err)
	}
}

// remedies are the client's four families of operations.
func (s *sdk) remedies(t *testing.T, group, table string) []remediate {
	c, ctx := s.insights(t).NewRemediationsClient(), soon(t)
	q := &insights.QueryOptions{Top: to.Ptr[int32](1)}
	return []remediate{{
		scope: "subscription",
		create: func(n string, r insights.Remediation) (insights.Remediation, error) {
			x, err := c.CreateOrUpdateAtSubscription(ctx, n, r, nil)
			return x.Remediation, err
		},
		get: func(n string) (insights.Remediation, error) {
			x, err := c.GetAtSubscription(ctx, n, nil)
			return x.Remediation, err
		},
		list: func() ([]*insights.Remediation, int) {
			return drain(t, c.NewListForSubscriptionPager(q, nil), func(p insights.RemediationsClientListForSubscriptionResponse) []*insights.Remediation { return p.Value })
		},
		deployments: func(n string) ([]*insights.RemediationDeployment, int) {
			return drain(t, c.NewListDeploymentsAtSubscriptionPager(n, q, nil), func(p insights.RemediationsClientListDeploymentsAtSubscriptionResponse) []*insights.RemediationDeployment {
				return p.Value
			})
		},
		cancel: func(n string) error { _, err := c.CancelAtSubscription(ctx, n, nil); return err },
		delete: func(n string) error { _, err := c.DeleteAtSubscription(ctx, n, nil); return err },
	}, {
		scope: "resourcegroup",
		create: func(n string, r insights.Remediation) (insights.Remediation, error) {
			x, err := c.CreateOrUpdateAtResourceGroup(ctx, group, n, r, nil)
			return x.Remediation, err
		},
		get: func(n string) (insights.Remediation, error) {
			x, err := c.GetAtResourceGroup(ctx, group, n, nil)
			return x.Remediation, err
		},
		list: func() ([]*insights.Remediation, int) {
			return drain(t, c.NewListForResourceGroupPager(group, q, nil), func(p insights.RemediationsClientListForResourceGroupResponse) []*insights.Remediation {
				return p.Value
			})
		},
		deployments: func(n string) ([]*insights.RemediationDeployment, int) {
			return drain(t, c.NewListDeploymentsAtResourceGroupPager(group, n, q, nil), func(p insights.RemediationsClientListDeploymentsAtResourceGroupResponse) []*insights.RemediationDeployment {
				return p.Value
			})
		},
		cancel: func(n string) error { _, err := c.CancelAtResourceGroup(ctx, group, n, nil); return err },
		delete: func(n string) error { _, err := c.DeleteAtResourceGroup(ctx, group, n, nil); return err },
	}, {
		scope: "resource",
		create: func(n string, r insights.Remediation) (insights.Remediation, error) {
			x, err := c.CreateOrUpdateAtResource(ctx, table, n, r, nil)
			return x.Remediation, err
		},
		get: func(n string) (insights.Remediation, error) {
			x, err := c.GetAtResource(ctx, table, n, nil)
			return x.Remediation, err
		},
		list: func() ([]*insights.Remediation, int) {
			return drain(t, c.NewListForResourcePager(table, q, nil), func(p insights.RemediationsClientListForResourceResponse) []*insights.Remediation { return p.Value })
		},
		deployments: func(n string) ([]*insights.RemediationDeployment, int) {
			return drain(t, c.NewListDeploymentsAtResourcePager(table, n, q, nil), func(p insights.RemediationsClientListDeploymentsAtResourceResponse) []*insights.RemediationDeployment {
				return p.Value
			})
		},
		cancel: func(n string) error { _, err := c.CancelAtResource(ctx, table, n, nil); return err },
		delete: func(n string) error { _, err := c.DeleteAtResource(ctx, table, n, nil); return err },
	}, {
		scope: "managementgroup",
		create: func(n string, r insights.Remediation) (insights.Remediation, error) {
			x, err := c.CreateOrUpdateAtManagementGroup(ctx, s.Tenant, n, r, nil)
			return x.Remediation, err
		},
		get: func(n string) (insights.Remediation, error) {
			x, err := c.GetAtManagementGroup(ctx, s.Tenant, n, nil)
			return x.Remediation, err
		},
		list: func() ([]*insights.Remediation, int) {
			return drain(t, c.NewListForManagementGroupPager(s.Tenant, q, nil), func(p insights.RemediationsClientListForManagementGroupResponse) []*insights.Remediation {
				return p.Value
			})
		},
		deployments: func(n string) ([]*insights.RemediationDeployment, int) {
			return drain(t, c.NewListDeploymentsAtManagementGroupPager(s.Tenant, n, q, nil), func(p insights.RemediationsClientListDeploymentsAtManagementGroupResponse) []*insights.RemediationDeployment {
				return p.Value
			})
		},
		cancel: func(n string) error { _, err := c.CancelAtManagementGroup(ctx, s.Tenant, n, nil); return err },
		delete: func(n string) error { _, err := c.DeleteAtManagementGroup(ctx, s.Tenant, n, nil); return err },
	}}
}
