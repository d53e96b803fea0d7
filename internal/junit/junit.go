// Package junit is the JUnit XML that build servers read: suites of cases that
// passed, failed, or could not be decided.
//
// Packages audit, policy/check and policy/policytest import it.
package junit

import (
	"encoding/xml"
	"io"
)

// Suites is a whole report.
type Suites struct {
	XMLName xml.Name `xml:"testsuites"`
	Name    string   `xml:"name,attr,omitempty"`
	Suites  []Suite  `xml:"testsuite"`
}

// Suite is a group of cases; its counts are the caller's.
type Suite struct {
	Name     string `xml:"name,attr"`
	Tests    int    `xml:"tests,attr"`
	Failures int    `xml:"failures,attr"`
	Errors   int    `xml:"errors,attr"`
	Skipped  int    `xml:"skipped,attr"`
	Cases    []Case `xml:"testcase"`
	Output   string `xml:"system-out,omitempty"`
}

// Case is one check.
type Case struct {
	XMLName   xml.Name `xml:"testcase"`
	ClassName string   `xml:"classname,attr"`
	Name      string   `xml:"name,attr"`
	File      string   `xml:"file,attr,omitempty"`
	Line      int      `xml:"line,attr,omitempty"`
	Seconds   string   `xml:"time,attr,omitempty"`
	Failure   *Detail  `xml:"failure"`
	Error     *Detail  `xml:"error"`
	Skipped   *Detail  `xml:"skipped"`
	Output    string   `xml:"system-out,omitempty"`
}

// Detail says why.
type Detail struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

// Write writes a report.
func Write(w io.Writer, s Suites) error {
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(s); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
