package kql

import (
	"strings"
	"time"

	"github.com/valyala/fastjson"
)

func (p *parser) expr() (expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	return p.chain("or", func() (expr, error) { return p.chain("and", p.comparison) })
}

// chain is operands joined by a word.
func (p *parser) chain(word string, operand func() (expr, error)) (expr, error) {
	l, err := operand()
	for err == nil && p.tok.word(word) {
		l, err = p.binary(word, l, operand)
	}
	return l, err
}

// binary takes the operator and its right side.
func (p *parser) binary(op string, l expr, operand func() (expr, error)) (expr, error) {
	tok, err := p.take()
	if err != nil {
		return nil, err
	}
	if err := p.node(); err != nil {
		return nil, err
	}
	r, err := operand()
	return &binaryExpr{tok: tok, op: op, l: l, r: r}, err
}

// comparisons are the operators on that level, in lower case; lists have a list at
// their right.
var (
	comparisons = map[string]bool{"==": true, "!=": true, "<>": true, "=~": true, "!~": true, "<": true, "<=": true, ">": true, ">=": true}
	lists       = map[string]bool{"in": true, "!in": true, "in~": true, "!in~": true, "has_any": true, "has_all": true}
)

func init() {
	for _, word := range []string{"has", "contains", "startswith", "endswith", "hasprefix", "hassuffix"} {
		for _, form := range []string{word, "!" + word, word + "_cs", "!" + word + "_cs"} {
			comparisons[form] = true
		}
	}
}

func (p *parser) comparison() (expr, error) {
	l, err := p.sum()
	for err == nil {
		op := strings.ToLower(p.tok.text)
		switch {
		case p.tok.kind != tokName && p.tok.kind != tokSymbol:
			return l, nil
		case comparisons[op]:
			l, err = p.binary(op, l, p.sum)
		case lists[op]:
			l, err = p.binary(op, l, p.list)
		case op == "between" || op == "!between":
			l, err = p.between(l, op == "!between")
		case op == "matches":
			l, err = p.matches(l)
		case strings.HasPrefix(op, "!") && len(op) > 1:
			return nil, errorAt(CodeUnsupported, p.tok, "there is no operator '%s'", p.tok.text)
		default:
			return l, nil
		}
	}
	return l, err
}

func (p *parser) matches(l expr) (expr, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	if !p.tok.word("regex") {
		return nil, p.unexpected("'regex'")
	}
	return p.binary("matches regex", l, p.sum)
}

func (p *parser) between(x expr, not bool) (expr, error) {
	b := &betweenExpr{tok: p.tok, not: not, x: x}
	err := p.advance()
	if err == nil {
		err = p.expect("(")
	}
	if err == nil {
		b.lo, err = p.sum()
	}
	if err == nil {
		err = p.expect("..")
	}
	if err == nil {
		b.hi, err = p.sum()
	}
	if err == nil {
		err = p.expect(")")
	}
	return b, err
}

