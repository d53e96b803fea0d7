package kql

import "time"

// Budget is what one query may use.
type Budget struct {
	Memory int // bytes of what it keeps; about, as counted
	Text   int // bytes of one text or array that it makes
}

// DefaultBudget is for a server that serves several at a time.
var DefaultBudget = Budget{Memory: 64 << 20, Text: 8 << 20}

// env is what all of a run shares.
type env struct {
	source    Source
	now       time.Time
	budget    Budget
	kept      int
	interrupt func() error
	spent     int // work since interrupt was last asked
	err       error
	regexps   map[string]*pattern
}

// workBetween is how many bytes are looked at between two questions whether to go on.
const workBetween = 4 << 20

func (e *env) fail(err error) {
	if e.err == nil {
		e.err = err
	}
}

// spend counts work, and asks now and then whether to go on.
func (e *env) spend(bytes int) {
	if e.spent += bytes + 64; e.spent < workBetween || e.interrupt == nil {
		return
	}
	e.spent = 0
	if err := e.interrupt(); err != nil {
		e.fail(err)
	}
}

// keep counts memory.
func (e *env) keep(bytes int) bool {
	if e.kept += bytes; e.kept > e.budget.Memory {
		e.fail(&Error{Code: CodeTooLarge, Message: "the query has to keep too much at once; project fewer columns before sort, summarize or union, filter earlier, or end with take"})
	}
	return e.err == nil
}

// made checks a value that a function made.
func (e *env) made(t token, v Value) Value {
	n := len(v.s)
	for _, item := range v.list {
		n += len(item.s) + 8
	}
	e.spend(n)
	if n > e.budget.Text {
		e.fail(errorAt(CodeTooLarge, t, "%s made a text or an array of more than %d bytes", t, e.budget.Text))
		return Null
	}
	return v
}
