package cas

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/jotfs/fastcdc-go"
)

// Source is a disk image as the guest sees it. ReadAt gives zeros where the
// image has no data and may be called concurrently.
type Source interface {
	io.ReaderAt
	// Size returns the virtual size in bytes.
	Size() int64
	// NextData returns the first range, at or after offset, outside of which
	// there are only zeros up to its start. It is a hint that saves reading: a
	// source that returns (offset, Size) is right, if slow. The error is io.EOF
	// when only zeros follow.
	NextData(offset int64) (start, end int64, err error)
}

// How images are cut. Changing any of these changes the digest of every image,
// so it takes a new manifestHeader; docs/performance.md has the measurements
// behind the numbers.
const (
	// blockSize is the unit in which zeros are left out: an aligned block of only
	// zeros belongs to no chunk, and a chunk never extends over one.
	blockSize  = 4 << 10
	minChunk   = 8 << 10
	avgChunk   = 32 << 10
	windowSize = 1 << 20
)

var zeros [blockSize]byte

// Split cuts src into chunks and calls emit with each, in ascending order. The
// cuts depend on the guest-visible bytes alone, not on the file format or on what is
// allocated. emit must not keep data.
func Split(ctx context.Context, src Source, emit func(offset int64, data []byte) error) error {
	if size := src.Size(); size < SectorSize || size > maxSize || size%SectorSize != 0 {
		return fmt.Errorf("an image of %d bytes cannot be stored: want a multiple of %d up to %d", size, SectorSize, int64(maxSize))
	}
	s := &scanner{src: src, window: make([]byte, 0, windowSize)}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := s.peek(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := splitRun(ctx, s.pos, &run{scanner: s, end: s.pos}, emit); err != nil {
			return err
		}
	}
}

// splitRun cuts one run of blocks that begins at offset.
func splitRun(ctx context.Context, offset int64, r io.Reader, emit func(int64, []byte) error) error {
	chunker, err := newChunker(r)
	if err != nil {
		return err
	}
	for {
		data, err := nextChunk(chunker)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = emit(offset, data)
		}
		if err != nil {
			return err
		}
		offset += int64(len(data))
	}
}

// chunkerTable guards the library's table of random numbers: making a chunker
// writes it (with the values it has), which is a data race with a chunker in use.
var chunkerTable sync.RWMutex

func newChunker(r io.Reader) (*fastcdc.Chunker, error) {
	chunkerTable.Lock()
	defer chunkerTable.Unlock()
	return fastcdc.NewChunker(r, fastcdc.Options{
		MinSize: minChunk, AverageSize: avgChunk, MaxSize: MaxChunk, BufSize: 2 * MaxChunk,
	})
}

func nextChunk(c *fastcdc.Chunker) ([]byte, error) {
	chunkerTable.RLock()
	defer chunkerTable.RUnlock()
	chunk, err := c.Next()
	return chunk.Data, err
}

// run reads consecutive blocks that are not zero, and ends where one is.
type run struct {
	*scanner
	end  int64 // where the next block of this run has to begin
	rest []byte
}

func (r *run) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		block, err := r.peek()
		if err != nil {
			return 0, err
		}
		if r.pos != r.end {
			return 0, io.EOF
		}
		r.rest = block
		r.pos += int64(len(block))
		r.end = r.pos
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// scanner finds the blocks of a source that are not zero.
type scanner struct {
	src     Source
	pos     int64 // the block to look at next
	dataEnd int64 // up to here the source says that there is data
	base    int64 // where window begins
	window  []byte
}

// peek moves pos to the next block with data and returns it; io.EOF after the last.
func (s *scanner) peek() ([]byte, error) {
	for s.pos < s.src.Size() {
		if err := s.skipHole(); err != nil {
			return nil, err
		}
		if err := s.fill(); err != nil {
			return nil, err
		}
		block := s.window[s.pos-s.base:]
		block = block[:min(len(block), blockSize)]
		if !allZero(block) {
			return block, nil
		}
		s.pos += int64(len(block))
	}
	return nil, io.EOF
}

// skipHole moves pos to the block where the source's next data begins.
func (s *scanner) skipHole() error {
	if s.pos < s.dataEnd {
		return nil
	}
	start, end, err := s.src.NextData(s.pos)
	if err != nil {
		return err
	}
	if end <= s.pos || end <= start {
		return fmt.Errorf("source names data from %d to %d when asked after %d", start, end, s.pos)
	}
	s.pos = max(s.pos, start-start%blockSize)
	s.dataEnd = min(end, s.src.Size())
	return nil
}

// fill makes the window hold the block at pos.
func (s *scanner) fill() error {
	if s.pos >= s.base && s.pos < s.base+int64(len(s.window)) {
		return nil
	}
	end := s.dataEnd + blockSize - 1
	end = min(end-end%blockSize, s.src.Size(), s.pos+windowSize)
	s.base, s.window = s.pos, s.window[:end-s.pos]
	n, err := s.src.ReadAt(s.window, s.base)
	if n == len(s.window) {
		return nil
	}
	s.window = s.window[:0]
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at %d of the image: %w", end-s.base, s.base, err)
}
