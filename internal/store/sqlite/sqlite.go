// Package sqlite is the durable store: one SQLite file in WAL mode with
// synchronous=FULL, so that a commit that returned survives a power cut.
//
// One writer goroutine commits; updates that wait at the same time share one commit
// and its fsync. Readers see snapshots and never wait for the writer. Only one
// process may open a file: a lock beside it says so. cmd imports it.
package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
)

// ErrLocked: another process has the store open.
var ErrLocked = errors.New("another process has the store open")

// readers is how many snapshots may be read at the same time.
const readers = 8

// Page caches in KiB. Each connection has one of its own and fills it for good, so
// that eight large ones would be most of a server's memory; the kernel caches the
// file once for all of them.
const (
	writeCache = 8000
	readCache  = 2000
)

// Store implements store.Store, OnceReader, Notifier, Backuper and Pruner.
type Store struct {
	path   string
	lock   *os.File
	write  *conn // the writer's
	read   *pool
	writes chan *update
	done   chan struct{} // closed when the writer has ended
	recent recent

	mu      sync.RWMutex
	changed chan struct{}
	closed  bool
}

// Open opens or creates the file, brings its schema up to date (after taking a copy
// beside it, named PATH.schemaN), and starts the writer. The folder must exist.
func Open(ctx context.Context, path string) (*Store, error) {
	lock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, fmt.Errorf("opening the store %s: %w", path, err)
	}
	s := &Store{path: path, lock: lock, writes: make(chan *update, maxBatch), done: make(chan struct{}), changed: make(chan struct{})}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the store %s: %w", path, err), s.closeFiles())
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) error {
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE, 0o600) // SQLite gives its other files the same mode
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := s.migrate(ctx); err != nil {
		return err
	}
	d, err := connector(s.path, writeCache)
	if err != nil {
		return err
	}
	if s.write, err = newConn(ctx, d); err != nil {
		return err
	}
	if d, err = connector(s.path, readCache); err != nil {
		return err
	}
	s.read = newPool(d, readers)
	w, err := newWriter(s)
	if err != nil {
		return err
	}
	go w.run()
	return nil
}

// migrate has a connection of its own: goose asks for one of database/sql.
func (s *Store) migrate(ctx context.Context) error {
	d, err := connector(s.path, writeCache)
	if err != nil {
		return err
	}
	db := sql.OpenDB(d)
	db.SetMaxOpenConns(1)
	return errors.Join(migrate(ctx, db, s.path), db.Close())
}

func connector(path string, cache int) (driver.Connector, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	u := url.URL{Scheme: "file", Path: abs, RawQuery: url.Values{
		"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", fmt.Sprintf("cache_size(-%d)", cache)},
	}.Encode()}
	return sqlite.NewConnector(u.String())
}

// lockFile takes the lock that keeps a second process away. The kernel frees it when
// the process ends, however it ends.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("%w: stop it, or use another data folder", ErrLocked)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// View implements store.Store.
func (s *Store) View(ctx context.Context, f func(store.ReadTx) error) error {
	if s.isClosed() {
		return store.ErrClosed
	}
	c, err := s.read.begin(ctx)
	if err != nil {
		return s.explain(ctx, "starting to read", err)
	}
	t := &tx{ctx: ctx, c: c}
	defer func() {
		t.c = nil // whoever kept it must not read in another's snapshot
		s.read.end(c)
	}()
	return f(t)
}

// GetOnce implements store.OnceReader.
func (s *Store) GetOnce(ctx context.Context, key string) (d *store.Document, err error) {
	err = s.once(ctx, func(t *tx) error {
		d, err = t.Get(key)
		return err
	})
	return d, err
}

// ListOnce implements store.OnceReader.
func (s *Store) ListOnce(ctx context.Context, q store.Query) (ds []*store.Document, err error) {
	err = s.once(ctx, func(t *tx) error {
		ds, err = t.List(q)
		return err
	})
	return ds, err
}

