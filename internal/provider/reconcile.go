package provider

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/controller"
	"hallmark.dev/hallmark/internal/correlation"
	"hallmark.dev/hallmark/internal/operation"
	"hallmark.dev/hallmark/internal/store"
)

// asked is the correlation id of the request that started the newest operation on a
// document, or "".
func (p *Pipeline) asked(ctx context.Context, d *store.Document) string {
	if len(d.Operations) == 0 {
		return ""
	}
	op, err := store.Get(ctx, p.cfg.Store, d.Operations[len(d.Operations)-1])
	if err != nil {
		return ""
	}
	rec, err := operation.Read(op)
	if err != nil {
		return ""
	}
	return rec.CorrelationID
}

// controller makes a worker of a type's Reconcile.
func (p *Pipeline) controller(t *ResourceType) controller.Controller {
	rt := p.Runtime()
	return controller.Controller{Name: string(t.Type), Types: []arm.Type{t.Type}, Watches: t.Watches, Removed: t.Removed, Workers: t.Workers,
		Reconcile: func(ctx context.Context, key string) (time.Duration, error) {
			d, err := store.Get(ctx, rt.Store, key)
			if errors.Is(err, store.ErrNotFound) {
				return 0, nil // Remove was the last thing to do
			}
			if err != nil {
				return 0, err
			}
			id := p.asked(ctx, d)
			again, err := t.Reconcile(correlation.With(ctx, id), &Work{Doc: d, ID: d.ARMID(), Runtime: rt})
			if err != nil && id != "" {
				err = fmt.Errorf("for the request %s: %w", id, err)
			}
			return again, err
		}}
}
