package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"hallmark.dev/hallmark/internal/azure"
)

type stateOptions struct {
	policyScope
	resource, assignment, policy, state, team, teamTag, filter, failOn string
	all, summary                                                       bool
}

func (a *App) policyState() *cobra.Command {
	var o stateOptions
	c := &cobra.Command{
		Use: "state", Short: "Show what complies with the policies and what does not, with the reason",
		Long: "Shows the compliance states of resources. Without --all what complies is left out. The reason is the assignment's message and\n" +
			"the comparisons that decided. hallmark policy explain RESOURCE has everything about one resource.\n\n" + exitHelp,
		Example: "  hallmark policy state\n  hallmark policy state --team web --assignment golden\n  hallmark policy state --summary\n" +
			"  hallmark policy state --fail-on non-compliant -o json --query \"[].resourceId\"",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.states(c.Context(), o) },
	}
	o.register(c)
	f := c.Flags()
	f.StringVar(&o.resource, "resource", "", "only this resource: an id, or a name in the context's group")
	f.StringVar(&o.assignment, "assignment", "", "only of this assignment: its name")
	f.StringVar(&o.policy, "policy", "", "only of this policy: its reference id in the initiative, or its name")
	f.StringVar(&o.state, "state", "", "only this state: NonCompliant, Compliant, Exempt, Unknown, Error, Conflict or Protected")
	f.StringVar(&o.team, "team", "", "only resources of this team")
	f.StringVar(&o.teamTag, "team-tag", "team", "the tag that names a resource's team")
	f.StringVar(&o.filter, "filter", "", "an OData filter, as az policy state list has it")
	f.BoolVar(&o.all, "all", false, "also what complies")
	f.BoolVar(&o.summary, "summary", false, "only the counts of each policy")
	f.StringVar(&o.failOn, "fail-on", "none", "exit with 4 on: none, non-compliant (or Error)")
	choices(c, "state", "NonCompliant", "Compliant", "Exempt", "Unknown", "Error", "Conflict", "Protected")
	choices(c, "fail-on", "none", "non-compliant")
	return c
}

// stateRow is one resource to one policy, as a team reads it.
type stateRow struct {
	Resource      string `json:"resource"`
	ResourceID    string `json:"resourceId"`
	ResourceGroup string `json:"resourceGroup"`
	ResourceType  string `json:"resourceType"`
	Team          string `json:"team"`
	Assignment    string `json:"assignment"`
	AssignmentID  string `json:"policyAssignmentId"`
	Policy        string `json:"policy"`
	Title         string `json:"policyDisplayName,omitempty"` // where the name says nothing
	DefinitionID  string `json:"policyDefinitionId"`
	Effect        string `json:"effect"`
	State         string `json:"complianceState"`
	Reason        string `json:"reason"`
	ReadMore      string `json:"readMore,omitempty"`
	ExemptionID   string `json:"policyExemptionId,omitempty"`
	Timestamp     string `json:"timestamp"`
}

// azureState is a record of policyStates.
type azureState struct {
	Timestamp, ResourceID, ResourceGroup, ResourceType, ResourceTags, ComplianceState                     string
	PolicyAssignmentID, PolicyAssignmentName, PolicyDefinitionID, PolicyDefinitionName, PolicyExemptionID string
	PolicyDefinitionReferenceID, PolicyDefinitionAction                                                   string
	PolicyEvaluationDetails                                                                               *struct {
		Reason               string
		EvaluatedExpressions []stateExpression
	}
}

type stateExpression struct {
	Result, Expression, Operator string
	ExpressionValue, TargetValue json.RawMessage
}

func (o stateOptions) query() (string, error) {
	var parts []string
	add := func(format string, values ...any) {
		for i, v := range values {
			values[i] = strings.ReplaceAll(v.(string), "'", "''")
		}
		parts = append(parts, fmt.Sprintf(format, values...))
	}
	if o.assignment != "" {
		add("policyAssignmentName eq '%s'", last(o.assignment))
	}
	if o.policy != "" {
		add("(policyDefinitionReferenceId eq '%s' or policyDefinitionName eq '%s')", o.policy, o.policy)
	}
	switch {
	case o.state != "":
		add("complianceState eq '%s'", o.state)
	case !o.all && !o.summary:
		add("complianceState ne 'Compliant'")
	}
	if o.filter != "" {
		parts = append(parts, "("+o.filter+")")
	}
	if o.failOn != "none" && o.failOn != "non-compliant" {
		return "", usage("--fail-on %q: want none or non-compliant", o.failOn)
	}
	return strings.Join(parts, " and "), nil
}

