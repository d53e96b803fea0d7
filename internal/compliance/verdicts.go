package compliance

import (
	"encoding/binary"
	"slices"

	"hallmark.dev/hallmark/internal/packed"
)

// verdicts are what the policies have found on one resource: for each assignment, by
// its number in the ledger, the state of each of its units. The text is canonical
// (two are the same verdicts if they are the same text) and short, since there is one
// for each resource, or fewer: resources that fare alike share it.
//
// It is a sequence of parts with rising numbers, each the difference to the number
// before, the length of its states, and its states: runs of units that follow one
// another, length<<3 | state. All numbers are uvarints.
type verdicts string

// codes are the states that a run can have; a state's code is its index.
var codes = [8]State{"", NonCompliant, Compliant, Failed, Conflict, Protected, Exempt, Unknown}

const codeBits = 3

func codeOf(s State) byte {
	return byte(max(slices.Index(codes[:], s), 0)) //nolint:gosec // below 8
}

// maxUnits bounds what a damaged text can ask for: Azure's limit on the policies of an
// initiative.
const maxUnits = 1000

// runs are the states of one assignment's units.
type runs string

// each calls f for each unit that has a state, in order.
func (r runs) each(f func(unit int, s State)) {
	in := packed.Reader{Data: string(r)}
	for unit := 0; in.At < len(in.Data); {
		n := in.Number()
		if in.Bad {
			return
		}
		s, length := codes[n&(1<<codeBits-1)], int(min(n>>codeBits, maxUnits)) //nolint:gosec // bounded
		for range length {
			if s != "" && unit < maxUnits {
				f(unit, s)
			}
			unit++
		}
	}
}

// runWriter collects the states of units, each after the one before.
type runWriter struct {
	text   []byte
	code   byte
	length uint64
	some   bool // a unit has a state
}

func (w *runWriter) add(s State) {
	c := codeOf(s)
	if c != w.code {
		w.flush()
		w.code = c
	}
	w.length++
	w.some = w.some || c != 0
}

func (w *runWriter) flush() {
	if w.length > 0 {
		w.text = binary.AppendUvarint(w.text, w.length<<codeBits|uint64(w.code))
	}
	w.length = 0
}

// end is what was collected, without what is after the last state; nil if no unit has
// one. It makes the writer ready for the next, which reuses the memory.
func (w *runWriter) end() []byte {
	if w.code != 0 {
		w.flush()
	}
	text := w.text
	if !w.some {
		text = nil
	}
	*w = runWriter{text: w.text[:0]}
	return text
}

// verdictsWriter puts verdicts together, parts with rising numbers.
type verdictsWriter struct {
	text []byte
	last uint32
}

func (w *verdictsWriter) add(number uint32, states []byte) {
	w.text = binary.AppendUvarint(w.text, uint64(number-w.last))
	w.text = binary.AppendUvarint(w.text, uint64(len(states)))
	w.text = append(w.text, states...)
	w.last = number
}

// part is what one assignment has found.
type part struct {
	number uint32
	states runs
}

// next reads a part behind the one with the last number.
func next(in *packed.Reader, last uint32) part {
	number := last + uint32(in.Int()) //nolint:gosec // not negative
	return part{number, runs(in.String())}
}

// each calls f for each part, numbers rising.
func (v verdicts) each(f func(p part)) {
	in, last := packed.Reader{Data: string(v)}, uint32(0)
	for in.At < len(in.Data) {
		p := next(&in, last)
		if in.Bad {
			return
		}
		f(p)
		last = p.number
	}
}

// whole reports whether a text from a file is complete.
func (v verdicts) whole() bool {
	in := packed.Reader{Data: string(v)}
	for !in.Bad && in.At < len(in.Data) {
		next(&in, 0)
	}
	return !in.Bad
}

// merge is v with the parts of found in place of those that replaced tells of.
func (v verdicts) merge(found verdicts, replaced func(number uint32) bool) verdicts {
	var all []part
	v.each(func(p part) {
		if !replaced(p.number) {
			all = append(all, p)
		}
	})
	if len(all) == 0 {
		return found
	}
	found.each(func(p part) { all = append(all, p) })
	return assemble(all)
}

// assemble puts parts in their order.
func assemble(parts []part) verdicts {
	slices.SortFunc(parts, func(a, b part) int { return int(a.number) - int(b.number) })
	var w verdictsWriter
	for _, p := range parts {
		w.add(p.number, []byte(p.states))
	}
	return verdicts(w.text)
}
