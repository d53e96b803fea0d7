package access

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/directory"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/store"
)

// Index keeps the Set of the newest rights. It is safe for concurrent use.
type Index struct {
	store store.Store
	now   atomic.Pointer[current]
	mu    sync.Mutex // of those that find it out of date
}

// current is a set, the revision up to which it is known to hold, and what is closed
// when something is written after that; nil with stores that do not say.
type current struct {
	set     *Set
	checked int64
	changed <-chan struct{}
}

func (c *current) quiet() bool {
	if c == nil || c.changed == nil {
		return false
	}
	select {
	case <-c.changed:
		return false
	default:
		return true
	}
}

// New makes an index.
func New(s store.Store) *Index { return &Index{store: s} }

// Current is the set that holds at the store's newest revision, at the time of the
// call or later. It reads from the store only after something was written, and
// everything only after rights were.
func (x *Index) Current(ctx context.Context) (*Set, error) {
	if c := x.now.Load(); c.quiet() {
		return c.set, nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	old := x.now.Load()
	if old.quiet() {
		return old.set, nil
	}
	next := &current{}
	if n, ok := x.store.(store.Notifier); ok {
		next.changed = n.Changed() // before reading: what comes after is seen next time
	}
	if err := x.update(ctx, old, next); err != nil {
		return nil, err
	}
	x.now.Store(next)
	return next.set, nil
}

func (x *Index) update(ctx context.Context, old, next *current) error {
	fresh, newest, err := x.fresh(ctx, old)
	if err != nil {
		return err
	}
	next.checked = newest
	if fresh {
		next.set = old.set
		return nil
	}
	return x.store.View(ctx, func(tx store.ReadTx) (err error) {
		next.set, err = ReadSet(tx)
		return err
	})
}

// fresh reports whether a set still holds, and up to which revision that is known.
func (x *Index) fresh(ctx context.Context, c *current) (bool, int64, error) {
	if c == nil {
		_, newest, err := x.store.Since(ctx, 0, 1)
		return false, newest, err
	}
	changes, newest, err := x.store.Since(ctx, c.checked, 0)
	if errors.Is(err, store.ErrPruned) {
		_, newest, err = x.store.Since(ctx, 0, 1)
		return false, newest, err
	}
	for _, change := range changes {
		if isSource(change.Type) {
			return false, newest, err
		}
	}
	return err == nil, newest, err
}

// Authorize implements provider.Authorizer: nil, or AuthorizationFailed naming
// principal, action and scope.
func (x *Index) Authorize(ctx context.Context, p identity.Principal, action string, scope arm.ID) error {
	set, err := x.Current(ctx)
	if err != nil {
		return err
	}
	if set.Allows(p, action, scope) {
		return nil
	}
	return Denied(p, action, scope)
}

// Denied is the refusal of an action.
func Denied(p identity.Principal, action string, scope arm.ID) *arm.Error {
	return arm.Errorf(http.StatusForbidden, arm.CodeAuthorizationFailed,
		"The client '%s' with object id '%s' does not have authorization to perform action '%s' over scope '%s' or the scope is invalid. "+
			"If access was recently granted, please refresh your credentials; otherwise ask an Owner or User Access Administrator of the scope for a role on it.",
		p.Name, p.ObjectID, action, scope).At(scope.String())
}

// Revision implements provider.Rechecker.
func (x *Index) Revision(ctx context.Context) (int64, error) {
	set, err := x.Current(ctx)
	if err != nil {
		return 0, err
	}
	return set.Epoch, nil
}

// Unchanged implements provider.Rechecker.
func (x *Index) Unchanged(tx store.ReadTx, revision int64) (bool, error) {
	now, err := directory.Epoch(tx)
	return now == revision, err
}
