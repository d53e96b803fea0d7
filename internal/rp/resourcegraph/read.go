package resourcegraph

import (
	"context"
	"errors"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
)

// Batches pass from the goroutine that reads to the one that evaluates, and back, so
// that both cores work and memory stays where it is.
const (
	batches    = 4
	batchBytes = 256 << 10
	batchRows  = 1024
)

type batch struct {
	rows []batchRow
	mem  []byte
}

type batchRow struct {
	id, tags, body span
	typ            arm.Type
	location       string
}

// span is a part of a batch's memory.
type span struct{ from, to int }

func (b *batch) bytes(s span) []byte { return b.mem[s.from:s.to:s.to] }

func (b *batch) put(p []byte) span {
	from := len(b.mem)
	b.mem = append(b.mem, p...)
	return span{from, len(b.mem)}
}

func (b *batch) add(h *store.Head) {
	b.rows = append(b.rows, batchRow{b.put(h.ID), b.put(h.Tags), b.put(h.Body), h.Type, h.Location})
}

func (b *batch) isFull() bool { return len(b.mem) >= batchBytes || len(b.rows) >= batchRows }

// reader reads ahead.
type reader struct {
	full chan *batch // closed at the end; err says why
	free chan *batch
	err  error
	end  context.CancelFunc
}

var errStopped = errors.New("nobody wants more")

func startReading(ctx context.Context, tx store.ReadTx, queries []store.Query, bodies bool) *reader {
	ctx, cancel := context.WithCancel(ctx)
	r := &reader{full: make(chan *batch, batches), free: make(chan *batch, batches), end: cancel}
	for range batches {
		r.free <- &batch{}
	}
	go func() {
		defer close(r.full)
		r.err = r.read(ctx, tx, queries, bodies)
	}()
	return r
}

func (r *reader) read(ctx context.Context, tx store.ReadTx, queries []store.Query, bodies bool) error {
	var b *batch
	next := func() (err error) {
		select {
		case b = <-r.free:
			b.rows, b.mem = b.rows[:0], b.mem[:0]
			return nil
		case <-ctx.Done():
			return errStopped
		}
	}
	if err := next(); err != nil {
		return err
	}
	for _, q := range queries {
		err := store.Scan(tx, q, bodies, func(h *store.Head) error {
			b.add(h)
			if !b.isFull() {
				return nil
			}
			r.full <- b
			return next()
		})
		if err != nil {
			return err
		}
	}
	r.full <- b
	return nil
}

// stop ends the reading and waits for it.
func (r *reader) stop() {
	r.end()
	for range r.full {
	}
}
