package cas_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"hallmark.dev/hallmark/internal/cas"
	"hallmark.dev/hallmark/internal/cas/castest"
)

func ingest(t *testing.T, store cas.Store, src cas.Source) (cas.Manifest, cas.Progress) {
	t.Helper()
	b, err := store.Begin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	m, p, err := cas.Ingest(context.Background(), b, src, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m, p
}

// paint returns an image of zeros with some bytes set.
func paint(size int, from, to int, with byte) castest.Image {
	image := make(castest.Image, size)
	for i := from; i < to; i++ {
		image[i] = with
	}
	return image
}

// counting is 4 MiB of SHA-256 of 0, 1, 2, … with a hole of three blocks.
func counting() castest.Image {
	var image castest.Image
	for i := range uint64(4 << 20 / sha256.Size) {
		sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, i))
		image = append(image, sum[:]...)
	}
	clear(image[1<<20 : 1<<20+3*4096])
	return image
}

// TestDigest pins the format. The values were computed from docs/on-disk.md by a
// program of its own, in another language, which shares with this one the table
// of the rolling hash only. A change here renames every published image.
func TestDigest(t *testing.T) {
	for name, test := range map[string]struct {
		image castest.Image
		want  string
	}{
		"zeros":             {make(castest.Image, 1<<20), "7d22f0bc874528186fa89ce73f25bc9565703d18ec58115fd2c798c6d0afd1c1"},
		"one block":         {paint(16384, 8192, 12288, 'a'), "10062fbb136e321a0e5211e6e2281fbcfc72bc8f23947bf38a792d16b54fd5b7"},
		"last block partly": {paint(4608, 4096, 4608, 'b'), "83e55d7d4e722e4a7859e8ef067f4c3d8a5c3413b4d4d406fd421f3200fe6985"},
		"one byte":          {paint(12288, 5000, 5001, 'x'), "da4f6b27f007c750acfe08017e130b0e157999d64c1f5c5fe1f330f8a6909fa2"},
		"cut by content":    {counting(), "be1850831789bee1f6b12231a89768cfefefba41476dcb4bc98e30eef1ba5b1b"},
	} {
		t.Run(name, func(t *testing.T) {
			m, _ := ingest(t, &castest.Memory{}, test.image)
			if got := m.Digest().String(); got != "sha256:"+test.want {
				t.Errorf("digest %s, want sha256:%s", got, test.want)
			}
		})
	}
}

// TestAllocationDoesNotMatter: the digest is the same whichever zeros the source
// knows to be zeros.
func TestAllocationDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		image := castest.Random(rapid.Uint64().Draw(r, "seed"), rapid.IntRange(1, 3000).Draw(r, "sectors")*cas.SectorSize)
		block := rapid.SampledFrom([]int64{512, 4096, 65536, 1 << 20}).Draw(r, "block")
		want, _ := ingest(t, &castest.Memory{}, image)
		got, _ := ingest(t, &castest.Memory{}, castest.Sparse{Image: image, Block: block})
		if diff := cmp.Diff(want, got); diff != "" {
			r.Errorf("manifest differs (-all data +sparse):\n%s", diff)
		}
		if err := cas.Verify(context.Background(), castest.Sparse{Image: image, Block: block}, want, nil); err != nil {
			r.Error(err)
		}
	})
}

// TestMovedBytesKeepTheirNames is what content-defined chunks are for.
func TestMovedBytesKeepTheirNames(t *testing.T) {
	image := castest.Random(1, 16<<20)
	moved := append(paint(12800, 0, 12800, 'm'), image...)
	store := &castest.Memory{}
	ingest(t, store, image)
	if _, p := ingest(t, store, moved); p.NewBytes > moved.Size()/10 {
		t.Errorf("%d of %d bytes are new after a move", p.NewBytes, moved.Size())
	}
}

func TestIngestRefusesOddSizes(t *testing.T) {
	for _, size := range []int{0, 1, 511, 513} {
		b, _ := (&castest.Memory{}).Begin(context.Background())
		if _, _, err := cas.Ingest(context.Background(), b, make(castest.Image, size), nil); err == nil {
			t.Errorf("an image of %d bytes is taken", size)
		}
	}
}

