package clients_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	insights "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/policyinsights/armpolicyinsights"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armpolicy"
	"github.com/google/go-cmp/cmp"
)

// audited is a group with three route tables, two without an owner, and a rule that
// wants one: assigned to the subscription, and, in an initiative, to the group.
type audited struct {
	*sdk
	*insights.ClientFactory
	name, group string
	tables      map[string]string // name → id
}

const ownerRule = `{"if": {"allOf": [{"field": "type", "equals": "Microsoft.Network/routeTables"}, {"field": "tags['owner']", "exists": false}]}, "then": %s}`

func (s *sdk) insights(t *testing.T) *insights.ClientFactory {
	t.Helper()
	return good[*insights.ClientFactory](t)(insights.NewClientFactory(s.Subscription, s.Credential, s.Options))
}

// rule stores a definition and an initiative of the same name that has it as its only member.
func (s *sdk) rule(t *testing.T, name, then string) (definition, set string) {
	t.Helper()
	c := good[*armpolicy.ClientFactory](t)(armpolicy.NewClientFactory(s.Subscription, s.Credential, s.Options))
	d := good[armpolicy.DefinitionsClientCreateOrUpdateResponse](t)(c.NewDefinitionsClient().CreateOrUpdate(soon(t), name, armpolicy.Definition{Properties: &armpolicy.DefinitionProperties{
		Mode: to.Ptr("Indexed"), PolicyRule: document(t, fmt.Sprintf(ownerRule, then)), Metadata: map[string]any{"category": "Tags"}}}, nil))
	i := good[armpolicy.SetDefinitionsClientCreateOrUpdateResponse](t)(c.NewSetDefinitionsClient().CreateOrUpdate(soon(t), name, armpolicy.SetDefinition{Properties: &armpolicy.SetDefinitionProperties{
		PolicyDefinitions: []*armpolicy.DefinitionReference{{PolicyDefinitionID: d.ID, PolicyDefinitionReferenceID: to.Ptr("owner")}}}}, nil))
	return *d.ID, *i.ID
}

func (s *sdk) assign(t *testing.T, scope, name, definition string, more armpolicy.Assignment) string {
	t.Helper()
	c := good[*armpolicy.AssignmentsClient](t)(armpolicy.NewAssignmentsClient(s.Subscription, s.Credential, s.Options))
	more.Properties = &armpolicy.AssignmentProperties{PolicyDefinitionID: &definition, DisplayName: to.Ptr("Owners of " + name)}
	id := *good[armpolicy.AssignmentsClientCreateResponse](t)(c.Create(soon(t), scope, name, more, nil)).ID
	t.Cleanup(func() {
		if _, err := c.DeleteByID(context.Background(), id, nil); err != nil {
			t.Error(err)
		}
	})
	return id
}

func (s *sdk) audited(t *testing.T, name string) *audited {
	t.Helper()
	a := &audited{sdk: s, ClientFactory: s.insights(t), name: name, group: s.group(t, name), tables: map[string]string{}}
	for table, tags := range map[string]map[string]*string{"a": {"owner": to.Ptr("ann")}, "b": nil, "c": nil} {
		a.tables[table] = good[string](t)(s.routes(t, a.group, table, tags))
	}
	definition, set := s.rule(t, name, `{"effect": "audit"}`)
	s.assign(t, "/subscriptions/"+s.Subscription, name, definition, armpolicy.Assignment{})
	s.assign(t, a.group, name+"-set", set, armpolicy.Assignment{})
	return a
}

func (s *sdk) policyInsights(t *testing.T) {
	a := s.audited(t, "sdk-audited")
	p, err := a.NewPolicyStatesClient().BeginTriggerSubscriptionEvaluation(soon(t), s.Subscription, nil)
	finish(t, p, err)
	t.Run("states", a.states)
	t.Run("apply", a.apply)
	t.Run("summaries", a.summaries)
	t.Run("attestations", a.attestations)
	t.Run("restrictions", a.restrictions)
	t.Run("events", a.events)
}

// lines are "table assignment state" of records, sorted.
func lines(records []*insights.PolicyState) (all []string) {
	for _, r := range records {
		all = append(all, last(r.ResourceID)+" "+*r.PolicyAssignmentName+" "+*r.ComplianceState)
	}
	slices.Sort(all)
	return all
}

