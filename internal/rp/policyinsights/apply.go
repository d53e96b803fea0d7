package policyinsights

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
)

// transformation is one step of an $apply: filter(…), groupby((…),aggregate(…)) or
// aggregate(…).
type transformation struct {
	filter     predicate
	groupBy    []string // as written
	aggregates []aggregate
}

// aggregate is one computed column.
type aggregate struct {
	property string // in lower case; "$count" counts
	method   string // max, min, sum, average, countdistinct
	as       string
}

// parseApply compiles an $apply.
func parseApply(text string, known func(string) bool) (steps []transformation, err error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	p := &parser{text: text, known: known}
	for {
		t, err := p.transformation()
		if err != nil {
			return nil, err
		}
		steps = append(steps, t)
		if !p.take("/") {
			break
		}
		// What follows a grouping sees its columns.
		p.known = func(name string) bool {
			return known(name) || slices.ContainsFunc(t.aggregates, func(a aggregate) bool { return strings.EqualFold(a.as, name) })
		}
	}
	if p.peek() != "" {
		return nil, p.badApply("found %q where $apply should end", p.peek())
	}
	return steps, nil
}

func (p *parser) badApply(format string, args ...any) error {
	return arm.BadRequest("InvalidApplyInQueryString", "$apply", "%s at character %d of %q.", fmt.Sprintf(format, args...), p.at+1, clip(p.text))
}

func (p *parser) transformation() (t transformation, err error) {
	switch word := strings.ToLower(p.next()); word {
	case "filter":
		if err = p.expect("("); err == nil {
			t.filter, err = p.or()
		}
	case "groupby":
		if err = p.expect("("); err == nil {
			t.groupBy, err = p.names()
		}
		if err == nil && p.take(",") {
			if err = p.expect("aggregate"); err == nil {
				t.aggregates, err = p.aggregates()
			}
		}
	case "aggregate":
		t.aggregates, err = p.aggregates()
		return t, err
	default:
		return t, p.badApply("%q is not filter, groupby or aggregate", word)
	}
	if err == nil {
		err = p.expect(")")
	}
	return t, err
}

func (p *parser) names() (names []string, err error) {
	if err := p.expect("("); err != nil {
		return nil, err
	}
	for {
		name := p.next()
		if !p.known(name) {
			return nil, p.badApply("%q is not a property", name)
		}
		names = append(names, name)
		if !p.take(",") {
			return names, p.expect(")")
		}
	}
}

func (p *parser) aggregates() (all []aggregate, err error) {
	if err := p.expect("("); err != nil {
		return nil, err
	}
	for {
		a := aggregate{property: strings.ToLower(p.next())}
		if a.property != "$count" {
			if !p.known(a.property) {
				return nil, p.badApply("%q is not a property", a.property)
			}
			if err := p.expect("with"); err != nil {
				return nil, err
			}
			if a.method = strings.ToLower(p.next()); !slices.Contains([]string{"max", "min", "sum", "average", "countdistinct"}, a.method) {
				return nil, p.badApply("%q is not max, min, sum, average or countdistinct", a.method)
			}
		}
		if err := p.expect("as"); err != nil {
			return nil, err
		}
		a.as = p.next()
		all = append(all, a)
		if !p.take(",") {
			return all, p.expect(")")
		}
	}
}

// grouping collects the records of one transformation. Memory goes with the number
// of groups.
type grouping struct {
	t      transformation
	groups map[string]*group
	order  []*group
}

type group struct {
	keys     []any
	count    int
	values   []any // of aggregates
	distinct []map[string]bool
}

func newGrouping(t transformation) *grouping { return &grouping{t: t, groups: map[string]*group{}} }

func (g *grouping) add(get getter) {
	var keys []any
	id := ""
	for _, name := range g.t.groupBy {
		v := get(strings.ToLower(name))
		keys = append(keys, v)
		id += strings.ToLower(fmt.Sprint(v)) + "\x00"
	}
	one := g.groups[id]
	if one == nil {
		one = &group{keys: keys, values: make([]any, len(g.t.aggregates)), distinct: make([]map[string]bool, len(g.t.aggregates))}
		g.groups[id] = one
		g.order = append(g.order, one)
	}
	one.count++
	for i, a := range g.t.aggregates {
		one.fold(i, a, get)
	}
}

func (o *group) fold(i int, a aggregate, get getter) {
	if a.property == "$count" {
		return
	}
	v := get(a.property)
	n, isNumber := v.(float64)
	switch c, ok := compare(v, o.values[i]); a.method {
	case "max", "min":
		if o.values[i] == nil || ok && (a.method == "max" && c > 0 || a.method == "min" && c < 0) {
			o.values[i] = v
		}
	case "sum", "average":
		if sum, _ := o.values[i].(float64); isNumber {
			o.values[i] = sum + n
		}
	case "countdistinct":
		if o.distinct[i] == nil {
			o.distinct[i] = map[string]bool{}
		}
		o.distinct[i][strings.ToLower(fmt.Sprint(v))] = true
	}
}

// objects are the groups as records.
func (g *grouping) objects() []object {
	var out []object
	for _, one := range g.order {
		o := object{}
		for i, name := range g.t.groupBy {
			o = append(o, property{name, plain(one.keys[i])})
		}
		for i, a := range g.t.aggregates {
			o = append(o, property{a.as, one.result(i, a)})
		}
		out = append(out, o)
	}
	return out
}

func (o *group) result(i int, a aggregate) any {
	switch {
	case a.property == "$count":
		return o.count
	case a.method == "countdistinct":
		return len(o.distinct[i])
	case a.method == "average":
		sum, _ := o.values[i].(float64)
		return sum / float64(o.count)
	}
	return plain(o.values[i])
}

func plain(v any) any {
	if t, ok := v.(time.Time); ok {
		return t.UTC().Format(time.RFC3339Nano)
	}
	return v
}

// get is a property of a record that a grouping has made.
func (o object) get(name string) any {
	for _, p := range o {
		if strings.EqualFold(p.name, name) {
			if n, ok := p.value.(int); ok {
				return float64(n)
			}
			return p.value
		}
	}
	return nil
}

// pipeline runs an $apply over records as they come: filters before the first
// grouping, the grouping, and the rest over its groups.
type pipeline struct {
	before []predicate
	first  *grouping
	rest   []transformation
}

func newPipeline(steps []transformation) *pipeline {
	p := &pipeline{}
	for i, t := range steps {
		if t.filter == nil {
			p.first, p.rest = newGrouping(t), steps[i+1:]
			break
		}
		p.before = append(p.before, t.filter)
	}
	return p
}

// passes reports whether a record survives the filters.
func (p *pipeline) passes(get getter) bool {
	return !slices.ContainsFunc(p.before, func(f predicate) bool { return !f(get) })
}

// finish runs the rest.
func (p *pipeline) finish() []object {
	objects := p.first.objects()
	for _, t := range p.rest {
		if t.filter != nil {
			objects = slices.DeleteFunc(objects, func(o object) bool { return !t.filter(o.get) })
			continue
		}
		g := newGrouping(t)
		for _, o := range objects {
			g.add(o.get)
		}
		objects = g.objects()
	}
	return objects
}
