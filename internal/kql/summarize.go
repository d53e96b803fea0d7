package kql

// aggregation collects the aggregates of a summarize: an expression over them is
// computed on the row that a group becomes.
type aggregation struct {
	seg   *segment // that the rows come from
	stage *groupStage
	next  int // index of the next result in a group's row
}

// slot compiles an aggregate, and gives its first result.
func (a *aggregation) slot(x *callExpr, agg aggregateFunc) (eval, error) {
	at, _, err := a.call(x, agg, x.args)
	return func(f *frame) Value { return f.row.column(at) }, err
}

// call adds an aggregate; its results start at at.
func (a *aggregation) call(x *callExpr, agg aggregateFunc, exprs []expr) (at, size int, err error) {
	if err := arity(x, agg.least, agg.most); err != nil {
		return 0, 0, err
	}
	var args []eval
	for _, e := range exprs {
		get, n, err := a.seg.eval(e)
		if err != nil {
			return 0, 0, err
		}
		a.stage.needs.add(n)
		args = append(args, get)
	}
	size = 1
	if multiple[x.name] {
		size = len(args)
	}
	a.stage.calls = append(a.stage.calls, aggregateCall{start: starter(agg, args), size: size})
	at = a.next
	a.next += size
	return at, size, nil
}

// multiple are the aggregates that give a value for each argument.
var multiple = map[string]bool{"arg_max": true, "arg_min": true, "any": true, "take_any": true}

func starter(agg aggregateFunc, args []eval) func() aggregator {
	if agg.predicate {
		when := args[len(args)-1]
		rest := args[:len(args)-1]
		return func() aggregator { return guarded{agg.start(rest), when} }
	}
	return func() aggregator { return agg.start(args) }
}

func (pl planner) summarize(seg *segment, op *summarizeOp) (*segment, error) {
	g := &groupStage{needs: needs{}, single: len(op.by) == 0}
	out := newSegment(&stageInput{seg, g}, &scope{})
	for i, item := range op.by {
		get, n, err := seg.eval(item.x)
		if err != nil {
			return nil, err
		}
		g.keys = append(g.keys, seg.computed(columnName(item, i), get, n))
		out.scope.add(scopeColumn{name: columnName(item, i), base: i, needs: needs{i: true}, get: func(f *frame) Value { return f.row.column(i) }})
	}
	keys := &scope{columns: out.scope.columns}
	a := &aggregation{seg: seg, stage: g, next: len(op.by)}
	for i, item := range op.aggregates {
		if err := pl.aggregate(out, keys, a, item, i); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// aggregate adds the columns of one item of a summarize.
func (pl planner) aggregate(out *segment, keys *scope, a *aggregation, item named, i int) error {
	call, ok := item.x.(*callExpr)
	if ok && multiple[call.name] {
		return pl.several(out, a, item, call)
	}
	calls := len(a.stage.calls)
	c := &compiler{scope: keys, seg: out, needs: needs{}, aggs: a}
	get, err := c.expr(item.x)
	if err != nil {
		return err
	}
	if len(a.stage.calls) == calls {
		return errorAt(CodeSemantic, item.tok, "summarize needs an aggregate here, such as count(), or put the column behind 'by'")
	}
	name := item.name
	if name == "" {
		name = aggregateName(item.x, i)
	}
	out.scope.add(out.computed(name, get, c.needs))
	return nil
}

func aggregateName(x expr, i int) string {
	call, ok := x.(*callExpr)
	agg, known := aggregates[callName(call, ok)]
	if !ok || !known {
		return columnName(named{x: x}, i)
	}
	of := ""
	if agg.most != 0 && len(call.args) > 0 && !(agg.predicate && len(call.args) == 1) {
		of = derivedName(call.args[0])
	}
	return agg.prefix + of
}

func callName(c *callExpr, ok bool) string {
	if !ok {
		return ""
	}
	return c.name
}

// several is arg_max(x, *) and its like: a column for each argument.
func (pl planner) several(out *segment, a *aggregation, item named, call *callExpr) error {
	args, names, err := a.spread(call)
	if err != nil {
		return err
	}
	at, size, err := a.call(call, aggregates[call.name], args)
	if err != nil {
		return err
	}
	prefix := aggregates[call.name].prefix
	for i := range size {
		name := names[i]
		if i == 0 && item.name != "" {
			name = item.name
		} else if name == "" {
			name = "Column" + Long(int64(i+1)).Text()
		} else {
			name = prefix + name
		}
		col := at + i
		if i > 0 && out.scope.has(name) && !(prefix != "") {
			continue // a key, which has the same value
		}
		out.scope.add(scopeColumn{name: name, base: col, needs: needs{col: true}, get: func(f *frame) Value { return f.row.column(col) }})
	}
	return nil
}

// spread puts all columns in place of *.
func (a *aggregation) spread(call *callExpr) (args []expr, names []string, err error) {
	for i, x := range call.args {
		star, ok := x.(*starExpr)
		if !ok {
			args, names = append(args, x), append(names, derivedName(x))
			continue
		}
		if i != len(call.args)-1 {
			return nil, nil, errorAt(CodeParserFailure, star.tok, "'*' stands for all columns, so nothing can follow it")
		}
		for _, c := range a.seg.scope.columns {
			if i == 0 || c.name != names[0] {
				args, names = append(args, &nameExpr{star.tok, c.name}), append(names, c.name)
			}
		}
	}
	return args, names, nil
}
