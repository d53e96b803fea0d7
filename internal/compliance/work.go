package compliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
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
	only   map[string]*assignment.Assignment // by Key; nil: all
	world  *assignment.World

	records     map[string]*store.Document // of a run of documents, by key; nil: asked for one by one
	done        map[string]*record         // by the resource's key; nil: it has none (any more)
	transitions []Transition
}

func newWork(e *Engine, set *assignment.Set, only []*assignment.Assignment) *work {
	w := &work{engine: e, set: set, done: map[string]*record{}}
	if only != nil {
		w.only = map[string]*assignment.Assignment{}
		for _, a := range only {
			w.only[a.Key] = a
		}
	}
	return w
}

// gone notes that a resource is no more.
func (w *work) gone(key string) { w.done[key] = nil }

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
	if !governed(d) {
		if d.Deleting {
			w.gone(d.Key)
		}
		return nil
	}
	old, err := w.old(d.Key)
	if err != nil {
		return err
	}
	r := &record{ID: d.ID, Type: d.Type, Location: d.Location, At: w.world.Now}
	if err := w.parts(r, old, d); err != nil {
		return err
	}
	switch {
	case len(r.Parts) == 0 && old == nil || r.same(old):
		return nil
	case len(r.Parts) == 0:
		w.done[d.Key] = nil
	default:
		w.compare(old, r)
		w.done[d.Key] = r
	}
	return nil
}

// remember reads the records of a run of documents at once.
func (w *work) remember() error {
	w.records = map[string]*store.Document{}
	end := recordKey(w.world.To) + "0"
	first, err := w.world.Tx.Get(recordKey(w.world.From))
	if err == nil {
		w.records[first.Key] = first
	} else if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	for q := (store.Query{Type: typeRecord, After: recordKey(w.world.From), Limit: page}); ; {
		docs, err := w.world.Tx.List(q)
		if err != nil {
			return err
		}
		for _, d := range docs {
			w.records[d.Key] = d
		}
		if len(docs) < page || docs[page-1].Key >= end {
			return nil
		}
		q.After = docs[page-1].Key
	}
}

func (w *work) stored(key string) (*store.Document, error) {
	if w.records == nil {
		return w.world.Tx.Get(key)
	}
	if d, ok := w.records[key]; ok {
		return d, nil
	}
	return nil, store.ErrNotFound
}

func (w *work) old(key string) (*record, error) {
	d, err := w.stored(recordKey(key))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r, err := readRecord(d)
	if err != nil {
		return nil, nil // damaged: it is written anew
	}
	return r, nil
}

// parts evaluates the assignments, and keeps what the old record says of those that
// this work is not about.
func (w *work) parts(r, old *record, d *store.Document) error {
	var subject *assignment.Subject
	for _, a := range w.set.At(d.ARMID()) {
		k := a.Key
		if w.only != nil && w.only[k] == nil {
			if p, ok := old.part(k); ok {
				r.Parts = append(r.Parts, p)
			}
			continue
		}
		if !looks(a, d) {
			continue
		}
		if subject == nil {
			var err error
			if subject, err = w.world.Subject(d, ""); err != nil {
				return err
			}
		}
		p, err := evaluate(a, subject, k)
		if err != nil {
			return err
		}
		if len(p.States) > 0 {
			r.Parts = append(r.Parts, p)
		}
	}
	return nil
}

// looks reports whether any unit looks at a document, before it is parsed: a type
// that no policy names costs next to nothing.
func looks(a *assignment.Assignment, d *store.Document) bool {
	return slices.ContainsFunc(a.Units, func(u *assignment.Unit) bool { return u.Looks(d.Type, d.Location) })
}

func evaluate(a *assignment.Assignment, s *assignment.Subject, key string) (part, error) {
	p := part{Key: key, Generation: a.Generation}
	for _, u := range a.Units {
		state, err := judge(u, s)
		if err != nil {
			return p, fmt.Errorf("evaluating %s on %s: %w", a.ID, s.ID, err)
		}
		if state == "" {
			continue
		}
		if p.States == nil {
			p.States = map[State]ranges{}
		}
		p.States[state] = append(p.States[state], u.Index)
	}
	return p, nil
}

func (r *record) part(key string) (part, bool) {
	if r == nil {
		return part{}, false
	}
	i := slices.IndexFunc(r.Parts, func(p part) bool { return p.Key == key })
	if i < 0 {
		return part{}, false
	}
	return r.Parts[i], true
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

// compare notes which verdicts have changed.
func (w *work) compare(old, now *record) {
	for _, p := range now.Parts {
		was, ok := old.part(p.Key)
		a := w.set.Named(p.Key)
		if !ok || a == nil {
			continue
		}
		for _, u := range a.Units {
			from, to := was.stateOf(u.Index), p.stateOf(u.Index)
			if from == to || from == "" || to == "" {
				continue
			}
			w.transitions = append(w.transitions, Transition{Time: now.At, Resource: now.ID, Type: string(now.Type), Location: now.Location,
				Assignment: a.ID.String(), Definition: u.DefinitionID, Reference: u.ReferenceID, From: from, To: to})
		}
	}
}

// store commits what was evaluated, with how far that is. Nothing evaluated, nothing
// written: the engine must not keep itself awake.
func (w *work) store(ctx context.Context, reached int64) error {
	if len(w.done) == 0 {
		return nil
	}
	err := w.engine.cfg.Store.Update(ctx, func(tx store.Tx) error {
		for _, key := range slices.Sorted(maps.Keys(w.done)) {
			if err := w.commit(tx, key); err != nil {
				return err
			}
		}
		for _, t := range w.transitions {
			if err := putTransition(tx, t); err != nil {
				return err
			}
		}
		return w.engine.save(tx, reached, w.engine.known)
	})
	if err != nil {
		return fmt.Errorf("storing compliance states: %w", err)
	}
	return nil
}

func (w *work) commit(tx store.Tx, key string) error {
	if r := w.done[key]; r != nil {
		return r.put(tx)
	}
	return drop(tx, recordKey(key))
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