func (a *App) states(ctx context.Context, o stateOptions) error {
	filter, err := o.query()
	if err != nil {
		return err
	}
	s, at, err := a.openAt(o.policyScope)
	if err != nil {
		return err
	}
	if o.resource != "" {
		if at, err = s.resourceNamed(ctx, o.resource); err != nil {
			return err
		}
	}
	rows, err := s.stateRows(ctx, at, filter, o)
	if err != nil {
		return err
	}
	if o.summary {
		err = a.printStateSummary(rows)
	} else {
		err = a.printStates(rows)
	}
	if err != nil {
		return err
	}
	if err := s.warnOfExpiry(ctx, subscriptionOf(at)); err != nil {
		return err
	}
	bad := 0
	for _, r := range rows {
		if r.State == "NonCompliant" || r.State == "Error" {
			bad++
		}
	}
	if o.failOn != "none" && bad > 0 {
		return &Error{Code: ExitFindings, Err: fmt.Errorf("%d states are not compliant", bad)}
	}
	return nil
}

func (s *session) stateRows(ctx context.Context, at, filter string, o stateOptions) ([]stateRow, error) {
	query := url.Values{"$expand": {"PolicyEvaluationDetails"}, "$top": {"1000"}}
	if o.summary {
		query.Del("$expand")
	}
	if filter != "" {
		query.Set("$filter", filter)
	}
	rows := []stateRow{}
	links, titles := map[string]string{}, map[string]string{}
	r := azure.Request{Method: http.MethodPost, Path: at + "/providers/Microsoft.PolicyInsights/policyStates/latest/queryResults", APIVersion: apiStates, Query: query}
	err := s.List(ctx, r, func(raw json.RawMessage) error {
		var x azureState
		if err := json.Unmarshal(raw, &x); err != nil {
			return fmt.Errorf("reading compliance states: %w", err)
		}
		row := rowOf(x, o.teamTag)
		if o.team != "" && !strings.EqualFold(o.team, row.Team) {
			return nil
		}
		if isGUID(row.Policy) {
			row.Title = s.title(ctx, row.DefinitionID, titles)
		}
		if row.State != "Compliant" && !o.summary {
			row.ReadMore = s.readMore(ctx, x.PolicyAssignmentID, links)
		}
		rows = append(rows, row)
		return nil
	})
	slices.SortStableFunc(rows, func(a, b stateRow) int {
		return cmp.Or(stateRank(a.State)-stateRank(b.State), strings.Compare(a.Team, b.Team), strings.Compare(a.ResourceID, b.ResourceID))
	})
	return rows, err
}

func rowOf(x azureState, teamTag string) stateRow {
	row := stateRow{Resource: last(x.ResourceID), ResourceID: x.ResourceID, ResourceGroup: x.ResourceGroup, ResourceType: x.ResourceType, Team: teamOf(x.ResourceTags, teamTag),
		Assignment: x.PolicyAssignmentName, AssignmentID: x.PolicyAssignmentID, Policy: cmp.Or(x.PolicyDefinitionReferenceID, x.PolicyDefinitionName), DefinitionID: x.PolicyDefinitionID,
		Effect: x.PolicyDefinitionAction, State: x.ComplianceState, ExemptionID: x.PolicyExemptionID, Timestamp: x.Timestamp}
	if d := x.PolicyEvaluationDetails; d != nil && x.ComplianceState != "Compliant" {
		var parts []string
		if d.Reason != "" {
			parts = append(parts, d.Reason)
		}
		for _, e := range d.EvaluatedExpressions {
			actual := "missing"
			if len(e.ExpressionValue) > 0 {
				actual = string(e.ExpressionValue)
			}
			told := e.Expression + " is " + actual
			if !strings.EqualFold(e.Expression, "type") && e.Result == "True" && !slices.Contains(parts, told) {
				parts = append(parts, told)
			}
		}
		row.Reason = strings.Join(parts, "; ")
	}
	return row
}

// teamOf reads a tag out of the text in which states have tags.
func teamOf(tags, name string) string {
	var all map[string]string
	if json.Unmarshal([]byte(tags), &all) != nil {
		return ""
	}
	for k, v := range all {
		if strings.EqualFold(k, name) {
			return v
		}
	}
	return ""
}

func stateRank(state string) int {
	if i := slices.Index([]string{"NonCompliant", "Error", "Conflict", "Unknown", "Exempt", "Protected", "Compliant"}, state); i >= 0 {
		return i
	}
	return 99
}

