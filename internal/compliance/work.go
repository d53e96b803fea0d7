package compliance

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/store"
)

// work is one step's evaluations: read in one consistent state, stored in one
// transaction.
type work struct {
	engine *Engine
	set    *assignment.Set
	ledger *ledger
	only   map[string]bool // assignments by Key; nil: all
	world  *assignment.World

	done    map[string]*outcome // by the resource's key
	full    int                 // how many outcomes are too many to keep without looking
	imaged  bool                // an image has changed
	tasks   map[where][]task    // unless resources of a group differ in what covers them
	types   map[arm.Type]bool   // whether policies look at resources of a type
	writer  runWriter
	parts   verdictsWriter
	byGroup bool // whether they do not
}

// where resources are that the same units look at.
type where struct {
	typ             arm.Type
	location, group string
}

// task is the units of one assignment that look at a resource.
type task struct {
	assignment *assignment.Assignment
	number     uint32
	units      []*assignment.Unit
}

// settled is about how many outcomes a work keeps before it finds out which of them
// change anything.
const settled = 4000

func newWork(e *Engine, set *assignment.Set, only []*assignment.Assignment) *work {
	w := &work{engine: e, set: set, ledger: e.ledger, done: map[string]*outcome{}, full: settled,
		tasks: map[where][]task{}, types: map[arm.Type]bool{}, byGroup: set != nil && set.ByGroup()}
	if only != nil {
		w.only = map[string]bool{}
		for _, a := range only {
			w.only[a.Key] = true
		}
	}
	return w
}

// gone notes that a resource is no more.
func (w *work) gone(key string) { w.done[key] = &outcome{gone: true} }

// key evaluates the resource under a key, which may be gone by now.
func (w *work) key(key string) error {
	d, err := w.world.Tx.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		w.gone(key)
		return nil
	}
	if err != nil {
		return err
	}
	return w.document(d)
}

// list evaluates the resources that a query selects, a page at a time.
func (w *work) list(q store.Query) error {
	q.Limit = page
	for {
		docs, err := w.world.Tx.List(q)
		if err != nil {
			return err
		}
		for _, d := range docs {
			if _, done := w.done[d.Key]; done {
				continue
			}
			if err := w.document(d); err != nil {
				return err
			}
		}
		if len(docs) < page {
			return nil
		}
		q.After = docs[page-1].Key
	}
}

// document evaluates one resource.
func (w *work) document(d *store.Document) error {
	if !w.governed(d) {
		if d.Deleting {
			w.gone(d.Key)
		}
		return nil
	}
	v, err := w.evaluate(d)
	if err != nil {
		return err
	}
	w.done[d.Key] = &outcome{record: record{ID: d.ID, Key: d.Key, Type: d.Type, Location: d.Location, Verdicts: v, At: w.world.Now}}
	return w.settle()
}

// evaluate is what the assignments that this work is about find on a document. One of a
// type that no policy names costs next to nothing: it is not parsed.
func (w *work) evaluate(d *store.Document) (verdicts, error) {
	tasks := w.looking(d)
	if len(tasks) == 0 {
		return "", nil
	}
	subject, err := w.world.Subject(d, "")
	if err != nil {
		return "", err
	}
	w.parts = verdictsWriter{text: w.parts.text[:0]}
	for i := range tasks {
		states, err := w.judge(&tasks[i], subject)
		if err != nil {
			return "", err
		}
		if len(states) > 0 {
			w.parts.add(tasks[i].number, states)
		}
	}
	return verdicts(w.parts.text), nil
}

// governed is governed, that asks once for each type.
func (w *work) governed(d *store.Document) bool {
	known, ok := w.types[d.Type]
	if !ok {
		known = assignment.Governed(d.Type)
		w.types[d.Type] = known
	}
	return known && inEstate(d)
}

