package value

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is how deep arrays and objects may nest in a parsed document.
const MaxDepth = 512

// SyntaxError says where a JSON text is broken.
type SyntaxError struct {
	Offset, Line, Column int // offset from 0; line and column (in bytes) from 1
	Reason               string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Reason)
}

// Position turns a byte offset into a line and a column, both from 1.
func Position(text string, offset int) (line, column int) {
	offset = min(offset, len(text))
	before := text[:offset]
	return strings.Count(before, "\n") + 1, offset - strings.LastIndexByte(before, '\n')
}

// Parser parses JSON texts into values whose memory it owns and reuses. The zero
// Parser is ready; it must not be used by two goroutines at once.
type Parser struct {
	// Folded makes keys match ignoring ASCII case, as in ARM resource documents.
	Folded bool
	// KeepDuplicates keeps every member of an object that repeats a key, for a
	// caller that reports them; otherwise the last wins.
	KeepDuplicates bool

	text    string
	at      int
	depth   int
	values  []Value  // elements of the arrays still open
	members []member // members of the objects still open
	hashes  []uint32 // of their keys
	arena   arena
}

// arena hands out memory that lives until reset.
type arena struct {
	values  []Value
	members []member
	hashes  []uint32
	boxes   []box
}

// Parse parses one JSON text (RFC 8259, with or without a byte order mark) into
// a value of its own memory.
func Parse(text string) (Value, error) {
	var p Parser
	return p.Parse(text)
}

// ParseResource is Parse for an ARM document, whose keys ignore ASCII case.
func ParseResource(text string) (Value, error) {
	p := Parser{Folded: true}
	return p.Parse(text)
}

// Reset lets the next Parse reuse the memory of all values parsed so far; they
// must not be used any more.
func (p *Parser) Reset() {
	p.arena.values = p.arena.values[:0]
	p.arena.members = p.arena.members[:0]
	p.arena.hashes = p.arena.hashes[:0]
	p.arena.boxes = p.arena.boxes[:0]
}

// Parse parses one JSON text. The values share the text's memory. The error is
// a *SyntaxError.
func (p *Parser) Parse(text string) (Value, error) {
	p.text, p.at, p.depth = text, 0, 0
	p.values, p.members, p.hashes = p.values[:0], p.members[:0], p.hashes[:0]
	if len(text) > math.MaxUint32 {
		return Value{}, p.fail("the text is longer than 4 GiB")
	}
	if !utf8.ValidString(text) {
		return Value{}, p.fail("the text is not valid UTF-8")
	}
	if cap(p.arena.boxes) == 0 && len(text) <= measured {
		p.arena.fit(text)
	}
	p.at += len(text) - len(strings.TrimPrefix(text, "\ufeff"))
	v, err := p.value()
	if err != nil {
		return Value{}, err
	}
	if p.space(); p.at < len(p.text) {
		return Value{}, p.fail("text after the end of the JSON value")
	}
	return v, nil
}

func (p *Parser) fail(reason string) error {
	line, column := Position(p.text, p.at)
	return &SyntaxError{Offset: p.at, Line: line, Column: column, Reason: reason}
}

func (p *Parser) space() {
	for p.at < len(p.text) && p.text[p.at] <= ' ' {
		switch p.text[p.at] {
		case ' ', '\n', '\r', '\t':
			p.at++
		default:
			return
		}
	}
}

