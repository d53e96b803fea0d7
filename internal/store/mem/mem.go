// Package mem is a store in memory. It is the fake of the store: it can be told to
// fail a commit, applied or not, so that tests can kill work at every boundary.
//
// Nothing survives the process. Tests and tools that need no durability import it.
package mem

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"

	"hallmark.dev/hallmark/internal/store"
)

// Fault is a lie that a commit tells.
type Fault int

// The commit works; it fails and nothing was applied; it fails although
// everything was applied, as when the answer of a database gets lost.
const (
	None Fault = iota
	FailNotApplied
	FailApplied
)

// ErrInjected is the error of a commit that was told to fail.
var ErrInjected = errors.New("injected fault")

// Store is an empty store when zero.
type Store struct {
	mu       sync.RWMutex
	docs     map[string]*store.Document
	keys     []string // sorted
	changes  map[string]store.Change
	log      []store.Change // by revision; entries that changes supersedes are stale
	revision int64
	pruned   int64
	commits  int
	fault    func(commit int) Fault
	changed  chan struct{}
	closed   bool
}

// New is an empty store.
func New() *Store {
	return &Store{docs: map[string]*store.Document{}, changes: map[string]store.Change{}, changed: make(chan struct{})}
}

// SetFault decides the fate of commits from now on; f gets the number of
// the commit, from 1, counted since the store was made. Nil ends all faults.
func (s *Store) SetFault(f func(commit int) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// View implements store.Store.
func (s *Store) View(ctx context.Context, f func(store.ReadTx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return store.ErrClosed
	}
	return f(&tx{s: s})
}

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, f func(store.Tx) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return store.ErrClosed
	}
	t := &tx{s: s, start: s.revision}
	done := false
	defer func() { // also when f panics
		if !done {
			t.rollback()
		}
	}()
	if err := f(t); err != nil {
		return err
	}
	if len(t.undo) == 0 {
		return nil
	}
	fate := s.fate()
	if fate == FailNotApplied {
		return fmt.Errorf("committing: %w", ErrInjected)
	}
	done = true
	s.commit(t)
	if fate == FailApplied {
		return fmt.Errorf("committing: %w", ErrInjected)
	}
	return nil
}

func (s *Store) fate() Fault {
	s.commits++
	if s.fault == nil {
		return None
	}
	return s.fault(s.commits)
}

func (s *Store) commit(t *tx) {
	for _, c := range t.changes {
		s.changes[c.Key] = c
		s.log = append(s.log, c)
	}
	if len(s.log) > 2*len(s.changes)+64 {
		s.log = slices.DeleteFunc(s.log, s.stale)
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Store) stale(c store.Change) bool { return s.changes[c.Key].Revision != c.Revision }

// Since implements store.Store.
func (s *Store) Since(ctx context.Context, revision int64, limit int) ([]store.Change, int64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, 0, store.ErrClosed
	}
	if revision != 0 && revision < s.pruned {
		return nil, s.revision, store.ErrPruned
	}
	var out []store.Change
	i := sort.Search(len(s.log), func(i int) bool { return s.log[i].Revision > revision })
	for _, c := range s.log[i:] {
		if s.stale(c) {
			continue
		}
		if out = append(out, c); len(out) == limit {
			break
		}
	}
	return out, s.revision, ctx.Err()
}

// Changed implements store.Notifier.
func (s *Store) Changed() <-chan struct{} {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.changed
}

// Prune implements store.Pruner.
func (s *Store) Prune(ctx context.Context, upTo int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, c := range s.changes {
		if c.Deleted && c.Revision <= upTo {
			delete(s.changes, key)
			s.pruned = max(s.pruned, c.Revision)
		}
	}
	return ctx.Err()
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// tx works on the store in place, under its lock, and can be undone.
type tx struct {
	s       *Store
	start   int64
	undo    []func()
	changes []store.Change
}

func (t *tx) rollback() {
	for _, u := range slices.Backward(t.undo) {
		u()
	}
	t.s.revision = t.start
}

func (t *tx) Get(key string) (*store.Document, error) {
	d, ok := t.s.docs[strings.ToLower(key)]
	if !ok {
		return nil, fmt.Errorf("%s: %w", key, store.ErrNotFound)
	}
	return d.Clone(), nil
}

func (t *tx) List(q store.Query) ([]*store.Document, error) {
	q = q.Normal()
	from, _ := slices.BinarySearch(t.s.keys, max(q.Prefix, q.After))
	var out []*store.Document
	for _, key := range t.s.keys[from:] {
		if !strings.HasPrefix(key, q.Prefix) {
			break
		}
		if d := t.s.docs[key]; key > q.After && q.Matches(d) {
			if out = append(out, d.Clone()); len(out) == q.Limit {
				break
			}
		}
	}
	return out, nil
}

func (t *tx) Put(d *store.Document, expect int64) error {
	key := strings.ToLower(d.ID)
	old := t.s.docs[key]
	if !meets(old, expect) {
		return fmt.Errorf("storing %s: %w", d.ID, store.ErrConflict)
	}
	t.s.revision++
	d.Stamp(t.s.revision)
	t.set(key, d.Clone())
	t.undo = append(t.undo, func() { t.set(key, old) })
	t.changes = append(t.changes, store.Change{Revision: d.Revision, Key: key, Type: d.Type})
	return nil
}

func (t *tx) Delete(key string, expect int64) error {
	key = strings.ToLower(key)
	old := t.s.docs[key]
	if old == nil {
		return fmt.Errorf("deleting %s: %w", key, store.ErrNotFound)
	}
	if !meets(old, expect) {
		return fmt.Errorf("deleting %s: %w", key, store.ErrConflict)
	}
	t.s.revision++
	t.set(key, nil)
	t.undo = append(t.undo, func() { t.set(key, old) })
	t.changes = append(t.changes, store.Change{Revision: t.s.revision, Key: key, Type: old.Type, Deleted: true})
	return nil
}

func (t *tx) set(key string, d *store.Document) {
	i, there := slices.BinarySearch(t.s.keys, key)
	switch {
	case d == nil && there:
		t.s.keys = slices.Delete(t.s.keys, i, i+1)
	case d != nil && !there:
		t.s.keys = slices.Insert(t.s.keys, i, key)
	}
	if d == nil {
		delete(t.s.docs, key)
		return
	}
	t.s.docs[key] = d
}

func meets(old *store.Document, expect int64) bool {
	switch {
	case expect == store.Any:
		return true
	case old == nil:
		return expect == store.Absent
	}
	return old.Revision == expect
}