// list is (a, b, …); a single dynamic array may stand for all.
func (p *parser) list() (expr, error) {
	l := &listExpr{tok: p.tok}
	if !p.tok.is("(") {
		x, err := p.postfix()
		l.items = []expr{x}
		return l, err
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	err := p.each(func() error {
		x, err := p.expr()
		l.items = append(l.items, x)
		return err
	})
	if err != nil {
		return nil, err
	}
	return l, p.expect(")")
}

func (p *parser) sum() (expr, error) {
	l, err := p.product()
	for err == nil && (p.tok.is("+") || p.tok.is("-")) {
		l, err = p.binary(p.tok.text, l, p.product)
	}
	return l, err
}

func (p *parser) product() (expr, error) {
	l, err := p.unary()
	for err == nil && (p.tok.is("*") || p.tok.is("/") || p.tok.is("%")) {
		l, err = p.binary(p.tok.text, l, p.unary)
	}
	return l, err
}

func (p *parser) unary() (expr, error) {
	if !p.tok.is("-") && !p.tok.is("+") {
		return p.postfix()
	}
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	tok, err := p.take()
	if err != nil {
		return nil, err
	}
	x, err := p.unary()
	if err != nil || tok.text == "+" {
		return x, err
	}
	return &unaryExpr{tok, x}, nil
}

// postfix is a value and the steps into it.
func (p *parser) postfix() (expr, error) {
	x, err := p.primary()
	for n := 0; err == nil && (p.tok.is(".") || p.tok.is("[")); n++ {
		if n == maxDepth {
			return nil, errorAt(CodeTooLarge, p.tok, "a path has at most %d steps", maxDepth)
		}
		if p.tok.is(".") {
			x, err = p.member(x)
		} else {
			x, err = p.index(x)
		}
	}
	return x, err
}

func (p *parser) member(base expr) (expr, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.tok.is("[") { // properties.['x']
		return p.index(base)
	}
	if p.tok.kind != tokName {
		return nil, p.unexpected("a property's name")
	}
	tok, err := p.take()
	return &memberExpr{tok, base, tok.text}, err
}

func (p *parser) index(base expr) (expr, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	tok := p.tok
	x, err := p.expr()
	if err != nil {
		return nil, err
	}
	if err := p.expect("]"); err != nil {
		return nil, err
	}
	if l, ok := x.(*literalExpr); ok && l.value.kind == KindString {
		return &memberExpr{tok, base, l.value.s}, nil
	}
	return &indexExpr{tok, base, x}, nil
}

// bracketed is ['a column whose name is no word'].
func (p *parser) bracketed() (*nameExpr, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.tok.kind != tokLiteral || p.tok.value.kind != KindString {
		return nil, p.unexpected("a name in quotes")
	}
	tok, err := p.take()
	if err != nil {
		return nil, err
	}
	return &nameExpr{tok, tok.value.s}, p.expect("]")
}

func (p *parser) primary() (expr, error) {
	if err := p.node(); err != nil {
		return nil, err
	}
	switch tok := p.tok; {
	case tok.kind == tokLiteral:
		return &literalExpr{tok, tok.value}, p.advance()
	case tok.is("*"):
		return &starExpr{tok}, p.advance()
	case tok.is("["):
		return p.bracketed()
	case tok.is("("):
		if err := p.advance(); err != nil {
			return nil, err
		}
		x, err := p.expr()
		if err != nil {
			return nil, err
		}
		return x, p.expect(")")
	case tok.kind == tokName:
		return p.word()
	}
	return nil, p.unexpected("a value")
}

// word is a literal written as a word, a call, or a column.
func (p *parser) word() (expr, error) {
	tok := p.tok
	name := strings.ToLower(tok.text)
	p.lex.space()
	call := p.lex.at < len(p.lex.src) && p.lex.src[p.lex.at] == '('
	if typ, ok := literalTypes[name]; ok && call {
		if x, ok, err := p.typed(tok, typ); ok || err != nil {
			return x, err
		}
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	switch {
	case call:
		return p.call(tok)
	case name == "true" || name == "false":
		return &literalExpr{tok, Bool(name == "true")}, nil
	case name == "null":
		return &literalExpr{tok, Null}, nil
	}
	return &nameExpr{tok, tok.text}, nil
}

func (p *parser) call(tok token) (expr, error) {
	c := &callExpr{tok: tok, name: strings.ToLower(tok.text)}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if done, err := p.skip(")"); done || err != nil {
		return c, err
	}
	if err := p.each(func() error {
		x, err := p.expr()
		c.args = append(c.args, x)
		return err
	}); err != nil {
		return nil, err
	}
	return c, p.expect(")")
}

// literalTypes make literals of raw text: datetime(2026-01-01), dynamic([1,2]).
var literalTypes = map[string]func(string) (Value, bool){
	"datetime": func(s string) (Value, bool) {
		v := toDatetime(String(s))
		return v, !v.IsNull()
	},
	"date": func(s string) (Value, bool) {
		v := toDatetime(String(s))
		return v, !v.IsNull()
	},
	"timespan": literalTimespan, "time": literalTimespan,
	"dynamic": func(s string) (Value, bool) {
		if fastjson.Validate(s) != nil {
			return Null, false
		}
		return fromText(s), true
	},
	"bool": literalScalar(toBool), "boolean": literalScalar(toBool), "int": literalScalar(toLong), "long": literalScalar(toLong),
	"real": literalScalar(toReal), "double": literalScalar(toReal), "guid": func(s string) (Value, bool) { return String(s), s != "" },
}

func literalScalar(convert func(Value) Value) func(string) (Value, bool) {
	return func(s string) (Value, bool) {
		v := convert(String(s))
		return v, !v.IsNull()
	}
}

func literalTimespan(s string) (Value, bool) {
	v := toTimespan(String(s))
	return v, !v.IsNull()
}

// typed reads a literal of raw text; ok is false if what is in the parentheses is an
// expression: then it is a call.
func (p *parser) typed(tok token, convert func(string) (Value, bool)) (expr, bool, error) {
	raw, end := rawArgument(p.lex.src[p.lex.at:])
	if end < 0 {
		return nil, false, nil
	}
	text := strings.TrimSpace(raw)
	if n := len(text); n > 1 && (text[0] == '"' || text[0] == '\'') && text[n-1] == text[0] && tok.text != "dynamic" && !strings.ContainsAny(text[1:n-1], "\\'\"") {
		text = text[1 : n-1]
	}
	v, ok := convert(text)
	if strings.EqualFold(text, "null") {
		v, ok = Null, true
	}
	if !ok {
		if tok.word("dynamic") {
			return nil, false, errorAt(CodeParserFailure, tok, "dynamic(…) needs JSON in its parentheses")
		}
		return nil, false, nil
	}
	for range strings.Count(raw, "\n") {
		p.lex.line++
	}
	if i := strings.LastIndexByte(raw, '\n'); i >= 0 {
		p.lex.lineStart = p.lex.at + 1 + i + 1
	}
	p.lex.at += end
	return &literalExpr{tok, v}, true, p.advance()
}

// rawArgument is what stands between the parentheses that s begins with, and where
// they end; -1 if they do not.
func rawArgument(s string) (raw string, end int) {
	depth, quote := 0, byte(0)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quote != 0:
			if c == '\\' {
				i++
			} else if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '(' || c == '[' || c == '{':
			depth++
		case c == ')' || c == ']' || c == '}':
			if depth--; depth == 0 {
				return s[1:i], i + 1
			}
		}
	}
	return "", -1
}

var datetimeLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02T15:04Z07:00", "2006-01-02", "1/2/2006", "1/2/2006 3:04:05 PM", time.RFC1123}