// states asks for the same records from every scope that the client has an operation for.
func (a *audited) states(t *testing.T) {
	c, latest, n := a.NewPolicyStatesClient(), insights.PolicyStatesResourceLatest, a.name
	q := &insights.QueryOptions{Filter: to.Ptr(fmt.Sprintf("resourceGroup eq '%s' and complianceState eq 'NonCompliant'", n)), OrderBy: to.Ptr("resourceId desc"), Top: to.Ptr[int32](1)}
	direct, member := []string{"b " + n + " NonCompliant", "c " + n + " NonCompliant"}, []string{"b " + n + "-set NonCompliant", "c " + n + "-set NonCompliant"}
	both := append(slices.Clone(direct), member...)
	slices.Sort(both)
	for _, one := range []struct {
		scope string
		want  []string
		got   []*insights.PolicyState
		pages int
	}{
		read("management group", both)(drain(t, c.NewListQueryResultsForManagementGroupPager(latest, a.Tenant, q, nil),
			func(p insights.PolicyStatesClientListQueryResultsForManagementGroupResponse) []*insights.PolicyState {
				return p.Value
			})),
		read("subscription", both)(drain(t, c.NewListQueryResultsForSubscriptionPager(latest, a.Subscription, q, nil),
			func(p insights.PolicyStatesClientListQueryResultsForSubscriptionResponse) []*insights.PolicyState {
				return p.Value
			})),
		read("group", both)(drain(t, c.NewListQueryResultsForResourceGroupPager(latest, a.Subscription, n, q, nil),
			func(p insights.PolicyStatesClientListQueryResultsForResourceGroupResponse) []*insights.PolicyState {
				return p.Value
			})),
		read("resource", []string{both[0], both[1]})(drain(t, c.NewListQueryResultsForResourcePager(latest, a.tables["b"], q, nil),
			func(p insights.PolicyStatesClientListQueryResultsForResourceResponse) []*insights.PolicyState {
				return p.Value
			})),
		read("definition", both)(drain(t, c.NewListQueryResultsForPolicyDefinitionPager(latest, a.Subscription, n, q, nil),
			func(p insights.PolicyStatesClientListQueryResultsForPolicyDefinitionResponse) []*insights.PolicyState {
				return p.Value
			})),
		read("initiative", member)(drain(t, c.NewListQueryResultsForPolicySetDefinitionPager(latest, a.Subscription, n, q, nil),
			func(p insights.PolicyStatesClientListQueryResultsForPolicySetDefinitionResponse) []*insights.PolicyState {
				return p.Value
			})),
		read("assignment of the subscription", direct)(drain(t, c.NewListQueryResultsForSubscriptionLevelPolicyAssignmentPager(latest, a.Subscription, n, q, nil),
			func(p insights.PolicyStatesClientListQueryResultsForSubscriptionLevelPolicyAssignmentResponse) []*insights.PolicyState {
				return p.Value
			})),
		read("assignment of the group", member)(drain(t, c.NewListQueryResultsForResourceGroupLevelPolicyAssignmentPager(latest, a.Subscription, n, n+"-set", q, nil),
			func(p insights.PolicyStatesClientListQueryResultsForResourceGroupLevelPolicyAssignmentResponse) []*insights.PolicyState {
				return p.Value
			})),
	} {
		if diff := cmp.Diff(one.want, lines(one.got)); diff != "" || one.pages != len(one.want) {
			t.Errorf("%s, %d pages (-want +got)\n%s", one.scope, one.pages, diff)
		}
		if first := one.got[0]; last(first.ResourceID) != one.want[len(one.want)-1][:1] || *first.PolicyDefinitionName != n || *first.PolicyDefinitionAction != "audit" || *first.IsCompliant ||
			*first.ResourceType != routeTables || *first.ResourceLocation != here || *first.SubscriptionID != a.Subscription || first.Timestamp == nil || !strings.Contains(*first.ManagementGroupIDs, a.Tenant) {
			t.Errorf("%s: %+v", one.scope, first)
		}
	}
	detailed, _ := drain(t, c.NewListQueryResultsForResourcePager(latest, a.tables["a"], &insights.QueryOptions{Expand: to.Ptr("PolicyEvaluationDetails"), Select: to.Ptr("resourceId,complianceState,policyAssignmentName")}, nil),
		func(p insights.PolicyStatesClientListQueryResultsForResourceResponse) []*insights.PolicyState {
			return p.Value
		})
	if diff := cmp.Diff([]string{"a " + n + " Compliant", "a " + n + "-set Compliant"}, lines(detailed)); diff != "" {
		t.Error(diff)
	}
	if d := detailed[0]; d.PolicyEvaluationDetails == nil || len(d.PolicyEvaluationDetails.EvaluatedExpressions) == 0 || d.ResourceType != nil {
		t.Errorf("%+v", d)
	}
}

