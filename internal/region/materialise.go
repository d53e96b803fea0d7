package region

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"hallmark.dev/hallmark/internal/cas"
)

// Record makes an image a root: after it returns, the roots of a collection
// name the digest. It is called with the batch still open (see cas.Batch).
type Record func(ctx context.Context, digest cas.Digest) error

// Ingest stores the guest-visible bytes of a disk image, backing files included,
// as chunks, and returns their manifest. Nothing may write the image meanwhile.
// record may be nil when nobody collects.
func (r *Region) Ingest(ctx context.Context, image Image, record Record, report cas.Report) (cas.Manifest, cas.Progress, error) {
	fail := func(err error) (cas.Manifest, cas.Progress, error) {
		return cas.Manifest{}, cas.Progress{}, fmt.Errorf("region %s: %w", r.name, err)
	}
	source, err := openGuest(ctx, image, r.path(tempDir))
	if err != nil {
		return fail(err)
	}
	defer source.Close()
	batch, err := r.store.Begin(ctx)
	if err != nil {
		return fail(err)
	}
	defer batch.Close()
	m, progress, err := cas.Ingest(ctx, batch, source, report)
	if err == nil && record != nil {
		err = record(ctx, m.Digest())
	}
	if err != nil {
		return fail(err)
	}
	return m, progress, nil
}

// Manifest returns an image's manifest, if its chunks are in the region.
func (r *Region) Manifest(ctx context.Context, digest cas.Digest) (cas.Manifest, error) {
	return cas.LoadManifest(ctx, r.store, digest)
}

// Materialise makes the image's replica: it brings the chunks that the region
// lacks from another (nil when they are all here), then writes the file. The
// replica exists only when it is complete and durable. It may be called again
// at any time: what is done is not done twice, and callers for the same image wait for
// each other. Errors: *NoSpaceError; those of cas.Copy.
func (r *Region) Materialise(ctx context.Context, digest cas.Digest, from cas.Reader, report cas.Report) (Replica, cas.Progress, error) {
	done, err := r.alone(ctx, digest)
	if err != nil {
		return Replica{}, cas.Progress{}, err
	}
	defer done()
	if replica, err := r.Replica(digest); err == nil || !errors.Is(err, ErrNoReplica) {
		return replica, cas.Progress{}, err
	}
	progress, err := r.materialise(ctx, digest, from, report)
	if err != nil {
		return Replica{}, progress, fmt.Errorf("materialise image %s in region %s: %w", digest, r.name, err)
	}
	replica, err := r.Replica(digest)
	return replica, progress, err
}

