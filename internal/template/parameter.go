package template

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"hallmark.dev/hallmark/internal/expr/value"
)

// Parameter is a declared parameter.
type Parameter struct {
	Name     string
	Type     string // as ARM shows it: String, SecureString, Int, Bool, Object, SecureObject, Array
	Nullable bool
	schema   Value
	path     string
}

// Secure reports whether the parameter's value must never be shown.
func (p *Parameter) Secure() bool { return strings.HasPrefix(p.Type, "Secure") }

// HasDefault reports whether the template gives the parameter a value itself.
func (p *Parameter) HasDefault() bool { return !get(p.schema, "defaultValue").IsUndefined() }

var typeNames = []string{"String", "SecureString", "Int", "Bool", "Object", "SecureObject", "Array"}

// typeName is a type in ARM's own spelling, or "".
func typeName(text string) string {
	for _, n := range typeNames {
		if strings.EqualFold(n, text) {
			return n
		}
	}
	return ""
}

func (t *Template) readParameters(r *report, path string) {
	all := get(t.root, "parameters")
	if all.Kind() != value.Object {
		return
	}
	if all.Len() > MaxParameters {
		r.add(all, join(path, "parameters"), "the template has %d parameters; at most %d are possible", all.Len(), MaxParameters)
		return
	}
	for i := range all.Len() {
		p := &Parameter{Name: all.Key(i), path: join(path, "parameters."+all.Key(i)), schema: all.At(i)}
		schema, problem := t.resolve(p.schema)
		p.Type = typeName(get(schema, "type").Str())
		p.Nullable = get(p.schema, "nullable").IsTrue() || get(schema, "nullable").IsTrue()
		switch {
		case problem != "":
			r.add(p.schema, p.path, "the template parameter '%s': %s", clip(p.Name), problem)
		case p.Type == "":
			r.add(p.schema, p.path, "the template parameter '%s' has the type '%s'; it must be one of %s", clip(p.Name), clip(get(schema, "type").Str()), strings.Join(typeNames, ", "))
		}
		t.parameters = append(t.parameters, p)
	}
}

// resolve follows $ref to a user-defined type.
func (t *Template) resolve(schema Value) (resolved Value, problem string) {
	for range 20 {
		ref := get(schema, "$ref")
		if ref.IsUndefined() {
			return schema, ""
		}
		name, ok := strings.CutPrefix(ref.Str(), "#/definitions/")
		next := t.types.Get(strings.NewReplacer("~1", "/", "~0", "~", "%20", " ").Replace(name))
		if !ok || next.IsUndefined() {
			return schema, fmt.Sprintf("there is no definition '%s'", clip(ref.Str()))
		}
		schema = next
	}
	return schema, "its definitions refer to each other in a circle"
}

// kinds are the JSON kinds that a type takes.
var kinds = map[string][]value.Kind{
	"String": {value.String}, "SecureString": {value.String}, "Int": {value.Int}, "Bool": {value.Bool},
	"Object": {value.Object}, "SecureObject": {value.Object}, "Array": {value.Array},
}

// check reports what a value violates; messages never repeat a secure value.
func (t *Template) check(p *Parameter, v Value) (problems []string) {
	return t.conforms(p.schema, v, p.Secure(), "")
}

func (t *Template) conforms(schema, v Value, secure bool, at string) (problems []string) {
	resolved, problem := t.resolve(schema)
	if problem != "" {
		return nil // reported with the declaration
	}
	nullable := get(schema, "nullable").IsTrue() || get(resolved, "nullable").IsTrue()
	if v.Kind() == value.Null && nullable {
		return nil
	}
	name := typeName(get(resolved, "type").Str())
	secure = secure || strings.HasPrefix(name, "Secure")
	if name != "" && !slices.Contains(kinds[name], v.Kind()) {
		return []string{fmt.Sprintf("%sexpected a value of type '%s' and got the %s", at, name, v.Kind())}
	}
	problems = bounds(resolved, v, secure, at)
	if !get(schema, "$ref").IsUndefined() {
		problems = append(problems, bounds(schema, v, secure, at)...)
	}
	return append(problems, t.inside(resolved, v, secure, at)...)
}

