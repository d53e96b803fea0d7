package castest

import (
	"context"
	"errors"
	"sync"

	"hallmark.dev/hallmark/internal/cas"
)

// ErrInjected is what Faulty fails with.
var ErrInjected = errors.New("injected fault")

// Fault is how a call fails.
type Fault int

// What Faulty can do to a call.
const (
	None       Fault = iota
	NotApplied       // fails and has done nothing
	Applied          // fails, but has done it: a caller that thinks otherwise is wrong
)

// Faulty makes the n-th call (from 1) of a Store or Pointers fail. Get, Has and
// Hold change nothing, so both faults are the same for them.
type Faulty struct {
	Store    cas.Store
	Pointers cas.Pointers
	At       int
	Fault    Fault

	mu    sync.Mutex
	calls []string
}

// Calls lists the operations seen so far.
func (f *Faulty) Calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.calls...)
}

// run calls do, or fails in the chosen way.
func (f *Faulty) run(op string, do func() error) error {
	f.mu.Lock()
	f.calls = append(f.calls, op)
	fault := None
	if len(f.calls) == f.At {
		fault = f.Fault
	}
	f.mu.Unlock()
	if fault == NotApplied {
		return ErrInjected
	}
	if err := do(); err != nil || fault == None {
		return err
	}
	return ErrInjected
}

// Get implements cas.Reader.
func (f *Faulty) Get(ctx context.Context, id cas.ID) (data []byte, err error) {
	err = f.run("get", func() error { data, err = f.Store.Get(ctx, id); return err })
	return data, err
}

// Has implements cas.Reader.
func (f *Faulty) Has(ctx context.Context, id cas.ID) (ok bool, err error) {
	err = f.run("has", func() error { ok, err = f.Store.Has(ctx, id); return err })
	return ok, err
}

// Begin implements cas.Store. It does not fail.
func (f *Faulty) Begin(ctx context.Context) (cas.Batch, error) {
	b, err := f.Store.Begin(ctx)
	return &faultyBatch{f, b}, err
}

type faultyBatch struct {
	f     *Faulty
	batch cas.Batch
}

func (b *faultyBatch) Put(ctx context.Context, data []byte) (s cas.Stored, err error) {
	err = b.f.run("put", func() error { s, err = b.batch.Put(ctx, data); return err })
	return s, err
}

func (b *faultyBatch) Hold(ctx context.Context, id cas.ID) (ok bool, err error) {
	err = b.f.run("hold", func() error { ok, err = b.batch.Hold(ctx, id); return err })
	return ok, err
}

func (b *faultyBatch) Commit(ctx context.Context) error {
	return b.f.run("commit", func() error { return b.batch.Commit(ctx) })
}

func (b *faultyBatch) Close() error { return b.batch.Close() }

// AsPointers returns the faulty view of f.Pointers.
func (f *Faulty) AsPointers() cas.Pointers { return faultyPointers{f} }

type faultyPointers struct{ f *Faulty }

func (p faultyPointers) Get(ctx context.Context, name string) (value []byte, err error) {
	err = p.f.run("get", func() error { value, err = p.f.Pointers.Get(ctx, name); return err })
	return value, err
}

func (p faultyPointers) CompareAndSwap(ctx context.Context, name string, old, new []byte) error {
	return p.f.run("swap", func() error { return p.f.Pointers.CompareAndSwap(ctx, name, old, new) })
}
