package template

import (
	"fmt"
	"strings"
	"sync"

	"hallmark.dev/hallmark/internal/expr"
	"hallmark.dev/hallmark/internal/expr/value"
)

// isInner reports whether a nested deployment evaluates its template itself.
func isInner(properties Value) bool {
	return strings.EqualFold(get(get(properties, "expressionEvaluationOptions"), "scope").Str(), "inner")
}

// innerTemplate reports whether a member is the template of such a deployment.
func innerTemplate(v Value, key string) bool {
	return value.EqualASCII(key, "template") && isInner(v)
}

// nestedProperties evaluates the properties of a nested deployment: all of them, but
// for a template that the nested deployment evaluates itself. What the outer
// template evaluates is passed on as a template without expressions.
func (f *frame) nestedProperties(v Value, path string) Value {
	if v.Kind() != value.Object {
		return f.tree(v, path)
	}
	var fields []value.Field
	for i := range v.Len() {
		key, member := v.Key(i), v.At(i)
		at := join(path, key)
		switch {
		case value.EqualASCII(key, "templateLink") && !member.IsNothing():
			f.add(member, at, "linked templates are not supported here: put the template into the deployment")
			continue
		case !value.EqualASCII(key, "template") || member.Kind() != value.Object:
			member = f.tree(member, at)
		case !isInner(v):
			member = f.literal(member, at)
		}
		if member.Kind() != value.Null {
			fields = append(fields, value.Field{Key: key, Value: member})
		}
	}
	return value.FromFields(fields)
}

// literal is a nested template with the outer template's expressions evaluated. It
// has no parameters and variables: nothing asks for them any more.
func (f *frame) literal(t Value, path string) Value {
	var fields []value.Field
	for i := range t.Len() {
		key, v := t.Key(i), t.At(i)
		at := join(path, key)
		switch value.LowerASCII(key) {
		case "parameters", "variables", "functions", "definitions":
			continue
		case "resources":
			v = f.literalResources(v, at)
		default:
			v = escaped(f.tree(v, at))
		}
		fields = append(fields, value.Field{Key: key, Value: v})
	}
	return value.FromFields(fields)
}

// literalResources unrolls the loops, and names their rounds where something depends
// on the loop.
func (f *frame) literalResources(list Value, path string) Value {
	loops := map[string][]Value{} // names of the rounds
	type made struct {
		key      string
		resource Value
	}
	var all []made
	for i := range list.Len() {
		r, at, key := list.At(i), element(path, i), ""
		if list.Kind() == value.Object {
			key = list.Key(i)
			at = join(path, key)
		}
		l := get(r, "copy")
		if l.Kind() != value.Object {
			all = append(all, made{key, f.literalResource(r, at)})
			continue
		}
		n, open, ok := f.count(l, join(at, "copy"))
		f.open = f.open || open
		if !ok {
			continue
		}
		name := get(l, "name").Str()
		serial := strings.EqualFold(get(l, "mode").Str(), "serial")
		for j := range n {
			g := *f
			g.loops = append(append([]loop(nil), f.loops...), loop{name: name, index: j, resource: true, open: open})
			one := g.literalResource(r, at)
			f.open = f.open || g.open
			rounds := loops[strings.ToLower(name)]
			if serial && len(rounds) > 0 {
				one = one.With("dependsOn", value.FromSlice(append(append([]Value(nil), get(one, "dependsOn").Elems()...), rounds[len(rounds)-1])))
			}
			loops[strings.ToLower(name)] = append(rounds, text(get(one, "type").Str()+"/"+get(one, "name").Str()))
			if key != "" {
				all = append(all, made{fmt.Sprintf("%s_%d", key, j), one})
			} else {
				all = append(all, made{"", one})
			}
		}
	}
	var fields []value.Field
	var elems []Value
	for _, m := range all {
		r := unrollDepends(m.resource, loops)
		if list.Kind() == value.Object {
			fields = append(fields, value.Field{Key: m.key, Value: r})
		}
		elems = append(elems, r)
	}
	if list.Kind() == value.Object {
		return value.FromFields(fields)
	}
	return value.FromSlice(elems)
}