type reading = struct {
	scope string
	want  []string
	got   []*insights.PolicyState
	pages int
}

func read(scope string, want []string) func([]*insights.PolicyState, int) reading {
	return func(got []*insights.PolicyState, pages int) reading { return reading{scope, want, got, pages} }
}

func (a *audited) apply(t *testing.T) {
	counts, _ := drain(t, a.NewPolicyStatesClient().NewListQueryResultsForResourceGroupPager(insights.PolicyStatesResourceLatest, a.Subscription, a.name, &insights.QueryOptions{
		From: to.Ptr(time.Now().Add(-time.Hour)), To: to.Ptr(time.Now()), OrderBy: to.Ptr("n desc"),
		Apply: to.Ptr("filter(policyAssignmentName eq '" + a.name + "')/groupby((complianceState), aggregate($count as n))")}, nil),
		func(p insights.PolicyStatesClientListQueryResultsForResourceGroupResponse) []*insights.PolicyState {
			return p.Value
		})
	var got []string
	for _, c := range counts {
		got = append(got, fmt.Sprint(*c.ComplianceState, " ", c.AdditionalProperties["n"]))
	}
	if diff := cmp.Diff([]string{"NonCompliant 2", "Compliant 1"}, got); diff != "" {
		t.Error(diff)
	}
	_, err := a.NewPolicyStatesClient().NewListQueryResultsForSubscriptionPager(insights.PolicyStatesResourceDefault, a.Subscription, &insights.QueryOptions{Filter: to.Ptr("shoeSize gt 40")}, nil).NextPage(soon(t))
	if refusal(err) != "InvalidFilterInQueryString" {
		t.Errorf("a property that is none: %v", err)
	}
}

// summaries count what states shows, from every scope.
func (a *audited) summaries(t *testing.T) {
	c, latest := a.NewPolicyStatesClient(), insights.PolicyStatesSummaryResourceTypeLatest
	q := &insights.QueryOptions{Filter: to.Ptr("resourceGroup eq '" + a.name + "'")}
	type answer struct {
		value []*insights.Summary
		err   error
	}
	group, e1 := c.SummarizeForManagementGroup(soon(t), latest, a.Tenant, q, nil)
	sub, e2 := c.SummarizeForSubscription(soon(t), latest, a.Subscription, q, nil)
	rg, e3 := c.SummarizeForResourceGroup(soon(t), latest, a.Subscription, a.name, nil, nil)
	resource, e4 := c.SummarizeForResource(soon(t), latest, a.tables["b"], nil, nil)
	definition, e5 := c.SummarizeForPolicyDefinition(soon(t), latest, a.Subscription, a.name, q, nil)
	set, e6 := c.SummarizeForPolicySetDefinition(soon(t), latest, a.Subscription, a.name, nil, nil)
	assigned, e7 := c.SummarizeForSubscriptionLevelPolicyAssignment(soon(t), latest, a.Subscription, a.name, q, nil)
	below, e8 := c.SummarizeForResourceGroupLevelPolicyAssignment(soon(t), latest, a.Subscription, a.name, a.name+"-set", nil, nil)
	for scope, x := range map[string]answer{"management group": {group.Value, e1}, "subscription": {sub.Value, e2}, "group": {rg.Value, e3}, "resource": {resource.Value, e4}, "definition": {definition.Value, e5},
		"initiative": {set.Value, e6}, "assignment of the subscription": {assigned.Value, e7}, "assignment of the group": {below.Value, e8}} {
		if x.err != nil || len(x.value) != 1 {
			t.Errorf("%s: %v", scope, x.err)
			continue
		}
		want := int32(2)
		if scope == "resource" {
			want = 1
		}
		if r := x.value[0].Results; *r.NonCompliantResources != want || *r.NonCompliantPolicies < 1 || len(r.ResourceDetails) == 0 || len(r.PolicyDetails) == 0 {
			t.Errorf("%s: %d resources, %d policies", scope, *r.NonCompliantResources, *r.NonCompliantPolicies)
		}
	}
	for _, s := range below.Value[0].PolicyAssignments {
		if last(s.PolicyAssignmentID) != a.name+"-set" || last(s.PolicySetDefinitionID) != a.name || len(s.PolicyDefinitions) != 1 || *s.PolicyDefinitions[0].PolicyDefinitionReferenceID != "owner" || *s.PolicyDefinitions[0].Effect != "audit" {
			t.Errorf("%+v", s)
		}
	}
}

