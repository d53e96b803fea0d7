package cas

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
)

// workers is how many chunks are hashed, compressed or moved at a time. Images
// are handled beside running machines: two keeps a small host usable.
const workers = 2

// Progress says how far an ingest, a copy, or the writing of an image is.
type Progress struct {
	Done, Total int64 // bytes of the image
	NewChunks   int   // chunks that the receiving store lacked
	NewBytes    int64 // their bytes
	StoredBytes int64 // what they take in the receiving store
}

// Percent returns 0 to 100, and 100 only when all is done.
func (p Progress) Percent() int {
	if p.Total <= 0 || p.Done >= p.Total {
		return 100
	}
	return int(float64(p.Done) / float64(p.Total) * 100)
}

// Report receives progress, one call at a time; nil is fine.
type Report func(Progress)

// Ingest cuts src into chunks, puts those and the manifest into the batch, and
// commits it. The image is durable on return; it is in use from when the caller
// records the digest, which has to happen before the batch is closed. An ingest
// that failed may simply be repeated. At most a few chunks are in memory.
func Ingest(ctx context.Context, batch Batch, src Source, report Report) (Manifest, Progress, error) {
	in := ingest{batch: batch, meter: meter{report: report, now: Progress{Total: src.Size()}}}
	if err := in.split(ctx, src); err != nil {
		return Manifest{}, in.meter.now, fmt.Errorf("ingest: %w", err)
	}
	slices.SortFunc(in.extents, func(a, b Extent) int { return cmp.Compare(a.Offset, b.Offset) })
	m := Manifest{Size: src.Size(), Extents: in.extents}
	if err := putManifest(ctx, batch, m); err != nil {
		return Manifest{}, in.meter.now, fmt.Errorf("ingest: %w", err)
	}
	in.meter.reach(src.Size())
	return m, in.meter.now, nil
}

func putManifest(ctx context.Context, batch Batch, m Manifest) error {
	if _, err := batch.Put(ctx, m.Encode()); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	return batch.Commit(ctx)
}

type ingest struct {
	batch   Batch
	mu      sync.Mutex // guards extents
	extents []Extent
	meter   meter
}

type piece struct {
	offset int64
	data   []byte
}

// split runs one goroutine that cuts and some that put.
func (in *ingest) split(ctx context.Context, src Source) error {
	group, ctx := errgroup.WithContext(ctx)
	pieces := make(chan piece, 2*workers)
	spare := make(chan []byte, cap(pieces)) // buffers that go round
	for range cap(spare) {
		spare <- make([]byte, 0, MaxChunk)
	}
	group.Go(func() error {
		defer close(pieces)
		return Split(ctx, src, func(offset int64, data []byte) error {
			select {
			case buffer := <-spare: // as many buffers as fit: sending does not block
				pieces <- piece{offset, append(buffer[:0], data...)}
				return nil
			case <-ctx.Done(): // a put failed and its buffer does not come back
				return ctx.Err()
			}
		})
	})
	for range workers {
		group.Go(func() error {
			for p := range pieces {
				if err := in.put(ctx, p); err != nil {
					return err
				}
				spare <- p.data
			}
			return nil
		})
	}
	return group.Wait()
}

func (in *ingest) put(ctx context.Context, p piece) error {
	stored, err := in.batch.Put(ctx, p.data)
	if err != nil {
		return fmt.Errorf("chunk at %d: %w", p.offset, err)
	}
	in.mu.Lock()
	in.extents = append(in.extents, Extent{p.offset, int64(len(p.data)), stored.ID})
	in.mu.Unlock()
	in.meter.stored(int64(len(p.data)), stored)
	in.meter.reach(p.offset)
	return nil
}

// meter counts and reports.
type meter struct {
	mu     sync.Mutex
	now    Progress
	report Report
}

func (m *meter) stored(length int64, s Stored) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.New {
		m.now.NewChunks++
		m.now.NewBytes += length
		m.now.StoredBytes += s.Size
	}
}

// reach says that the image is done up to offset.
func (m *meter) reach(offset int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.move(offset)
}

// advance says that another length bytes are done.
func (m *meter) advance(length int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.move(m.now.Done + length)
}

// move reports when the percentage changes; m.mu is held, so reports do not overlap.
func (m *meter) move(done int64) {
	before := m.now.Percent()
	m.now.Done = max(m.now.Done, done)
	if m.report != nil && (m.now.Percent() != before || m.now.Done == m.now.Total) {
		m.report(m.now)
	}
}
