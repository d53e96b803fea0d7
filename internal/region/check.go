package region

import (
	"context"
	"errors"
	"fmt"

	"hallmark.dev/hallmark/internal/cas"
	"hallmark.dev/hallmark/internal/cas/file"
)

// Problem is something that Check found. Err wraps cas.ErrCorrupt (a chunk or
// pack), cas.ErrNotFound (an image that lacks chunks) or cas.ErrMismatch (a
// replica that is not its image).
type Problem struct {
	Image cas.Digest // zero for a chunk or pack
	Err   error
}

func (p Problem) Error() string { return p.Err.Error() }
func (p Problem) Unwrap() error { return p.Err }

// Check reads every chunk and every replica again, looks for the chunks of every
// root, and calls found with each problem. The error is only about the check itself.
func (r *Region) Check(ctx context.Context, roots cas.Roots, found func(Problem)) error {
	if err := r.store.Check(ctx, func(d file.Damage) { found(Problem{Err: d}) }); err != nil {
		return fmt.Errorf("check region %s: %w", r.name, err)
	}
	replicas, err := r.Replicas()
	if err != nil {
		return err
	}
	images, err := roots(ctx)
	if err != nil {
		return fmt.Errorf("check region %s: %w", r.name, err)
	}
	for _, replica := range replicas {
		images = append(images, replica.Digest)
	}
	if err := r.checkImages(ctx, images, found); err != nil {
		return err
	}
	return r.checkReplicas(ctx, replicas, found)
}

// checkImages looks for each image's manifest and chunks, once.
func (r *Region) checkImages(ctx context.Context, images []cas.Digest, found func(Problem)) error {
	seen := map[cas.Digest]bool{}
	for _, digest := range images {
		if seen[digest] {
			continue
		}
		seen[digest] = true
		if err := r.complete(ctx, digest); ctx.Err() != nil {
			return ctx.Err()
		} else if err != nil {
			found(Problem{digest, err})
		}
	}
	return nil
}

// complete reports an image of which something is missing.
func (r *Region) complete(ctx context.Context, digest cas.Digest) error {
	m, err := r.Manifest(ctx, digest)
	if err != nil {
		return err
	}
	chunks, missing := m.Chunks(), 0
	for _, e := range chunks {
		has, err := r.store.Has(ctx, e.ID)
		if err != nil {
			return err
		}
		if !has {
			missing++
		}
	}
	if missing > 0 {
		return fmt.Errorf("image %s lacks %d of its %d chunks in region %s: %w", digest, missing, len(chunks), r.name, cas.ErrNotFound)
	}
	return nil
}

// checkReplicas compares replicas with manifests; those without are a problem
// that has been reported.
func (r *Region) checkReplicas(ctx context.Context, replicas []Replica, found func(Problem)) error {
	for _, replica := range replicas {
		err := r.Verify(ctx, replica.Digest, nil)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && !errors.Is(err, cas.ErrNotFound) && !errors.Is(err, cas.ErrCorrupt) {
			found(Problem{replica.Digest, err})
		}
	}
	return nil
}

// Repair checks as Check does, forgets damaged chunks, and brings what images
// lack from their own replicas here, or else from other regions. What could not be
// mended, and what is no matter of chunks, is reported to found. A replica that
// is not its image is left for the caller to remove and materialise again, since
// machines may be using it.
func (r *Region) Repair(ctx context.Context, roots cas.Roots, others []cas.Reader, found func(Problem)) error {
	// The images that lose a chunk to Drop show up as incomplete only after it.
	err := r.store.Check(ctx, r.store.Drop)
	if err != nil {
		return fmt.Errorf("repair region %s: %w", r.name, err)
	}
	return r.Check(ctx, roots, func(p Problem) {
		if p.Image.IsZero() || !errors.Is(p.Err, cas.ErrNotFound) {
			found(p)
		} else if err := r.mend(ctx, p.Image, others); err != nil {
			found(Problem{p.Image, errors.Join(p.Err, err)})
		}
	})
}

func (r *Region) mend(ctx context.Context, digest cas.Digest, others []cas.Reader) error {
	batch, err := r.store.Begin(ctx)
	if err != nil {
		return err
	}
	defer batch.Close()
	errs := []error{r.mendFromReplica(ctx, batch, digest)}
	for _, other := range others {
		if errs[len(errs)-1] == nil {
			return nil
		}
		_, _, err := cas.Copy(ctx, batch, other, digest, nil)
		errs = append(errs, err)
	}
	if errs[len(errs)-1] == nil {
		return nil
	}
	return errors.Join(errs...)
}

// mendFromReplica cuts the replica again, which gives the same chunks if the
// replica is the image.
func (r *Region) mendFromReplica(ctx context.Context, batch cas.Batch, digest cas.Digest) error {
	replica, err := r.Replica(digest)
	if err != nil {
		return err
	}
	source, err := openGuest(ctx, Image{replica.Path, string(QCOW2)}, r.path(tempDir))
	if err != nil {
		return err
	}
	defer source.Close()
	m, _, err := cas.Ingest(ctx, batch, source, nil)
	if err == nil && m.Digest() != digest {
		err = fmt.Errorf("replica %s is image %s: %w", replica.Path, m.Digest(), cas.ErrMismatch)
	}
	return err
}
