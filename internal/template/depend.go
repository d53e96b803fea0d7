package template

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/expr"
	"hallmark.dev/hallmark/internal/expr/value"
)

func asARM(err error, e **arm.Error) bool { return errors.As(err, e) }

// index finds resources by whatever name a template may give them.
type index struct {
	ids     map[string]int
	symbols map[string][]int
	loops   map[string][]int
	names   map[string][]int
}

func (p *Plan) index() index {
	x := index{ids: map[string]int{}, symbols: map[string][]int{}, loops: map[string][]int{}, names: map[string][]int{}}
	for i, r := range p.Resources {
		if !r.Skipped {
			x.add(i, r)
		}
	}
	// Of two declarations of one resource the one is meant whose condition holds.
	skipped := index{ids: map[string]int{}, symbols: map[string][]int{}, loops: map[string][]int{}, names: map[string][]int{}}
	for i, r := range p.Resources {
		if r.Skipped {
			skipped.add(i, r)
		}
	}
	missing(x.ids, skipped.ids)
	missing(x.symbols, skipped.symbols)
	missing(x.loops, skipped.loops)
	missing(x.names, skipped.names)
	return x
}

func missing[V any](to, from map[string]V) {
	for k, v := range from {
		if _, ok := to[k]; !ok {
			to[k] = v
		}
	}
}

func (x *index) add(i int, r *Resource) {
	put := func(m map[string][]int, key string) { m[strings.ToLower(key)] = append(m[strings.ToLower(key)], i) }
	if !r.ID.IsRoot() {
		x.ids[r.ID.Key()] = i
	}
	if r.Symbol != "" {
		put(x.symbols, r.Symbol)
	}
	if r.Loop != "" {
		put(x.loops, r.Loop)
		if r.Symbol != "" {
			put(x.symbols, fmt.Sprintf("%s[%d]", r.Symbol, r.round))
		}
	}
	put(x.names, r.Name)
	put(x.names, string(r.Type)+"/"+r.Name)
}

// find is the resources that a name means: a symbolic name, an id, "Type/name" in
// either order of writing, a name, or the name of a copy loop.
func (x index) find(name string) []int {
	key := strings.ToLower(strings.TrimSuffix(name, "/"))
	if found := x.symbols[key]; found != nil {
		return found
	}
	if strings.HasPrefix(key, "/") {
		if i, ok := x.ids[key]; ok {
			return []int{i}
		}
		return nil
	}
	if found := x.names[key]; found != nil {
		return found
	}
	if found := x.loops[key]; found != nil {
		return found
	}
	for _, reading := range splitRelative(key) {
		if found := x.names[reading[0]+"/"+reading[1]]; found != nil {
			return found
		}
	}
	return nil
}

// checkUnique reports resources that are declared twice.
func (p *Plan) checkUnique() {
	seen := map[string]*Resource{}
	for _, r := range p.Resources {
		if r.ID.IsRoot() || r.Existing || r.Skipped {
			continue
		}
		if first := seen[r.ID.Key()]; first != nil && !first.Conditional && !r.Conditional {
			p.scope.add(r.node, r.Path, "The resource '%s' is defined multiple times in a template; first at line %d. Please see https://aka.ms/arm-syntax-resources for usage details", r.ID, first.Line)
			continue
		}
		seen[r.ID.Key()] = r
	}
}

// link finds what each resource depends on.
func (p *Plan) link() {
	at := map[*Resource]int{}
	for i, r := range p.Resources {
		at[r] = i
	}
	for i, r := range p.Resources {
		deps := map[int]bool{}
		for _, d := range r.depends {
			p.linkTo(r, d, deps)
		}
		if r.parent != nil {
			deps[at[r.parent]] = true
		}
		for _, b := range r.after {
			deps[at[b]] = true
		}
		if r.Open {
			p.linkReferences(r, r.node, deps)
		}
		delete(deps, i)
		for d := range deps {
			r.DependsOn = append(r.DependsOn, d)
		}
		slices.Sort(r.DependsOn)
	}
}

