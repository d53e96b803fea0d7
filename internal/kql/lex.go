package kql

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokEnd tokenKind = iota
	tokName
	tokLiteral
	tokSymbol
)

// token is a word of a query. Operators that are written as words, such as has
// and !in~, are symbols only when they start with '!' or end in '~'.
type token struct {
	kind  tokenKind
	text  string
	value Value // of a literal
	pos   Pos
	start int // bytes
}

func (t token) is(symbol string) bool { return t.kind == tokSymbol && t.text == symbol }

// word reports whether the token is this name; keywords have no case of their own
// in Azure Resource Graph.
func (t token) word(name string) bool { return t.kind == tokName && strings.EqualFold(t.text, name) }

func (t token) String() string {
	if t.kind == tokEnd {
		return "the end of the query"
	}
	return "'" + t.text + "'"
}

// lexer reads tokens one at a time, so that the parser can take raw text, as in
// datetime(2026-01-01), between them.
type lexer struct {
	src       string
	at        int
	line      int
	lineStart int
	counted   int // where column was counted up to
	column    int
}

func newLexer(src string) *lexer { return &lexer{src: src, line: 1} }

// pos counts on from where it last stood: lines may be long.
func (l *lexer) pos() Pos {
	if l.counted < l.lineStart || l.counted > l.at {
		l.counted, l.column = l.lineStart, 0
	}
	l.column += utf8.RuneCountInString(l.src[l.counted:l.at])
	l.counted = l.at
	return Pos{l.line, l.column}
}

func (l *lexer) space() {
	for l.at < len(l.src) {
		switch c := l.src[l.at]; {
		case c == '\n':
			l.at++
			l.line, l.lineStart = l.line+1, l.at
		case c == ' ' || c == '\t' || c == '\r':
			l.at++
		case strings.HasPrefix(l.src[l.at:], "//"):
			if n := strings.IndexByte(l.src[l.at:], '\n'); n >= 0 {
				l.at += n
			} else {
				l.at = len(l.src)
			}
		case strings.HasPrefix(l.src[l.at:], "\u00a0"), strings.HasPrefix(l.src[l.at:], "\ufeff"):
			_, n := utf8.DecodeRuneInString(l.src[l.at:]) // pasted from web pages
			l.at += n
		default:
			return
		}
	}
}

// symbols, the longest first.
var symbols = []string{"!=", "!~", "=~", "==", "<=", ">=", "<>", "..", "=>", "|", ",", "(", ")", "[", "]", "{", "}", ".", "=", "<", ">", "+", "-", "*", "/", "%", ";", ":", "$", "~", "@", "?", "!"}

func (l *lexer) next() (token, error) {
	l.space()
	t := token{pos: l.pos(), start: l.at}
	if l.at >= len(l.src) {
		return t, nil
	}
	rest := l.src[l.at:]
	switch c := rest[0]; {
	case c == '"' || c == '\'':
		return l.text(t, 0, false)
	case (c == '@' || c == 'h' || c == 'H') && len(rest) > 1 && (rest[1] == '"' || rest[1] == '\''):
		return l.text(t, 1, c == '@')
	case letter(c):
		return l.name(t), nil
	case digit(c):
		return l.number(t)
	case c == '!' && len(rest) > 1 && letter(rest[1]):
		n := 1 + wordLength(rest[1:])
		return l.symbol(t, l.tilde(n)), nil
	}
	for _, s := range symbols {
		if strings.HasPrefix(rest, s) {
			return l.symbol(t, len(s)), nil
		}
	}
	r, _ := utf8.DecodeRuneInString(rest)
	t.text = string(r)
	return t, errorAt(CodeParserFailure, t, "the character %q means nothing here", r)
}

// tilde is the length of a word with the '~' that may end it.
func (l *lexer) tilde(n int) int {
	if l.at+n < len(l.src) && l.src[l.at+n] == '~' {
		return n + 1
	}
	return n
}

func (l *lexer) symbol(t token, n int) token {
	t.kind, t.text = tokSymbol, l.src[l.at:l.at+n]
	l.at += n
	return t
}

func (l *lexer) name(t token) token {
	n := wordLength(l.src[l.at:])
	if strings.EqualFold(l.src[l.at:l.at+n], "in") && l.tilde(n) > n {
		return l.symbol(t, n+1)
	}
	t.kind, t.text = tokName, l.src[l.at:l.at+n]
	l.at += n
	return t
}

