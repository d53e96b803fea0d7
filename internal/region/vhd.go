package region

import (
	"encoding/binary"
	"fmt"

	"hallmark.dev/hallmark/internal/cas"
)

// The fixed VHD of Microsoft's "Virtual Hard Disk Image Format Specification"
// (2006): the raw disk, then a footer of one sector.
const (
	footerSize = 512
	mib        = 1 << 20
	// maxVHD is the format's limit, and so Azure's for an upload: 2,040 GiB.
	maxVHD = 2040 << 30
)

func layOutVHD(m cas.Manifest) (layout, error) {
	// Azure refuses a disk that is not a whole number of MiB; the added end is zero.
	size := ceil(m.Size, mib) * mib
	if size > maxVHD {
		return layout{}, fmt.Errorf("an image of %d bytes is too large for a VHD, whose limit is %d: export it as qcow2 or raw", m.Size, int64(maxVHD))
	}
	tail := vhdFooter(size, m.Digest())
	return layout{size: size + footerSize, offsets: guestOffsets(m), tail: tail}, nil
}

// vhdFooter has no time and takes its id from the digest, so that an image is
// exported with the same bytes every time.
func vhdFooter(size int64, digest cas.Digest) []byte {
	f := make([]byte, footerSize)
	be := binary.BigEndian
	copy(f, "conectix")
	be.PutUint32(f[8:], 2)             // features: the reserved bit, always set
	be.PutUint32(f[12:], 0x00010000)   // file format version
	be.PutUint64(f[16:], 1<<64-1)      // data offset: none in a fixed disk
	copy(f[28:], "win ")               // creator: readers then take the size below, not the rounded geometry
	be.PutUint32(f[32:], 0x000a0000)   // creator version
	copy(f[36:], "Wi2k")               // creator host OS: the other choice is Macintosh
	be.PutUint64(f[40:], uint64(size)) // original size
	be.PutUint64(f[48:], uint64(size)) // current size
	be.PutUint32(f[56:], geometry(size))
	be.PutUint32(f[60:], 2) // disk type: fixed
	copy(f[68:84], digest[:])
	be.PutUint32(f[64:], footerChecksum(f))
	return f
}

// footerChecksum is the complement of the sum of all bytes but its own.
func footerChecksum(f []byte) uint32 {
	var sum uint32
	for i, b := range f {
		if i < 64 || i >= 68 {
			sum += uint32(b)
		}
	}
	return ^sum
}

// geometry returns cylinders, heads and sectors as the specification's appendix
// "CHS Calculation" derives them.
func geometry(size int64) uint32 {
	total := min(size/512, 65535*16*255)
	sectors, heads := int64(255), int64(16)
	tracks := total / sectors
	if total < 65535*16*63 {
		sectors = 17
		tracks = total / sectors
		heads = max(4, ceil(tracks, 1024))
		if tracks >= heads*1024 || heads > 16 {
			sectors, heads = 31, 16
			tracks = total / sectors
		}
		if tracks >= heads*1024 {
			sectors, heads = 63, 16
			tracks = total / sectors
		}
	}
	return uint32(tracks/heads<<16 | heads<<8 | sectors)
}
