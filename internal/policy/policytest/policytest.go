// Package policytest runs the test files that stand beside policy definitions:
// resources with the effect that is expected. It measures which conditions the
// tests reached, and whether each was seen to hold and not to hold.
//
// A test file is YAML, named NAME.test.yaml (or .yml) beside NAME.json:
//
//	definition: allowed-images.json   # this is the default
//	aliases: none                     # field paths address the document; default: the loaded table
//	tests:
//	  - name: a machine from an approved image
//	    file: vm.json                 # or resource: {...}
//	    apiVersion: "2024-07-01"
//	    parameters: {effect: Deny}
//	    context: {utcNow: "2026-11-22T00:00:00Z"}
//	    related: [null]               # answers to existence checks, in order
//	    facts: {Hallmark.Image/state: aged}   # values of Hallmark's read-only aliases
//	    expect: none                  # an effect, none, or error
//
// The commands of the CLI import it.
package policytest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/policy/alias"
	"hallmark.dev/hallmark/internal/policy/batch"
)

// Result is what became of one test.
type Result struct {
	Name     string
	Want     string
	Got      string
	Problem  string // why it did not pass; "" if it did
	Tree     *policy.Explanation
	Verdict  policy.Verdict
	Duration time.Duration
}

// File is one test file with its results.
type File struct {
	Path       string
	Definition string // path of the definition
	Problem    string // why no test could run
	Results    []Result
	Coverage   []Condition
}

// Condition is a condition of a definition and what the tests saw of it.
type Condition struct {
	Path    string
	Text    string
	Held    bool // in some test
	NotHeld bool // in some test
}

// Covered says that the condition was seen both ways.
func (c Condition) Covered() bool { return c.Held && c.NotHeld }

// Failed returns how many tests of the file did not pass; a file that could not
// run counts as one.
func (f File) Failed() int {
	n := 0
	if f.Problem != "" {
		n++
	}
	for _, r := range f.Results {
		if r.Problem != "" {
			n++
		}
	}
	return n
}

// Run runs every test file under a directory, in the order of their paths. The
// error is about reading the directory, never about a test.
func Run(dir string, aliases *alias.Table) ([]File, error) {
	var files []File
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !isTestFile(path) {
			return err
		}
		files = append(files, runFile(path, aliases))
		return nil
	})
	return files, err
}

func isTestFile(path string) bool {
	return strings.HasSuffix(path, ".test.yaml") || strings.HasSuffix(path, ".test.yml")
}

func runFile(path string, aliases *alias.Table) File {
	f := File{Path: path}
	if err := f.run(aliases); err != nil {
		f.Problem = err.Error()
	}
	return f
}

func (f *File) run(aliases *alias.Table) error {
	spec, err := readYAML(f.Path)
	if err != nil {
		return err
	}
	get := func(key string) value.Value { return spec.Find(value.NewKey(key)) }
	name := get("definition").Str()
	if name == "" {
		name = strings.TrimSuffix(strings.TrimSuffix(filepath.Base(f.Path), ".yaml"), ".yml")
		name = strings.TrimSuffix(name, ".test") + ".json"
	}
	if f.Definition, err = beside(f.Path, name); err != nil {
		return err
	}
	if get("aliases").Str() == "none" {
		aliases = nil
	}
	def, err := readDefinition(f.Definition)
	if err != nil {
		return err
	}
	if get("tests").Len() == 0 {
		return fmt.Errorf("%s has no tests", f.Path)
	}
	coverage := newCoverage(def)
	for i, test := range get("tests").Elems() {
		f.Results = append(f.Results, runTest(f.Path, i, test, def, aliases, coverage))
	}
	f.Coverage = coverage.conditions
	return nil
}

// beside resolves a file name of a test file; it may not leave the directory.
func beside(path, name string) (string, error) {
	if !filepath.IsLocal(name) {
		return "", fmt.Errorf("%s: %q must be a file beside or below the test file", path, name)
	}
	return filepath.Join(filepath.Dir(path), name), nil
}

func readYAML(path string) (value.Value, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return value.Value{}, err
	}
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		return value.Value{}, fmt.Errorf("%s: %w", path, err)
	}
	v, err := value.Parse(string(asJSON))
	if err != nil {
		return v, fmt.Errorf("%s: %w", path, err)
	}
	if v.Kind() != value.Object {
		return v, fmt.Errorf("%s: a test file is a mapping with tests", path)
	}
	return v, nil
}

