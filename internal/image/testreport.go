package image

import (
	"encoding/xml"
	"fmt"
	"strings"
	"unicode/utf8"
)

type junitSuites struct {
	XMLName xml.Name   `xml:"testsuites"`
	Suite   junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name       string          `xml:"name,attr"`
	Tests      int             `xml:"tests,attr"`
	Failures   int             `xml:"failures,attr"`
	Errors     int             `xml:"errors,attr"`
	Skipped    int             `xml:"skipped,attr"`
	Time       string          `xml:"time,attr"`
	Properties []junitProperty `xml:"properties>property,omitempty"`
	Cases      []junitCase     `xml:"testcase"`
}

type junitProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitCase struct {
	Name      string        `xml:"name,attr"`
	ClassName string        `xml:"classname,attr"`
	Time      string        `xml:"time,attr"`
	Failure   *junitMessage `xml:"failure,omitempty"`
	Skipped   *junitMessage `xml:"skipped,omitempty"`
	SystemOut string        `xml:"system-out,omitempty"`
	SystemErr string        `xml:"system-err,omitempty"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

// JUnit renders the report for continuous integration. name is the suite's,
// such as web-base 1.0.3.
func (r TestReport) JUnit(name string) ([]byte, error) {
	suite := junitSuite{Name: name, Tests: len(r.Results), Failures: len(r.Failed())}
	if r.Accelerator != "" {
		suite.Properties = append(suite.Properties, junitProperty{"accelerator", r.Accelerator})
	}
	if r.Boot.DefaultTarget > 0 {
		suite.Properties = append(suite.Properties, junitProperty{"boot.defaultTarget", r.Boot.DefaultTarget.String()})
	}
	var total float64
	for _, result := range r.Results {
		c := result.junit()
		if result.Status == StatusSkipped {
			suite.Skipped++
		}
		total += result.Duration.Std().Seconds()
		suite.Cases = append(suite.Cases, c)
	}
	suite.Time = fmt.Sprintf("%.3f", total)
	data, err := xml.MarshalIndent(junitSuites{Suite: suite}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("render JUnit: %w", err)
	}
	return append([]byte(xml.Header), append(data, '\n')...), nil
}

func (t TestResult) junit() junitCase {
	c := junitCase{Name: t.Name, ClassName: t.Kind, Time: fmt.Sprintf("%.3f", t.Duration.Std().Seconds())}
	switch t.Status {
	case StatusFailed:
		c.Failure = &junitMessage{Message: t.Message, Type: t.Kind, Text: t.Message}
		c.SystemOut, c.SystemErr = t.Stdout, t.Stderr
	case StatusSkipped:
		c.Skipped = &junitMessage{Message: t.Message}
	}
	return c
}

// Text renders the report for a terminal, one test a line, with the end of the
// output of those that failed.
func (r TestReport) Text() string {
	width := 0
	for _, result := range r.Results {
		width = max(width, utf8.RuneCountInString(result.Name))
	}
	var b strings.Builder
	counts := map[string]int{}
	for _, result := range r.Results {
		counts[result.Status]++
		line := fmt.Sprintf("%-7s %-*s  %s", result.Status, width, result.Name, oneLine(result.Message))
		b.WriteString(strings.TrimRight(line, " ") + "\n")
		if result.Status == StatusFailed {
			b.WriteString(indentEnd("stdout", result.Stdout) + indentEnd("stderr", result.Stderr))
		}
	}
	fmt.Fprintf(&b, "%d passed, %d failed, %d skipped\n", counts[StatusPassed], counts[StatusFailed], counts[StatusSkipped])
	return b.String()
}

// indentEnd shows the last lines of an output.
func indentEnd(stream, text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) == 1 && lines[0] == "" {
		return ""
	}
	var b strings.Builder
	for _, line := range lines[max(len(lines)-10, 0):] {
		b.WriteString("        " + stream + "| " + line + "\n")
	}
	return b.String()
}
