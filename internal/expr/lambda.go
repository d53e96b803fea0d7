package expr

import (
	"errors"
	"fmt"
	"slices"

	"hallmark.dev/hallmark/internal/expr/value"
)

var lambdaTable = []Function{
	{Name: "map", In: template, Min: 2, Max: 2, lazy: lazyLambda},
	{Name: "filter", In: template, Min: 2, Max: 2, lazy: lazyLambda},
	{Name: "reduce", In: Deployment, Min: 3, Max: 3, lazy: lazyLambda},
	{Name: "sort", In: Deployment, Min: 2, Max: 2, lazy: lazyLambda},
	{Name: "groupBy", In: Deployment, Min: 2, Max: 2, lazy: lazyLambda},
	{Name: "toObject", In: Deployment, Min: 2, Max: 3, lazy: lazyLambda},
	{Name: "mapValues", In: Deployment, Min: 2, Max: 2, lazy: lazyLambda},
	{Name: "lambda", In: template, Min: 1, Max: anything, lazy: lazyLambda},
	{Name: "lambdaVariables", In: template, Min: 1, Max: 1, lazy: lazyLambdaVariables},
}

// maxSteps bounds how many lambda bodies one evaluation runs: nested lambdas
// over arrays multiply.
const maxSteps = 1_000_000

// lambda is a compiled function value: its variables live at base and after.
type lambda struct {
	base, params int
	body         Code
}

// call runs the body with the arguments; an argument without a variable is
// dropped, a variable without an argument is null.
func (l *lambda) call(env *Env, args ...Value) (Value, error) {
	if env.steps++; env.steps > maxSteps {
		return Value{}, fmt.Errorf("its lambdas ran %d times; the arrays are too large", maxSteps)
	}
	env.vars = env.vars[:l.base]
	for i := range l.params {
		v := value.NullValue
		if i < len(args) {
			v = args[i]
		}
		env.vars = append(env.vars, v)
	}
	return l.body(env)
}

// lambdaCall compiles a function whose last arguments are lambda('x', ..., body).
func (c *Compiler) lambdaCall(call *Call) (compiled, error) {
	name := value.LowerASCII(call.Name)
	run, ok := lambdaRuns[name]
	if !ok {
		return compiled{}, c.Fail(call, call.Name, "it may only stand as an argument of map, filter and the like")
	}
	plain := call.Args[:1]
	if name == "reduce" {
		plain = call.Args[:2]
	}
	codes := make([]Code, len(plain))
	var errs []error
	for i, n := range plain {
		code, err := c.Code(n)
		codes[i], errs = code, append(errs, err)
	}
	lambdas := make([]*lambda, len(call.Args)-len(plain))
	for i, n := range call.Args[len(plain):] {
		l, err := c.lambda(n)
		lambdas[i], errs = l, append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return compiled{}, err
	}
	text, at := c.text, call.Offset
	return compiled{run: func(env *Env) (Value, error) {
		args := make([]Value, len(codes))
		for i, code := range codes {
			v, err := code(env)
			if err != nil {
				return v, err
			}
			args[i] = v
		}
		v, err := run(env, args, lambdas)
		if err != nil {
			return Value{}, located(err, text, at, call.Name)
		}
		return v, nil
	}}, nil
}

func (c *Compiler) lambda(n Node) (*lambda, error) {
	call, ok := n.(*Call)
	if !ok || !value.EqualASCII(call.Name, "lambda") || len(call.Args) == 0 {
		return nil, c.Fail(n, "", "a lambda is wanted here: lambda('x', ...)")
	}
	l := &lambda{base: len(c.lambdas), params: len(call.Args) - 1}
	for _, p := range call.Args[:l.params] {
		lit, ok := p.(*Literal)
		if !ok || lit.Value.Kind() != value.String {
			return nil, c.Fail(p, "lambda", "the name of a lambda's variable must be a string")
		}
		c.lambdas = append(c.lambdas, lit.Value.Str())
	}
	body, err := c.Code(call.Args[l.params])
	c.lambdas = c.lambdas[:l.base]
	l.body = body
	return l, err
}

func (c *Compiler) lambdaVariable(call *Call) (compiled, error) {
	lit, ok := call.Args[0].(*Literal)
	if !ok || lit.Value.Kind() != value.String {
		return compiled{}, c.Fail(call, "lambdaVariables", "the name must be a string")
	}
	for slot := len(c.lambdas) - 1; slot >= 0; slot-- {
		if value.EqualASCII(c.lambdas[slot], lit.Value.Str()) {
			return compiled{run: func(env *Env) (Value, error) {
				if slot >= len(env.vars) {
					return value.NullValue, nil
				}
				return env.vars[slot], nil
			}}, nil
		}
	}
	return compiled{}, c.Fail(call, "lambdaVariables", "no lambda around it has a variable "+lit.Value.Str())
}

