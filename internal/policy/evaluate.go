package policy

import (
	"fmt"

	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy/alias"
)

const modifiableForbidden = alias.Forbidden

// Input is what a rule is evaluated over.
type Input struct {
	Resource *Resource
	// Context is an object with what the rule's functions may ask: resourceGroup,
	// subscription, requestContext, policy, claims, and utcNow as a value.
	Context Value
	// Related answers existence checks; nil means that nothing is found.
	Related Related
}

// Related finds related resources for auditIfNotExists and deployIfNotExists.
type Related interface {
	// FindRelated returns the resources that the query asks for; none is no error.
	FindRelated(Query) ([]*Resource, error)
}

// Query describes the related resources that an existence check asks for. Empty
// members do not restrict.
type Query struct {
	Primary           *Resource
	Type              string
	Name              string
	Kind              string
	ResourceGroupName string
	ExistenceScope    string // resourceGroup (the default) or subscription
}

// State is what an evaluation came to.
type State uint8

// The states. Only Hit means that the effect applies.
const (
	None          State = iota // the rule does not hold, or its effect is disabled
	Hit                        // the effect applies
	NotApplicable              // the definition's mode leaves this resource out
	Failed                     // evaluation failed: neither compliant nor not
)

var stateNames = [...]string{"none", "effect", "notApplicable", "error"}

func (s State) String() string { return stateNames[s] }

// Verdict is the result of one evaluation.
type Verdict struct {
	State   State
	Effect  string // as written in the rule or parameter; with Hit
	Family  Effect // what the effect is; with Hit
	Details Value  // what the effect needs, expressions evaluated; Undefined if nothing
	// Changes are what modify and append do to the document.
	Changes *Changes
	// Reason says why a resource is not applicable, or the effect disabled.
	Reason      string
	Problem     *Problem // with Failed
	Diagnostics []Diagnostic
}

// Evaluate evaluates the rule.
func (p *Program) Evaluate(in Input) Verdict {
	if reason := p.excludes(in.Resource); reason != "" {
		return Verdict{State: NotApplicable, Reason: reason}
	}
	if p.disabled {
		return Verdict{State: None, Reason: "the effect is disabled"}
	}
	f := newFrame(p.plan.slots, &in)
	f.remember(p.plan.fields, p.plan.groups)
	defer f.release()
	return f.verdict(p, p.plan.rule.eval(f), &in)
}

// verdict turns the outcome of the rule into a verdict.
func (f *frame) verdict(p *Program, o outcome, in *Input) Verdict {
	var v Verdict
	if o == yes {
		v = f.applied(p, in)
	}
	if f.problem != nil {
		v = Verdict{State: Failed, Problem: p.positioned(f.problem)}
	}
	v.Diagnostics = f.notes
	return v
}

// positioned completes a problem with what the definition's text tells.
func (p *Program) positioned(problem *Problem) *Problem {
	if problem.Path == "" {
		problem.Path = p.def.rulePath
	}
	return problem
}

// applied evaluates the effect of a rule that holds.
func (f *frame) applied(p *Program, in *Input) Verdict {
	name, ok := p.plan.effect.value(f, p.plan.effectPath)
	if !ok {
		return Verdict{}
	}
	if name.Kind() != value.String {
		f.fail(p.plan.effectPath, fmt.Errorf("the effect is the %s, not text; is a parameter missing?", name.Kind()))
		return Verdict{}
	}
	v := Verdict{State: Hit, Effect: name.Str(), Family: p.plan.family}
	if p.plan.effect.code != nil {
		v.Family = EffectNamed(v.Effect)
	}
	if v.Family == Disabled {
		return Verdict{State: None, Reason: "the effect is disabled"}
	}
	f.details(p, &v, in)
	return v
}

// details evaluates what the effect needs.
func (f *frame) details(p *Program, v *Verdict, in *Input) {
	d := &p.plan.details
	s := d.shape
	if !d.effectFixed && v.Family != Other {
		s = shapeFor(v.Family, d, p.def.existence != nil)
		if s != bareShape && s != d.shape {
			f.fail(p.def.detailsPath(), fmt.Errorf("the details do not fit the effect %s", v.Effect))
			return
		}
	}
	switch s {
	case existenceShape:
		f.existence(p, v, in)
	case modifyShape, appendShape:
		f.operations(p, v, s)
	}
}

// existence looks for related resources. The effect applies unless one of them
// meets the existence condition.
func (f *frame) existence(p *Program, v *Verdict, in *Input) {
	d := &p.plan.details
	q, ok := f.query(p, in.Resource)
	if !ok {
		return
	}
	if in.Related != nil {
		found, err := in.Related.FindRelated(q)
		if err != nil {
			f.fail(p.def.detailsPath(), fmt.Errorf("looking for the related %s: %w", q.Type, err))
			return
		}
		if satisfied, ok := f.anyMeets(p.plan.existence, found); !ok {
			return
		} else if satisfied {
			*v = Verdict{State: None, Reason: d.existence.exists}
			if !d.existence.constant {
				v.Reason = existsReason(q.Type)
			}
			return
		}
	}
	if v.Details = d.existence.details; !d.existence.constant {
		v.Details = existenceEmits(q.Type, d)
	}
}

// query evaluates what to look for.
func (f *frame) query(p *Program, primary *Resource) (Query, bool) {
	e := &p.plan.details.existence
	q := e.query
	q.Primary = primary
	if e.constant {
		return q, true
	}
	ok := f.queryText(e, &e.typ, "type", &q.Type) && f.queryText(e, &e.name, "name", &q.Name) && f.queryText(e, &e.kind, "kind", &q.Kind) &&
		f.queryText(e, &e.resourceGroup, "resourceGroupName", &q.ResourceGroupName) && f.queryText(e, &e.scope, "existenceScope", &q.ExistenceScope)
	return q, ok
}

// queryText evaluates one member of the details; one that is absent stays empty.
func (f *frame) queryText(e *existenceDetails, from *operand, key string, into *string) bool {
	v := from.constant
	if from.code != nil {
		var err error
		if v, err = from.code(&f.env); err != nil {
			f.fail(join(e.path, key), err)
			return false
		}
	}
	if v.Kind() != value.String && (from.code != nil || !v.IsUndefined()) {
		f.fail(join(e.path, key), fmt.Errorf("%s must be text, not the %s", key, v.Kind()))
		return false
	}
	*into = v.Str()
	return true
}

// anyMeets reports whether one of the related resources meets the existence
// condition, if there is one; ok is false when evaluating failed.
func (f *frame) anyMeets(condition test, found []*Resource) (met, ok bool) {
	primary := f.doc
	defer func() { f.doc = primary }()
	for _, r := range found {
		if condition == nil {
			return true, true
		}
		f.doc = r
		switch condition.eval(f) {
		case yes:
			return true, true
		case failed:
			return false, false
		}
	}
	return false, true
}
