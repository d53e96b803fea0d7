// Package sarif writes findings in SARIF 2.1.0, the format that code hosts show
// in pull requests (OASIS, sarif-v2.1.0-os). It knows the part of the format that
// Hallmark's reports need, and streams: no report is held in memory.
//
// Packages audit and policy/check import it.
package sarif

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"
)

// Text is a message.
type Text struct {
	Text string `json:"text"`
}

// Levels of a result that fails; any other kind has level none.
const (
	LevelError   = "error"
	LevelWarning = "warning"
	LevelNote    = "note"
	LevelNone    = "none"
)

// Kinds of results.
const (
	KindFail = "fail"
	KindPass = "pass"
	KindOpen = "open" // it could not be decided
)

// Driver is the tool.
type Driver struct {
	Name           string `json:"name"`
	Version        string `json:"version,omitempty"`
	InformationURI string `json:"informationUri,omitempty"`
	Rules          []Rule `json:"rules"`
}

// Rule is what results refer to, by id and index.
type Rule struct {
	ID                   string            `json:"id"`
	Name                 string            `json:"name,omitempty"`
	ShortDescription     Text              `json:"shortDescription"`
	FullDescription      *Text             `json:"fullDescription,omitempty"`
	Help                 Text              `json:"help"`
	HelpURI              string            `json:"helpUri,omitempty"`
	DefaultConfiguration map[string]string `json:"defaultConfiguration"`
}

// Result is one finding.
type Result struct {
	RuleID              string            `json:"ruleId"`
	RuleIndex           int               `json:"ruleIndex"`
	Kind                string            `json:"kind"`
	Level               string            `json:"level"`
	Message             Text              `json:"message"`
	Locations           []Location        `json:"locations"`
	PartialFingerprints map[string]string `json:"partialFingerprints,omitempty"`
	Properties          map[string]any    `json:"properties,omitempty"`
}

// Location is where a finding is.
type Location struct {
	PhysicalLocation Physical  `json:"physicalLocation"`
	LogicalLocations []Logical `json:"logicalLocations,omitempty"`
}

// Physical is a place in a file.
type Physical struct {
	ArtifactLocation Artifact `json:"artifactLocation"`
	Region           *Region  `json:"region,omitempty"`
}

// Artifact is a file.
type Artifact struct {
	URI string `json:"uri"`
}

// Region is a line, from 1.
type Region struct {
	StartLine   int `json:"startLine"`
	StartColumn int `json:"startColumn,omitempty"`
}

// Logical is a thing that a file describes.
type Logical struct {
	Name               string `json:"name"`
	FullyQualifiedName string `json:"fullyQualifiedName"`
	Kind               string `json:"kind"`
}

// FileURI is a file's name as a URI; a relative name stays relative, as code hosts
// want it.
func FileURI(name string) string {
	return (&url.URL{Path: strings.TrimPrefix(filepath.ToSlash(name), "./")}).String()
}

// Writer writes one run. The first error stays and is returned by Close.
type Writer struct {
	w         io.Writer
	separator string
	err       error
}

// NewWriter starts a run.
func NewWriter(w io.Writer, driver Driver) *Writer {
	out := &Writer{w: w, separator: "\n"}
	if driver.Rules == nil {
		driver.Rules = []Rule{}
	}
	data, err := json.Marshal(driver)
	out.err = err
	out.printf(`{"$schema":"https://json.schemastore.org/sarif-2.1.0.json","version":"2.1.0","runs":[{"tool":{"driver":%s},"results":[`, data)
	return out
}

// Result writes a finding.
func (w *Writer) Result(r Result) {
	data, err := json.Marshal(r)
	if w.err == nil {
		w.err = err
	}
	w.printf("%s%s", w.separator, data)
	w.separator = ",\n"
}

// Close ends the run; properties are about the whole of it.
func (w *Writer) Close(properties map[string]any) error {
	data, err := json.Marshal(properties)
	if w.err == nil {
		w.err = err
	}
	w.printf("\n],\"properties\":%s}]}\n", data)
	return w.err
}

func (w *Writer) printf(format string, args ...any) {
	if w.err == nil {
		_, w.err = fmt.Fprintf(w.w, format, args...)
	}
}
