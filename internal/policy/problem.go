package policy

import (
	"fmt"
	"strings"

	"hallmark.dev/hallmark/internal/expr/value"
)

// Code classifies a Problem, in the manner of ARM's error codes.
type Code string

// The codes of problems.
const (
	InvalidJSON        Code = "InvalidJson"
	DuplicateKey       Code = "DuplicateKey"
	InvalidDefinition  Code = "InvalidPolicyDefinition"
	InvalidRule        Code = "InvalidPolicyRule"
	InvalidExpression  Code = "InvalidTemplateExpression"
	InvalidAlias       Code = "InvalidPolicyAlias"
	NotModifiable      Code = "PolicyAliasNotModifiable"
	InvalidParameter   Code = "InvalidPolicyParameter"
	UndefinedParameter Code = "UndefinedPolicyParameter"
	TooComplex         Code = "PolicyTooComplex"
	EvaluationFailed   Code = "PolicyEvaluationFailed"
)

// Problem is one thing that is wrong, and where.
type Problem struct {
	Code    Code
	Path    string // JSON path, for instance policyRule.if.allOf[0].equals
	Line    int    // from 1; 0 when the text is not known
	Column  int    // in bytes from 1
	Message string
}

func (p Problem) Error() string {
	where := p.Path
	if p.Line > 0 {
		where = strings.TrimPrefix(fmt.Sprintf("%s (line %d, column %d)", p.Path, p.Line, p.Column), " ")
	}
	if where == "" {
		return p.Message
	}
	return where + ": " + p.Message
}

// Problems is every problem of a definition, in the order of its text.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// err returns nil for no problems, so that it can be returned as an error.
func (ps Problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// report collects problems; text is what the positions refer to.
type report struct {
	text     string
	problems Problems
}

// most problems that one definition is told.
const maxProblems = 100

func (r *report) add(code Code, path string, pos int, format string, args ...any) {
	if len(r.problems) >= maxProblems {
		return
	}
	p := Problem{Code: code, Path: path, Message: fmt.Sprintf(format, args...)}
	if r.text != "" {
		p.Line, p.Column = value.Position(r.text, pos)
	}
	r.problems = append(r.problems, p)
}
