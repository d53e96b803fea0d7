// Package packed writes numbers and texts in few bytes, and reads them back from bytes
// that may be damaged: unsigned varints (as in encoding/binary), lengths before texts,
// and what neighbours in an order share left out. It knows nothing of what they mean.
package packed

import (
	"encoding/binary"
	"math"
)

// AppendText appends a text with its length before it.
func AppendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Shared is how many bytes two texts have in common at their beginning.
func Shared(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// Reader reads a text from At on. Once something is wrong it is Bad, and reads nothing
// but zeros and empty texts.
type Reader struct {
	Data string
	At   int
	Bad  bool
}

// Done reports whether all was read, and all was well.
func (r *Reader) Done() bool { return !r.Bad && r.At == len(r.Data) }

// Number reads a number of up to 64 bits.
func (r *Reader) Number() uint64 {
	var x uint64
	for n := 0; n < binary.MaxVarintLen64 && r.At < len(r.Data); n++ {
		c := r.Data[r.At]
		r.At++
		x |= uint64(c&0x7f) << (7 * n)
		if c < 0x80 {
			return x
		}
	}
	r.Bad = true
	return 0
}

// Signed reads what binary.AppendVarint has written.
func (r *Reader) Signed() int64 {
	x := r.Number()
	return int64(x>>1) ^ -int64(x&1) //nolint:gosec // zigzag
}

// Int reads a number of up to 31 bits.
func (r *Reader) Int() int {
	n := r.Number()
	if n > math.MaxInt32 {
		r.Bad = true
		return 0
	}
	return int(n)
}

// Count reads how many things are still to come, each of a byte or more.
func (r *Reader) Count() int {
	n := r.Int()
	if n > len(r.Data)-r.At {
		r.Bad = true
		return 0
	}
	return n
}

// Text reads a text of n bytes.
func (r *Reader) Text(n int) string {
	if r.Bad || n < 0 || n > len(r.Data)-r.At {
		r.Bad = true
		return ""
	}
	r.At += n
	return r.Data[r.At-n : r.At]
}

// String reads what AppendText has written.
func (r *Reader) String() string { return r.Text(r.Int()) }
