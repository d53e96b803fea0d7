package policy

import (
	"errors"
	"fmt"
	"strings"

	"hallmark.dev/hallmark/internal/expr"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy/alias"
)

// Options says what a definition is compiled against.
type Options struct {
	// Aliases resolves field names; nil: field paths address the document directly.
	Aliases *alias.Table
	// TolerateUnknownAliases turns an unknown alias from an error into a warning;
	// its short name then addresses the document.
	TolerateUnknownAliases bool
	// Parameters is an object of plain values; names ignore case.
	Parameters Value
}

// Program is a definition compiled for one set of parameters. It is immutable
// and safe for concurrent use.
type Program struct {
	def      *Definition
	options  Options
	plan     *plan
	types    []string
	warnings Problems
	looks    looksAt
	disabled bool // whatever the resource
}

// plan is the executable form of a definition.
type plan struct {
	rule       test
	effect     operand
	family     Effect // where effect is constant
	effectPath string
	existence  test
	details    details
	slots      int
	fields     int // one more than the highest field number
	groups     int
}

// Compile compiles a definition. The error is a Problems with everything that is
// wrong.
func Compile(def *Definition, options Options) (*Program, error) {
	c := newCompiler(def, options, true)
	plan := c.plan()
	if err := c.problems.err(); err != nil {
		return nil, err
	}
	p := &Program{def: def, options: options, plan: plan, warnings: c.warnings.problems, looks: modeNamed(def.Mode)}
	p.disabled = plan.family == Disabled
	p.types = onlyTypes(plan.rule)
	return p, nil
}

// Definition returns what was compiled.
func (p *Program) Definition() *Definition { return p.def }

// Warnings returns what Compile tolerated.
func (p *Program) Warnings() Problems { return p.warnings }

// Types returns the resource types, in lower case, that the rule can only hold
// for; nil when it may hold for any.
func (p *Program) Types() []string { return p.types }

// compiler turns a definition into a plan.
type compiler struct {
	report
	warnings report
	def      *Definition
	options  Options
	fold     bool // leave out what parameters decide
	scopes   []scope
	slots    int

	fieldNumbers, groupNumbers int // one more than the highest in use

	writing bool // the field is one to change: only its own types have it
	at      string
	atPos   int

	track   bool         // keep what conditions read
	depends []dependency // what was read so far
}

// scope is a count around the code being compiled.
type scope struct {
	name   string // of a value count
	prefix string // of a field count: the field up to and with this [*], in lower case
	ref    *ref   // of a field count: the whole field
	level  int    // which [*] of the field's path, from 1
	slot   int    // where the current element is
}

// newCompiler tolerates unknown aliases in definitions for a data plane: they are
// stored and listed, but only that service evaluates them, with its own aliases.
func newCompiler(def *Definition, options Options, fold bool) *compiler {
	options.TolerateUnknownAliases = options.TolerateUnknownAliases || isDataPlane(def.Mode)
	return &compiler{report: report{text: def.text}, warnings: report{text: def.text}, def: def, options: options, fold: fold}
}

func (c *compiler) plan() *plan {
	p := &plan{rule: c.test(c.def.If)}
	if c.def.existence != nil {
		p.existence = c.test(c.def.existence)
	}
	p.effectPath = join(c.def.rulePath, "then.effect")
	p.effect = c.text(c.def.Effect, p.effectPath, c.def.effectPos)
	if p.effect.code == nil {
		p.family = EffectNamed(p.effect.constant.Str())
	}
	p.details = c.details(p.effect)
	p.slots, p.fields, p.groups = c.slots, c.fieldNumbers, c.groupNumbers
	return p
}

// operand is a value: constant, or code.
type operand struct {
	constant Value
	code     expr.Code
}

func constantOperand(v Value) operand { return operand{constant: v} }

// value evaluates the operand; ok is false when that failed.
func (o *operand) value(f *frame, path string) (Value, bool) {
	if o.code == nil {
		return o.constant, true
	}
	v, err := o.code(&f.env)
	if err != nil {
		f.fail(path, err)
		return Value{}, false
	}
	return v, true
}

