package kql

import (
	"slices"
	"strings"
)

// compiler makes a function of an expression. needs collects the input's columns
// that it asks for.
type compiler struct {
	scope *scope
	seg   *segment
	needs needs
	aggs  *aggregation // of a summarize, whose calls of aggregates are allowed
}

func (c *compiler) expr(x expr) (eval, error) {
	switch x := x.(type) {
	case *literalExpr:
		v := x.value
		return func(*frame) Value { return v }, nil
	case *nameExpr:
		col, err := c.column(x)
		if err != nil {
			return nil, err
		}
		return col.get, nil
	case *memberExpr, *indexExpr:
		return c.path(x)
	case *callExpr:
		return c.call(x)
	case *unaryExpr:
		return c.negative(x)
	case *binaryExpr:
		return c.binary(x)
	case *betweenExpr:
		return c.between(x)
	case *listExpr:
		return nil, errorAt(CodeParserFailure, x.tok, "a list is possible only behind in, has_any and has_all")
	}
	return nil, errorAt(CodeParserFailure, x.at(), "'*' is not possible here")
}

func (c *compiler) column(x *nameExpr) (scopeColumn, error) {
	col, ok := c.scope.find(x.name)
	if !ok {
		return col, errorAt(CodeSemantic, x.tok, "there is no column '%s' here; the columns are %s", x.name, c.scope.names())
	}
	c.needs.add(col.needs)
	return col, nil
}