// unrollDepends replaces the names of loops by those of their rounds.
func unrollDepends(r Value, loops map[string][]Value) Value {
	depends := get(r, "dependsOn")
	if depends.Kind() != value.Array {
		return r
	}
	var out []Value
	for _, d := range depends.Elems() {
		if rounds, ok := loops[strings.ToLower(d.Str())]; ok {
			out = append(out, rounds...)
			continue
		}
		out = append(out, d)
	}
	return r.With("dependsOn", value.FromSlice(out))
}

func (f *frame) literalResource(r Value, path string) Value {
	nested := strings.EqualFold(get(r, "type").Str(), string(TypeDeployment))
	var fields []value.Field
	for i := range r.Len() {
		key, v := r.Key(i), r.At(i)
		at := join(path, key)
		switch {
		case value.EqualASCII(key, "copy"):
			continue
		case value.EqualASCII(key, "resources") && !nested:
			v = f.literalResources(v, at)
		case value.EqualASCII(key, "properties") && nested:
			inner := get(v, "template")
			v = f.nestedProperties(v, at)
			for j := range v.Len() {
				if !(value.EqualASCII(v.Key(j), "template") && (isInner(v) || inner.Kind() == value.Object)) {
					v = v.With(v.Key(j), escaped(v.At(j)))
				}
			}
			if !isInner(v) && inner.Kind() == value.Object { // evaluated: say so, or it would be evaluated once more out there
				v = v.With("expressionEvaluationOptions", object("scope", "inner"))
			}
		default:
			v = escaped(f.tree(v, at))
		}
		fields = append(fields, value.Field{Key: key, Value: v})
	}
	return value.FromFields(fields)
}

// escaped makes texts that look like expressions stay what they are.
func escaped(v Value) Value {
	switch v.Kind() {
	case value.String:
		if strings.HasPrefix(v.Str(), "[") {
			return text("[" + v.Str())
		}
	case value.Array:
		elems := make([]Value, v.Len())
		for i, e := range v.Elems() {
			elems[i] = escaped(e)
		}
		return value.FromSlice(elems)
	case value.Object:
		fields := make([]value.Field, v.Len())
		for i := range fields {
			key := v.Key(i)
			if strings.HasPrefix(key, "[") {
				key = "[" + key
			}
			fields[i] = value.Field{Key: key, Value: escaped(v.At(i))}
		}
		return value.FromFields(fields)
	}
	return v
}

// nest expands a nested deployment as far as it is known, for those who look at a
// plan before it runs. The nested deployment itself expands it again, with all
// that is known by then.
func (p *Plan) nest(r *Resource) {
	properties := get(r.node, "properties")
	t := get(properties, "template")
	if !r.Type.Equal(TypeDeployment) || r.Skipped || r.Existing || t.Kind() != value.Object || r.ID.IsRoot() {
		return
	}
	left := p.scope.left
	if left.resources > maxExpanded {
		return // the nested deployment will be looked at by itself
	}
	if left.depth++; left.depth > maxNesting {
		p.scope.add(r.node, r.Path, "deployments are nested more than %d deep", maxNesting)
		left.depth--
		return
	}
	defer func() { left.depth-- }()
	ctx := *p.scope.ctx
	ctx.Partial = true
	path := join(r.Path, "properties.template")
	if isInner(properties) {
		p.nestInner(r, &ctx, t, path)
		return
	}
	s := *p.scope
	s.ctx, s.resources, s.plan = &ctx, nil, nil
	nested := &Plan{Scope: r.ID.Scope(), scope: &s, path: path, loops: r.frame.loops}
	nested.expandResources(get(t, "resources"), join(path, "resources"))
	r.Nested = nested
}

func (p *Plan) nestInner(r *Resource, ctx *Context, t Value, path string) {
	nested, err := parseNode(&report{text: p.scope.text}, t, path, &sync.Map{})
	if problems, bad := err.(Problems); bad { //nolint:errorlint // parseNode returns nothing else
		p.scope.problems = append(p.scope.problems, problems...)
		return
	}
	ctx.Scope, ctx.Deployment = r.ID.Scope(), r.ID.Name()
	if !ctx.Scope.Equal(p.Scope) {
		ctx.ResourceGroup = Value{}
	}
	given := get(get(r.Body, "properties"), "parameters")
	values := p.nestedParameters(r, nested, given)
	r.Nested = nested.expand(ctx, p.scope.report, values, path, p.scope.left)
}

