package check

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/junit"
	"hallmark.dev/hallmark/internal/sarif"
)

// Info is what reports say about the tool.
type Info struct{ Version string }

var formats = []string{"table", "json", "sarif", "junit"}

// Formats are what Write knows.
func Formats() []string { return formats }

// Write renders a report.
func Write(w io.Writer, format string, r *Report, info Info) error {
	buffered := bufio.NewWriterSize(w, 64<<10)
	var err error
	switch format {
	case "table":
		writeTable(buffered, r)
	case "json":
		err = writeJSON(buffered, r)
	case "sarif":
		err = writeSARIF(buffered, r, info)
	case "junit":
		err = junit.Write(buffered, junitReport(r))
	default:
		return fmt.Errorf("there is no report format %q: choose %s", format, strings.Join(formats, ", "))
	}
	if err == nil {
		err = buffered.Flush()
	}
	if err != nil {
		return fmt.Errorf("write the %s report: %w", format, err)
	}
	return nil
}

// reported are the findings that people want to read.
func reported(r *Report) []Finding {
	kept := []Finding{}
	for _, f := range r.Findings {
		if f.State != Compliant {
			kept = append(kept, f)
		}
	}
	return kept
}

// Reported is how many findings there are, without those that comply.
func (r *Report) Reported() int { return len(reported(r)) }

// headline is a finding in a few words.
func (f *Finding) headline() string {
	words := string(f.State)
	if f.State == NonCompliant && f.denies() {
		words = "denied"
	}
	if f.Effect != "" {
		words += " (" + f.Effect + ")"
	}
	if !f.Enforced {
		words += ", not enforced"
	}
	return words
}

// detail is what there is to say beside the policy's name.
func (f *Finding) detail() []string {
	var lines []string
	if f.Message != f.Policy && f.Message != "" {
		lines = append(lines, f.Message)
	}
	return append(lines, f.Reasons...)
}

func writeTable(w io.Writer, r *Report) {
	for _, f := range reported(r) {
		place := f.File
		if f.Line > 0 {
			place = fmt.Sprintf("%s:%d", f.File, f.Line)
		}
		if place != "" {
			place += ": "
		}
		fmt.Fprintf(w, "%s%s: %s\n", plain(place), plain(f.headline()), plain(f.Policy))
		if f.Resource != "" {
			fmt.Fprintf(w, "    %s\n", plain(f.Resource))
		}
		for _, line := range f.detail() {
			fmt.Fprintf(w, "    %s\n", strings.ReplaceAll(plain(line), "\uFFFD", " "))
		}
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "note: %s\n", plain(n))
	}
	s := &r.Summary
	if len(reported(r))+len(r.Notes) > 0 {
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "%d resources, %d evaluations: %d compliant, %d non-compliant, %d would be changed, %d unknown, %d exempt, %d errors\n",
		s.Resources, s.Evaluations, s.Compliant, s.NonCompliant, s.Changes, s.Unknown, s.Exempt, s.Errors)
}

// plain keeps what files say from driving a terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || (r >= 0x7f && r < 0xa0) || (r >= 0x202a && r <= 0x202e) || (r >= 0x2066 && r <= 0x2069) {
			return '\uFFFD'
		}
		return r
	}, s)
}

func writeJSON(w io.Writer, r *Report) error {
	out := *r
	out.Findings = reported(r)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(out)
}

// levels are SARIF's; a result that is no failure has none.
func (f *Finding) level() (kind, level string) {
	switch f.State {
	case NonCompliant:
		if f.denies() {
			return sarif.KindFail, sarif.LevelError
		}
		return sarif.KindFail, sarif.LevelWarning
	case Failed:
		return sarif.KindFail, sarif.LevelError
	case Changes:
		return sarif.KindFail, sarif.LevelNote
	case Unknown:
		// Code hosts hide what is open; an unknown verdict must be seen.
		return sarif.KindFail, sarif.LevelWarning
	}
	return sarif.KindPass, sarif.LevelNone
}

