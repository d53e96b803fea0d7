package kql

import (
	"strings"
	"unicode/utf8"
)

// What a query may be, at most.
const (
	maxQuery  = 64 << 10 // bytes
	maxNodes  = 10_000   // of its syntax tree
	maxDepth  = 100      // of parentheses, and the like
	maxUnions = 16       // pipelines in a query
)

// Parse reads a query. Errors are *Error.
func Parse(text string) (*Query, error) {
	if len(text) > maxQuery {
		return nil, &Error{Code: CodeTooLarge, Message: "the query is longer than 64 KiB"}
	}
	if !utf8.ValidString(text) {
		return nil, &Error{Code: CodeParserFailure, Message: "the query is not valid UTF-8"}
	}
	p := &parser{lex: newLexer(text)}
	if err := p.advance(); err != nil {
		return nil, err
	}
	q, err := p.query()
	if err != nil {
		return nil, err
	}
	if p.tok.is(";") { // a closing one is harmless
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
	if p.tok.kind != tokEnd {
		return nil, p.unexpected("'|' or the end of the query")
	}
	return q, nil
}

type parser struct {
	lex   *lexer
	tok   token // the next one
	nodes int
	depth int
	parts int
}

func (p *parser) advance() (err error) {
	p.tok, err = p.lex.next()
	return err
}

// take is the next token, which is then behind us.
func (p *parser) take() (token, error) {
	t := p.tok
	return t, p.advance()
}

func (p *parser) unexpected(wanted string) error {
	return errorAt(CodeParserFailure, p.tok, "found %s where %s is expected", p.tok, wanted)
}

func (p *parser) expect(symbol string) error {
	if !p.tok.is(symbol) {
		return p.unexpected("'" + symbol + "'")
	}
	return p.advance()
}

// skip takes the next token if it is the symbol.
func (p *parser) skip(symbol string) (bool, error) {
	if !p.tok.is(symbol) {
		return false, nil
	}
	return true, p.advance()
}

func (p *parser) enter() error {
	if p.depth++; p.depth > maxDepth {
		return errorAt(CodeTooLarge, p.tok, "the query is nested more than %d deep", maxDepth)
	}
	return nil
}

func (p *parser) leave() { p.depth-- }

func (p *parser) node() error {
	if p.nodes++; p.nodes > maxNodes {
		return errorAt(CodeTooLarge, p.tok, "the query has more than %d parts", maxNodes)
	}
	return nil
}

// query is a source and the operators behind it.
func (p *parser) query() (*Query, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	if p.parts++; p.parts > maxUnions {
		return nil, errorAt(CodeTooLarge, p.tok, "the query has more than %d pipelines", maxUnions)
	}
	q := &Query{}
	var err error
	bare := false
	switch q.source.tok = p.tok; {
	case p.tok.word("union"):
		u, err := p.union()
		if err != nil {
			return nil, err
		}
		q.source.union = u
	case p.tok.kind == tokName && p.operatorAhead():
		q.source.table, bare = "Resources", true // as Azure has it
	case p.tok.word("let"):
		return nil, p.unsupported("let")
	case p.tok.kind == tokName:
		q.source.table = p.tok.text
		err = p.advance()
	case p.tok.is("("):
		if err := p.advance(); err != nil {
			return nil, err
		}
		inner, err := p.query()
		if err != nil {
			return nil, err
		}
		q.source, q.ops = inner.source, inner.ops
		if err := p.expect(")"); err != nil {
			return nil, err
		}
	default:
		return nil, p.unexpected("a table such as Resources")
	}
	if err != nil {
		return nil, err
	}
	return q, p.operators(q, bare)
}

// operatorAhead reports whether a query starts with an operator: a table's name is
// followed by '|', ')' or the end.
func (p *parser) operatorAhead() bool {
	if _, known := operatorParsers[p.operatorName()]; !known {
		return false
	}
	ahead := *p.lex
	next, err := ahead.next()
	return err != nil || !next.is("|") && !next.is(")") && next.kind != tokEnd || p.tok.word("count")
}

// operatorName is the next token with what a hyphen joins to it.
func (p *parser) operatorName() string {
	name := strings.ToLower(p.tok.text)
	switch name {
	case "project", "mv", "make", "top", "order", "sort":
	default:
		return name
	}
	ahead := *p.lex
	for ahead.at < len(ahead.src) && ahead.src[ahead.at] == '-' {
		ahead.at++
		n := wordLength(ahead.src[ahead.at:])
		name += "-" + strings.ToLower(ahead.src[ahead.at:ahead.at+n])
		ahead.at += n
	}
	return name
}

func (p *parser) operators(q *Query, bare bool) error {
	for bare || p.tok.is("|") {
		if !bare {
			if err := p.advance(); err != nil {
				return err
			}
		}
		bare = false
		op, err := p.operator()
		if err != nil {
			return err
		}
		q.ops = append(q.ops, op)
	}
	return nil
}

var operatorParsers map[string]func(p *parser, tok token) (operator, error)

func init() { // a literal would refer to itself: operators hold pipelines
	operatorParsers = map[string]func(*parser, token) (operator, error){
		"where": (*parser).where, "filter": (*parser).where, "project": (*parser).project, "extend": (*parser).extend,
		"project-away": (*parser).pick, "project-keep": (*parser).pick, "project-rename": (*parser).renames, "project-reorder": (*parser).reorder,
		"summarize": (*parser).summarize, "sort": (*parser).sort, "order": (*parser).sort, "top": (*parser).top,
		"take": (*parser).takeRows, "limit": (*parser).takeRows, "distinct": (*parser).distinct, "count": (*parser).count,
		"union": func(p *parser, _ token) (operator, error) { return p.union() },
	}
}

// later are operators of Kusto's that are not served here.
var later = map[string]string{
	"join": "", "lookup": "", "mv-expand": "", "mvexpand": "", "mv-apply": "", "parse": "use extract(), split() or substring()", "parse-where": "use extract()", "parse-kv": "",
	"evaluate": "", "make-series": "", "sample": "use take", "sample-distinct": "", "search": "use where with has or contains", "find": "use union and where", "render": "",
	"serialize": "", "top-nested": "", "top-hitters": "use summarize count() and top", "facet": "", "fork": "", "getschema": "", "invoke": "", "partition": "", "reduce": "", "scan": "", "as": "", "consume": "", "let": "write the expression where it is used",
}

func (p *parser) unsupported(name string) error {
	t := p.tok
	t.text = name
	hint := later[name]
	if hint != "" {
		hint = "; " + hint
	}
	return errorAt(CodeUnsupported, t, "the operator '%s' is not supported%s", name, hint)
}

func (p *parser) operator() (operator, error) {
	if p.tok.kind != tokName {
		return nil, p.unexpected("an operator such as where")
	}
	if err := p.node(); err != nil {
		return nil, err
	}
	name := p.operatorName()
	parse, ok := operatorParsers[name]
	if _, known := later[name]; !ok && known {
		return nil, p.unsupported(name)
	}
	if !ok {
		return nil, errorAt(CodeParserFailure, p.tok, "there is no operator '%s'", name)
	}
	tok := p.tok
	tok.text = name
	p.lex.at = tok.start + len(name)
	if err := p.advance(); err != nil {
		return nil, err
	}
	return parse(p, tok)
}
