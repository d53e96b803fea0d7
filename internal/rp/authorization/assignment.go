package authorization

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// Azure's limits on one assignment.
const (
	maxNotScopes      = 400
	maxSelectors      = 10
	maxOverrides      = 10
	maxSelectorValues = 50
	maxNameAtGroup    = 24 // of an assignment at a management group
)

func loadAssigned(ctx context.Context, w *provider.Write) error {
	r := lookup(ctx, w.Client, arm.GetString(w.Doc.Body, "properties.policyDefinitionId"))
	if r.err != nil && arm.AsError(r.err).Status >= 500 {
		return r.err
	}
	w.Loaded = r
	return nil
}

func (cfg Config) defaultAssignment(w *provider.Write) (err error) {
	if !objectProperties(w) {
		return nil
	}
	set := func(path string, v any) {
		if err == nil {
			w.Doc.Body, err = arm.Set(w.Doc.Body, path, v)
		}
	}
	missing := func(path string, v any) {
		if err == nil {
			err = setDefault(w, path, v)
		}
	}
	set("properties.scope", w.ID.Scope().String())
	missing("properties.enforcementMode", assignment.EnforceDefault)
	missing("properties.notScopes", []string{})
	missing("properties.instanceId", guid("instance", w))
	if r, ok := w.Loaded.(referred); ok && r.err == nil {
		if v, ok := assignment.PickVersion(r.versions, ""); ok {
			major, _, _ := strings.Cut(v.Name, ".")
			pattern := major + ".*.*"
			if _, preview, ok := strings.Cut(v.Name, "-"); ok {
				pattern += "-" + preview
			}
			missing("properties.definitionVersion", pattern)
		}
	}
	if err != nil {
		return err
	}
	return stamp(w)
}

