package policyinsights

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
)

// The part of OData's expressions that clients of policy states use: comparisons,
// in, and, or, not, parentheses, and functions on text. Text compares without
// regard to case, as ids and states do.

// getter is the value of a property: string, bool, float64, time.Time or nil.
type getter func(property string) any

// predicate is a compiled $filter.
type predicate func(getter) bool

// operand is a compiled value.
type operand func(getter) any

// maxDepth bounds nesting, so that no filter exhausts the stack.
const maxDepth = 100

type parser struct {
	text  string
	at    int
	depth int
	known func(property string) bool
}

func badFilter(what, text string, at int, format string, args ...any) error {
	return arm.BadRequest("InvalidFilterInQueryString", what, "%s at character %d of %q.", fmt.Sprintf(format, args...), at+1, clip(text))
}

func clip(s string) string {
	if len(s) > 200 {
		return strings.ToValidUTF8(s[:200], "") + "…"
	}
	return s
}

// parseFilter compiles a $filter; known tells which properties there are.
func parseFilter(text string, known func(string) bool) (predicate, error) {
	if strings.TrimSpace(text) == "" {
		return func(getter) bool { return true }, nil
	}
	p := &parser{text: text, known: known}
	f, err := p.or()
	if err == nil && p.peek() != "" {
		err = p.fail("found %q where the expression should end", p.peek())
	}
	return f, err
}

func (p *parser) fail(format string, args ...any) error {
	return badFilter("$filter", p.text, p.at, format, args...)
}

// token is the next piece: a word, a number, a quoted text, or one character.
func (p *parser) token() (from, to int) {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
	from, to = p.at, p.at
	switch {
	case from == len(p.text):
	case p.text[from] == '\'':
		for to++; to < len(p.text); to++ {
			if p.text[to] == '\'' {
				if to+1 == len(p.text) || p.text[to+1] != '\'' {
					return from, to + 1
				}
				to++
			}
		}
	case wordy(p.text[from]):
		for to < len(p.text) && wordy(p.text[to]) {
			to++
		}
	default:
		to++
	}
	return from, to
}

func wordy(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("_$@.:-+", c) >= 0 || c >= 0x80
}

func (p *parser) peek() string { from, to := p.token(); return p.text[from:to] }

func (p *parser) next() string {
	from, to := p.token()
	p.at = to
	return p.text[from:to]
}

// take consumes a word, whatever its case.
func (p *parser) take(word string) bool {
	if strings.EqualFold(p.peek(), word) {
		p.next()
		return true
	}
	return false
}

func (p *parser) expect(word string) error {
	if !p.take(word) {
		return p.fail("expected %q, found %q", word, p.peek())
	}
	return nil
}

func (p *parser) or() (predicate, error) {
	return p.joined("or", p.and, func(a, b predicate) predicate { return func(g getter) bool { return a(g) || b(g) } })
}

func (p *parser) and() (predicate, error) {
	return p.joined("and", p.not, func(a, b predicate) predicate { return func(g getter) bool { return a(g) && b(g) } })
}

func (p *parser) joined(word string, part func() (predicate, error), join func(a, b predicate) predicate) (predicate, error) {
	left, err := part()
	for err == nil && p.take(word) {
		var right predicate
		if right, err = part(); err == nil {
			left = join(left, right)
		}
	}
	return left, err
}

func (p *parser) not() (predicate, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, p.fail("the filter is nested too deeply")
	}
	defer func() { p.depth-- }()
	if p.take("not") {
		f, err := p.not()
		return func(g getter) bool { return !f(g) }, err
	}
	if p.take("(") {
		f, err := p.or()
		if err == nil {
			err = p.expect(")")
		}
		return f, err
	}
	return p.comparison()
}

func (p *parser) comparison() (predicate, error) {
	left, err := p.operand()
	if err != nil {
		return nil, err
	}
	op := strings.ToLower(p.peek())
	if op == "in" {
		return p.in(left)
	}
	holds := orders[op]
	if holds == nil {
		return func(g getter) bool { v, _ := left(g).(bool); return v }, nil // a function such as contains()
	}
	p.next()
	right, err := p.operand()
	return func(g getter) bool {
		order, ok := compare(left(g), right(g))
		return holds(order, ok)
	}, err
}

