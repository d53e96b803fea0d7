package kql

import "strings"

// aggregator is one aggregate of one group.
type aggregator interface {
	add(f *frame)
	results() []Value
}

// aggregateFunc makes aggregators of compiled arguments.
type aggregateFunc struct {
	least, most int
	prefix      string // of the column's name: "sum_"
	predicate   bool   // the last argument says which rows count
	start       func(args []eval) aggregator
}

var aggregates = map[string]aggregateFunc{}

func init() { // a literal would refer to itself: expressions hold aggregates
	add := func(name string, args int, prefix string, start func([]eval) aggregator) {
		aggregates[name] = aggregateFunc{least: args, most: args, prefix: prefix, start: start}
		aggregates[name+"if"] = aggregateFunc{least: args + 1, most: args + 1, prefix: strings.TrimSuffix(prefix, "_") + "if_", predicate: true, start: start}
	}
	add("count", 0, "count_", func([]eval) aggregator { return &counter{} })
	add("sum", 1, "sum_", func(a []eval) aggregator { return &summer{of: a[0]} })
	add("avg", 1, "avg_", func(a []eval) aggregator { return &average{of: a[0]} })
	add("min", 1, "min_", func(a []eval) aggregator { return &extremum{of: a[0], sign: -1} })
	add("max", 1, "max_", func(a []eval) aggregator { return &extremum{of: a[0], sign: 1} })
	add("dcount", 1, "dcount_", func(a []eval) aggregator { return &collector{of: a[0], distinct: true, count: true} })
	add("take_any", 1, "", func(a []eval) aggregator { return &anything{of: a} })
	for name, distinct := range map[string]bool{"make_list": false, "makelist": false, "make_set": true, "makeset": true} {
		prefix := "list_"
		if distinct {
			prefix = "set_"
		}
		start := func(a []eval) aggregator { return newCollector(a, distinct) }
		aggregates[name] = aggregateFunc{least: 1, most: 2, prefix: prefix, start: start}
		aggregates[name+"_if"] = aggregateFunc{least: 2, most: 2, prefix: prefix, predicate: true, start: start}
	}
	aggregates["count_distinct"] = aggregateFunc{least: 1, most: 1, prefix: "count_distinct_", start: aggregates["dcount"].start}
	aggregates["dcount"] = aggregateFunc{least: 1, most: 2, prefix: "dcount_", start: aggregates["dcount"].start} // the accuracy is not needed
	whichever := func(a []eval) aggregator { return &anything{of: a} }
	aggregates["any"] = aggregateFunc{least: 1, most: -1, prefix: "any_", start: whichever}
	aggregates["take_any"] = aggregateFunc{least: 1, most: -1, start: whichever}
	aggregates["arg_max"] = aggregateFunc{least: 1, most: -1, start: func(a []eval) aggregator { return &argument{of: a, sign: 1} }}
	aggregates["arg_min"] = aggregateFunc{least: 1, most: -1, start: func(a []eval) aggregator { return &argument{of: a, sign: -1} }}
}

// guarded passes the rows on for which a condition holds.
type guarded struct {
	aggregator
	when eval
}

func (g guarded) add(f *frame) {
	if g.when(f).truth() {
		g.aggregator.add(f)
	}
}

type counter struct{ n int64 }

func (c *counter) add(*frame)       { c.n++ }
func (c *counter) results() []Value { return []Value{Long(c.n)} }

type summer struct {
	of  eval
	sum Value
}

func (s *summer) add(f *frame) {
	v := s.of(f)
	switch {
	case v.kind != KindLong && v.kind != KindReal && v.kind != KindTimespan:
	case s.sum.IsNull():
		s.sum = v
	default:
		s.sum = arithmetic('+', s.sum, v)
	}
}

func (s *summer) results() []Value {
	if s.sum.IsNull() {
		return []Value{Long(0)}
	}
	return []Value{s.sum}
}

type average struct {
	of  eval
	sum float64
	n   int
	as  Kind
}

