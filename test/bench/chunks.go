package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"hallmark.dev/hallmark/internal/azure"
	"hallmark.dev/hallmark/internal/base"
	"hallmark.dev/hallmark/internal/cas"
	"hallmark.dev/hallmark/internal/region"
)

const (
	packageGoal = 0.15 // of the data, new in a version with one more package
	freshGoal   = 0.30 // of the data, new in a freshly assembled base
)

// measureChunks counts what a version with one package more brings into its
// region and another, and what a base brings that was assembled a second time.
func (b *bench) measureChunks(ctx context.Context) error {
	var err error
	if b.built.second == nil {
		b.say("the versions to compare would come from the part build, which did not make them")
	} else if err = b.comparePackage(ctx); err != nil {
		return err
	}
	return b.compareBases(ctx)
}

func (b *bench) comparePackage(ctx context.Context) error {
	p := b.images
	b.say("replicating the second version …")
	before, start := p.stored("westeurope"), time.Now()
	if err := p.replicate(ctx, b.built.second.VersionID); err != nil {
		return err
	}
	took := time.Since(start)
	b.built.moved = p.stored("westeurope") - before
	first, second, err := b.manifests(ctx)
	if err != nil {
		return err
	}
	fresh, data := newBytes(first, second), second.DataBytes()
	b.table.atMost("new chunk bytes of a version with one package more, of its data", float64(fresh)/float64(data), packageGoal, "%.3f")
	// A pack has an index and a footer, and both regions cut their packs themselves.
	b.table.atMost("transfer of that version to a second region, of what the first stored", float64(b.built.moved)/float64(b.built.stored), 1.01, "%.3f")
	b.table.note("that transfer", fmt.Sprintf("%.1f MiB compressed (new: %.1f of %d MiB), %.1f s with the replica", mib(b.built.moved), mib(fresh), data>>20, took.Seconds()))
	return nil
}

// replicate adds the second region to a version and waits for it.
func (p *plane) replicate(ctx context.Context, version string) error {
	regions := []any{map[string]any{"name": "eastus"}, map[string]any{"name": "westeurope"}}
	body := map[string]any{"properties": map[string]any{"publishingProfile": map[string]any{"targetRegions": regions}}}
	return p.DoAndWait(ctx, azure.Request{Method: "PATCH", Path: version, APIVersion: apiGallery, Body: body}, nil)
}

// manifests reads the two versions' manifests from their region, which only one
// process may have open: the control plane stops meanwhile.
func (b *bench) manifests(ctx context.Context) (first, second cas.Manifest, err error) {
	if err := b.images.down(ctx); err != nil {
		return first, second, err
	}
	defer func() { err = errors.Join(err, b.images.up(ctx)) }()
	r, err := region.Open("eastus", filepath.Join(b.images.dir.Regions(), "eastus"))
	if err != nil {
		return first, second, err
	}
	defer r.Close()
	for _, of := range []struct {
		digest string
		to     *cas.Manifest
	}{{b.built.first.ImageDigest, &first}, {b.built.second.ImageDigest, &second}} {
		digest, err := cas.ParseDigest(of.digest)
		if err != nil {
			return first, second, err
		}
		if *of.to, err = r.Manifest(ctx, digest); err != nil {
			return first, second, err
		}
	}
	return first, second, nil
}

// newBytes are the bytes of the second image's chunks that the first has not.
func newBytes(first, second cas.Manifest) int64 {
	known := map[cas.ID]bool{}
	for _, e := range first.Extents {
		known[e.ID] = true
	}
	var sum int64
	for _, e := range second.Chunks() {
		if !known[e.ID] {
			sum += e.Length
		}
	}
	return sum
}

// compareBases ingests the cached base, and one that another store assembled
// from the same release.
func (b *bench) compareBases(ctx context.Context) error {
	r, err := region.Open("bases", filepath.Join(b.work, "bases"))
	if err != nil {
		return err
	}
	defer r.Close()
	var last cas.Progress
	for _, store := range []string{"base", filepath.Join("bench", "base-again")} {
		path, err := b.basePath(ctx, filepath.Join(b.cache, store))
		if err != nil {
			return err
		}
		b.say("ingesting a base …")
		start := time.Now()
		m, progress, err := r.Ingest(ctx, region.Image{Path: path, Format: "qcow2"}, nil, nil)
		if err != nil {
			return err
		}
		b.say("  %d MiB of data, %.1f MiB new, %.0f MiB/s", m.DataBytes()>>20, mib(progress.NewBytes), mib(m.DataBytes())/time.Since(start).Seconds())
		progress.Total = m.DataBytes()
		last = progress
	}
	b.table.atMost("new chunk bytes of a freshly assembled base, of its data", float64(last.NewBytes)/float64(last.Total), freshGoal, "%.3f")
	b.table.note("peak resident memory of this bench, which ingested those images", fmt.Sprintf("%.0f MiB", peakMiB(self())))
	return nil
}

// basePath is the newest Debian 12 of a store, assembled where it is not there.
func (b *bench) basePath(ctx context.Context, dir string) (string, error) {
	store, err := base.Open(dir, base.NewCatalogue(nil), base.Mirror{})
	if err != nil {
		return "", err
	}
	found, err := store.Resolve(ctx, base.Ref{Publisher: "Debian", Offer: "debian-12", SKU: "12-gen2", Version: base.Latest})
	if err != nil {
		return "", err
	}
	stage := ""
	image, err := store.Get(ctx, found, func(e base.Event) {
		if e.Stage != stage {
			stage = e.Stage
			b.say("  assembling %s: %s", found.Ref(), stage)
		}
	})
	return image.Path, err
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }
