package gallery

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"time"

	"hallmark.dev/hallmark/internal/artifact"
	"hallmark.dev/hallmark/internal/cas"
	"hallmark.dev/hallmark/internal/operation"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/region"
	"hallmark.dev/hallmark/internal/store"
)

// Sweeper takes away bytes that no document names any more: blobs, replicas and
// chunks that a crash, a failed build or a deleted resource left. The process runs it
// now and then; it is safe beside everything else that goes on.
type Sweeper struct {
	Store     store.Store
	Artifacts *artifact.Store
	Regions   []*region.Region
	// Grace is how long bytes are kept that nobody names yet: longer than any work takes
	// between making them and recording their name. 0 means 24 hours.
	Grace time.Duration
	Now   func() time.Time // nil: time.Now
}

// Swept says what was removed.
type Swept struct {
	Blobs, Replicas, Chunks int
	Bytes                   int64
}

// waste is the share of unused bytes that a pack of chunks may carry along.
const waste = 0.25

// Run sweeps once. An error in one place does not keep it from the others.
func (s Sweeper) Run(ctx context.Context) (Swept, error) {
	if s.Grace == 0 {
		s.Grace = 24 * time.Hour
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	before := s.Now().Add(-s.Grace)
	var done Swept
	blobs, err := s.Artifacts.Sweep(ctx, before, func(ctx context.Context) (map[artifact.Digest]bool, error) {
		n, err := s.names(ctx)
		return n.blobs, err
	})
	done.Blobs, done.Bytes = blobs.Files, blobs.Bytes
	errs := []error{err}
	for _, r := range s.Regions {
		errs = append(errs, s.replicas(ctx, r, before, &done), s.chunks(ctx, r, before, &done))
	}
	return done, errors.Join(errs...)
}

// named is what documents name.
type named struct {
	blobs  map[artifact.Digest]bool
	images map[string]bool // digests of images, sha256:…
}

var imageDigest = regexp.MustCompile(`sha256:[0-9a-f]{64}`)

// names reads every document. It looks at text, not at properties, so that a
// digest in a place that nobody thought of keeps its bytes too.
func (s Sweeper) names(ctx context.Context) (named, error) {
	const page = 500
	n := named{blobs: map[artifact.Digest]bool{}, images: map[string]bool{}}
	for after := ""; ; {
		docs, err := store.List(ctx, s.Store, store.Query{After: after, Limit: page})
		if err != nil {
			return named{}, fmt.Errorf("reading which bytes documents name: %w", err)
		}
		for _, d := range docs {
			n.add(d)
		}
		if len(docs) < page {
			return n, nil
		}
		after = docs[len(docs)-1].Key
	}
}

func (n named) add(d *store.Document) {
	if d.Type.Equal(operation.Type) || d.Type.Equal(provider.EventType) {
		return // these tell what was
	}
	for _, text := range [][]byte{d.Body, d.Private} {
		for _, m := range imageDigest.FindAll(text, -1) {
			n.images[string(m)] = true
		}
	}
	artifact.Mentioned(d.Private, n.blobs)
	if !takenIn(d) {
		artifact.Mentioned(d.Body, n.blobs)
	}
}

// takenIn reports whether a version's source is in the content store: then the blob that
// it names has done its work.
func takenIn(d *store.Document) bool {
	if !d.Type.Equal(TypeVersion) {
		return false
	}
	st, err := readState(d)
	return err == nil && st.Image != nil
}

func (s Sweeper) replicas(ctx context.Context, r *region.Region, before time.Time, done *Swept) error {
	all, err := r.Replicas()
	if err != nil {
		return err
	}
	n, err := s.names(ctx)
	if err != nil {
		return err
	}
	for _, replica := range all {
		info, err := os.Stat(replica.Path)
		if err != nil || n.images[replica.Digest.String()] || !info.ModTime().Before(before) {
			continue
		}
		err = r.Remove(ctx, replica.Digest, s.users)
		if errors.Is(err, region.ErrReplicaInUse) {
			continue // named since
		}
		if err != nil {
			return err
		}
		done.Replicas++
		done.Bytes += replica.Bytes
	}
	return nil
}

// users asks again while the region lets nobody start to use the replica.
func (s Sweeper) users(ctx context.Context, digest cas.Digest) ([]string, error) {
	n, err := s.names(ctx)
	if err != nil || !n.images[digest.String()] {
		return nil, err
	}
	return []string{"a document that was written meanwhile"}, nil
}

func (s Sweeper) chunks(ctx context.Context, r *region.Region, before time.Time, done *Swept) error {
	collected, err := r.Collect(ctx, func(ctx context.Context) ([]cas.Digest, error) {
		n, err := s.names(ctx)
		if err != nil {
			return nil, err
		}
		return rootsIn(ctx, r, n)
	}, cas.Retention{WrittenBefore: before, Waste: waste})
	done.Chunks += collected.RemovedChunks
	done.Bytes += collected.FreedBytes
	return err
}

// rootsIn are the named images whose chunks are in this region.
func rootsIn(ctx context.Context, r *region.Region, n named) ([]cas.Digest, error) {
	var roots []cas.Digest
	for text := range n.images {
		d, err := cas.ParseDigest(text)
		if err != nil {
			continue
		}
		_, err = r.Manifest(ctx, d)
		if errors.Is(err, cas.ErrNotFound) {
			continue // of another region, or the digest of something else
		}
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", text, err)
		}
		roots = append(roots, d)
	}
	slices.SortFunc(roots, func(a, b cas.Digest) int { return slices.Compare(a[:], b[:]) })
	return roots, nil
}
