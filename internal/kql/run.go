package kql

import "time"

// Options are how a plan is run.
type Options struct {
	Now    time.Time
	Budget Budget // zero: DefaultBudget
	// Interrupt is asked now and then, after some megabytes of work; its error ends the run.
	Interrupt func() error

	Skip int // rows of the result that are not given
	Top  int // rows that are given at most
	// Total, if it is known from an earlier page (> 0), spares counting the rows behind
	// the page.
	Total int
}

// Result is a page of what a query answers.
type Result struct {
	Columns []ResultColumn
	Rows    [][]Value // in memory of their own
	Total   int       // rows that the query has without Skip and Top
}

// ResultColumn is a column of a result.
type ResultColumn struct {
	Name string
	Kind Kind // of its first value that is not null
}

// Run runs the plan over a source. Errors are *Error, those of the source, and
// those of Interrupt.
func (p *Plan) Run(source Source, o Options) (*Result, error) {
	if o.Budget == (Budget{}) {
		o.Budget = DefaultBudget
	}
	e := &env{source: source, now: o.Now, budget: o.Budget, interrupt: o.Interrupt, regexps: map[string]*pattern{}}
	p.last.require(p.last.scope.columns)
	page := &page{env: e, scope: p.last.scope, skip: o.Skip, top: o.Top, total: o.Total}
	if sort := p.last.sorted(); sort != nil && (sort.limit < 0 || sort.limit > o.Skip+o.Top) {
		page.counted = p.sortedPage(e, sort, page, o.Skip+o.Top)
	} else {
		if t, ok := p.last.in.(*tableInput); ok {
			t.page = Extent{o.Skip, o.Skip + o.Top}
		}
		p.last.run(e, page.add)
	}
	if e.err != nil {
		return nil, e.err
	}
	return page.result(), nil
}

// sortedPage keeps no more rows sorted than the page needs, and tells how many there are.
func (p *Plan) sortedPage(e *env, sort *sortStage, page *page, rows int) int {
	limited := *sort
	limited.limit = rows
	state := limited.start(e).(*sorting)
	in := p.last.in.(*stageInput)
	in.prev.all(e, state.add)
	f := &frame{env: e, vals: make([]Value, p.last.slots), done: make([]uint64, p.last.slots)}
	state.emit(func(r row) bool {
		f.set(r)
		return page.add(f) && e.err == nil
	})
	if sort.limit >= 0 {
		return min(state.seen, sort.limit)
	}
	return state.seen
}

// page collects the rows that are shown.
type page struct {
	env       *env
	scope     *scope
	skip, top int
	total     int // if known before
	seen      int
	counted   int // if counted elsewhere
	rows      [][]Value
}

func (p *page) add(f *frame) bool {
	p.seen++
	if p.seen > p.skip && len(p.rows) < p.top {
		row := make([]Value, len(p.scope.columns))
		size := 0
		for i, c := range p.scope.columns {
			row[i] = c.get(f).Keep()
			size += row[i].size()
		}
		p.env.keep(size)
		p.rows = append(p.rows, row)
	}
	return p.total == 0 || len(p.rows) < p.top
}

func (p *page) result() *Result {
	r := &Result{Rows: p.rows, Total: max(p.seen, p.counted, p.total)}
	if p.counted > 0 {
		r.Total = p.counted
	}
	for i, c := range p.scope.columns {
		col := ResultColumn{Name: c.name}
		for _, row := range p.rows {
			if !row[i].IsNull() {
				col.Kind = row[i].kind
				break
			}
		}
		r.Columns = append(r.Columns, col)
	}
	return r
}
