package castest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"hallmark.dev/hallmark/internal/cas"
)

// Stores runs the contract of cas.Store, and of cas.Collector where it is
// implemented. open opens the store that belongs to a directory; if what it
// returns is an io.Closer, the suite closes it before it opens the same again.
func Stores(t *testing.T, open func(t *testing.T, dir string) cas.Store) {
	for name, test := range map[string]func(*testing.T, *harness){
		"what is put can be got":             testPutGet,
		"putting twice stores once":          testPutTwice,
		"a missing chunk is not found":       testMissing,
		"a blob beyond the limit is refused": testTooLarge,
		"buffers are not shared":             testBuffers,
		"committed chunks survive":           testDurable,
		"a closed batch refuses":             testClosed,
		"several may put at a time":          testConcurrent,
		"an image survives":                  testImage,
	} {
		t.Run(name, func(t *testing.T) { test(t, newHarness(t, open)) })
	}
	if _, ok := newHarness(t, open).store.(cas.Collector); ok {
		collectors(t, open)
	}
}

type harness struct {
	t     *testing.T
	dir   string
	open  func(t *testing.T, dir string) cas.Store
	store cas.Store
}

func newHarness(t *testing.T, open func(t *testing.T, dir string) cas.Store) *harness {
	h := &harness{t: t, dir: t.TempDir(), open: open}
	h.store = open(t, h.dir)
	t.Cleanup(h.close)
	return h
}

func (h *harness) close() {
	if c, ok := h.store.(io.Closer); ok {
		if err := c.Close(); err != nil {
			h.t.Error(err)
		}
	}
}

func (h *harness) reopen() {
	h.close()
	h.store = h.open(h.t, h.dir)
}

func (h *harness) begin() cas.Batch {
	h.t.Helper()
	b, err := h.store.Begin(context.Background())
	if err != nil {
		h.t.Fatal(err)
	}
	return b
}

// put stores data in a batch and fails the test when that fails.
func (h *harness) put(b cas.Batch, data []byte) cas.Stored {
	h.t.Helper()
	stored, err := b.Put(context.Background(), data)
	if err != nil {
		h.t.Fatal(err)
	}
	return stored
}

func (h *harness) commit(b cas.Batch) {
	h.t.Helper()
	if err := b.Commit(context.Background()); err != nil {
		h.t.Fatal(err)
	}
}

func (h *harness) end(b cas.Batch) {
	h.t.Helper()
	if err := b.Close(); err != nil {
		h.t.Fatal(err)
	}
}

// putAll stores each in one committed and closed batch.
func (h *harness) putAll(all ...[]byte) {
	h.t.Helper()
	b := h.begin()
	for _, data := range all {
		h.put(b, data)
	}
	h.commit(b)
	h.end(b)
}

func (h *harness) want(data []byte) {
	h.t.Helper()
	got, err := h.store.Get(context.Background(), cas.Sum(data))
	if err != nil || !bytes.Equal(got, data) {
		h.t.Errorf("got %d bytes, want %d: %v", len(got), len(data), err)
	}
	if ok, err := h.store.Has(context.Background(), cas.Sum(data)); !ok || err != nil {
		h.t.Errorf("Has says %v, %v", ok, err)
	}
}

func (h *harness) wantGone(data []byte) {
	h.t.Helper()
	if _, err := h.store.Get(context.Background(), cas.Sum(data)); !errors.Is(err, cas.ErrNotFound) {
		h.t.Errorf("got error %v, want %v", err, cas.ErrNotFound)
	}
	if ok, err := h.store.Has(context.Background(), cas.Sum(data)); ok || err != nil {
		h.t.Errorf("Has says %v, %v", ok, err)
	}
}

func testPutGet(t *testing.T, h *harness) {
	for _, data := range [][]byte{nil, {0}, []byte("text"), make([]byte, 1<<20), Random(1, 3<<20)} {
		b := h.begin()
		stored := h.put(b, data)
		if stored.ID != cas.Sum(data) || !stored.New || stored.Size <= 0 && len(data) > 0 {
			t.Errorf("put of %d bytes answers %+v", len(data), stored)
		}
		h.commit(b)
		h.want(data)
		h.end(b)
	}
}