// events are what policies did to the requests that made the tables.
func (a *audited) events(t *testing.T) {
	definition, _ := a.rule(t, a.name+"-deny", `{"effect": "deny"}`)
	a.assign(t, a.group, a.name+"-deny", definition, armpolicy.Assignment{})
	for range 2 {
		if _, err := a.routes(t, a.group, "d", nil); refusal(err) != "RequestDisallowedByPolicy" {
			t.Fatalf("a table without an owner: %v", err)
		}
	}
	c, all, n := a.NewPolicyEventsClient(), insights.PolicyEventsResourceTypeDefault, a.name
	q := &insights.QueryOptions{Filter: to.Ptr("policyDefinitionAction eq 'deny' and resourceGroup eq '" + n + "'"), Top: to.Ptr[int32](1)}
	for scope, x := range map[string]happened{
		"management group": saw(drain(t, c.NewListQueryResultsForManagementGroupPager(all, a.Tenant, q, nil),
			func(p insights.PolicyEventsClientListQueryResultsForManagementGroupResponse) []*insights.PolicyEvent {
				return p.Value
			})),
		"subscription": saw(drain(t, c.NewListQueryResultsForSubscriptionPager(all, a.Subscription, q, nil),
			func(p insights.PolicyEventsClientListQueryResultsForSubscriptionResponse) []*insights.PolicyEvent {
				return p.Value
			})),
		"group": saw(drain(t, c.NewListQueryResultsForResourceGroupPager(all, a.Subscription, n, q, nil),
			func(p insights.PolicyEventsClientListQueryResultsForResourceGroupResponse) []*insights.PolicyEvent {
				return p.Value
			})),
		"resource": saw(drain(t, c.NewListQueryResultsForResourcePager(all, a.group+"/providers/"+routeTables+"/d", q, nil),
			func(p insights.PolicyEventsClientListQueryResultsForResourceResponse) []*insights.PolicyEvent {
				return p.Value
			})),
		"definition": saw(drain(t, c.NewListQueryResultsForPolicyDefinitionPager(all, a.Subscription, n+"-deny", q, nil),
			func(p insights.PolicyEventsClientListQueryResultsForPolicyDefinitionResponse) []*insights.PolicyEvent {
				return p.Value
			})),
		"assignment of the group": saw(drain(t, c.NewListQueryResultsForResourceGroupLevelPolicyAssignmentPager(all, a.Subscription, n, n+"-deny", q, nil),
			func(p insights.PolicyEventsClientListQueryResultsForResourceGroupLevelPolicyAssignmentResponse) []*insights.PolicyEvent {
				return p.Value
			})),
	} {
		if len(x.events) != 2 || x.pages != 2 {
			t.Errorf("%s: %d events on %d pages", scope, len(x.events), x.pages)
			continue
		}
		if e := x.events[0]; last(e.ResourceID) != "d" || *e.PolicyAssignmentName != n+"-deny" || *e.PolicyDefinitionName != n+"-deny" || *e.PrincipalOid == "" || e.Timestamp == nil || *e.ResourceType != routeTables {
			t.Errorf("%s: %+v", scope, e)
		}
	}
	none, _ := drain(t, c.NewListQueryResultsForPolicySetDefinitionPager(all, a.Subscription, n+"-deny", q, nil),
		func(p insights.PolicyEventsClientListQueryResultsForPolicySetDefinitionResponse) []*insights.PolicyEvent {
			return p.Value
		})
	also, _ := drain(t, c.NewListQueryResultsForSubscriptionLevelPolicyAssignmentPager(all, a.Subscription, n, q, nil),
		func(p insights.PolicyEventsClientListQueryResultsForSubscriptionLevelPolicyAssignmentResponse) []*insights.PolicyEvent {
			return p.Value
		})
	if len(none)+len(also) != 0 {
		t.Errorf("%d and %d refusals by what refuses nothing", len(none), len(also))
	}
}