var orders = map[string]func(order int, ok bool) bool{
	"eq": func(o int, ok bool) bool { return ok && o == 0 }, "ne": func(o int, ok bool) bool { return !ok || o != 0 },
	"lt": func(o int, ok bool) bool { return ok && o < 0 }, "le": func(o int, ok bool) bool { return ok && o <= 0 },
	"gt": func(o int, ok bool) bool { return ok && o > 0 }, "ge": func(o int, ok bool) bool { return ok && o >= 0 },
}

func (p *parser) in(left operand) (predicate, error) {
	p.next()
	args, err := p.arguments()
	return func(g getter) bool {
		for _, a := range args {
			if o, ok := compare(left(g), a(g)); ok && o == 0 {
				return true
			}
		}
		return false
	}, err
}

func (p *parser) arguments() (args []operand, err error) {
	if err := p.expect("("); err != nil {
		return nil, err
	}
	for {
		a, err := p.operand()
		if err != nil {
			return nil, err
		}
		args = append(args, a)
		if !p.take(",") {
			return args, p.expect(")")
		}
	}
}

func (p *parser) operand() (operand, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, p.fail("the filter is nested too deeply")
	}
	defer func() { p.depth-- }()
	word := p.peek()
	switch lower := strings.ToLower(word); {
	case word == "":
		return nil, p.fail("the filter ends too early")
	case word[0] == '\'':
		return p.quoted()
	case lower == "true" || lower == "false" || lower == "null":
		p.next()
		return constant(map[string]any{"true": true, "false": false, "null": nil}[lower]), nil
	case functions[lower] != nil:
		return p.call(functions[lower])
	case p.known(word):
		p.next()
		return func(g getter) any { return g(lower) }, nil
	}
	v, ok := literal(word)
	if !ok {
		return nil, p.fail("%q is neither a property nor a value", word)
	}
	p.next()
	return constant(v), nil
}

func constant(v any) operand { return func(getter) any { return v } }

func (p *parser) quoted() (operand, error) {
	from, to := p.token()
	if to-from < 2 || p.text[to-1] != '\'' || to > len(p.text) {
		return nil, p.fail("a text is not closed")
	}
	p.at = to
	return constant(strings.ReplaceAll(p.text[from+1:to-1], "''", "'")), nil
}

func literal(word string) (any, bool) {
	if f, err := strconv.ParseFloat(word, 64); err == nil {
		return f, true
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", time.DateOnly} {
		if t, err := time.Parse(layout, word); err == nil {
			return t, true
		}
	}
	return nil, false
}

// functions of two texts, and of one.
var functions = map[string]func(args []string) any{
	"contains":    two(strings.Contains),
	"startswith":  two(strings.HasPrefix),
	"endswith":    two(strings.HasSuffix),
	"substringof": two(func(a, b string) bool { return strings.Contains(b, a) }),
	"tolower":     func(args []string) any { return args[0] },
	"toupper":     func(args []string) any { return args[0] },
}

func two(f func(a, b string) bool) func([]string) any {
	return func(args []string) any { return len(args) > 1 && f(args[0], args[1]) }
}

func (p *parser) call(f func([]string) any) (operand, error) {
	p.next()
	args, err := p.arguments()
	return func(g getter) any {
		texts := make([]string, len(args))
		for i, a := range args {
			s, _ := a(g).(string)
			texts[i] = strings.ToLower(s)
		}
		return f(texts)
	}, err
}

// compare orders two values; false if they cannot be compared.
func compare(a, b any) (int, bool) {
	switch x := a.(type) {
	case nil:
		return 0, b == nil
	case string:
		switch y := b.(type) {
		case string:
			return cmp.Compare(strings.ToLower(x), strings.ToLower(y)), true
		case bool:
			return cmp.Compare(strings.ToLower(x), strconv.FormatBool(y)), true
		}
	case bool:
		if y, ok := b.(bool); ok {
			return cmp.Compare(strconv.FormatBool(x), strconv.FormatBool(y)), true
		}
		if y, ok := b.(string); ok {
			return cmp.Compare(strconv.FormatBool(x), strings.ToLower(y)), true
		}
	case float64:
		if y, ok := b.(float64); ok {
			return cmp.Compare(x, y), true
		}
	case time.Time:
		if y, ok := b.(string); ok {
			b, _ = literal(y)
		}
		if y, ok := b.(time.Time); ok {
			return x.Compare(y), true
		}
	}
	return 0, false
}