func (a *average) add(f *frame) {
	v := a.of(f)
	if x, ok := v.number(); ok && v.kind != KindBool {
		a.sum += x
		a.n++
		a.as = v.kind
	}
}

func (a *average) results() []Value {
	switch {
	case a.n == 0:
		return []Value{Null}
	case a.as == KindDatetime || a.as == KindTimespan:
		return []Value{{kind: a.as, n: int64(a.sum / float64(a.n))}}
	}
	return []Value{Real(a.sum / float64(a.n))}
}

type extremum struct {
	of   eval
	sign int
	best Value
}

func (x *extremum) add(f *frame) {
	v := x.of(f)
	if empty(v) || !x.best.IsNull() && total(v, x.best)*x.sign <= 0 {
		return
	}
	f.env.keep(len(v.s) - len(x.best.s))
	x.best = v.Keep()
}

func (x *extremum) results() []Value { return []Value{x.best} }

// collector is make_list, make_set and dcount.
type collector struct {
	of       eval
	limit    eval // nil: none
	distinct bool
	count    bool
	seen     map[string]bool
	items    []Value
	key      []byte
}

func newCollector(a []eval, distinct bool) *collector {
	c := &collector{of: a[0], distinct: distinct}
	if len(a) == 2 {
		c.limit = a[1]
	}
	return c
}

func (c *collector) add(f *frame) {
	v := c.of(f)
	if v.IsNull() {
		return
	}
	if c.limit != nil && int64(len(c.items)) >= toLong(c.limit(f)).n {
		return
	}
	if c.distinct {
		c.key = appendKey(c.key[:0], v)
		if c.seen[string(c.key)] {
			return
		}
		if c.seen == nil {
			c.seen = map[string]bool{}
		}
		c.seen[string(c.key)] = true
		f.env.keep(len(c.key) + 40)
	}
	if !c.count {
		v = v.Keep()
		f.env.keep(v.size())
		c.items = append(c.items, v)
	}
}

func (c *collector) results() []Value {
	if c.count {
		return []Value{Long(int64(len(c.seen)))}
	}
	return []Value{list(c.items)}
}

// anything is a row's values: of the first row.
type anything struct {
	of   []eval
	kept []Value
}

func (a *anything) add(f *frame) {
	if a.kept != nil {
		return
	}
	a.kept = keepAll(f, a.of)
}

func (a *anything) results() []Value { return padded(a.kept, len(a.of)) }

func keepAll(f *frame, of []eval) []Value {
	kept := make([]Value, len(of))
	for i, get := range of {
		kept[i] = get(f).Keep()
		f.env.keep(kept[i].size())
	}
	return kept
}

func padded(vs []Value, n int) []Value {
	if vs == nil {
		return make([]Value, n)
	}
	return vs
}

// argument is the values of the row whose first is the largest, or smallest.
type argument struct {
	of   []eval
	sign int
	best []Value
}

func (a *argument) add(f *frame) {
	v := a.of[0](f)
	if a.best != nil && (v.IsNull() || !a.best[0].IsNull() && total(v, a.best[0])*a.sign <= 0) {
		return
	}
	for _, old := range a.best {
		f.env.kept -= old.size()
	}
	a.best = keepAll(f, a.of)
}

func (a *argument) results() []Value { return padded(a.best, len(a.of)) }

// appendKey appends a value so that equal values, and only those, have equal texts.
func appendKey(b []byte, v Value) []byte {
	kind := v.kind
	if kind == KindReal && v.real() == float64(int64(v.real())) {
		kind, v = KindLong, Long(int64(v.real()))
	}
	b = append(b, byte(kind))
	switch kind {
	case KindString:
		b = appendLength(b, len(v.s))
		return append(b, v.s...)
	case KindDynamic:
		text := v.AppendJSON(nil)
		b = appendLength(b, len(text))
		return append(b, text...)
	case KindNull:
		return b
	}
	for i := range 8 {
		b = append(b, byte(v.n>>(8*i)))
	}
	return b
}

func appendLength(b []byte, n int) []byte {
	return append(b, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
}