// guid is an id that a write makes for good.
func guid(what string, w *provider.Write) string {
	h := sha256.Sum256([]byte(fmt.Sprintf("%s\x00%s\x00%d", what, w.ID.Key(), w.Now.UnixNano())))
	h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80 // version 8: made in our own way (RFC 9562)
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

func (cfg Config) validateAssignment(w *provider.Write) []*arm.Error {
	errs := texts(w)
	if n := len(w.ID.Name()); w.Create() && w.ID.Scope().Kind() == arm.KindManagementGroup && n > maxNameAtGroup {
		errs = append(errs, arm.BadRequest("InvalidPolicyAssignmentName", "name",
			"The policy assignment name '%s' has %d characters; at a management group at most %d are possible.", w.ID.Name(), n, maxNameAtGroup))
	}
	spec, err := assignment.ReadSpec(w.Doc.Body)
	if err != nil {
		return append(errs, arm.BadRequest(arm.CodeInvalidRequestContent, "properties", "%v", err))
	}
	errs = append(errs, checkSpec(w, spec)...)
	errs = append(errs, checkIdentity(w)...)
	return append(errs, cfg.checkAssigned(w, spec)...)
}

func checkIdentity(w *provider.Write) (errs []*arm.Error) {
	kind := arm.GetString(w.Doc.Body, "identity.type")
	if kind != "" && !strings.EqualFold(kind, "None") && w.Doc.Location == "" {
		errs = append(errs, arm.BadRequest(arm.CodeLocationRequired, "location", "An assignment with an identity needs the location that the identity is kept in."))
	}
	errs = append(errs, oneIdentity(w)...)
	if w.Old != nil {
		old := arm.GetString(w.Old.Body, "properties.policyDefinitionId")
		if now := arm.GetString(w.Doc.Body, "properties.policyDefinitionId"); !strings.EqualFold(old, now) {
			errs = append(errs, arm.BadRequest("InvalidUpdatePolicyAssignmentRequest", "properties.policyDefinitionId",
				"The policy definition of an assignment cannot be changed from '%s' to '%s'. Delete the assignment and create another.", old, now))
		}
	}
	return errs
}

// oneIdentity refuses what other resources may have: an assignment acts as one
// identity.
func oneIdentity(w *provider.Write) []*arm.Error {
	kind := arm.GetString(w.Doc.Body, "identity.type")
	if strings.Contains(kind, ",") {
		return []*arm.Error{arm.BadRequest("InvalidIdentityType", "identity.type",
			"The policy assignment '%s' request is invalid. The provided identity type '%s' is not supported. Supported identity types are 'SystemAssigned', 'UserAssigned' and 'None'.", w.ID.Name(), kind)}
	}
	raw, _ := arm.Get(w.Doc.Body, "identity.userAssignedIdentities")
	var users map[string]json.RawMessage
	if json.Unmarshal(raw, &users) == nil && len(users) > 1 {
		return []*arm.Error{arm.BadRequest("InvalidIdentityId", "identity.userAssignedIdentities",
			"The policy assignment '%s' request is invalid. It names %d user-assigned identities; a policy assignment acts as one.", w.ID.Name(), len(users))}
	}
	return nil
}

func checkSpec(w *provider.Write, s assignment.Spec) (errs []*arm.Error) {
	bad := func(code, target, format string, args ...any) {
		errs = append(errs, arm.BadRequest(code, target, format, args...))
	}
	if !slices.Contains([]string{"default", "donotenforce", "enroll"}, strings.ToLower(s.EnforcementMode)) {
		bad(arm.CodeInvalidParameter, "properties.enforcementMode", "enforcementMode is %q; it must be Default, DoNotEnforce or Enroll.", s.EnforcementMode)
	}
	if n := len(s.NotScopes); n > maxNotScopes {
		bad(arm.CodeInvalidParameter, "properties.notScopes", "There are %d notScopes; at most %d are possible.", n, maxNotScopes)
	}
	for i, n := range s.NotScopes {
		id, err := arm.ParseID(n)
		below := w.ID.Scope().Kind() == arm.KindManagementGroup || w.ID.Scope().Contains(id)
		if err != nil || !below {
			bad("InvalidPolicyAssignmentNotScopes", index("properties.notScopes", i), "%q is not a scope inside '%s'.", n, w.ID.Scope())
		}
	}
	errs = append(errs, checkSelectors(s.ResourceSelectors, "properties.resourceSelectors", assignment.ResourceSelectorKinds)...)
	if n := len(s.Overrides); n > maxOverrides {
		bad(arm.CodeInvalidParameter, "properties.overrides", "There are %d overrides; at most %d are possible.", n, maxOverrides)
	}
	for i, o := range s.Overrides {
		at := index("properties.overrides", i)
		if !strings.EqualFold(o.Kind, assignment.OverrideEffect) && !strings.EqualFold(o.Kind, assignment.OverrideVersion) {
			bad(arm.CodeInvalidParameter, at+".kind", "kind is %q; it must be policyEffect or definitionVersion.", o.Kind)
		}
		if strings.EqualFold(o.Kind, assignment.OverrideEffect) && policy.EffectNamed(o.Value) == policy.Other {
			bad(arm.CodeInvalidParameter, at+".value", "%q is not an effect.", o.Value)
		}
		errs = append(errs, checkSelector(o.Selectors, at+".selectors", assignment.OverrideSelectorKinds)...)
	}
	return errs
}

func checkSelectors(all []assignment.Selectors, at string, kinds []string) (errs []*arm.Error) {
	if n := len(all); n > maxSelectors {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, at, "There are %d resource selectors; at most %d are possible.", n, maxSelectors))
	}
	for i, s := range all {
		errs = append(errs, checkSelector(s.Selectors, index(at, i)+".selectors", kinds)...)
	}
	return errs
}

func checkSelector(all []assignment.Selector, at string, kinds []string) (errs []*arm.Error) {
	seen := map[string]bool{}
	for i, s := range all {
		at := index(at, i)
		known := func(k string) bool { return strings.EqualFold(k, s.Kind) }
		if !slices.ContainsFunc(kinds, known) {
			errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, at+".kind", "kind is %q; it must be one of %s.", s.Kind, strings.Join(kinds, ", ")))
		}
		if seen[strings.ToLower(s.Kind)] {
			errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, at+".kind", "the kind %s is used twice; each may be used once.", s.Kind))
		}
		seen[strings.ToLower(s.Kind)] = true
		if (len(s.In) == 0) == (len(s.NotIn) == 0) {
			errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, at, "a selector needs either in or notIn."))
		}
		if n := len(s.In) + len(s.NotIn); n > maxSelectorValues {
			errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, at, "the selector has %d values; at most %d are possible.", n, maxSelectorValues))
		}
	}
	return errs
}