// operand compiles a JSON value in which strings may be expressions. When a part
// of an array or object does not exist, neither does the whole.
func (c *compiler) operand(v Value, path string) operand {
	switch v.Kind() {
	case value.String:
		return c.text(v.Str(), path, v.Pos())
	case value.Array, value.Object:
		return c.composite(v, path)
	}
	return constantOperand(v)
}

func (c *compiler) text(s, path string, pos int) operand {
	if !expr.IsExpression(s) {
		return constantOperand(value.FromString(expr.Unescape(s)))
	}
	return c.expression(s, path, pos)
}

func (c *compiler) expression(s, path string, pos int) operand {
	c.at, c.atPos = path, pos
	node, err := expr.Parse(s)
	if err != nil {
		c.expressionProblem(err)
		return operand{}
	}
	program, err := expr.Compile(s, node, expr.Policy, binder{c})
	if err != nil {
		c.expressionProblem(err)
		return operand{}
	}
	if v, ok := program.Const(); ok {
		return constantOperand(v)
	}
	return operand{code: program.Eval}
}

// expressionProblem reports every error in a tree of joined ones.
func (c *compiler) expressionProblem(err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			c.expressionProblem(e)
		}
		return
	}
	var p *problemError
	if errors.As(err, &p) {
		c.add(p.code, c.at, c.atPos, "%s", p.message)
		return
	}
	c.add(InvalidExpression, c.at, c.atPos, "%s", err)
}

// problemError lets a binder choose the code of a problem.
type problemError struct {
	code    Code
	message string
}

func (e *problemError) Error() string { return e.message }

func (c *compiler) composite(v Value, path string) operand {
	parts := make([]operand, v.Len())
	dynamic := false
	for i := range parts {
		at := fmt.Sprintf("%s[%d]", path, i)
		if v.Kind() == value.Object {
			at = join(path, v.Key(i))
		}
		parts[i] = c.operand(v.At(i), at)
		dynamic = dynamic || parts[i].code != nil
	}
	build := func(env *expr.Env) (Value, error) { return assemble(v, parts, env) }
	if dynamic {
		return operand{code: build}
	}
	constant, _ := build(nil)
	return constantOperand(constant)
}

// assemble makes an array or object like v from evaluated parts.
func assemble(v Value, parts []operand, env *expr.Env) (Value, error) {
	values := make([]Value, len(parts))
	for i := range parts {
		values[i] = parts[i].constant
		if parts[i].code != nil {
			var err error
			if values[i], err = parts[i].code(env); err != nil {
				return Value{}, err
			}
		}
		if values[i].IsUndefined() {
			return Value{}, nil
		}
	}
	if v.Kind() == value.Array {
		return value.FromSlice(values), nil
	}
	fields := make([]value.Field, len(values))
	for i := range values {
		fields[i] = value.Field{Key: v.Key(i), Value: values[i]}
	}
	return value.FromFields(fields), nil
}

// parameter returns the value of a parameter: the caller's, even null, else the
// default, else Undefined.
func (c *compiler) parameter(name string) Value {
	if v := c.options.Parameters.Find(value.NewKey(name)); !v.IsUndefined() {
		return v
	}
	p, _ := c.def.ParameterNamed(name)
	return unescaped(p.Default)
}

// unescaped turns the leading [[ of the strings in a literal into [.
func unescaped(v Value) Value {
	switch v.Kind() {
	case value.String:
		if strings.HasPrefix(v.Str(), "[[") {
			return value.FromString(expr.Unescape(v.Str()))
		}
	case value.Array:
		elems := make([]Value, v.Len())
		for i, e := range v.Elems() {
			elems[i] = unescaped(e)
		}
		return value.FromSlice(elems)
	case value.Object:
		fields := make([]value.Field, v.Len())
		for i := range fields {
			fields[i] = value.Field{Key: v.Key(i), Value: unescaped(v.At(i))}
		}
		return value.FromFields(fields)
	}
	return v
}
