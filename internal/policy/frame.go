package policy

import (
	"errors"
	"fmt"
	"sync"
	"unique"

	"hallmark.dev/hallmark/internal/expr"
	"hallmark.dev/hallmark/internal/expr/value"
)

// MaxElements bounds how many array elements one evaluation visits: nested [*]
// and counts multiply.
const MaxElements = 1_000_000

var errBudget = fmt.Errorf("the rule visits more than %d array elements of this document", MaxElements)

// frame is the state of one evaluation.
type frame struct {
	env     expr.Env
	doc     *Resource // what field: reads
	primary *Resource // what field() reads
	context Value
	elems   []*Value // the current elements of the counts in progress
	scratch Value    // of a field that is computed

	// the object that documentValue walked to last
	parent    *Value
	parentDoc *Resource
	parentKey unique.Handle[string]

	fields  []sharedValue   // by field number
	groups  []sharedOutcome // by group number
	visited int
	path    string
	problem *Problem
	notes   []Diagnostic
}

// Diagnostic is a remark on an evaluation that did not stop it.
type Diagnostic struct {
	Path    string `json:"path"`
	Message string `json:"message"`
}

var frames = sync.Pool{New: func() any { return new(frame) }}

func newFrame(slots int, in *Input) *frame {
	f := frames.Get().(*frame)
	f.env.Host = f
	f.env.Reset()
	f.doc, f.primary, f.context = in.Resource, in.Resource, in.Context
	f.visited, f.problem, f.notes = 0, nil, nil
	for len(f.elems) < slots {
		f.elems = append(f.elems, &nothing)
	}
	return f
}

func (f *frame) release() {
	f.doc, f.primary, f.context, f.problem, f.notes = nil, nil, Value{}, nil, nil
	f.parent, f.parentDoc, f.scratch = nil, nil, Value{}
	for i := range f.elems {
		f.elems[i] = &nothing
	}
	frames.Put(f)
}

// CallHost implements expr.Host for calls that no binder took.
func (f *frame) CallHost(name string, _ []Value) (Value, error) {
	return Value{}, errors.New(name + " takes no arguments in a policy")
}

// step counts a visited element and reports whether the evaluation may go on.
func (f *frame) step() bool {
	f.visited++
	return f.visited <= MaxElements
}

// fail records the error that ends the evaluation; the first one stays.
func (f *frame) fail(path string, err error) {
	if f.problem == nil {
		f.problem = &Problem{Code: EvaluationFailed, Path: path, Message: err.Error()}
		if errors.Is(err, errBudget) {
			f.problem.Code = TooComplex
		}
	}
}

const maxNotes = 20

// noteIncomparable remarks that greater and its like are false because the
// values cannot be compared. A missing value needs no remark.
func (f *frame) noteIncomparable(c *comparison, l, r *Value) {
	if l.IsNothing() || r.IsNothing() || len(f.notes) >= maxNotes {
		return
	}
	if _, ok := value.Compare(*l, *r); ok {
		return
	}
	f.notes = append(f.notes, Diagnostic{
		Path:    c.path,
		Message: fmt.Sprintf("%s cannot compare the %s %s with the %s %s, so it is false", c.operator, l.Kind(), brief(*l), r.Kind(), brief(*r)),
	})
}
