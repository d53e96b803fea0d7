package policy

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/expr"
	"hallmark.dev/hallmark/internal/expr/value"
)

// binder gives the host functions of a policy their code.
type binder struct{ c *compiler }

// Bind implements expr.Binder.
func (b binder) Bind(ec *expr.Compiler, call *expr.Call) (expr.Bound, bool, error) {
	switch value.LowerASCII(call.Name) {
	case "parameters":
		name, err := b.literal(ec, call)
		return expr.Bound{Value: b.c.parameter(name)}, true, err
	case "field":
		return b.field(ec, call)
	case "current":
		return b.current(ec, call)
	case "utcnow":
		b.c.depend(dependency{context: "utcNow"})
		return b.utcNow(ec, call)
	}
	if len(call.Args) > 0 {
		return expr.Bound{}, false, nil
	}
	b.c.depend(dependency{context: call.Name})
	return contextMember(call.Name), true, nil
}

// literal returns the text argument that must be known when compiling.
func (b binder) literal(ec *expr.Compiler, call *expr.Call) (string, error) {
	if value.LowerASCII(call.Name) == "parameters" {
		if lit, ok := call.Args[0].(*expr.Literal); ok && lit.Value.Kind() == value.String {
			return lit.Value.Str(), nil
		}
		return "", ec.Fail(call, call.Name, "the name must be a string in single quotes")
	}
	if v, ok := ec.Constant(call.Args[0]); ok && v.Kind() == value.String {
		return v.Str(), nil
	}
	return "", ec.Fail(call, call.Name, "the argument must be text that is known before evaluation")
}

// field compiles field('path'): a missing value is null, [*] gives an array of
// the values that exist.
func (b binder) field(ec *expr.Compiler, call *expr.Call) (expr.Bound, bool, error) {
	name, err := b.literal(ec, call)
	if err != nil {
		return expr.Bound{}, true, err
	}
	r, err := b.c.functionField(name)
	if err != nil {
		return expr.Bound{}, true, err
	}
	if r.stars == 0 && !r.throughElement() {
		return expr.Bound{Code: func(env *expr.Env) (Value, error) {
			v := r.value(env.Host.(*frame))
			if v.IsUndefined() {
				return value.NullValue, nil
			}
			return *v, nil
		}}, true, nil
	}
	return gathered(r), true, nil
}

// gathered is the array of what a field with [*] stands for.
func gathered(r *ref) expr.Bound {
	return expr.Bound{Code: func(env *expr.Env) (Value, error) {
		f := env.Host.(*frame)
		start, groups := r.groups(f)
		elems, err := f.gather(nil, start, groups)
		return value.FromSlice(elems), err
	}}
}

// gather collects the values at the end of a path; missing ones are left out.
func (f *frame) gather(into []Value, start *Value, groups path) ([]Value, error) {
	v := value.Walk(start, groups[0])
	if len(groups) == 1 {
		if !v.IsUndefined() {
			into = append(into, *v)
		}
		return into, nil
	}
	if v.Kind() != value.Array {
		return into, nil
	}
	elems := v.Elems()
	for i := range elems {
		if !f.step() {
			return into, errBudget
		}
		var err error
		if into, err = f.gather(into, &elems[i], groups[1:]); err != nil {
			return into, err
		}
	}
	return into, nil
}

// current compiles current(): the element of the innermost count, or of the one
// that is named, perhaps with a path into the element.
func (b binder) current(ec *expr.Compiler, call *expr.Call) (expr.Bound, bool, error) {
	scopes := b.c.scopes
	if len(scopes) == 0 {
		return expr.Bound{}, true, ec.Fail(call, call.Name, "it only has a value inside count")
	}
	if len(call.Args) == 0 {
		innermost := &scopes[len(scopes)-1]
		if innermost.ref != nil {
			b.c.depend(dependency{ref: innermost.ref})
		}
		return elementPath(&ref{slot: innermost.slot}, path{nil}), true, nil
	}
	name, err := b.literal(ec, call)
	if err != nil {
		return expr.Bound{}, true, err
	}
	for i := len(scopes) - 1; i >= 0; i-- {
		bound, ok, err := b.inScope(&scopes[i], name)
		if err != nil || ok {
			return bound, true, err
		}
	}
	return expr.Bound{}, true, ec.Fail(call, call.Name, "no count around it is over "+name)
}

