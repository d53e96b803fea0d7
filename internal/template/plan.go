package template

import (
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/expr/value"
)

// Plan is an expanded template: what a deployment makes, and in what order.
type Plan struct {
	Scope      arm.ID
	Resources  []*Resource
	Parameters []Given

	scope *scope
	path  string
	names index
	loops []loop // of outer templates, around all resources
}

// Given is a parameter and its value, defaults evaluated. In a partial expansion
// the value may be missing.
type Given struct {
	*Parameter
	Value Value
}

// Resource is one resource of a plan: one round of a loop is one resource.
type Resource struct {
	ID         arm.ID // the zero ID where a partial expansion does not know it
	Type       arm.Type
	Name       string // "gallery/image" for a child
	APIVersion string
	Symbol     string // symbolic name; "" without
	Loop       string // copy loop that it is of; "" without

	Path         string // in the template: "resources[2]"
	Line, Column int    // of the text given to Parse

	// Body is what is sent to the resource's provider, as far as it is known
	// before the deployment runs; expressions that are not known stay text.
	Body Value
	// Open says that Body has such expressions.
	Open bool
	// Skipped: its condition is false. Existing: it is only referred to.
	Skipped, Existing bool
	// Conditional: a partial expansion does not know whether it is deployed.
	Conditional bool
	// DependsOn are the indices of the resources that must be made before.
	DependsOn []int
	// Nested is the plan of a nested deployment, as far as it is known; nil for
	// other resources.
	Nested *Plan

	node     Value
	round    int // of the loop
	frame    *frame
	depends  []Value // dependsOn as written
	depPath  string
	parent   *Resource // that it is declared in
	after    []*Resource
	deployed arm.ID // scope of the deployment that it belongs to
	base     arm.ID // what type and name hang on
}

// Document is the resource as policies see it: its body with id, name and type.
func (r *Resource) Document() Value {
	d := object("type", string(r.Type), "name", r.Name, "apiVersion", r.APIVersion)
	if !r.ID.IsRoot() {
		d = object("id", r.ID.String(), "type", string(r.Type), "name", r.Name, "apiVersion", r.APIVersion)
	}
	for i := range r.Body.Len() {
		d = d.With(r.Body.Key(i), r.Body.At(i))
	}
	return d
}

// Expand evaluates a template for parameters ({"name": value}). All problems are
// reported at once, as Problems.
func (t *Template) Expand(ctx Context, parameters Value) (*Plan, error) {
	r := &report{text: t.text}
	p := t.expand(&ctx, r, parameters, "", &limits{bytes: maxProduced})
	return p, r.err()
}

func (t *Template) expand(ctx *Context, r *report, parameters Value, path string, left *limits) *Plan {
	s := newScope(t, ctx, r, left)
	p := &Plan{Scope: ctx.Scope, scope: s, path: path}
	p.bind(parameters)
	s.readVariables(path)
	if len(r.problems) > 0 && !ctx.Partial {
		return p // what follows from them is noise
	}
	for i := range get(t.root, "variables").Len() {
		name := get(t.root, "variables").Key(i)
		if _, loops := propertyLoops(name, get(t.root, "variables").At(i)); !loops {
			s.evaluated(name, 0)
		}
	}
	for key := range s.declared {
		s.evaluated(key, 0)
	}
	p.expandResources(get(t.root, "resources"), join(path, "resources"))
	return p
}

func newScope(t *Template, ctx *Context, r *report, left *limits) *scope {
	return &scope{t: t, ctx: ctx, report: r, values: map[string]Value{}, declared: map[string]Value{}, paths: map[string]string{},
		known: map[string]variable{}, evaluating: map[string]bool{}, left: left}
}

// bind checks the given parameters and evaluates the defaults of the others.
func (p *Plan) bind(given Value) {
	s, t := p.scope, p.scope.t
	var unknown []string
	for i := range given.Len() {
		if !slices.ContainsFunc(t.parameters, func(d *Parameter) bool { return strings.EqualFold(d.Name, given.Key(i)) }) {
			unknown = append(unknown, given.Key(i))
		}
	}
	if len(unknown) > 0 {
		var known []string
		for _, d := range t.parameters {
			known = append(known, d.Name)
		}
		s.addGlobal("The template parameters '%s' in the parameters file are not valid; they are not present in the original template and can therefore not be provided at deployment time. The only supported parameters for this template are '%s'",
			clip(strings.Join(unknown, ", ")), strings.Join(known, ", "))
	}
	for _, d := range t.parameters {
		if v := get(given, d.Name); !v.IsUndefined() {
			s.check(d, v)
		}
	}
	for _, d := range t.parameters {
		if get(given, d.Name).IsUndefined() {
			s.fallback(d)
		}
		p.Parameters = append(p.Parameters, Given{d, s.values[value.LowerASCII(d.Name)]})
	}
}

