package provider

import (
	"context"
	"errors"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/controller"
	"hallmark.dev/hallmark/internal/store"
)

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
			return t.Reconcile(ctx, &Work{Doc: d, ID: d.ARMID(), Runtime: rt})
		}}
}
