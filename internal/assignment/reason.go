package assignment

import (
	"fmt"
	"strings"

	"hallmark.dev/hallmark/internal/policy"
)

// Expression is one comparison behind a verdict, in the shape of Azure's
// evaluationDetails.evaluatedExpressions.
type Expression struct {
	Result          string        `json:"result"` // True or False
	ExpressionKind  string        `json:"expressionKind"`
	Expression      string        `json:"expression"`
	Path            string        `json:"path"`
	ExpressionValue *policy.Value `json:"expressionValue,omitempty"`
	TargetValue     *policy.Value `json:"targetValue,omitempty"`
	Operator        string        `json:"operator"`
}

// Expressions are the comparisons of an explanation that led to its outcome, in the
// order of the rule.
func Expressions(tree *policy.Explanation) []Expression {
	out := []Expression{}
	var walk func(e *policy.Explanation)
	walk = func(e *policy.Explanation) {
		if e == nil || e.Skipped {
			return
		}
		if e.Operator != "" {
			out = append(out, expression(e))
			return
		}
		for _, c := range e.Children {
			walk(c)
		}
	}
	walk(tree)
	return out
}

func expression(e *policy.Explanation) Expression {
	x := Expression{Result: "False", ExpressionKind: capital(e.Kind), Expression: e.Subject, Path: e.Address,
		ExpressionValue: e.Actual, TargetValue: e.Wanted, Operator: capital(e.Operator)}
	if e.Held {
		x.Result = "True"
	}
	if x.Path == "" {
		x.Path = e.Subject
	}
	return x
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// String is the comparison as a sentence: what is there, and what the rule asked.
func (x Expression) String() string {
	actual := "missing"
	if x.ExpressionValue != nil {
		actual = x.ExpressionValue.JSON()
	}
	asked := strings.ToLower(x.Operator[:min(len(x.Operator), 1)]) + x.Operator[min(len(x.Operator), 1):]
	if x.Result != "True" {
		asked = "not " + asked
	}
	if x.TargetValue != nil {
		asked += " " + x.TargetValue.JSON()
	}
	return fmt.Sprintf("%s is %s (rule: %s)", x.Path, actual, asked)
}

// Reasons are the comparisons of an explanation as sentences, without those that say
// nothing: that the type is the one that the rule asks for, and that something exists
// of which another comparison tells the value.
func Reasons(tree *policy.Explanation) []string {
	all := Expressions(tree)
	told := map[string]bool{}
	for _, x := range all {
		told[x.Path] = told[x.Path] || x.Operator != "Exists"
	}
	out := []string{}
	for _, x := range all {
		if !strings.EqualFold(x.Expression, "type") && (x.Operator != "Exists" || !told[x.Path]) {
			out = append(out, x.String())
		}
	}
	return out
}
