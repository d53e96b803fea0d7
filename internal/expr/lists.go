package expr

import (
	"errors"

	"hallmark.dev/hallmark/internal/expr/value"
)

var listTable = []Function{
	{Name: "length", In: all, Min: 1, Max: 1, call: length},
	{Name: "empty", In: all, Min: 1, Max: 1, call: empty},
	{Name: "contains", In: Policy, Min: 2, Max: 2, call: predicate(value.Contains)},
	{Name: "contains", In: template, Min: 2, Max: 2, call: containsExactly},
	{Name: "first", In: all, Min: 1, Max: 1, call: first},
	{Name: "last", In: all, Min: 1, Max: 1, call: last},
	{Name: "take", In: all, Min: 2, Max: 2, call: take},
	{Name: "skip", In: all, Min: 2, Max: 2, call: skip},
	{Name: "array", In: all, Min: 1, Max: 1, call: array},
	{Name: "createArray", In: all, Min: 0, Max: anything, call: createArray},
	{Name: "range", In: all, Min: 2, Max: 2, call: rangeOf},
	{Name: "indexFromEnd", In: Policy | Deployment, Min: 2, Max: 2, call: indexFromEnd},
	{Name: "tryIndexFromEnd", In: all, Min: 2, Max: 2, call: tryIndexFromEnd},
	{Name: "flatten", In: Deployment, Min: 1, Max: 1, call: flatten},
	{Name: "union", In: all, Min: 1, Max: anything, call: union},
	{Name: "intersection", In: all, Min: 1, Max: anything, call: intersection},
}

// maxElems bounds the arrays that functions make.
const maxElems = 100_000

var errTooMany = errors.New("the result would have more than 100000 elements")

func length(args []Value) (Value, error) {
	switch v := args[0]; v.Kind() {
	case value.String:
		return value.FromInt(int64(utf16Len(v.Str()))), nil
	case value.Array, value.Object:
		return value.FromInt(int64(v.Len())), nil
	}
	return Value{}, wrong(args, 0, "text, an array or an object")
}

func empty(args []Value) (Value, error) {
	v := args[0]
	switch v.Kind() {
	case value.Null:
		return value.FromBool(true), nil
	case value.String:
		return value.FromBool(v.Str() == ""), nil
	case value.Array, value.Object:
		return value.FromBool(v.Len() == 0), nil
	}
	return value.FromBool(false), nil
}

// containsExactly is contains of the template languages: text and elements
// with their case, an object's keys without.
func containsExactly(args []Value) (Value, error) {
	in, want := args[0], args[1]
	switch in.Kind() {
	case value.Array:
		return value.FromBool(indexInArray(in.Elems(), want, false).Int64() >= 0), nil
	case value.Object:
		return value.FromBool(want.Kind() == value.String && !in.Find(value.NewKey(want.Str())).IsUndefined()), nil
	case value.String:
		part, ok := want.Text()
		if !ok {
			return Value{}, wrong(args, 1, "text or a number")
		}
		return value.FromBool(containsText(in.Str(), part)), nil
	}
	return Value{}, wrong(args, 0, "text, an array or an object")
}

func first(args []Value) (Value, error) {
	switch v := args[0]; v.Kind() {
	case value.Array:
		return present(v.At(0)), nil
	case value.String:
		return value.FromString(takeRunes(v.Str(), 1)), nil
	}
	return Value{}, wrong(args, 0, "text or an array")
}

func last(args []Value) (Value, error) {
	switch v := args[0]; v.Kind() {
	case value.Array:
		return present(v.At(v.Len() - 1)), nil
	case value.String:
		return value.FromString(lastRune(v.Str())), nil
	}
	return Value{}, wrong(args, 0, "text or an array")
}

func take(args []Value) (Value, error) {
	n, _ := wholeNumber(args[1])
	n = max(n, 0)
	switch v := args[0]; v.Kind() {
	case value.Array:
		return value.FromSlice(v.Elems()[:min(n, int64(v.Len()))]), nil
	case value.String:
		return value.FromString(takeRunes(v.Str(), n)), nil
	}
	return Value{}, wrong(args, 0, "text or an array")
}

func skip(args []Value) (Value, error) {
	n, _ := wholeNumber(args[1])
	n = max(n, 0)
	switch v := args[0]; v.Kind() {
	case value.Array:
		return value.FromSlice(v.Elems()[min(n, int64(v.Len())):]), nil
	case value.String:
		return value.FromString(dropRunes(v.Str(), n)), nil
	}
	return Value{}, wrong(args, 0, "text or an array")
}

func array(args []Value) (Value, error) {
	if args[0].Kind() == value.Array {
		return args[0], nil
	}
	return createArray(args)
}

func createArray(args []Value) (Value, error) {
	return value.FromSlice(append([]Value(nil), args...)), nil
}

