package region

import (
	"testing"

	"pgregory.net/rapid"

	"hallmark.dev/hallmark/internal/cas"
)

// drawManifest makes a manifest whose extents may lie anywhere in a large image.
func drawManifest(r *rapid.T) cas.Manifest {
	m := cas.Manifest{Size: rapid.Int64Range(1, 4<<40/cas.SectorSize).Draw(r, "sectors") * cas.SectorSize}
	for at := int64(0); len(m.Extents) < 100; {
		at += rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 200_000), rapid.Int64Range(0, m.Size)).Draw(r, "gap")
		length := rapid.Int64Range(1, cas.MaxChunk).Draw(r, "length")
		if at > m.Size-length {
			break
		}
		m.Extents = append(m.Extents, cas.Extent{Offset: at, Length: length})
		at += length
	}
	return m
}

// TestLayoutsDoNotOverlap: no two extents, nor an extent and metadata, share a
// byte of the file, and all lie in it.
func TestLayoutsDoNotOverlap(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		m := drawManifest(r)
		for _, format := range []Format{QCOW2, Raw, FixedVHD} {
			l, err := layOut(m, format)
			if err != nil {
				if format == FixedVHD && m.Size > maxVHD-mib {
					continue
				}
				r.Fatal(err)
			}
			end := int64(len(l.head))
			for i, e := range m.Extents {
				if l.offsets[i] < end {
					r.Errorf("%s: extent %d at %d begins before %d", format, i, l.offsets[i], end)
				}
				end = l.offsets[i] + e.Length
			}
			if end > l.size-int64(len(l.tail)) {
				r.Errorf("%s: data to %d of %d", format, end, l.size)
			}
		}
	})
}

func TestVHDLimits(t *testing.T) {
	if _, err := layOut(cas.Manifest{Size: maxVHD + 512}, FixedVHD); err == nil {
		t.Error("an image beyond 2,040 GiB is laid out as VHD")
	}
	for size, want := range map[int64]int64{512: mib, mib: mib, mib + 512: 2 * mib, maxVHD: maxVHD} {
		if l, err := layOut(cas.Manifest{Size: size}, FixedVHD); err != nil || l.size != want+footerSize {
			t.Errorf("%d bytes become %d: %v", size, l.size, err)
		}
	}
}

// TestGeometry has its values from footers that `qemu-img create -f vpc -o
// subformat=fixed` wrote, and the last, the largest, from the specification.
func TestGeometry(t *testing.T) {
	for size, want := range map[int64][3]uint32{
		17825792:    {512, 4, 17},
		104865792:   {1004, 12, 17},
		1073995776:  {2081, 16, 63},
		10737893376: {20806, 16, 63},
		42951106560: {20561, 16, 255},
		maxVHD:      {65535, 16, 255},
	} {
		got := geometry(size)
		if [3]uint32{got >> 16, got >> 8 & 255, got & 255} != want {
			t.Errorf("%d bytes: %d cylinders, %d heads, %d sectors, want %v", size, got>>16, got>>8&255, got&255, want)
		}
	}
}
