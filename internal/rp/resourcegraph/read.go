package resourcegraph

import (
	"context"
	"errors"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/kql"
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

func startReading(ctx context.Context, tx store.ReadTx, queries []store.Query, want kql.Want) *reader {
	ctx, cancel := context.WithCancel(ctx)
	r := &reader{full: make(chan *batch, batches), free: make(chan *batch, batches), end: cancel}
	for range batches {
		r.free <- &batch{}
	}
	go func() {
		defer close(r.full)
		r.err = r.read(ctx, tx, queries, phasesOf(want))
	}()
	return r
}

// phase is so many rows that are read one way.
type phase struct {
	rows   int // negative: all that there are
	bodies bool
}

// phasesOf reads the bodies that are wanted with their rows: one by one takes longer.
func phasesOf(want kql.Want) []phase {
	if want.Bodies || want.Page.To == 0 {
		return []phase{{-1, want.Bodies}}
	}
	return []phase{{want.Page.From, false}, {want.Page.To - want.Page.From, true}, {-1, false}}
}

func (r *reader) read(ctx context.Context, tx store.ReadTx, queries []store.Query, phases []phase) error {
	b, err := r.next(ctx)
	if err != nil {
		return err
	}
	var last []byte
	add := func(h *store.Head) (err error) {
		last = append(last[:0], h.ID...)
		if b.add(h); b.isFull() {
			r.full <- b
			b, err = r.next(ctx)
		}
		return err
	}
	for _, q := range queries {
		last = last[:0]
		for more := true; more; q.After = string(last) {
			if phases, more, err = scan(tx, q, phases, add); err != nil {
				return err
			}
		}
	}
	r.full <- b
	return nil
}

// scan reads what is left of the first phase; more reports whether the query may have
// rows for the next, behind the last one.
func scan(tx store.ReadTx, q store.Query, phases []phase, f func(*store.Head) error) (left []phase, more bool, err error) {
	p := &phases[0]
	if q.Limit = p.rows; q.Limit < 0 {
		q.Limit = 0
	}
	if p.rows != 0 {
		err = store.Scan(tx, q, p.bodies, func(h *store.Head) error {
			if p.rows > 0 {
				p.rows--
			}
			return f(h)
		})
	}
	if p.rows != 0 {
		return phases, false, err
	}
	return phases[1:], true, err
}

// next is an empty batch.
func (r *reader) next(ctx context.Context) (*batch, error) {
	select {
	case b := <-r.free:
		b.rows, b.mem = b.rows[:0], b.mem[:0]
		return b, nil
	case <-ctx.Done():
		return nil, errStopped
	}
}

// stop ends the reading and waits for it.
func (r *reader) stop() {
	r.end()
	for range r.full {
	}
}