func (p *Parser) peek() byte {
	p.space()
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

func (p *Parser) value() (Value, error) {
	c := p.peek()
	pos := uint32(p.at)
	switch c {
	case '{':
		return p.nested(p.object, pos)
	case '[':
		return p.nested(p.array, pos)
	case '"':
		s, err := p.string()
		return Value{kind: String, str: s, pos: pos}, err
	case 't':
		return p.word("true", Value{kind: Bool, num: 1, pos: pos})
	case 'f':
		return p.word("false", Value{kind: Bool, pos: pos})
	case 'n':
		return p.word("null", Value{kind: Null, pos: pos})
	case 0:
		if p.at >= len(p.text) {
			return Value{}, p.fail("the text ends where a value is wanted")
		}
	}
	if c == '-' || c >= '0' && c <= '9' {
		return p.number(pos)
	}
	return Value{}, p.fail(fmt.Sprintf("unexpected %q where a value is wanted", c))
}

func (p *Parser) nested(parse func(uint32) (Value, error), pos uint32) (Value, error) {
	if p.depth++; p.depth > MaxDepth {
		return Value{}, p.fail(fmt.Sprintf("arrays and objects nest deeper than %d levels", MaxDepth))
	}
	p.at++
	v, err := parse(pos)
	p.depth--
	return v, err
}

func (p *Parser) word(word string, v Value) (Value, error) {
	if !strings.HasPrefix(p.text[p.at:], word) {
		return Value{}, p.fail("unknown word; true, false and null are the only ones")
	}
	p.at += len(word)
	return v, nil
}

func (p *Parser) array(pos uint32) (Value, error) {
	base := len(p.values)
	if p.peek() == ']' {
		p.at++
		return p.closeArray(base, pos), nil
	}
	for {
		v, err := p.value()
		if err != nil {
			return Value{}, err
		}
		p.values = append(p.values, v)
		switch p.peek() {
		case ',':
			p.at++
		case ']':
			p.at++
			return p.closeArray(base, pos), nil
		default:
			return Value{}, p.fail("a comma or ] is wanted in this array")
		}
	}
}

func (p *Parser) closeArray(base int, pos uint32) Value {
	b := p.arena.box(p.Folded)
	b.elems = take(&p.arena.values, p.values[base:])
	p.values = p.values[:base]
	return Value{kind: Array, box: b, pos: pos}
}

func (p *Parser) object(pos uint32) (Value, error) {
	base := len(p.members)
	var seen map[string]struct{}
	if p.peek() == '}' {
		p.at++
		return p.closeObject(base, pos), nil
	}
	for {
		if p.peek() != '"' {
			return Value{}, p.fail("a key in double quotes is wanted in this object")
		}
		keyPos := uint32(p.at)
		key, err := p.string()
		if err != nil {
			return Value{}, err
		}
		if p.peek() != ':' {
			return Value{}, p.fail("a colon is wanted after the key " + strconv.Quote(key))
		}
		p.at++
		val, err := p.value()
		if err != nil {
			return Value{}, err
		}
		p.add(base, &seen, member{key: key, pos: keyPos, val: val})
		switch p.peek() {
		case ',':
			p.at++
		case '}':
			p.at++
			return p.closeObject(base, pos), nil
		default:
			return Value{}, p.fail("a comma or } is wanted in this object")
		}
	}
}

// add appends a member to the object that starts at base; a repeated key
// replaces the earlier one. Large objects keep a set of their keys, so that a
// hostile document cannot make this quadratic.
func (p *Parser) add(base int, seen *map[string]struct{}, m member) {
	const small = 32
	hash := keyHash(m.key)
	if p.KeepDuplicates {
		p.push(m, hash)
		return
	}
	open, hashes := p.members[base:], p.hashes[base:]
	if len(open) >= small {
		if *seen == nil {
			*seen = make(map[string]struct{}, 2*small)
			for i := range open {
				(*seen)[open[i].key] = struct{}{}
			}
		}
		if _, ok := (*seen)[m.key]; !ok {
			(*seen)[m.key] = struct{}{}
			p.push(m, hash)
			return
		}
	}
	for i := range hashes {
		if hashes[i] == hash && open[i].key == m.key {
			open[i] = m
			return
		}
	}
	p.push(m, hash)
}

func (p *Parser) push(m member, hash uint32) {
	p.members = append(p.members, m)
	p.hashes = append(p.hashes, hash)
}

func (p *Parser) closeObject(base int, pos uint32) Value {
	b := p.arena.box(p.Folded)
	b.members = take(&p.arena.members, p.members[base:])
	b.hashes = take(&p.arena.hashes, p.hashes[base:])
	p.members, p.hashes = p.members[:base], p.hashes[:base]
	return Value{kind: Object, box: b, pos: pos}
}

func (a *arena) box(folded bool) *box {
	if len(a.boxes) == cap(a.boxes) {
		a.boxes = make([]box, 0, grown(cap(a.boxes), 1, 16))
	}
	a.boxes = append(a.boxes, box{folded: folded})
	return &a.boxes[len(a.boxes)-1]
}

// measured is how long a text may be of which the memory is made to measure. Chunks that
// grow by themselves are half empty at worst, which many small documents would add up;
// with a long text, what its marks ask for need not be what it holds.
const measured = 256 << 10

// fit makes room for exactly what a text holds, if it is JSON.
func (a *arena) fit(text string) {
	var arrays [MaxDepth + 1]bool // what is open
	depth, members, elems, boxes := 0, 0, 0, 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case ':':
			members++
		case ',':
			if arrays[depth] {
				elems++
			}
		case '{', '[':
			if boxes++; depth == MaxDepth {
				return
			}
			depth++
			arrays[depth] = c == '['
			if c == '[' {
				elems++ // one more than there are commas; empty arrays are few
			}
		case '}', ']':
			depth = max(depth-1, 0)
		}
	}
	a.boxes = make([]box, 0, boxes)
	a.members, a.hashes = make([]member, 0, min(members, len(text)/4)), make([]uint32, 0, min(members, len(text)/4))
	a.values = make([]Value, 0, min(elems, len(text)/2))
}

// take copies items into the chunk; when it is full, into a new and larger one:
// earlier copies keep the old chunk alive for as long as they are used.
func take[T any](chunk *[]T, items []T) []T {
	if len(items) == 0 {
		return nil
	}
	if cap(*chunk)-len(*chunk) < len(items) {
		*chunk = make([]T, 0, grown(cap(*chunk), len(items), 32))
	}
	start := len(*chunk)
	*chunk = append(*chunk, items...)
	return (*chunk)[start:len(*chunk):len(*chunk)]
}

func grown(have, want, least int) int { return max(2*have, want, least) }

