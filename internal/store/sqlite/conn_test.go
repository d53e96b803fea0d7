package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"hallmark.dev/hallmark/internal/store"
)

func some(t *testing.T, n int) *Store {
	t.Helper()
	s := open(t, filepath.Join(t.TempDir(), "s.db"))
	for i := range n {
		putDoc(t, s, fmt.Sprintf("d%02d", i))
	}
	return s
}

// A prepared statement runs once at a time: the same query inside a scan must not move it on.
func TestTheSameQueryInsideAScan(t *testing.T) {
	s := some(t, 5)
	err := s.View(t.Context(), func(tx store.ReadTx) error {
		outer := 0
		err := store.Scan(tx, store.Query{}, false, func(*store.Head) error {
			inner := 0
			outer++
			err := store.Scan(tx, store.Query{}, false, func(*store.Head) error { inner++; return nil })
			if inner != 5 {
				t.Errorf("the inner scan saw %d", inner)
			}
			return err
		})
		if outer != 5 {
			t.Errorf("the outer scan saw %d", outer)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// What one view leaves behind must not be what the next one on its connection sees.
func TestAConnectionIsAsNewAfterEachView(t *testing.T) {
	s := some(t, 5)
	canceled, cancel := context.WithCancel(t.Context())
	enough := errors.New("enough")
	var kept store.ReadTx
	for what, f := range map[string]func() error{
		"stopped": func() error {
			return s.View(t.Context(), func(tx store.ReadTx) error {
				kept = tx
				return store.Scan(tx, store.Query{}, true, func(*store.Head) error { return enough })
			})
		},
		"canceled": func() error {
			return s.View(canceled, func(tx store.ReadTx) error {
				return store.Scan(tx, store.Query{}, true, func(*store.Head) error { cancel(); return nil })
			})
		},
	} {
		if err := f(); !errors.Is(err, enough) && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
		putDoc(t, s, what)
	}
	if ds, err := store.List(t.Context(), s, store.Query{}); err != nil || len(ds) != 7 {
		t.Errorf("%d documents, %v", len(ds), err)
	}
	if _, err := kept.Get("x"); !errors.Is(err, errEnded) {
		t.Errorf("a transaction that was kept: %v", err)
	}
}

func TestStatementsAreBounded(t *testing.T) {
	s := some(t, 1)
	c, err := s.read.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.read.end(c)
	r, err := c.query(t.Context(), "SELECT 'in use'")
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	for i := range int64(3 * maxStatements) {
		if n, ok, err := c.number(fmt.Sprintf("SELECT %d", i)); n != i || !ok || err != nil {
			t.Fatal(n, ok, err)
		}
	}
	if len(c.stmts) > maxStatements {
		t.Errorf("%d statements", len(c.stmts))
	}
	if !r.next() || text(r.values[0]) != "in use" {
		t.Errorf("the statement in use was closed: %v", r.err)
	}
}

func TestMoreReadersThanConnections(t *testing.T) {
	s := some(t, 3)
	var wg sync.WaitGroup
	for range 4 * readers {
		wg.Go(func() {
			for range 20 {
				if ds, err := store.List(t.Context(), s, store.Query{}); err != nil || len(ds) != 3 {
					t.Errorf("%d documents, %v", len(ds), err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(s.read.idle); n > readers {
		t.Errorf("%d connections", n)
	}
	if n := len(s.read.slots); n != 0 {
		t.Errorf("%d connections did not come back", n)
	}
}

func TestClosingWhileReading(t *testing.T) {
	s := some(t, 2)
	err := s.View(t.Context(), func(tx store.ReadTx) error {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		_, err := tx.List(store.Query{})
		return err
	})
	if err != nil {
		t.Errorf("what was being read: %v", err)
	}
	if err := s.View(t.Context(), func(store.ReadTx) error { return nil }); !errors.Is(err, store.ErrClosed) {
		t.Errorf("afterwards: %v", err)
	}
}
