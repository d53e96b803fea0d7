package kql

import (
	"strings"
)

// Plan is a query that fits its tables. It may be run by one goroutine at a time.
type Plan struct {
	last *segment
}

// Columns are the names of the result's columns.
func (p *Plan) Columns() []string {
	names := make([]string, len(p.last.scope.columns))
	for i, c := range p.last.scope.columns {
		names[i] = c.name
	}
	return names
}

// Compile checks a query against tables and plans it. Errors are *Error.
func Compile(q *Query, tables []*Table) (*Plan, error) {
	pl := planner{tables: tables}
	seg, err := pl.query(q)
	if err != nil {
		return nil, err
	}
	return &Plan{last: seg}, nil
}

type planner struct{ tables []*Table }

func (pl planner) query(q *Query) (*segment, error) {
	var seg *segment
	var err error
	if q.source.union != nil {
		seg, err = pl.union(nil, q.source.union)
	} else {
		seg, err = pl.table(q.source.tok, q.source.table)
	}
	for _, op := range q.ops {
		if err != nil {
			return nil, err
		}
		seg, err = pl.operator(seg, op)
	}
	return seg, err
}

func (pl planner) table(tok token, name string) (*segment, error) {
	var known []string
	for _, t := range pl.tables {
		if !strings.EqualFold(t.Name, name) {
			known = append(known, t.Name)
			continue
		}
		names := make([]string, len(t.Columns))
		for i, c := range t.Columns {
			names[i] = c.Name
		}
		in := &tableInput{table: t}
		in.seg = newSegment(in, inputScope(names))
		return in.seg, nil
	}
	return nil, errorAt(CodeSemantic, tok, "there is no table '%s'; the tables are %s", name, strings.Join(known, ", "))
}

func newSegment(in input, s *scope) *segment { return &segment{in: in, scope: s, needs: needs{}} }

func (pl planner) operator(seg *segment, op operator) (*segment, error) {
	switch op := op.(type) {
	case *whereOp:
		return seg, pl.where(seg, op)
	case *extendOp:
		return seg, pl.extend(seg, op.items)
	case *projectOp:
		return seg, pl.project(seg, op.items)
	case *pickOp:
		return seg, pick(seg, op)
	case *renameOp:
		return seg, renamed(seg, op)
	case *reorderOp:
		return seg, reorder(seg, op)
	case *takeOp:
		pl.take(seg, op.n)
		return seg, nil
	case *sortOp:
		return pl.sort(seg, op.keys, -1)
	case *topOp:
		return pl.sort(seg, op.keys, op.n)
	case *summarizeOp:
		return pl.summarize(seg, op)
	case *distinctOp:
		return pl.distinct(seg, op)
	case *countOp:
		g := &groupStage{needs: needs{}, single: true, calls: []aggregateCall{{func() aggregator { return &counter{} }, 1}}}
		return newSegment(&stageInput{seg, g}, inputScope([]string{"Count"})), nil
	case *unionOp:
		return pl.union(seg, op)
	}
	return nil, errorAt(CodeUnsupported, op.token(), "the operator '%s' is not supported", op.token().text)
}

// eval compiles an expression at this point of a segment.
func (seg *segment) eval(x expr) (eval, needs, error) {
	c := &compiler{scope: seg.scope, seg: seg, needs: needs{}}
	get, err := c.expr(x)
	return get, c.needs, err
}

func (pl planner) where(seg *segment, op *whereOp) error {
	get, n, err := seg.eval(op.x)
	if err != nil {
		return err
	}
	seg.needs.add(n)
	if !seg.limited {
		seg.conds = append(seg.conds, resolved(op.x, seg.scope)...)
	}
	seg.where(get)
	return nil
}

func (pl planner) extend(seg *segment, items []named) error {
	for i, item := range items {
		get, n, err := seg.eval(item.x)
		if err != nil {
			return err
		}
		name := columnName(item, i)
		if item.name == "" {
			if _, there := seg.scope.find(name); there && derivedName(item.x) == name {
				continue // extend x does nothing
			}
		}
		seg.scope = seg.scope.with(seg.computed(name, get, n))
	}
	return nil
}

func columnName(item named, i int) string {
	if item.name != "" {
		return item.name
	}
	if name := derivedName(item.x); name != "" {
		return name
	}
	return "Column" + Long(int64(i+1)).Text()
}

func (pl planner) project(seg *segment, items []named) error {
	next := &scope{}
	for i, item := range items {
		name := columnName(item, i)
		if item.name != "" && next.has(name) {
			return errorAt(CodeSemantic, item.tok, "the column '%s' is there twice", name)
		}
		if x, ok := item.x.(*nameExpr); ok {
			c := &compiler{scope: seg.scope, seg: seg, needs: needs{}}
			col, err := c.column(x)
			if err != nil {
				return err
			}
			col.name = name
			next.add(col)
			continue
		}
		get, n, err := seg.eval(item.x)
		if err != nil {
			return err
		}
		next.add(seg.computed(name, get, n))
	}
	seg.scope = next
	return nil
}

