package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hallmark.dev/hallmark/internal/azure"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/policy/explain"
)

func (a *App) policyExplain() *cobra.Command {
	var where policyScope
	var all bool
	c := &cobra.Command{
		Use: "explain RESOURCE", Short: "Say of each policy on a resource what it found, why, who assigned it and what to do",
		Long: "Explains every policy that looks at a resource, evaluated now by the endpoint: the verdict, the tree of conditions with the\n" +
			"values that were there, the assignment, an exemption with its owner and end, and what to do. RESOURCE is an id, or a name in\n" +
			"the group. What complies is one line each; --all explains that as well, and policies whose rule is not about this resource.\n" +
			"With another endpoint than Hallmark's the comparisons come from its compliance states.\n\n" + exitHelp,
		Example: "  hallmark policy explain rogue-1\n  hallmark policy explain web-1 --all -o json",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, arguments []string) error {
			return a.explain(c.Context(), where, arguments[0], all)
		},
	}
	where.register(c)
	c.Flags().BoolVar(&all, "all", false, "explain what complies, too, and policies that are not about this resource")
	return c
}

// explained is the endpoint's answer.
type explained struct {
	ResourceID      string            `json:"resourceId"`
	Type            string            `json:"type"`
	Location        string            `json:"location,omitempty"`
	Tags            map[string]string `json:"tags,omitempty"`
	ComplianceState string            `json:"complianceState"`
	Policies        []explainedPolicy `json:"policies"`
}

type explainedPolicy struct {
	DefinitionID string   `json:"policyDefinitionId"`
	ReferenceID  string   `json:"policyDefinitionReferenceId,omitempty"`
	DisplayName  string   `json:"displayName"`
	Version      string   `json:"policyDefinitionVersion,omitempty"`
	InitiativeID string   `json:"policySetDefinitionId,omitempty"`
	Groups       []string `json:"policyDefinitionGroupNames,omitempty"`
	Effect       string   `json:"effect"`
	State        string   `json:"complianceState"`
	Why          string   `json:"why,omitempty"`
	Message      string   `json:"message,omitempty"`
	Reasons      []string `json:"reasons"`
	Changes      []string `json:"changes,omitempty"`
	Advice       []string `json:"advice,omitempty"`
	Assignment   struct {
		ID              string `json:"id"`
		DisplayName     string `json:"displayName,omitempty"`
		Description     string `json:"description,omitempty"`
		Scope           string `json:"scope"`
		EnforcementMode string `json:"enforcementMode"`
	} `json:"assignment"`
	Exemption *struct {
		ID        string     `json:"id"`
		Category  string     `json:"exemptionCategory"`
		ExpiresOn *time.Time `json:"expiresOn,omitempty"`
		Owner     string     `json:"owner,omitempty"`
		Ticket    string     `json:"ticket,omitempty"`
	} `json:"exemption,omitempty"`
	Tree *policy.Explanation `json:"explanation,omitempty"`
}

func (a *App) explain(ctx context.Context, where policyScope, name string, all bool) error {
	s, _, err := a.openAt(where)
	if err != nil {
		return err
	}
	id, err := s.resourceNamed(ctx, name)
	if err != nil {
		return err
	}
	x, err := s.explained(ctx, id)
	if err != nil {
		return err
	}
	if !all {
		kept := []explainedPolicy{}
		for _, p := range x.Policies {
			if p.State != "NotApplicable" {
				kept = append(kept, p)
			}
		}
		x.Policies = kept
	}
	slices.SortStableFunc(x.Policies, func(a, b explainedPolicy) int { return stateRank(a.State) - stateRank(b.State) })
	if a.output != "table" || a.query != "" {
		return a.print(x)
	}
	return a.writeExplained(x, name, all)
}

