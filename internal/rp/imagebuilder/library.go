package imagebuilder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/base"
	"hallmark.dev/hallmark/internal/build"
	"hallmark.dev/hallmark/internal/cas"
	"hallmark.dev/hallmark/internal/disk"
	"hallmark.dev/hallmark/internal/region"
)

// Library is Sources on the base images and regions of this machine.
type Library struct {
	// Dir is the directory of the store of base images; Mirror is where Debian comes from.
	Dir       string
	Catalogue base.Catalogue
	Mirror    base.Mirror
	Regions   []*region.Region

	digests digests
}

var _ Sources = (*Library)(nil)

// Platform implements Sources.
func (l *Library) Platform(ctx context.Context, publisher, offer, sku, version string, progress func(string)) (Base, error) {
	return l.get(ctx, l.Catalogue, base.Ref{Publisher: publisher, Offer: offer, SKU: sku, Version: version}, progress)
}

// Fetched implements Sources: the image is an entry of a catalogue of its own.
func (l *Library) Fetched(ctx context.Context, u URL, progress func(string)) (Base, error) {
	sum := sha256.Sum256([]byte(u.URI + "\n" + u.SHA256 + "\n" + u.ChecksumURI))
	source := &base.FileSource{URL: u.URI, Checksums: u.ChecksumURI, Format: disk.Format(u.Format), Version: "1.0.0"}
	if u.SHA256 != "" {
		source.Digest = "sha256:" + strings.ToLower(u.SHA256)
	} else {
		source.Version = ""
	}
	entry := base.Entry{Publisher: "url", Offer: hex.EncodeToString(sum[:8]), SKU: "image", File: source}
	return l.get(ctx, base.NewCatalogue([]base.Entry{entry}), base.Ref{Publisher: entry.Publisher, Offer: entry.Offer, SKU: entry.SKU, Version: base.Latest}, progress)
}

func (l *Library) get(ctx context.Context, c base.Catalogue, ref base.Ref, progress func(string)) (Base, error) {
	store, err := base.Open(l.Dir, c, l.Mirror)
	if err != nil {
		return Base{}, err
	}
	entry, err := c.Find(ref.Publisher, ref.Offer, ref.SKU)
	if err != nil {
		return Base{}, err
	}
	found, err := store.Resolve(ctx, ref)
	if err != nil {
		return Base{}, err
	}
	if found.Warning != "" {
		progress(found.Warning)
	}
	progress("the source is " + found.Ref().String())
	img, err := store.Get(ctx, found, reporter(progress))
	if err != nil {
		return Base{}, err
	}
	b, err := l.file(ctx, img.Path)
	b.Foreign = entry.File != nil
	b.Version, b.SourceDigest = found.Version, found.Digest
	return b, err
}

// reporter turns progress into lines: one for each stage, and one every few seconds.
func reporter(progress func(string)) func(base.Event) {
	const every = 5 * time.Second
	var mu sync.Mutex
	var stage string
	var last time.Time
	return func(e base.Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.Stage == stage && time.Since(last) < every {
			return
		}
		stage, last = e.Stage, time.Now()
		line := e.Stage
		if e.Total > 0 {
			line += fmt.Sprintf(" (%d of %d MB)", e.Done/1e6, e.Total/1e6)
		}
		progress(line)
	}
}

// Stored implements Sources.
func (l *Library) Stored(ctx context.Context, location, digest string) (Base, error) {
	d, err := cas.ParseDigest(digest)
	if err != nil {
		return Base{}, err
	}
	for _, r := range l.Regions {
		if arm.NormalLocation(r.Name()) != arm.NormalLocation(location) {
			continue
		}
		replica, err := r.Replica(d)
		if err != nil {
			return Base{}, err
		}
		return l.file(ctx, replica.Path)
	}
	return Base{}, fmt.Errorf("region %s is not usable", location)
}

func (l *Library) file(ctx context.Context, path string) (Base, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Base{}, err
	}
	digest, err := l.digests.of(ctx, path, info)
	return Base{Base: build.Base{Path: path, Format: disk.QCOW2, Digest: digest, Size: info.Size()}}, err
}

// digests remembers the digest of files that do not change: reading a large one takes
// seconds.
type digests struct {
	mu    sync.Mutex
	known map[string]stamped
}

type stamped struct {
	size   int64
	time   time.Time
	digest string
}

func (d *digests) of(ctx context.Context, path string, info os.FileInfo) (string, error) {
	d.mu.Lock()
	k, ok := d.known[path]
	d.mu.Unlock()
	if ok && k.size == info.Size() && k.time.Equal(info.ModTime()) {
		return k.digest, nil
	}
	digest, err := disk.Digest(ctx, path)
	if err != nil {
		return "", err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil {
		d.known = map[string]stamped{}
	}
	d.known[path] = stamped{info.Size(), info.ModTime(), digest}
	return digest, nil
}
