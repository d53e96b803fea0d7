package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/base"
	"hallmark.dev/hallmark/internal/rp/compute"
)

// Marketplace is the local catalogue.
type Marketplace struct{ Store *base.Store }

// Entries are all skus on offer.
func (m Marketplace) Entries() []compute.Entry {
	var entries []compute.Entry
	for _, e := range m.Store.Catalogue().Entries() {
		entries = append(entries, compute.Entry{Publisher: e.Publisher, Offer: e.Offer, SKU: e.SKU})
	}
	return entries
}

// Versions are those kept here, and the newest that the source has; without its source
// the marketplace still offers what is kept.
func (m Marketplace) Versions(ctx context.Context, e compute.Entry) ([]string, error) {
	kept, err := m.Store.List()
	if err != nil {
		return nil, err
	}
	var versions []string
	for _, i := range kept {
		if strings.EqualFold(i.Publisher, e.Publisher) && strings.EqualFold(i.Offer, e.Offer) && strings.EqualFold(i.SKU, e.SKU) {
			versions = append(versions, i.Version)
		}
	}
	newest, err := m.Store.Resolve(ctx, base.Ref{Publisher: e.Publisher, Offer: e.Offer, SKU: e.SKU, Version: base.Latest})
	if err != nil && len(versions) == 0 {
		return nil, err
	}
	if err == nil {
		versions = append(versions, newest.Version)
	}
	slices.SortFunc(versions, compute.CompareVersions)
	return slices.Compact(versions), nil
}

// Resolve finds the exact version.
func (m Marketplace) Resolve(ctx context.Context, publisher, offer, sku, version string) (compute.PlatformImage, error) {
	r, err := m.Store.Resolve(ctx, base.Ref{Publisher: publisher, Offer: offer, SKU: sku, Version: version})
	if errors.Is(err, base.ErrNotOffered) || errors.Is(err, base.ErrNoSuchVersion) {
		return compute.PlatformImage{}, fmt.Errorf("%w: %w", compute.ErrNoSuchImage, err)
	}
	p := compute.PlatformImage{Entry: compute.Entry{Publisher: r.Publisher, Offer: r.Offer, SKU: r.SKU}, Version: r.Version, Digest: r.Digest,
		OSType: "Linux", Generation: "V2"}
	if entry, found := m.Store.Catalogue().Find(publisher, offer, sku); found == nil && entry.Debian != nil {
		p.OSID, p.OSVersion = "debian", entry.Debian.Release
	}
	return p, err
}

// Assemble makes or fetches the image.
func (m Marketplace) Assemble(ctx context.Context, p compute.PlatformImage, progress func(string)) (string, error) {
	stage := ""
	image, err := m.Store.Get(ctx, base.Resolved{Publisher: p.Publisher, Offer: p.Offer, SKU: p.SKU, Version: p.Version, Digest: p.Digest}, func(e base.Event) {
		if e.Stage != stage {
			stage = e.Stage
			progress(stage)
		}
	})
	return image.Path, err
}