// check takes a parameter's value, and reports what is wrong with it.
func (s *scope) check(d *Parameter, v Value) {
	s.values[value.LowerASCII(d.Name)] = v
	for _, problem := range s.t.check(d, v) {
		s.add(d.schema, d.path, "The provided value for the template parameter '%s' is not valid: %s", d.Name, problem)
	}
}

// fallback is the value of a parameter that is not given; defaults may use other
// parameters, in any order.
func (s *scope) fallback(d *Parameter) {
	key := value.LowerASCII(d.Name)
	if _, done := s.values[key]; done {
		return
	}
	def := get(d.schema, "defaultValue")
	switch {
	case !def.IsUndefined() && s.evaluating[key]:
		s.add(d.schema, d.path, "The default value of the template parameter '%s' refers to itself in a circle", d.Name)
	case !def.IsUndefined():
		s.evaluating[key] = true
		f := &frame{scope: s, defaults: true}
		v := f.tree(def, join(d.path, "defaultValue"))
		delete(s.evaluating, key)
		if !f.open {
			s.check(d, v)
		}
	case d.Nullable:
		s.values[key] = value.NullValue
	case !s.ctx.Partial:
		s.add(d.schema, d.path, "The value for the template parameter '%s' is not provided. Please see https://aka.ms/arm-create-parameter-file for usage details", d.Name)
	}
}

// later is a frame of a resource, or of the template, for use while the deployment
// runs: with a report and a budget of its own, so that resources may be evaluated
// at the same time.
func (f *frame) later(rt Runtime) *frame {
	s := *f.scope
	s.report, s.left, s.evaluating = &report{text: f.text}, &limits{bytes: maxProduced}, map[string]bool{}
	g := *f
	g.scope, g.runtime, g.open = &s, rt, false
	return &g
}

// Body is the whole body of a resource, now that it can be known. It is safe to ask
// for several bodies at the same time. The error is Problems.
func (p *Plan) Body(r *Resource, rt Runtime) (Value, error) {
	if !r.Open {
		return r.Body, nil
	}
	f := r.frame.later(rt)
	body := f.body(r)
	return body, f.err()
}

// Output is one output of a deployment.
type Output struct {
	Name  string
	Type  string
	Value Value // Undefined for a secure output
}

// Outputs evaluates the outputs. The error is Problems.
func (p *Plan) Outputs(rt Runtime) ([]Output, error) {
	f := (&frame{scope: p.scope}).later(rt)
	all := get(p.scope.t.root, "outputs")
	var out []Output
	for i := range all.Len() {
		o, ok := f.output(all.Key(i), all.At(i), join(join(p.path, "outputs"), all.Key(i)))
		if ok {
			out = append(out, o)
		}
	}
	return out, f.err()
}

func (f *frame) output(name string, o Value, path string) (Output, bool) {
	if c := get(o, "condition"); !c.IsUndefined() && !f.tree(c, join(path, "condition")).IsTrue() {
		return Output{}, false
	}
	resolved, _ := f.t.resolve(o)
	out := Output{Name: name, Type: typeName(get(resolved, "type").Str())}
	if l := get(o, "copy"); l.Kind() == value.Object {
		out.Value = f.copies(l, "", join(path, "copy"))
		return out, true
	}
	v := get(o, "value")
	if out.Type == "" || v.IsUndefined() {
		f.add(o, path, "the output '%s' needs a type and a value", clip(name))
		return out, false
	}
	out.Value = f.tree(v, join(path, "value"))
	if strings.HasPrefix(out.Type, "Secure") {
		out.Value = Value{}
		return out, true
	}
	nullable := get(resolved, "nullable").IsTrue() || get(o, "nullable").IsTrue()
	if len(f.problems) == 0 && !slices.Contains(kinds[out.Type], out.Value.Kind()) && !(nullable && out.Value.Kind() == value.Null) {
		f.add(v, path, "The template output '%s' is not valid: expected a value of type '%s' and got the %s", name, out.Type, out.Value.Kind())
	}
	return out, true
}

// Secrets are the texts in the values of secure parameters, for those who must keep
// them out of what they show.
func (p *Plan) Secrets() (all []string) {
	for _, g := range p.Parameters {
		if g.Secure() {
			all = appendTexts(all, g.Value)
		}
	}
	return all
}

// Secrets is what Plan.Secrets would be of a template that may not expand: the texts of
// secure parameters' values, and of their defaults.
func (t *Template) Secrets(parameters Value) (all []string) {
	for _, p := range t.parameters {
		if p.Secure() {
			all = appendTexts(appendTexts(all, get(parameters, p.Name)), get(p.schema, "defaultValue"))
		}
	}
	return all
}

func appendTexts(all []string, v Value) []string {
	if v.Kind() == value.String && v.Str() != "" {
		return append(all, v.Str())
	}
	for i := range v.Len() {
		all = appendTexts(all, v.At(i))
	}
	return all
}
