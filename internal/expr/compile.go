package expr

import (
	"errors"
	"fmt"

	"hallmark.dev/hallmark/internal/expr/value"
)

// Value is what an expression computes with.
type Value = value.Value

// Dialect is one of the languages that embed these expressions, or a set of them.
type Dialect uint8

// The dialects.
const (
	Policy     Dialect = 1 << iota // Azure Policy rules
	Deployment                     // ARM deployment templates
	DSC                            // DSC v3 configuration documents
)

var dialectNames = map[Dialect]string{Policy: "policies", Deployment: "deployments", DSC: "DSC documents"}

// Code is a compiled piece of an expression.
type Code func(*Env) (Value, error)

// Host answers the functions that depend on where an expression stands:
// parameters, variables, reference, resourceGroup, utcNow and the like.
type Host interface {
	// CallHost is asked at run time with evaluated arguments; name is spelled as
	// in the table, or as written for a user-defined function. An error's text
	// becomes the reason of the *Error.
	CallHost(name string, args []Value) (Value, error)
}

// Binder is an optional ability of a compile-time host: to turn a call of a host
// function into code of its own, for instance a constant parameter or a field
// path resolved beforehand.
type Binder interface {
	// Bind answers ok = false to leave the call to CallHost.
	Bind(c *Compiler, call *Call) (bound Bound, ok bool, err error)
}

// Bound is what a Binder makes of a call: Code, or a Value known beforehand.
type Bound struct {
	Code  Code // nil: Value
	Value Value
}

// Env is the state of one evaluation. The zero Env with a Host is ready. It may
// be reused for further evaluations, but not by two goroutines at once.
type Env struct {
	Host  Host
	stack []Value // arguments of the calls in progress
	vars  []Value // lambda variables in scope
	steps int     // lambda bodies evaluated so far
	made  int     // what functions have produced since Reset
}

// MaxProduced bounds what the functions called with one Env may produce until it
// is Reset: elements of arrays and objects, and 64 bytes of text counting as one.
const MaxProduced = 1_000_000

var errProduced = fmt.Errorf("the functions produce more than %d elements", MaxProduced)

// Reset lets the functions produce anew; a caller that evaluates several programs
// for one purpose calls it once.
func (e *Env) Reset() { e.made = 0 }

// charge counts what a function produced.
func (e *Env) charge(v Value) error {
	switch v.Kind() {
	case value.String:
		e.made += len(v.Str()) >> 6
	case value.Array, value.Object:
		e.made += v.Len()
	}
	if e.made > MaxProduced {
		return errProduced
	}
	return nil
}

// Program is a compiled expression; it is immutable.
type Program struct {
	text     string
	code     Code
	constant Value
	isConst  bool
}

// Compiler turns nodes into code; a Binder may use it for a call's arguments.
type Compiler struct {
	dialect Dialect
	binder  Binder
	text    string
	lambdas []string // names of the lambda variables in scope
	env     Env      // for what is computed when compiling
}

// Compile compiles a parsed expression. Unknown functions, functions of another
// dialect and wrong numbers of arguments are reported together, joined. binder
// may be nil.
func Compile(text string, node Node, dialect Dialect, binder Binder) (*Program, error) {
	c := &Compiler{dialect: dialect, binder: binder, text: text, env: Env{made: MaxProduced - maxFolded}}
	code, err := c.compile(node)
	if err != nil {
		return nil, err
	}
	p := &Program{text: text, code: code.run, constant: code.constant, isConst: code.isConst}
	return p, nil
}

// Eval evaluates the program. Undefined means that something it names does not
// exist. The error is an *Error.
func (p *Program) Eval(env *Env) (Value, error) {
	if p.isConst {
		return p.constant, nil
	}
	env.stack, env.vars = env.stack[:0], env.vars[:0]
	env.steps = 0
	return p.code(env)
}

// Const returns the program's value when that does not depend on anything.
func (p *Program) Const() (Value, bool) { return p.constant, p.isConst }

// String returns the expression as written.
func (p *Program) String() string { return p.text }

// compiled is code, or a constant known beforehand.
type compiled struct {
	run      Code
	constant Value
	isConst  bool
}

func constant(v Value) compiled {
	return compiled{constant: v, isConst: true, run: func(*Env) (Value, error) { return v, nil }}
}

// Constant returns the value of an argument that depends on nothing.
func (c *Compiler) Constant(n Node) (Value, bool) {
	code, err := c.compile(n)
	return code.constant, err == nil && code.isConst
}

// Fail returns an *Error at a node.
func (c *Compiler) Fail(at Node, function, reason string) error {
	return &Error{Text: c.text, Offset: at.Pos(), Function: function, Reason: reason}
}

// Code compiles an argument.
func (c *Compiler) Code(n Node) (Code, error) {
	code, err := c.compile(n)
	return code.run, err
}

func (c *Compiler) compile(n Node) (compiled, error) {
	switch n := n.(type) {
	case *Literal:
		return constant(n.Value), nil
	case *Property:
		of, err := c.compile(n.Of)
		return c.property(of, n.Name), err
	case *Index:
		of, err1 := c.compile(n.Of)
		at, err2 := c.compile(n.At)
		return c.index(of, at), errors.Join(err1, err2)
	case *Call:
		return c.call(n)
	}
	return compiled{}, fmt.Errorf("expr: unknown node %T", n)
}

func (c *Compiler) property(of compiled, name string) compiled {
	get := func(v Value) Value { return v.Get(name) }
	if c.dialect == Deployment {
		key := value.NewKey(name)
		get = func(v Value) Value { return v.Find(key) }
	}
	if of.isConst {
		return constant(get(of.constant))
	}
	return compiled{run: func(env *Env) (Value, error) {
		v, err := of.run(env)
		if err != nil {
			return v, err
		}
		return get(v), nil
	}}
}

