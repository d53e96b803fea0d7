package castest

import (
	"bytes"
	"io"
	"math/rand/v2"
)

// Image is a cas.Source of bytes in memory, which names all of them as data.
type Image []byte

// Size implements cas.Source.
func (i Image) Size() int64 { return int64(len(i)) }

// ReadAt implements cas.Source.
func (i Image) ReadAt(p []byte, offset int64) (int, error) {
	return bytes.NewReader(i).ReadAt(p, offset)
}

// NextData implements cas.Source.
func (i Image) NextData(offset int64) (start, end int64, err error) {
	if offset >= i.Size() {
		return 0, 0, io.EOF
	}
	return offset, i.Size(), nil
}

// Sparse is the same, but names data by blocks of a size, as a file system or a
// disk format with clusters of that size would.
type Sparse struct {
	Image
	Block int64
}

// NextData implements cas.Source.
func (s Sparse) NextData(offset int64) (start, end int64, err error) {
	for start = offset; start < s.Size(); start = end {
		end = min(start-start%s.Block+s.Block, s.Size())
		if len(bytes.Trim(s.Image[start:end], "\x00")) > 0 {
			return start, end, nil
		}
	}
	return 0, 0, io.EOF
}

// Random makes an image of runs of random bytes and of zeros, from a seed.
func Random(seed uint64, size int) Image {
	random := rand.New(rand.NewPCG(seed, 0))
	image := make(Image, size)
	for at := 0; at < size; {
		length := min(1+random.IntN(300_000), size-at)
		if random.IntN(3) > 0 {
			for i := range length {
				image[at+i] = byte(random.Uint32())
			}
		}
		at += length
	}
	return image
}
