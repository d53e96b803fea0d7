package admission

import (
	"encoding/json"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/store"
)

// Decision is what the policies say about one write.
type Decision struct {
	// Body is the document that append and modify made; nil if it stays as it is.
	Body json.RawMessage
	// Denied is every policy that refuses it.
	Denied []Finding
	// Events are what there is to record: complete but for who and when.
	Events []Event
}

// Finding is one policy that has something to say.
type Finding struct {
	Unit        *assignment.Unit
	Effect      string // as the policy spells it
	Reason      string // when not the rule's comparisons are the reason
	Expressions []assignment.Expression
	Exemptions  []string
}

// deciding is one decision on its way.
type deciding struct {
	*Decision
	set        *assignment.Set
	world      *assignment.World
	doc        *store.Document
	apiVersion string
	subject    *assignment.Subject
	units      []*assignment.Unit // that look at the document
}

// Decide evaluates everything that is effective on a document that is about to be
// written. It changes nothing.
func Decide(set *assignment.Set, world *assignment.World, doc *store.Document, apiVersion string) (*Decision, error) {
	return decide(set, world, doc, apiVersion, false)
}

// decide is Decide, perhaps only for the policies that look at tags.
func decide(set *assignment.Set, world *assignment.World, doc *store.Document, apiVersion string, tagsOnly bool) (*Decision, error) {
	d := &deciding{Decision: &Decision{}, set: set, world: world, doc: doc, apiVersion: apiVersion}
	d.units = looking(set, doc)
	if tagsOnly {
		d.units = slices.DeleteFunc(d.units, func(u *assignment.Unit) bool { return !u.LooksAtTags() })
	}
	if len(d.units) == 0 {
		return d.Decision, nil
	}
	var err error
	if d.subject, err = world.Subject(doc, apiVersion); err != nil {
		return nil, err
	}
	if err := d.change(); err != nil {
		return nil, err
	}
	return d.Decision, d.judge()
}

// looking are the units that look at a document and can be evaluated.
func looking(set *assignment.Set, doc *store.Document) (units []*assignment.Unit) {
	for _, a := range set.At(doc.ARMID()) {
		if a.Problem != nil {
			continue // compliance reports it
		}
		for _, u := range a.Units {
			if u.Problem == nil && u.Looks(doc.Type, doc.Location) {
				units = append(units, u)
			}
		}
	}
	return units
}

// may reports whether a unit's effect can be one of the families.
func (d *deciding) may(u *assignment.Unit, families ...policy.Effect) bool {
	e := u.Effect(d.doc.Type, d.doc.Location)
	if e == "" {
		return true
	}
	for _, f := range families {
		if sameEffect(e, f) {
			return true
		}
	}
	return false
}

func (d *deciding) exempt(u *assignment.Unit) bool {
	return d.set.Exempt(u, d.subject.ID, d.doc.Type, d.doc.Location, d.world.Now) != nil
}

