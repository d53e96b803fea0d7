package kql

// Query is a parsed query.
type Query struct {
	source source
	ops    []operator
}

// source is where a pipeline's rows come from: a table, or pipelines in a union.
type source struct {
	tok   token
	table string
	union *unionOp // instead of a table
}

type operator interface{ token() token }

type (
	whereOp struct {
		tok token
		x   expr
	}
	projectOp struct {
		tok   token
		items []named
	}
	// pickOp is project-away and project-keep, whose columns may have stars.
	pickOp struct {
		tok      token
		away     bool
		patterns []token
	}
	renameOp struct {
		tok   token
		pairs []rename
	}
	reorderOp struct {
		tok   token
		names []token
	}
	extendOp struct {
		tok   token
		items []named
	}
	summarizeOp struct {
		tok        token
		aggregates []named
		by         []named
	}
	sortOp struct {
		tok  token
		keys []sortKey
	}
	topOp struct {
		tok  token
		n    int
		keys []sortKey
	}
	takeOp struct {
		tok token
		n   int
	}
	distinctOp struct {
		tok  token
		all  bool
		cols []named
	}
	countOp struct{ tok token }
	unionOp struct {
		tok   token
		inner bool // only columns that all have
		parts []*Query
	}
)

func (o *whereOp) token() token     { return o.tok }
func (o *projectOp) token() token   { return o.tok }
func (o *pickOp) token() token      { return o.tok }
func (o *renameOp) token() token    { return o.tok }
func (o *reorderOp) token() token   { return o.tok }
func (o *extendOp) token() token    { return o.tok }
func (o *summarizeOp) token() token { return o.tok }
func (o *sortOp) token() token      { return o.tok }
func (o *topOp) token() token       { return o.tok }
func (o *takeOp) token() token      { return o.tok }
func (o *distinctOp) token() token  { return o.tok }
func (o *countOp) token() token     { return o.tok }
func (o *unionOp) token() token     { return o.tok }

// named is an expression with the name of the column that it makes; several names
// if it makes several.
type named struct {
	tok  token
	name string // "": derived from the expression
	x    expr
}

type rename struct{ to, from token }

type sortKey struct {
	x          expr
	descending bool
	nullsFirst bool
}

// expr is an expression; at is the token that errors about it point to.
type expr interface{ at() token }

type (
	literalExpr struct {
		tok   token
		value Value
	}
	nameExpr struct {
		tok  token
		name string
	}
	starExpr   struct{ tok token }
	memberExpr struct {
		tok  token
		base expr
		name string
	}
	indexExpr struct {
		tok         token
		base, index expr
	}
	callExpr struct {
		tok  token
		name string
		args []expr
	}
	unaryExpr struct {
		tok token
		x   expr
	}
	binaryExpr struct {
		tok  token
		op   string // in lower case
		l, r expr
	}
	listExpr struct {
		tok   token
		items []expr
	}
	betweenExpr struct {
		tok       token
		not       bool
		x, lo, hi expr
	}
)

func (e *literalExpr) at() token { return e.tok }
func (e *nameExpr) at() token    { return e.tok }
func (e *starExpr) at() token    { return e.tok }
func (e *memberExpr) at() token  { return e.tok }
func (e *indexExpr) at() token   { return e.tok }
func (e *callExpr) at() token    { return e.tok }
func (e *unaryExpr) at() token   { return e.tok }
func (e *binaryExpr) at() token  { return e.tok }
func (e *listExpr) at() token    { return e.tok }
func (e *betweenExpr) at() token { return e.tok }
