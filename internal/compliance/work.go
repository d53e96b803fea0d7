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

	done map[string]*outcome // by the resource's key
	full int                 // how many outcomes are too many to keep without looking
	// lookers are the units that look at resources of a type and location.
	lookers map[where]map[*assignment.Assignment][]*assignment.Unit
	// covers are the assignments that cover all of a group, by its key; nil where
	// resources of a group differ in that.
	covers map[string][]*assignment.Assignment
	types  map[arm.Type]bool // whether policies look at resources of a type
	writer runWriter
}

type where struct {
	typ      arm.Type
	location string
}

// settled is about how many outcomes a work keeps before it finds out which of them
// change anything.
const settled = 4000

func newWork(e *Engine, set *assignment.Set, only []*assignment.Assignment) *work {
	w := &work{engine: e, set: set, ledger: e.ledger, done: map[string]*outcome{}, full: settled,
		lookers: map[where]map[*assignment.Assignment][]*assignment.Unit{}, types: map[arm.Type]bool{}}
	if set != nil && set.ByGroup() {
		w.covers = map[string][]*assignment.Assignment{}
	}
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

// evaluate is what the assignments that this work is about find on a document.
func (w *work) evaluate(d *store.Document) (verdicts, error) {
	units := w.looking(d.Type, d.Location)
	if len(units) == 0 {
		return "", nil
	}
	var subject *assignment.Subject
	var parts []part
	for _, a := range w.covering(d) {
		number := w.ledger.number(a)
		if len(units[a]) == 0 || number == 0 {
			continue // a type that no policy names costs next to nothing: it is not parsed
		}
		if subject == nil {
			var err error
			if subject, err = w.world.Subject(d, ""); err != nil {
				return "", err
			}
		}
		states, err := w.judge(a, units[a], subject)
		if err != nil {
			return "", err
		}
		if states != "" {
			parts = append(parts, part{number, states})
		}
	}
	return assemble(parts), nil
}

// governed reports whether a document is a resource that policies look at.
func (w *work) governed(d *store.Document) bool {
	if d.SubscriptionID == "" || d.Deleting {
		return false
	}
	governed, ok := w.types[d.Type]
	if !ok {
		governed = assignment.Governed(d.Type)
		w.types[d.Type] = governed
	}
	return governed
}

// covering are the assignments that cover a document.
func (w *work) covering(d *store.Document) []*assignment.Assignment {
	group := groupOf(d.Key)
	if w.covers == nil || group == "" || groupOrSubscription(d.Type) {
		return w.set.At(d.ARMID())
	}
	as, ok := w.covers[group]
	if !ok {
		as = w.set.At(d.ARMID())
		w.covers[group] = as
	}
	return as
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

// looking are the units of each assignment that look at a type in a location.
func (w *work) looking(typ arm.Type, location string) map[*assignment.Assignment][]*assignment.Unit {
	at := where{typ, location}
	all, ok := w.lookers[at]
	if ok {
		return all
	}
	all = map[*assignment.Assignment][]*assignment.Unit{}
	for _, a := range w.set.Assignments {
		if w.only != nil && !w.only[a.Key] {
			continue
		}
		for _, u := range a.Units {
			if u.Looks(typ, location) {
				all[a] = append(all[a], u)
			}
		}
	}
	w.lookers[at] = all
	return all
}

// judge is the states of an assignment's units on a subject.
func (w *work) judge(a *assignment.Assignment, units []*assignment.Unit, s *assignment.Subject) (runs, error) {
	next := 0
	for _, u := range units {
		state, _, err := consider(u, s)
		if err != nil {
			return "", fmt.Errorf("evaluating %s on %s: %w", a.ID, s.ID, err)
		}
		for ; next < u.Index; next++ {
			w.writer.add("")
		}
		w.writer.add(state)
		next++
	}
	return runs(w.writer.end()), nil
}

// assemble puts the parts of several assignments in their order.
func assemble(parts []part) verdicts {
	slices.SortFunc(parts, func(a, b part) int { return int(a.number) - int(b.number) })
	var v verdictsWriter
	for _, p := range parts {
		v.add(p.number, string(p.states))
	}
	return verdicts(v.text)
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