// once is View for a single statement, which is a transaction of its own.
func (s *Store) once(ctx context.Context, f func(*tx) error) error {
	if s.isClosed() {
		return store.ErrClosed
	}
	c, err := s.read.take(ctx)
	if err != nil {
		return s.explain(ctx, "starting to read", err)
	}
	defer s.read.give(c)
	return f(&tx{ctx: ctx, c: c})
}

// Since implements store.Store.
func (s *Store) Since(ctx context.Context, revision int64, limit int) (cs []store.Change, newest int64, err error) {
	if s.isClosed() {
		return nil, 0, store.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	if cs, newest, ok := s.recent.after(revision, limit); ok {
		return cs, newest, nil
	}
	c, err := s.read.begin(ctx)
	if err != nil {
		return nil, 0, s.explain(ctx, "reading changes", err)
	}
	defer s.read.end(c)
	vs, _, err := c.row(`SELECT (SELECT value FROM counters WHERE name='revision'), (SELECT value FROM counters WHERE name='pruned')`)
	if err != nil {
		return nil, 0, s.explain(ctx, "reading changes", err)
	}
	newest, pruned := integer(vs[0]), integer(vs[1])
	if revision != 0 && revision < pruned {
		return nil, newest, store.ErrPruned
	}
	if limit <= 0 {
		limit = -1
	}
	if revision == newest {
		return nil, newest, nil
	}
	cs, err = changes(ctx, c, revision, limit)
	return cs, newest, err
}

func changes(ctx context.Context, c *conn, revision int64, limit int) ([]store.Change, error) {
	rows, err := c.query(ctx, `SELECT revision, key, type, 0 FROM documents WHERE revision > ?1
		UNION ALL SELECT revision, key, type, 1 FROM tombstones WHERE revision > ?1 ORDER BY 1 LIMIT ?2`, revision, int64(limit))
	if err != nil {
		return nil, fmt.Errorf("reading changes: %w", err)
	}
	defer rows.close()
	var cs []store.Change
	for rows.next() {
		v := rows.values
		cs = append(cs, store.Change{Revision: integer(v[0]), Key: text(v[1]), Type: arm.Type(text(v[2])), Deleted: integer(v[3]) != 0})
	}
	if rows.err != nil {
		return nil, fmt.Errorf("reading changes: %w", rows.err)
	}
	return cs, nil
}

// Changed implements store.Notifier.
func (s *Store) Changed() <-chan struct{} {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.changed
}

func (s *Store) notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

// Prune implements store.Pruner.
func (s *Store) Prune(ctx context.Context, upTo int64) error {
	err := s.submit(ctx, func(t *tx) error {
		err := t.exec(`UPDATE counters SET value = max(value, coalesce((SELECT max(revision) FROM tombstones WHERE revision <= ?1), 0)) WHERE name = 'pruned'`, upTo)
		if err == nil {
			err = t.exec(`DELETE FROM tombstones WHERE revision <= ?1`, upTo)
		}
		if err != nil {
			return fmt.Errorf("pruning: %w", err)
		}
		t.wrote = true
		return nil
	})
	if err == nil {
		s.recent.prune()
	}
	return err
}

// Backup implements store.Backuper.
func (s *Store) Backup(ctx context.Context, path string) error {
	if s.isClosed() {
		return store.ErrClosed
	}
	c, err := s.read.take(ctx)
	if err != nil {
		return s.explain(ctx, "copying the store", err)
	}
	defer s.read.give(c)
	return copyTo(path, func(part string) error { return c.exec(ctx, vacuumInto, part) })
}

// Close waits for the writer to finish what it has.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.writes)
	s.mu.Unlock()
	<-s.done
	return s.closeFiles()
}

func (s *Store) closeFiles() error {
	var errs []error
	if s.read != nil {
		errs = append(errs, s.read.close())
	}
	if s.write != nil {
		errs = append(errs, s.write.close())
	}
	return errors.Join(append(errs, s.lock.Close())...)
}

func (s *Store) isClosed() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.closed
}

// explain prefers the reasons that callers know to those of the driver.
func (s *Store) explain(ctx context.Context, what string, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case s.isClosed():
		return store.ErrClosed
	}
	return fmt.Errorf("%s: %w", what, err)
}
