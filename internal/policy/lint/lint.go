// Package lint looks at policy definitions for what is wrong, and for what is
// probably not meant: unknown and deprecated aliases, conditions that can never
// hold, rules that forget to ask for a type, modes that do not fit.
//
// It reads definitions only, never resources. Commands and pull request checks
// use it.
package lint

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/expr"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/policy/alias"
)

// Severity says how bad a finding is.
type Severity string

// The severities. An error keeps the definition from working.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Info    Severity = "info"
)

// Finding is one remark.
type Finding struct {
	Rule     string   `json:"rule"`
	Severity Severity `json:"severity"`
	Path     string   `json:"path"`
	Line     int      `json:"line,omitempty"`
	Column   int      `json:"column,omitempty"`
	Message  string   `json:"message"`
}

// Definition looks at the text of a definition, or of a bare policy rule. The
// findings are in the order of the text where that is known.
func Definition(text string, aliases *alias.Table) []Finding {
	def, err := parse(text)
	if err != nil {
		return problems(err)
	}
	p, err := policy.Compile(def, policy.Options{Aliases: aliases, TolerateUnknownAliases: true})
	if err != nil {
		return problems(err)
	}
	l := &linter{def: def, program: p, aliases: aliases, text: text}
	for _, w := range p.Warnings() {
		rule := "unknown-alias"
		if strings.Contains(w.Message, "is deprecated") {
			rule = "deprecated-alias"
		}
		l.findings = append(l.findings, Finding{rule, Warning, w.Path, w.Line, w.Column, w.Message})
	}
	l.parameters()
	l.constraint(def.If)
	l.types()
	l.mode()
	l.delay()
	slices.SortStableFunc(l.findings, func(a, b Finding) int { return 1000*(a.Line-b.Line) + a.Column - b.Column })
	return l.findings
}

func parse(text string) (*policy.Definition, error) {
	if v, err := value.Parse(text); err == nil && !v.Find(value.NewKey("if")).IsUndefined() {
		return policy.ParseRule(text)
	}
	return policy.ParseDefinition(text)
}

func problems(err error) []Finding {
	var list policy.Problems
	if !errors.As(err, &list) {
		return []Finding{{Rule: "invalid", Severity: Error, Message: err.Error()}}
	}
	var findings []Finding
	for _, p := range list {
		findings = append(findings, Finding{string(p.Code), Error, p.Path, p.Line, p.Column, p.Message})
	}
	return findings
}

type linter struct {
	def      *policy.Definition
	program  *policy.Program
	aliases  *alias.Table
	text     string
	findings []Finding
}

// delay reports an evaluationDelay that says nothing: it is taken as absent.
func (l *linter) delay() {
	d := l.def.Details.Find(value.NewKey("evaluationDelay"))
	if d.IsNothing() || d.Kind() == value.String && expr.IsExpression(d.Str()) {
		return
	}
	err := error(errors.New("evaluationDelay is no text"))
	if d.Kind() == value.String {
		_, err = policy.ParseDelay(d.Str())
	}
	if err != nil {
		l.add("bad-delay", Warning, "policyRule.then.details.evaluationDelay", d.Pos(), "%v", err)
	}
}

func (l *linter) add(rule string, s Severity, path string, pos int, format string, args ...any) {
	f := Finding{Rule: rule, Severity: s, Path: path, Message: fmt.Sprintf(format, args...)}
	if pos > 0 {
		f.Line, f.Column = value.Position(l.text, pos)
	}
	l.findings = append(l.findings, f)
}

// parameters reports what is declared but not used, used but not declared, and
// defaults that are not allowed.
func (l *linter) parameters() {
	used := usedParameters(l.text)
	for _, p := range l.def.Parameters {
		key := value.LowerASCII(p.Name)
		path := "parameters." + p.Name
		if _, ok := used[key]; !ok {
			l.add("unused-parameter", Warning, path, 0, "the parameter %s is declared but never used", p.Name)
		}
		if !p.Default.IsUndefined() {
			for _, problem := range policy.CheckParameters([]policy.Parameter{p}, value.FromFields([]value.Field{{Key: p.Name, Value: p.Default}})) {
				l.add("bad-default", Warning, path+".defaultValue", p.Default.Pos(), "the default: %s", problem.Message)
			}
		}
	}
	for key, name := range used {
		if _, ok := l.def.ParameterNamed(key); !ok && !strings.Contains(l.text, `"deployment"`) {
			l.add("undeclared-parameter", Warning, "parameters", 0, "parameters('%s') is used, but no such parameter is declared", name)
		}
	}
}

// usedParameters finds the names in parameters('name') anywhere in a text.
func usedParameters(text string) map[string]string {
	used := map[string]string{}
	lower := value.LowerASCII(text)
	for at := 0; ; {
		i := strings.Index(lower[at:], "parameters(")
		if i < 0 {
			return used
		}
		at += i + len("parameters(")
		rest := strings.TrimLeft(text[at:], " ")
		if end := strings.IndexByte(strings.TrimPrefix(rest, "'"), '\''); strings.HasPrefix(rest, "'") && end >= 0 {
			name := rest[1 : end+1]
			used[value.LowerASCII(name)] = name
		}
	}
}

// constraint walks a rule and its counts.
func (l *linter) constraint(c *policy.Constraint) {
	switch c.Kind {
	case policy.AllOf:
		l.contradictions(c)
		fallthrough
	case policy.AnyOf:
		if len(c.Children) == 0 {
			l.add("empty-list", Warning, c.Path, c.Pos, "an empty %s is always %v", c.Kind, c.Kind == policy.AllOf)
		}
		fallthrough
	case policy.Not:
		for _, child := range c.Children {
			l.constraint(child)
		}
		return
	case policy.CountCondition:
		l.count(c)
		if c.Count.Where != nil {
			l.constraint(c.Count.Where)
		}
	}
	l.operand(c)
}

