package template

import (
	"fmt"
	"strings"
)

// Clean turns what ARM accepts as JSON into strict JSON whose tokens stand in the
// same lines: comments go, names without quotes and texts in single quotes get
// double ones, line breaks inside a text become \n, a comma before a closing
// bracket goes. What is wrong beyond that is left for the JSON parser to report.
func Clean(text string) string {
	c := cleaner{in: strings.TrimPrefix(text, "\ufeff"), last: -1, out: make([]byte, 0, len(text)+16)}
	for c.at < len(c.in) {
		c.token()
	}
	return string(c.out)
}

type cleaner struct {
	in   string
	at   int
	out  []byte
	last int // offset in out of the last byte that means something; -1: none
}

func (c *cleaner) put(s string) { c.out = append(c.out, s...) }

func (c *cleaner) token() {
	switch ch := c.in[c.at]; {
	case ch == ' ' || ch == '\n' || ch == '\r' || ch == '\t':
		c.out = append(c.out, ch)
		c.at++
	case strings.HasPrefix(c.in[c.at:], "//"):
		c.skipTo(strings.IndexByte(c.in[c.at:], '\n'))
	case strings.HasPrefix(c.in[c.at:], "/*"):
		end := strings.Index(c.in[c.at+2:], "*/")
		if end >= 0 {
			end += 4
		}
		c.skipTo(end)
	case ch == '"' || ch == '\'':
		c.text(ch)
	case ch == '}' || ch == ']':
		if c.last >= 0 && c.out[c.last] == ',' {
			c.out[c.last] = ' '
		}
		c.mean(ch)
		c.at++
	case isNameStart(ch):
		c.name()
	default:
		c.mean(ch)
		c.at++
	}
}

func (c *cleaner) mean(ch byte) {
	c.last = len(c.out)
	c.out = append(c.out, ch)
}

// skipTo steps over a comment of n bytes (below 0: up to the end) and keeps its lines.
func (c *cleaner) skipTo(n int) {
	if n < 0 {
		n = len(c.in) - c.at
	}
	comment := c.in[c.at : c.at+n]
	c.out = append(c.out, ' ')
	c.put(strings.Repeat("\n", strings.Count(comment, "\n")))
	c.at += n
}

func isNameStart(ch byte) bool {
	return ch == '_' || ch == '$' || ch >= 'a' && ch <= 'z' || ch >= 'A' && ch <= 'Z'
}

// name is a word: a property's name if a colon follows, else left as it is.
func (c *cleaner) name() {
	start := c.at
	for c.at < len(c.in) && (isNameStart(c.in[c.at]) || c.in[c.at] == '-' || c.in[c.at] >= '0' && c.in[c.at] <= '9') {
		c.at++
	}
	word := c.in[start:c.at]
	rest := strings.TrimLeft(c.in[c.at:], " \t\r\n")
	if strings.HasPrefix(rest, ":") {
		word = `"` + word + `"`
	}
	c.put(word)
	c.last = len(c.out) - 1
}

// text copies a text in either kind of quotes.
func (c *cleaner) text(quote byte) {
	c.out = append(c.out, '"')
	lines := 0
	for c.at++; c.at < len(c.in) && c.in[c.at] != quote; c.at++ {
		switch ch := c.in[c.at]; {
		case ch == '\\' && c.at+1 < len(c.in):
			c.at++
			if c.in[c.at] == '\'' {
				c.out = append(c.out, '\'')
				continue
			}
			c.out = append(c.out, '\\')
			c.out = append(c.out, c.in[c.at])
		case ch == '"':
			c.put(`\"`)
		case ch == '\n':
			lines++
			c.put(`\n`)
		case ch < 0x20:
			c.put(fmt.Sprintf(`\u%04x`, ch))
		default:
			c.out = append(c.out, ch)
		}
	}
	if c.at < len(c.in) {
		c.out = append(c.out, '"')
		c.at++
	}
	c.last = len(c.out) - 1
	c.put(strings.Repeat("\n", lines))
}
