package compliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"hallmark.dev/hallmark/internal/admission"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
)

var progressID = arm.Tenant.Resource(typeProgress, "engine")

// layout is how the engine's documents are laid out: another's are evaluated anew.
const layout = 2

// saved is where a restart goes on.
type saved struct {
	Layout    int    `json:"layout"`
	Evaluated int64  `json:"evaluated"`
	Next      uint32 `json:"next"` // number in the ledger
}

// load reads where the last process had got to.
func (e *Engine) load(ctx context.Context) error {
	if e.loaded {
		return e.shelf.load(ctx, e.cfg.Store)
	}
	var s saved
	d, err := store.Get(ctx, e.cfg.Store, progressID.Key())
	if err == nil {
		err = json.Unmarshal(d.Private, &s)
	} else if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("reading how far evaluation was: %w", err)
	}
	if s.Layout == layout {
		err = e.resume(ctx, s)
	} else {
		err = e.begin(ctx)
	}
	if err != nil {
		return err
	}
	e.loaded = true
	return e.shelf.load(ctx, e.cfg.Store)
}

// begin is the first start on a store: everything is still to be scanned, and what
// happened before need not be followed. What a former layout has left is removed.
func (e *Engine) begin(ctx context.Context) error {
	for _, t := range []arm.Type{typeFormer, typeBlock, typeLedger} {
		for n := page; n == page; {
			err := e.cfg.Store.Update(ctx, func(tx store.Tx) error {
				docs, err := tx.List(store.Query{Type: t, Limit: page})
				n = len(docs)
				for _, d := range docs {
					if err == nil {
						err = drop(tx, d.Key)
					}
				}
				return err
			})
			if err != nil {
				return fmt.Errorf("removing compliance states of another layout: %w", err)
			}
		}
	}
	newest, err := e.newest(ctx)
	if err != nil {
		return err
	}
	e.advance(newest)
	return nil
}

func (e *Engine) resume(ctx context.Context, s saved) error {
	var l *ledger
	err := e.cfg.Store.View(ctx, func(tx store.ReadTx) (err error) {
		l, err = readLedger(tx, s.Next)
		return err
	})
	if err != nil {
		return err
	}
	e.advance(s.Evaluated)
	e.seen.Lock()
	defer e.seen.Unlock()
	e.ledger = l
	return nil
}

// mend has everything evaluated again: some of what was known is lost.
func (e *Engine) mend(why error) {
	e.seen.Lock()
	defer e.seen.Unlock()
	if !e.damaged {
		e.cfg.Log.Error("compliance states are damaged; everything is evaluated again", "error", why)
	}
	e.damaged = true
}

// mended carries out what mend has asked for.
func (e *Engine) mended(ctx context.Context) error {
	e.seen.Lock()
	damaged := e.damaged
	e.seen.Unlock()
	if !damaged {
		return nil
	}
	if err := e.anew(ctx); err != nil {
		return err
	}
	e.seen.Lock()
	defer e.seen.Unlock()
	e.damaged = false
	return nil
}

// save stores progress, in the transaction that stores what it is about.
func (e *Engine) save(tx store.Tx, evaluated int64, next uint32) error {
	raw, err := json.Marshal(saved{layout, evaluated, next})
	if err != nil {
		return fmt.Errorf("writing how far evaluation is: %w", err)
	}
	now := e.now()
	return tx.Put(&store.Document{ID: progressID.String(), Type: typeProgress, Body: json.RawMessage("{}"), Private: raw, CreatedAt: now, UpdatedAt: now}, store.Any)
}

// tidy forgets what is older than events are kept, once an hour.
func (e *Engine) tidy(ctx context.Context) error {
	now := e.now()
	if now.Before(e.nextPrune) {
		return nil
	}
	e.nextPrune = now.Add(time.Hour)
	e.warn(ctx, now)
	old := now.Add(-admission.Retention)
	for _, t := range []arm.Type{admission.TypeEvent, typeTransition} {
		err := e.cfg.Store.Update(ctx, func(tx store.Tx) error {
			docs, err := tx.List(store.Query{Type: t, Limit: 1000}) // their names rise with time
			for _, d := range docs {
				if err == nil && d.CreatedAt.Before(old) {
					err = tx.Delete(d.Key, d.Revision)
				}
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("forgetting old policy events: %w", err)
		}
	}
	return nil
}

// Soon is how long before an exemption ends its owner is warned.
const Soon = 14 * 24 * time.Hour

// warn tells, once a day, which exemptions end soon: what they cover is then refused,
// or non-compliant, from one moment to the next.
func (e *Engine) warn(ctx context.Context, now time.Time) {
	if e.set == nil || now.Before(e.nextWarn) {
		return
	}
	e.nextWarn = now.Add(24 * time.Hour)
	for _, x := range e.set.Expiring(now, Soon) {
		e.cfg.Log.WarnContext(ctx, "a policy exemption ends soon", "exemption", x.ID.String(), "expires", x.Expires, "owner", x.Owner, "ticket", x.Ticket)
	}
}
