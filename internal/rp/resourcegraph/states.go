package resourcegraph

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/compliance"
	"hallmark.dev/hallmark/internal/kql"
)

const typeStates arm.Type = "Microsoft.PolicyInsights/policyStates"

// state is the properties of a compliance state in PolicyResources.
type state struct {
	ComplianceState             string    `json:"complianceState"`
	IsDeleted                   bool      `json:"isDeleted"`
	PolicyAssignmentID          string    `json:"policyAssignmentId"`
	PolicyAssignmentName        string    `json:"policyAssignmentName"`
	PolicyAssignmentScope       string    `json:"policyAssignmentScope"`
	PolicyDefinitionAction      string    `json:"policyDefinitionAction"`
	PolicyDefinitionID          string    `json:"policyDefinitionId"`
	PolicyDefinitionName        string    `json:"policyDefinitionName"`
	PolicyDefinitionGroupNames  []string  `json:"policyDefinitionGroupNames"`
	PolicyDefinitionReferenceID string    `json:"policyDefinitionReferenceId"`
	PolicyDefinitionVersion     string    `json:"policyDefinitionVersion"`
	PolicySetDefinitionID       string    `json:"policySetDefinitionId"`
	PolicyExemptionID           string    `json:"policyExemptionId,omitempty"`
	ResourceID                  string    `json:"resourceId"`
	ResourceType                string    `json:"resourceType"`
	ResourceGroup               string    `json:"resourceGroup"`
	ResourceLocation            string    `json:"resourceLocation"`
	SubscriptionID              string    `json:"subscriptionId"`
	StateWeight                 int       `json:"stateWeight"`
	Timestamp                   time.Time `json:"timestamp"`
}

// stateWeights are Azure's: the heaviest state of a resource is its overall one.
var stateWeights = map[compliance.State]int{compliance.NonCompliant: 300, compliance.Compliant: 200, compliance.Failed: 150, compliance.Conflict: 100, compliance.Protected: 90, compliance.Exempt: 50, compliance.Unknown: 0}

// states are the rows of compliance states.
func (s *source) states(want kql.Want, f func(*kql.Record) error) error {
	if s.Engine == nil {
		return nil
	}
	if types, ok := want.Filter.Values("type"); ok && !slices.ContainsFunc(types, func(t string) bool { return strings.EqualFold(t, string(typeStates)) }) {
		return nil
	}
	reader, err := s.Engine.Read(s.ctx)
	if err != nil {
		return err
	}
	rec := kql.Record{Text: make([]string, texts)}
	rec.Text[textTenant], rec.Text[textType] = s.TenantID, strings.ToLower(string(typeStates))
	for _, sub := range s.scopes.list {
		var failed error
		err := reader.Rows(s.ctx, arm.SubscriptionID(sub), func(row compliance.Row) bool {
			if !s.fill(&rec, row) {
				return true
			}
			failed = f(&rec)
			return failed == nil
		})
		if err != nil || failed != nil {
			if failed != nil {
				return failed
			}
			return err
		}
	}
	return nil
}

// fill makes a record of a verdict, if the caller may see it.
func (s *source) fill(rec *kql.Record, row compliance.Row) bool {
	id, err := arm.ParseID(row.Resource)
	if err != nil || !s.may.read(typeStates+"/queryResults", id.Subscription(), id.ResourceGroup(), row.Resource) {
		return false
	}
	sum := sha256.Sum256([]byte(strings.ToLower(row.Unit.Assignment.ID.String() + "\x00" + row.Unit.ReferenceID)))
	name := hex.EncodeToString(sum[:16])
	rec.Text[textName], rec.Text[textID] = name, id.Resource(typeStates, name).String()
	rec.Text[textLocation], rec.Text[textGroup], rec.Text[textSubscription] = row.Location, strings.ToLower(id.ResourceGroup()), id.Subscription()
	rec.Fetch = func() ([]byte, error) { return json.Marshal(map[string]any{"properties": properties(id, row)}) }
	return true
}

func properties(id arm.ID, row compliance.Row) state {
	u := row.Unit
	p := state{
		ComplianceState: string(row.State), PolicyAssignmentID: strings.ToLower(u.Assignment.ID.String()), PolicyAssignmentName: u.Assignment.Name,
		PolicyAssignmentScope: u.Assignment.Scope.String(), PolicyDefinitionAction: strings.ToLower(row.Effect()), PolicyDefinitionID: strings.ToLower(u.DefinitionID),
		PolicyDefinitionName: u.DefinitionID[strings.LastIndexByte(u.DefinitionID, '/')+1:], PolicyDefinitionGroupNames: append([]string{}, u.Groups...),
		PolicyDefinitionReferenceID: strings.ToLower(u.ReferenceID), PolicyDefinitionVersion: u.DefinitionVersion,
		ResourceID: row.Resource, ResourceType: strings.ToLower(string(row.Type)), ResourceGroup: strings.ToLower(id.ResourceGroup()), ResourceLocation: row.Location,
		SubscriptionID: id.Subscription(), StateWeight: stateWeights[row.State], Timestamp: row.Time,
	}
	if u.Assignment.Initiative {
		p.PolicySetDefinitionID = strings.ToLower(u.Assignment.Definition.String())
	}
	if row.Exemption != nil {
		p.PolicyExemptionID = row.Exemption.ID.String()
	}
	return p
}
