package authorization

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/expr"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/provider"
)

// Azure's limits on one initiative.
const (
	maxMembers              = 1000
	maxInitiativeParameters = 300
)

// referred is a definition that was looked up: nil body if it does not exist.
type referred struct {
	id       arm.ID
	body     json.RawMessage
	versions []assignment.Version
	err      error
}

// lookup reads a definition or initiative for validation. It reads as the system:
// who may assign a policy need not be allowed to read the scope that it stands at,
// and whether it may be used here is checked by where it stands.
func lookup(ctx context.Context, c provider.Client, id string) (r referred) {
	if r.id, r.err = arm.ParseID(id); r.err != nil {
		return r
	}
	c = c.As(identity.System)
	if r.body, r.err = c.Get(ctx, r.id); r.err != nil {
		return r
	}
	r.versions = []assignment.Version{{Name: arm.GetString(r.body, "properties.version"), Body: r.body}}
	if kept, ok := arm.Get(r.body, "properties.versions"); ok && strings.Count(string(kept), `"`) > 2 {
		bodies, err := c.List(ctx, r.id, r.id.Type().Child("versions"))
		if err != nil {
			r.err = err
			return r
		}
		for _, b := range bodies {
			r.versions = append(r.versions, assignment.Version{Name: arm.GetString(b, "properties.version"), Body: b})
		}
	}
	return r
}

// loadMembers looks up every definition that the initiative names, once.
func loadMembers(ctx context.Context, w *provider.Write) error {
	found := map[string]referred{}
	w.Loaded = found
	set, err := policy.ParseInitiative(string(w.Doc.Body))
	if err != nil || len(set.Members) > maxMembers {
		return nil // validation says so
	}
	for _, m := range set.Members {
		key := strings.ToLower(m.DefinitionID)
		if _, ok := found[key]; ok {
			continue
		}
		r := lookup(ctx, w.Client, m.DefinitionID)
		if r.err != nil && arm.AsError(r.err).Status >= 500 {
			return r.err
		}
		found[key] = r
	}
	return nil
}

func defaultInitiative(w *provider.Write) error {
	if !objectProperties(w) {
		return nil
	}
	if err := nameMembers(w); err != nil {
		return err
	}
	return defaultCommon(w)
}

// nameMembers gives members without a reference id one, the same each time.
func nameMembers(w *provider.Write) error {
	raw, ok := arm.Get(w.Doc.Body, "properties.policyDefinitions")
	var members []json.RawMessage
	if !ok || json.Unmarshal(raw, &members) != nil {
		return nil // validation says so
	}
	for i, m := range members {
		if arm.GetString(m, "policyDefinitionReferenceId") != "" || len(m) == 0 || m[0] != '{' {
			continue
		}
		sum := sha256.Sum256([]byte(fmt.Sprintf("%s\x00%d\x00%s", w.ID.Key(), i, strings.ToLower(arm.GetString(m, "policyDefinitionId")))))
		named, err := arm.Set(m, "policyDefinitionReferenceId", fmt.Sprint(binary.BigEndian.Uint64(sum[:8])))
		if err != nil {
			return err
		}
		members[i] = named
	}
	var err error
	w.Doc.Body, err = arm.Set(w.Doc.Body, "properties.policyDefinitions", members)
	return err
}

