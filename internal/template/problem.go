package template

import (
	"fmt"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/expr/value"
)

// CodeInvalidTemplate is ARM's code of every problem, with parameters too.
const CodeInvalidTemplate = "InvalidTemplate"

// Problem is one thing that is wrong with a template or its parameters.
type Problem struct {
	Code    string
	Message string
	Path    string // in the template: "resources[0].properties.osProfile"; "" for the whole
	Line    int    // of the text given to Parse, from 1; 0 if it is about no place in it
	Column  int    // in bytes, from 1
}

func (p *Problem) Error() string {
	if p.Line == 0 {
		return p.Message
	}
	return fmt.Sprintf("line %d, column %d: %s", p.Line, p.Column, p.Message)
}

// Problems is everything that is wrong, in the order of the text.
type Problems []*Problem

func (ps Problems) Error() string {
	var lines []string
	for _, p := range ps {
		lines = append(lines, p.Error())
	}
	return strings.Join(lines, "\n")
}

// maxProblems bounds what one template may report.
const maxProblems = 50

// report collects problems of one text.
type report struct {
	text     string
	problems Problems
}

func (r *report) add(at value.Value, path, format string, args ...any) {
	r.addAt(at.Pos(), path, format, args...)
}

func (r *report) addAt(pos int, path, format string, args ...any) {
	if len(r.problems) >= maxProblems {
		return
	}
	line, column := value.Position(r.text, pos)
	p := &Problem{Code: CodeInvalidTemplate, Message: fmt.Sprintf(format, args...), Path: path, Line: line, Column: column}
	if !slices.ContainsFunc(r.problems, func(q *Problem) bool { return *q == *p }) {
		r.problems = append(r.problems, p)
	}
}

// addGlobal is a problem about no place in the text.
func (r *report) addGlobal(format string, args ...any) {
	r.problems = append(r.problems, &Problem{Code: CodeInvalidTemplate, Message: fmt.Sprintf(format, args...)})
}

// err is all problems, or nil.
func (r *report) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems, func(a, b *Problem) int { return a.Line - b.Line })
	return r.problems
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func element(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// clip shortens what a message repeats.
func clip(s string) string {
	const most = 120
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
