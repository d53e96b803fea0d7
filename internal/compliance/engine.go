package compliance

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/store"
)

// Config is what an Engine works with.
type Config struct {
	Store store.Store
	Index *assignment.Index
	Facts assignment.Facts // of image lineage; nil: there are none
	Now   func() time.Time // nil: time.Now
	Log   *slog.Logger     // nil: silent
}

// Engine evaluates what changes. One process at a time may run one on a store. It is
// safe for concurrent use.
type Engine struct {
	cfg Config

	mu        sync.Mutex      // one step at a time
	loaded    bool            // progress has been read
	set       *assignment.Set // that scans were planned for
	numbered  *assignment.Set // whose assignments the ledger has
	scans     []*scan
	nextTick  time.Time
	nextPrune time.Time
	nextWarn  time.Time

	shelf shelf

	seen     sync.Mutex // guards what follows; the ledger changes under mu as well
	progress Progress
	ledger   *ledger
	damaged  bool // blocks were lost: everything has to be evaluated again
}

// Progress is how far evaluation has come.
type Progress struct {
	Evaluated int64 // every change up to this revision of the store is evaluated
	Pending   int   // assignments that are still being evaluated over what they cover
}

// New makes an engine. Run it, or let readers' Wait drive it.
func New(cfg Config) *Engine {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Engine{cfg: cfg, ledger: newLedger(map[uint32]entry{}, 0)}
}

// Sizes of one step.
const (
	batch = 200 // changes
	page  = 500 // resources of a scan
)

// idle is how long Run waits for a change before it looks at the clock.
const idle = time.Second

// Run evaluates what changes until ctx ends.
func (e *Engine) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		changed := e.changed()
		busy, err := e.step(ctx)
		switch {
		case errors.Is(err, store.ErrClosed):
			return err
		case err != nil && ctx.Err() == nil:
			e.cfg.Log.ErrorContext(ctx, "evaluating policies", "error", err)
		}
		if !busy || err != nil {
			pause(ctx, changed)
		}
	}
	return nil
}

func (e *Engine) changed() <-chan struct{} {
	if n, ok := e.cfg.Store.(store.Notifier); ok {
		return n.Changed()
	}
	return nil
}

func pause(ctx context.Context, changed <-chan struct{}) {
	t := time.NewTimer(idle)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-changed:
	case <-t.C:
	}
}

// Progress is how far evaluation has come by now.
func (e *Engine) Progress() Progress {
	e.seen.Lock()
	defer e.seen.Unlock()
	return e.progress
}

// Wait lets evaluation reach the revision that is current now, for at most the given
// time, and reports how far it has come and whether that is far enough. It evaluates
// itself if nobody else does.
func (e *Engine) Wait(ctx context.Context, most time.Duration) (Progress, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	target, err := e.newest(ctx)
	if err != nil {
		return e.Progress(), false, err
	}
	for ctx.Err() == nil {
		busy, err := e.step(ctx)
		p := e.Progress()
		if err == nil && p.Evaluated >= target && p.Pending == 0 {
			return p, true, nil
		}
		if err != nil && ctx.Err() == nil {
			return p, false, err
		}
		if !busy {
			pause(ctx, e.changed())
		}
	}
	return e.Progress(), false, nil
}

// step does one piece of what there is to do, changes first: a change is evaluated in
// a moment, a scan takes as long as the estate is large. It reports whether there may
// be more.
func (e *Engine) step(ctx context.Context) (busy bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	defer e.publish()
	if err := e.load(ctx); err != nil {
		return false, err
	}
	n, err := e.follow(ctx)
	if err != nil {
		return false, err
	}
	if err := e.plan(ctx); err != nil {
		return false, err
	}
	if len(e.scans) > 0 {
		return true, e.scan(ctx)
	}
	return n > 0, e.tidy(ctx)
}

// publish tells readers where the step has got to.
func (e *Engine) publish() {
	e.seen.Lock()
	defer e.seen.Unlock()
	e.progress.Pending = 0
	for _, s := range e.scans {
		e.progress.Pending += len(s.assignments)
	}
}

func (e *Engine) advance(revision int64) {
	e.seen.Lock()
	defer e.seen.Unlock()
	e.progress.Evaluated = max(e.progress.Evaluated, revision)
}

// now is the time, in the steps that documents keep.
func (e *Engine) now() time.Time { return e.cfg.Now().UTC().Truncate(time.Millisecond) }

func (e *Engine) world(tx store.ReadTx) *assignment.World {
	return &assignment.World{Tx: tx, Now: e.now(), Facts: e.cfg.Facts}
}

// governed reports whether a document is a resource that policies look at.
func governed(d *store.Document) bool {
	return inEstate(d) && assignment.Governed(d.Type)
}

// inEstate reports whether a document is in a subscription, and to stay there.
func inEstate(d *store.Document) bool { return d.SubscriptionID != "" && !d.Deleting }

// groupOrSubscription reports whether rules may ask for a document's properties as
// context of other resources.
func groupOrSubscription(t arm.Type) bool {
	return t.Equal(arm.TypeResourceGroup) || t.Equal(arm.TypeSubscription)
}
