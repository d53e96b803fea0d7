package castest

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"hallmark.dev/hallmark/internal/cas"
)

func collectors(t *testing.T, open func(t *testing.T, dir string) cas.Store) {
	for name, test := range map[string]func(*testing.T, *harness){
		"collect removes what no root uses":                      testCollect,
		"collect keeps what an open batch put":                   testCollectOpenBatch,
		"collect keeps what an open batch holds":                 testCollectHeld,
		"collect keeps an image that became a root meanwhile":    testCollectLateRoot,
		"collect keeps a put that meets a chunk about to go":     testCollectReuse,
		"collect with a missing root removes nothing":            testCollectMissingRoot,
		"collect with failing roots removes nothing":             testCollectNoRoots,
		"collect keeps what is young":                            testCollectGrace,
		"collect beside ingests loses nothing that was recorded": testCollectConcurrent,
	} {
		t.Run(name, func(t *testing.T) { test(t, newHarness(t, open)) })
	}
}

// rootsAre names the roots.
func rootsAre(digests ...cas.Digest) cas.Roots {
	return func(context.Context) ([]cas.Digest, error) { return digests, nil }
}

func (h *harness) collect(roots cas.Roots) cas.Collected {
	h.t.Helper()
	done, err := h.store.(cas.Collector).Collect(context.Background(), roots, cas.Retention{})
	if err != nil {
		h.t.Fatal(err)
	}
	return done
}

func testCollect(t *testing.T, h *harness) {
	kept, gone := Random(1, 4<<20), Random(2, 4<<20)
	shared := slices.Concat(kept[:2<<20], gone[:2<<20])
	a, b, c := h.ingest(kept), h.ingest(gone), h.ingest(Image(shared))
	done := h.collect(rootsAre(a.Digest(), c.Digest()))
	if done.RemovedChunks == 0 || done.FreedBytes == 0 {
		t.Errorf("collected %+v", done)
	}
	for range 2 {
		h.wantImage(kept, a.Digest())
		h.wantImage(Image(shared), c.Digest())
		h.wantGone(b.Encode())
		h.reopen()
	}
	if again := h.collect(rootsAre(a.Digest(), c.Digest())); again.RemovedChunks != 0 || again.LiveChunks != done.LiveChunks {
		t.Errorf("collected again: %+v, before: %+v", again, done)
	}
	h.collect(rootsAre())
	h.wantGone(a.Encode())
	if d := h.ingest(gone); d.Digest() != b.Digest() {
		t.Error("the image has another digest after collection")
	}
	h.wantImage(gone, b.Digest())
}

func testCollectOpenBatch(t *testing.T, h *harness) {
	b := h.begin()
	h.put(b, []byte("committed"))
	h.commit(b)
	h.put(b, []byte("not committed"))
	h.collect(rootsAre())
	h.commit(b)
	h.want([]byte("committed"))
	h.want([]byte("not committed"))
	h.end(b)
	h.collect(rootsAre())
	h.wantGone([]byte("committed"))
}

func testCollectHeld(t *testing.T, h *harness) {
	h.putAll([]byte("held"), []byte("put again"), []byte("neither"))
	b := h.begin()
	if held, err := b.Hold(context.Background(), cas.Sum([]byte("held"))); !held || err != nil {
		t.Fatalf("Hold says %v, %v", held, err)
	}
	h.put(b, []byte("put again"))
	h.collect(rootsAre())
	h.want([]byte("held"))
	h.want([]byte("put again"))
	h.wantGone([]byte("neither"))
	h.end(b)
}

// testCollectLateRoot: the roots were read, then an image is recorded and its
// batch closed before anything is removed.
func testCollectLateRoot(t *testing.T, h *harness) {
	image := Random(5, 2<<20)
	b := h.begin()
	var m cas.Manifest
	h.collect(func(ctx context.Context) ([]cas.Digest, error) {
		var err error
		if m, _, err = cas.Ingest(ctx, b, image, nil); err != nil {
			t.Error(err)
		}
		h.end(b)
		return nil, nil
	})
	h.wantImage(image, m.Digest())
}

// testCollectReuse: chunks that nothing used are used again by a batch that
// begins and ends during the collection.
func testCollectReuse(t *testing.T, h *harness) {
	image := Random(6, 2<<20)
	m := h.ingest(image)
	h.collect(func(context.Context) ([]cas.Digest, error) {
		h.ingest(image)
		return nil, nil
	})
	h.wantImage(image, m.Digest())
}

func testCollectMissingRoot(t *testing.T, h *harness) {
	h.putAll([]byte("unused"))
	missing := cas.Digest(cas.Sum([]byte("no such image")))
	_, err := h.store.(cas.Collector).Collect(context.Background(), rootsAre(missing), cas.Retention{})
	if !errors.Is(err, cas.ErrNotFound) {
		t.Errorf("got error %v, want %v", err, cas.ErrNotFound)
	}
	h.want([]byte("unused"))
}

func testCollectNoRoots(t *testing.T, h *harness) {
	h.putAll([]byte("unused"))
	failing := func(context.Context) ([]cas.Digest, error) { return nil, ErrInjected }
	if _, err := h.store.(cas.Collector).Collect(context.Background(), failing, cas.Retention{}); !errors.Is(err, ErrInjected) {
		t.Errorf("got error %v, want %v", err, ErrInjected)
	}
	h.want([]byte("unused"))
}

func testCollectGrace(t *testing.T, h *harness) {
	h.putAll([]byte("young"))
	rule := cas.Retention{WrittenBefore: time.Now().Add(-time.Hour)}
	if _, err := h.store.(cas.Collector).Collect(context.Background(), rootsAre(), rule); err != nil {
		t.Fatal(err)
	}
	h.want([]byte("young"))
}

// testCollectConcurrent: ingests that share most of their bytes record and drop
// their images while collections run; what is recorded must always be whole.
func testCollectConcurrent(t *testing.T, h *harness) {
	var mu sync.Mutex
	recorded := map[cas.Digest]int{}
	roots := func(context.Context) ([]cas.Digest, error) {
		mu.Lock()
		defer mu.Unlock()
		var all []cas.Digest
		for d, n := range recorded {
			if n > 0 {
				all = append(all, d)
			}
		}
		return all, nil
	}
	count := func(d cas.Digest, n int) {
		mu.Lock()
		defer mu.Unlock()
		recorded[d] += n
	}
	parts := []Image{Random(7, 500_000), Random(8, 500_000), Random(9, 500_000)}
	var group sync.WaitGroup
	for worker := range 3 {
		group.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 1))
			for range 15 {
				image := make(Image, 0, 2<<20)
				for range 3 {
					image = append(image, parts[random.IntN(len(parts))]...)
				}
				image = image[:len(image)-len(image)%cas.SectorSize]
				h.record(image, count)
			}
		})
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := h.store.(cas.Collector).Collect(context.Background(), roots, cas.Retention{}); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	group.Wait()
	close(stop)
	<-stopped
	if done := h.collect(roots); done.LiveChunks != 0 {
		t.Errorf("%d chunks are left that nothing uses", done.LiveChunks)
	}
}

// record ingests an image, makes it a root, checks it and drops it.
func (h *harness) record(image Image, count func(cas.Digest, int)) {
	b := h.begin()
	m, _, err := cas.Ingest(context.Background(), b, image, nil)
	if err != nil {
		h.t.Error(err)
		return
	}
	count(m.Digest(), 1)
	h.end(b)
	h.wantImage(image, m.Digest())
	count(m.Digest(), -1)
}