func (p *Plan) linkTo(r *Resource, d Value, deps map[int]bool) {
	found := p.names.find(d.Str())
	if found == nil {
		if expr.IsExpression(d.Str()) || p.scope.ctx.Partial || p.emptyLoop(d.Str()) {
			return // not known
		}
		p.scope.add(get(r.node, "dependsOn"), r.depPath, "The resource '%s' is not defined in the template. Please see https://aka.ms/arm-syntax for usage details", clip(d.Str()))
		return
	}
	for _, i := range found {
		deps[i] = true
	}
}

// emptyLoop reports whether a name is that of a copy loop without a round, or the
// symbolic name of one.
func (p *Plan) emptyLoop(name string) bool {
	return hasLoop(get(p.scope.t.root, "resources"), name)
}

func hasLoop(resources Value, name string) bool {
	for i := range resources.Len() {
		r := resources.At(i)
		l := get(r, "copy")
		if strings.EqualFold(get(l, "name").Str(), name) || !l.IsNothing() && resources.Kind() == value.Object && strings.EqualFold(resources.Key(i), name) {
			return true
		}
		if hasLoop(get(r, "resources"), name) {
			return true
		}
	}
	return false
}

// linkReferences adds the resources of this template that a body asks for.
func (p *Plan) linkReferences(r *Resource, v Value, deps map[int]bool) {
	switch v.Kind() {
	case value.String:
		if expr.IsExpression(v.Str()) {
			if prog := p.scope.t.program(v.Str()); prog.err == nil {
				p.walk(r, v.Str(), prog.node, deps)
			}
		}
	case value.Array, value.Object:
		for i := range v.Len() {
			if v.Kind() == value.Object && innerTemplate(v, v.Key(i)) {
				continue // evaluated by the nested deployment
			}
			p.linkReferences(r, v.At(i), deps)
		}
	}
}

func (p *Plan) walk(r *Resource, text string, n expr.Node, deps map[int]bool) {
	switch n := n.(type) {
	case *expr.Property:
		p.walk(r, text, n.Of, deps)
	case *expr.Index:
		p.walk(r, text, n.Of, deps)
		p.walk(r, text, n.At, deps)
	case *expr.Call:
		for _, a := range n.Args {
			p.walk(r, text, a, deps)
		}
		if name := value.LowerASCII(n.Name); len(n.Args) > 0 && (name == "reference" || name == "references" || strings.HasPrefix(name, "list")) {
			for _, i := range p.referred(r, text, n.Args[0]) {
				deps[i] = true
			}
		}
	}
}

// referred evaluates the first argument of reference by itself.
func (p *Plan) referred(r *Resource, text string, arg expr.Node) []int {
	prog, err := expr.Compile(text, arg, expr.Deployment, nil)
	if err != nil {
		return nil
	}
	f := *r.frame
	v, err := prog.Eval(&expr.Env{Host: &f})
	if err != nil || v.Kind() != value.String {
		return nil
	}
	return p.names.find(v.Str())
}

// checkCircles reports dependencies that go round.
func (p *Plan) checkCircles() {
	state := make([]uint8, len(p.Resources)) // 1: on the way, 2: done
	var path []int
	var visit func(i int) bool
	visit = func(i int) bool {
		switch state[i] {
		case 1:
			p.circle(append(path[slices.Index(path, i):len(path):len(path)], i))
			return false
		case 2:
			return true
		}
		state[i] = 1
		path = append(path, i)
		for _, d := range p.Resources[i].DependsOn {
			if !visit(d) {
				return false
			}
		}
		path = path[:len(path)-1]
		state[i] = 2
		return true
	}
	for i := range p.Resources {
		if !visit(i) {
			return
		}
	}
}

func (p *Plan) circle(chain []int) {
	var names []string
	for _, i := range chain {
		names = append(names, string(p.Resources[i].Type)+"/"+p.Resources[i].Name)
	}
	r := p.Resources[chain[0]]
	p.scope.add(r.node, r.Path, "Circular dependency detected on resource: '%s': %s. Please see https://aka.ms/arm-syntax-resources for usage details", r.ID, strings.Join(names, " depends on "))
}
