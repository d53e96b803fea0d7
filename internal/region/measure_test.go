package region_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hallmark.dev/hallmark/internal/cas"
	"hallmark.dev/hallmark/internal/region"
)

// BenchmarkImages measures with real images, named in HALLMARK_MEASURE_IMAGES as
// absolute qcow2 paths separated by colons: how many new bytes each version
// brings after the ones before, and how fast things go. Run it with
// -bench Images -benchtime 1x; it asserts nothing.
func BenchmarkImages(b *testing.B) {
	images := os.Getenv("HALLMARK_MEASURE_IMAGES")
	if images == "" {
		b.Skip("set HALLMARK_MEASURE_IMAGES to qcow2 files separated by colons")
	}
	for b.Loop() {
		west, east := open(b, "west"), open(b, "east")
		for _, path := range strings.Split(images, ":") {
			measure(b, west, east, path)
		}
	}
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	b.Logf("peak resident memory %d MiB", usage.Maxrss>>10)
}

func measure(t *testing.B, west, east *region.Region, path string) {
	ctx := context.Background()
	start := time.Now()
	m, in, err := west.Ingest(ctx, region.Image{Path: path, Format: "qcow2"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %d MiB of data in %d chunks", filepath.Base(path), m.DataBytes()>>20, len(m.Extents))
	log := func(what string, p cas.Progress) {
		t.Logf("  %-12s %6.2f s, %4.0f MiB/s, new %5.1f %% of the data (%d MiB, stored as %d MiB)", what, time.Since(start).Seconds(),
			float64(m.DataBytes())/(1<<20)/time.Since(start).Seconds(), 100*float64(p.NewBytes)/float64(m.DataBytes()), p.NewBytes>>20, p.StoredBytes>>20)
	}
	log("ingest", in)
	for _, r := range []*region.Region{west, east} {
		start = time.Now()
		_, moved, err := r.Materialise(ctx, m.Digest(), west.Chunks(), nil)
		if err != nil {
			t.Fatal(err)
		}
		log(r.Name()+" replica", moved)
	}
	start = time.Now()
	if err := east.Verify(ctx, m.Digest(), nil); err != nil {
		t.Fatal(err)
	}
	log("verify", cas.Progress{})
}
