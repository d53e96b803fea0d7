package kql

import (
	"math"
	"strings"
)

func (p *parser) where(tok token) (operator, error) {
	x, err := p.expr()
	return &whereOp{tok, x}, err
}

func (p *parser) project(tok token) (operator, error) {
	items, err := p.named()
	return &projectOp{tok, items}, err
}

func (p *parser) extend(tok token) (operator, error) {
	items, err := p.named()
	return &extendOp{tok, items}, err
}

// named is one or more [name =] expression.
func (p *parser) named() (all []named, err error) {
	err = p.each(func() error {
		n := named{tok: p.tok}
		x, err := p.expr()
		if err != nil {
			return err
		}
		if p.tok.is("=") {
			name, ok := x.(*nameExpr)
			if !ok {
				return p.unexpected("',' or the end of the operator")
			}
			n.name = name.name
			if err := p.advance(); err != nil {
				return err
			}
			if x, err = p.expr(); err != nil {
				return err
			}
		}
		n.x = x
		all = append(all, n)
		return nil
	})
	return all, err
}

// each calls f for every item of a list with commas.
func (p *parser) each(f func() error) error {
	for {
		if err := f(); err != nil {
			return err
		}
		if more, err := p.skip(","); err != nil || !more {
			return err
		}
	}
}

// column is a column's name, as it is or in brackets.
func (p *parser) column() (token, error) {
	if p.tok.is("[") {
		x, err := p.bracketed()
		if err != nil {
			return token{}, err
		}
		t := x.tok
		t.text = x.name
		return t, nil
	}
	if p.tok.kind != tokName {
		return token{}, p.unexpected("a column's name")
	}
	return p.take()
}

// pattern is a column's name that may have stars.
func (p *parser) pattern() (token, error) {
	if p.tok.is("[") {
		return p.column()
	}
	first, end := p.tok, p.tok.start
	for (p.tok.kind == tokName || p.tok.is("*")) && p.tok.start == end || p.tok.start == first.start {
		if p.tok.kind != tokName && !p.tok.is("*") {
			break
		}
		end = p.tok.start + len(p.tok.text)
		if err := p.advance(); err != nil {
			return first, err
		}
	}
	if end == first.start {
		return first, p.unexpected("a column's name")
	}
	first.text = p.lex.src[first.start:end]
	return first, nil
}

func (p *parser) pick(tok token) (operator, error) {
	op := &pickOp{tok: tok, away: tok.text == "project-away"}
	err := p.each(func() error {
		t, err := p.pattern()
		op.patterns = append(op.patterns, t)
		return err
	})
	return op, err
}

func (p *parser) reorder(tok token) (operator, error) {
	op := &reorderOp{tok: tok}
	err := p.each(func() error {
		t, err := p.pattern()
		op.names = append(op.names, t)
		return err
	})
	return op, err
}

func (p *parser) renames(tok token) (operator, error) {
	op := &renameOp{tok: tok}
	err := p.each(func() error {
		to, err := p.column()
		if err != nil {
			return err
		}
		if err := p.expect("="); err != nil {
			return err
		}
		from, err := p.column()
		op.pairs = append(op.pairs, rename{to, from})
		return err
	})
	return op, err
}

func (p *parser) summarize(tok token) (operator, error) {
	op := &summarizeOp{tok: tok}
	var err error
	if !p.tok.word("by") {
		if op.aggregates, err = p.named(); err != nil {
			return nil, err
		}
	}
	if !p.tok.word("by") {
		return op, nil
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	op.by, err = p.named()
	return op, err
}

func (p *parser) by() error {
	if !p.tok.word("by") {
		return p.unexpected("'by'")
	}
	return p.advance()
}

func (p *parser) sort(tok token) (operator, error) {
	keys, err := p.sortKeys()
	return &sortOp{tok, keys}, err
}

func (p *parser) sortKeys() (keys []sortKey, err error) {
	if err := p.by(); err != nil {
		return nil, err
	}
	err = p.each(func() error {
		x, err := p.expr()
		if err != nil {
			return err
		}
		k := sortKey{x: x, descending: true}
		if p.tok.word("asc") || p.tok.word("desc") {
			k.descending = p.tok.word("desc")
			if err := p.advance(); err != nil {
				return err
			}
		}
		k.nullsFirst = !k.descending
		if p.tok.word("nulls") {
			if err := p.advance(); err != nil {
				return err
			}
			if !p.tok.word("first") && !p.tok.word("last") {
				return p.unexpected("'first' or 'last'")
			}
			k.nullsFirst = p.tok.word("first")
			if err := p.advance(); err != nil {
				return err
			}
		}
		keys = append(keys, k)
		return nil
	})
	return keys, err
}

func (p *parser) number() (int, error) {
	v := p.tok.value
	if p.tok.kind != tokLiteral || v.kind != KindLong || v.n > math.MaxInt32 {
		return 0, p.unexpected("a whole number")
	}
	return int(v.n), p.advance()
}

func (p *parser) top(tok token) (operator, error) {
	n, err := p.number()
	if err != nil {
		return nil, err
	}
	keys, err := p.sortKeys()
	return &topOp{tok, n, keys}, err
}

func (p *parser) takeRows(tok token) (operator, error) {
	n, err := p.number()
	return &takeOp{tok, n}, err
}

func (p *parser) distinct(tok token) (operator, error) {
	if p.tok.is("*") {
		return &distinctOp{tok: tok, all: true}, p.advance()
	}
	cols, err := p.named()
	return &distinctOp{tok: tok, cols: cols}, err
}

func (p *parser) count(tok token) (operator, error) { return &countOp{tok}, nil }

// union is [kind=outer|inner] part, …; at the beginning of a query or behind '|'.
func (p *parser) union() (*unionOp, error) {
	op := &unionOp{tok: p.tok}
	if p.tok.word("union") {
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
	for p.tok.kind == tokName && (p.tok.word("kind") || p.tok.word("withsource") || p.tok.word("isfuzzy")) {
		if err := p.unionOption(op); err != nil {
			return nil, err
		}
	}
	err := p.each(func() error {
		if p.tok.is("(") {
			if err := p.advance(); err != nil {
				return err
			}
			q, err := p.query()
			if err != nil {
				return err
			}
			op.parts = append(op.parts, q)
			return p.expect(")")
		}
		if p.tok.kind != tokName {
			return p.unexpected("a table, or a query in parentheses")
		}
		if p.parts++; p.parts > maxUnions {
			return errorAt(CodeTooLarge, p.tok, "the query has more than %d pipelines", maxUnions)
		}
		t, err := p.take()
		op.parts = append(op.parts, &Query{source: source{tok: t, table: t.text}})
		return err
	})
	return op, err
}

func (p *parser) unionOption(op *unionOp) error {
	option, err := p.take()
	if err != nil {
		return err
	}
	if err := p.expect("="); err != nil {
		return err
	}
	value := strings.ToLower(p.tok.text)
	switch {
	case option.word("withsource"):
		return errorAt(CodeUnsupported, option, "union's option 'withsource' is not supported; use extend in each part")
	case option.word("kind") && value != "inner" && value != "outer":
		return p.unexpected("'inner' or 'outer'")
	case option.word("kind"):
		op.inner = value == "inner"
	}
	return p.advance()
}
