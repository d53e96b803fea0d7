package assignment

import (
	"context"
	"errors"
	"sync"

	"hallmark.dev/hallmark/internal/policy/alias"
	"hallmark.dev/hallmark/internal/store"
)

// Index keeps the Set of the newest policies. It is safe for concurrent use.
type Index struct {
	store   store.Store
	aliases *alias.Table

	mu      sync.Mutex
	checked int64 // no policy changed after set was read, up to this revision
	set     *Set
	cache   *compiler
}

// New makes an index; nil aliases take Azure's public ones.
func New(s store.Store, aliases *alias.Table) *Index {
	if aliases == nil {
		aliases = alias.Default()
	}
	return &Index{store: s, aliases: aliases, cache: newCompiler(aliases)}
}

// Current is the set that holds at the store's newest revision, at the time of the
// call or later.
func (x *Index) Current(ctx context.Context) (*Set, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	fresh, newest, err := x.fresh(ctx)
	if err != nil {
		return nil, err
	}
	if !fresh {
		if err := x.read(ctx); err != nil {
			return nil, err
		}
	}
	x.checked = newest
	return x.set, nil
}

// fresh reports whether the set still holds, and up to which revision that is known.
func (x *Index) fresh(ctx context.Context) (bool, int64, error) {
	if x.set == nil {
		_, newest, err := x.store.Since(ctx, 0, 1)
		return false, newest, err
	}
	changes, newest, err := x.store.Since(ctx, x.checked, 0)
	if errors.Is(err, store.ErrPruned) {
		_, newest, err = x.store.Since(ctx, 0, 1)
		return false, newest, err
	}
	if err != nil {
		return false, 0, err
	}
	for _, c := range changes {
		if IsSource(c.Type) {
			return false, newest, nil
		}
	}
	return true, newest, nil
}

func (x *Index) read(ctx context.Context) error {
	return x.store.View(ctx, func(tx store.ReadTx) (err error) {
		x.set, err = x.cache.read(tx)
		return err
	})
}
