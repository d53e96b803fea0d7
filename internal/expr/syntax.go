package expr

import (
	"fmt"
	"strings"

	"hallmark.dev/hallmark/internal/expr/value"
)

// Limits of one expression.
const (
	MaxLength = 65536 // bytes of text
	MaxDepth  = 128   // nesting of calls, indexes and signs
)

// Node is a part of a parsed expression.
type Node interface {
	// Pos is the byte offset in the text given to Parse.
	Pos() int
}

// Literal is a number, a string, or one of the words true, false and null.
type Literal struct {
	Offset int
	Value  value.Value
}

// Call is name(args...). The name of a user-defined function contains a dot.
type Call struct {
	Offset int
	Name   string
	Args   []Node
}

// Property is x.name.
type Property struct {
	Offset int
	Of     Node
	Name   string
}

// Index is x[i].
type Index struct {
	Offset int
	Of, At Node
}

// Pos implements Node.
func (n *Literal) Pos() int { return n.Offset }

// Pos implements Node.
func (n *Call) Pos() int { return n.Offset }

// Pos implements Node.
func (n *Property) Pos() int { return n.Offset }

// Pos implements Node.
func (n *Index) Pos() int { return n.Offset }

// Error is what is wrong with an expression, or went wrong evaluating it.
type Error struct {
	Text     string // the whole expression
	Offset   int    // byte offset in Text
	Function string // the function that failed, if one did
	Reason   string
}

func (e *Error) Error() string {
	where := fmt.Sprintf("position %d of %s", e.Offset+1, shorten(e.Text))
	if e.Function == "" {
		return e.Reason + " (" + where + ")"
	}
	return e.Function + ": " + e.Reason + " (" + where + ")"
}