// TestFaultsAreReportedAndRepeatable makes each call of an ingest and of a copy
// fail, with and without effect, and does the work again.
func TestFaultsAreReportedAndRepeatable(t *testing.T) {
	image := castest.Random(2, 1<<20)
	source := &castest.Memory{}
	m, _ := ingest(t, source, image)
	works := map[string]func(to cas.Store, from cas.Store) error{
		"ingest": func(to, _ cas.Store) error {
			b, _ := to.Begin(context.Background())
			defer b.Close()
			_, _, err := cas.Ingest(context.Background(), b, image, nil)
			return err
		},
		"copy": func(to, from cas.Store) error {
			b, _ := to.Begin(context.Background())
			defer b.Close()
			_, _, err := cas.Copy(context.Background(), b, from, m.Digest(), nil)
			return err
		},
	}
	for name, work := range works {
		for _, fault := range []castest.Fault{castest.NotApplied, castest.Applied} {
			t.Run(fmt.Sprintf("%s fault %d", name, fault), func(t *testing.T) { everyFault(t, work, source, fault, m) })
		}
	}
}

func everyFault(t *testing.T, work func(to, from cas.Store) error, source cas.Store, fault castest.Fault, m cas.Manifest) {
	for at := 1; ; at++ {
		to := &castest.Memory{}
		faulty := &castest.Faulty{Store: to, At: at, Fault: fault}
		err := work(faulty, source)
		if len(faulty.Calls()) < at { // all calls have had their turn
			if err != nil {
				t.Error(err)
			}
			return
		}
		if !errors.Is(err, castest.ErrInjected) {
			t.Fatalf("call %d failed (%v), the work says %v", at, faulty.Calls()[at-1], err)
		}
		if err := work(to, source); err != nil {
			t.Fatalf("again after call %d failed: %v", at, err)
		}
		if _, err := cas.LoadManifest(context.Background(), to, m.Digest()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCopyMovesOnlyWhatLacks counts reads of the sender and writes of the receiver.
func TestCopyMovesOnlyWhatLacks(t *testing.T) {
	first := castest.Random(3, 8<<20)
	second := append(castest.Image{}, first...)
	copy(second[4<<20:], castest.Random(4, 100<<10))
	from, to := &castest.Memory{}, &castest.Memory{}
	ingest(t, to, first)
	m, _ := ingest(t, from, second)
	counted := &castest.Faulty{Store: from}
	b, _ := to.Begin(context.Background())
	defer b.Close()
	_, p, err := cas.Copy(context.Background(), b, counted, m.Digest(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if reads := len(counted.Calls()); reads != p.NewChunks+1 || p.NewChunks == 0 || p.NewBytes > 1<<20 {
		t.Errorf("%d reads, progress %+v", reads, p)
	}
}

// TestCopyRefusesDamage keeps a damaged chunk from spreading.
func TestCopyRefusesDamage(t *testing.T) {
	from, to := &castest.Memory{}, &castest.Memory{}
	m, _ := ingest(t, from, castest.Random(5, 1<<20))
	from.Damage(m.Extents[0].ID)
	b, _ := to.Begin(context.Background())
	defer b.Close()
	if _, _, err := cas.Copy(context.Background(), b, from, m.Digest(), nil); !errors.Is(err, cas.ErrCorrupt) {
		t.Errorf("got error %v, want %v", err, cas.ErrCorrupt)
	}
	if has, _ := to.Has(context.Background(), cas.ID(m.Digest())); has {
		t.Error("the receiver has the manifest of an image that it has not")
	}
}

// TestVerifyFindsEveryChange changes single bytes, in data and in zeros.
func TestVerifyFindsEveryChange(t *testing.T) {
	image := castest.Random(6, 1<<20)
	m, _ := ingest(t, &castest.Memory{}, image)
	for at := 0; at < len(image); at += 37777 {
		image[at] ^= 1
		if err := cas.Verify(context.Background(), image, m, nil); !errors.Is(err, cas.ErrMismatch) {
			t.Errorf("byte %d changed: got error %v, want %v", at, err, cas.ErrMismatch)
		}
		image[at] ^= 1
	}
	longer := append(image[:len(image):len(image)], make([]byte, 512)...)
	if err := cas.Verify(context.Background(), longer, m, nil); !errors.Is(err, cas.ErrMismatch) {
		t.Errorf("longer: got error %v, want %v", err, cas.ErrMismatch)
	}
}
