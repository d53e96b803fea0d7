package compliance

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/store"
)

// follow evaluates the next changes and what they touch. It returns how many changes
// it looked at that were not its own.
func (e *Engine) follow(ctx context.Context) (int, error) {
	from := e.Progress().Evaluated
	changes, newest, err := e.cfg.Store.Since(ctx, from, batch)
	if errors.Is(err, store.ErrPruned) {
		return e.startOver(ctx)
	}
	if err != nil {
		return 0, fmt.Errorf("reading what changed: %w", err)
	}
	reached := newest
	if len(changes) == batch {
		reached = changes[batch-1].Revision
	}
	foreign := changes[:0]
	for _, c := range changes {
		if !own(c.Type) {
			foreign = append(foreign, c)
		}
	}
	if len(foreign) == 0 {
		e.advance(reached)
		if len(changes) == batch {
			return batch, nil
		}
		return 0, nil
	}
	set, err := e.current(ctx)
	if err != nil {
		return 0, err
	}
	if err := e.touched(ctx, set, foreign, reached); err != nil {
		return 0, err
	}
	e.advance(reached)
	return len(foreign), nil
}

// own reports whether a type is one that the engine itself writes.
func own(t arm.Type) bool {
	return among([]arm.Type{typeBlock, typeLedger, typeProgress, typeTransition, typeFormer}, t)
}

// startOver evaluates everything anew: the history of changes does not reach back to
// where this engine was.
func (e *Engine) startOver(ctx context.Context) (int, error) {
	newest, err := e.newest(ctx)
	if err != nil {
		return 0, err
	}
	if err := e.anew(ctx); err != nil {
		return 0, err
	}
	e.advance(newest)
	return 1, nil
}

// anew has everything evaluated again, here and, if this process ends, in the next. What
// is known of resources that are still there stands until then.
func (e *Engine) anew(ctx context.Context) error {
	if err := e.turn(ctx, e.ledger.forgotten()); err != nil {
		return err
	}
	e.set, e.scans = nil, nil
	return e.dropOrphans(ctx)
}

// newest is the store's newest revision.
func (e *Engine) newest(ctx context.Context) (int64, error) {
	_, newest, err := e.cfg.Store.Since(ctx, e.Progress().Evaluated, 1)
	if errors.Is(err, store.ErrPruned) {
		_, newest, err = e.cfg.Store.Since(ctx, 0, 1)
	}
	if err != nil {
		return 0, fmt.Errorf("reading the newest revision: %w", err)
	}
	return newest, nil
}

// dropOrphans removes records of resources that are gone, and blocks that cannot be read.
func (e *Engine) dropOrphans(ctx context.Context) error {
	if err := e.shelf.load(ctx, e.cfg.Store); err != nil {
		return err
	}
	for _, fence := range *e.shelf.fences.Load() {
		w := newWork(e, e.set, nil)
		var damaged *store.Document
		err := e.cfg.Store.View(ctx, func(tx store.ReadTx) error {
			w.world = e.world(tx)
			d, err := tx.Get(blockKey(fence))
			if err != nil {
				return err
			}
			records, err := readBlock(d)
			if err != nil {
				damaged = d
			}
			for _, r := range records {
				if _, err := tx.Get(r.Key); errors.Is(err, store.ErrNotFound) {
					w.gone(r.Key)
				} else if err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil && damaged != nil {
			err = e.clear(ctx, damaged)
		}
		if err == nil {
			err = w.store(ctx, e.Progress().Evaluated)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// clear puts an empty block in place of one that cannot be read: nothing may be found again
// that would have it written.
func (e *Engine) clear(ctx context.Context, d *store.Document) error {
	err := e.cfg.Store.Update(ctx, func(tx store.Tx) error {
		return tx.Put(blockDocument(fenceOf(d.Key), encode(nil), e.now()), d.Revision)
	})
	if err != nil {
		return fmt.Errorf("removing damaged compliance states: %w", err)
	}
	return nil
}

// touched evaluates the changed resources, and those whose verdicts depend on what
// changed.
func (e *Engine) touched(ctx context.Context, set *assignment.Set, changes []store.Change, reached int64) error {
	work := newWork(e, set, nil)
	err := e.cfg.Store.View(ctx, func(tx store.ReadTx) error {
		work.world = e.world(tx)
		for _, c := range changes {
			if err := work.change(c); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if work.imaged {
		if err := e.again(ctx, set, readFacts(set)); err != nil {
			return err
		}
	}
	return work.store(ctx, reached)
}

// change evaluates one change.
func (w *work) change(c store.Change) error {
	if !assignment.Governed(c.Type) {
		return nil
	}
	if c.Deleted {
		w.gone(c.Key)
	} else if err := w.key(c.Key); err != nil {
		return err
	}
	if err := w.dependents(c); err != nil {
		return err
	}
	return w.images(c)
}

// dependents evaluates the resources whose rules look for resources of the type that
// changed, where they look for them, and those in a group whose tags they ask for.
func (w *work) dependents(c store.Change) error {
	id, err := arm.ParseID(c.Key)
	if err != nil || id.Subscription() == "" {
		return nil
	}
	for _, a := range w.set.Assignments {
		for _, u := range a.Units {
			if err := w.dependent(u, c.Type, id); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *work) dependent(u *assignment.Unit, typ arm.Type, id arm.ID) (err error) {
	var qs []store.Query
	switch {
	case u.LooksFor(typ):
		qs, err = primaries(u, id, w)
	case groupOrSubscription(typ) && u.NeedsContext():
		qs = within(u, id)
	}
	for _, q := range qs {
		if err == nil {
			err = w.list(q)
		}
	}
	return err
}

// primaries are the resources that may look for the one that changed: what it hangs
// on, or else what the rule looks at in its group, or in its subscription if the rule
// looks further.
func primaries(u *assignment.Unit, id arm.ID, w *work) ([]store.Query, error) {
	types := u.Types()
	if parent := id.Parent(); parent.Kind() == arm.KindResource && (types == nil || slices.Contains(types, parent.Type().Key())) {
		return nil, w.key(parent.Key())
	}
	if u.LooksBeyondGroup() || id.ResourceGroup() == "" {
		return within(u, arm.SubscriptionID(id.Subscription())), nil
	}
	return within(u, arm.ResourceGroupID(id.Subscription(), id.ResourceGroup())), nil
}

// within are the resources that a unit looks at inside a group or subscription.
func within(u *assignment.Unit, scope arm.ID) []store.Query {
	base := store.Query{SubscriptionID: scope.Subscription(), ResourceGroup: scope.ResourceGroup(), Prefix: scope.Key()}
	types := u.Types()
	if types == nil {
		return []store.Query{base}
	}
	var qs []store.Query
	for _, t := range types {
		q := base
		q.Type = arm.Type(t)
		qs = append(qs, q)
	}
	return qs
}