// looking are the assignments whose units look at a document, numbers rising.
func (w *work) looking(d *store.Document) []task {
	at := where{d.Type, d.Location, groupOf(d.Key)}
	shared := w.byGroup && at.group != ""
	if tasks, ok := w.tasks[at]; ok && shared {
		return tasks
	}
	tasks := []task{}
	for _, a := range w.set.At(d.ARMID()) {
		t := task{assignment: a, number: w.ledger.number(a)}
		if t.number == 0 || w.only != nil && !w.only[a.Key] {
			continue
		}
		for _, u := range a.Units {
			if u.Looks(d.Type, d.Location) {
				t.units = append(t.units, u)
			}
		}
		if len(t.units) > 0 {
			tasks = append(tasks, t)
		}
	}
	slices.SortFunc(tasks, func(a, b task) int { return int(a.number) - int(b.number) })
	if shared {
		w.tasks[at] = tasks
	}
	return tasks
}

// groupOf is the key of the resource group in a resource's key, "" if it is in none.
func groupOf(key string) string {
	end := 0
	for range 5 { // "", subscriptions, S, resourcegroups, G
		i := strings.IndexByte(key[end:], '/')
		if i < 0 {
			return ""
		}
		end += i + 1
	}
	if group := key[:end-1]; strings.HasPrefix(group, "/subscriptions/") && strings.Contains(group, "/resourcegroups/") {
		return group
	}
	return ""
}

// judge is the states of an assignment's units on a subject, until it is called again.
func (w *work) judge(t *task, s *assignment.Subject) ([]byte, error) {
	next := 0
	for _, u := range t.units {
		state, _, err := consider(u, s)
		if err != nil {
			return nil, fmt.Errorf("evaluating %s on %s: %w", t.assignment.ID, s.ID, err)
		}
		for ; next < u.Index; next++ {
			w.writer.add("")
		}
		w.writer.add(state)
		next++
	}
	return w.writer.end(), nil
}

// replaces reports whether what was found under a number is out of date with this work.
func (w *work) replaces(number uint32) bool {
	e, ok := w.ledger.entries[number]
	return !ok || w.only == nil || w.only[e.Key]
}

// moves are the units whose states differ, where both are known.
func (w *work) moves(old, now verdicts) (all []move) {
	before := map[string]runs{}
	old.each(func(p part) {
		if e, ok := w.ledger.entries[p.number]; ok {
			before[e.Key] = p.states
		}
	})
	now.each(func(p part) {
		a := w.ledger.current(w.set, p.number)
		if a == nil || before[a.Key] == "" || before[a.Key] == p.states {
			return
		}
		from := map[int]State{}
		before[a.Key].each(func(unit int, s State) { from[unit] = s })
		p.states.each(func(unit int, to State) {
			if f := from[unit]; f != "" && f != to && unit < len(a.Units) {
				all = append(all, move{a.Units[unit], f, to})
			}
		})
	})
	return all
}

// Transition is a change of one verdict over time.
type Transition struct {
	Time       time.Time `json:"time"`
	Resource   string    `json:"resource"`
	Type       string    `json:"type"`
	Location   string    `json:"location,omitempty"`
	Assignment string    `json:"assignment"`
	Definition string    `json:"definition"`
	Reference  string    `json:"reference,omitempty"`
	From       State     `json:"from"`
	To         State     `json:"to"`
}

func drop(tx store.Tx, key string) error {
	if err := tx.Delete(key, store.Any); err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return nil
}

func putTransition(tx store.Tx, t Transition) error {
	raw, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("writing a change of compliance: %w", err)
	}
	id, err := arm.ParseID(t.Resource)
	if err != nil {
		return err
	}
	at := arm.SubscriptionID(id.Subscription()).Resource(typeTransition, strings.ToLower(ulid.Make().String()))
	return tx.Put(&store.Document{ID: at.String(), Type: typeTransition, SubscriptionID: id.Subscription(), Body: json.RawMessage("{}"), Private: raw,
		CreatedAt: t.Time, UpdatedAt: t.Time}, store.Absent)
}