type happened struct {
	events []*insights.PolicyEvent
	pages  int
}

func saw(events []*insights.PolicyEvent, pages int) happened { return happened{events, pages} }

// restrictions asks before anything is made.
func (a *audited) restrictions(t *testing.T) {
	definition, _ := a.rule(t, a.name+"-check", `{"effect": "deny"}`)
	a.assign(t, a.group, a.name+"-check", definition, armpolicy.Assignment{})
	details := &insights.CheckRestrictionsResourceDetails{APIVersion: to.Ptr(routesAPI), ResourceContent: map[string]any{"type": routeTables, "name": "d", "location": here}, Scope: &a.group}
	ask := insights.CheckRestrictionsRequest{ResourceDetails: details, PendingFields: []*insights.PendingField{{Field: to.Ptr("tags['owner']"), Values: []*string{to.Ptr("ann")}}, {Field: to.Ptr("name"), Values: []*string{to.Ptr("e")}}}}
	c := a.NewPolicyRestrictionsClient()
	rg, e1 := c.CheckAtResourceGroupScope(soon(t), a.name, ask, nil)
	sub, e2 := c.CheckAtSubscriptionScope(soon(t), ask, nil)
	group, e3 := c.CheckAtManagementGroupScope(soon(t), a.Tenant, insights.CheckManagementGroupRestrictionsRequest{ResourceDetails: details, PendingFields: ask.PendingFields}, nil)
	for scope, x := range map[string]struct {
		result insights.CheckRestrictionsResult
		err    error
	}{"group": {rg.CheckRestrictionsResult, e1}, "subscription": {sub.CheckRestrictionsResult, e2}, "management group": {group.CheckRestrictionsResult, e3}} {
		if x.err != nil {
			t.Errorf("%s: %v", scope, x.err)
			continue
		}
		e := x.result.ContentEvaluationResult.PolicyEvaluations
		if len(e) != 1 || *e[0].EvaluationResult != "NonCompliant" || last(e[0].PolicyInfo.PolicyAssignmentID) != a.name+"-check" || !strings.EqualFold(*e[0].EffectDetails.PolicyEffect, "deny") {
			t.Errorf("%s: %+v", scope, e)
		}
		f := x.result.FieldRestrictions
		if len(f) != 2 || len(f[0].Restrictions) != 0 || len(f[1].Restrictions) != 1 || *f[1].Restrictions[0].Result != insights.FieldRestrictionResultDeny || *f[1].Restrictions[0].Values[0] != "e" {
			t.Errorf("%s: %+v", scope, f)
		}
	}
	types := insights.CheckManagementGroupRestrictionsRequest{PendingFields: []*insights.PendingField{{Field: to.Ptr("type"), Values: to.SliceOfPtrs("Microsoft.Network/natGateways", "Microsoft.Compute/disks")}}}
	a.assign(t, "/providers/Microsoft.Management/managementGroups/"+a.Tenant, "sdk-no-gateways", a.noGateways(t), armpolicy.Assignment{})
	got := good[insights.PolicyRestrictionsClientCheckAtManagementGroupScopeResponse](t)(c.CheckAtManagementGroupScope(soon(t), a.Tenant, types, nil))
	if f := got.FieldRestrictions; len(f) != 1 || len(f[0].Restrictions) != 1 || *f[0].Restrictions[0].Values[0] != "Microsoft.Network/natGateways" {
		t.Errorf("types: %+v", f)
	}
}

// noGateways is a rule of the root management group against a type that no other part makes.
func (a *audited) noGateways(t *testing.T) string {
	t.Helper()
	c := good[*armpolicy.DefinitionsClient](t)(armpolicy.NewDefinitionsClient(a.Subscription, a.Credential, a.Options))
	return *good[armpolicy.DefinitionsClientCreateOrUpdateAtManagementGroupResponse](t)(c.CreateOrUpdateAtManagementGroup(soon(t), a.Tenant, "sdk-no-gateways", armpolicy.Definition{Properties: &armpolicy.DefinitionProperties{
		Mode: to.Ptr("All"), PolicyRule: document(t, `{"if": {"field": "type", "equals": "Microsoft.Network/natGateways"}, "then": {"effect": "deny"}}`)}}, nil)).ID
}

