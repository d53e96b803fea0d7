package policy

import (
	"crypto/sha256"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"hallmark.dev/hallmark/internal/expr/value"
)

// Many definitions look at the same fields and repeat the same lists of images
// or types. Equal field names and equal groups of conditions get the same number
// when they are compiled, and a frame remembers, for the document it saw last,
// what each came to. A document's serial number tells whether that still holds.

// numbers hands out equal numbers for equal signatures. It is only asked when
// compiling; evaluation takes no lock.
type numbers struct {
	mu  sync.Mutex
	ids map[[sha256.Size]byte]int
}

// mostShared bounds what is remembered; what is compiled later is not shared.
const mostShared = 1 << 15

// notShared is the number of what is not remembered; the others count from 1.
const notShared = 0

func (n *numbers) of(signature string) int {
	key := sha256.Sum256([]byte(signature))
	n.mu.Lock()
	defer n.mu.Unlock()
	if id, ok := n.ids[key]; ok {
		return id
	}
	if len(n.ids) >= mostShared {
		return notShared
	}
	if n.ids == nil {
		n.ids = map[[sha256.Size]byte]int{}
	}
	n.ids[key] = len(n.ids) + 1
	return len(n.ids)
}

var (
	fieldNumbers numbers
	groupNumbers numbers
	lastSerial   atomic.Uint64
)

// sharedValue is the value of a field in the document with a serial number.
type sharedValue struct {
	serial uint64
	value  *Value
}

// sharedOutcome is the same for a group of conditions.
type sharedOutcome struct {
	serial  uint64
	outcome outcome
}

// remember makes room for the numbers that a plan uses.
func (f *frame) remember(fields, groups int) {
	for len(f.fields) < fields {
		f.fields = append(f.fields, sharedValue{})
	}
	for len(f.groups) < groups {
		f.groups = append(f.groups, sharedOutcome{})
	}
}

// number gives a field of a document its number.
func (c *compiler) number(r *ref) {
	r.number = notShared
	if c.fold && r.slot < 0 && r.special == bySpecialNone && r.stars == 0 {
		r.number = fieldNumbers.of(r.signature())
		c.fieldNumbers = max(c.fieldNumbers, r.number+1)
	}
}

// signature is equal for refs that read the same value from any document.
func (r *ref) signature() string {
	var b strings.Builder
	add := func(parts ...string) {
		for _, s := range parts {
			b.WriteString(strconv.Itoa(len(s)) + ":" + s)
		}
	}
	add(strconv.Itoa(int(r.special)), value.LowerASCII(r.tag.Name))
	for _, t := range r.paths {
		add(value.LowerASCII(t.typ), t.path.key())
		for _, v := range t.versions {
			add(strings.Join(v.apiVersions, ","), v.path.key())
		}
	}
	add("short", r.short.root.key(), r.short.properties.key())
	return b.String()
}

// key tells paths apart that String may not.
func (p path) key() string {
	var b strings.Builder
	for _, group := range p {
		b.WriteByte('*')
		for _, s := range group {
			b.WriteString(strconv.Itoa(s.Index) + ":" + strconv.Itoa(len(s.Key.Name)) + ":" + value.LowerASCII(s.Key.Name))
		}
	}
	return b.String()
}

// signature is equal for tests that come to the same in any document; "" for
// tests that depend on more than that, may fail, or leave remarks.
func signature(t test) string {
	switch t := t.(type) {
	case *typeTest:
		return signature(&t.fieldTest)
	case *fieldTest:
		if t.ref.slot >= 0 || t.ref.primary || t.with.operand.code != nil || t.with.operator >= Greater && t.with.operator <= LessOrEquals {
			return ""
		}
		return "f" + strconv.Itoa(int(t.with.kind)) + "," + strconv.Itoa(int(t.with.operator)) + "," + strconv.FormatBool(t.with.negated) + t.ref.signature() + t.with.operand.constant.JSON() + ";"
	case *negation:
		if inner := signature(t.part); inner != "" {
			return "n" + inner
		}
	case *shared: // equal groups have equal numbers
		return "s" + strconv.Itoa(t.number) + ";"
	case *junction:
		var b strings.Builder
		b.WriteString("j" + strconv.Itoa(int(t.decisive)) + "," + strconv.Itoa(len(t.parts)) + "(")
		for _, part := range t.parts {
			s := signature(part)
			if s == "" {
				return ""
			}
			b.WriteString(s)
		}
		return b.String() + ")"
	}
	return ""
}

// shared is a group of conditions whose outcome is remembered.
type shared struct {
	part   test
	number int
}

// share wraps a group that can be remembered.
func (c *compiler) share(t test) test {
	switch t.(type) {
	case *junction, *negation:
	default:
		return t
	}
	s := signature(t)
	if s == "" || !c.fold {
		return t
	}
	number := groupNumbers.of(s)
	if number == notShared {
		return t
	}
	c.groupNumbers = max(c.groupNumbers, number+1)
	return &shared{part: t, number: number}
}

func (t *shared) eval(f *frame) outcome {
	known := &f.groups[t.number]
	if known.serial == f.doc.serial {
		return known.outcome
	}
	o := t.part.eval(f)
	*known = sharedOutcome{f.doc.serial, o}
	return o
}

func (t *shared) explain(f *frame) (*Explanation, outcome) { return t.part.explain(f) }
