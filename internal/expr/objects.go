package expr

import (
	"errors"
	"strings"
	"unicode/utf8"

	"hallmark.dev/hallmark/internal/expr/value"
)

var objectTable = []Function{
	{Name: "createObject", In: all, Min: 0, Max: anything, call: createObject},
	{Name: "items", In: all, Min: 1, Max: 1, call: items},
	{Name: "objectKeys", In: template, Min: 1, Max: 1, call: objectKeys},
	{Name: "shallowMerge", In: template, Min: 1, Max: 1, call: shallowMerge},
	{Name: "tryGet", In: all, Min: 2, Max: anything, call: tryGet},
	{Name: "json", In: all, Min: 1, Max: 1, call: parseJSON},
}

func createObject(args []Value) (Value, error) {
	if len(args)%2 != 0 {
		return Value{}, errors.New("it takes pairs of a key and a value; the last key has no value")
	}
	fields := make([]value.Field, 0, len(args)/2)
	for i := 0; i < len(args); i += 2 {
		key, ok := args[i].Text()
		if !ok {
			return Value{}, wrong(args, i, "text, being a key")
		}
		fields = append(fields, value.Field{Key: key, Value: args[i+1]})
	}
	return value.FromFields(fields), nil
}

func items(args []Value) (Value, error) {
	if args[0].Kind() != value.Object {
		return Value{}, wrong(args, 0, "an object")
	}
	var elems []Value
	for _, key := range args[0].SortedKeys() {
		elems = append(elems, value.FromFields([]value.Field{
			{Key: "key", Value: value.FromString(key)},
			{Key: "value", Value: args[0].Get(key)},
		}))
	}
	return value.FromSlice(elems), nil
}

func objectKeys(args []Value) (Value, error) {
	if args[0].Kind() != value.Object {
		return Value{}, wrong(args, 0, "an object")
	}
	var elems []Value
	for _, key := range args[0].SortedKeys() {
		elems = append(elems, value.FromString(key))
	}
	return value.FromSlice(elems), nil
}

func shallowMerge(args []Value) (Value, error) {
	if args[0].Kind() != value.Array {
		return Value{}, wrong(args, 0, "an array of objects")
	}
	merged := value.FromFields(nil)
	for _, o := range args[0].Elems() {
		if o.Kind() != value.Object {
			return Value{}, wrong(args, 0, "an array of objects")
		}
		merged = merge(merged, o, false)
	}
	return merged, nil
}

// tryGet follows keys and indexes; null where one leads nowhere.
func tryGet(args []Value) (Value, error) {
	v := args[0]
	for _, key := range args[1:] {
		switch {
		case v.Kind() == value.Object && key.Kind() == value.String:
			v = v.Get(key.Str())
		case v.Kind() == value.Array && key.Kind() == value.Int:
			v = v.At(int(key.Int64()))
		default:
			return value.NullValue, nil
		}
	}
	return present(v), nil
}

func parseJSON(args []Value) (Value, error) {
	if args[0].Kind() != value.String {
		return Value{}, wrong(args, 0, "text")
	}
	v, err := value.Parse(args[0].Str())
	if err != nil {
		return Value{}, errors.New("the text is not JSON: " + err.Error())
	}
	return v, nil
}

func containsText(s, part string) bool { return strings.Contains(s, part) }

func lastRune(s string) string {
	_, size := utf8.DecodeLastRuneInString(s)
	return s[len(s)-size:]
}
