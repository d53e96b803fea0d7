package template

import (
	"errors"
	"fmt"
	"strings"

	"hallmark.dev/hallmark/internal/expr"
	"hallmark.dev/hallmark/internal/expr/value"
)

// scope is what the expressions of one template see: its parameters, variables and
// functions.
type scope struct {
	t   *Template
	ctx *Context
	*report

	values     map[string]Value    // of parameters, by lower-case name
	declared   map[string]Value    // variables as written, by lower-case name
	paths      map[string]string   // of variables
	known      map[string]variable // variables evaluated so far
	resources  func(string) []int  // finds resources of the plan by any name; nil while there are none
	plan       *Plan               // that resources finds them in
	left       *limits             // shared by the scopes of nested templates
	evaluating map[string]bool     // variables in progress
}

// variable is an evaluated variable.
type variable struct {
	value Value
	open  bool // depends on what is not known
	err   error
}

// limits is what an expansion may still do.
type limits struct {
	bytes     int // that may still be produced
	depth     int // of nested deployments
	resources int // expanded so far
}

// maxProduced bounds what all expressions of a template may produce together.
const maxProduced = 32 << 20

var (
	errOpen    = errors.New("it is not known yet")
	errTooMuch = fmt.Errorf("the template expands to more than %d MB", maxProduced>>20)
)

// loop is a copy loop that an expression stands in.
type loop struct {
	name     string
	index    int
	resource bool
	open     bool // the number of rounds is not known
}

// frame is where an expression stands; it is the expr.Host.
type frame struct {
	*scope
	loops    []loop
	runtime  Runtime
	defaults bool             // in a parameter's default value
	locals   map[string]Value // parameters of the user-defined function being called
	inside   bool             // a user-defined function
	depth    int

	open bool // something that is not known was asked for
}

// maxCalls bounds how deep variables and user-defined functions may call.
const maxCalls = 64

// CallHost implements expr.Host.
func (f *frame) CallHost(name string, args []Value) (Value, error) {
	switch value.LowerASCII(name) {
	case "parameters":
		return f.parameter(args[0])
	case "variables":
		return f.variable(args[0])
	case "copyindex":
		return f.copyIndex(args)
	case "utcnow", "newguid":
		return f.atStart(name, args)
	case "reference", "references":
		return f.reference(name, args)
	case "resourceid", "subscriptionresourceid", "tenantresourceid", "managementgroupresourceid", "extensionresourceid":
		return f.resourceID(value.LowerASCII(name), args)
	}
	if fn := f.t.functions[value.LowerASCII(name)]; fn != nil {
		return f.userFunction(name, fn, args)
	}
	if strings.Contains(name, ".") {
		return Value{}, fmt.Errorf("the template has no such function")
	}
	if strings.HasPrefix(value.LowerASCII(name), "list") {
		return f.list(name, args)
	}
	return f.environment(value.LowerASCII(name), args)
}

// unknown is the answer to what is not known: an error, or in a partial expansion
// the end of this evaluation.
func (f *frame) unknown(format string, args ...any) (Value, error) {
	if f.ctx.Partial {
		f.open = true
		return Value{}, errOpen
	}
	return Value{}, fmt.Errorf(format, args...)
}

func (f *frame) parameter(name Value) (Value, error) {
	key := value.LowerASCII(name.Str())
	if f.inside {
		if v, ok := f.locals[key]; ok {
			return v, nil
		}
		return Value{}, fmt.Errorf("the function has no parameter '%s'", clip(name.Str()))
	}
	if v, ok := f.values[key]; ok {
		return v, nil
	}
	for _, p := range f.t.parameters {
		if !value.EqualASCII(p.Name, key) {
			continue
		}
		if f.defaults {
			f.fallback(p)
		}
		if v, ok := f.values[key]; ok {
			return v, nil
		}
		return f.unknown("the parameter '%s' has no value", clip(name.Str()))
	}
	return Value{}, fmt.Errorf("the template parameter '%s' is not found", clip(name.Str()))
}

