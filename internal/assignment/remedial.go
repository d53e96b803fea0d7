package assignment

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/store"
)

// Remedial is what an assignment may put right, and what it takes to do so.
type Remedial struct {
	// Modifies and Deploys say that the assignment needs an identity: a policy has the
	// effect modify; a policy has the effect deployIfNotExists, or could have it.
	Modifies, Deploys bool
	// Roles are the ids of the roles that the identity needs, as the policies that
	// put something right name them; each once.
	Roles []string
}

// NeedsIdentity reports whether Azure takes the assignment only with an identity.
func (r Remedial) NeedsIdentity() bool { return r.Modifies || r.Deploys }

// Find is a definition's text in the version that a pattern asks for; nil if there is
// none. The error is of whoever was asked.
type Find func(id arm.ID, pattern string) (json.RawMessage, error)

// Stored finds definitions in the store.
func Stored(tx store.ReadTx) Find {
	r := &reading{compiler: newCompiler(nil), tx: tx}
	return func(id arm.ID, pattern string) (json.RawMessage, error) {
		v, err := r.pick(id, pattern)
		var text json.RawMessage
		if err == nil {
			text, _, err = r.body(v)
		}
		var wrong *definitionError
		if errors.As(err, &wrong) {
			return nil, nil
		}
		return text, err
	}
}

// Remedies is what an assignment may put right. What cannot be read of it, or is not
// there, puts nothing right. The error is find's.
func Remedies(spec Spec, find Find) (Remedial, error) {
	var r Remedial
	id, err := arm.ParseID(spec.PolicyDefinitionID)
	if err != nil {
		return r, nil
	}
	body, err := find(id, spec.DefinitionVersion)
	if err != nil || body == nil {
		return r, err
	}
	if !id.Type().Equal(TypeInitiative) {
		r.add(body, spec.Values(), spec.Overrides, "")
		return r, nil
	}
	set, err := policy.ParseInitiative(string(body))
	if err != nil {
		return r, nil
	}
	values := spec.Values()
	for _, m := range set.Members {
		id, err := arm.ParseID(m.DefinitionID)
		if err != nil {
			continue
		}
		body, err := find(id, spec.versionOf(m))
		if err != nil {
			return r, err
		}
		params, err := set.MemberParameters(m, values)
		if err != nil || body == nil {
			continue
		}
		r.add(body, params, spec.Overrides, m.ReferenceID)
	}
	return r, nil
}

// add looks at one policy with the values of its parameters.
func (r *Remedial) add(body json.RawMessage, params value.Value, overrides []Override, ref string) {
	def, err := policy.ParseDefinition(string(body))
	if err != nil {
		return
	}
	effects := []string{effectOf(def, params)}
	for _, o := range overrides {
		if strings.EqualFold(o.Kind, OverrideEffect) && concerns(o.Selectors, ref) {
			effects = append(effects, o.Value)
		}
	}
	deploys, modifies := acts(effects, policy.DeployIfNotExists, def, "deployment"), acts(effects, policy.Modify, def, "operations")
	r.Deploys = r.Deploys || deploys || !def.Details.Find(value.NewKey("deployment")).IsNothing()
	r.Modifies = r.Modifies || modifies
	if deploys || modifies {
		r.grant(def.Details.Find(value.NewKey("roleDefinitionIds")))
	}
}

// acts reports whether one of several effects is, or may turn out to be, one that puts
// things right: what only an evaluation tells is judged by what the details hold.
func acts(effects []string, family policy.Effect, def *policy.Definition, detail string) bool {
	return slices.ContainsFunc(effects, func(e string) bool {
		if e == "" {
			return !def.Details.Find(value.NewKey(detail)).IsNothing()
		}
		return policy.EffectNamed(e) == family
	})
}

func (r *Remedial) grant(roles value.Value) {
	if roles.Kind() != value.Array {
		return
	}
	for i := range roles.Len() {
		role := roles.At(i)
		same := func(known string) bool { return strings.EqualFold(known, role.Str()) }
		if role.Kind() == value.String && !slices.ContainsFunc(r.Roles, same) {
			r.Roles = append(r.Roles, role.Str())
		}
	}
}
