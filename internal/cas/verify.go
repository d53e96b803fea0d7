package cas

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// ErrMismatch says that an image's bytes are not those of its manifest.
var ErrMismatch = errors.New("the bytes differ from the manifest")

// Verify reads an image and compares every byte with the manifest; parts that
// the source says hold no data count as zeros without being read. The error
// wraps ErrMismatch and names the first place that differs.
func Verify(ctx context.Context, src Source, m Manifest, report Report) error {
	if src.Size() != m.Size {
		return fmt.Errorf("%w: the image has %d bytes, not %d", ErrMismatch, src.Size(), m.Size)
	}
	v := verifier{src: src, buffer: make([]byte, MaxChunk), meter: meter{report: report, now: Progress{Total: m.Size}}}
	var end int64
	for _, e := range append(m.Extents[:len(m.Extents):len(m.Extents)], Extent{Offset: m.Size}) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := v.zeros(end, e.Offset); err != nil {
			return err
		}
		if err := v.chunk(e); err != nil {
			return err
		}
		end = e.Offset + e.Length
		v.meter.reach(end)
	}
	return nil
}

type verifier struct {
	src    Source
	buffer []byte
	meter  meter
}

func (v *verifier) chunk(e Extent) error {
	if e.Length == 0 {
		return nil
	}
	data := v.buffer[:e.Length]
	if err := v.read(data, e.Offset); err != nil {
		return err
	}
	if id := Sum(data); id != e.ID {
		return fmt.Errorf("%w: the %d bytes at %d are chunk %s, not %s", ErrMismatch, e.Length, e.Offset, id, e.ID)
	}
	return nil
}

func (v *verifier) zeros(from, to int64) error {
	for from < to {
		start, end, err := v.src.NextData(from)
		if errors.Is(err, io.EOF) || err == nil && start >= to {
			return nil
		}
		if err != nil {
			return err
		}
		from = max(from, start)
		data := v.buffer[:min(end, to, from+int64(len(v.buffer)))-from]
		if err := v.read(data, from); err != nil {
			return err
		}
		if !allZero(data) {
			return fmt.Errorf("%w: the %d bytes at %d are not all zero", ErrMismatch, len(data), from)
		}
		from += int64(len(data))
	}
	return nil
}

func (v *verifier) read(data []byte, offset int64) error {
	if n, err := v.src.ReadAt(data, offset); n < len(data) {
		return fmt.Errorf("read %d bytes at %d of the image: %w", len(data), offset, err)
	}
	return nil
}

func allZero(data []byte) bool {
	for len(data) > 0 {
		n := min(len(data), len(zeros))
		if !bytes.Equal(data[:n], zeros[:n]) {
			return false
		}
		data = data[n:]
	}
	return true
}