func testPutTwice(t *testing.T, h *harness) {
	data := []byte(Random(2, 100_000))
	b := h.begin()
	h.put(b, data)
	if again := h.put(b, data); again.New || again.Size != 0 {
		t.Errorf("second put in the batch answers %+v", again)
	}
	h.commit(b)
	if again := h.put(b, data); again.New {
		t.Error("put after commit stores again")
	}
	h.end(b)
	b = h.begin()
	defer b.Close()
	if again := h.put(b, data); again.New || again.ID != cas.Sum(data) {
		t.Errorf("put in another batch answers %+v", again)
	}
	h.commit(b)
	h.want(data)
}

func testMissing(t *testing.T, h *harness) {
	h.wantGone([]byte("never put"))
	b := h.begin()
	defer b.Close()
	if held, err := b.Hold(context.Background(), cas.Sum([]byte("never put"))); held || err != nil {
		t.Errorf("Hold says %v, %v", held, err)
	}
}

func testTooLarge(t *testing.T, h *harness) {
	b := h.begin()
	defer b.Close()
	if _, err := b.Put(context.Background(), make([]byte, cas.MaxBlob+1)); !errors.Is(err, cas.ErrTooLarge) {
		t.Errorf("got error %v, want %v", err, cas.ErrTooLarge)
	}
}

func testBuffers(t *testing.T, h *harness) {
	data := []byte("the caller goes on using this")
	kept := bytes.Clone(data)
	b := h.begin()
	h.put(b, data)
	clear(data)
	h.commit(b)
	h.end(b)
	h.want(kept)
	got, err := h.store.Get(context.Background(), cas.Sum(kept))
	if err != nil {
		t.Fatal(err)
	}
	clear(got)
	h.want(kept)
}

func testDurable(t *testing.T, h *harness) {
	first, second, third := []byte("first"), []byte("second"), []byte("third")
	b := h.begin()
	h.put(b, first)
	h.commit(b)
	h.put(b, second)
	h.commit(b)
	h.put(b, third) // not committed: may or may not be there
	h.reopen()
	h.want(first)
	h.want(second)
	h.putAll(third)
	h.want(third)
}

func testClosed(t *testing.T, h *harness) {
	b := h.begin()
	h.put(b, []byte("lost or not"))
	h.end(b)
	h.end(b)
	_, put := b.Put(context.Background(), []byte("more"))
	_, hold := b.Hold(context.Background(), cas.ID{})
	for _, err := range []error{put, hold, b.Commit(context.Background())} {
		if !errors.Is(err, cas.ErrClosed) {
			t.Errorf("got error %v, want %v", err, cas.ErrClosed)
		}
	}
	h.putAll([]byte("lost or not"))
	h.want([]byte("lost or not"))
}

// testConcurrent: two batches, four goroutines each, the same chunks.
func testConcurrent(t *testing.T, h *harness) {
	var all [][]byte
	for i := range 200 {
		all = append(all, Random(uint64(i), 1+i*50))
	}
	var group sync.WaitGroup
	for range 2 {
		b := h.begin()
		defer b.Close()
		var puts sync.WaitGroup
		for range 4 {
			puts.Go(func() {
				for _, data := range all {
					h.put(b, data)
				}
			})
		}
		group.Go(func() {
			puts.Wait()
			h.commit(b)
		})
	}
	group.Wait()
	h.reopen()
	for _, data := range all {
		h.want(data)
	}
}

func testImage(t *testing.T, h *harness) {
	image := Random(3, 8<<20)
	m := h.ingest(image)
	h.reopen()
	h.wantImage(image, m.Digest())
}

// ingest stores an image in a batch of its own.
func (h *harness) ingest(image Image) cas.Manifest {
	h.t.Helper()
	b := h.begin()
	defer b.Close()
	m, _, err := cas.Ingest(context.Background(), b, image, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	return m
}

func (h *harness) wantImage(image Image, digest cas.Digest) {
	h.t.Helper()
	ctx := context.Background()
	m, err := cas.LoadManifest(ctx, h.store, digest)
	if err != nil {
		h.t.Error(err)
		return
	}
	got := make(Image, m.Size)
	for _, e := range m.Extents {
		data, err := h.store.Get(ctx, e.ID)
		if err != nil {
			h.t.Error(err)
			return
		}
		copy(got[e.Offset:], data)
	}
	if !bytes.Equal(got, image) {
		h.t.Errorf("image %s comes back changed", digest)
	}
}
