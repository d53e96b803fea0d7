package cas

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// Copy brings an image from one store into a batch of another and commits it.
// Only chunks that the receiving store lacks are read from the other. It may be
// repeated, and goes on where it was. Errors: those of Reader and Batch.
func Copy(ctx context.Context, to Batch, from Reader, digest Digest, report Report) (Manifest, Progress, error) {
	m, err := LoadManifest(ctx, from, digest)
	if err != nil {
		return Manifest{}, Progress{}, fmt.Errorf("copy: %w", err)
	}
	chunks := m.Chunks()
	c := copying{to: to, from: from, meter: meter{report: report}}
	for _, e := range chunks {
		c.meter.now.Total += e.Length
	}
	if err := c.all(ctx, chunks); err != nil {
		return Manifest{}, c.meter.now, fmt.Errorf("copy image %s: %w", digest, err)
	}
	if err := putManifest(ctx, to, m); err != nil {
		return Manifest{}, c.meter.now, fmt.Errorf("copy image %s: %w", digest, err)
	}
	return m, c.meter.now, nil
}

type copying struct {
	to    Batch
	from  Reader
	meter meter
}

func (c *copying) all(ctx context.Context, chunks []Extent) error {
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(workers)
	for _, e := range chunks {
		if inner.Err() != nil {
			break
		}
		group.Go(func() error { return c.one(inner, e) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

func (c *copying) one(ctx context.Context, e Extent) error {
	held, err := c.to.Hold(ctx, e.ID)
	if err != nil {
		return err
	}
	if !held {
		if err := c.move(ctx, e); err != nil {
			return err
		}
	}
	c.meter.advance(e.Length)
	return nil
}

func (c *copying) move(ctx context.Context, e Extent) error {
	data, err := c.from.Get(ctx, e.ID)
	if err != nil {
		return err
	}
	if int64(len(data)) != e.Length {
		return fmt.Errorf("chunk %s has %d bytes, the manifest says %d: %w", e.ID, len(data), e.Length, ErrCorrupt)
	}
	stored, err := c.to.Put(ctx, data)
	if err != nil {
		return err
	}
	c.meter.stored(e.Length, stored)
	return nil
}
