package image

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Position is a place in a document, counted from 1. The zero value means that
// the place is not known.
type Position struct {
	Line   int `json:"line"`
	Column int `json:"column"`
}

// Problem is one mistake in a document: where it is and what to do about it.
type Problem struct {
	File string `json:"file,omitempty"`
	Position
	Path    string `json:"path,omitempty"` // such as customize[2].timeout
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // what to write instead
}

// Error renders the problem on one line, in the form that editors can jump to.
func (p Problem) Error() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File + ":")
	}
	if p.Line > 0 {
		fmt.Fprintf(&b, "%d:%d:", p.Line, p.Column)
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		b.WriteString(" (" + p.Hint + ")")
	}
	return b.String()
}

// Problems is every mistake of a document, in the order of the document. It is
// the error that [ParseRecipe] and [FromTemplate] return.
type Problems []Problem

// Error renders one problem per line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Render shows every problem with the line that it is on and a caret below it,
// for a terminal. source is the document's text.
func (ps Problems) Render(source []byte) string {
	lines := strings.Split(string(source), "\n")
	var b strings.Builder
	for _, p := range ps {
		b.WriteString(p.Error() + "\n")
		if p.Line < 1 || p.Line > len(lines) {
			continue
		}
		number := fmt.Sprintf("%5d | ", p.Line)
		text, column := excerpt(lines[p.Line-1], p.Column)
		b.WriteString(number + text + "\n")
		b.WriteString(strings.Repeat(" ", len(number)-2) + "| " + strings.Repeat(" ", column) + "^\n")
	}
	fmt.Fprintf(&b, "%d %s found.\n", len(ps), plural(len(ps), "mistake"))
	return b.String()
}

// excerpt cuts a long line to a terminal's width around a column and makes
// control characters harmless: a recipe may come from anybody.
func excerpt(line string, column int) (string, int) {
	const width = 100
	runes := []rune(line)
	at := min(max(column-1, 0), len(runes))
	start := 0
	if at > width*3/4 {
		start = at - width/2
	}
	runes = runes[start:min(len(runes), start+width)]
	for i, r := range runes {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			runes[i] = ' '
		}
	}
	return string(runes), at - start
}

func plural(n int, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

func (ps Problems) sorted() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return ps
}

// err is nil when there are no problems, so that callers can return it.
func (ps Problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps.sorted()
}

// nearest finds the valid word that a mistyped one was probably meant to be.
func nearest(word string, valid []string) string {
	if len(word) > 64 {
		return ""
	}
	best, bestDistance := "", len(word)/3+2
	for _, candidate := range valid {
		d := distance(strings.ToLower(word), strings.ToLower(candidate))
		if d < bestDistance {
			best, bestDistance = candidate, d
		}
	}
	return best
}

// distance is the number of single-character edits between two words, with a
// swap of neighbours counted as one.
func distance(a, b string) int {
	before, previous := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := 1; i <= len(a); i++ {
		current := make([]int, len(b)+1)
		current[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			current[j] = min(previous[j]+1, current[j-1]+1, previous[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				current[j] = min(current[j], before[j-2]+1)
			}
		}
		before, previous = previous, current
	}
	return previous[len(b)]
}

// suggest words a hint from the nearest valid word, or from all of them when
// none is near and the list is short.
func suggest(word string, valid []string) string {
	if near := nearest(word, valid); near != "" {
		return "did you mean " + near + "?"
	}
	if len(valid) == 0 || len(valid) > 40 {
		return ""
	}
	return "valid: " + strings.Join(valid, ", ")
}
