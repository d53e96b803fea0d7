package kql

import (
	"container/heap"
	"slices"
)

// stageInput is what an operator makes that needs all rows of the segment before it.
type stageInput struct {
	prev  *segment
	stage stage
}

// stage is such an operator.
type stage interface {
	// start makes the state of one run.
	start(e *env) collecting
	// require passes on which of its columns are needed.
	require(prev *segment, n needs)
}

// collecting is a stage at work.
type collecting interface {
	add(f *frame) bool // whether it wants more
	emit(f func(row) bool)
}

func (s *stageInput) require(n needs) { s.stage.require(s.prev, n) }

func (s *stageInput) run(e *env, f func(row) bool) {
	c := s.stage.start(e)
	s.prev.all(e, c.add)
	if e.err == nil {
		c.emit(func(r row) bool {
			e.spend(0)
			return f(r) && e.err == nil
		})
	}
}

// all runs a segment whose every row is used with all that it needs: bodies are better
// read with the rows than one by one.
func (s *segment) all(e *env, use func(*frame) bool) {
	if t, ok := s.in.(*tableInput); ok {
		t.everything = true
	}
	s.run(e, use)
}

// groupStage is summarize, distinct and count.
type groupStage struct {
	keys   []scopeColumn
	calls  []aggregateCall
	needs  needs // of the calls' arguments
	single bool  // one row, even of no rows
}

type aggregateCall struct {
	start func() aggregator
	size  int // results
}

func (g *groupStage) require(prev *segment, _ needs) {
	prev.require(append([]scopeColumn{{needs: g.needs}}, g.keys...))
}

func (g *groupStage) start(e *env) collecting {
	return &grouping{stage: g, env: e, groups: map[string]*group{}}
}

type grouping struct {
	stage  *groupStage
	env    *env
	groups map[string]*group
	order  []*group
	key    []byte
	vals   []Value
}

type group struct {
	keys []Value
	aggs []aggregator
}

// groupBytes is about what a group takes besides its keys.
const groupBytes = 200

func (g *grouping) add(f *frame) bool {
	g.key, g.vals = g.key[:0], g.vals[:0]
	for _, c := range g.stage.keys {
		v := c.get(f)
		g.vals = append(g.vals, v)
		g.key = appendKey(g.key, v)
	}
	one := g.groups[string(g.key)]
	if one == nil {
		if one = g.open(string(g.key)); one == nil {
			return false
		}
	}
	for _, a := range one.aggs {
		a.add(f)
	}
	return g.env.err == nil
}

func (g *grouping) open(key string) *group {
	one := &group{}
	size := groupBytes + 2*len(key)
	for _, v := range g.vals {
		one.keys = append(one.keys, v.Keep())
		size += 80
	}
	for _, c := range g.stage.calls {
		one.aggs = append(one.aggs, c.start())
		size += 100
	}
	if !g.env.keep(size) {
		return nil
	}
	g.groups[key] = one
	g.order = append(g.order, one)
	return one
}

func (g *grouping) emit(f func(row) bool) {
	if g.stage.single && len(g.order) == 0 {
		g.open("")
	}
	for _, one := range g.order {
		r := stored(slices.Clip(one.keys))
		for _, a := range one.aggs {
			r = append(r, a.results()...)
		}
		if !f(r) {
			return
		}
	}
}

// sortStage is sort and top. It keeps the columns that are needed behind it.
type sortStage struct {
	keys    []compiledKey
	columns []scopeColumn
	need    needs
	limit   int // rows; negative: all
}

type compiledKey struct {
	get        eval
	needs      needs
	descending bool
	nullsFirst bool
}

func (s *sortStage) require(prev *segment, n needs) {
	s.need = n
	var used []scopeColumn
	for i := range n {
		used = append(used, s.columns[i])
	}
	for _, k := range s.keys {
		used = append(used, scopeColumn{needs: k.needs})
	}
	prev.require(used)
}

func (s *sortStage) start(e *env) collecting {
	return &sorting{stage: s, env: e, fresh: make([]Value, len(s.keys))}
}

type sorting struct {
	stage *sortStage
	env   *env
	rows  []sorted // a heap whose first is the last in order, if there is a limit
	seen  int
	fresh []Value
}

type sorted struct {
	keys []Value
	row  stored
	at   int // in the order of arrival: sorting is stable
	size int
}

func (s *sorting) add(f *frame) bool {
	s.seen++
	limit := s.stage.limit
	if limit == 0 {
		return true // it is counted
	}
	for i, k := range s.stage.keys {
		s.fresh[i] = k.get(f)
	}
	if limit > 0 && len(s.rows) == limit {
		if s.compare(s.fresh, s.rows[0].keys) >= 0 {
			return true
		}
		s.env.kept -= s.rows[0].size
		s.rows[0] = s.keep(f)
		heap.Fix(s, 0)
		return s.env.err == nil
	}
	if limit > 0 {
		heap.Push(s, s.keep(f))
	} else {
		s.rows = append(s.rows, s.keep(f))
	}
	return s.env.err == nil
}

func (s *sorting) keep(f *frame) sorted {
	r := sorted{at: s.seen, size: 120, keys: make([]Value, len(s.fresh)), row: make(stored, len(s.stage.columns))}
	for i, v := range s.fresh {
		r.keys[i] = v.Keep()
		r.size += r.keys[i].size()
	}
	r.size += 80 * len(r.row)
	for i := range s.stage.need {
		r.row[i] = s.stage.columns[i].get(f).Keep()
		r.size += len(r.row[i].s) + 8*len(r.row[i].list)
	}
	s.env.keep(r.size)
	return r
}

func (s *sorting) compare(a, b []Value) int {
	for i, k := range s.stage.keys {
		if a[i].IsNull() != b[i].IsNull() {
			if a[i].IsNull() == k.nullsFirst {
				return -1
			}
			return 1
		}
		c := total(a[i], b[i])
		if k.descending {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

func (s *sorting) order(a, b sorted) int {
	if c := s.compare(a.keys, b.keys); c != 0 {
		return c
	}
	return order(a.at, b.at)
}

// Len, Less, Swap, Push and Pop are for container/heap.
func (s *sorting) Len() int           { return len(s.rows) }
func (s *sorting) Less(i, j int) bool { return s.order(s.rows[i], s.rows[j]) > 0 }
func (s *sorting) Swap(i, j int)      { s.rows[i], s.rows[j] = s.rows[j], s.rows[i] }
func (s *sorting) Push(x any)         { s.rows = append(s.rows, x.(sorted)) }

// Pop removes the last.
func (s *sorting) Pop() any {
	last := s.rows[len(s.rows)-1]
	s.rows = s.rows[:len(s.rows)-1]
	return last
}

func (s *sorting) emit(f func(row) bool) {
	slices.SortFunc(s.rows, s.order)
	for _, r := range s.rows {
		if !f(r.row) {
			return
		}
	}
}
