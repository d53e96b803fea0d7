package compliance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
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
	begun       bool
	timed       bool // because time went by
}

// evaluates reports whether a scan is about this generation of an assignment.
func (s *scan) evaluates(a *assignment.Assignment) bool {
	return slices.ContainsFunc(s.assignments, func(b *assignment.Assignment) bool { return a.Key == b.Key && a.Generation == b.Generation })
}

// plan finds out which assignments are not evaluated yet, or have to be again.
func (e *Engine) plan(ctx context.Context) error {
	if err := e.mended(ctx); err != nil {
		return err
	}
	set, err := e.current(ctx)
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

// current is the set of policies that is effective now, numbered.
func (e *Engine) current(ctx context.Context) (*assignment.Set, error) {
	set, err := e.cfg.Index.Current(ctx)
	if err != nil {
		return nil, err
	}
	if set != e.numbered {
		if err := e.turn(ctx, e.ledger.adopt(set)); err != nil {
			return nil, err
		}
		e.numbered = set
	}
	return set, nil
}

// forget drops the scans of assignments that are gone or different by now.
func (e *Engine) forget(set *assignment.Set) {
	current := map[string]string{}
	for _, a := range set.Assignments {
		current[a.Key] = a.Generation
	}
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
		if !e.ledger.known(a) && !pending[a.Key] {
			out = append(out, a)
		}
	}
	return out
}

func (e *Engine) planTick(ctx context.Context, set *assignment.Set) error {
	now := e.now()
	if e.nextTick.IsZero() && !e.ledger.anyKnown() {
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
			s.queries = append(s.queries, typed(q, arm.Type(t)))
		}
	}
	e.scans = append(e.scans, s)
	return nil
}

// typed selects a type of what a query for a scope selects. A group or subscription is
// not among the resources in it, and for what lies below it an index on types serves.
func typed(q store.Query, t arm.Type) store.Query {
	q.Type = t
	if scope, err := arm.ParseID(q.Prefix); err == nil && groupOrSubscription(scope.Type()) && !groupOrSubscription(t) {
		q.Prefix += "/"
	}
	return q
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

// stint is about how long a step scans before it looks at what has changed.
const stint = 100 * time.Millisecond

// scan evaluates the next pages of the first scan, so many at a time that all processors
// have something to do.
func (e *Engine) scan(ctx context.Context) error {
	s, start := e.scans[0], time.Now()
	s.begun = true
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0) + 1) // one waits for the disk
	queries := s.queries
	for len(queries) > 0 && time.Since(start) < stint {
		q := queries[0]
		from, to, n, err := e.stretch(ctx, q)
		if err != nil {
			return errors.Join(fmt.Errorf("reading what is to be evaluated: %w", err), group.Wait())
		}
		if n < page {
			queries = queries[1:]
		} else {
			queries = slices.Clone(queries)
			queries[0].After = to
		}
		if n > 0 {
			group.Go(func() error { return e.page(ctx, s, q, from, to) })
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if s.queries = queries; len(queries) == 0 {
		return e.finish(ctx, s)
	}
	return nil
}

// stretch is the next documents that a query selects, at most a page: the first and the
// last key, and how many there are.
func (e *Engine) stretch(ctx context.Context, q store.Query) (from, to string, n int, err error) {
	q.Limit = page
	var last []byte
	err = e.cfg.Store.View(ctx, func(tx store.ReadTx) error {
		n = 0
		return store.Scan(tx, q, false, func(h *store.Head) error {
			if n == 0 {
				from = strings.ToLower(string(h.ID))
			}
			n, last = n+1, append(last[:0], h.ID...)
			return nil
		})
	})
	return from, strings.ToLower(string(last)), n, err
}

// gather reads the documents of a query, which is about one subscription, up to a key,
// without what evaluating does not need.
func gather(tx store.ReadTx, q store.Query, to string) (docs []store.Document, err error) {
	q.Limit, q.Before = 0, to+"\x00" // the next text after to
	err = store.Scan(tx, q, true, func(h *store.Head) error {
		id := string(h.ID)
		docs = append(docs, store.Document{ID: id, Key: strings.ToLower(id), Type: h.Type, Location: h.Location, Deleting: h.Deleting, Body: h.Body,
			SubscriptionID: q.SubscriptionID})
		return nil
	})
	return docs, err
}

// page evaluates the documents of a query between two keys.
func (e *Engine) page(ctx context.Context, s *scan, q store.Query, from, to string) error {
	w := newWork(e, s.set, s.assignments)
	err := e.cfg.Store.View(ctx, func(tx store.ReadTx) error {
		w.world = e.world(tx)
		w.world.From, w.world.To, w.world.OneByOne = from, to, true
		docs, err := gather(tx, q, to)
		if err != nil {
			return err
		}
		for i := range docs {
			if err := w.document(&docs[i]); err != nil {
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

// last are a scan's assignments that no later scan evaluates once more.
func (e *Engine) last(s *scan) []*assignment.Assignment {
	return slices.DeleteFunc(slices.Clone(s.assignments), func(a *assignment.Assignment) bool {
		return slices.ContainsFunc(e.scans, func(o *scan) bool { return o != s && !o.timed && o.evaluates(a) })
	})
}

// finish notes that the assignments are evaluated everywhere.
func (e *Engine) finish(ctx context.Context, s *scan) error {
	if !s.timed {
		if err := e.turn(ctx, e.ledger.finished(e.last(s))); err != nil {
			return err
		}
	}
	e.scans = e.scans[1:]
	if s.timed {
		e.nextTick = e.now().Add(max(tick, tickShare*e.now().Sub(s.started)))
	}
	return nil
}
