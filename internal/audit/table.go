package audit

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"hallmark.dev/hallmark/internal/lineage"
)

var tableHeader = []string{"MACHINE", "GROUP", "IMAGE", "VERSION", "STATE", "VERDICT", "RULE", "REASON"}

// maxCell keeps one long name from pushing everything else off the screen. The
// last column has no limit.
const maxCell = 40

// writeTable goes through the findings twice: once for the columns' widths.
func writeTable(w io.Writer, r *Report) error {
	widths := make([]int, len(tableHeader))
	measure := func(cells []string) {
		for i, cell := range cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	measure(tableHeader)
	for f := range r.Findings {
		measure(tableCells(f))
	}
	out := &lines{w: w}
	out.row(tableHeader, widths)
	for f := range r.Findings {
		out.row(tableCells(f), widths)
		if f.Advice != "" {
			out.printf("    %s: %s\n", f.Advice, plain(f.Command))
		}
	}
	out.summary(r)
	return out.err
}

func tableCells(f Finding) []string {
	rule := ""
	if f.Rule != nil {
		rule = map[bool]string{true: "pass", false: "fail"}[f.Rule.Pass]
	}
	cells := []string{f.Name, f.ResourceGroup, f.Image, f.Version, string(f.State), string(f.Verdict), rule, f.Reason}
	for i, cell := range cells {
		cells[i] = plain(cell)
		if runes := []rune(cells[i]); i < len(cells)-1 && len(runes) > maxCell {
			cells[i] = string(runes[:maxCell-1]) + "…"
		}
		cells[i] = cmp.Or(cells[i], "-")
	}
	return cells
}

// lines writes text and remembers the first error.
type lines struct {
	w   io.Writer
	err error
}

func (l *lines) printf(format string, args ...any) {
	if l.err == nil {
		_, l.err = fmt.Fprintf(l.w, format, args...)
	}
}

func (l *lines) row(cells []string, widths []int) {
	var b strings.Builder
	for i, cell := range cells {
		b.WriteString(cell)
		if i < len(cells)-1 {
			b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
	}
	l.printf("%s\n", b.String())
}

func (l *lines) summary(r *Report) {
	s := &r.Summary
	l.printf("\n%d audited: %d compliant, %d non-compliant, %d unknown\n", s.Total, s.Compliant, s.NonCompliant, s.Unknown)
	for _, state := range lineage.States() {
		if n := s.ByState[state]; n > 0 {
			l.printf("  %-22s %d\n", state, n)
		}
	}
	for _, by := range []struct {
		title  string
		counts map[string]*Counts
	}{{"team", s.ByTeam}, {"resource group", s.ByResourceGroup}, {"subscription", s.BySubscription}} {
		if len(by.counts) > 1 {
			l.counts(by.title, by.counts)
		}
	}
	if s.RulePassed+s.RuleFailed > 0 {
		l.printf("RULE is what scanners call %q: %d pass, %d fail. It looks only at the shape of the image's id.\n", RuleName, s.RulePassed, s.RuleFailed)
	}
}

// counts shows the ones with the most to do first.
func (l *lines) counts(title string, by map[string]*Counts) {
	names := slices.SortedFunc(maps.Keys(by), func(a, b string) int {
		return cmp.Or(cmp.Compare(by[b].NonCompliant, by[a].NonCompliant), cmp.Compare(by[b].Total, by[a].Total), strings.Compare(a, b))
	})
	const most = 20
	l.printf("by %s:\n", title)
	for i, name := range names {
		if i == most {
			l.printf("  and %d more: see -o json\n", len(names)-most)
			return
		}
		c := by[name]
		l.printf("  %-40s %d non-compliant, %d unknown, %d compliant\n", plain(name), c.NonCompliant, c.Unknown, c.Compliant)
	}
}
