package policy

import (
	"fmt"

	"hallmark.dev/hallmark/internal/expr/value"
)

// Explanation is the tree of conditions of one evaluation.
type Explanation struct {
	Path     string         `json:"path"` // of the condition in the definition
	Kind     string         `json:"kind"` // allOf, anyOf, not, field, value, count, existence
	Held     bool           `json:"held"`
	Skipped  bool           `json:"skipped,omitempty"` // not needed for the outcome
	Failed   bool           `json:"failed,omitempty"`  // evaluating it ended in an error
	Unknown  bool           `json:"unknown,omitempty"` // it cannot be told yet; of a Forecast only
	Subject  string         `json:"subject,omitempty"` // the field, expression or counted array
	Address  string         `json:"address,omitempty"` // where the value stands in the document
	Operator string         `json:"operator,omitempty"`
	Wanted   *Value         `json:"wanted,omitempty"`
	Actual   *Value         `json:"actual,omitempty"`
	Missing  bool           `json:"missing,omitempty"` // there is no actual value
	Children []*Explanation `json:"children,omitempty"`
}

// Explain is Evaluate with the tree of what was compared. The verdict is the
// same; it takes longer.
func (p *Program) Explain(in Input) (Verdict, *Explanation) {
	v := p.Evaluate(in)
	if v.State == NotApplicable {
		return v, nil
	}
	c := newCompiler(p.def, p.options, false)
	plan := c.plan()
	f := newFrame(max(plan.slots, p.plan.slots), &in)
	f.remember(p.plan.fields, p.plan.groups)
	defer f.release()
	tree, o := plan.rule.explain(f)
	if o == yes && plan.existence != nil && v.State != Failed && plan.details.shape == existenceShape {
		p.explainExistence(tree, plan, f, in)
	}
	return v, tree
}

// explainExistence adds what the existence condition found on each related
// resource, asking for them once more.
func (p *Program) explainExistence(tree *Explanation, plan *plan, f *frame, in Input) {
	repeat, ok := in.Related.(interface{ Repeat() Related })
	if !ok {
		return
	}
	q, ok := f.query(p, in.Resource)
	if !ok {
		return
	}
	found, err := repeat.Repeat().FindRelated(q)
	if err != nil {
		return
	}
	for _, r := range found {
		f.doc = r
		node, o := plan.existence.explain(f)
		tree.Children = append(tree.Children, &Explanation{Path: p.def.detailsPath() + ".existenceCondition", Kind: "existence",
			Subject: r.ID(), Held: o == yes, Failed: o == failed, Children: []*Explanation{node}})
		if o == yes {
			break
		}
	}
	f.doc = in.Resource
}

func explained(from *Constraint, o outcome) *Explanation {
	return &Explanation{Path: from.Path, Kind: from.Kind.String(), Held: o == yes, Failed: o == failed}
}

func skipped(from *Constraint) *Explanation {
	e := explained(from, no)
	e.Skipped = true
	switch from.Kind {
	case FieldCondition:
		e.Subject = from.Field
	case ValueCondition:
		e.Subject = from.Value.JSON()
	case CountCondition:
		e.Subject = from.Count.subject()
	}
	if from.Kind >= FieldCondition {
		e.Operator = from.Operator.String()
	}
	for _, child := range from.Children {
		e.Children = append(e.Children, skipped(child))
	}
	return e
}

func (c *Count) subject() string {
	if c.Value.IsUndefined() {
		return c.Field
	}
	return c.Value.JSON()
}

func (t fixed) explain(*frame) (*Explanation, outcome) {
	return &Explanation{Held: t.held}, outcomeOf(t.held)
}

func (t *junction) explain(f *frame) (*Explanation, outcome) {
	result := yes - t.decisive
	var children []*Explanation
	done := false
	for i, part := range t.parts {
		if done {
			children = append(children, skipped(t.from.Children[i]))
			continue
		}
		child, o := part.explain(f)
		children = append(children, child)
		if o == t.decisive || o == failed {
			result, done = o, true
		}
	}
	e := explained(t.from, result)
	e.Children = children
	return e, result
}

func (t *negation) explain(f *frame) (*Explanation, outcome) {
	child, o := t.part.explain(f)
	e := explained(t.from, o.negated())
	e.Children = []*Explanation{child}
	return e, o.negated()
}

