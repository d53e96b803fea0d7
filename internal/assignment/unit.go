package assignment

import (
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy"
)

// Unit is one rule of an assignment: the assigned definition itself, or one policy
// of the assigned initiative.
type Unit struct {
	Assignment        *Assignment
	Index             int    // among the assignment's units
	ReferenceID       string // in the initiative; "" for a definition
	DefinitionID      string
	DefinitionVersion string
	Groups            []string
	// Problem says why the rule cannot be evaluated; nil if it can.
	Problem error

	rule
	variants []variant // overrides that hold for some resources only
}

// rule is a compiled definition with the values of an assignment.
type rule struct {
	program *policy.Program
	// effect is what the definition asks for with these parameters, as written; ""
	// if only an evaluation tells.
	effect string
	types  map[string]bool // in lower case; nil: any
	// what evaluating needs besides the document
	needsContext, needsTime, needsFacts, needsRelated bool
	tags                                              bool   // the rule mentions tags
	related                                           string // the type looked for, in lower case; "" if computed
	beyond                                            bool   // the group of the resource
	delay                                             policy.Delay
}

type variant struct {
	when []Selector
	rule rule
}

// rule is what holds for a resource; a nil program that the unit leaves it out.
func (u *Unit) ruleFor(t target) *rule {
	for i := range u.variants {
		if holds(u.variants[i].when, t) {
			return &u.variants[i].rule
		}
	}
	return &u.rule
}

// Looks reports whether the unit looks at resources of this type and location: its
// rule can hold for the type, and the assignment's selectors let it through.
func (u *Unit) Looks(typ arm.Type, location string) bool {
	t := target{location: location, typ: typ, ref: u.ReferenceID}
	if !selects(u.Assignment.Spec.ResourceSelectors, t) {
		return false
	}
	r := u.ruleFor(t)
	return r.types == nil || r.types[typ.Key()]
}

// Effect is the effect that the unit has on a resource, as written; "" if only an
// evaluation tells.
func (u *Unit) Effect(typ arm.Type, location string) string {
	return u.ruleFor(target{location: location, typ: typ, ref: u.ReferenceID}).effect
}

// Types are the resource types that the unit can look at, in lower case; nil: any.
func (u *Unit) Types() []string {
	if u.rule.types == nil {
		return nil
	}
	var out []string
	for t := range u.rule.types {
		out = append(out, t)
	}
	return out
}

// NeedsTime reports whether verdicts change as time goes by.
func (u *Unit) NeedsTime() bool { return u.needsTime }

// NeedsFacts reports whether the rule reads facts of image lineage.
func (u *Unit) NeedsFacts() bool { return u.needsFacts }

// LooksFor reports whether the rule may look for related resources of a type.
func (u *Unit) LooksFor(typ arm.Type) bool {
	return u.needsRelated && (u.related == "" || u.related == typ.Key())
}

// Program is the compiled rule for a resource; nil if there is a Problem.
func (u *Unit) Program(typ arm.Type, location string) *policy.Program {
	return u.ruleFor(target{location: location, typ: typ, ref: u.ReferenceID}).program
}

// analyse finds out what a rule needs.
func analyse(p *policy.Program, def *policy.Definition, text string, params policy.Value) rule {
	lower := strings.ToLower(text)
	r := rule{program: p, effect: effectOf(def, params), needsTime: strings.Contains(lower, "utcnow("),
		needsFacts: strings.Contains(lower, "hallmark.image/") || strings.Contains(lower, "hallmark.guest/")}
	for _, f := range []string{"resourcegroup(", "subscription(", "requestcontext(", "policy(", "utcnow(", "claims("} {
		r.needsContext = r.needsContext || strings.Contains(lower, f)
	}
	if types := p.Types(); types != nil {
		r.types = map[string]bool{}
		for _, t := range types {
			r.types[strings.ToLower(canonicalType(t))] = true
		}
	}
	if policyRule, ok := arm.Get([]byte(text), "properties.policyRule"); ok {
		lower = strings.ToLower(string(policyRule)) // parameters' descriptions and metadata do not count
	}
	r.tags = strings.Contains(lower, "tags")
	r.lookFor(def)
	if d := def.Details.Find(value.NewKey("evaluationDelay")); d.Kind() == value.String {
		r.delay, _ = policy.ParseDelay(literal(def, params, d.Str())) // a wrong one is as good as none; lint names it
	}
	return r
}

// canonicalType is the store's name of a type: policies know resource groups under
// their subscription.
func canonicalType(t string) string {
	if strings.EqualFold(t, policyGroupType) {
		return string(arm.TypeResourceGroup)
	}
	return t
}

// LooksAtTags reports whether the rule reads or writes tags.
func (u *Unit) LooksAtTags() bool { return u.tags }

// NeedsContext reports whether the rule asks for properties of the group or the
// subscription around a resource.
func (u *Unit) NeedsContext() bool { return u.needsContext }

// LooksBeyondGroup reports whether related resources may be in another group than
// the resource that looks for them.
func (u *Unit) LooksBeyondGroup() bool { return u.beyond }

// Delay is when after a write the unit looks for related resources of what was written.
func (u *Unit) Delay(typ arm.Type, location string) policy.Delay {
	return u.ruleFor(target{location: location, typ: typ, ref: u.ReferenceID}).delay
}

// Deployment is what the unit's deployIfNotExists deploys for a resource.
func (u *Unit) Deployment(s *Subject) (policy.Deployment, error) {
	in, err := u.input(s)
	if err != nil {
		return policy.Deployment{}, err
	}
	return u.Program(s.Type, s.Location).Deployment(in)
}