// alone waits until nobody else works on the image.
func (r *Region) alone(ctx context.Context, digest cas.Digest) (done func(), err error) {
	for {
		r.mu.Lock()
		other, busy := r.making[digest]
		if !busy {
			mine := make(chan struct{})
			r.making[digest] = mine
			r.mu.Unlock()
			return func() {
				r.mu.Lock()
				defer r.mu.Unlock()
				delete(r.making, digest)
				close(mine)
			}, nil
		}
		r.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (r *Region) materialise(ctx context.Context, digest cas.Digest, from cas.Reader, report cas.Report) (cas.Progress, error) {
	if from == nil {
		from = r.store
	}
	m, file, err := r.plan(ctx, digest, from)
	if err != nil {
		return cas.Progress{}, err
	}
	batch, err := r.store.Begin(ctx)
	if err != nil {
		return cas.Progress{}, err
	}
	defer batch.Close() // after the replica is in place, and so a root
	// Progress counts each byte twice: brought here, and written.
	total := m.DataBytes()
	_, moved, err := cas.Copy(ctx, batch, from, digest, halfway(report, total))
	if err != nil {
		return moved, err
	}
	written := counter{now: moved, report: report}
	written.now.Done, written.now.Total = total, 2*total
	err = create(r.path(tempDir), r.replicaPath(digest), 0o444, func(f *os.File) error {
		return file.writeFile(ctx, f, m, r.store, written.add)
	})
	return written.now, err
}

// plan reads the manifest and checks that what will be written fits.
func (r *Region) plan(ctx context.Context, digest cas.Digest, from cas.Reader) (cas.Manifest, layout, error) {
	m, err := cas.LoadManifest(ctx, from, digest)
	if err != nil {
		return cas.Manifest{}, layout{}, err
	}
	file, err := layOut(m, QCOW2)
	if err != nil {
		return cas.Manifest{}, layout{}, err
	}
	missing, err := r.missing(ctx, m, from)
	if err != nil {
		return cas.Manifest{}, layout{}, err
	}
	return m, file, checkSpace(r.root, file.size, missing)
}

// sizer is the optional ability of a store to say what a chunk takes; without
// it chunks count with their uncompressed size.
type sizer interface {
	StoredSize(cas.ID) (int64, bool)
}

// missing returns the bytes that the region's store will grow by, at most.
func (r *Region) missing(ctx context.Context, m cas.Manifest, from cas.Reader) (int64, error) {
	var sum int64
	known, _ := from.(sizer)
	for _, e := range m.Chunks() {
		has, err := r.store.Has(ctx, e.ID)
		if err != nil {
			return 0, err
		}
		if has {
			continue
		}
		length := e.Length
		if known != nil {
			if stored, ok := known.StoredSize(e.ID); ok {
				length = stored
			}
		}
		sum += length
	}
	return sum, nil
}

// halfway shows a copy as the first half of a materialisation.
func halfway(report cas.Report, total int64) cas.Report {
	if report == nil {
		return nil
	}
	return func(p cas.Progress) {
		p.Done = int64(float64(total) * float64(p.Done) / float64(max(p.Total, 1)))
		p.Total = 2 * total
		report(p)
	}
}

// Verify reads a replica again and compares every byte with the manifest. The
// error wraps cas.ErrMismatch when the replica is not the image.
func (r *Region) Verify(ctx context.Context, digest cas.Digest, report cas.Report) error {
	replica, err := r.Replica(digest)
	if err != nil {
		return err
	}
	m, err := r.Manifest(ctx, digest)
	if err != nil {
		return fmt.Errorf("region %s: %w", r.name, err)
	}
	return r.VerifyImage(ctx, Image{replica.Path, string(QCOW2)}, m, report)
}

// VerifyImage compares any disk image with a manifest, as Verify does.
func (r *Region) VerifyImage(ctx context.Context, image Image, m cas.Manifest, report cas.Report) error {
	source, err := openGuest(ctx, image, r.path(tempDir))
	if err != nil {
		return err
	}
	defer source.Close()
	if err := cas.Verify(ctx, source, m, report); err != nil {
		return fmt.Errorf("verify %s against image %s: %w", image.Path, m.Digest(), err)
	}
	return nil
}

// Export writes an image to w in a format, from chunks, in order.
func (r *Region) Export(ctx context.Context, digest cas.Digest, format Format, w io.Writer, report cas.Report) error {
	return r.export(ctx, digest, format, report, func(l layout, m cas.Manifest, wrote func(int64)) error {
		return l.writeStream(ctx, w, m, r.store, wrote)
	})
}

// ExportFile writes an image to a new file in a format, with holes where it has no
// data. The file appears when it is complete and durable, and until then has no
// name that a crash could leave behind. Errors: fs.ErrExist; *NoSpaceError.
func (r *Region) ExportFile(ctx context.Context, digest cas.Digest, format Format, path string, report cas.Report) error {
	return r.export(ctx, digest, format, report, func(l layout, m cas.Manifest, wrote func(int64)) error {
		dir := filepath.Dir(path)
		if err := checkSpace(dir, m.DataBytes()+int64(len(l.head)), 0); err != nil {
			return err
		}
		return createUnnamed(path, 0o600, func(f *os.File) error {
			return l.writeFile(ctx, f, m, r.store, wrote)
		})
	})
}

func (r *Region) export(ctx context.Context, digest cas.Digest, format Format, report cas.Report, write func(layout, cas.Manifest, func(int64)) error) error {
	m, err := r.Manifest(ctx, digest)
	if err != nil {
		return fmt.Errorf("export from region %s: %w", r.name, err)
	}
	l, err := layOut(m, format)
	if err == nil {
		count := counter{now: cas.Progress{Total: m.DataBytes()}, report: report}
		err = write(l, m, count.add)
	}
	if err != nil {
		return fmt.Errorf("export image %s from region %s as %s: %w", digest, r.name, format, err)
	}
	return nil
}
