package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"time"

	"hallmark.dev/hallmark/internal/base"
	"hallmark.dev/hallmark/internal/metadata"
	"hallmark.dev/hallmark/internal/network"
	"hallmark.dev/hallmark/internal/region"
	"hallmark.dev/hallmark/internal/rp/compute"
	"hallmark.dev/hallmark/internal/rp/compute/host"
	"hallmark.dev/hallmark/internal/secret"
	"hallmark.dev/hallmark/internal/vm"
)

// Room that machines leave to the host.
const (
	hostMemoryMiB = 2048
	hostDiskBytes = 4 << 30
)

// machines says how this host runs machines, and removes what an earlier
// server left half made.
func (s *server) machines(ctx context.Context, regions []*region.Region) (compute.Config, error) {
	accelerator, err := vm.Choose(ctx, s.cfg.Accelerator, filepath.Join(s.dir.Machines(), "accelerator.json"))
	if err != nil {
		return compute.Config{}, err
	}
	s.log.Info("machines run with", "accelerator", accelerator.Accel, "why", accelerator.Reason)
	catalogue, err := s.catalogue()
	if err != nil {
		return compute.Config{}, err
	}
	bases, err := base.Open(s.dir.Bases(), catalogue, s.cfg.mirror())
	if err != nil {
		return compute.Config{}, err
	}
	sealer, err := secret.Open(s.dir.SealingKey())
	if err != nil {
		return compute.Config{}, err
	}
	engine := host.Machines{Root: s.dir.Machines(), Accel: accelerator.Accel}
	cfg := compute.Config{
		Machines: engine, Jobs: host.Jobs{Machines: engine}, Secrets: sealer,
		Volumes: host.Volumes{Dir: s.dir.Disks(), Keep: hostDiskBytes}, Network: host.Network{Engine: s.network},
		Replicas: replicas(regions), Catalogue: host.Marketplace{Store: bases}, Artifacts: host.Artifacts{Store: s.artifacts},
		Locations: s.locationNames(), Sizes: compute.SizesWithin(vm.Caps{VCPUs: s.cfg.MachineCores, MemoryMiB: s.cfg.MachineMemoryMiB}),
		Subnet: s.network.Config().Machines, Gateway: s.network.Config().Gateway(), Log: s.log,
	}
	if err := hostFacts(&cfg, string(s.dir)); err != nil {
		return cfg, err
	}
	if err := compute.Sweep(ctx, cfg, s.store); err != nil {
		return cfg, fmt.Errorf("clean up after machines that were never finished: %w", err)
	}
	s.mounts[compute.ConsolePath] = compute.ConsoleHandler(cfg, time.Now)
	return cfg, nil
}

// hostFacts asks the host what machines may share.
func hostFacts(cfg *compute.Config, dir string) error {
	total, err := vm.HostTotal(dir)
	if err != nil {
		return err
	}
	cfg.Memory = max(total.MemoryMiB-hostMemoryMiB, 0)
	if cfg.Nameservers, err = network.Resolvers(); err != nil {
		return err
	}
	cfg.BootID, err = vm.BootID()
	return err
}

func replicas(regions []*region.Region) host.Replicas {
	all := host.Replicas{}
	for _, r := range regions {
		all[r.Name()] = r
	}
	return all
}

// serveMachines answers machines that ask for tokens of their identities. A host on
// which that is impossible runs machines all the same.
func (s *server) serveMachines(ctx context.Context) error {
	at := netip.AddrPortFrom(s.network.Config().Gateway(), network.MetadataPort).String()
	l, err := net.Listen("tcp4", at)
	if err != nil {
		s.log.Error("machines get no tokens: their service cannot listen", "address", at, "error", err)
		return nil
	}
	return metadata.Serve(ctx, l, metadata.New(metadata.Config{Store: s.store, Directory: s.people, Issuer: s.issuer, URL: s.url, Log: s.log}))
}
