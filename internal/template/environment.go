package template

import (
	"errors"
	"fmt"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/expr/value"
)

func text(s string) Value { return value.FromString(s) }

// object makes an object of pairs.
func object(pairs ...any) Value {
	var fields []value.Field
	for i := 0; i+1 < len(pairs); i += 2 {
		v, ok := pairs[i+1].(Value)
		if s, isText := pairs[i+1].(string); isText {
			v, ok = text(s), true
		}
		if ok && !v.IsUndefined() {
			fields = append(fields, value.Field{Key: pairs[i].(string), Value: v})
		}
	}
	return value.FromFields(fields)
}

// environment answers the functions about where the deployment runs.
func (f *frame) environment(function string, args []Value) (Value, error) {
	given := map[string]Value{"subscription": f.ctx.Subscription, "tenant": f.ctx.Tenant, "deployer": f.ctx.Deployer, "environment": f.ctx.Environment}
	if v, ok := given[function]; ok {
		if v.IsUndefined() {
			return f.unknown("it is not known here")
		}
		return v, nil
	}
	switch function {
	case "resourcegroup":
		switch {
		case !f.ctx.ResourceGroup.IsUndefined():
			return f.ctx.ResourceGroup, nil
		case f.ctx.Scope.Kind() == arm.KindSubscription && !f.ctx.Partial:
			return Value{}, errors.New("the deployment is at a subscription, where there is no resource group")
		}
		return f.unknown("it is not known here")
	case "deployment":
		return f.deployment(), nil
	case "providers":
		return f.providers(args)
	case "managementgroup":
		return Value{}, errors.New("the deployment is not at a management group")
	case "pickzones":
		return value.FromSlice(nil), nil // there are no zones here
	case "tologicalzone", "tophysicalzone":
		return text(""), nil
	case "tologicalzones", "tophysicalzones":
		return value.FromSlice(nil), nil
	}
	return Value{}, errors.New("this function cannot be called in a template")
}

func (f *frame) deployment() Value {
	brief := object("$schema", get(f.t.root, "$schema"), "contentVersion", get(f.t.root, "contentVersion"), "metadata", get(f.t.root, "metadata"))
	out := object("name", f.ctx.Deployment, "properties", object("template", brief, "mode", "Incremental", "provisioningState", "Accepted"))
	if f.ctx.Location != "" {
		out = out.With("location", text(f.ctx.Location))
	}
	return out
}

func (f *frame) providers(args []Value) (Value, error) {
	if f.ctx.Provider == nil {
		return f.unknown("the resource providers are not known here")
	}
	namespace := f.ctx.Provider(args[0].Str())
	if namespace.IsUndefined() {
		return Value{}, fmt.Errorf("there is no resource provider '%s' here", clip(args[0].Str()))
	}
	if len(args) == 1 {
		return namespace, nil
	}
	for _, t := range get(namespace, "resourceTypes").Elems() {
		if value.EqualASCII(get(t, "resourceType").Str(), args[1].Str()) {
			return t, nil
		}
	}
	return Value{}, fmt.Errorf("the resource provider '%s' has no type '%s' here", clip(args[0].Str()), clip(args[1].Str()))
}

// reference asks for a resource. Before the deployment runs nobody can answer.
func (f *frame) reference(function string, args []Value) (Value, error) {
	if f.runtime == nil {
		f.open = true
		return Value{}, errOpen
	}
	name, version := args[0].Str(), ""
	full := false
	for _, a := range args[1:] {
		if value.EqualASCII(a.Str(), "Full") {
			full = true
		} else {
			version = a.Str()
		}
	}
	if value.EqualASCII(function, "references") {
		return f.references(name, full)
	}
	if f.resources != nil {
		if found := f.resources(name); len(found) == 1 {
			return f.state(f.plan.Resources[found[0]], full)
		}
	}
	id, err := arm.ParseID(name)
	if err != nil || name == "" || name[0] != '/' {
		return Value{}, fmt.Errorf("the resource '%s' is not defined in the template, and it is no id of another", clip(name))
	}
	return f.stateOf(id, version, full)
}

// references is reference of every resource of a copy loop.
func (f *frame) references(name string, full bool) (Value, error) {
	var all []Value
	for _, i := range f.resources(name) {
		v, err := f.state(f.plan.Resources[i], full)
		if err != nil {
			return Value{}, err
		}
		all = append(all, v)
	}
	return value.FromSlice(all), nil
}

func (f *frame) state(r *Resource, full bool) (Value, error) {
	if r.Skipped {
		return Value{}, fmt.Errorf("the resource '%s' is not deployed: its condition is false", r.Name)
	}
	return f.stateOf(r.ID, r.APIVersion, full)
}

func (f *frame) stateOf(id arm.ID, version string, full bool) (Value, error) {
	v, err := f.runtime.Reference(id, version)
	if err != nil {
		return Value{}, err
	}
	if full {
		return fullState(v, id, version), nil
	}
	if p := get(v, "properties"); !p.IsUndefined() {
		return p, nil
	}
	return value.FromFields(nil), nil
}

func fullState(v Value, id arm.ID, version string) Value {
	v = v.With("apiVersion", text(version)).With("resourceId", text(id.String())).With("scope", text(id.Scope().String()))
	if s := id.Subscription(); s != "" {
		v = v.With("subscriptionId", text(s))
	}
	if g := id.ResourceGroup(); g != "" {
		v = v.With("resourceGroupName", text(g))
	}
	return v
}

// list calls listKeys and its like.
func (f *frame) list(function string, args []Value) (Value, error) {
	if f.runtime == nil {
		f.open = true
		return Value{}, errOpen
	}
	var id arm.ID
	var err error
	if f.resources != nil {
		if found := f.resources(args[0].Str()); len(found) == 1 {
			id = f.plan.Resources[found[0]].ID
		}
	}
	if id.IsRoot() {
		if id, err = arm.ParseID(args[0].Str()); err != nil {
			return Value{}, err
		}
	}
	version, parameters := "", Value{}
	if len(args) > 1 {
		version = args[1].Str()
	}
	if len(args) > 2 {
		parameters = args[2]
	}
	return f.runtime.List(function, id, version, parameters)
}
