// Package explain shows to a person why a policy came to its verdict: the tree of
// conditions with the path, the actual value, the operator and the wanted value.
// It renders what package policy found; commands and reports use it.
package explain

import (
	"fmt"
	"io"
	"strings"

	"hallmark.dev/hallmark/internal/policy"
)

// Text writes the verdict and, if there is one, the tree. Every line of the tree
// starts with a word that says how it went, so nothing depends on colour.
func Text(w io.Writer, v policy.Verdict, tree *policy.Explanation) error {
	var b strings.Builder
	b.WriteString(Headline(v) + "\n")
	if tree != nil {
		b.WriteString("\n")
		node(&b, tree, 0)
	}
	for _, d := range v.Diagnostics {
		fmt.Fprintf(&b, "\nnote: %s: %s\n", d.Path, d.Message)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Headline is the verdict in one line.
func Headline(v policy.Verdict) string {
	switch v.State {
	case policy.Hit:
		return "effect: " + v.Effect
	case policy.NotApplicable:
		return "not applicable: " + v.Reason
	case policy.Failed:
		return "error: " + v.Problem.Error()
	}
	if v.Reason != "" {
		return "none: " + v.Reason
	}
	return "none: the rule does not hold"
}

// Tree writes a tree alone, every line behind an indentation.
func Tree(w io.Writer, tree *policy.Explanation, indent string) error {
	var b strings.Builder
	if tree != nil {
		node(&b, tree, 0)
	}
	for line := range strings.Lines(b.String()) {
		if _, err := io.WriteString(w, indent+line); err != nil {
			return err
		}
	}
	return nil
}

func node(b *strings.Builder, e *policy.Explanation, depth int) {
	fmt.Fprintf(b, "%s%-5s  %s\n", strings.Repeat("  ", depth), word(e), Sentence(e))
	for _, child := range e.Children {
		node(b, child, depth+1)
	}
}

func word(e *policy.Explanation) string {
	switch {
	case e.Skipped:
		return "-"
	case e.Failed:
		return "error"
	case e.Unknown:
		return "open"
	case e.Held:
		return "true"
	}
	return "false"
}

// Sentence is one condition in words: what was looked at, what was there, and
// what was wanted.
func Sentence(e *policy.Explanation) string {
	if e.Operator == "" {
		return strings.TrimSpace(e.Kind + " " + e.Subject)
	}
	subject := e.Subject
	if e.Kind == "count" {
		subject = "count of " + subject
	}
	s := subject + " " + e.Operator
	if e.Wanted != nil {
		s += " " + shorten(e.Wanted.JSON())
	}
	switch {
	case e.Skipped:
		s += ": not needed"
	case e.Unknown:
		s += ": it is not known yet"
	case e.Missing:
		s += ": it does not exist"
	case e.Actual != nil:
		s += ": it is " + shorten(e.Actual.JSON())
	}
	if e.Address != "" && !strings.EqualFold(e.Address, e.Subject) {
		s += " (at " + e.Address + ")"
	}
	return s
}

func shorten(s string) string {
	const most = 100
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// Reasons returns the conditions that made the rule hold, as Azure lists the
// reasons for non-compliance: the leaves that held on the way to the outcome.
func Reasons(tree *policy.Explanation) []*policy.Explanation {
	if tree == nil {
		return nil
	}
	return reasons(nil, tree, true)
}

// reasons collects the leaves that decide whether e is what it is; want turns at
// every not.
func reasons(into []*policy.Explanation, e *policy.Explanation, want bool) []*policy.Explanation {
	switch {
	case e.Skipped || e.Unknown || e.Held != want:
		return into
	case e.Kind == "not":
		return reasons(into, e.Children[0], !want)
	case e.Kind == "allOf" || e.Kind == "anyOf":
		for _, child := range e.Children {
			into = reasons(into, child, want)
		}
		return into
	case e.Kind == "existence":
		return into
	}
	return append(into, e)
}
