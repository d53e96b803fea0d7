package castest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"hallmark.dev/hallmark/internal/cas"
)

// Memory is a cas.Store, cas.Collector and cas.Pointers that forgets all at the
// end of the process. The zero value is empty and ready.
type Memory struct {
	mu       sync.Mutex
	chunks   map[cas.ID][]byte
	batches  map[*memoryBatch]struct{}
	kept     map[cas.ID]struct{} // during a collection
	pointers map[string][]byte
}

// Get implements cas.Reader.
func (m *Memory) Get(ctx context.Context, id cas.ID) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.chunks[id]
	if !ok {
		return nil, fmt.Errorf("chunk %s: %w", id, cas.ErrNotFound)
	}
	if cas.Sum(data) != id {
		return nil, fmt.Errorf("chunk %s: %w", id, cas.ErrCorrupt)
	}
	return slices.Clone(data), ctx.Err()
}

// Has implements cas.Reader.
func (m *Memory) Has(_ context.Context, id cas.ID) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.chunks[id]
	return ok, nil
}

// Len returns the number of chunks.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.chunks)
}

// Damage changes a stored chunk's bytes, as a failing disk would.
func (m *Memory) Damage(id cas.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.chunks[id] = append(slices.Clone(m.chunks[id]), 0)
}

type memoryBatch struct {
	memory  *Memory
	closed  bool
	touched map[cas.ID]struct{}
}

// Begin implements cas.Store.
func (m *Memory) Begin(context.Context) (cas.Batch, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.chunks == nil {
		m.chunks, m.batches = map[cas.ID][]byte{}, map[*memoryBatch]struct{}{}
	}
	b := &memoryBatch{memory: m, touched: map[cas.ID]struct{}{}}
	m.batches[b] = struct{}{}
	return b, nil
}

func (b *memoryBatch) Put(_ context.Context, data []byte) (cas.Stored, error) {
	b.memory.mu.Lock()
	defer b.memory.mu.Unlock()
	if len(data) > cas.MaxBlob {
		return cas.Stored{}, cas.ErrTooLarge
	}
	id := cas.Sum(data)
	if held, err := b.hold(id); held || err != nil {
		return cas.Stored{ID: id}, err
	}
	b.memory.chunks[id] = slices.Clone(data)
	_, err := b.hold(id)
	return cas.Stored{ID: id, New: true, Size: int64(len(data))}, err
}

func (b *memoryBatch) Hold(_ context.Context, id cas.ID) (bool, error) {
	b.memory.mu.Lock()
	defer b.memory.mu.Unlock()
	return b.hold(id)
}

func (b *memoryBatch) hold(id cas.ID) (bool, error) {
	if b.closed {
		return false, cas.ErrClosed
	}
	_, ok := b.memory.chunks[id]
	if ok {
		b.touched[id] = struct{}{}
		if b.memory.kept != nil {
			b.memory.kept[id] = struct{}{}
		}
	}
	return ok, nil
}

func (b *memoryBatch) Commit(context.Context) error {
	b.memory.mu.Lock()
	defer b.memory.mu.Unlock()
	if b.closed {
		return cas.ErrClosed
	}
	return nil
}

func (b *memoryBatch) Close() error {
	b.memory.mu.Lock()
	defer b.memory.mu.Unlock()
	b.closed = true
	delete(b.memory.batches, b)
	return nil
}

// Collect implements cas.Collector. It keeps no times: a grace keeps everything.
func (m *Memory) Collect(ctx context.Context, roots cas.Roots, rule cas.Retention) (cas.Collected, error) {
	m.mu.Lock()
	m.kept = map[cas.ID]struct{}{}
	for b := range m.batches {
		maps.Copy(m.kept, b.touched)
	}
	m.mu.Unlock()
	live, err := m.mark(ctx, roots)
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.Copy(live, m.kept)
	m.kept = nil
	if err != nil || !rule.WrittenBefore.IsZero() {
		return cas.Collected{}, err
	}
	var done cas.Collected
	for id, data := range m.chunks {
		if _, ok := live[id]; ok {
			done.LiveChunks++
			continue
		}
		done.RemovedChunks++
		done.FreedBytes += int64(len(data))
		delete(m.chunks, id)
	}
	return done, nil
}

func (m *Memory) mark(ctx context.Context, roots cas.Roots) (map[cas.ID]struct{}, error) {
	live := map[cas.ID]struct{}{}
	digests, err := roots(ctx)
	for _, d := range digests {
		manifest, err := cas.LoadManifest(ctx, m, d)
		if err != nil {
			return live, err
		}
		live[cas.ID(d)] = struct{}{}
		for _, e := range manifest.Extents {
			live[e.ID] = struct{}{}
		}
	}
	return live, err
}

// Pointers returns m's pointers.
func (m *Memory) Pointers() cas.Pointers { return (*memoryPointers)(m) }

type memoryPointers Memory

func (m *memoryPointers) Get(_ context.Context, name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := cas.CheckPointer(name, nil); err != nil {
		return nil, err
	}
	value, ok := m.pointers[name]
	if !ok {
		return nil, fmt.Errorf("pointer %s: %w", name, cas.ErrNotFound)
	}
	return slices.Clone(value), nil
}

func (m *memoryPointers) CompareAndSwap(_ context.Context, name string, old, new []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := cas.CheckPointer(name, new); err != nil {
		return err
	}
	now, exists := m.pointers[name]
	if exists != (old != nil) || !bytes.Equal(now, old) {
		return fmt.Errorf("pointer %s: %w", name, cas.ErrConflict)
	}
	if m.pointers == nil {
		m.pointers = map[string][]byte{}
	}
	m.pointers[name] = append([]byte{}, new...)
	return nil
}
