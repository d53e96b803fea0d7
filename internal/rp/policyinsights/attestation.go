package policyinsights

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/compliance"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

func attestations() provider.ResourceType {
	return provider.ResourceType{
		Type: compliance.TypeAttestation, Scopes: anywhere, APIVersions: attestationVersions, Hidden: true, ListBelow: true,
		ReadOnly: []string{"properties.lastComplianceStateChangeAt"},
		Filters:  []string{"policyAssignmentId", "policyDefinitionReferenceId", "complianceState", "owner"},
		Default:  defaultAttestation, Validate: validateAttestation, Commit: commitAttestation,
	}
}

func defaultAttestation(w *provider.Write) (err error) {
	if w.Old == nil || arm.GetString(w.Old.Body, "properties.complianceState") != arm.GetString(w.Doc.Body, "properties.complianceState") {
		if p, ok := arm.Get(w.Doc.Body, "properties"); ok && p[0] == '{' {
			w.Doc.Body, err = arm.Set(w.Doc.Body, "properties.lastComplianceStateChangeAt", w.Now)
		}
	}
	return err
}

func validateAttestation(w *provider.Write) (errs []*arm.Error) {
	var a struct {
		Properties struct {
			ComplianceState, ExpiresOn, AssessmentDate string
			Evidence                                   []struct{ Description, SourceURI string }
		}
	}
	if err := json.Unmarshal(w.Doc.Body, &a); err != nil {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidRequestContent, "properties", "%v", err)}
	}
	if s := a.Properties.ComplianceState; s != "" && s != string(compliance.Compliant) && s != string(compliance.NonCompliant) && s != string(compliance.Unknown) {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, "properties.complianceState", "complianceState is %q; it must be Compliant, NonCompliant or Unknown.", s))
	}
	for path, text := range map[string]string{"properties.expiresOn": a.Properties.ExpiresOn, "properties.assessmentDate": a.Properties.AssessmentDate} {
		if _, err := time.Parse(time.RFC3339, text); text != "" && err != nil {
			errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, path, "%q is not a time such as 2026-12-31T00:00:00Z.", text))
		}
	}
	return errs
}

func commitAttestation(tx store.Tx, w *provider.Write) error {
	id := arm.GetString(w.Doc.Body, "properties.policyAssignmentId")
	if _, err := tx.Get(strings.ToLower(id)); id == "" || errors.Is(err, store.ErrNotFound) {
		return arm.BadRequest("PolicyAssignmentNotFound", "properties.policyAssignmentId", "The policy assignment '%s' could not be found.", id)
	} else if err != nil {
		return err
	}
	return nil
}
