package region

import (
	"fmt"

	"hallmark.dev/hallmark/internal/cas"
)

// Format is a file format that images are written in.
type Format string

// The formats of Export.
const (
	QCOW2 Format = "qcow2"
	Raw   Format = "raw"
	// FixedVHD is what Azure takes: fixed size, a whole number of MiB.
	FixedVHD Format = "vhd"
)

// layout is what a file of a format looks like: metadata before and behind, and
// where each extent goes. All else is zero. It depends on the manifest alone, so that
// an image's file is the same, byte for byte, in every region.
type layout struct {
	size    int64
	head    []byte  // at 0
	offsets []int64 // of each of the manifest's extents, ascending
	tail    []byte  // at size-len(tail)
}

func layOut(m cas.Manifest, format Format) (layout, error) {
	switch format {
	case QCOW2:
		return layOutQCOW2(m)
	case FixedVHD:
		return layOutVHD(m)
	case Raw:
		return layout{size: m.Size, offsets: guestOffsets(m)}, nil
	}
	return layout{}, fmt.Errorf("%q is not a format for export: want %s, %s or %s", format, QCOW2, FixedVHD, Raw)
}

func guestOffsets(m cas.Manifest) []int64 {
	offsets := make([]int64, len(m.Extents))
	for i, e := range m.Extents {
		offsets[i] = e.Offset
	}
	return offsets
}