// isGUID reports whether a name is one that nobody chose, as those of Azure's own
// definitions are.
func isGUID(name string) bool {
	_, err := uuid.Parse(name)
	return err == nil && len(name) == 36
}

// title is the display name of a definition; "" if it cannot be read.
func (s *session) title(ctx context.Context, id string, known map[string]string) string {
	text, ok := known[id]
	if !ok {
		var d policyDocument
		if err := s.Get(ctx, id, apiPolicy, &d); err == nil { // a state can be read by people who may not read definitions
			text = d.Properties.DisplayName
		}
		known[id] = text
	}
	return text
}

// readMore is the link that an assignment's description names, or the description.
func (s *session) readMore(ctx context.Context, id string, known map[string]string) string {
	if text, ok := known[id]; ok {
		return text
	}
	var d policyDocument
	text := ""
	if err := s.Get(ctx, id, apiPolicy, &d); err == nil { // a state can be read by people who may not read assignments
		text = d.Properties.Description
		for word := range strings.FieldsSeq(text) {
			if strings.HasPrefix(word, "https://") || strings.HasPrefix(word, "http://") {
				text = strings.TrimRight(word, ".,;)")
			}
		}
	}
	known[id] = text
	return text
}

func (a *App) printStates(rows []stateRow) error {
	if a.output != "table" || a.query != "" {
		return a.print(rows)
	}
	shown := slices.Clone(rows)
	for i := range shown {
		shown[i].Policy = cmp.Or(shown[i].Title, shown[i].Policy)
	}
	if err := a.print(shown, column{"Resource", "resource"}, column{"Group", "resourceGroup"}, column{"Team", "team"}, column{"State", "complianceState"},
		column{"Policy", "policy"}, column{"Effect", "effect"}, column{"Assignment", "assignment"}, column{"Reason", "reason"}); err != nil {
		return err
	}
	var links []string
	for _, r := range rows {
		if r.ReadMore != "" && !slices.Contains(links, r.Assignment+": "+r.ReadMore) {
			links = append(links, r.Assignment+": "+r.ReadMore)
		}
	}
	for _, l := range links {
		if _, err := fmt.Fprintf(a.Out, "\n%s\n", l); err != nil {
			return err
		}
	}
	if len(rows) == 0 {
		a.progress("everything that policies look at complies (or no policy looks at anything: see hallmark policy list)")
	}
	return nil
}

// stateCount is the states of one policy.
type stateCount struct {
	Assignment   string `json:"assignment"`
	Policy       string `json:"policy"`
	Title        string `json:"policyDisplayName,omitempty"`
	Effect       string `json:"effect"`
	NonCompliant int    `json:"nonCompliant"`
	Compliant    int    `json:"compliant"`
	Exempt       int    `json:"exempt"`
	Other        int    `json:"other"`
	Percent      string `json:"percent"`
	good         int
}

func (a *App) printStateSummary(rows []stateRow) error {
	at := map[string]*stateCount{}
	list := []*stateCount{}
	for _, r := range rows {
		k := r.AssignmentID + "\x00" + r.Policy
		if at[k] == nil {
			at[k] = &stateCount{Assignment: r.Assignment, Policy: r.Policy, Title: r.Title, Effect: r.Effect}
			list = append(list, at[k])
		}
		c := at[k]
		if r.State != "NonCompliant" && r.State != "Error" && r.State != "Conflict" {
			c.good++
		}
		switch r.State {
		case "NonCompliant":
			c.NonCompliant++
		case "Compliant":
			c.Compliant++
		case "Exempt":
			c.Exempt++
		default:
			c.Other++
		}
	}
	for _, c := range list {
		all := c.NonCompliant + c.Compliant + c.Exempt + c.Other
		c.Percent = fmt.Sprintf("%d %%", 100*c.good/all)
		if c.Title != "" && a.output == "table" && a.query == "" {
			c.Policy = c.Title
		}
	}
	slices.SortFunc(list, func(x, y *stateCount) int {
		return cmp.Or(y.NonCompliant-x.NonCompliant, strings.Compare(x.Assignment, y.Assignment), strings.Compare(x.Policy, y.Policy))
	})
	return a.print(list, column{"Assignment", "assignment"}, column{"Policy", "policy"}, column{"Effect", "effect"}, column{"NonCompliant", "nonCompliant"},
		column{"Compliant", "compliant"}, column{"Exempt", "exempt"}, column{"Other", "other"}, column{"Compliance", "percent"})
}
