package policy

import (
	"fmt"
	"strings"

	"hallmark.dev/hallmark/internal/expr"
	"hallmark.dev/hallmark/internal/expr/value"
)

// CheckParameters checks the plain values of an assignment against what a
// definition or initiative declares: every declared parameter has a value or a
// default, every value is declared, of the declared type, allowed, and of the
// declared strongType. All problems are returned.
func CheckParameters(declared []Parameter, values Value) Problems {
	var r report
	for _, p := range declared {
		path := "parameters." + p.Name
		v := values.Find(value.NewKey(p.Name))
		switch {
		case v.IsUndefined() && p.Default.IsUndefined():
			r.add(UndefinedParameter, path, 0, "the parameter has no value and no default")
		case !v.IsUndefined():
			p.check(&r, path, v)
		}
	}
	for i := range values.Len() {
		if !isDeclared(declared, values.Key(i)) {
			r.add(InvalidParameter, "parameters."+values.Key(i), values.At(i).Pos(), "no such parameter is declared")
		}
	}
	return r.problems
}

func isDeclared(declared []Parameter, name string) bool {
	for _, p := range declared {
		if value.EqualASCII(p.Name, name) {
			return true
		}
	}
	return false
}

func (p Parameter) check(r *report, path string, v Value) {
	if !ofType(p.Type, v) {
		r.add(InvalidParameter, path, v.Pos(), "the value must be of type %s, not the %s %s", p.Type, v.Kind(), brief(v))
		return
	}
	if p.AllowedValues.Len() > 0 && !allowed(p.AllowedValues, v) {
		r.add(InvalidParameter, path, v.Pos(), "%s is not an allowed value; allowed are %s", brief(v), brief(p.AllowedValues))
	}
	for _, s := range texts(v) {
		if reason := strongTypeRefuses(p.StrongType, s); reason != "" {
			r.add(InvalidParameter, path, v.Pos(), "%q %s", s, reason)
		}
	}
}

func ofType(typ string, v Value) bool {
	switch value.LowerASCII(typ) {
	case "string":
		return v.Kind() == value.String
	case "array":
		return v.Kind() == value.Array
	case "object":
		return v.Kind() == value.Object
	case "boolean":
		return v.Kind() == value.Bool
	case "integer":
		return v.Kind() == value.Int
	case "float":
		return v.IsNumber()
	case "datetime":
		return isDateTime(v)
	}
	return true
}

func isDateTime(v Value) bool {
	if v.Kind() != value.String {
		return false
	}
	text := "[dateTimeToEpoch('" + strings.ReplaceAll(v.Str(), "'", "''") + "')]"
	node, err := expr.Parse(text)
	if err != nil {
		return false
	}
	p, err := expr.Compile(text, node, expr.Policy, nil)
	if err != nil {
		return false
	}
	_, err = p.Eval(new(expr.Env))
	return err == nil
}

// allowed compares as rules do, ignoring case; the elements of an array must be
// allowed each.
func allowed(list, v Value) bool {
	if value.In(v, list) {
		return true
	}
	if v.Kind() != value.Array {
		return false
	}
	for _, e := range v.Elems() {
		if !value.In(e, list) {
			return false
		}
	}
	return true
}

// texts returns a text, or the texts of an array.
func texts(v Value) []string {
	var out []string
	for _, e := range append(v.Elems(), v) {
		if e.Kind() == value.String {
			out = append(out, e.Str())
		}
	}
	return out
}

// strongTypeRefuses checks the forms that a strongType implies: a resource id of
// a type, a type, a name.
func strongTypeRefuses(strongType, s string) string {
	switch {
	case strings.Contains(strongType, "/"):
		if strings.HasPrefix(s, "/") && !value.EqualASCII(typeInID(s), strongType) {
			return "is not the id of a " + strongType
		}
	case value.EqualASCII(strongType, "resourceTypes"):
		if !strings.Contains(s, "/") {
			return "is not a resource type"
		}
	case value.EqualASCII(strongType, "location"):
		if strings.ContainsAny(s, "/\\") {
			return "is not a location"
		}
	}
	return ""
}

// typeInID returns the resource type that an id names.
func typeInID(id string) string {
	at := strings.LastIndex(value.LowerASCII(id), "/providers/")
	if at < 0 {
		return ""
	}
	parts := strings.Split(id[at+len("/providers/"):], "/")
	typ := parts[0]
	for i := 1; i < len(parts); i += 2 {
		typ += "/" + parts[i]
	}
	return typ
}

// PlainParameters takes the values out of an assignment's parameters, where each
// is an object with value; what is no such object is taken as it is.
func PlainParameters(v Value) Value {
	fields := make([]value.Field, v.Len())
	for i := range fields {
		fields[i] = value.Field{Key: v.Key(i), Value: v.At(i)}
		if inner := v.At(i).Find(value.NewKey("value")); v.At(i).Kind() == value.Object && v.At(i).Len() == 1 && !inner.IsUndefined() {
			fields[i].Value = inner
		}
	}
	return value.FromFields(fields)
}

// describe names a member for messages.
func describe(i int, reference string) string {
	if reference != "" {
		return reference
	}
	return fmt.Sprintf("member %d", i)
}
