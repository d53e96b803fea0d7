package expr

import (
	"errors"
	"math"

	"hallmark.dev/hallmark/internal/expr/value"
)

var numberTable = []Function{
	{Name: "int", In: all, Min: 1, Max: 1, call: toInt},
	{Name: "float", In: Policy | Deployment, Min: 1, Max: 1, call: toFloat},
	{Name: "add", In: all, Min: 2, Max: 2, call: arithmetic(addInts, func(a, b float64) float64 { return a + b })},
	{Name: "sub", In: all, Min: 2, Max: 2, call: arithmetic(subInts, func(a, b float64) float64 { return a - b })},
	{Name: "mul", In: all, Min: 2, Max: 2, call: arithmetic(mulInts, func(a, b float64) float64 { return a * b })},
	{Name: "div", In: all, Min: 2, Max: 2, call: integers(func(a, b int64) int64 { return a / b })},
	{Name: "mod", In: all, Min: 2, Max: 2, call: integers(func(a, b int64) int64 { return a % b })},
	{Name: "min", In: all, Min: 1, Max: anything, call: extreme(-1)},
	{Name: "max", In: all, Min: 1, Max: anything, call: extreme(1)},
}

var errOverflow = errors.New("the result does not fit a 64-bit integer")

// number reads a number or numeric text.
func number(args []Value) (Value, error) {
	if args[0].IsNumber() {
		return args[0], nil
	}
	if n, ok := value.ParseNumber(args[0].Str()); ok {
		return n, nil
	}
	return Value{}, wrong(args, 0, "a number or numeric text")
}

func toInt(args []Value) (Value, error) {
	n, err := number(args)
	if err != nil || n.Kind() == value.Int {
		return n, err
	}
	f := math.Trunc(n.Float64())
	if f >= math.MaxInt64 || f <= math.MinInt64 || math.IsNaN(f) {
		return Value{}, errOverflow
	}
	return value.FromInt(int64(f)), nil
}

func toFloat(args []Value) (Value, error) { return number(args) }

func arithmetic(ints func(a, b int64) (int64, bool), floats func(a, b float64) float64) func([]Value) (Value, error) {
	return func(args []Value) (Value, error) {
		for i := range args {
			if !args[i].IsNumber() {
				return Value{}, wrong(args, i, "a number")
			}
		}
		a, b := args[0], args[1]
		if a.Kind() == value.Int && b.Kind() == value.Int {
			n, ok := ints(a.Int64(), b.Int64())
			if !ok {
				return Value{}, errOverflow
			}
			return value.FromInt(n), nil
		}
		f := floats(a.Float64(), b.Float64())
		if math.IsInf(f, 0) {
			return Value{}, errors.New("the result is out of range")
		}
		return value.FromFloat(f), nil
	}
}

func addInts(a, b int64) (int64, bool) {
	n := a + b
	return n, (n > a) == (b > 0)
}

func subInts(a, b int64) (int64, bool) {
	n := a - b
	return n, (n < a) == (b > 0)
}

func mulInts(a, b int64) (int64, bool) {
	if a == 0 || b == 0 {
		return 0, true
	}
	n := a * b
	return n, n/b == a && (a != -1 || b != math.MinInt64) && (b != -1 || a != math.MinInt64)
}

func integers(f func(a, b int64) int64) func([]Value) (Value, error) {
	return func(args []Value) (Value, error) {
		for i := range args {
			if args[i].Kind() != value.Int {
				return Value{}, wrong(args, i, "a whole number")
			}
		}
		a, b := args[0].Int64(), args[1].Int64()
		switch {
		case b == 0:
			return Value{}, errors.New("division by zero")
		case b == -1 && a == math.MinInt64:
			return Value{}, errOverflow
		}
		return value.FromInt(f(a, b)), nil
	}
}

// extreme is max (sign 1) or min (sign -1) of numbers or of one array of them.
func extreme(sign int) func([]Value) (Value, error) {
	return func(args []Value) (Value, error) {
		numbers := args
		if len(args) == 1 && args[0].Kind() == value.Array {
			numbers = args[0].Elems()
		}
		if len(numbers) == 0 {
			return Value{}, errors.New("the array is empty")
		}
		best := numbers[0]
		for i := range numbers {
			if !numbers[i].IsNumber() {
				return Value{}, wrong(numbers, i, "a number")
			}
			if order, _ := value.Compare(numbers[i], best); order == sign {
				best = numbers[i]
			}
		}
		return best, nil
	}
}
