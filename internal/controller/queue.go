package controller

import (
	"math/rand/v2"
	"time"
)

// Backoff after errors: doubles from the first to the longest, with jitter so that
// many keys that failed together do not come back together.
const (
	firstBackoff   = 100 * time.Millisecond
	longestBackoff = 2 * time.Minute
)

// queue holds the keys of one controller. All fields are guarded by Runner.mu.
type queue struct {
	c     Controller
	ready []string
	keys  map[string]*keyState
	wake  chan struct{} // has a value when ready may have become non-empty
}

type keyState struct {
	queued   bool // in ready
	running  bool
	dirty    bool // changed while running: go again
	failures int
	changed  chan struct{} // of the running Reconcile
	timer    *time.Timer
}

func newQueue(c Controller) *queue {
	return &queue{c: c, keys: map[string]*keyState{}, wake: make(chan struct{}, 1)}
}

func (q *queue) add(key string) {
	k := q.keys[key]
	if k == nil {
		k = &keyState{}
		q.keys[key] = k
	}
	k.stopTimer()
	switch {
	case k.running:
		k.dirty = true
		signal(k.changed)
	case !k.queued:
		k.queued = true
		q.ready = append(q.ready, key)
		signal(q.wake)
	}
}

// next takes a key to work on, and false if there is none.
func (q *queue) next() (string, *keyState, bool) {
	if len(q.ready) == 0 {
		return "", nil, false
	}
	key := q.ready[0]
	q.ready = q.ready[1:]
	if len(q.ready) > 0 {
		signal(q.wake)
	}
	k := q.keys[key]
	k.queued, k.running, k.dirty, k.changed = false, true, false, make(chan struct{}, 1)
	return key, k, true
}

// done ends the work on a key; the returned delay is when to look at it again
// by itself (0: not).
func (q *queue) done(key string, k *keyState, again time.Duration, failed bool) time.Duration {
	k.running = false
	if failed {
		k.failures++
		again = backoff(k.failures)
	} else {
		k.failures = 0
	}
	if k.dirty {
		q.add(key)
		return 0
	}
	if again <= 0 {
		delete(q.keys, key)
	}
	return again
}

// active is how many keys wait or are worked on now.
func (q *queue) active() int {
	n := 0
	for _, k := range q.keys {
		if k.queued || k.running {
			n++
		}
	}
	return n
}

// failing is how many keys wait for another try.
func (q *queue) failing() int {
	n := 0
	for _, k := range q.keys {
		if k.failures > 0 {
			n++
		}
	}
	return n
}

func (k *keyState) stopTimer() {
	if k.timer != nil {
		k.timer.Stop()
		k.timer = nil
	}
}

func backoff(failures int) time.Duration {
	d := longestBackoff
	if failures < 12 {
		d = min(d, firstBackoff<<(failures-1))
	}
	return d/2 + rand.N(d/2)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
