// Package host is what internal/rp/compute needs of this host, made of the engines:
// machines of internal/vm, disk files of internal/disk, the bridge of internal/network,
// replicas of internal/region, marketplace images of internal/base, blobs of
// internal/artifact. It translates, decides nothing, and keeps no state. Only cmd/hallmark
// and tests import it.
package host

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"hallmark.dev/hallmark/internal/artifact"
	"hallmark.dev/hallmark/internal/cas"
	"hallmark.dev/hallmark/internal/network"
	"hallmark.dev/hallmark/internal/region"
	"hallmark.dev/hallmark/internal/rp/compute"
)

// What compute is given.
var (
	_ compute.Machines  = Machines{}
	_ compute.Jobs      = Jobs{}
	_ compute.Volumes   = Volumes{}
	_ compute.Network   = Network{}
	_ compute.Replicas  = Replicas{}
	_ compute.Artifacts = Artifacts{}
	_ compute.Catalogue = Marketplace{}
)

// Network puts machines on the instance's bridge.
type Network struct{ Engine *network.Network }

// Attach makes the machine's tap; the bridge must be there (network.Ensure).
func (n Network) Attach(ctx context.Context, port, mac string, address netip.Addr) (string, error) {
	return n.Engine.Attach(ctx, network.Port{Machine: port, MAC: mac, Address: address})
}

// Detach removes it.
func (n Network) Detach(ctx context.Context, port string) error { return n.Engine.Detach(ctx, port) }

// Sweep also removes what build steps of an earlier process left: none runs at start.
func (n Network) Sweep(ctx context.Context, keep []string) error {
	_, err := n.Engine.Sweep(ctx, keep, nil)
	return err
}

// Replicas are the images of the configured regions, by location.
type Replicas map[string]*region.Region

func (r Replicas) find(location, text string) (*region.Region, cas.Digest, error) {
	digest, err := cas.ParseDigest(text)
	if err != nil {
		return nil, digest, err
	}
	found, ok := r[location]
	if !ok {
		return nil, digest, fmt.Errorf("no region %q is configured: %w", location, compute.ErrNotReplicated)
	}
	return found, digest, nil
}

// Path is the replica's file.
func (r Replicas) Path(_ context.Context, location, text string) (string, error) {
	in, digest, err := r.find(location, text)
	if err != nil {
		return "", err
	}
	replica, err := in.Replica(digest)
	return replica.Path, notReplicated(err)
}

// Use keeps the replica while do runs.
func (r Replicas) Use(_ context.Context, location, text string, do func(path string) error) error {
	in, digest, err := r.find(location, text)
	if err != nil {
		return err
	}
	return notReplicated(in.Use(digest, do))
}

func notReplicated(err error) error {
	if errors.Is(err, region.ErrNoReplica) {
		return fmt.Errorf("%w: %w", compute.ErrNotReplicated, err)
	}
	return err
}

// DigestOf reads the digest from a replica's path.
func (r Replicas) DigestOf(path string) string {
	if digest, ok := region.DigestOf(path); ok {
		return digest.String()
	}
	return ""
}

// Ingest stores the chunks, then makes the replica.
func (r Replicas) Ingest(ctx context.Context, location, path string, record func(ctx context.Context, digest string) error) error {
	in, ok := r[location]
	if !ok {
		return fmt.Errorf("no region %q is configured: %w", location, compute.ErrNotReplicated)
	}
	manifest, _, err := in.Ingest(ctx, region.Image{Path: path, Format: "qcow2"}, func(ctx context.Context, digest cas.Digest) error {
		return record(ctx, digest.String())
	}, nil)
	if err != nil {
		return err
	}
	_, _, err = in.Materialise(ctx, manifest.Digest(), nil, nil)
	return err
}

// Release removes the replica, unless something uses it.
func (r Replicas) Release(ctx context.Context, location, text string, users func(ctx context.Context) ([]string, error)) error {
	in, digest, err := r.find(location, text)
	if err != nil {
		return err
	}
	err = in.Remove(ctx, digest, func(ctx context.Context, _ cas.Digest) ([]string, error) { return users(ctx) })
	if errors.Is(err, region.ErrReplicaInUse) {
		return nil
	}
	return err
}

// Artifacts are the blobs of this server.
type Artifacts struct{ Store *artifact.Store }

// Resolve is the blob's file.
func (a Artifacts) Resolve(_ context.Context, uri string) (string, error) {
	path, _, err := a.Store.Resolve(strings.TrimSpace(uri))
	return path, err
}