func (s *scope) names() string {
	var all []string
	for i, col := range s.columns {
		if i == 40 {
			all = append(all, "…")
			break
		}
		all = append(all, col.name)
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

// path is properties.x['y'][0]: known steps are taken at once, without making what
// lies between.
func (c *compiler) path(x expr) (eval, error) {
	var steps []step
	base := x
	for {
		s, next, ok := constantStep(base)
		if !ok {
			break
		}
		steps, base = append(steps, s), next
	}
	slices.Reverse(steps)
	if i, ok := base.(*indexExpr); ok {
		return c.computed(i, steps)
	}
	if name, ok := base.(*nameExpr); ok {
		col, err := c.column(name)
		if err != nil {
			return nil, err
		}
		if i := col.base; i >= 0 {
			return func(f *frame) Value { return f.row.path(i, steps) }, nil
		}
		get := col.get
		return func(f *frame) Value { return walk(get(f), steps) }, nil
	}
	get, err := c.expr(base)
	return func(f *frame) Value { return walk(get(f), steps) }, err
}

func constantStep(x expr) (step, expr, bool) {
	switch x := x.(type) {
	case *memberExpr:
		return step{name: x.name}, x.base, true
	case *indexExpr:
		i := x.index
		sign := int64(1)
		if u, ok := i.(*unaryExpr); ok {
			i, sign = u.x, -1
		}
		if l, ok := i.(*literalExpr); ok && l.value.kind == KindLong {
			return step{index: int(sign * l.value.n), at: true}, x.base, true
		}
	}
	return step{}, nil, false
}

// computed is base[expression], and constant steps behind it.
func (c *compiler) computed(x *indexExpr, steps []step) (eval, error) {
	base, err := c.expr(x.base)
	if err != nil {
		return nil, err
	}
	index, err := c.expr(x.index)
	return func(f *frame) Value {
		switch i := index(f); i.kind {
		case KindString:
			return walk(walk(base(f), []step{{name: i.s}}), steps)
		case KindLong:
			return walk(walk(base(f), []step{{index: int(i.n), at: true}}), steps)
		}
		return Null
	}, err
}

func (c *compiler) negative(x *unaryExpr) (eval, error) {
	get, err := c.expr(x.x)
	return func(f *frame) Value {
		switch v := get(f); v.kind {
		case KindLong:
			return Long(-v.n)
		case KindReal:
			return Real(-v.real())
		case KindTimespan:
			return Value{kind: KindTimespan, n: -v.n}
		}
		return Null
	}, err
}

func (c *compiler) binary(x *binaryExpr) (eval, error) {
	l, err := c.expr(x.l)
	if err != nil {
		return nil, err
	}
	if _, ok := x.r.(*listExpr); ok {
		return c.in(x, l)
	}
	r, err := c.expr(x.r)
	if err != nil {
		return nil, err
	}
	switch x.op {
	case "and":
		return func(f *frame) Value { return and(l, r, f) }, nil
	case "or":
		return func(f *frame) Value { return or(l, r, f) }, nil
	case "==", "=~":
		fold := x.op == "=~"
		return func(f *frame) Value {
			same, known := equal(l(f), r(f), fold)
			return boolOrNull(same, known)
		}, nil
	case "!=", "<>", "!~":
		fold := x.op == "!~"
		return func(f *frame) Value {
			same, known := equal(l(f), r(f), fold)
			return boolOrNull(!same, known)
		}, nil
	case "<", "<=", ">", ">=":
		return ordered(x.op, l, r), nil
	case "+", "-", "*", "/", "%":
		op := x.op[0]
		return func(f *frame) Value { return arithmetic(op, l(f), r(f)) }, nil
	case "matches regex":
		return c.matches(x, l, r)
	}
	return textOperator(x.op, l, r), nil
}

func boolOrNull(b, known bool) Value {
	if !known {
		return Null
	}
	return Bool(b)
}

// and is false if either is, and null if that is not known; or likewise.
func and(l, r eval, f *frame) Value {
	a := l(f)
	if a.kind == KindBool && a.n == 0 {
		return a
	}
	b := r(f)
	if b.kind == KindBool && b.n == 0 || a.truth() && b.kind == KindBool {
		return b
	}
	return Null
}

func or(l, r eval, f *frame) Value {
	a := l(f)
	if a.truth() {
		return a
	}
	b := r(f)
	if b.truth() || a.kind == KindBool && b.kind == KindBool {
		return b
	}
	return Null
}

func ordered(op string, l, r eval) eval {
	return func(f *frame) Value {
		c, ok := compare(l(f), r(f))
		if !ok {
			return Null
		}
		switch op {
		case "<":
			return Bool(c < 0)
		case "<=":
			return Bool(c <= 0)
		case ">":
			return Bool(c > 0)
		}
		return Bool(c >= 0)
	}
}

func textOperator(op string, l, r eval) eval {
	name, not := strings.CutPrefix(op, "!")
	test := textOperators[name]
	return func(f *frame) Value {
		a, b := l(f).Text(), r(f).Text()
		f.env.spend(len(a))
		return Bool(test(a, b) != not)
	}
}

// in is in, in~, has_any and has_all, and their opposites.
func (c *compiler) in(x *binaryExpr, l eval) (eval, error) {
	items, fixed, err := c.items(x.r.(*listExpr))
	if err != nil {
		return nil, err
	}
	name, not := strings.CutPrefix(x.op, "!")
	switch name {
	case "has_any", "has_all":
		all := name == "has_all"
		return func(f *frame) Value {
			a := l(f).Text()
			for _, item := range values(items, f) {
				f.env.spend(len(a))
				if hasTerm(a, item.Text(), true, true, true) != all {
					return Bool(!all)
				}
			}
			return Bool(all)
		}, nil
	}
	fold := name == "in~"
	if set := textSet(fixed, fold); set != nil {
		return func(f *frame) Value {
			v := l(f)
			if v.kind != KindString {
				return Bool(memberOf(v, fixed, fold) != not)
			}
			s := v.s
			if fold {
				s = strings.ToLower(s)
			}
			return Bool(set[s] != not)
		}, nil
	}
	return func(f *frame) Value { return Bool(memberOf(l(f), values(items, f), fold) != not) }, nil
}

func memberOf(v Value, items []Value, fold bool) bool {
	for _, item := range items {
		if same, _ := equal(v, item, fold); same {
			return true
		}
	}
	return false
}

// textSet is the items as a set, if all are known texts.
func textSet(items []Value, fold bool) map[string]bool {
	if len(items) == 0 {
		return nil
	}
	set := map[string]bool{}
	for _, item := range items {
		if item.kind != KindString {
			return nil
		}
		s := item.s
		if fold {
			s = strings.ToLower(s)
		}
		set[s] = true
	}
	return set
}

// items are a list's expressions, and their values if all are literals.
func (c *compiler) items(l *listExpr) (items []eval, fixed []Value, err error) {
	known := true
	for _, x := range l.items {
		item, err := c.expr(x)
		if err != nil {
			return nil, nil, err
		}
		items = append(items, item)
		lit, ok := x.(*literalExpr)
		if known = known && ok; known {
			fixed = append(fixed, lit.value)
		}
	}
	if !known {
		return items, nil, nil
	}
	return items, flat(fixed), nil
}

// flat puts the elements of arrays in place of the arrays.
func flat(vs []Value) (out []Value) {
	for _, v := range vs {
		if items, ok := v.items(); ok {
			out = append(out, items...)
		} else {
			out = append(out, v)
		}
	}
	return out
}

func values(items []eval, f *frame) []Value {
	all := make([]Value, len(items))
	for i, get := range items {
		all[i] = get(f)
	}
	return flat(all)
}

func (c *compiler) between(x *betweenExpr) (eval, error) {
	v, err := c.expr(x.x)
	if err != nil {
		return nil, err
	}
	lo, err := c.expr(x.lo)
	if err != nil {
		return nil, err
	}
	hi, err := c.expr(x.hi)
	return func(f *frame) Value {
		v, lo, hi := v(f), lo(f), hi(f)
		if hi.kind == KindTimespan && v.kind == KindDatetime { // between (start .. 7d)
			hi = arithmetic('+', lo, hi)
		}
		a, ok1 := compare(v, lo)
		b, ok2 := compare(v, hi)
		return boolOrNull((a >= 0 && b <= 0) != x.not, ok1 && ok2)
	}, err
}

// derivedName is how an expression names the column that it makes: properties_x_y.
func derivedName(x expr) string {
	switch x := x.(type) {
	case *nameExpr:
		return x.name
	case *memberExpr:
		return joined(derivedName(x.base), x.name)
	case *indexExpr:
		if s, _, ok := constantStep(x); ok {
			return joined(derivedName(x.base), Long(int64(s.index)).Text())
		}
	case *callExpr:
		if keepsName[x.name] && len(x.args) > 0 {
			return derivedName(x.args[0])
		}
	}
	return ""
}

func joined(base, name string) string {
	if base == "" {
		return ""
	}
	return base + "_" + name
}

// keepsName are functions whose columns are named for what they are of.
var keepsName = map[string]bool{"tostring": true, "toint": true, "tolong": true, "todouble": true, "toreal": true, "tobool": true, "toboolean": true,
	"todatetime": true, "totimespan": true, "todynamic": true, "parse_json": true, "toguid": true, "tolower": true, "toupper": true, "bin": true, "floor": true}