// nestedParameters are those that are known; what is not given at all is reported.
func (p *Plan) nestedParameters(r *Resource, t *Template, given Value) Value {
	written := get(get(r.node, "properties"), "parameters")
	values, err := ParameterValues(given)
	if err != nil {
		p.scope.add(written, join(r.Path, "properties.parameters"), "%v", err)
	}
	for _, d := range t.parameters {
		if !d.HasDefault() && !d.Nullable && written.Kind() != value.String && get(written, d.Name).IsUndefined() {
			p.scope.add(get(r.node, "properties"), join(r.Path, "properties.parameters"), "The value for the template parameter '%s' of the nested deployment '%s' is not provided", d.Name, r.Name)
		}
	}
	if !r.Open {
		return values
	}
	for i := range written.Len() { // leave out what is not known
		f := *r.frame
		if f.tree(written.At(i), ""); f.open {
			for j := range values.Len() {
				if strings.EqualFold(values.Key(j), written.Key(i)) {
					values = values.Without(values.Key(j))
					break
				}
			}
		}
	}
	return values
}

// Hide takes secrets out of the body of a nested deployment, whose template would
// show them to whoever may read the deployment: a text that has one in it becomes a
// secure parameter. Only a template that the outer one has evaluated can have any.
func Hide(body Value, secrets []string) Value {
	properties := get(body, "properties")
	if len(secrets) == 0 || isInner(properties) {
		return body
	}
	return with(body, "properties", hideIn(properties, secrets))
}

// hideIn hides the secrets in the template of a nested deployment's properties.
func hideIn(properties Value, secrets []string) Value {
	t := get(properties, "template")
	if t.Kind() != value.Object {
		return properties
	}
	h := hider{secrets: secrets}
	if t = h.hide(t); len(h.texts) == 0 {
		return properties
	}
	declared, given := get(t, "parameters"), get(properties, "parameters")
	for i, s := range h.texts {
		declared = declared.With(h.name(i), object("type", "secureString"))
		given = given.With(h.name(i), object("value", s))
	}
	properties = with(with(properties, "template", with(t, "parameters", declared)), "parameters", given)
	return with(properties, "expressionEvaluationOptions", object("scope", "inner"))
}

// with is With that finds the member whatever the case of its name.
func with(v Value, key string, member Value) Value {
	for i := range v.Len() {
		if value.EqualASCII(v.Key(i), key) {
			key = v.Key(i)
		}
	}
	return v.With(key, member)
}

type hider struct {
	secrets []string
	texts   []string
}

func (h *hider) name(i int) string { return fmt.Sprintf("outerSecret%d", i) }

func (h *hider) hide(v Value) Value {
	switch v.Kind() {
	case value.String:
		return h.text(v)
	case value.Array:
		elems := make([]Value, v.Len())
		for i, e := range v.Elems() {
			elems[i] = h.hide(e)
		}
		return value.FromSlice(elems)
	case value.Object:
		if isInner(v) { // a deployment in it has parameters of its own, which get theirs from here
			v = hideIn(v, h.secrets)
		}
		fields := make([]value.Field, v.Len())
		for i := range fields {
			fields[i] = value.Field{Key: v.Key(i), Value: v.At(i)}
			if !innerTemplate(v, v.Key(i)) {
				fields[i].Value = h.hide(v.At(i))
			}
		}
		return value.FromFields(fields)
	}
	return v
}

func (h *hider) text(v Value) Value {
	for _, s := range h.secrets {
		if strings.Contains(v.Str(), s) {
			// A text that escaped has given a bracket stands for one without.
			h.texts = append(h.texts, expr.Unescape(v.Str()))
			return text("[parameters('" + h.name(len(h.texts)-1) + "')]")
		}
	}
	return v
}
