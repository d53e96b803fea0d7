package compliance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/store"
)

// shelf is where blocks stand. It keeps their fences in memory, one for about a hundred
// resources.
type shelf struct {
	mu     sync.Mutex               // one writer at a time, from reading blocks until they are written
	fences atomic.Pointer[[]string] // sorted; nil: not read, or no longer sure
}

// load reads the fences, unless they are known.
func (s *shelf) load(ctx context.Context, from store.Store) error {
	if s.fences.Load() != nil {
		return nil
	}
	fences := []string{}
	err := from.View(ctx, func(tx store.ReadTx) error {
		fences = fences[:0]
		return store.Scan(tx, store.Query{Type: typeBlock}, false, func(h *store.Head) error {
			fences = append(fences, fenceOf(strings.ToLower(string(h.ID))))
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("reading where compliance states are: %w", err)
	}
	s.fences.Store(&fences)
	return nil
}

// floor is the index of the fence at or before a key; -1 if there is none.
func floor(fences []string, key string) int {
	i, found := slices.BinarySearch(fences, key)
	if found {
		return i
	}
	return i - 1
}

// outcome is what an evaluation has found on one resource.
type outcome struct {
	record      // Verdicts are those of what was evaluated
	gone   bool // the resource is no more
}

// commit is blocks that are to be written.
type commit struct {
	work        *work
	fences      []string          // before
	blocks      []*store.Document // with the revisions that are to be there
	empty       []*store.Document
	transitions []Transition
	merged      map[[2]verdicts]verdicts
	moved       map[[2]verdicts][]move
}

func newCommit(w *work, fences []string) *commit {
	return &commit{work: w, fences: fences, merged: map[[2]verdicts]verdicts{}, moved: map[[2]verdicts][]move{}}
}

// read finds out what the work's outcomes change. It returns the keys of those that
// change nothing.
func (c *commit) read(tx store.ReadTx) (same []string, err error) {
	keys := slices.Sorted(maps.Keys(c.work.done))
	for len(keys) > 0 {
		i := floor(c.fences, keys[0])
		n := len(keys)
		if i+1 < len(c.fences) {
			n, _ = slices.BinarySearch(keys, c.fences[i+1])
		}
		fence := firstFence
		if i >= 0 {
			fence = c.fences[i]
		}
		unchanged, err := c.block(tx, fence, keys[:n])
		if err != nil {
			return nil, err
		}
		same, keys = append(same, unchanged...), keys[n:]
	}
	return same, nil
}

// block applies the outcomes for some keys, which lie in one block.
func (c *commit) block(tx store.ReadTx, fence string, keys []string) (same []string, err error) {
	var old []record
	revision := store.Absent
	d, err := tx.Get(blockKey(fence))
	switch {
	case err == nil:
		revision = d.Revision
		if old, err = readBlock(d); err != nil {
			c.work.engine.mend(err)
			old = nil
		}
	case !errors.Is(err, store.ErrNotFound):
		return nil, err
	}
	now := make([]record, 0, len(old)+len(keys))
	for _, k := range keys {
		n, found := slices.BinarySearchFunc(old, k, func(r record, k string) int { return strings.Compare(r.Key, k) })
		now = append(now, old[:n]...)
		old = old[n:]
		var was *record
		if found {
			was, old = &old[0], old[1:]
		}
		r, changed := c.record(was, c.work.done[k])
		if !changed {
			same = append(same, k)
		}
		if r != nil {
			now = append(now, *r)
		}
	}
	if len(same) < len(keys) {
		c.write(d, fence, revision, append(now, old...))
	}
	return same, nil
}

// record is what is to be kept of a resource, nil if nothing, and whether that is a
// change.
func (c *commit) record(was *record, o *outcome) (now *record, changed bool) {
	if o.gone {
		return nil, was != nil
	}
	next := o.record
	if was == nil {
		if next.Verdicts == "" {
			return nil, false
		}
		return &next, true
	}
	next.Verdicts = c.merge(was.Verdicts, next.Verdicts)
	switch {
	case next.Verdicts == was.Verdicts && next.Location == was.Location:
		return was, false
	case next.Verdicts == "":
		return nil, true
	}
	c.compare(was, &next)
	return &next, true
}

// merge is what was found in place of what these assignments had found before.
func (c *commit) merge(old, found verdicts) verdicts {
	pair := [2]verdicts{old, found}
	m, ok := c.merged[pair]
	if !ok {
		m = old.merge(found, c.work.replaces)
		c.merged[pair] = m
	}
	return m
}

// write plans the documents for a block's records.
func (c *commit) write(d *store.Document, fence string, revision int64, records []record) {
	if len(records) == 0 && fence != firstFence {
		c.empty = append(c.empty, d)
		return
	}
	text := encode(records)
	pieces := max(1, (len(records)+blockRecords-1)/blockRecords, min(len(records), (len(text)+blockBytes-1)/blockBytes))
	if pieces == 1 {
		c.add(fence, revision, text)
		return
	}
	for i := range pieces {
		from, to := i*len(records)/pieces, (i+1)*len(records)/pieces
		if i > 0 {
			fence, revision = records[from].Key, store.Absent
		}
		c.add(fence, revision, encode(records[from:to]))
	}
}

func (c *commit) add(fence string, revision int64, text []byte) {
	d := blockDocument(fence, text, c.work.world.Now)
	d.Revision = revision
	c.blocks = append(c.blocks, d)
}

// nothing reports whether there is nothing to write.
func (c *commit) nothing() bool { return len(c.blocks)+len(c.empty) == 0 }

func (c *commit) put(tx store.Tx) error {
	for _, d := range c.blocks {
		copied := *d // the transaction may be tried more than once
		if err := tx.Put(&copied, d.Revision); err != nil {
			return err
		}
	}
	for _, d := range c.empty {
		if err := tx.Delete(d.Key, d.Revision); err != nil {
			return err
		}
	}
	for _, t := range c.transitions {
		if err := putTransition(tx, t); err != nil {
			return err
		}
	}
	return nil
}

// after is the fences once the commit is written.
func (c *commit) after() []string {
	all := slices.Clone(c.fences)
	for _, d := range c.blocks {
		fence := fenceOf(d.ID)
		if i, found := slices.BinarySearch(all, fence); !found {
			all = slices.Insert(all, i, fence)
		}
	}
	for _, d := range c.empty {
		if i, found := slices.BinarySearch(all, fenceOf(d.Key)); found {
			all = slices.Delete(all, i, i+1)
		}
	}
	return all
}

// move is a unit whose state is another than before.
type move struct {
	unit     *assignment.Unit
	from, to State
}

// compare notes which verdicts have changed.
func (c *commit) compare(was, now *record) {
	pair := [2]verdicts{was.Verdicts, now.Verdicts}
	moves, ok := c.moved[pair]
	if !ok {
		moves = c.work.moves(was.Verdicts, now.Verdicts)
		c.moved[pair] = moves
	}
	for _, m := range moves {
		c.transitions = append(c.transitions, Transition{Time: now.At, Resource: now.ID, Type: string(now.Type), Location: now.Location,
			Assignment: m.unit.Assignment.ID.String(), Definition: m.unit.DefinitionID, Reference: m.unit.ReferenceID, From: m.from, To: m.to})
	}
}

// store commits what was evaluated, with how far that is. Nothing has changed, nothing is
// written: the engine must not keep itself awake.
func (w *work) store(ctx context.Context, reached int64) error {
	if len(w.done) == 0 {
		return nil
	}
	e := w.engine
	e.shelf.mu.Lock()
	defer e.shelf.mu.Unlock()
	if err := e.shelf.load(ctx, e.cfg.Store); err != nil {
		return err
	}
	fences := e.shelf.fences.Load()
	var c *commit
	err := e.cfg.Store.View(ctx, func(tx store.ReadTx) error {
		c = newCommit(w, *fences)
		_, err := c.read(tx)
		return err
	})
	if err == nil && c.nothing() {
		return nil
	}
	if err == nil {
		err = e.cfg.Store.Update(ctx, func(tx store.Tx) error {
			if err := c.put(tx); err != nil {
				return err
			}
			return e.save(tx, reached, w.ledger.next)
		})
	}
	if err != nil {
		e.shelf.fences.Store(nil) // it may have been written nonetheless
		return fmt.Errorf("storing compliance states: %w", err)
	}
	after := c.after()
	e.shelf.fences.Store(&after)
	return nil
}

// settle forgets the outcomes that change nothing, so that looking at a whole estate
// takes little memory.
func (w *work) settle() error {
	if len(w.done) < w.full {
		return nil
	}
	e := w.engine
	fences := e.shelf.fences.Load()
	if fences == nil {
		return nil
	}
	same, err := newCommit(w, *fences).read(w.world.Tx)
	for _, k := range same {
		delete(w.done, k)
	}
	w.full = 2*len(w.done) + settled
	return err
}