func rangeOf(args []Value) (Value, error) {
	start, ok1 := wholeNumber(args[0])
	n, ok2 := wholeNumber(args[1])
	switch {
	case !ok1:
		return Value{}, wrong(args, 0, "a whole number")
	case !ok2 || n < 0:
		return Value{}, wrong(args, 1, "a whole number from 0")
	case n > 10_000:
		return Value{}, errors.New("the range has more than 10000 numbers")
	case start > 2147483647-n || start < -2147483648:
		return Value{}, errors.New("the range leaves the 32-bit integers")
	}
	elems := make([]Value, n)
	for i := range elems {
		elems[i] = value.FromInt(start + int64(i))
	}
	return value.FromSlice(elems), nil
}

func indexFromEnd(args []Value) (Value, error) {
	v, ok, err := fromEnd(args)
	if err == nil && !ok {
		return Value{}, errors.New("the index is out of range")
	}
	return v, err
}

func tryIndexFromEnd(args []Value) (Value, error) {
	v, _, err := fromEnd(args)
	return present(v), err
}

func fromEnd(args []Value) (v Value, ok bool, err error) {
	if args[0].Kind() != value.Array {
		return Value{}, false, wrong(args, 0, "an array")
	}
	if args[1].Kind() != value.Int {
		return Value{}, false, wrong(args, 1, "a whole number from 1")
	}
	i, n := args[1].Int64(), int64(args[0].Len())
	if i < 1 || i > n {
		return Value{}, false, nil
	}
	return args[0].At(int(n - i)), true, nil
}

func flatten(args []Value) (Value, error) {
	if args[0].Kind() != value.Array {
		return Value{}, wrong(args, 0, "an array of arrays")
	}
	return concatArrays(args[0].Elems())
}

// set is a set of values under exact equality.
type set map[string]struct{}

// add reports whether v was not yet in the set.
func (s set) add(v Value) bool {
	key := string(v.AppendSorted(nil))
	_, have := s[key]
	s[key] = struct{}{}
	return !have
}

func (s set) has(v Value) bool {
	_, have := s[string(v.AppendSorted(nil))]
	return have
}

// union of arrays keeps the first of equal elements, in order; of objects it
// merges deeply, the later winning.
func union(args []Value) (Value, error) {
	if err := sameShape(args); err != nil {
		return Value{}, err
	}
	if args[0].Kind() == value.Object {
		merged := args[0]
		for _, o := range args[1:] {
			merged = merge(merged, o, true)
		}
		return merged, nil
	}
	total := 0
	for _, a := range args {
		if total += a.Len(); total > maxElems {
			return Value{}, errTooMany
		}
	}
	var elems []Value
	seen := set{}
	for _, a := range args {
		for _, e := range a.Elems() {
			if seen.add(e) {
				elems = append(elems, e)
			}
		}
	}
	return value.FromSlice(elems), nil
}

func sameShape(args []Value) error {
	for i := range args {
		if k := args[i].Kind(); k != value.Array && k != value.Object || k != args[0].Kind() {
			return wrong(args, i, "an array, or an object, as all the others")
		}
	}
	return nil
}

func merge(a, b Value, deep bool) Value {
	fields := fieldsOf(a)
	at := map[string]int{}
	for i := range fields {
		at[fields[i].Key] = i
	}
	for _, f := range fieldsOf(b) {
		i, have := at[f.Key]
		switch {
		case !have:
			at[f.Key] = len(fields)
			fields = append(fields, f)
		case deep && f.Value.Kind() == value.Object && fields[i].Value.Kind() == value.Object:
			fields[i].Value = merge(fields[i].Value, f.Value, true)
		default:
			fields[i].Value = f.Value
		}
	}
	return value.FromFields(fields)
}

func fieldsOf(o Value) []value.Field {
	fields := make([]value.Field, o.Len())
	for i := range fields {
		fields[i] = value.Field{Key: o.Key(i), Value: o.At(i)}
	}
	return fields
}

func intersection(args []Value) (Value, error) {
	if err := sameShape(args); err != nil {
		return Value{}, err
	}
	result := args[0]
	for _, other := range args[1:] {
		result = common(result, other)
	}
	return result, nil
}

func common(a, b Value) Value {
	if a.Kind() == value.Object {
		var fields []value.Field
		for _, f := range fieldsOf(a) {
			if other := b.Get(f.Key); !other.IsUndefined() && value.Same(f.Value, other) {
				fields = append(fields, f)
			}
		}
		return value.FromFields(fields)
	}
	in := set{}
	for _, e := range b.Elems() {
		in.add(e)
	}
	var elems []Value
	for _, e := range a.Elems() {
		if in.has(e) {
			elems = append(elems, e)
		}
	}
	return value.FromSlice(elems)
}
