package kql

import (
	"fmt"
	"strings"
)

// row is where an expression's columns come from: a record, or values that were kept.
type row interface {
	column(i int) Value
	path(i int, steps []step) Value
}

// stored is a row of kept values.
type stored []Value

func (r stored) column(i int) Value             { return r[i] }
func (r stored) path(i int, steps []step) Value { return walk(r[i], steps) }

// frame is one row on its way through a segment. Columns that are computed are
// computed once, when somebody asks.
type frame struct {
	env  *env
	row  row
	gen  uint64
	vals []Value
	done []uint64 // the gen that vals is of
}

func (f *frame) set(r row) {
	f.row = r
	f.gen++
}

type eval func(f *frame) Value

// needs is a set of columns of a segment's input.
type needs map[int]bool

func (n needs) add(m needs) {
	for i := range m {
		n[i] = true
	}
}

// scopeColumn is a column that can be named at some point of a pipeline.
type scopeColumn struct {
	name  string
	get   eval
	base  int // the input's column that it is, or -1
	needs needs
}

// scope is the columns at some point of a pipeline, in order.
type scope struct{ columns []scopeColumn }

func (s *scope) find(name string) (scopeColumn, bool) {
	folded := -1
	for i, c := range s.columns {
		if c.name == name {
			return c, true
		}
		if strings.EqualFold(c.name, name) {
			folded = i
		}
	}
	if folded >= 0 {
		return s.columns[folded], true
	}
	return scopeColumn{}, false
}

// with is the scope with a column replaced, or added at the end.
func (s *scope) with(c scopeColumn) *scope {
	out := &scope{columns: append([]scopeColumn{}, s.columns...)}
	for i := range out.columns {
		if out.columns[i].name == c.name {
			out.columns[i] = c
			return out
		}
	}
	out.columns = append(out.columns, c)
	return out
}

// add appends a column, under another name if its own is taken.
func (s *scope) add(c scopeColumn) {
	name := c.name
	for n := 1; s.has(c.name); n++ {
		c.name = fmt.Sprintf("%s%s%d", name, separator(name), n)
	}
	s.columns = append(s.columns, c)
}

func separator(name string) string {
	if strings.HasSuffix(name, "_") {
		return ""
	}
	return "_"
}

func (s *scope) has(name string) bool {
	for _, c := range s.columns {
		if c.name == name {
			return true
		}
	}
	return false
}

// inputScope is the columns of a segment's input as they are.
func inputScope(names []string) *scope {
	s := &scope{}
	for i, name := range names {
		s.columns = append(s.columns, scopeColumn{name: name, base: i, needs: needs{i: true}, get: func(f *frame) Value { return f.row.column(i) }})
	}
	return s
}
