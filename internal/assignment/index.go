package assignment

import (
	"context"
	"errors"
	"sync"

	"hallmark.dev/hallmark/internal/policy/alias"
	"hallmark.dev/hallmark/internal/store"
)

// Index keeps the Set of the newest policies. After a change it reads and compiles again
// only what depends on the documents that changed. It is safe for concurrent use.
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
	err := store.ErrPruned
	if x.set != nil {
		err = x.advance(ctx)
	}
	if errors.Is(err, store.ErrPruned) {
		err = x.reread(ctx)
	}
	if err != nil {
		return nil, err
	}
	return x.set, nil
}

// advance follows the changes since the set was read.
func (x *Index) advance(ctx context.Context) error {
	changes, newest, err := x.changed(ctx, x.checked)
	if err != nil {
		return err
	}
	set := x.set
	for len(changes) > 0 {
		x.set = nil // until all is well, what the compiler keeps is ahead of it
		if set, err = x.update(ctx, set, changes); err != nil {
			return err
		}
		// What is read is at least as new as newest. If policies have changed since, it may
		// hold one half of such a change: what depends on that is read once more.
		if changes, newest, err = x.changed(ctx, newest); err != nil {
			return err
		}
	}
	x.set, x.checked = set, newest
	return nil
}

// changed are the changes of policies above a revision, and the newest revision.
func (x *Index) changed(ctx context.Context, above int64) ([]store.Change, int64, error) {
	all, newest, err := x.store.Since(ctx, above, 0)
	if err != nil {
		return nil, 0, err
	}
	var policies []store.Change
	for _, c := range all {
		if IsSource(c.Type) || typeEpoch.Equal(c.Type) {
			policies = append(policies, c)
		}
	}
	return policies, newest, nil
}

// reread reads everything.
func (x *Index) reread(ctx context.Context) error {
	x.set = nil
	_, newest, err := x.store.Since(ctx, 0, 1)
	if err != nil {
		return err
	}
	return x.store.View(ctx, func(tx store.ReadTx) error {
		set, err := x.cache.read(tx)
		if err == nil {
			x.set, x.checked = set, newest
		}
		return err
	})
}

func (x *Index) update(ctx context.Context, set *Set, changes []store.Change) (next *Set, err error) {
	err = x.store.View(ctx, func(tx store.ReadTx) (err error) {
		next, err = x.cache.update(tx, set, changes)
		return err
	})
	return next, err
}
