package admission

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/provider"
)

// CodeDisallowed is the code of every refusal.
const CodeDisallowed = "RequestDisallowedByPolicy"

// violation is one policy in the answer, in Azure's shape.
type violation struct {
	EvaluationDetails           details         `json:"evaluationDetails"`
	PolicyDefinitionID          string          `json:"policyDefinitionId"`
	PolicyDefinitionName        string          `json:"policyDefinitionName"`
	PolicyDefinitionDisplayName string          `json:"policyDefinitionDisplayName,omitempty"`
	PolicyDefinitionVersion     string          `json:"policyDefinitionVersion,omitempty"`
	PolicyDefinitionEffect      string          `json:"policyDefinitionEffect"`
	PolicyDefinitionReferenceID string          `json:"policyDefinitionReferenceId,omitempty"`
	PolicySetDefinitionID       string          `json:"policySetDefinitionId,omitempty"`
	PolicySetDefinitionName     string          `json:"policySetDefinitionName,omitempty"`
	PolicyAssignmentID          string          `json:"policyAssignmentId"`
	PolicyAssignmentName        string          `json:"policyAssignmentName"`
	PolicyAssignmentDisplayName string          `json:"policyAssignmentDisplayName,omitempty"`
	PolicyAssignmentDescription string          `json:"policyAssignmentDescription,omitempty"`
	PolicyAssignmentScope       string          `json:"policyAssignmentScope"`
	PolicyAssignmentParameters  json.RawMessage `json:"policyAssignmentParameters,omitempty"`
	PolicyExemptionIDs          []string        `json:"policyExemptionIds"`
	PolicyEnrollmentIDs         []string        `json:"policyEnrollmentIds"`
	PolicyDefinitionGroupNames  []string        `json:"policyDefinitionGroupNames,omitempty"`
}

type details struct {
	EvaluatedExpressions []assignment.Expression `json:"evaluatedExpressions"`
	Reason               string                  `json:"reason,omitempty"`
}

// refusal is the answer to a request that policies refuse.
func refusal(w *provider.Write, d *Decision) *arm.Error {
	what := "Resource"
	if w.Action == "delete" {
		what = "Deletion of resource"
	}
	e := arm.Errorf(http.StatusForbidden, CodeDisallowed, "%s '%s' was disallowed by policy. %sPolicy identifiers: '%s'.",
		what, w.ID.Name(), reasons(d.Denied), identifiers(d.Denied)).At(w.ID.Name())
	for _, f := range d.Denied {
		info, err := json.Marshal(f.violation())
		if err == nil {
			e.AdditionalInfo = append(e.AdditionalInfo, arm.AdditionalInfo{Type: "PolicyViolation", Info: info})
		}
	}
	return e
}

// reasons are what the assignments tell people, and else the comparisons.
func reasons(fs []Finding) string {
	var out []string
	for _, f := range fs {
		out = append(out, "'"+strings.ReplaceAll(f.reason(), "'", "’")+"'")
	}
	return "Reasons: " + strings.Join(out, "; ") + ". See error details for policy resource IDs. "
}

func (f Finding) reason() string {
	if m := f.Unit.Message(); m != "" {
		return m
	}
	if f.Reason != "" {
		return f.Reason
	}
	var held []string
	for _, x := range f.Expressions {
		held = append(held, x.String())
	}
	return f.label() + ": " + strings.Join(held, "; ")
}

// label names the policy for a reader.
func (f Finding) label() string {
	if p := f.Unit.Program("", ""); p != nil {
		return p.Definition().Label()
	}
	return f.Unit.DefinitionID
}

type named struct {
	Name string `json:"name"`
	ID   string `json:"id"`
}

// identifiers is the list that Azure puts into the message.
func identifiers(fs []Finding) string {
	var all []map[string]named
	for _, f := range fs {
		a := f.Unit.Assignment
		one := map[string]named{"policyAssignment": {orName(a.Spec.DisplayName, a.Name), a.ID.String()},
			"policyDefinition": {f.label(), f.Unit.DefinitionID}}
		if a.Initiative {
			one["policySetDefinition"] = named{a.Definition.Name(), a.Definition.String()}
		}
		all = append(all, one)
	}
	raw, err := json.Marshal(all)
	if err != nil {
		return fmt.Sprint(len(fs), " policies")
	}
	return string(raw)
}

func orName(display, name string) string {
	if display != "" {
		return display
	}
	return name
}

func (f Finding) violation() violation {
	u, a := f.Unit, f.Unit.Assignment
	v := violation{
		EvaluationDetails:  details{EvaluatedExpressions: f.Expressions, Reason: f.reason()},
		PolicyDefinitionID: u.DefinitionID, PolicyDefinitionName: last(u.DefinitionID), PolicyDefinitionDisplayName: f.label(),
		PolicyDefinitionVersion: u.DefinitionVersion, PolicyDefinitionEffect: f.Effect, PolicyDefinitionReferenceID: u.ReferenceID,
		PolicyAssignmentID: a.ID.String(), PolicyAssignmentName: a.Name, PolicyAssignmentDisplayName: a.Spec.DisplayName,
		PolicyAssignmentDescription: a.Spec.Description, PolicyAssignmentScope: a.Scope.String(), PolicyAssignmentParameters: a.Spec.Parameters,
		PolicyExemptionIDs: []string{}, PolicyEnrollmentIDs: []string{}, PolicyDefinitionGroupNames: u.Groups,
	}
	if v.EvaluationDetails.EvaluatedExpressions == nil {
		v.EvaluationDetails.EvaluatedExpressions = []assignment.Expression{}
	}
	if a.Initiative {
		v.PolicySetDefinitionID, v.PolicySetDefinitionName = a.Definition.String(), a.Definition.Name()
	}
	return v
}

func last(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }
