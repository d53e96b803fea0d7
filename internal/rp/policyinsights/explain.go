package policyinsights

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/compliance"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/provider"
)

// notApplicable is the state of a policy that looks at the type of a resource, but not
// at this one.
const notApplicable = "NotApplicable"

type explanation struct {
	ResourceID string            `json:"resourceId"`
	Type       string            `json:"type"`
	Location   string            `json:"location,omitempty"`
	Tags       map[string]string `json:"tags,omitempty"`
	State      string            `json:"complianceState"` // rolled up over the policies
	Policies   []explainedPolicy `json:"policies"`
}

type explainedPolicy struct {
	DefinitionID    string              `json:"policyDefinitionId"`
	ReferenceID     string              `json:"policyDefinitionReferenceId,omitempty"`
	DisplayName     string              `json:"displayName"`
	Version         string              `json:"policyDefinitionVersion,omitempty"`
	InitiativeID    string              `json:"policySetDefinitionId,omitempty"`
	Groups          []string            `json:"policyDefinitionGroupNames,omitempty"`
	Effect          string              `json:"effect"`
	State           string              `json:"complianceState"`
	Why             string              `json:"why,omitempty"`
	Message         string              `json:"message,omitempty"`
	Reasons         []string            `json:"reasons"`
	Changes         []string            `json:"changes,omitempty"`
	Advice          []string            `json:"advice,omitempty"`
	Assignment      explainedAssignment `json:"assignment"`
	Exemption       *exemption          `json:"exemption,omitempty"`
	AttestationID   string              `json:"attestationId,omitempty"`
	EvaluationError *policy.Problem     `json:"evaluationError,omitempty"`
	Tree            *policy.Explanation `json:"explanation,omitempty"`
}

type explainedAssignment struct {
	ID              string `json:"id"`
	DisplayName     string `json:"displayName,omitempty"`
	Description     string `json:"description,omitempty"`
	Scope           string `json:"scope"`
	EnforcementMode string `json:"enforcementMode"`
}

type exemption struct {
	ID        string     `json:"id"`
	Category  string     `json:"exemptionCategory"`
	ExpiresOn *time.Time `json:"expiresOn,omitempty"`
	Owner     string     `json:"owner,omitempty"`
	Ticket    string     `json:"ticket,omitempty"`
}

func exemptionOf(x *assignment.Exemption) *exemption {
	if x == nil {
		return nil
	}
	e := &exemption{ID: x.ID.String(), Category: x.Category, Owner: x.Owner, Ticket: x.Ticket}
	if !x.Expires.IsZero() {
		e.ExpiresOn = &x.Expires
	}
	return e
}

// explain serves POST RESOURCE/…/Hallmark.Compliance/explain: every policy on a resource,
// evaluated now, with the comparisons, who assigned it, who exempted it, what to do.
func (cfg Config) explain(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	reader, err := cfg.Engine.Read(ctx)
	if err != nil {
		return nil, err
	}
	doc, policies, err := reader.Policies(ctx, c.Scope)
	if err != nil {
		return nil, err
	}
	out := explanation{ResourceID: doc.ID, Type: string(doc.Type), Location: doc.Location, Tags: doc.Tags, State: notApplicable, Policies: []explainedPolicy{}}
	var worst compliance.State
	for _, x := range policies {
		out.Policies = append(out.Policies, explained(doc.ID, x))
		if x.State != "" && (worst == "" || compliance.Worse(x.State, worst)) {
			worst = x.State
		}
	}
	out.State = cmp.Or(string(worst), notApplicable)
	return provider.JSON(200, out)
}

func explained(resource string, x compliance.Explained) explainedPolicy {
	u, a := x.Unit, x.Unit.Assignment
	p := explainedPolicy{DefinitionID: u.DefinitionID, ReferenceID: u.ReferenceID, DisplayName: lastName(u.DefinitionID), Version: u.DefinitionVersion,
		Groups: u.Groups, Effect: x.Effect, State: cmp.Or(string(x.State), notApplicable), Why: x.Why, Message: u.Message(), Reasons: append([]string{}, x.Reasons...),
		Changes: x.Changes, Exemption: exemptionOf(x.Exemption), AttestationID: x.AttestedBy, EvaluationError: x.Verdict.Problem, Tree: x.Explanation,
		Assignment: explainedAssignment{ID: a.ID.String(), DisplayName: a.Spec.DisplayName, Description: a.Spec.Description, Scope: a.Scope.String(),
			EnforcementMode: cmp.Or(a.Spec.EnforcementMode, assignment.EnforceDefault)}}
	if program := u.Program("", ""); program != nil {
		p.DisplayName = program.Definition().Label()
	}
	if a.Initiative {
		p.InitiativeID = a.Definition.String()
	}
	p.Advice = advice(resource, x)
	return p
}

// advice is what somebody can do who has the resource.
func advice(resource string, x compliance.Explained) (out []string) {
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	a := x.Unit.Assignment
	policyOf := a.Name
	if x.Unit.ReferenceID != "" {
		policyOf += " --policy " + x.Unit.ReferenceID
	}
	switch x.State {
	case compliance.NonCompliant:
		family := x.Verdict.Family
		switch {
		case family == policy.Deny && a.Enforced:
			say("Change what the reasons name; until then other changes of the resource are refused.")
		case family == policy.Modify || family == policy.Append:
			say("Its next change puts this right; or now: hallmark policy remediate %s", policyOf)
		case family == policy.DeployIfNotExists:
			say("Have deployed what is missing: hallmark policy remediate %s", policyOf)
		case family == policy.AuditIfNotExists:
			say("Make the related resource that the policy looks for.")
		default:
			say("Change what the reasons name.")
		}
		say("If it has to stay: hallmark policy exempt %s --assignment %s --category Waiver --expires DATE --owner WHO", resource, policyOf)
	case compliance.Failed:
		say("Tell the owner of the assignment: the policy is broken, the resource may be in order.")
	case compliance.Exempt:
		if e := x.Exemption; e != nil && !e.Expires.IsZero() {
			say("The exemption ends on %s; put the resource right before.", e.Expires.Format(time.DateOnly))
		}
	case compliance.Unknown:
		say("Somebody has to attest (Microsoft.PolicyInsights/attestations).")
	}
	if x.State == compliance.NonCompliant || x.State == compliance.Failed {
		for word := range strings.FieldsSeq(a.Spec.Description) {
			if strings.HasPrefix(word, "https://") || strings.HasPrefix(word, "http://") {
				say("Read %s", strings.TrimRight(word, ".,;)"))
			}
		}
	}
	return out
}