func (f *frame) variable(name Value) (Value, error) {
	if f.inside || f.defaults {
		return Value{}, errors.New("variables cannot be used here")
	}
	v := f.evaluated(name.Str(), f.depth)
	if v.open {
		f.open = true
		return Value{}, errOpen
	}
	return v.value, v.err
}

// evaluated is a variable, evaluated once.
func (s *scope) evaluated(name string, depth int) variable {
	key := value.LowerASCII(name)
	if v, ok := s.known[key]; ok {
		return v
	}
	declared, ok := s.declared[key]
	switch {
	case !ok:
		return variable{err: fmt.Errorf("the template variable '%s' is not found", clip(name))}
	case s.evaluating[key]:
		return variable{err: fmt.Errorf("the template variable '%s' refers to itself in a circle", clip(name))}
	case depth > maxCalls:
		return variable{err: fmt.Errorf("the template variables refer to each other more than %d deep", maxCalls)}
	}
	s.evaluating[key] = true
	defer delete(s.evaluating, key)
	f := &frame{scope: s, depth: depth + 1}
	before := len(s.problems)
	var v variable
	if l, ok := variableLoop(declared); ok {
		v.value = f.copies(l, get(l, "name").Str(), s.paths[key])
	} else {
		v.value = f.tree(declared, s.paths[key])
	}
	if v.open = f.open; len(s.problems) > before {
		v.err = fmt.Errorf("the template variable '%s' is not valid", clip(name))
	}
	s.known[key] = v
	return v
}

func (f *frame) copyIndex(args []Value) (Value, error) {
	name, offset := "", int64(0)
	for i, a := range args {
		switch {
		case a.Kind() == value.Int && i == len(args)-1:
			offset = a.Int64()
		case a.Kind() == value.String && i == 0:
			name = a.Str()
		default:
			return Value{}, fmt.Errorf("it takes the name of a loop and an offset")
		}
	}
	at := -1
	for i, l := range f.loops {
		if name != "" && strings.EqualFold(l.name, name) || name == "" && (l.resource || at < 0 || !f.loops[at].resource) {
			at = i
		}
	}
	switch {
	case at < 0 && name != "":
		return Value{}, fmt.Errorf("there is no copy loop '%s' around this place", clip(name))
	case at < 0:
		return Value{}, errors.New("there is no copy loop around this place")
	case f.loops[at].open:
		f.open = true
		return Value{}, errOpen
	}
	return value.FromInt(int64(f.loops[at].index) + offset), nil
}

// atStart are the functions that only a parameter's default may call, because they
// would say something else each time.
func (f *frame) atStart(name string, args []Value) (Value, error) {
	if !f.defaults {
		return Value{}, errors.New("this function can only be called in the default value of a parameter")
	}
	if strings.EqualFold(name, "newGuid") {
		if f.ctx.NewGUID == nil {
			return f.unknown("there is no source of new GUIDs")
		}
		return value.FromString(f.ctx.NewGUID()), nil
	}
	if f.ctx.Now.IsZero() {
		return f.unknown("the time is not known")
	}
	format := "yyyyMMddTHHmmssZ"
	if len(args) == 1 && args[0].Str() != "" {
		format = args[0].Str()
	}
	text, err := expr.FormatTime(f.ctx.Now, format)
	return value.FromString(text), err
}

func (f *frame) userFunction(name string, fn *function, args []Value) (Value, error) {
	if len(args) != len(fn.parameters) {
		return Value{}, fmt.Errorf("it takes %d arguments, not %d", len(fn.parameters), len(args))
	}
	if f.depth > maxCalls {
		return Value{}, fmt.Errorf("functions call each other more than %d deep", maxCalls)
	}
	inner := &frame{scope: f.scope, inside: true, locals: map[string]Value{}, depth: f.depth + 1, runtime: f.runtime}
	for i, p := range fn.parameters {
		inner.locals[p] = args[i]
	}
	v, err := inner.evaluate(fn.output)
	f.open = f.open || inner.open
	return v, err
}

