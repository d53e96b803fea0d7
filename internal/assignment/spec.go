package assignment

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy"
)

// EnforceDefault is the enforcement mode in which effects are enforced. With any other
// (DoNotEnforce, and Enroll as long as nothing enrols) they are only recorded.
const EnforceDefault = "Default"

// Kinds of overrides.
const (
	OverrideEffect  = "policyEffect"
	OverrideVersion = "definitionVersion"
)

// Kinds of selectors, for resources and inside overrides.
var (
	ResourceSelectorKinds = []string{"resourceLocation", "resourceType", "resourceWithoutLocation"}
	OverrideSelectorKinds = []string{"policyDefinitionReferenceId", "resourceLocation", "resourceType", "resourceWithoutLocation"}
)

// Spec is what an assignment document says.
type Spec struct {
	PolicyDefinitionID    string
	DefinitionVersion     string
	DisplayName           string
	Description           string
	EnforcementMode       string
	NotScopes             []string
	Parameters            json.RawMessage
	ResourceSelectors     []Selectors
	Overrides             []Override
	NonComplianceMessages []Message
}

// Selectors all have to hold.
type Selectors struct {
	Name      string
	Selectors []Selector
}

// Selector restricts by one property of a resource (or, in overrides, of a policy).
type Selector struct {
	Kind      string
	In, NotIn []string
}

// Override replaces the effect or the version of some policies.
type Override struct {
	Kind      string
	Value     string
	Selectors []Selector
}

// Message is what a user is told, for one policy of an initiative or for all.
type Message struct {
	Message                     string
	PolicyDefinitionReferenceID string
}

// ReadSpec reads an assignment.
func ReadSpec(body json.RawMessage) (Spec, error) {
	var d struct{ Properties Spec }
	if err := json.Unmarshal(body, &d); err != nil {
		return Spec{}, fmt.Errorf("reading the assignment: %w", err)
	}
	return d.Properties, nil
}

// Values are the plain values of the parameters.
func (s Spec) Values() value.Value {
	v, err := value.Parse(string(s.Parameters))
	if err != nil || v.Kind() != value.Object {
		return value.FromFields(nil)
	}
	return policy.PlainParameters(v)
}

// versionOf is the version that a member, or an override, asks for.
func (s Spec) versionOf(m policy.Member) string {
	pattern := m.Version
	for _, o := range s.Overrides {
		if strings.EqualFold(o.Kind, OverrideVersion) && holds(o.Selectors, target{ref: m.ReferenceID}) {
			pattern = o.Value
		}
	}
	return pattern
}

// IdentityOf is whose managed identity an assignment acts as, and the identity's object
// id; "" without one.
func IdentityOf(assignment arm.ID, body json.RawMessage) (of arm.ID, objectID string) {
	raw, _ := arm.Get(body, "identity")
	var m struct {
		PrincipalID            string
		UserAssignedIdentities map[string]struct{ PrincipalID string }
	}
	if len(raw) == 0 || json.Unmarshal(raw, &m) != nil {
		return assignment, ""
	}
	for text, user := range m.UserAssignedIdentities { // one: more are refused
		if id, err := arm.ParseID(text); err == nil && m.PrincipalID == "" {
			return id, user.PrincipalID
		}
	}
	return assignment, m.PrincipalID
}

// target is what selectors look at.
type target struct {
	location string // normalised; "" without one
	typ      arm.Type
	ref      string // reference id of the policy
}

// selects reports whether any of several selectors holds; without any, all is
// selected.
func selects(all []Selectors, t target) bool {
	return len(all) == 0 || slices.ContainsFunc(all, func(s Selectors) bool { return holds(s.Selectors, t) })
}

// holds reports whether all selectors hold.
func holds(all []Selector, t target) bool {
	for _, s := range all {
		if !s.holds(t) {
			return false
		}
	}
	return true
}

func (s Selector) holds(t target) bool {
	var have string
	switch strings.ToLower(s.Kind) {
	case "resourcelocation":
		if have = t.location; have == "" {
			return false
		}
		in := func(l string) bool { return arm.NormalLocation(l) == have }
		return slices.ContainsFunc(s.In, in) || len(s.In) == 0 && !slices.ContainsFunc(s.NotIn, in)
	case "resourcewithoutlocation":
		return t.location == "" && s.among(string(t.typ))
	case "resourcetype":
		have = string(t.typ)
	case "policydefinitionreferenceid":
		have = t.ref
	default:
		return false // it could not be written; do not widen what it selects
	}
	return s.among(have)
}

func (s Selector) among(have string) bool {
	is := func(x string) bool { return strings.EqualFold(x, have) }
	if len(s.In) > 0 {
		return slices.ContainsFunc(s.In, is) || slices.Contains(s.In, "*")
	}
	return !slices.ContainsFunc(s.NotIn, is)
}
