package compliance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/store"
)

// Verdicts that change with time alone are evaluated again every minute, or less
// often where that takes long.
const (
	tick      = time.Minute
	tickShare = 20 // at most this part of the time goes into it
)

// scan evaluates some assignments over everything that they may cover.
type scan struct {
	set         *assignment.Set
	assignments []*assignment.Assignment
	queries     []store.Query // what is left, the first in progress
	started     time.Time
	timed       bool // because time went by
}

// plan finds out which assignments are not evaluated yet, or have to be again.
func (e *Engine) plan(ctx context.Context) error {
	set, err := e.cfg.Index.Current(ctx)
	if err != nil {
		return err
	}
	if set != e.set {
		e.set = set
		e.forget(set)
		if err := e.enqueue(ctx, set, e.unknown(set), false); err != nil {
			return err
		}
	}
	return e.planTick(ctx, set)
}

// forget drops what is known, and being found out, of assignments that are gone or
// different by now.
func (e *Engine) forget(set *assignment.Set) {
	current := map[string]string{}
	for _, a := range set.Assignments {
		current[a.Key] = a.Generation
	}
	maps.DeleteFunc(e.known, func(k, g string) bool { return current[k] != g })
	for _, s := range e.scans {
		s.assignments = slices.DeleteFunc(s.assignments, func(a *assignment.Assignment) bool { return current[a.Key] != a.Generation })
	}
	e.scans = slices.DeleteFunc(e.scans, func(s *scan) bool { return len(s.assignments) == 0 })
}

// unknown are the assignments that were not evaluated everywhere and are not about
// to be.
func (e *Engine) unknown(set *assignment.Set) (out []*assignment.Assignment) {
	pending := map[string]bool{}
	for _, s := range e.scans {
		for _, a := range s.assignments {
			pending[a.Key] = true
		}
	}
	for _, a := range set.Assignments {
		if k := a.Key; e.known[k] != a.Generation && !pending[k] {
			out = append(out, a)
		}
	}
	return out
}

func (e *Engine) planTick(ctx context.Context, set *assignment.Set) error {
	now := e.now()
	if e.nextTick.IsZero() && len(e.known) == 0 {
		e.nextTick = now.Add(tick) // everything is about to be evaluated anyway
	}
	if now.Before(e.nextTick) || len(e.scans) > 0 {
		return nil
	}
	e.nextTick = now.Add(tick)
	timed := slices.DeleteFunc(slices.Clone(set.Assignments), func(a *assignment.Assignment) bool {
		return !slices.ContainsFunc(a.Units, func(u *assignment.Unit) bool { return u.NeedsTime() || u.NeedsFacts() })
	})
	return e.enqueue(ctx, set, timed, true)
}

// enqueue plans a scan of what the assignments may cover: their types where all name
// some, their scopes.
func (e *Engine) enqueue(ctx context.Context, set *assignment.Set, as []*assignment.Assignment, timed bool) error {
	if len(as) == 0 {
		return nil
	}
	subs, err := e.subscriptions(ctx)
	if err != nil {
		return err
	}
	s := &scan{set: set, assignments: as, started: e.now(), timed: timed}
	types := typesOf(as)
	for _, q := range scopesOf(set, as, subs) {
		if types == nil {
			s.queries = append(s.queries, q)
			continue
		}
		for _, t := range types {
			q.Type = arm.Type(t)
			s.queries = append(s.queries, q)
		}
	}
	e.scans = append(e.scans, s)
	return nil
}

func (e *Engine) subscriptions(ctx context.Context) ([]string, error) {
	docs, err := store.List(ctx, e.cfg.Store, store.Query{Type: arm.TypeSubscription})
	if err != nil {
		return nil, fmt.Errorf("listing subscriptions: %w", err)
	}
	var ids []string
	for _, d := range docs {
		ids = append(ids, d.ARMID().Name())
	}
	return ids, nil
}

// typesOf are the types that the assignments look at; nil: any.
func typesOf(as []*assignment.Assignment) []string {
	all := map[string]bool{}
	for _, a := range as {
		for _, u := range a.Units {
			types := u.Types()
			if types == nil {
				return nil
			}
			for _, t := range types {
				all[t] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// scopesOf are queries for everything below the assignments' scopes, each resource
// once: whole subscriptions as soon as there is more than one scope.
func scopesOf(set *assignment.Set, as []*assignment.Assignment, subs []string) []store.Query {
	if len(as) == 1 && as[0].Scope.Subscription() != "" {
		scope := as[0].Scope
		return []store.Query{{SubscriptionID: scope.Subscription(), ResourceGroup: scope.ResourceGroup(), Prefix: scope.Key()}}
	}
	var qs []store.Query
	for _, s := range subs {
		id := arm.SubscriptionID(s)
		if slices.ContainsFunc(as, func(a *assignment.Assignment) bool {
			return set.Hierarchy.Contains(a.Scope, id) || id.Contains(a.Scope)
		}) {
			qs = append(qs, store.Query{SubscriptionID: s, Prefix: id.Key()})
		}
	}
	return qs
}

// scan evaluates the next pages of the first scan, as many at a time as there are
// processors.
func (e *Engine) scan(ctx context.Context) error {
	s := e.scans[0]
	if len(s.queries) == 0 {
		return e.finish(ctx, s)
	}
	q, last := s.queries[0], false
	q.Limit = page
	var group errgroup.Group
	for i := 0; i < runtime.GOMAXPROCS(0) && !last; i++ {
		docs, err := store.List(ctx, e.cfg.Store, q)
		if err != nil {
			return errors.Join(fmt.Errorf("reading what is to be evaluated: %w", err), group.Wait())
		}
		if last = len(docs) < page; !last {
			q.After = docs[page-1].Key
		}
		group.Go(func() error { return e.page(ctx, s, docs) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	s.queries[0] = q
	if last {
		s.queries = s.queries[1:]
	}
	return nil
}

// page evaluates some documents that follow one another.
func (e *Engine) page(ctx context.Context, s *scan, docs []*store.Document) error {
	if len(docs) == 0 {
		return nil
	}
	w := newWork(e, s.set, s.assignments)
	err := e.cfg.Store.View(ctx, func(tx store.ReadTx) error {
		w.world = e.world(tx)
		w.world.From, w.world.To = docs[0].Key, docs[len(docs)-1].Key
		if err := w.remember(); err != nil {
			return err
		}
		for _, d := range docs {
			if err := w.document(d); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return w.store(ctx, e.Progress().Evaluated)
}

// finish notes that the assignments are evaluated everywhere.
func (e *Engine) finish(ctx context.Context, s *scan) error {
	known := maps.Clone(e.known)
	for _, a := range s.assignments {
		known[a.Key] = a.Generation
	}
	if !s.timed {
		err := e.cfg.Store.Update(ctx, func(tx store.Tx) error { return e.save(tx, e.Progress().Evaluated, known) })
		if err != nil {
			return fmt.Errorf("storing how far evaluation is: %w", err)
		}
	}
	e.known, e.scans = known, e.scans[1:]
	if s.timed {
		e.nextTick = e.now().Add(max(tick, tickShare*e.now().Sub(s.started)))
	}
	return nil
}
