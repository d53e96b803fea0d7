package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"hallmark.dev/hallmark/internal/store"
)

// Runner runs controllers on a store. Only one process may run controllers on a
// store at a time: store/sqlite holds a lock on its directory; every write
// of a controller is fenced by the revision that it read, besides.
type Runner struct {
	Store store.Store
	Log   *slog.Logger
	// Observe, if set, is told about every Reconcile, for metrics.
	Observe func(controller string, took time.Duration, err error)

	mu     sync.Mutex
	queues []*queue
	seen   int64         // changes up to this revision are in the queues
	moved  chan struct{} // closed when seen or a queue changes
}

// poll is how often a store without Notifier is asked for changes.
const poll = time.Second

// batch is how many changes are read at a time.
const batch = 1000

// NewRunner makes a runner; Run starts it.
func NewRunner(s store.Store, log *slog.Logger, controllers []Controller) *Runner {
	r := &Runner{Store: s, Log: log, moved: make(chan struct{})}
	for _, c := range controllers {
		r.queues = append(r.queues, newQueue(c))
	}
	return r
}

// Run reconciles every document once and then whatever changes, until ctx ends;
// then it waits for what is running and returns.
func (r *Runner) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, q := range r.queues {
		for range max(1, q.c.Workers) {
			wg.Go(func() { r.work(ctx, q) })
		}
	}
	err := r.follow(ctx)
	wg.Wait()
	r.stopTimers()
	return err
}

// follow feeds changes to the queues.
func (r *Runner) follow(ctx context.Context) error {
	for ctx.Err() == nil {
		changed := r.changed()
		n, err := r.fetch(ctx)
		if errors.Is(err, store.ErrClosed) {
			return err
		}
		if err != nil && ctx.Err() == nil {
			r.Log.Error("reading changes", "error", err)
		}
		if err == nil && n == batch {
			continue
		}
		wait(ctx, changed)
	}
	return nil
}

func (r *Runner) changed() <-chan struct{} {
	if n, ok := r.Store.(store.Notifier); ok {
		return n.Changed()
	}
	return nil
}

func wait(ctx context.Context, changed <-chan struct{}) {
	t := time.NewTimer(poll)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-changed:
	case <-t.C:
	}
}

func (r *Runner) fetch(ctx context.Context) (int, error) {
	r.mu.Lock()
	from := r.seen
	r.mu.Unlock()
	cs, newest, err := r.Store.Since(ctx, from, batch)
	if errors.Is(err, store.ErrPruned) {
		// We fell behind the tombstones: look at everything. Keys that are gone
		// had nothing but memory here.
		cs, newest, err = r.Store.Since(ctx, 0, 0)
	}
	if err != nil {
		return 0, err
	}
	type target struct {
		q   *queue
		key string
	}
	var targets []target
	for _, c := range cs {
		for _, q := range r.queues {
			keys, err := q.c.keysOf(ctx, r.Store, c)
			if err != nil {
				return 0, err
			}
			for _, k := range keys {
				targets = append(targets, target{q, k})
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range targets {
		t.q.add(t.key)
	}
	r.seen = newest
	if len(cs) >= batch {
		r.seen = cs[len(cs)-1].Revision
	}
	r.move()
	return len(cs), nil
}

// keysOf is what a change means to a controller.
func (c Controller) keysOf(ctx context.Context, s store.Store, ch store.Change) ([]string, error) {
	var keys []string
	for _, t := range c.Types {
		if t.Equal(ch.Type) {
			keys = append(keys, ch.Key)
		}
	}
	if ch.Deleted && c.Removed != nil {
		keys = append(keys, c.Removed(ch.Key)...)
	}
	for t, f := range c.Watches {
		if !t.Equal(ch.Type) {
			continue
		}
		d, err := store.Get(ctx, s, ch.Key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		keys = append(keys, f(ch.Key, d)...)
	}
	return keys, nil
}

func (r *Runner) work(ctx context.Context, q *queue) {
	for {
		r.mu.Lock()
		key, k, ok := q.next()
		r.mu.Unlock()
		if !ok {
			select {
			case <-ctx.Done():
				return
			case <-q.wake:
			}
			continue
		}
		if ctx.Err() != nil {
			return
		}
		again, failed := r.reconcile(ctx, q.c, key, k.changed)
		r.finish(ctx, q, key, k, again, failed)
	}
}

func (r *Runner) finish(ctx context.Context, q *queue, key string, k *keyState, again time.Duration, failed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.move()
	again = q.done(key, k, again, failed)
	if again <= 0 || ctx.Err() != nil {
		return
	}
	k.timer = time.AfterFunc(again, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		q.add(key)
	})
}

func (r *Runner) reconcile(ctx context.Context, c Controller, key string, changed chan struct{}) (again time.Duration, failed bool) {
	start := time.Now()
	again, err := c.safely(context.WithValue(ctx, changedKey{}, changed), key)
	if r.Observe != nil {
		r.Observe(c.Name, time.Since(start), err)
	}
	switch {
	case err == nil:
		return again, false
	case errors.Is(err, store.ErrConflict), ctx.Err() != nil:
		// Somebody wrote first; that change brings the key back by itself. At
		// the end of the process the next start does.
		return 0, ctx.Err() == nil
	}
	r.Log.Error("reconcile failed; it will be tried again", "controller", c.Name, "resource", key, "error", err)
	return 0, true
}

// safely turns a panic into an error: a bug in one type must not stop the others.
func (c Controller) safely(ctx context.Context, key string) (again time.Duration, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("bug: panic: %v\n%s", p, debug.Stack())
		}
	}()
	return c.Reconcile(ctx, key)
}

// move tells WaitIdle that something moved; r.mu is held.
func (r *Runner) move() {
	close(r.moved)
	r.moved = make(chan struct{})
}

func (r *Runner) stopTimers() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, q := range r.queues {
		for _, k := range q.keys {
			k.stopTimer()
		}
	}
}

// WaitIdle waits until every change so far, and those that follow from it, have
// been reconciled. Keys that wait for a later time or for a backoff do not count.
func (r *Runner) WaitIdle(ctx context.Context) error {
	return r.waitFor(ctx, (*queue).active)
}

// WaitRest is WaitIdle that also waits for keys that are backing off after an error.
func (r *Runner) WaitRest(ctx context.Context) error {
	return r.waitFor(ctx, func(q *queue) int { return q.active() + q.failing() })
}

func (r *Runner) waitFor(ctx context.Context, active func(*queue) int) error {
	for {
		_, newest, err := r.Store.Since(ctx, 0, 1)
		if err != nil {
			return err
		}
		r.mu.Lock()
		idle, moved := r.seen >= newest, r.moved
		for _, q := range r.queues {
			idle = idle && active(q) == 0
		}
		r.mu.Unlock()
		if idle {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-moved:
		}
	}
}
