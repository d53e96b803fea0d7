package expr

import (
	"errors"
	"fmt"

	"hallmark.dev/hallmark/internal/expr/value"
)

// lazy names the functions that do not evaluate all their arguments.
type lazy uint8

const (
	notLazy lazy = iota
	lazyIf
	lazyCoalesce
	lazyAnd
	lazyOr
	lazyLambda
	lazyLambdaVariables
)

var logicTable = []Function{
	{Name: "if", In: all, Min: 3, Max: 3, lazy: lazyIf},
	{Name: "coalesce", In: all, Min: 1, Max: anything, lazy: lazyCoalesce},
	{Name: "and", In: all, Min: 1, Max: anything, lazy: lazyAnd},
	{Name: "or", In: all, Min: 1, Max: anything, lazy: lazyOr},
	{Name: "not", In: all, Min: 1, Max: 1, call: not},
	{Name: "true", In: all, call: func([]Value) (Value, error) { return value.FromBool(true), nil }},
	{Name: "false", In: all, call: func([]Value) (Value, error) { return value.FromBool(false), nil }},
	{Name: "null", In: template, call: func([]Value) (Value, error) { return value.NullValue, nil }},
	{Name: "bool", In: all, Min: 1, Max: 1, call: toBool},
	// In a policy these compare as its operators do, elsewhere exactly.
	{Name: "equals", In: Policy, Min: 2, Max: 2, call: predicate(value.Equal)},
	{Name: "equals", In: template, Min: 2, Max: 2, call: predicate(value.Same)},
	{Name: "greater", In: all, Min: 2, Max: 2, call: ordered(func(o int) bool { return o > 0 })},
	{Name: "greaterOrEquals", In: all, Min: 2, Max: 2, call: ordered(func(o int) bool { return o >= 0 })},
	{Name: "less", In: all, Min: 2, Max: 2, call: ordered(func(o int) bool { return o < 0 })},
	{Name: "lessOrEquals", In: all, Min: 2, Max: 2, call: ordered(func(o int) bool { return o <= 0 })},
}

func predicate(holds func(a, b Value) bool) func([]Value) (Value, error) {
	return func(args []Value) (Value, error) { return value.FromBool(holds(args[0], args[1])), nil }
}

// ordered is false, not an error, for values that cannot be compared.
func ordered(holds func(int) bool) func([]Value) (Value, error) {
	return func(args []Value) (Value, error) {
		order, ok := value.Compare(args[0], args[1])
		return value.FromBool(ok && holds(order)), nil
	}
}

func not(args []Value) (Value, error) {
	if args[0].Kind() != value.Bool {
		return Value{}, wrong(args, 0, "a boolean")
	}
	return value.FromBool(!args[0].IsTrue()), nil
}

func toBool(args []Value) (Value, error) {
	v := args[0]
	switch {
	case v.Kind() == value.Bool:
		return v, nil
	case v.IsNumber():
		return value.FromBool(v.Float64() != 0), nil
	case v.Kind() == value.String:
		switch value.LowerASCII(v.Str()) {
		case "true", "1":
			return value.FromBool(true), nil
		case "false", "0":
			return value.FromBool(false), nil
		}
	}
	return Value{}, wrong(args, 0, "a boolean, a number, or the text true, false, 1 or 0")
}

// wrong is the reason why an argument is refused.
func wrong(args []Value, i int, want string) error {
	have := args[i].Kind().String()
	if text, ok := args[i].Text(); ok {
		have += " " + shorten(text)
	}
	if len(args) == 1 {
		return fmt.Errorf("the argument must be %s, not the %s", want, have)
	}
	return fmt.Errorf("argument %d must be %s, not the %s", i+1, want, have)
}

func (c *Compiler) lazyCall(kind lazy, call *Call) (compiled, error) {
	switch kind {
	case lazyLambda:
		return c.lambdaCall(call)
	case lazyLambdaVariables:
		return c.lambdaVariable(call)
	}
	args, err := c.args(call)
	if err != nil {
		return compiled{}, err
	}
	switch kind {
	case lazyIf:
		return c.ifCall(args), nil
	case lazyCoalesce:
		return coalesce(args), nil
	}
	return c.junction(call, args, kind == lazyOr), nil
}

func (c *Compiler) ifCall(args []compiled) compiled {
	condition, yes, no := args[0], args[1], args[2]
	if condition.isConst {
		if condition.constant.IsTrue() {
			return yes
		}
		return no
	}
	return compiled{run: func(env *Env) (Value, error) {
		v, err := condition.run(env)
		switch {
		case err != nil:
			return v, err
		case v.IsTrue():
			return yes.run(env)
		}
		return no.run(env)
	}}
}

func coalesce(args []compiled) compiled {
	if first := args[0]; first.isConst && (!first.constant.IsNothing() || len(args) == 1) {
		return constant(present(first.constant))
	}
	return compiled{run: func(env *Env) (Value, error) {
		for i := range args {
			if v, err := args[i].run(env); err != nil || !v.IsNothing() {
				return v, err
			}
		}
		return value.NullValue, nil
	}}
}

// junction is and (decided by a false) or or (decided by a true).
func (c *Compiler) junction(call *Call, args []compiled, decisive bool) compiled {
	text, at, name := c.text, call.Offset, call.Name
	return compiled{run: func(env *Env) (Value, error) {
		for i := range args {
			v, err := args[i].run(env)
			if err != nil {
				return v, err
			}
			if v.Kind() != value.Bool {
				reason := fmt.Errorf("argument %d must be a boolean, not the %s", i+1, v.Kind())
				return Value{}, located(reason, text, at, name)
			}
			if v.IsTrue() == decisive {
				return v, nil
			}
		}
		return value.FromBool(!decisive), nil
	}}
}

var errTooLong = errors.New("the result would be longer than 1 MiB")

// maxText bounds what one function may produce, so that nested calls cannot
// double a text until memory runs out.
const maxText = 1 << 20

func text(s string) (Value, error) {
	if len(s) > maxText {
		return Value{}, errTooLong
	}
	return value.FromString(s), nil
}