func writeSARIF(w io.Writer, r *Report, info Info) error {
	findings := reported(r)
	var rules []sarif.Rule
	index := map[string]int{}
	for i := range findings {
		f := &findings[i]
		if _, known := index[f.rule()]; known {
			continue
		}
		index[f.rule()] = len(rules)
		_, level := f.level()
		rules = append(rules, sarif.Rule{ID: f.rule(), ShortDescription: sarif.Text{Text: plain(f.Policy)},
			Help: sarif.Text{Text: plain("Azure Policy: " + f.Policy + " (" + f.Definition + ")")}, DefaultConfiguration: map[string]string{"level": level}})
	}
	out := sarif.NewWriter(w, sarif.Driver{Name: "Hallmark", Version: info.Version, Rules: rules})
	for i := range findings {
		out.Result(result(&findings[i], index))
	}
	return out.Close(map[string]any{"summary": r.Summary, "notes": r.Notes})
}

// rule is the id under which code hosts know a policy.
func (f *Finding) rule() string {
	return cmp.Or(f.Definition[strings.LastIndexByte(f.Definition, '/')+1:], f.Policy)
}

func result(f *Finding, index map[string]int) sarif.Result {
	kind, level := f.level()
	subject := cmp.Or(f.Resource, f.Assignment)
	sum := sha256.Sum256([]byte(strings.ToLower(f.rule() + "\x00" + f.Assignment + "\x00" + subject)))
	message := subject + ": " + f.headline() + ": " + f.Policy
	if more := f.detail(); len(more) > 0 {
		message += ". " + strings.Join(more, "; ")
	}
	r := sarif.Result{RuleID: f.rule(), RuleIndex: index[f.rule()], Kind: kind, Level: level, Message: sarif.Text{Text: plain(message)}, Locations: []sarif.Location{},
		PartialFingerprints: map[string]string{"policyAndResource/v1": hex.EncodeToString(sum[:])},
		Properties:          map[string]any{"state": f.State, "effect": f.Effect, "policyAssignmentId": f.Assignment, "policyDefinitionId": f.Definition}}
	if f.File != "" {
		l := sarif.Location{PhysicalLocation: sarif.Physical{ArtifactLocation: sarif.Artifact{URI: sarif.FileURI(f.File)}},
			LogicalLocations: []sarif.Logical{{Name: f.Resource, FullyQualifiedName: cmp.Or(f.ID, f.Resource), Kind: "resource"}}}
		if f.Line > 0 {
			l.PhysicalLocation.Region = &sarif.Region{StartLine: f.Line}
		}
		r.Locations = append(r.Locations, l)
	}
	return r
}

// junitReport has a suite for each file and a case for each resource and policy.
func junitReport(r *Report) junit.Suites {
	out := junit.Suites{Name: "hallmark policy check"}
	for _, f := range r.Findings {
		name := cmp.Or(f.File, "policies")
		i := slices.IndexFunc(out.Suites, func(s junit.Suite) bool { return s.Name == name })
		if i < 0 {
			i = len(out.Suites)
			out.Suites = append(out.Suites, junit.Suite{Name: name})
		}
		s := &out.Suites[i]
		c := junit.Case{ClassName: plain(cmp.Or(f.Resource, f.Assignment)), Name: plain(f.Policy), File: f.File, Line: f.Line}
		text := plain(fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.headline()))
		for _, line := range f.detail() {
			text += "\n" + plain(line)
		}
		detail := &junit.Detail{Message: plain(cmp.Or(f.Message, f.headline())), Type: string(f.State), Text: text}
		s.Tests++
		switch f.State {
		case NonCompliant:
			s.Failures++
			c.Failure = detail
		case Unknown, Failed:
			s.Errors++
			c.Error = detail
		case Exempt:
			s.Skipped++
			c.Skipped = detail
		case Changes:
			c.Output = text
		}
		s.Cases = append(s.Cases, c)
	}
	return out
}
