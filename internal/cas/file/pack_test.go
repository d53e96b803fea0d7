package file

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/cas"
)

// FuzzDecodeIndex: what is accepted lies within the pack and is encoded again
// with the same bytes.
func FuzzDecodeIndex(f *testing.F) {
	f.Add(encodeIndex(nil, 8), int64(8))
	f.Add(encodeIndex([]record{{cas.Sum(nil), 8, 100, 200}, {cas.ID{1}, 108, 5, 1}}, 200), int64(200))
	f.Fuzz(func(t *testing.T, index []byte, start int64) {
		if start < 0 || start > 1<<32-1 || len(index) < trailerSize {
			return
		}
		if _, err := indexStart(index[len(index)-trailerSize:], start+int64(len(index))); err != nil {
			return
		}
		records, err := decodeIndex(index, start)
		if err != nil {
			return
		}
		if diff := cmp.Diff(index, encodeIndex(records, uint32(start))); diff != "" {
			t.Errorf("index differs (-read +written):\n%s", diff)
		}
		for _, r := range records {
			if int64(r.offset)+int64(r.stored) > start {
				t.Errorf("record %+v lies behind the frames, which end at %d", r, start)
			}
		}
	})
}
