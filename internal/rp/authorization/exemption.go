package authorization

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// exempted is the assignment that an exemption is from, and its initiative.
type exempted struct {
	assignment referred
	set        *policy.Initiative // nil for a single definition
}

func loadExempted(ctx context.Context, w *provider.Write) error {
	x := exempted{}
	w.Loaded = &x
	if x.assignment.id, x.assignment.err = arm.ParseID(arm.GetString(w.Doc.Body, "properties.policyAssignmentId")); x.assignment.err != nil {
		return nil
	}
	x.assignment.body, x.assignment.err = w.Client.As(identity.System).Get(ctx, x.assignment.id)
	if x.assignment.err != nil {
		return nil
	}
	r := lookup(ctx, w.Client, arm.GetString(x.assignment.body, "properties.policyDefinitionId"))
	if r.err == nil && r.id.Type().Equal(assignment.TypeInitiative) {
		x.set, _ = policy.ParseInitiative(string(r.body))
	}
	return nil
}

func defaultExemption(w *provider.Write) error {
	if !objectProperties(w) {
		return nil
	}
	if err := setDefault(w, "properties.assignmentScopeValidation", "Default"); err != nil {
		return err
	}
	return stamp(w)
}

type exemption struct {
	Properties struct {
		PolicyAssignmentID           string
		PolicyDefinitionReferenceIDs []string
		ExemptionCategory            string
		ExpiresOn                    string
		AssignmentScopeValidation    string
		ResourceSelectors            []assignment.Selectors
	}
}

func validateExemption(w *provider.Write) []*arm.Error {
	errs := texts(w)
	var e exemption
	if err := json.Unmarshal(w.Doc.Body, &e); err != nil {
		return append(errs, arm.BadRequest(arm.CodeInvalidRequestContent, "properties", "%v", err))
	}
	p := e.Properties
	if !oneOf(p.ExemptionCategory, "Waiver", "Mitigated") {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, "properties.exemptionCategory", "exemptionCategory is %q; it must be Waiver or Mitigated.", p.ExemptionCategory))
	}
	if !oneOf(p.AssignmentScopeValidation, "Default", "DoNotValidate") {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, "properties.assignmentScopeValidation", "assignmentScopeValidation is %q; it must be Default or DoNotValidate.", p.AssignmentScopeValidation))
	}
	if _, err := time.Parse(time.RFC3339, p.ExpiresOn); p.ExpiresOn != "" && err != nil {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, "properties.expiresOn", "%q is not a time such as 2026-12-31T00:00:00Z.", p.ExpiresOn))
	}
	errs = append(errs, checkSelectors(p.ResourceSelectors, "properties.resourceSelectors", assignment.ResourceSelectorKinds)...)
	x, _ := w.Loaded.(*exempted)
	return append(errs, checkExempted(p.PolicyAssignmentID, p.PolicyDefinitionReferenceIDs, x)...)
}

func oneOf(s string, allowed ...string) bool {
	return slices.ContainsFunc(allowed, func(a string) bool { return strings.EqualFold(a, s) })
}

func checkExempted(id string, references []string, x *exempted) (errs []*arm.Error) {
	if x == nil || x.assignment.err != nil || !x.assignment.id.Type().Equal(assignment.TypeAssignment) {
		return []*arm.Error{arm.BadRequest("PolicyAssignmentNotFound", "properties.policyAssignmentId", "The policy assignment '%s' could not be found.", id)}
	}
	for i, ref := range references {
		if x.set == nil || !slices.ContainsFunc(x.set.Members, func(m policy.Member) bool { return strings.EqualFold(m.ReferenceID, ref) }) {
			errs = append(errs, arm.BadRequest("InvalidPolicyExemption", index("properties.policyDefinitionReferenceIds", i),
				"The policy assignment '%s' has no policy with the reference id '%s'.", id, ref))
		}
	}
	return errs
}

// commitExemption checks that the assignment covers the exemption's scope, unless
// it asks not to.
func commitExemption(tx store.Tx, w *provider.Write) error {
	if err := limit(tx, w, maxExemptions); err != nil {
		return err
	}
	id, err := arm.ParseID(arm.GetString(w.Doc.Body, "properties.policyAssignmentId"))
	if err != nil {
		return err
	}
	if _, err := tx.Get(id.Key()); err != nil {
		return arm.BadRequest("PolicyAssignmentNotFound", "properties.policyAssignmentId", "The policy assignment '%s' could not be found.", id).Because(err)
	}
	h, err := assignment.ReadHierarchy(tx)
	if err != nil {
		return err
	}
	if !strings.EqualFold(arm.GetString(w.Doc.Body, "properties.assignmentScopeValidation"), "DoNotValidate") && !h.Contains(id.Scope(), w.ID.Scope()) {
		return arm.BadRequest("InvalidPolicyExemptionScope", "properties.policyAssignmentId",
			"The policy assignment '%s' does not cover the scope '%s' of the exemption.", id, w.ID.Scope())
	}
	return assignment.Touch(tx)
}