// lambdaRuns is what each function does with its plain arguments and lambdas.
var lambdaRuns = map[string]func(*Env, []Value, []*lambda) (Value, error){
	"map": mapArray, "filter": filterArray, "reduce": reduceArray, "sort": sortArray,
	"groupby": groupBy, "toobject": toObject, "mapvalues": mapValues,
}

func arrayArgument(args []Value) ([]Value, error) {
	if args[0].Kind() != value.Array {
		return nil, errors.New("the first argument must be an array")
	}
	return args[0].Elems(), nil
}

func mapArray(env *Env, args []Value, fns []*lambda) (Value, error) {
	elems, err := arrayArgument(args)
	if err != nil {
		return Value{}, err
	}
	mapped := make([]Value, len(elems))
	for i, e := range elems {
		if mapped[i], err = fns[0].call(env, e, value.FromInt(int64(i))); err != nil {
			return Value{}, err
		}
	}
	return value.FromSlice(mapped), nil
}

func filterArray(env *Env, args []Value, fns []*lambda) (Value, error) {
	elems, err := arrayArgument(args)
	if err != nil {
		return Value{}, err
	}
	var kept []Value
	for i, e := range elems {
		keep, err := fns[0].call(env, e, value.FromInt(int64(i)))
		if err != nil {
			return Value{}, err
		}
		if keep.Kind() != value.Bool {
			return Value{}, errors.New("the lambda must give a boolean")
		}
		if keep.IsTrue() {
			kept = append(kept, e)
		}
	}
	return value.FromSlice(kept), nil
}

func reduceArray(env *Env, args []Value, fns []*lambda) (Value, error) {
	elems, err := arrayArgument(args)
	result := args[1]
	for i := 0; err == nil && i < len(elems); i++ {
		result, err = fns[0].call(env, result, elems[i], value.FromInt(int64(i)))
	}
	return result, err
}

func sortArray(env *Env, args []Value, fns []*lambda) (Value, error) {
	elems, err := arrayArgument(args)
	if err != nil {
		return Value{}, err
	}
	sorted := slices.Clone(elems)
	slices.SortStableFunc(sorted, func(a, b Value) int {
		before, callErr := fns[0].call(env, a, b)
		switch {
		case callErr != nil:
			err = callErr
			return 0
		case before.IsTrue():
			return -1
		}
		if after, _ := fns[0].call(env, b, a); after.IsTrue() {
			return 1
		}
		return 0
	})
	return value.FromSlice(sorted), err
}

func groupBy(env *Env, args []Value, fns []*lambda) (Value, error) {
	elems, err := arrayArgument(args)
	if err != nil {
		return Value{}, err
	}
	var fields []value.Field
	at := map[string]int{}
	groups := [][]Value{}
	for _, e := range elems {
		key, err := keyFrom(env, fns[0], e)
		if err != nil {
			return Value{}, err
		}
		if _, have := at[key]; !have {
			at[key] = len(groups)
			groups = append(groups, nil)
			fields = append(fields, value.Field{Key: key})
		}
		groups[at[key]] = append(groups[at[key]], e)
	}
	for i := range fields {
		fields[i].Value = value.FromSlice(groups[i])
	}
	return value.FromFields(fields), nil
}

func toObject(env *Env, args []Value, fns []*lambda) (Value, error) {
	elems, err := arrayArgument(args)
	if err != nil {
		return Value{}, err
	}
	fields := make([]value.Field, len(elems))
	for i, e := range elems {
		if fields[i].Key, err = keyFrom(env, fns[0], e); err != nil {
			return Value{}, err
		}
		fields[i].Value = e
		if len(fns) == 2 {
			if fields[i].Value, err = fns[1].call(env, e); err != nil {
				return Value{}, err
			}
		}
	}
	return value.FromFields(fields), nil
}

func keyFrom(env *Env, fn *lambda, e Value) (string, error) {
	key, err := fn.call(env, e)
	if err == nil && key.Kind() != value.String {
		err = errors.New("the lambda must give text, being a key")
	}
	return key.Str(), err
}

func mapValues(env *Env, args []Value, fns []*lambda) (Value, error) {
	if args[0].Kind() != value.Object {
		return Value{}, errors.New("the first argument must be an object")
	}
	fields := fieldsOf(args[0])
	for i := range fields {
		v, err := fns[0].call(env, fields[i].Value)
		if err != nil {
			return Value{}, err
		}
		fields[i].Value = v
	}
	return value.FromFields(fields), nil
}