func (s *session) explained(ctx context.Context, id string) (*explained, error) {
	var x explained
	err := s.Do(ctx, azure.Request{Method: http.MethodPost, Path: id + "/providers/Hallmark.Compliance/explain", APIVersion: apiHallmark}, &x)
	switch azure.Code(err) {
	case "InvalidResourceNamespace", "InvalidResourceType", "NoRegisteredProviderFound", "MissingSubscriptionRegistration":
		return s.explainedByStates(ctx, id)
	}
	return &x, err
}

// explainedByStates is what an endpoint that is not Hallmark's has to say.
func (s *session) explainedByStates(ctx context.Context, id string) (*explained, error) {
	rows, err := s.stateRows(ctx, id, "", stateOptions{teamTag: "team"})
	x := &explained{ResourceID: id, ComplianceState: "NotApplicable", Policies: []explainedPolicy{}}
	for i, r := range rows {
		if i == 0 {
			x.Type, x.ComplianceState = r.ResourceType, r.State
		}
		p := explainedPolicy{DefinitionID: r.DefinitionID, ReferenceID: r.Policy, DisplayName: r.Policy, Effect: r.Effect, State: r.State, Reasons: []string{}}
		if r.Reason != "" {
			p.Reasons = append(p.Reasons, r.Reason)
		}
		p.Assignment.ID, p.Assignment.Scope = r.AssignmentID, scopeOf(r.AssignmentID)
		x.Policies = append(x.Policies, p)
	}
	return x, err
}

// writeExplained shows what wants attention in full; name is what the user calls the
// resource.
func (a *App) writeExplained(x *explained, name string, all bool) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", last(x.ResourceID), x.ComplianceState)
	for _, p := range x.Policies {
		if p.State == "Compliant" && !all {
			fmt.Fprintf(&b, "\n%s  %s  (%s)", p.State, p.DisplayName, p.Effect)
			continue
		}
		fmt.Fprintf(&b, "\n%s  %s  (%s)\n", p.State, p.DisplayName, p.Effect)
		p.write(&b, strings.NewReplacer(x.ResourceID, name))
	}
	if len(x.Policies) == 0 {
		b.WriteString("no policy is about this resource")
	}
	_, err := fmt.Fprintln(a.Out, strings.TrimSuffix(b.String(), "\n"))
	return err
}

// write shows one policy, the most important first.
func (p explainedPolicy) write(b *strings.Builder, shorter *strings.Replacer) {
	line := func(what, text string) {
		if text != "" {
			fmt.Fprintf(b, "  %-11s %s\n", what, text)
		}
	}
	line("message", p.Message)
	if p.Why != "" {
		line("why", p.Why)
	}
	if p.State != "Compliant" {
		for _, r := range p.Reasons {
			line("because", r)
		}
	}
	for _, c := range p.Changes {
		line("would", c)
	}
	line("assignment", fmt.Sprintf("%s at %s, %s", cmp.Or(p.Assignment.DisplayName, last(p.Assignment.ID)), shortScope(p.Assignment.Scope), p.Assignment.EnforcementMode))
	line("", p.Assignment.Description)
	if e := p.Exemption; e != nil {
		until := "for ever"
		if e.ExpiresOn != nil {
			until = "until " + e.ExpiresOn.Format(time.DateOnly)
		}
		line("exemption", strings.TrimSuffix(fmt.Sprintf("%s %s, owner %s, %s", e.Category, until, cmp.Or(e.Owner, "nobody"), e.Ticket), ", "))
	}
	for _, advice := range p.Advice {
		line("do", shorter.Replace(advice))
	}
	if p.State == "NonCompliant" && strings.Contains(strings.Join(p.Reasons, " "), "Hallmark.Image/") {
		line("do", "hallmark audit names the image to create it again from.")
	}
	if p.Tree != nil {
		_ = explain.Tree(b, p.Tree, "    ") // a Builder takes everything
	}
}

type remediateOptions struct {
	policyScope
	policy, name, discovery string
	locations, resources    []string
	count                   int
}