func letter(c byte) bool { return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
func digit(c byte) bool  { return '0' <= c && c <= '9' }

func wordLength(s string) int {
	n := 0
	for n < len(s) && (letter(s[n]) || digit(s[n])) {
		n++
	}
	return n
}

// text reads a string literal; prefix is what stands before the quote.
func (l *lexer) text(t token, prefix int, verbatim bool) (token, error) {
	quote := l.src[l.at+prefix]
	var b strings.Builder
	i := l.at + prefix + 1
	for ; i < len(l.src) && l.src[i] != '\n'; i++ {
		c := l.src[i]
		switch {
		case c == quote && verbatim && i+1 < len(l.src) && l.src[i+1] == quote:
			b.WriteByte(quote)
			i++
		case c == quote:
			t.kind, t.text, t.value = tokLiteral, l.src[l.at:i+1], String(b.String())
			l.at = i + 1
			return t, nil
		case c == '\\' && !verbatim && i+1 < len(l.src):
			r, n, ok := escape(l.src[i+1:])
			if !ok {
				t.text = l.src[l.at : i+2]
				return t, errorAt(CodeParserFailure, t, `the text has an unknown escape '\%c'; write \\ for a backslash, or put @ before the text`, l.src[i+1])
			}
			b.WriteString(r)
			i += n
		default:
			b.WriteByte(c)
		}
	}
	t.text = l.src[l.at:i]
	return t, errorAt(CodeParserFailure, t, "the text that starts here has no closing %c", quote)
}

// escape reads what stands behind a backslash.
func escape(s string) (text string, length int, ok bool) {
	switch s[0] {
	case 'n':
		return "\n", 1, true
	case 't':
		return "\t", 1, true
	case 'r':
		return "\r", 1, true
	case '\\', '"', '\'', '/', '$':
		return s[:1], 1, true
	case 'u', 'x':
		n := 4
		if s[0] == 'x' {
			n = 2
		}
		if len(s) <= n {
			return "", 0, false
		}
		code, err := strconv.ParseUint(s[1:1+n], 16, 32)
		return string(rune(code)), 1 + n, err == nil
	}
	return "", 0, false
}

var timeUnits = map[string]time.Duration{
	"d": 24 * time.Hour, "day": 24 * time.Hour, "days": 24 * time.Hour, "h": time.Hour, "hr": time.Hour, "hour": time.Hour, "hours": time.Hour,
	"m": time.Minute, "min": time.Minute, "minute": time.Minute, "minutes": time.Minute, "s": time.Second, "sec": time.Second, "second": time.Second, "seconds": time.Second,
	"ms": time.Millisecond, "millisecond": time.Millisecond, "milliseconds": time.Millisecond,
	"microsecond": time.Microsecond, "microseconds": time.Microsecond, "tick": 100, "ticks": 100,
}

// number reads 12, 1.5, 1e6, 0x1f, and spans of time such as 30d.
func (l *lexer) number(t token) (token, error) {
	s := l.src[l.at:]
	n, whole := 0, true
	for n < len(s) && digit(s[n]) {
		n++
	}
	if n+1 < len(s) && s[n] == '.' && digit(s[n+1]) {
		whole = false
		for n++; n < len(s) && digit(s[n]); n++ {
		}
	}
	unit := wordLength(s[n:])
	end := n + unit
	t.kind, t.text = tokLiteral, s[:end]
	l.at += end
	if d, ok := timeUnits[strings.ToLower(s[n:end])]; ok {
		f, err := strconv.ParseFloat(s[:n], 64)
		if v := f * float64(d); err == nil && math.Abs(v) < math.MaxInt64 {
			t.value = Timespan(time.Duration(v))
			return t, nil
		}
		return t, errorAt(CodeParserFailure, t, "the span of time %s is too long", t)
	}
	if unit == 0 && whole {
		if i, err := strconv.ParseInt(s[:n], 10, 64); err == nil {
			t.value = Long(i)
			return t, nil
		}
	}
	if i, err := strconv.ParseInt(s[:end], 0, 64); err == nil && strings.HasPrefix(strings.ToLower(s), "0x") {
		t.value = Long(i)
		return t, nil
	}
	if (s[n:end] == "e" || s[n:end] == "E") && end+1 < len(s) && (s[end] == '-' || s[end] == '+') && digit(s[end+1]) {
		m := end + 1 + wordLength(s[end+1:])
		l.at += m - end
		end, t.text = m, s[:m]
	}
	f, err := strconv.ParseFloat(s[:end], 64)
	if err != nil || math.IsInf(f, 0) {
		return t, errorAt(CodeParserFailure, t, "%s is no number", t)
	}
	t.value = Real(f)
	return t, nil
}
