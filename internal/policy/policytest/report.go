package policytest

import (
	"fmt"
	"io"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/junit"
	"hallmark.dev/hallmark/internal/policy/explain"
)

// WriteText writes the results for a person; a test that did not pass comes with
// its tree of conditions. It returns the number of tests and of failures.
func WriteText(w io.Writer, files []File) (tests, failures int, err error) {
	var b strings.Builder
	for _, f := range files {
		tests += len(f.Results)
		failures += f.Failed()
		fmt.Fprintf(&b, "%s\n", f.Path)
		if f.Problem != "" {
			fmt.Fprintf(&b, "  FAIL  %s\n", f.Problem)
		}
		for _, r := range f.Results {
			writeResult(&b, r)
		}
		writeCoverage(&b, f)
	}
	fmt.Fprintf(&b, "%d tests, %d failed\n", tests, failures)
	_, err = io.WriteString(w, b.String())
	return tests, failures, err
}

func writeResult(b *strings.Builder, r Result) {
	if r.Problem == "" {
		fmt.Fprintf(b, "  ok    %s: %s\n", r.Name, r.Got)
		return
	}
	fmt.Fprintf(b, "  FAIL  %s: %s\n", r.Name, r.Problem)
	if r.Tree == nil {
		return
	}
	var tree strings.Builder
	if err := explain.Text(&tree, r.Verdict, r.Tree); err == nil {
		for _, line := range strings.Split(strings.TrimRight(tree.String(), "\n"), "\n") {
			b.WriteString(strings.TrimRight("        "+line, " ") + "\n")
		}
	}
}

func writeCoverage(b *strings.Builder, f File) {
	if len(f.Coverage) == 0 {
		return
	}
	missing := f.Uncovered()
	fmt.Fprintf(b, "  %d of %d conditions were seen both ways\n", len(f.Coverage)-len(missing), len(f.Coverage))
	for _, c := range missing {
		fmt.Fprintf(b, "    %s: %s (%s)\n", c.Path, gap(c), c.Text)
	}
}

func gap(c Condition) string {
	switch {
	case c.Held:
		return "no test reached it not holding"
	case c.NotHeld:
		return "no test reached it holding"
	}
	return "no test reached it"
}

// WriteJUnit writes the results as JUnit XML, a suite for each file.
func WriteJUnit(w io.Writer, files []File) error {
	var out junit.Suites
	for _, f := range files {
		s := junit.Suite{Name: f.Path, Tests: len(f.Results)}
		for _, r := range f.Results {
			c := junit.Case{ClassName: f.Definition, Name: r.Name, Seconds: fmt.Sprintf("%.6f", r.Duration.Round(time.Microsecond).Seconds())}
			if r.Problem != "" {
				s.Failures++
				var b strings.Builder
				writeResult(&b, r)
				c.Failure = &junit.Detail{Message: r.Problem, Text: b.String()}
			}
			s.Cases = append(s.Cases, c)
		}
		if f.Problem != "" {
			s.Tests, s.Errors = s.Tests+1, 1
			s.Cases = append(s.Cases, junit.Case{ClassName: f.Definition, Name: "load", Seconds: "0", Error: &junit.Detail{Message: f.Problem}})
		}
		var b strings.Builder
		writeCoverage(&b, f)
		s.Output = b.String()
		out.Suites = append(out.Suites, s)
	}
	return junit.Write(w, out)
}
