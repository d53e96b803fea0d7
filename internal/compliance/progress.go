package compliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"hallmark.dev/hallmark/internal/admission"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
)

var progressID = arm.Tenant.Resource(typeProgress, "engine")

// saved is where a restart goes on.
type saved struct {
	Evaluated int64             `json:"evaluated"`
	Known     map[string]string `json:"known"`
}

// load reads where the last process had got to.
func (e *Engine) load(ctx context.Context) error {
	if e.loaded {
		return nil
	}
	d, err := store.Get(ctx, e.cfg.Store, progressID.Key())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("reading how far evaluation was: %w", err)
	}
	if err != nil {
		return e.begin(ctx)
	}
	return e.resume(d)
}

// begin is the first start on a store: everything is still to be scanned, and what
// happened before need not be followed.
func (e *Engine) begin(ctx context.Context) error {
	newest, err := e.newest(ctx)
	if err != nil {
		return err
	}
	e.advance(newest)
	e.loaded = true
	return nil
}

func (e *Engine) resume(d *store.Document) error {
	var s saved
	if err := json.Unmarshal(d.Private, &s); err != nil {
		return fmt.Errorf("reading how far evaluation was: %w", err)
	}
	if s.Known != nil {
		e.known = maps.Clone(s.Known)
	}
	e.advance(s.Evaluated)
	e.loaded = true
	return nil
}

// save stores progress, in the transaction that stores what it is about.
func (e *Engine) save(tx store.Tx, evaluated int64, known map[string]string) error {
	raw, err := json.Marshal(saved{evaluated, known})
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
