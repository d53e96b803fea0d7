package sqlite

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"hallmark.dev/hallmark/internal/store"
)

// maxBatch is how many updates may share one commit.
const maxBatch = 64

// update is one call of Update on its way through the writer.
type update struct {
	ctx  context.Context
	f    func(*tx) error
	err  error
	done chan struct{}
}

// writer owns the only connection that writes.
type writer struct {
	s        *Store
	revision int64 // of the last committed change
	unsure   bool  // a commit failed: it may have been applied, so revision must be read again
}

func newWriter(s *Store) (*writer, error) {
	w := &writer{s: s}
	return w, w.readRevision()
}

func (w *writer) readRevision() error {
	revision, ok, err := w.s.write.number(`SELECT value FROM counters WHERE name = 'revision'`)
	if err == nil && !ok {
		err = errors.New("it is not there")
	}
	if err != nil {
		return fmt.Errorf("reading the revision: %w", err)
	}
	w.revision, w.unsure = revision, false
	w.s.recent.restart(revision)
	return nil
}

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, f func(store.Tx) error) error {
	return s.submit(ctx, func(t *tx) error { return f(t) })
}

func (s *Store) submit(ctx context.Context, f func(*tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	u := &update{ctx: ctx, f: f, done: make(chan struct{})}
	if err := s.enqueue(u); err != nil {
		return err
	}
	<-u.done // also when ctx ends: what is committing must not be reported as not written
	return u.err
}

func (s *Store) enqueue(u *update) error {
	s.mu.RLock()
	defer s.mu.RUnlock() // Close cannot close the channel meanwhile
	if s.closed {
		return store.ErrClosed
	}
	select {
	case s.writes <- u:
		return nil
	case <-u.ctx.Done():
		return u.ctx.Err()
	}
}

func (w *writer) run() {
	defer close(w.s.done)
	for u := range w.s.writes {
		batch := []*update{u}
		for len(batch) < maxBatch && len(w.s.writes) > 0 {
			if next, ok := <-w.s.writes; ok {
				batch = append(batch, next)
			}
		}
		w.commit(batch)
		for _, u := range batch {
			close(u.done)
		}
	}
}

// commit runs the updates of a batch in one transaction, each in a savepoint of its own,
// so that one that fails takes nothing of the others with it.
func (w *writer) commit(batch []*update) {
	ctx := context.Background() // not that of one of the updates
	if w.unsure {
		if err := w.readRevision(); err != nil {
			failAll(batch, err)
			return
		}
	}
	c := w.s.write
	if err := c.exec(ctx, "BEGIN"); err != nil {
		_ = c.exec(ctx, "ROLLBACK") // of one that could not be rolled back before
		failAll(batch, fmt.Errorf("starting to write: %w", err))
		return
	}
	committed := false
	defer func() {
		if !committed {
			_ = c.exec(ctx, "ROLLBACK") // SQLite does it by itself after some errors
		}
	}()
	revision := w.revision
	wrote := false
	var changes []store.Change
	for _, u := range batch {
		x, err := apply(ctx, c, u, revision)
		if err != nil {
			failAll(batch, err)
			return
		}
		revision, wrote, changes = x.revision, wrote || x.wrote, append(changes, x.changes...)
	}
	if !wrote {
		return
	}
	err := c.exec(ctx, `UPDATE counters SET value = ?1 WHERE name = 'revision'`, revision)
	if err == nil {
		err = c.exec(ctx, "COMMIT")
		committed = err == nil
	}
	if err != nil {
		w.unsure = true
		w.s.recent.forget()
		failAll(batch, fmt.Errorf("committing: %w", err))
		return
	}
	w.revision = revision
	w.s.recent.add(changes, revision)
	w.s.notify()
}

// apply runs one update, and gives what it left; its own error stays in it, the returned
// one is the database's and ends the batch.
func apply(ctx context.Context, c *conn, u *update, revision int64) (*tx, error) {
	nothing := &tx{revision: revision}
	if u.err = u.ctx.Err(); u.err != nil {
		return nothing, nil
	}
	if err := c.exec(ctx, "SAVEPOINT one"); err != nil {
		return nil, fmt.Errorf("starting a savepoint: %w", err)
	}
	x := &tx{ctx: ctx, c: c, revision: revision}
	u.err = safely(u.f, x)
	x.c = nil // whoever kept it must not write in another's transaction
	if u.err != nil {
		if err := c.exec(ctx, "ROLLBACK TO one"); err != nil {
			return nil, fmt.Errorf("rolling back: %w", err)
		}
		x = nothing
	}
	if err := c.exec(ctx, "RELEASE one"); err != nil {
		return nil, fmt.Errorf("releasing a savepoint: %w", err)
	}
	return x, nil
}

// safely keeps a panic in a caller's function from taking the writer down.
func safely(f func(*tx) error, x *tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("bug: panic in an update: %v\n%s", p, debug.Stack())
		}
	}()
	return f(x)
}

// failAll: nothing of the batch was written.
func failAll(batch []*update, err error) {
	for _, u := range batch {
		if u.err == nil {
			u.err = err
		}
	}
}