// attestations go through their life at each scope.
func (a *audited) attestations(t *testing.T) {
	c := a.NewAttestationsClient()
	said := insights.Attestation{Properties: &insights.AttestationProperties{
		PolicyAssignmentID: to.Ptr("/subscriptions/" + a.Subscription + "/providers/Microsoft.Authorization/policyAssignments/" + a.name),
		ComplianceState:    to.Ptr(insights.ComplianceStateCompliant), Owner: to.Ptr("ann"), Comments: to.Ptr("seen"), ExpiresOn: to.Ptr(time.Now().Add(time.Hour)),
		Evidence: []*insights.AttestationEvidence{{Description: to.Ptr("photo"), SourceURI: to.Ptr("https://example.com/photo")}}}}
	p1, err := c.BeginCreateOrUpdateAtSubscription(soon(t), "sub", said, nil)
	sub := finish(t, p1, err)
	p2, err := c.BeginCreateOrUpdateAtResourceGroup(soon(t), a.name, "rg", said, nil)
	finish(t, p2, err)
	p3, err := c.BeginCreateOrUpdateAtResource(soon(t), a.tables["b"], "table", said, nil)
	table := finish(t, p3, err)
	if last(sub.ID) != "sub" || *table.Properties.Owner != "ann" || *table.Properties.ProvisioningState != "Succeeded" || table.Properties.LastComplianceStateChangeAt == nil {
		t.Errorf("%+v, %+v", sub.Attestation, table.Properties)
	}
	said.Properties.Owner = to.Ptr("bob")
	p3, err = c.BeginCreateOrUpdateAtResource(soon(t), a.tables["b"], "table", said, nil)
	finish(t, p3, err)
	got, e1 := c.GetAtResource(soon(t), a.tables["b"], "table", nil)
	inGroup, e2 := c.GetAtResourceGroup(soon(t), a.name, "rg", nil)
	_, e3 := c.GetAtSubscription(soon(t), "sub", nil)
	if e1 != nil || e2 != nil || e3 != nil || *got.Properties.Owner != "bob" || *inGroup.Properties.Evidence[0].Description != "photo" {
		t.Errorf("%v, %v, %v", e1, e2, e3)
	}
	of := func(list []*insights.Attestation, _ int) (names []string) {
		for _, x := range list {
			names = append(names, *x.Name)
		}
		slices.Sort(names)
		return names
	}
	q := &insights.QueryOptions{Filter: to.Ptr("PolicyAssignmentId eq '" + *said.Properties.PolicyAssignmentID + "' AND ComplianceState eq 'Compliant'"), Top: to.Ptr[int32](1)}
	lists := map[string][]string{
		"subscription": of(drain(t, c.NewListForSubscriptionPager(q, nil), func(p insights.AttestationsClientListForSubscriptionResponse) []*insights.Attestation { return p.Value })),
		"group": of(drain(t, c.NewListForResourceGroupPager(a.name, q, nil), func(p insights.AttestationsClientListForResourceGroupResponse) []*insights.Attestation {
			return p.Value
		})),
		"resource": of(drain(t, c.NewListForResourcePager(a.tables["b"], q, nil), func(p insights.AttestationsClientListForResourceResponse) []*insights.Attestation { return p.Value })),
	}
	if diff := cmp.Diff(map[string][]string{"subscription": {"rg", "sub", "table"}, "group": {"rg", "table"}, "resource": {"table"}}, lists); diff != "" {
		t.Error(diff)
	}
	_, e1 = c.DeleteAtResource(soon(t), a.tables["b"], "table", nil)
	_, e2 = c.DeleteAtResourceGroup(soon(t), a.name, "rg", nil)
	_, e3 = c.DeleteAtSubscription(soon(t), "sub", nil)
	_, gone := c.GetAtSubscription(soon(t), "sub", nil)
	if e1 != nil || e2 != nil || e3 != nil || refusal(gone) != "ResourceNotFound" {
		t.Errorf("%v, %v, %v; then %v", e1, e2, e3, gone)
	}
}