func pick(seg *segment, op *pickOp) error {
	next := &scope{}
	for _, p := range op.patterns {
		if _, ok := seg.scope.find(p.text); !ok && !strings.Contains(p.text, "*") {
			return errorAt(CodeSemantic, p, "there is no column '%s' here; the columns are %s", p.text, seg.scope.names())
		}
	}
	for _, c := range seg.scope.columns {
		named := false
		for _, p := range op.patterns {
			named = named || globbed(p.text, c.name)
		}
		if named != op.away {
			next.columns = append(next.columns, c)
		}
	}
	seg.scope = next
	return nil
}

// globbed matches a name with a pattern in which * stands for anything.
func globbed(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return strings.EqualFold(pattern, name)
	}
	name, ok := strings.CutPrefix(name, parts[0])
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(name, p)
		if i < 0 {
			return false
		}
		name = name[i+len(p):]
	}
	return ok && strings.HasSuffix(name, parts[len(parts)-1])
}

func renamed(seg *segment, op *renameOp) error {
	next := &scope{columns: append([]scopeColumn{}, seg.scope.columns...)}
	for _, r := range op.pairs {
		old, ok := seg.scope.find(r.from.text)
		if !ok {
			return errorAt(CodeSemantic, r.from, "there is no column '%s' here; the columns are %s", r.from.text, seg.scope.names())
		}
		for i := range next.columns {
			if next.columns[i].name == old.name {
				next.columns[i].name = r.to.text
			}
		}
	}
	seg.scope = next
	return nil
}

func reorder(seg *segment, op *reorderOp) error {
	next := &scope{}
	for _, p := range op.names {
		for _, c := range seg.scope.columns {
			if globbed(p.text, c.name) && !next.has(c.name) {
				next.columns = append(next.columns, c)
			}
		}
	}
	for _, c := range seg.scope.columns {
		if !next.has(c.name) {
			next.columns = append(next.columns, c)
		}
	}
	seg.scope = next
	return nil
}

// take behind a sort needs no more rows sorted than it takes.
func (pl planner) take(seg *segment, n int) {
	if s := seg.sorted(); s != nil {
		if s.limit < 0 || n < s.limit {
			s.limit = n
		}
		return
	}
	seg.take(n)
}

// sorted is the sort right before a segment that drops no row.
func (seg *segment) sorted() *sortStage {
	if in, ok := seg.in.(*stageInput); ok && len(seg.steps) == 0 {
		s, _ := in.stage.(*sortStage)
		return s
	}
	return nil
}

func (pl planner) sort(seg *segment, keys []sortKey, limit int) (*segment, error) {
	s := &sortStage{columns: seg.scope.columns, limit: limit}
	for _, k := range keys {
		get, n, err := seg.eval(k.x)
		if err != nil {
			return nil, err
		}
		s.keys = append(s.keys, compiledKey{get, n, k.descending, k.nullsFirst})
	}
	return newSegment(&stageInput{seg, s}, inputScope(columnNames(seg.scope))), nil
}

func columnNames(s *scope) []string {
	names := make([]string, len(s.columns))
	for i, c := range s.columns {
		names[i] = c.name
	}
	return names
}

func (pl planner) distinct(seg *segment, op *distinctOp) (*segment, error) {
	if !op.all {
		if err := pl.project(seg, op.cols); err != nil {
			return nil, err
		}
	}
	g := &groupStage{keys: seg.scope.columns, needs: needs{}}
	return newSegment(&stageInput{seg, g}, inputScope(columnNames(seg.scope))), nil
}

// union puts the parts' rows one after the other, behind those of seg if there is one.
func (pl planner) union(seg *segment, op *unionOp) (*segment, error) {
	u := &unionInput{}
	if seg != nil {
		u.parts = append(u.parts, seg)
	}
	for _, q := range op.parts {
		part, err := pl.query(q)
		if err != nil {
			return nil, err
		}
		u.parts = append(u.parts, part)
	}
	var names []string
	seen := map[string]int{}
	for _, part := range u.parts {
		for _, c := range part.scope.columns {
			if seen[c.name]++; seen[c.name] == 1 {
				names = append(names, c.name)
			}
		}
	}
	if op.inner {
		var common []string
		for _, name := range names {
			if seen[name] == len(u.parts) {
				common = append(common, name)
			}
		}
		names = common
	}
	for _, part := range u.parts {
		at := make([]int, len(names))
		for i, name := range names {
			at[i] = part.scope.index(name)
		}
		u.maps = append(u.maps, at)
	}
	return newSegment(u, inputScope(names)), nil
}

func (s *scope) index(name string) int {
	for i, c := range s.columns {
		if c.name == name {
			return i
		}
	}
	return -1
}