// bounds are allowedValues, minValue, maxValue, minLength and maxLength.
func bounds(s, v Value, secure bool, at string) (problems []string) {
	show := func() string {
		if secure {
			return "the given value"
		}
		return "'" + clip(plain(v)) + "'"
	}
	bad := func(format string, args ...any) { problems = append(problems, at+fmt.Sprintf(format, args...)) }
	if allowed := get(s, "allowedValues"); allowed.Kind() == value.Array && !isAllowed(allowed, v) {
		bad("%s is not part of the allowed value(s): '%s'", show(), clip(list(allowed)))
	}
	limit := func(key string) (int64, bool) {
		l := get(s, key)
		return l.Int64(), l.Kind() == value.Int
	}
	if n, ok := limit("minValue"); ok && v.Kind() == value.Int && v.Int64() < n {
		bad("%s is less than the minimum value '%d'", show(), n)
	}
	if n, ok := limit("maxValue"); ok && v.Kind() == value.Int && v.Int64() > n {
		bad("%s exceeds the maximum value '%d'", show(), n)
	}
	length := int64(v.Len())
	if v.Kind() == value.String {
		length = int64(utf8.RuneCountInString(v.Str()))
	}
	if n, ok := limit("minLength"); ok && length < n {
		bad("the length of the value is %d; it must be at least %d", length, n)
	}
	if n, ok := limit("maxLength"); ok && length > n {
		bad("the length of the value is %d; it must be at most %d", length, n)
	}
	return problems
}

// isAllowed: a value, or for an array parameter all of its elements.
func isAllowed(allowed, v Value) bool {
	is := func(v Value) bool {
		return slices.ContainsFunc(allowed.Elems(), func(a Value) bool { return value.Same(a, v) })
	}
	if is(v) {
		return true
	}
	return v.Kind() == value.Array && !slices.ContainsFunc(v.Elems(), func(e Value) bool { return !is(e) })
}

// inside checks the properties and items of a user-defined type.
func (t *Template) inside(s, v Value, secure bool, at string) (problems []string) {
	if properties := get(s, "properties"); v.Kind() == value.Object && properties.Kind() == value.Object {
		for i := range properties.Len() {
			name, schema := properties.Key(i), properties.At(i)
			have := get(v, name)
			if !have.IsUndefined() {
				problems = append(problems, t.conforms(schema, have, secure, at+name+": ")...)
				continue
			}
			resolved, _ := t.resolve(schema)
			if !get(schema, "nullable").IsTrue() && !get(resolved, "nullable").IsTrue() {
				problems = append(problems, at+"the property '"+name+"' is missing")
			}
		}
	}
	if items := get(s, "items"); v.Kind() == value.Array && items.Kind() == value.Object {
		for i, e := range v.Elems() {
			problems = append(problems, t.conforms(items, e, secure, fmt.Sprintf("%s[%d]: ", at, i))...)
		}
	}
	return problems
}

func plain(v Value) string {
	if s, ok := v.Text(); ok {
		return s
	}
	return v.JSON()
}

func list(v Value) string {
	var all []string
	for _, e := range v.Elems() {
		all = append(all, plain(e))
	}
	return strings.Join(all, ",")
}

// ParameterFile reads the parameters of a deployment in each shape that people
// have: a parameter file ({"$schema", "parameters": {...}}) or its inner object,
// with {"value": V} for each. It is as lenient as Parse.
func ParameterFile(text string) (Value, error) {
	r := &report{text: Clean(text)}
	v, err := value.Parse(r.text)
	if err != nil {
		r.addGlobal("the parameters are not valid JSON: %v", err)
		return Value{}, r.err()
	}
	return ParameterValues(v)
}

// ParameterValues turns {"name": {"value": V}} (or a parameter file) into {"name": V}.
func ParameterValues(v Value) (Value, error) {
	if inner := get(v, "parameters"); inner.Kind() == value.Object && (!get(v, "$schema").IsUndefined() || !get(v, "contentVersion").IsUndefined()) {
		v = inner
	}
	r := &report{}
	switch v.Kind() {
	case value.Undefined, value.Null:
		return value.FromFields(nil), nil
	case value.Object:
	default:
		r.addGlobal("the parameters must be an object of names with {\"value\": …}, not the %s", v.Kind())
		return Value{}, r.err()
	}
	var fields []value.Field
	for i := range v.Len() {
		name, given := v.Key(i), v.At(i)
		inner := get(given, "value")
		switch {
		case given.Kind() == value.Object && !inner.IsUndefined():
			fields = append(fields, value.Field{Key: name, Value: inner})
		case !get(given, "reference").IsUndefined():
			r.addGlobal("the parameter '%s' refers to a key vault; there is none here: give its value", clip(name))
		default:
			r.addGlobal("the parameter '%s' has no value: write {\"value\": …}", clip(name))
		}
	}
	return value.FromFields(fields), r.err()
}
