package file

import (
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"hallmark.dev/hallmark/internal/cas"
)

// codec turns chunks into zstd frames and back. It is safe for concurrent use.
type codec struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
}

func newCodec() (codec, error) {
	// Concurrency bounds memory too: one window for each.
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(2), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<20))
	if err != nil {
		return codec{}, err
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxMemory(cas.MaxBlob))
	return codec{encoder, decoder}, err
}

func (c codec) encode(data []byte) []byte {
	return c.encoder.EncodeAll(data, make([]byte, 0, len(data)/2+64))
}

// read returns the chunk at a place, verified. The error wraps cas.ErrCorrupt
// when the bytes are not the chunk's.
func (c codec) read(pack io.ReaderAt, id cas.ID, at place) ([]byte, error) {
	frame := make([]byte, at.stored)
	if n, err := pack.ReadAt(frame, int64(at.offset)); n < len(frame) {
		if err == io.EOF {
			return nil, fmt.Errorf("the pack is cut off: %w", cas.ErrCorrupt)
		}
		return nil, err
	}
	data, err := c.decoder.DecodeAll(frame, make([]byte, 0, at.plain))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", cas.ErrCorrupt, err)
	}
	if cas.Sum(data) != id {
		return nil, fmt.Errorf("its bytes hash to %s: %w", cas.Sum(data), cas.ErrCorrupt)
	}
	return data, nil
}