// leaf explains one comparison.
func leaf(from *Constraint, o outcome, subject string, l, r Value) *Explanation {
	e := explained(from, o)
	e.Subject, e.Operator = subject, from.Operator.String()
	if !r.IsUndefined() {
		e.Wanted = &r
	}
	if l.IsUndefined() {
		e.Missing = true
	} else {
		e.Actual = &l
	}
	return e
}

// operandOf evaluates an operand for display only.
func operandOf(f *frame, o *operand) Value {
	quiet := *f
	quiet.env.Host = &quiet
	v, _ := o.value(&quiet, "")
	return v
}

func (t *fieldTest) explain(f *frame) (*Explanation, outcome) {
	o := t.eval(f)
	e := leaf(t.from, o, t.ref.name, *t.ref.value(f), operandOf(f, &t.with.operand))
	e.Address = t.ref.address(f)
	return e, o
}

// address is where a ref's value stands in the document.
func (r *ref) address(f *frame) string {
	switch r.special {
	case specialTag:
		return "tags['" + r.tag.Name + "']"
	case bySpecialNone:
		if p := r.pathFor(r.document(f)); p != nil {
			return p.path.String()
		}
	}
	return ""
}

func (t *wildTest) explain(f *frame) (*Explanation, outcome) {
	r, ok := t.with.operand.value(f, t.with.path)
	if !ok {
		return leaf(t.from, failed, t.ref.name, Value{}, Value{}), failed
	}
	o := t.eval(f)
	start, groups := t.ref.groups(f)
	children := t.elements(f, nil, start, groups, &r)
	e := leaf(t.from, o, t.ref.name, Value{}, r)
	e.Missing, e.Address, e.Children = false, t.ref.address(f), children
	return e, o
}

// elements shows the comparisons up to the first that does not hold.
func (t *wildTest) elements(f *frame, shown []*Explanation, start *Value, groups path, r *Value) []*Explanation {
	v := value.Walk(start, groups[0])
	if len(groups) == 1 {
		held := outcomeOf(t.with.holds(f, v, r))
		return append(shown, leaf(t.from, held, fmt.Sprintf("%s (element %d)", t.ref.name, len(shown)), *v, *r))
	}
	if v.Kind() != value.Array {
		return t.elements(f, shown, &null, groups[1:], r)
	}
	elems := v.Elems()
	for i := range elems {
		if n := len(shown); n >= maxExplained || n > 0 && !shown[n-1].Held {
			break
		}
		shown = t.elements(f, shown, &elems[i], groups[1:], r)
	}
	return shown
}

// maxExplained bounds how many elements of an array are shown.
const maxExplained = 50

func (t *choiceTest) explain(f *frame) (*Explanation, outcome) {
	part, o := t.pick(f)
	if part == nil {
		return leaf(t.from, o, t.from.Field, Value{}, Value{}), o
	}
	return part.explain(f)
}

func (t *valueTest) explain(f *frame) (*Explanation, outcome) {
	o := t.eval(f)
	return leaf(t.from, o, t.from.Value.JSON(), operandOf(f, &t.left), operandOf(f, &t.with.operand)), o
}

func (t *countTest) explain(f *frame) (*Explanation, outcome) {
	n, ok := t.count(f)
	if !ok {
		return leaf(t.from, failed, t.from.Count.subject(), Value{}, Value{}), failed
	}
	r, ok := t.with.operand.value(f, t.with.path)
	if !ok {
		return leaf(t.from, failed, t.from.Count.subject(), value.FromInt(int64(n)), Value{}), failed
	}
	l := value.FromInt(int64(n))
	o := outcomeOf(t.with.holds(f, &l, &r))
	e := leaf(t.from, o, t.from.Count.subject(), l, r)
	if t.where != nil {
		e.Children = t.explainWhere(f)
	}
	return e, o
}

// explainWhere shows where for the elements that were looked at.
func (t *countTest) explainWhere(f *frame) []*Explanation {
	var shown []*Explanation
	counting := *t
	counting.where = recorder{t.where, &shown}
	quiet := *f
	quiet.elems = append([]*Value(nil), f.elems...)
	quiet.env.Host = &quiet
	counting.count(&quiet)
	return shown
}

// recorder keeps the explanations of a test that is evaluated repeatedly.
type recorder struct {
	test
	shown *[]*Explanation
}

func (r recorder) eval(f *frame) outcome {
	if len(*r.shown) >= maxExplained {
		return r.test.eval(f)
	}
	e, o := r.test.explain(f)
	*r.shown = append(*r.shown, e)
	return o
}