func (p *Parser) number(pos uint32) (Value, error) {
	start := p.at
	if p.text[p.at] == '-' {
		p.at++
	}
	intStart := p.at
	n, small := p.digits()
	if p.at == intStart || p.text[intStart] == '0' && p.at > intStart+1 {
		p.at = start
		return Value{}, p.fail("malformed number")
	}
	if p.at >= len(p.text) || p.text[p.at] != '.' && p.text[p.at]|0x20 != 'e' {
		if small {
			if intStart > start {
				n = -n
			}
			return Value{kind: Int, num: uint64(n), pos: pos}, nil
		}
		if n, err := strconv.ParseInt(p.text[start:p.at], 10, 64); err == nil {
			return Value{kind: Int, num: uint64(n), pos: pos}, nil
		}
	} else if !p.fraction() {
		return Value{}, p.fail("malformed number")
	}
	f, err := strconv.ParseFloat(p.text[start:p.at], 64)
	if err != nil {
		return Value{}, p.fail("number out of range")
	}
	v := FromFloat(f)
	v.pos = pos
	return v, nil
}

// digits skips decimal digits and returns their value, if it fits easily.
func (p *Parser) digits() (n int64, small bool) {
	start := p.at
	for p.at < len(p.text) && p.text[p.at] >= '0' && p.text[p.at] <= '9' {
		if p.at-start < 18 {
			n = n*10 + int64(p.text[p.at]-'0')
		}
		p.at++
	}
	return n, p.at-start <= 18
}

func (p *Parser) fraction() bool {
	if p.text[p.at] == '.' {
		p.at++
		start := p.at
		if p.digits(); p.at == start {
			return false
		}
	}
	if p.at < len(p.text) && p.text[p.at]|0x20 == 'e' {
		p.at++
		if p.at < len(p.text) && (p.text[p.at] == '+' || p.text[p.at] == '-') {
			p.at++
		}
		start := p.at
		if p.digits(); p.at == start {
			return false
		}
	}
	return true
}

// string parses a string; without escapes it is a piece of the text.
func (p *Parser) string() (string, error) {
	start := p.at + 1
	p.at = start
	for {
		p.at = plainEnd(p.text, p.at)
		if p.at >= len(p.text) {
			p.at = start - 1
			return "", p.fail("this string never ends")
		}
		switch c := p.text[p.at]; {
		case c == '"':
			p.at++
			return p.text[start : p.at-1], nil
		case c == '\\':
			return p.escaped(start)
		default:
			return "", p.fail("control character in a string; write it as an escape")
		}
	}
}

// plainEnd returns the first position from i on of a quote, a backslash or a
// control character, looking at eight bytes at a time.
func plainEnd(s string, i int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for i+8 <= len(s) {
		w := load64(s, i)
		quote := w ^ ones*'"'
		slash := w ^ ones*'\\'
		hit := ((quote - ones) &^ quote) | ((slash - ones) &^ slash) | ((w - ones*0x20) &^ w)
		if hit &= highs; hit != 0 {
			return i + bits.TrailingZeros64(hit)/8
		}
		i += 8
	}
	for i < len(s) && s[i] != '"' && s[i] != '\\' && s[i] >= 0x20 {
		i++
	}
	return i
}

func (p *Parser) escaped(start int) (string, error) {
	var b strings.Builder
	b.WriteString(p.text[start:p.at])
	for {
		end := plainEnd(p.text, p.at)
		b.WriteString(p.text[p.at:end])
		p.at = end
		if p.at >= len(p.text) {
			return "", p.fail("the text ends inside a string")
		}
		switch c := p.text[p.at]; {
		case c == '"':
			p.at++
			return b.String(), nil
		case c == '\\':
			if err := p.escape(&b); err != nil {
				return "", err
			}
		default:
			return "", p.fail("control character in a string; write it as an escape")
		}
	}
}

const (
	escapeNames = `"\/bfnrt`
	escapeBytes = "\"\\/\b\f\n\r\t"
)

func (p *Parser) escape(b *strings.Builder) error {
	if p.at+1 >= len(p.text) {
		return p.fail("the text ends inside a string")
	}
	c := p.text[p.at+1]
	if i := strings.IndexByte(escapeNames, c); i >= 0 {
		b.WriteByte(escapeBytes[i])
		p.at += 2
		return nil
	}
	if c != 'u' {
		return p.fail("unknown escape in a string")
	}
	r, ok := p.hex4(p.at + 2)
	if !ok {
		return p.fail("\\u wants four hexadecimal digits")
	}
	p.at += 6
	if utf16.IsSurrogate(r) {
		low, ok := rune(0), false
		if strings.HasPrefix(p.text[p.at:], `\u`) {
			low, ok = p.hex4(p.at + 2)
		}
		r = utf16.DecodeRune(r, low)
		if ok && r != utf8.RuneError {
			p.at += 6
		}
	}
	b.WriteRune(r)
	return nil
}

func (p *Parser) hex4(at int) (rune, bool) {
	if at+4 > len(p.text) {
		return 0, false
	}
	var r rune
	for _, c := range []byte(p.text[at : at+4]) {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}