func readDefinition(path string) (*policy.Definition, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the definition under test: %w", err)
	}
	def, err := ParseAny(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return def, nil
}

// ParseAny parses a definition or, when the text has if at its top, a bare rule.
func ParseAny(text string) (*policy.Definition, error) {
	if v, err := value.Parse(text); err == nil && !v.Find(value.NewKey("if")).IsUndefined() {
		return policy.ParseRule(text)
	}
	return policy.ParseDefinition(text)
}

func runTest(path string, i int, test value.Value, def *policy.Definition, aliases *alias.Table, c *coverage) Result {
	get := func(key string) value.Value { return test.Find(value.NewKey(key)) }
	r := Result{Name: get("name").Str(), Want: get("expect").Str()}
	if r.Name == "" {
		r.Name = fmt.Sprintf("test %d", i+1)
	}
	start := time.Now()
	defer func() { r.Duration = time.Since(start) }()
	if r.Want == "" {
		r.Problem = "expect is missing: an effect, none, or error"
		return r
	}
	resource, err := resourceOf(path, test)
	if err != nil {
		r.Problem = err.Error()
		return r
	}
	if facts := get("facts"); facts.Kind() == value.Object {
		resource = resource.WithFacts(facts)
	}
	program, err := policy.Compile(def, policy.Options{Aliases: aliases, Parameters: get("parameters")})
	if err != nil {
		r.Got = "error"
		r.judge(err.Error())
		return r
	}
	r.Verdict, r.Tree = program.Explain(policy.Input{Resource: resource, Context: get("context"), Related: batch.Answers(get("related"))})
	c.see(r.Tree)
	r.Got = r.Verdict.State.String()
	detail := ""
	switch r.Verdict.State {
	case policy.Hit:
		r.Got = r.Verdict.Effect
	case policy.NotApplicable:
		r.Got = "none"
	case policy.Failed:
		detail = r.Verdict.Problem.Error()
	}
	r.judge(detail)
	return r
}

func (r *Result) judge(detail string) {
	if strings.EqualFold(r.Want, r.Got) {
		return
	}
	r.Problem = fmt.Sprintf("expected %s, got %s", r.Want, r.Got)
	if detail != "" {
		r.Problem += ": " + detail
	}
}

func resourceOf(path string, test value.Value) (*policy.Resource, error) {
	version := test.Find(value.NewKey("apiVersion")).Str()
	if resource := test.Find(value.NewKey("resource")); resource.Kind() == value.Object {
		return policy.NewResource(resource.AsResource(), version), nil
	}
	name := test.Find(value.NewKey("file")).Str()
	if name == "" {
		return nil, fmt.Errorf("neither resource nor file is given")
	}
	file, err := beside(path, name)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r, err := policy.ParseResource(string(text), version)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

// coverage collects what the tests saw of each condition.
type coverage struct {
	conditions []Condition
	index      map[string]int
}

func newCoverage(def *policy.Definition) *coverage {
	c := &coverage{index: map[string]int{}}
	c.list(def.If)
	return c
}

func (c *coverage) list(from *policy.Constraint) {
	switch from.Kind {
	case policy.FieldCondition, policy.ValueCondition, policy.CountCondition:
		c.index[from.Path] = len(c.conditions)
		c.conditions = append(c.conditions, Condition{Path: from.Path, Text: text(from)})
	}
	for _, child := range from.Children {
		c.list(child)
	}
	if from.Count != nil && from.Count.Where != nil {
		c.list(from.Count.Where)
	}
}

func text(c *policy.Constraint) string {
	left := c.Field
	switch c.Kind {
	case policy.ValueCondition:
		left = c.Value.JSON()
	case policy.CountCondition:
		left = "count of " + c.Count.Field
	}
	return left + " " + c.Operator.String() + " " + c.Operand.JSON()
}

func (c *coverage) see(e *policy.Explanation) {
	if e == nil || e.Skipped {
		return
	}
	if i, ok := c.index[e.Path]; ok && !e.Failed {
		c.conditions[i].Held = c.conditions[i].Held || e.Held
		c.conditions[i].NotHeld = c.conditions[i].NotHeld || !e.Held
	}
	for _, child := range e.Children {
		c.see(child)
	}
}

// Uncovered returns the conditions that were not seen both ways.
func (f File) Uncovered() []Condition {
	return slices.DeleteFunc(slices.Clone(f.Coverage), Condition.Covered)
}