func validateInitiative(w *provider.Write) []*arm.Error {
	errs := texts(w)
	if v := arm.GetString(w.Doc.Body, "properties.version"); !version.MatchString(v) {
		errs = append(errs, arm.BadRequest(string(policy.InvalidDefinition), "properties.version", "%q is not a version such as 1.2.0.", v))
	}
	set, err := policy.ParseInitiative(string(w.Doc.Body))
	if err != nil {
		return append(errs, problems(err, "")...)
	}
	if n := len(set.Members); n > maxMembers {
		return append(errs, arm.BadRequest(string(policy.InvalidDefinition), "properties.policyDefinitions", "The initiative has %d policies; at most %d are possible.", n, maxMembers))
	}
	if n := len(set.Parameters); n > maxInitiativeParameters && !w.ID.Scope().IsRoot() {
		errs = append(errs, arm.BadRequest(string(policy.InvalidDefinition), "properties.parameters", "The initiative has %d parameters; at most %d are possible.", n, maxInitiativeParameters))
	}
	found, _ := w.Loaded.(map[string]referred)
	for i, m := range set.Members {
		errs = append(errs, checkMember(w, set, m, found[strings.ToLower(m.DefinitionID)], index("properties.policyDefinitions", i))...)
	}
	if !w.ID.Scope().IsRoot() { // one of Azure's own has a default of another type
		errs = append(errs, defaults(set.Parameters)...)
	}
	return append(errs, updated(w, set.Parameters)...)
}

// checkMember checks one policy of an initiative against its definition.
func checkMember(w *provider.Write, set *policy.Initiative, m policy.Member, r referred, at string) (errs []*arm.Error) {
	if r.err != nil || !r.id.Type().Equal(assignment.TypeDefinition) {
		return []*arm.Error{arm.BadRequest("PolicyDefinitionNotFound", at+".policyDefinitionId",
			"The policy set definition references the policy definition '%s', which could not be found.", m.DefinitionID)}
	}
	if !builtinOrWithin(r.id, definitionScope(w.ID)) {
		errs = append(errs, arm.BadRequest("InvalidPolicyDefinitionReference", at+".policyDefinitionId",
			"The policy definition '%s' is not at or above the scope '%s'. Policy definitions can be used only there.", m.DefinitionID, definitionScope(w.ID)))
	}
	v, ok := assignment.PickMember(r.id, r.versions, m.Version)
	if !ok {
		return append(errs, arm.BadRequest("PolicyDefinitionVersionNotFound", at+".definitionVersion",
			"The policy definition '%s' has no version that fits '%s'.", m.DefinitionID, m.Version))
	}
	if _, exact := assignment.PickVersion(r.versions, m.Version); !exact {
		return errs // the parameters that the initiative gives are those of another version
	}
	declared, err := parametersOf(v.Body)
	if err != nil {
		return append(errs, problems(err, at)...)
	}
	return append(errs, checkMemberParameters(set, m, declared, at)...)
}

// definitionScope is where a definition, or a version of one, stands.
func definitionScope(id arm.ID) arm.ID { return id.Scope() }

// builtinOrWithin reports whether a definition may be used at a scope: built-ins
// everywhere, a subscription's only there. What a management group has is checked
// by the hierarchy when it is assigned.
func builtinOrWithin(definition, scope arm.ID) bool {
	at := definition.Scope()
	return at.IsRoot() || at.Kind() == arm.KindManagementGroup || at.Contains(scope)
}

func checkMemberParameters(set *policy.Initiative, m policy.Member, declared []policy.Parameter, at string) (errs []*arm.Error) {
	// What an expression gives is known when the initiative is assigned; a literal
	// is checked now.
	var literal []value.Field
	var dynamic []policy.Parameter
	for i := range m.Parameters.Len() {
		v := m.Parameters.At(i)
		if v.Kind() == value.String && expr.IsExpression(v.Str()) {
			if d, ok := (&policy.Definition{Parameters: declared}).ParameterNamed(m.Parameters.Key(i)); ok {
				dynamic = append(dynamic, d)
				continue
			}
		}
		literal = append(literal, value.Field{Key: m.Parameters.Key(i), Value: v})
	}
	var check []policy.Parameter
	for _, d := range declared {
		if _, ok := (&policy.Definition{Parameters: dynamic}).ParameterNamed(d.Name); !ok {
			check = append(check, d)
		}
	}
	errs = parameterProblems(check, policy.CheckParameters(check, value.FromFields(literal)), at)
	if _, err := set.MemberParameters(m, value.Value{}); err != nil {
		errs = append(errs, problems(err, "")...)
	}
	return errs
}