// inScope resolves a name that starts with the scope's name or field.
func (b binder) inScope(s *scope, name string) (expr.Bound, bool, error) {
	if s.ref != nil {
		r, ok, err := b.c.scoped(s, name)
		if err != nil || !ok {
			return expr.Bound{}, ok, err
		}
		b.c.depend(dependency{ref: r})
		if r.stars > 0 {
			return gathered(r), true, nil
		}
		return expr.Bound{Code: func(env *expr.Env) (Value, error) { return *r.value(env.Host.(*frame)), nil }}, true, nil
	}
	if s.name == "" || len(name) < len(s.name) || !value.EqualASCII(name[:len(s.name)], s.name) {
		return expr.Bound{}, false, nil
	}
	rest := name[len(s.name):]
	if rest != "" && rest[0] != '.' && rest[0] != '[' {
		return expr.Bound{}, false, nil
	}
	p, bad := parsePath(rest)
	if bad != "" || p.stars() > 0 {
		return expr.Bound{}, true, fmt.Errorf("current('%s'): the path into the element is broken", name)
	}
	return elementPath(&ref{slot: s.slot}, p), true, nil
}

func elementPath(r *ref, p path) expr.Bound {
	slot, segments := r.slot, p[0]
	return expr.Bound{Code: func(env *expr.Env) (Value, error) {
		return *value.Walk(env.Host.(*frame).elems[slot], segments), nil
	}}
}

// contextMember reads a member of the host's context; what is missing there
// makes the evaluation fail, it does not count as compliant.
func contextMember(name string) expr.Bound {
	key, isPolicy := value.NewKey(name), value.EqualASCII(name, "policy")
	return expr.Bound{Code: func(env *expr.Env) (Value, error) {
		f := env.Host.(*frame)
		v := f.context.Find(key)
		if v.IsUndefined() && value.EqualASCII(name, "requestContext") && f.primary.apiVersion != "" {
			return value.FromFields([]value.Field{{Key: "apiVersion", Value: value.FromString(f.primary.apiVersion)}}), nil
		}
		if v.IsUndefined() {
			return Value{}, &expr.Error{Text: "[" + name + "()]", Offset: 1, Function: name, Reason: "the context of this evaluation does not say"}
		}
		if isPolicy {
			v = withoutInitiative(v)
		}
		return v, nil
	}}
}

// withoutInitiative gives policy() the members that an assignment of a single
// definition does not have: empty, as Azure does, so that the names which
// built-in definitions compute from them exist.
func withoutInitiative(v Value) Value {
	for _, key := range []string{"setDefinitionId", "definitionReferenceId"} {
		if v.Kind() == value.Object && v.Find(value.NewKey(key)).IsUndefined() {
			v = v.With(key, value.FromString(""))
		}
	}
	return v
}

// utcNow is a value of the host's context, so that an evaluation can be repeated.
func (b binder) utcNow(ec *expr.Compiler, call *expr.Call) (expr.Bound, bool, error) {
	now := contextMember("utcNow")
	if len(call.Args) == 0 {
		return now, true, nil
	}
	layout, err := b.literal(ec, call)
	if err != nil {
		return expr.Bound{}, true, err
	}
	return expr.Bound{Code: func(env *expr.Env) (Value, error) {
		v, err := now.Code(env)
		if err != nil {
			return v, err
		}
		t, err := time.Parse(time.RFC3339, strings.Replace(v.Str(), " ", "T", 1))
		if err != nil {
			return Value{}, errors.New("utcNow: the context's value is not RFC 3339")
		}
		s, err := expr.FormatTime(t, layout)
		return value.FromString(s), err
	}}, true, nil
}
