package kql

import "strings"

// resolved is the conditions of a where that are certain to be about columns of the
// input: those that name a column that is no longer itself are left out.
func resolved(x expr, s *scope) (out []expr) {
	if b, ok := x.(*binaryExpr); ok && b.op == "and" {
		return append(resolved(b.l, s), resolved(b.r, s)...)
	}
	return append(out, rebased(x, s)...)
}

// rebased is a comparison with the column's own name in the input, as base columns
// know it.
func rebased(x expr, s *scope) []expr {
	switch b := x.(type) {
	case *binaryExpr:
		if b.op == "or" {
			l, r := rebased(b.l, s), rebased(b.r, s)
			if len(l) != 1 || len(r) != 1 {
				return nil
			}
			return []expr{&binaryExpr{b.tok, "or", l[0], r[0]}}
		}
		name, ok := compared(b)
		if !ok {
			return nil
		}
		col, ok := s.find(name)
		if !ok || col.base < 0 {
			return nil
		}
		return []expr{&binaryExpr{b.tok, b.op, baseExpr{col.base}, b.r}}
	}
	return nil
}

// baseExpr is a column of the input, by its place.
type baseExpr struct{ column int }

func (baseExpr) at() token { return token{} }

// compared is the column of a comparison that says what the column equals.
func compared(b *binaryExpr) (string, bool) {
	switch b.op {
	case "==", "=~", "in", "in~":
	default:
		return "", false
	}
	x := b.l
	if c, ok := x.(*callExpr); ok && (c.name == "tolower" || c.name == "toupper" || c.name == "tostring") && len(c.args) == 1 {
		x = c.args[0]
	}
	name, ok := x.(*nameExpr)
	if !ok {
		return "", false
	}
	return name.name, true
}

// filterOf is what a segment's conditions say about its table's text columns.
func filterOf(t *Table, seg *segment) (f Filter) {
	for _, x := range seg.conds {
		column, values, ok := restriction(t, x)
		if !ok {
			continue
		}
		if _, twice := f.Values(column); !twice {
			f = append(f, Restriction{column, values})
		}
	}
	return f
}

// restriction is a condition as values of one column.
func restriction(t *Table, x expr) (column string, values []string, ok bool) {
	b, ok := x.(*binaryExpr)
	if !ok {
		return "", nil, false
	}
	if b.op == "or" {
		c1, v1, ok1 := restriction(t, b.l)
		c2, v2, ok2 := restriction(t, b.r)
		return c1, append(v1, v2...), ok1 && ok2 && c1 == c2
	}
	column, isText := t.column(b.l.(baseExpr).column)
	if !isText || t.Columns[b.l.(baseExpr).column].Type != TypeString {
		return "", nil, false
	}
	right := []expr{b.r}
	if l, ok := b.r.(*listExpr); ok {
		right = l.items
	}
	for _, item := range right {
		value, ok := constantText(item)
		if !ok {
			return "", nil, false
		}
		values = append(values, value)
	}
	return column, values, true
}

func constantText(x expr) (string, bool) {
	switch x := x.(type) {
	case *literalExpr:
		return x.value.s, x.value.kind == KindString
	case *callExpr:
		if len(x.args) != 1 {
			return "", false
		}
		s, ok := constantText(x.args[0])
		switch x.name {
		case "tolower":
			return strings.ToLower(s), ok
		case "toupper":
			return strings.ToUpper(s), ok
		}
	}
	return "", false
}
