package provider

import (
	"context"
	"fmt"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/operation"
	"hallmark.dev/hallmark/internal/store"
)

// How long records are kept. Azure keeps operations for about a day and activity for
// ninety.
const (
	keepOperations = 7 * 24 * time.Hour
	keepEvents     = 90 * 24 * time.Hour
	pruneBatch     = 500
	pruneEvery     = time.Hour
)

// Housekeeping prunes old records once an hour until ctx ends.
func (p *Pipeline) Housekeeping(ctx context.Context) error {
	t := time.NewTicker(pruneEvery)
	defer t.Stop()
	for {
		if err := p.Prune(ctx); err != nil && ctx.Err() == nil {
			p.cfg.Log.ErrorContext(ctx, "pruning old records failed; it will be tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// Prune removes operations that ended a week ago, audit events of more than ninety days,
// and tombstones of before this call.
func (p *Pipeline) Prune(ctx context.Context) error {
	_, newest, err := p.cfg.Store.Since(ctx, 0, 1)
	if err != nil {
		return fmt.Errorf("pruning: %w", err)
	}
	now := p.now()
	old := func(d *store.Document) bool { return d.UpdatedAt.Before(now.Add(-keepEvents)) }
	if err := p.pruneType(ctx, EventType, old); err != nil {
		return err
	}
	ended := func(d *store.Document) bool {
		rec, err := operation.Read(d)
		return err == nil && rec.Status.Terminal() && d.UpdatedAt.Before(now.Add(-keepOperations))
	}
	if err := p.pruneType(ctx, operation.Type, ended); err != nil {
		return err
	}
	if s, ok := p.cfg.Store.(store.Pruner); ok {
		return s.Prune(ctx, newest)
	}
	return nil
}

// pruneType walks a type in pages, so that neither memory nor a transaction grows
// with the number of records.
func (p *Pipeline) pruneType(ctx context.Context, t arm.Type, old func(*store.Document) bool) error {
	q := store.Query{Type: t, Limit: pruneBatch}
	for {
		docs, err := store.List(ctx, p.cfg.Store, q)
		if err != nil || len(docs) == 0 {
			return err
		}
		q.After = docs[len(docs)-1].Key
		if err := p.removeOld(ctx, docs, old); err != nil {
			return fmt.Errorf("pruning %s: %w", strings.ToLower(t.Name()), err)
		}
	}
}

func (p *Pipeline) removeOld(ctx context.Context, docs []*store.Document, old func(*store.Document) bool) error {
	return p.cfg.Store.Update(ctx, func(tx store.Tx) error {
		for _, d := range docs {
			if !old(d) {
				continue
			}
			if err := tx.Delete(d.Key, d.Revision); err != nil {
				return err
			}
		}
		return nil
	})
}