// contradictions finds two equals on one field in an allOf that no value meets.
func (l *linter) contradictions(c *policy.Constraint) {
	wanted := map[string]*policy.Constraint{}
	for _, child := range c.Children {
		if child.Kind != policy.FieldCondition || child.Operator != policy.Equals || !isConstant(child.Operand) || strings.Contains(child.Field, "[") {
			continue
		}
		key := value.LowerASCII(child.Field)
		if before, ok := wanted[key]; ok && !value.Equal(before.Operand, child.Operand) {
			l.add("never-holds", Warning, child.Path, child.Pos, "%s cannot equal both %s and %s, so the allOf never holds", child.Field, before.Operand.JSON(), child.Operand.JSON())
		}
		wanted[key] = child
	}
}

func isConstant(v value.Value) bool {
	return v.Kind() != value.String || !strings.HasPrefix(v.Str(), "[") || strings.HasPrefix(v.Str(), "[[")
}

// operand finds operators with operands that make no sense.
func (l *linter) operand(c *policy.Constraint) {
	if !isConstant(c.Operand) {
		return
	}
	kind := c.Operand.Kind()
	composite := kind == value.Array || kind == value.Object || kind == value.Null
	switch c.Operator {
	case policy.Greater, policy.GreaterOrEquals, policy.Less, policy.LessOrEquals:
		if composite {
			l.add("never-holds", Warning, c.Path, c.Pos, "%s with the %s is always false", c.Operator, kind)
		}
	case policy.In, policy.NotIn:
		if kind != value.Array {
			l.add("not-a-list", Warning, c.Path, c.Pos, "%s wants an array, not the %s", c.Operator, kind)
		} else if c.Operand.Len() == 0 {
			l.add("never-holds", Warning, c.Path, c.Pos, "%s with an empty array is always %v", c.Operator, c.Operator == policy.NotIn)
		}
	case policy.LikeOperator, policy.NotLike, policy.Match, policy.NotMatch, policy.MatchInsensitively, policy.NotMatchInsensitively:
		if composite {
			l.add("never-holds", Warning, c.Path, c.Pos, "%s wants text, not the %s", c.Operator, kind)
		} else if s := c.Operand.Str(); c.Operator <= policy.NotLike && !strings.ContainsAny(s, "*?") {
			l.add("like-without-wildcard", Info, c.Path, c.Pos, "%s without a * compares like equals", c.Operator)
		}
	case policy.Exists:
		if text := value.LowerASCII(c.Operand.Str()); kind != value.Bool && text != "true" && text != "false" {
			l.add("bad-exists", Warning, c.Path, c.Pos, "exists wants true or false; %s counts as false", c.Operand.JSON())
		}
	}
}

// count finds numbers that a count never reaches.
func (l *linter) count(c *policy.Constraint) {
	if c.Operand.Kind() != value.Int {
		return
	}
	n := c.Operand.Int64()
	never := c.Operator == policy.Less && n <= 0 || c.Operator == policy.LessOrEquals && n < 0 || c.Operator == policy.Equals && n < 0
	always := c.Operator == policy.GreaterOrEquals && n <= 0 || c.Operator == policy.Greater && n < 0 || c.Operator == policy.NotEquals && n < 0
	if never || always {
		l.add("never-holds", Warning, c.Path, c.Pos, "a count %s %d is always %v", c.Operator, n, always)
	}
}

// types compares the aliases of the rule with the types that it asks for.
func (l *linter) types() {
	if l.aliases == nil {
		return
	}
	asked := l.program.Types()
	reported := map[string]bool{}
	for _, u := range aliasesOf(nil, l.def.If) {
		found := l.aliases.Lookup(u.name)
		if len(found) == 0 || reported[u.name] {
			continue
		}
		reported[u.name] = true
		switch {
		case asked == nil:
			l.add("no-type-guard", Warning, u.path, u.pos, "the rule looks at %s of %s but does not ask for that type: on other types the field is missing, and negated operators hold", u.name, found[0].Type)
			return
		case len(asked) > 0 && !slices.ContainsFunc(found, func(a alias.Alias) bool { return slices.Contains(asked, value.LowerASCII(a.Type)) }):
			l.add("alias-of-other-type", Warning, u.path, u.pos, "%s belongs to %s, but the rule only holds for %s", u.name, found[0].Type, strings.Join(asked, ", "))
		}
	}
}

// use is a field name and where it stands.
type use struct {
	name, path string
	pos        int
}

func aliasesOf(into []use, c *policy.Constraint) []use {
	name := c.Field
	if c.Kind == policy.CountCondition {
		name = c.Count.Field
		if c.Count.Where != nil {
			into = aliasesOf(into, c.Count.Where)
		}
	}
	if strings.Contains(name, "/") && !strings.HasPrefix(name, "[") {
		into = append(into, use{name, c.Path, c.Pos})
	}
	for _, child := range c.Children {
		into = aliasesOf(into, child)
	}
	return into
}

// mode finds a mode that leaves out what the rule asks for.
func (l *linter) mode() {
	switch mode := value.LowerASCII(l.def.Mode); {
	case mode == "" || mode == "all" || strings.Contains(mode, "."):
		return
	case mode != "indexed":
		l.add("unknown-mode", Warning, "mode", 0, "%s is not a mode: All and Indexed are, and those of data planes such as Microsoft.Kubernetes.Data", l.def.Mode)
		return
	}
	for _, typ := range l.program.Types() {
		if !policy.TypeIsIndexed(typ) {
			l.add("mode-does-not-fit", Warning, "mode", 0, "mode Indexed leaves out %s, which has no tags and location; use All", typ)
		}
	}
}