func shorten(text string) string {
	const most = 120
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// IsExpression reports whether a JSON string is an expression: it starts with a
// bracket that is not doubled and ends with one.
func IsExpression(s string) bool {
	return len(s) >= 2 && s[0] == '[' && s[1] != '[' && s[len(s)-1] == ']'
}

// Unescape returns the literal that a JSON string which is no expression stands
// for: a leading [[ means [.
func Unescape(s string) string {
	if strings.HasPrefix(s, "[[") {
		return s[1:]
	}
	return s
}

// Parse parses an expression with its brackets. The error is an *Error.
func Parse(text string) (Node, error) {
	p := &parser{text: text}
	switch {
	case !IsExpression(text):
		return nil, p.fail(0, "an expression starts with [ and ends with ]")
	case len(text) > MaxLength:
		return nil, p.fail(0, fmt.Sprintf("the expression is longer than %d bytes", MaxLength))
	}
	p.at, p.end = 1, len(text)-1
	node, err := p.expression()
	if err != nil {
		return nil, err
	}
	if p.space(); p.at < p.end {
		return nil, p.fail(p.at, "text after the end of the expression")
	}
	return node, nil
}

type parser struct {
	text    string
	at, end int
	depth   int
}

func (p *parser) fail(at int, reason string) error {
	return &Error{Text: p.text, Offset: at, Reason: reason}
}

func (p *parser) space() {
	for p.at < p.end && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

// peek returns the next byte that is no white space, 0 at the end.
func (p *parser) peek() byte {
	if p.space(); p.at < p.end {
		return p.text[p.at]
	}
	return 0
}

func (p *parser) expression() (Node, error) {
	if p.depth++; p.depth > MaxDepth {
		return nil, p.fail(p.at, fmt.Sprintf("the expression nests deeper than %d levels", MaxDepth))
	}
	defer func() { p.depth-- }()
	node, err := p.primary()
	for steps := 0; err == nil; steps++ {
		if steps > MaxDepth {
			return nil, p.fail(p.at, fmt.Sprintf("more than %d properties and indexes in a row", MaxDepth))
		}
		switch p.peek() {
		case '.':
			node, err = p.property(node)
		case '[':
			node, err = p.index(node)
		default:
			return node, nil
		}
	}
	return nil, err
}

func (p *parser) primary() (Node, error) {
	c, at := p.peek(), p.at
	switch {
	case c == 0:
		return nil, p.fail(at, "the expression ends where a value is wanted")
	case c == '\'':
		s, err := p.quoted()
		return &Literal{Offset: at, Value: value.FromString(s)}, err
	case c >= '0' && c <= '9':
		return p.number(at)
	case c == '-':
		p.at++
		operand, err := p.expression()
		if err != nil {
			return nil, err
		}
		return negate(at, operand), nil
	case isNameStart(c):
		return p.named(at)
	}
	return nil, p.fail(at, fmt.Sprintf("unexpected %q where a value is wanted", c))
}

// negate makes -x a literal where x is one, else sub(0, x).
func negate(at int, operand Node) Node {
	if n, ok := operand.(*Literal); ok && n.Value.IsNumber() {
		if n.Value.Kind() == value.Int {
			return &Literal{Offset: at, Value: value.FromInt(-n.Value.Int64())}
		}
		return &Literal{Offset: at, Value: value.FromFloat(-n.Value.Float64())}
	}
	return &Call{Offset: at, Name: "sub", Args: []Node{&Literal{Offset: at, Value: value.FromInt(0)}, operand}}
}

func isNameStart(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c == '$' }

func isNamePart(c byte) bool { return isNameStart(c) || c >= '0' && c <= '9' }

func (p *parser) name() string {
	start := p.at
	for p.at < p.end && isNamePart(p.text[p.at]) {
		p.at++
	}
	return p.text[start:p.at]
}

// quoted parses a string in single quotes; two quotes in a row stand for one.
func (p *parser) quoted() (string, error) {
	start := p.at
	var parts strings.Builder
	for p.at++; ; {
		n := strings.IndexByte(p.text[p.at:p.end], '\'')
		if n < 0 {
			return "", p.fail(start, "this string never ends")
		}
		parts.WriteString(p.text[p.at : p.at+n])
		p.at += n + 1
		if p.at >= p.end || p.text[p.at] != '\'' {
			return parts.String(), nil
		}
		parts.WriteByte('\'')
		p.at++
	}
}

func (p *parser) number(at int) (Node, error) {
	for p.at < p.end && (isNamePart(p.text[p.at]) || p.text[p.at] == '.') {
		p.at++
	}
	n, ok := value.ParseNumber(p.text[at:p.at])
	if !ok {
		return nil, p.fail(at, "malformed number "+p.text[at:p.at])
	}
	return &Literal{Offset: at, Value: n}, nil
}

// named parses a word, a call, or the call of a user-defined function.
func (p *parser) named(at int) (Node, error) {
	name := p.name()
	if p.peek() == '(' {
		return p.call(at, name)
	}
	switch value.LowerASCII(name) {
	case "true":
		return &Literal{Offset: at, Value: value.FromBool(true)}, nil
	case "false":
		return &Literal{Offset: at, Value: value.FromBool(false)}, nil
	case "null":
		return &Literal{Offset: at, Value: value.NullValue}, nil
	}
	if p.peek() == '.' {
		p.at++
		p.space()
		if member := p.name(); member != "" && p.peek() == '(' {
			return p.call(at, name+"."+member)
		}
	}
	return nil, p.fail(at, "unknown word "+name+"; a function is called with parentheses, a string stands in single quotes")
}

func (p *parser) call(at int, name string) (Node, error) {
	call := &Call{Offset: at, Name: name}
	p.at++
	if p.peek() == ')' {
		p.at++
		return call, nil
	}
	for {
		arg, err := p.expression()
		if err != nil {
			return nil, err
		}
		call.Args = append(call.Args, arg)
		switch p.peek() {
		case ',':
			p.at++
		case ')':
			p.at++
			return call, nil
		default:
			return nil, p.fail(p.at, "a comma or ) is wanted in the arguments of "+name)
		}
	}
}

func (p *parser) property(of Node) (Node, error) {
	at := p.at
	p.at++
	p.space()
	name := p.name()
	if name == "" {
		return nil, p.fail(p.at, "a property name is wanted after the dot")
	}
	return &Property{Offset: at, Of: of, Name: name}, nil
}

func (p *parser) index(of Node) (Node, error) {
	at := p.at
	p.at++
	i, err := p.expression()
	if err != nil {
		return nil, err
	}
	if p.peek() != ']' {
		return nil, p.fail(p.at, "] is wanted")
	}
	p.at++
	return &Index{Offset: at, Of: of, At: i}, nil
}
