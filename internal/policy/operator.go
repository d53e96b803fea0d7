package policy

import (
	"hallmark.dev/hallmark/internal/expr/value"
)

// Operator is one of the nineteen operators of a condition.
type Operator uint8

// The operators.
const (
	Equals Operator = iota
	NotEquals
	Greater
	GreaterOrEquals
	Less
	LessOrEquals
	In
	NotIn
	Contains
	NotContains
	ContainsKey
	NotContainsKey
	LikeOperator
	NotLike
	Match
	NotMatch
	MatchInsensitively
	NotMatchInsensitively
	Exists
)

var operatorNames = [...]string{"equals", "notEquals", "greater", "greaterOrEquals", "less", "lessOrEquals", "in", "notIn",
	"contains", "notContains", "containsKey", "notContainsKey", "like", "notLike", "match", "notMatch",
	"matchInsensitively", "notMatchInsensitively", "exists"}

func (o Operator) String() string { return operatorNames[o] }

// operatorNamed finds an operator by its name in lower case.
func operatorNamed(name string) (Operator, bool) {
	for i, n := range operatorNames {
		if value.EqualASCII(n, name) {
			return Operator(i), true
		}
	}
	return 0, false
}

// compare is what each operator means; l may be Undefined where a property of an
// array's element is missing, r where a parameter has no value.
var compare = [...]func(l, r Value) bool{
	Equals:                value.Equal,
	NotEquals:             func(l, r Value) bool { return !value.Equal(l, r) },
	Greater:               ordered(func(o int) bool { return o > 0 }),
	GreaterOrEquals:       ordered(func(o int) bool { return o >= 0 }),
	Less:                  ordered(func(o int) bool { return o < 0 }),
	LessOrEquals:          ordered(func(o int) bool { return o <= 0 }),
	In:                    value.In,
	NotIn:                 func(l, r Value) bool { return !value.In(l, r) },
	Contains:              value.Contains,
	NotContains:           negatedUnlessMissing(value.Contains),
	ContainsKey:           value.ContainsKey,
	NotContainsKey:        negatedUnlessMissing(value.ContainsKey),
	LikeOperator:          like,
	NotLike:               func(l, r Value) bool { return !like(l, r) },
	Match:                 match(func(s string) string { return s }),
	NotMatch:              not(match(func(s string) string { return s })),
	MatchInsensitively:    match(value.Fold),
	NotMatchInsensitively: not(match(value.Fold)),
	Exists:                exists,
}

func ordered(holds func(int) bool) func(l, r Value) bool {
	return func(l, r Value) bool {
		order, ok := value.Compare(l, r)
		return ok && holds(order)
	}
}

func not(f func(l, r Value) bool) func(l, r Value) bool {
	return func(l, r Value) bool { return !f(l, r) }
}

// negatedUnlessMissing is plain negation, except that with a missing operand
// both the operator and its negation are false (but for a missing left value).
func negatedUnlessMissing(f func(l, r Value) bool) func(l, r Value) bool {
	return func(l, r Value) bool {
		if r.IsUndefined() {
			return l.IsUndefined()
		}
		return !f(l, r)
	}
}

func like(l, r Value) bool {
	text, ok1 := l.Text()
	pattern, ok2 := r.Text()
	return ok1 && ok2 && value.NewLike(pattern).Match(text)
}

func match(prepare func(string) string) func(l, r Value) bool {
	return func(l, r Value) bool {
		text, ok1 := l.Text()
		pattern, ok2 := r.Text()
		return ok1 && ok2 && value.MatchPattern(prepare(pattern), prepare(text))
	}
}

// exists wants a boolean or its text; anything else counts as false.
func exists(l, r Value) bool {
	want := r.IsTrue() || r.Kind() == value.String && value.EqualASCII(r.Str(), "true")
	return want != l.IsNothing()
}

// comparison is an operator with its operand, specialised for the operands that
// rules mostly have.
type comparison struct {
	kind     comparisonKind
	negated  bool
	operator Operator
	text     string
	like     value.Like
	set      *value.Set
	operand  operand
	path     string // JSON path of the operand
}

type comparisonKind uint8

const (
	byOperator comparisonKind = iota // the general case
	byText                           // equals a constant text
	byLike                           // like a constant pattern
	bySet                            // in a constant array
	byPresence                       // exists with a constant
	byAnyText                        // equals one of several constant texts
)

func newComparison(op Operator, r operand, path string) *comparison {
	c := &comparison{operator: op, operand: r, path: path}
	if r.code != nil {
		return c
	}
	v := r.constant
	switch {
	case (op == Equals || op == NotEquals) && v.Kind() == value.String:
		c.kind, c.text, c.negated = byText, v.Str(), op == NotEquals
	case (op == LikeOperator || op == NotLike) && v.Kind() == value.String:
		c.kind, c.like, c.negated = byLike, value.NewLike(v.Str()), op == NotLike
	case (op == In || op == NotIn) && v.Kind() == value.Array && v.Len() > 3:
		c.kind, c.set, c.negated = bySet, value.NewSet(v), op == NotIn
	case op == Exists:
		c.kind, c.negated = byPresence, !exists(value.FromBool(true), v)
	}
	return c
}

// holds compares l with r, which must be the operand's value.
func (c *comparison) holds(f *frame, l, r *Value) bool {
	switch c.kind {
	case byText:
		if l.Kind() == value.String {
			return (l.Str() == c.text || value.EqualFold(l.Str(), c.text)) != c.negated
		}
	case byLike:
		if l.Kind() == value.String {
			return c.like.Match(l.Str()) != c.negated
		}
	case bySet:
		return c.set.Has(*l) != c.negated
	case byPresence:
		return l.IsNothing() == c.negated
	case byAnyText:
		return c.set.HasEqual(*l) != c.negated
	}
	held := compare[c.operator](*l, *r)
	if !held && c.operator >= Greater && c.operator <= LessOrEquals {
		f.noteIncomparable(c, l, r)
	}
	return held
}
