package gallery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/cas"
	"hallmark.dev/hallmark/internal/disk"
	"hallmark.dev/hallmark/internal/region"
)

// Engine is Bytes and Regions on the regions of this machine. It keeps nothing of
// its own.
type Engine struct{ regions map[string]*region.Region }

// NewEngine works on the regions that could be opened. One whose root cannot be read is
// simply left out: the others go on without it.
func NewEngine(regions ...*region.Region) *Engine {
	e := &Engine{regions: map[string]*region.Region{}}
	for _, r := range regions {
		e.regions[arm.NormalLocation(r.Name())] = r
	}
	return e
}

var (
	_ Bytes   = (*Engine)(nil)
	_ Regions = (*Engine)(nil)
)

func (e *Engine) at(location, digest string) (*region.Region, cas.Digest, error) {
	r, ok := e.regions[arm.NormalLocation(location)]
	if !ok {
		return nil, cas.Digest{}, fmt.Errorf("region %s is not usable: its storage root could not be opened when the server started (see its log)", location)
	}
	if digest == "" {
		return r, cas.Digest{}, nil
	}
	d, err := cas.ParseDigest(digest)
	return r, d, err
}

// Ingest implements Bytes.
func (e *Engine) Ingest(ctx context.Context, location, file string, recorded func(context.Context, Image) error, report func(percent int)) error {
	r, _, err := e.at(location, "")
	if err != nil {
		return err
	}
	format, err := formatOf(ctx, file)
	if err != nil {
		return err
	}
	var last atomic.Pointer[cas.Progress]
	last.Store(&cas.Progress{})
	_, _, err = r.Ingest(ctx, region.Image{Path: file, Format: string(format)}, func(ctx context.Context, digest cas.Digest) error {
		m, err := r.Manifest(ctx, digest)
		if err != nil {
			return err
		}
		image, p := imageOf(m), last.Load()
		image.ChunksNew, image.BytesNew, image.StoredBytes = p.NewChunks, p.NewBytes, p.StoredBytes
		return recorded(ctx, image)
	}, func(p cas.Progress) {
		last.Store(&p)
		report(p.Percent())
	})
	return err
}

func imageOf(m cas.Manifest) Image {
	return Image{Digest: m.Digest().String(), VirtualSize: m.Size, DataBytes: m.DataBytes()}
}

// formatOf finds the format of a blob, which may have come from outside: one that
// refers to other files is refused. qemu-img takes a fixed VHD for a raw disk,
// because its only mark is at the end.
func formatOf(ctx context.Context, file string) (disk.Format, error) {
	info, err := disk.InspectForeign(ctx, file)
	if err != nil {
		return "", err
	}
	switch info.Format {
	case disk.QCOW2, disk.VHD:
		return info.Format, nil
	case disk.Raw:
		fixed, err := endsAsVHD(file)
		if fixed {
			return disk.VHD, err
		}
		return disk.Raw, err
	}
	return "", fmt.Errorf("the blob is a %s image; qcow2, raw and VHD can be taken in", info.Format)
}

func endsAsVHD(file string) (bool, error) {
	const footer = 512
	f, err := os.Open(file)
	if err != nil {
		return false, err
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || end < footer {
		return false, err
	}
	cookie := make([]byte, 8)
	_, err = f.ReadAt(cookie, end-footer)
	return bytes.Equal(cookie, []byte("conectix")), err
}

// Stat implements Bytes.
func (e *Engine) Stat(ctx context.Context, digest string) (Image, error) {
	_, m, err := e.holder(ctx, digest)
	if err != nil {
		return Image{}, err
	}
	return imageOf(m), nil
}

// holder is a region that has the image's chunks.
func (e *Engine) holder(ctx context.Context, digest string) (*region.Region, cas.Manifest, error) {
	d, err := cas.ParseDigest(digest)
	if err != nil {
		return nil, cas.Manifest{}, err
	}
	errs := []error{fmt.Errorf("no region has the bytes of image %s", digest)}
	for _, r := range e.regions {
		m, err := r.Manifest(ctx, d)
		if err == nil {
			return r, m, nil
		}
		if !errors.Is(err, cas.ErrNotFound) {
			errs = append(errs, fmt.Errorf("region %s: %w", r.Name(), err))
		}
	}
	return nil, cas.Manifest{}, errors.Join(errs...)
}

// Export implements Bytes. Any region that has the image will do: its bytes are the
// same everywhere.
func (e *Engine) Export(ctx context.Context, location, digest, format, file string) error {
	r, d, err := e.at(location, digest)
	if err == nil {
		_, err = r.Manifest(ctx, d)
	}
	if err != nil {
		if r, _, err = e.holder(ctx, digest); err != nil {
			return err
		}
		d, _ = cas.ParseDigest(digest)
	}
	return r.ExportFile(ctx, d, region.Format(format), file, nil)
}

// Ready implements Regions.
func (e *Engine) Ready(_ context.Context, location, digest string) (bool, error) {
	r, d, err := e.at(location, digest)
	if err != nil {
		return false, err
	}
	_, err = r.Replica(d)
	if errors.Is(err, region.ErrNoReplica) {
		return false, nil
	}
	return err == nil, err
}

// Replicate implements Regions.
func (e *Engine) Replicate(ctx context.Context, location, digest string, report func(percent int)) (int64, error) {
	r, d, err := e.at(location, digest)
	if err != nil {
		return 0, err
	}
	var from cas.Reader
	if holder, _, err := e.holder(ctx, digest); err == nil && holder != r {
		from = holder.Chunks()
	}
	if _, err := r.Manifest(ctx, d); err == nil {
		from = nil // everything is here already
	}
	_, progress, err := r.Materialise(ctx, d, from, func(p cas.Progress) { report(p.Percent()) })
	return progress.NewBytes, err
}

// Remove implements Regions.
func (e *Engine) Remove(ctx context.Context, location, digest string, users func(context.Context) ([]string, error)) error {
	r, d, err := e.at(location, digest)
	if err != nil {
		return err
	}
	err = r.Remove(ctx, d, func(ctx context.Context, _ cas.Digest) ([]string, error) { return users(ctx) })
	if errors.Is(err, region.ErrReplicaInUse) {
		return fmt.Errorf("%w: %w", ErrInUse, err)
	}
	return err
}
