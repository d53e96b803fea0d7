package policy

import (
	"hallmark.dev/hallmark/internal/expr/value"
)

// outcome is what a test comes to. failed means that an error is in the frame.
type outcome uint8

const (
	no outcome = iota
	yes
	failed
)

func outcomeOf(held bool) outcome {
	if held {
		return yes
	}
	return no
}

// test is a compiled constraint.
type test interface {
	eval(f *frame) outcome
	// explain evaluates, and says how it came to the outcome.
	explain(f *frame) (*Explanation, outcome)
}

// fixed is a constraint that constants decide.
type fixed struct{ held bool }

func (t fixed) eval(*frame) outcome { return outcomeOf(t.held) }

// junction is allOf (which a no decides) or anyOf (which a yes decides).
type junction struct {
	from     *Constraint
	decisive outcome
	parts    []test
}

func (t *junction) eval(f *frame) outcome {
	for _, part := range t.parts {
		if o := part.eval(f); o == t.decisive || o == failed {
			return o
		}
	}
	return yes - t.decisive
}

// negation is not.
type negation struct {
	from *Constraint
	part test
}

func (t *negation) eval(f *frame) outcome { return t.part.eval(f).negated() }

func (o outcome) negated() outcome {
	if o == failed {
		return failed
	}
	return yes - o
}

var null = value.NullValue

// fieldTest compares a field without [*]. What is missing counts as null.
type fieldTest struct {
	from *Constraint
	ref  *ref
	with *comparison
}

func (t *fieldTest) eval(f *frame) outcome {
	if t.with.operand.code == nil {
		l := t.ref.value(f)
		if l.IsUndefined() {
			l = &null
		}
		return outcomeOf(t.with.holds(f, l, &t.with.operand.constant))
	}
	r, ok := t.with.operand.value(f, t.with.path)
	if !ok {
		return failed
	}
	l := t.ref.value(f)
	if l.IsUndefined() {
		l = &null
	}
	return outcomeOf(t.with.holds(f, l, &r))
}

// typeTest compares the document's type with a constant.
type typeTest struct {
	fieldTest
	key typeKey
}

func (t *typeTest) eval(f *frame) outcome {
	doc := t.ref.document(f)
	if doc.typeIsText {
		return outcomeOf((doc.typeKey == t.key) != t.with.negated)
	}
	return t.fieldTest.eval(f)
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// wildTest compares a field with [*]: every element must hold.
type wildTest struct {
	from *Constraint
	ref  *ref
	with *comparison
}

func (t *wildTest) eval(f *frame) outcome {
	r, ok := t.with.operand.value(f, t.with.path)
	if !ok {
		return failed
	}
	start, groups := t.ref.groups(f)
	return f.every(start, groups, t.with, &r)
}

// every compares the value behind every element. An array that is missing, or is
// no array, stands for one null element; a property that an element lacks is
// Undefined.
func (f *frame) every(start *Value, groups path, with *comparison, r *Value) outcome {
	v := value.Walk(start, groups[0])
	if len(groups) == 1 {
		return outcomeOf(with.holds(f, v, r))
	}
	if v.Kind() != value.Array {
		return f.every(&null, groups[1:], with, r)
	}
	elems := v.Elems()
	for i := range elems {
		if !f.step() {
			f.fail(with.path, errBudget)
			return failed
		}
		if o := f.every(&elems[i], groups[1:], with, r); o != yes {
			return o
		}
	}
	return yes
}

// choiceTest compares a field that is decided when evaluating.
type choiceTest struct {
	from   *Constraint
	choice *fieldChoice
	one    test // when the choice is between two refs
	other  test
	with   *comparison
}

func (t *choiceTest) eval(f *frame) outcome {
	part, o := t.pick(f)
	if part == nil {
		return o
	}
	return part.eval(f)
}

// pick returns the test to apply; nil means that choosing failed.
func (t *choiceTest) pick(f *frame) (test, outcome) {
	if t.one == nil {
		name, ok := t.choice.tag.value(f, t.from.leftPath)
		if !ok {
			return nil, failed
		}
		tag, ok := tagName(name.Str())
		if !ok {
			return &fieldTest{from: t.from, ref: &ref{name: name.Str(), slot: -1, paths: []typedPath{{onePath: newOnePath(path{{{Key: keyTags, Index: -1}}})}}}, with: t.with}, no
		}
		return &fieldTest{from: t.from, ref: &ref{name: name.Str(), slot: -1, special: specialTag, tag: value.NewKey(tag)}, with: t.with}, no
	}
	v, ok := t.choice.condition.value(f, t.from.leftPath)
	switch {
	case !ok:
		return nil, failed
	case v.IsTrue():
		return t.one, no
	}
	return t.other, no
}

// valueTest compares a value. When that does not exist the condition does not
// hold, whatever the operator.
type valueTest struct {
	from *Constraint
	left operand
	with *comparison
}

func (t *valueTest) eval(f *frame) outcome {
	l, ok := t.left.value(f, t.from.leftPath)
	if !ok {
		return failed
	}
	r, ok := t.with.operand.value(f, t.with.path)
	if !ok {
		return failed
	}
	return outcomeOf(!l.IsUndefined() && t.with.holds(f, &l, &r))
}

// countTest compares a number of elements.
type countTest struct {
	from  *Constraint
	ref   *ref    // field count
	left  operand // value count
	slot  int     // of the first [*]
	where test    // nil: all elements
	most  int     // the answer is known as soon as more are counted; -1: count all
	with  *comparison
}

func (t *countTest) eval(f *frame) outcome {
	n, ok := t.count(f)
	if !ok {
		return failed
	}
	r, ok := t.with.operand.value(f, t.with.path)
	if !ok {
		return failed
	}
	l := value.FromInt(int64(n))
	return outcomeOf(t.with.holds(f, &l, &r))
}

func (t *countTest) count(f *frame) (int, bool) {
	n := 0
	if t.ref != nil {
		start, groups := t.ref.groups(f)
		ok := t.countIn(f, start, groups, t.slot, &n)
		return n, ok
	}
	v, ok := t.left.value(f, t.from.Count.path)
	if !ok {
		return 0, false
	}
	ok = t.elements(f, &v, path{nil, nil}, t.slot, &n)
	return n, ok
}

func (t *countTest) countIn(f *frame, start *Value, groups path, slot int, n *int) bool {
	return t.elements(f, value.Walk(start, groups[0]), groups, slot, n)
}

// elements counts in an array; anything else has no elements.
func (t *countTest) elements(f *frame, v *Value, groups path, slot int, n *int) bool {
	innermost := len(groups) == 2
	if innermost && t.where == nil {
		*n += len(v.Elems())
		return true
	}
	elems := v.Elems()
	for i := range elems {
		if !f.step() {
			f.fail(t.from.Count.path, errBudget)
			return false
		}
		f.elems[slot] = &elems[i]
		if !innermost {
			if !t.countIn(f, &elems[i], groups[1:], slot+1, n) {
				return false
			}
		} else if o := t.where.eval(f); o == yes {
			*n++
		} else if o == failed {
			return false
		}
		if t.most >= 0 && *n > t.most {
			return true
		}
	}
	return true
}