// change applies append and modify, all assignments' at once.
func (d *deciding) change() error {
	var wanted []policy.Assigned
	by := map[string]*assignment.Unit{}
	for _, u := range d.units {
		if !d.may(u, policy.Append, policy.Modify) {
			continue
		}
		v, _, err := u.Evaluate(d.subject)
		if err != nil {
			return err
		}
		if v.State != policy.Hit || v.Changes == nil || len(v.Changes.Operations) == 0 || d.exempt(u) {
			continue
		}
		d.event(u, v.Effect)
		if u.Assignment.Enforced {
			key := u.Assignment.ID.Key() + "\x00" + u.ReferenceID
			by[key] = u
			wanted = append(wanted, policy.Assigned{ID: key, Changes: v.Changes})
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	return d.make(wanted, by)
}

func (d *deciding) make(wanted []policy.Assigned, by map[string]*assignment.Unit) error {
	changed, conflicts := policy.Apply(d.subject.Resource, wanted...)
	for _, c := range conflicts {
		if strings.EqualFold(c.Effect, "deny") {
			u := by[c.ID]
			d.Denied = append(d.Denied, Finding{Unit: u, Effect: u.Effect(d.doc.Type, d.doc.Location),
				Reason: "The policy cannot change '" + c.Field + "': " + c.Reason + "."})
		}
	}
	body := json.RawMessage(changed.Root().AsPlain().JSON())
	if value.Same(changed.Root(), d.subject.Resource.Root()) {
		return nil
	}
	d.Body = body
	doc := *d.doc
	doc.Body = body
	d.doc = &doc
	var err error
	d.subject, err = d.world.Subject(d.doc, d.apiVersion)
	return err
}

// judge evaluates deny and audit on the document as it will be stored.
func (d *deciding) judge() error {
	for _, u := range d.units {
		if !d.may(u, policy.Deny, policy.Audit) {
			continue
		}
		v, _, err := u.Evaluate(d.subject)
		if err != nil {
			return err
		}
		if v.State == policy.Failed {
			d.failed(u, v)
			continue
		}
		if v.State != policy.Hit || v.Family != policy.Deny && v.Family != policy.Audit || d.exempt(u) {
			continue
		}
		d.event(u, v.Effect)
		if v.Family == policy.Deny && u.Assignment.Enforced {
			if err := d.deny(u, v.Effect); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *deciding) deny(u *assignment.Unit, effect string) error {
	_, tree, err := u.Explain(d.subject)
	if err != nil {
		return err
	}
	d.Denied = append(d.Denied, Finding{Unit: u, Effect: effect, Expressions: assignment.Expressions(tree)})
	return nil
}

// failed refuses a request when a rule that would deny this very type cannot be
// evaluated: Azure counts a failed evaluation as a refusal. A rule that looks at
// every type must not stop unrelated work by being broken; it leaves an event.
func (d *deciding) failed(u *assignment.Unit, v policy.Verdict) {
	effect := u.Effect(d.doc.Type, d.doc.Location)
	d.event(u, effect)
	d.Events[len(d.Events)-1].State = StateError
	if u.Types() != nil && u.Assignment.Enforced && sameEffect(effect, policy.Deny) && !d.exempt(u) {
		d.Denied = append(d.Denied, Finding{Unit: u, Effect: effect, Reason: "The policy could not be evaluated, which counts as a refusal: " + v.Problem.Error() + "."})
	}
}

// delete asks the denyAction units of one document.
func (d *Decision) delete(set *assignment.Set, world *assignment.World, doc *store.Document, how string) error {
	x := &deciding{Decision: d, set: set, world: world, doc: doc}
	for _, u := range looking(set, doc) {
		if !x.may(u, policy.DenyAction) {
			continue
		}
		if x.subject == nil {
			var err error
			if x.subject, err = world.Subject(doc, ""); err != nil {
				return err
			}
		}
		if err := x.denyDelete(u, how); err != nil {
			return err
		}
	}
	return nil
}

func (d *deciding) denyDelete(u *assignment.Unit, how string) error {
	v, _, err := u.Evaluate(d.subject)
	if err != nil || v.State != policy.Hit || v.Family != policy.DenyAction || d.exempt(u) {
		return err
	}
	if !forbidsDelete(u.Program(d.doc.Type, d.doc.Location).Definition(), how) {
		return nil
	}
	d.event(u, v.Effect)
	if u.Assignment.Enforced {
		return d.deny(u, v.Effect)
	}
	return nil
}

// forbidsDelete reads denyAction's details: which actions, and whether a delete of
// the group around the resource is refused too (by default it is let through).
func forbidsDelete(def *policy.Definition, how string) bool {
	names := def.Details.Find(value.NewKey("actionNames"))
	named := false
	for _, n := range names.Elems() {
		named = named || strings.EqualFold(n.Str(), "delete")
	}
	if how == "resource" || !named {
		return named
	}
	cascade := def.Details.Find(value.NewKey("cascadeBehaviors")).Find(value.NewKey(how))
	return strings.EqualFold(cascade.Str(), "deny")
}