func (c *Compiler) index(of, at compiled) compiled {
	if of.isConst && at.isConst {
		return constant(c.element(of.constant, at.constant))
	}
	return compiled{run: func(env *Env) (Value, error) {
		v, err := of.run(env)
		if err != nil {
			return v, err
		}
		i, err := at.run(env)
		if err != nil {
			return i, err
		}
		return c.element(v, i), nil
	}}
}

// element is v[i]: an object by key, an array by non-negative integer; anything
// else does not exist.
func (c *Compiler) element(v, i Value) Value {
	switch {
	case v.Kind() == value.Object && i.Kind() == value.String && c.dialect == Deployment:
		return v.Find(value.NewKey(i.Str()))
	case v.Kind() == value.Object && i.Kind() == value.String:
		return v.Get(i.Str())
	case v.Kind() == value.Array && i.Kind() == value.Int:
		return v.At(int(i.Int64()))
	}
	return Value{}
}

func (c *Compiler) call(call *Call) (compiled, error) {
	fn, err := c.lookup(call)
	if err != nil {
		return compiled{}, errors.Join(err, c.argumentErrors(call))
	}
	if err := c.checkArity(call, fn); err != nil {
		return compiled{}, errors.Join(err, c.argumentErrors(call))
	}
	switch {
	case fn.lazy != notLazy:
		return c.lazyCall(fn.lazy, call)
	case fn.host && c.binder != nil:
		bound, ok, err := c.binder.Bind(c, call)
		switch {
		case err != nil:
			return compiled{}, err
		case ok && bound.Code == nil:
			return constant(bound.Value), nil
		case ok:
			return compiled{run: bound.Code}, nil
		}
	}
	args, err := c.args(call)
	if err != nil {
		return compiled{}, err
	}
	if fn.host {
		return c.hostCall(call, fn.Name, args), nil
	}
	return c.pureCall(call, fn, args), nil
}

// lookup finds the function's row for the dialect. A dotted name is the user's.
func (c *Compiler) lookup(call *Call) (*Function, error) {
	fn, known := find(call.Name, c.dialect)
	switch {
	case fn != nil:
		return fn, nil
	case isUserDefined(call.Name) && c.dialect != Policy:
		return &Function{Name: call.Name, In: c.dialect, Max: -1, host: true}, nil
	case known:
		return nil, c.Fail(call, call.Name, "this function cannot be called in "+dialectNames[c.dialect])
	}
	return nil, c.Fail(call, call.Name, "there is no such function")
}

func (c *Compiler) checkArity(call *Call, fn *Function) error {
	n := len(call.Args)
	if n >= fn.Min && (n <= fn.Max || fn.Max < 0) {
		return nil
	}
	return c.Fail(call, fn.Name, fmt.Sprintf("%s, not %d", fn.arity(), n))
}

// argumentErrors compiles the arguments for their errors only.
func (c *Compiler) argumentErrors(call *Call) error {
	_, err := c.args(call)
	return err
}

func (c *Compiler) args(call *Call) ([]compiled, error) {
	args := make([]compiled, len(call.Args))
	var errs []error
	for i, n := range call.Args {
		code, err := c.compile(n)
		args[i], errs = code, append(errs, err)
	}
	return args, errors.Join(errs...)
}

// maxFolded bounds what is computed when compiling one expression, since that
// stays in memory with the program; the rest is left to run time.
const maxFolded = 2_000

// pureCall computes now what depends on constants only; if that fails it is left
// to run time, because the branch may never be taken.
func (c *Compiler) pureCall(call *Call, fn *Function, args []compiled) compiled {
	code := c.evaluated(call, fn.Name, args, func(_ *Env, values []Value) (Value, error) { return fn.call(values) })
	for _, a := range args {
		if !a.isConst {
			return compiled{run: code}
		}
	}
	if v, err := code(&c.env); err == nil {
		return constant(v)
	}
	return compiled{run: code}
}

func (c *Compiler) hostCall(call *Call, name string, args []compiled) compiled {
	return compiled{run: c.evaluated(call, name, args, func(env *Env, values []Value) (Value, error) {
		if env.Host == nil {
			return Value{}, errors.New("it has no value here")
		}
		return env.Host.CallHost(name, values)
	})}
}

// evaluated evaluates the arguments on the stack and calls fn with them; a
// missing argument behaves as null.
func (c *Compiler) evaluated(call *Call, name string, args []compiled, fn func(*Env, []Value) (Value, error)) Code {
	text, at := c.text, call.Offset
	for i := range args {
		args[i].constant = present(args[i].constant)
	}
	return func(env *Env) (Value, error) {
		base := len(env.stack)
		for range args {
			env.stack = append(env.stack, value.NullValue)
		}
		for i := range args {
			if args[i].isConst {
				env.stack[base+i] = args[i].constant
				continue
			}
			v, err := args[i].run(env)
			if err != nil {
				env.stack = env.stack[:base]
				return v, err
			}
			if !v.IsUndefined() {
				env.stack[base+i] = v
			}
		}
		v, err := fn(env, env.stack[base:])
		env.stack = env.stack[:base]
		if err == nil {
			err = env.charge(v)
		}
		if err != nil {
			return Value{}, located(err, text, at, name)
		}
		return v, nil
	}
}

func present(v Value) Value {
	if v.IsUndefined() {
		return value.NullValue
	}
	return v
}

// located gives a failure its position, unless it already has a deeper one.
func located(err error, text string, at int, function string) error {
	var have *Error
	if errors.As(err, &have) {
		return err
	}
	return &Error{Text: text, Offset: at, Function: function, Reason: err.Error()}
}