// evaluate is tree for what is called: problems are returned.
func (f *frame) evaluate(v Value) (Value, error) {
	if v.Kind() != value.String {
		own := *f.scope
		own.report = &report{text: f.text}
		g := *f
		g.scope = &own
		out := g.tree(v, "")
		f.open = f.open || g.open
		if len(own.problems) > 0 {
			return Value{}, errors.New(own.problems[0].Message)
		}
		return out, nil
	}
	if !expr.IsExpression(v.Str()) {
		return value.FromString(expr.Unescape(v.Str())), nil
	}
	return f.run(v.Str())
}

// run evaluates the text of an expression.
func (f *frame) run(text string) (Value, error) {
	p := f.t.program(text)
	if p.err != nil {
		return Value{}, p.err
	}
	out, err := p.run.Eval(&expr.Env{Host: f})
	if err != nil {
		return Value{}, err
	}
	if out.IsUndefined() {
		return Value{}, &expr.Error{Text: text, Reason: "the expression has no value: a property that it names does not exist"}
	}
	if f.left.bytes -= size(out, f.left.bytes); f.left.bytes < 0 {
		return Value{}, errTooMuch
	}
	return out, nil
}

// size is about how many bytes a value has as text; counting stops at most.
func size(v Value, most int) int {
	n := 8 + len(v.Str())
	for i := 0; i < v.Len() && n <= most; i++ {
		if v.Kind() == value.Object {
			n += len(v.Key(i))
		}
		n += size(v.At(i), most-n)
	}
	return n
}

// tree evaluates all expressions in a value. Problems go to the report; what is not
// known stays as it is written, and f.open says so.
func (f *frame) tree(v Value, path string) Value {
	if f.left.bytes -= 16 + len(v.Str()); f.left.bytes < 0 {
		if f.left.bytes+16+len(v.Str()) >= 0 {
			f.add(v, path, "%v", errTooMuch)
		}
		return value.NullValue
	}
	switch v.Kind() {
	case value.String:
		return f.leaf(v, path)
	case value.Array:
		elems := make([]Value, v.Len())
		for i, e := range v.Elems() {
			elems[i] = f.tree(e, element(path, i))
		}
		return value.FromSlice(elems)
	case value.Object:
		return f.object(v, path)
	}
	return v
}

func (f *frame) leaf(v Value, path string) Value {
	text := v.Str()
	if !expr.IsExpression(text) {
		return value.FromString(expr.Unescape(text))
	}
	was := f.open
	f.open = false
	out, err := f.run(text)
	if err == nil || f.open {
		if err != nil {
			out = value.FromString(text)
		}
		f.open = f.open || was
		return out
	}
	f.open = was
	f.add(v, path, "%v", err)
	return value.FromString(text)
}

func (f *frame) object(v Value, path string) Value {
	fields := make([]value.Field, 0, v.Len())
	for i := range v.Len() {
		key, member := v.Key(i), v.At(i)
		at := join(path, key)
		if loops, ok := propertyLoops(key, member); ok {
			fields = append(fields, f.propertyCopies(loops, at)...)
			continue
		}
		if expr.IsExpression(key) {
			key = plain(f.leafAt(key, v.KeyPos(i), at))
		} else {
			key = expr.Unescape(key)
		}
		fields = append(fields, value.Field{Key: key, Value: f.tree(member, at)})
	}
	return value.FromFields(fields)
}

// leafAt is leaf for a key.
func (f *frame) leafAt(text string, pos int, path string) Value {
	out, err := f.run(text)
	if err != nil {
		if !f.open {
			f.addAt(pos, path, "%v", err)
		}
		return value.FromString(text)
	}
	return out
}
