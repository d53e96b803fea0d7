package kql

// segment is the part of a pipeline through which rows stream: an input, then
// conditions and limits in order. Columns that are computed on the way are in scope.
type segment struct {
	in    input
	steps []stepper
	needs needs // of the input, by the steps
	scope *scope
	slots int // columns that are computed
	// conds are the conditions, for filters; only those before any take.
	conds   []expr
	limited bool
}

// input gives the rows that a segment works on, until f returns false.
type input interface {
	run(e *env, f func(row) bool)
	// require says which columns will be asked for, before run.
	require(n needs)
}

// stepper makes a step for one run: whether a row goes on, and whether there may be more.
type stepper func() func(f *frame) (pass, more bool)

func (s *segment) run(e *env, use func(*frame) bool) {
	f := &frame{env: e, vals: make([]Value, s.slots), done: make([]uint64, s.slots)}
	steps := make([]func(*frame) (bool, bool), len(s.steps))
	for i, start := range s.steps {
		steps[i] = start()
	}
	s.in.run(e, func(r row) bool {
		e.spend(0)
		f.set(r)
		goOn := true
		for _, step := range steps {
			pass, more := step(f)
			goOn = goOn && more
			if !pass || e.err != nil {
				return goOn && e.err == nil
			}
		}
		return use(f) && goOn && e.err == nil
	})
}

// where adds a condition.
func (s *segment) where(get eval) {
	s.steps = append(s.steps, func() func(*frame) (bool, bool) {
		return func(f *frame) (bool, bool) { return get(f).truth(), true }
	})
}

// take lets n rows through.
func (s *segment) take(n int) {
	s.limited = true
	s.steps = append(s.steps, func() func(*frame) (bool, bool) {
		seen := 0
		return func(*frame) (bool, bool) {
			seen++
			return seen <= n, seen < n
		}
	})
}

// computed is a column of an expression, computed at most once for each row.
func (s *segment) computed(name string, get eval, n needs) scopeColumn {
	slot := s.slots
	s.slots++
	return scopeColumn{name: name, base: -1, needs: n, get: func(f *frame) Value {
		if f.done[slot] != f.gen {
			v := get(f)
			f.vals[slot], f.done[slot] = v, f.gen
		}
		return f.vals[slot]
	}}
}

// require passes on what the steps, and the given columns, need.
func (s *segment) require(columns []scopeColumn) {
	n := needs{}
	n.add(s.needs)
	for _, c := range columns {
		n.add(c.needs)
	}
	s.in.require(n)
}

// tableInput is a table.
type tableInput struct {
	table *Table
	seg   *segment
	need  needs
	// everything is set if whoever gets the rows uses all columns in need of each.
	everything bool
	// page is which rows are shown, and not only counted; zero: all, or others.
	page Extent
}

func (t *tableInput) require(n needs) { t.need = n }

// want tells the source what is needed. Bodies are asked for only if conditions, or
// whatever looks at all rows, need them; others are fetched row by row.
func (t *tableInput) want() Want {
	w := Want{Columns: make([]bool, len(t.table.Columns)), Filter: filterOf(t.table, t.seg)}
	for i := range t.need {
		w.Columns[i] = true
		if t.table.Columns[i].Member == "" {
			continue
		}
		w.Page = t.page
		if t.everything || t.seg.needs[i] {
			w.Bodies = true
		}
	}
	return w
}

func (t *tableInput) run(e *env, f func(row) bool) {
	r := &recordRow{table: t.table, env: e}
	err := e.source.Scan(t.table, t.want(), func(rec *Record) error {
		r.reset(rec)
		if !f(r) || e.err != nil {
			return errEnough
		}
		return nil
	})
	if err != nil && err != errEnough {
		e.fail(err)
	}
}

// unionInput is the rows of pipelines, one after the other.
type unionInput struct {
	parts []*segment
	maps  [][]int // for each part: where the union's column is in its scope, or -1
	need  needs
}

func (u *unionInput) require(n needs) {
	u.need = n
	for i, part := range u.parts {
		if t, ok := part.in.(*tableInput); ok {
			t.everything = true
		}
		var used []scopeColumn
		for col := range n {
			if at := u.maps[i][col]; at >= 0 {
				used = append(used, part.scope.columns[at])
			}
		}
		part.require(used)
	}
}

func (u *unionInput) run(e *env, f func(row) bool) {
	more := true
	for i, part := range u.parts {
		if !more || e.err != nil {
			return
		}
		r := &partRow{scope: part.scope, at: u.maps[i]}
		part.run(e, func(pf *frame) bool {
			r.frame = pf
			more = f(r)
			return more
		})
	}
}

// partRow is a row of a part of a union.
type partRow struct {
	frame *frame
	scope *scope
	at    []int
}

func (r *partRow) column(i int) Value {
	if at := r.at[i]; at >= 0 {
		return r.scope.columns[at].get(r.frame)
	}
	return Null
}

func (r *partRow) path(i int, steps []step) Value {
	if at := r.at[i]; at >= 0 {
		if base := r.scope.columns[at].base; base >= 0 {
			return r.frame.row.path(base, steps)
		}
	}
	return walk(r.column(i), steps)
}
