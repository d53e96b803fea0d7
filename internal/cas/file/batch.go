package file

import (
	"context"
	"fmt"
	"sync"

	"hallmark.dev/hallmark/internal/cas"
)

// batch is a cas.Batch. Chunks go into a pack of its own, which becomes part of
// the store when it is full or committed.
type batch struct {
	store *Store

	mu      sync.Mutex // guards the pack being written; taken before store.mu
	closed  bool
	writer  *packWriter
	pending map[cas.ID]struct{} // in writer

	touched map[cas.ID]struct{} // guarded by store.mu: safe from collection
}

// Begin implements cas.Store.
func (s *Store) Begin(context.Context) (cas.Batch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return nil, err
	}
	b := &batch{store: s, pending: map[cas.ID]struct{}{}, touched: map[cas.ID]struct{}{}}
	s.batches[b] = struct{}{}
	return b, nil
}

// Hold implements cas.Batch.
func (b *batch) Hold(_ context.Context, id cas.ID) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.usable(); err != nil {
		return false, err
	}
	if _, ok := b.pending[id]; ok {
		return true, nil
	}
	return b.hold(id)
}

// hold looks up and touches in one step, so that no collection comes between.
func (b *batch) hold(id cas.ID) (bool, error) {
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	if err := b.store.usable(); err != nil {
		return false, err
	}
	_, ok := b.store.index[id]
	if ok {
		b.touch(id)
	}
	return ok, nil
}

// touch keeps id from collection; store.mu is held.
func (b *batch) touch(id cas.ID) {
	b.touched[id] = struct{}{}
	if b.store.kept != nil {
		b.store.kept[id] = struct{}{}
	}
}

// Put implements cas.Batch. Chunks are hashed and compressed outside of the
// lock, so that several goroutines may put at a time.
func (b *batch) Put(ctx context.Context, data []byte) (cas.Stored, error) {
	if len(data) > cas.MaxBlob {
		return cas.Stored{}, cas.ErrTooLarge
	}
	id := cas.Sum(data)
	if held, err := b.Hold(ctx, id); held || err != nil {
		return cas.Stored{ID: id}, err
	}
	frame := b.store.codec.encode(data)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.usable(); err != nil {
		return cas.Stored{ID: id}, err
	}
	if _, ok := b.pending[id]; ok { // another goroutine was faster
		return cas.Stored{ID: id}, nil
	}
	if err := b.append(id, frame, len(data)); err != nil {
		return cas.Stored{ID: id}, fmt.Errorf("put chunk %s into %s: %w", id, b.store.dir, err)
	}
	return cas.Stored{ID: id, New: true, Size: int64(len(frame))}, nil
}

func (b *batch) usable() error {
	if b.closed {
		return fmt.Errorf("batch of chunk store %s: %w", b.store.dir, cas.ErrClosed)
	}
	return nil
}

func (b *batch) append(id cas.ID, frame []byte, plain int) error {
	if b.writer != nil && b.writer.size+int64(len(frame)) > packTarget {
		if err := b.seal(); err != nil {
			return err
		}
	}
	if b.writer == nil {
		var err error
		if b.writer, err = createPack(b.store.dir); err != nil {
			return err
		}
	}
	if _, err := b.writer.append(id, frame, plain); err != nil {
		return err
	}
	b.pending[id] = struct{}{}
	return nil
}

// Commit implements cas.Batch.
func (b *batch) Commit(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.usable(); err != nil {
		return err
	}
	if err := b.seal(); err != nil {
		return fmt.Errorf("commit to chunk store %s: %w", b.store.dir, err)
	}
	return nil
}

// seal makes the pack being written part of the store. After an error its
// chunks are lost: a caller that believed them stored must not commit, so the batch is closed.
func (b *batch) seal() error {
	if b.writer == nil {
		return nil
	}
	w := b.writer
	b.writer, b.pending = nil, map[cas.ID]struct{}{}
	p, err := w.seal(b.store.dir)
	if err != nil {
		b.end()
		return err
	}
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	b.store.add(p, w.records)
	for _, r := range w.records {
		b.touch(r.id)
	}
	return nil
}

// Close implements cas.Batch.
func (b *batch) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end()
	return nil
}

func (b *batch) end() {
	b.closed = true
	if b.writer != nil {
		b.writer.discard()
		b.writer, b.pending = nil, nil
	}
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	delete(b.store.batches, b)
}