func (a *App) policyRemediate() *cobra.Command {
	var o remediateOptions
	c := &cobra.Command{
		Use: "remediate ASSIGNMENT", Short: "Change what a modify policy asks for, or deploy what is missing, and wait for it",
		Long: "Creates a remediation for an assignment (of an initiative: for one policy of it) at a scope, waits until it has ended, and\n" +
			"shows what was done to which resource.\n\n" + exitHelp,
		Example:           "  hallmark policy remediate golden --policy service-model-default",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeAssignments,
		RunE:              func(c *cobra.Command, arguments []string) error { return a.remediate(c.Context(), arguments[0], o) },
	}
	o.register(c)
	f := c.Flags()
	f.StringVar(&o.policy, "policy", "", "the policy of the initiative, by its reference id")
	f.StringVar(&o.name, "name", "", "the remediation's name (default: made of the assignment's and the time)")
	f.StringVar(&o.discovery, "discovery", "ExistingNonCompliant", "ExistingNonCompliant or ReEvaluateCompliance")
	f.StringSliceVar(&o.locations, "location", nil, "only resources in these regions")
	f.StringSliceVar(&o.resources, "resource", nil, "only these resources, by id")
	f.IntVar(&o.count, "count", 0, "at most this many resources (default: the service's 500)")
	choices(c, "discovery", "ExistingNonCompliant", "ReEvaluateCompliance")
	return c
}

func (a *App) remediate(ctx context.Context, name string, o remediateOptions) error {
	s, at, err := a.openAt(o.policyScope)
	if err != nil {
		return err
	}
	d, err := s.findAssignment(ctx, at, name)
	if err != nil {
		return err
	}
	properties := map[string]any{"policyAssignmentId": d.ID, "resourceDiscoveryMode": o.discovery}
	if o.policy != "" {
		properties["policyDefinitionReferenceId"] = o.policy
	}
	if o.count > 0 {
		properties["resourceCount"] = o.count
	}
	if len(o.locations)+len(o.resources) > 0 {
		properties["filters"] = map[string]any{"locations": o.locations, "resourceIds": o.resources}
	}
	remediation := cmp.Or(o.name, d.Name+"-"+a.Now().UTC().Format("20060102150405"))
	id := at + "/providers/Microsoft.PolicyInsights/remediations/" + remediation
	err = s.Put(ctx, id, apiRemediation, map[string]any{"properties": properties}, nil)
	if err != nil && azure.Code(err) != "RemediationFailed" { // then the reasons are with the resources
		return err
	}
	return s.remediated(ctx, id)
}

// remediated waits for a remediation's end, whether or not the endpoint calls it a
// long-running operation, and shows it.
func (s *session) remediated(ctx context.Context, id string) error {
	var state struct {
		Properties struct{ ProvisioningState, StatusMessage string }
	}
	for {
		if err := s.Get(ctx, id, apiRemediation, &state); err != nil {
			return err
		}
		switch state.Properties.ProvisioningState {
		case "Succeeded", "Complete", "Failed", "Canceled":
			return s.showRemediation(ctx, id, state.Properties.ProvisioningState, state.Properties.StatusMessage)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func (s *session) showRemediation(ctx context.Context, id, state, message string) error {
	deployments := []map[string]any{}
	err := s.List(ctx, azure.Request{Method: http.MethodPost, Path: id + "/listDeployments", APIVersion: apiRemediation}, func(raw json.RawMessage) error {
		var d map[string]any
		err := json.Unmarshal(raw, &d)
		deployments = append(deployments, d)
		return err
	})
	if err != nil {
		return err
	}
	if err := s.app.print(deployments, column{"Resource", "remediatedResourceId"}, column{"Status", "status"}, column{"Error", "error.message"}); err != nil {
		return err
	}
	s.app.progress("%s: %s", last(id), cmp.Or(message, state))
	if state == "Failed" || state == "Canceled" {
		return fmt.Errorf("the remediation %s has ended as %s: %s", last(id), state, message)
	}
	return nil
}