// checkAssigned checks the assignment against the definition or initiative that it
// assigns.
func (cfg Config) checkAssigned(w *provider.Write, s assignment.Spec) []*arm.Error {
	const at = "properties.policyDefinitionId"
	r, _ := w.Loaded.(referred)
	if r.err != nil || !r.id.Type().Equal(assignment.TypeDefinition) && !r.id.Type().Equal(assignment.TypeInitiative) {
		code := "PolicyDefinitionNotFound"
		if r.id.Type().Equal(assignment.TypeInitiative) {
			code = "PolicySetDefinitionNotFound"
		}
		return []*arm.Error{arm.BadRequest(code, at, "The policy definition '%s' could not be found.", s.PolicyDefinitionID)}
	}
	if !builtinOrWithin(r.id, w.ID.Scope()) {
		return []*arm.Error{outOfScope(w)}
	}
	v, ok := assignment.PickVersion(r.versions, s.DefinitionVersion)
	if !ok {
		return []*arm.Error{arm.BadRequest("PolicyDefinitionVersionNotFound", "properties.definitionVersion",
			"The policy definition '%s' has no version that fits '%s'.", s.PolicyDefinitionID, s.DefinitionVersion)}
	}
	return cfg.checkParameters(v.Body, s)
}

func outOfScope(w *provider.Write) *arm.Error {
	return arm.BadRequest("InvalidCreatePolicyAssignmentRequest", "properties.policyDefinitionId",
		"The policy definition specified in policy assignment '%s' is out of scope. Policy definitions should be specified only at or above the policy assignment scope.", w.ID.Name())
}

func (cfg Config) checkParameters(body json.RawMessage, s assignment.Spec) []*arm.Error {
	declared, err := parametersOf(body)
	if err != nil {
		return problems(err, "")
	}
	values := s.Values()
	if errs := parameterProblems(declared, policy.CheckParameters(declared, values), "properties"); len(errs) > 0 {
		return errs
	}
	if _, ok := arm.Get(body, "properties.policyDefinitions"); ok {
		return nil // each member is checked against its definition when it is compiled
	}
	return cfg.checkCompiles(body, values)
}

// checkCompiles finds what only the parameters' values show, such as an effect that
// the rule's details do not fit.
func (cfg Config) checkCompiles(body json.RawMessage, values value.Value) []*arm.Error {
	def, err := policy.ParseDefinition(string(body))
	if err != nil {
		return problems(err, "")
	}
	_, err = policy.Compile(def, policy.Options{Aliases: cfg.Aliases, TolerateUnknownAliases: true, Parameters: values})
	return problems(err, "properties.policyDefinitionId")
}

// commitAssignment also asks the tree of management groups whether the definition
// stands above the assignment.
func (cfg Config) commitAssignment(tx store.Tx, w *provider.Write) error {
	if err := limit(tx, w, maxAssignments); err != nil {
		return err
	}
	id, err := arm.ParseID(arm.GetString(w.Doc.Body, "properties.policyDefinitionId"))
	if err != nil {
		return err
	}
	if id.Scope().Kind() == arm.KindManagementGroup {
		h, err := assignment.ReadHierarchy(tx)
		if err != nil {
			return err
		}
		if !h.Contains(id.Scope(), w.ID.Scope()) {
			return outOfScope(w)
		}
	}
	if err := identityGiven(tx, w); err != nil {
		return err
	}
	return assignment.Touch(tx)
}

// identityGiven refuses an assignment that could put things right and has nobody to do
// so: who may assign policies could do anything otherwise.
func identityGiven(tx store.ReadTx, w *provider.Write) error {
	if _, ok := arm.Get(w.Doc.Body, "identity"); ok {
		return nil
	}
	spec, err := assignment.ReadSpec(w.Doc.Body)
	if err != nil {
		return err
	}
	r, err := assignment.Remedies(spec, assignment.Stored(tx))
	if err != nil || !r.NeedsIdentity() {
		return err
	}
	what := "'Modify' policy definitions"
	if r.Deploys {
		what = "'DeployIfNotExists' policy definitions or policy definitions that contain a deployment in the effect details"
	}
	return arm.BadRequest("ResourceIdentityRequired", "identity",
		"The policy assignment '%s' request is invalid. Policy assignments must include a 'managed identity' when assigning %s: give it identity.type SystemAssigned (or UserAssigned) and a location, and that identity the roles that the policies name.", w.ID.Name(), what)
}

// deleteAssignment takes its exemptions along: without it they mean nothing.
func deleteAssignment(tx store.Tx, w *provider.Write) error {
	all, err := tx.List(store.Query{Type: assignment.TypeExemption})
	if err != nil {
		return err
	}
	for _, e := range all {
		if !strings.EqualFold(arm.GetString(e.Body, "properties.policyAssignmentId"), w.ID.String()) {
			continue
		}
		if err := tx.Delete(e.Key, e.Revision); err != nil {
			return err
		}
	}
	return assignment.Touch(tx)
}
