package main

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"hallmark.dev/hallmark/internal/base"
	"hallmark.dev/hallmark/internal/build"
	"hallmark.dev/hallmark/internal/build/machine"
	"hallmark.dev/hallmark/internal/network"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/region"
	"hallmark.dev/hallmark/internal/rp/control"
	"hallmark.dev/hallmark/internal/rp/imagebuilder"
	"hallmark.dev/hallmark/internal/vm"
)

// engineVersion is part of every cached layer's key: raise it when the same
// step would leave another layer behind.
const engineVersion = "1"

// openBuilder opens the build engine and cleans up after builds that were killed.
func (s *server) openBuilder(ctx context.Context) (*build.Builder, error) {
	b, err := build.Open(s.dir.Builds())
	if err != nil {
		return nil, err
	}
	b.CacheLimit = int64(s.cfg.CacheGiB) << 30
	b.Network = s.stepNetwork
	machines, err := s.stepMachines(ctx)
	if err != nil {
		return nil, err
	}
	b.VM = machines
	var cleaned []string
	// Machines first: they write to what the builder sweeps.
	for _, sweep := range []func(context.Context) ([]string, error){machines.Sweep, b.Sweep} {
		lines, err := sweep(ctx)
		if err != nil {
			return nil, fmt.Errorf("clean up after builds that were killed: %w", err)
		}
		cleaned = append(cleaned, lines...)
	}
	for _, line := range cleaned {
		s.log.Info("swept", "what", line)
	}
	return b, nil
}

// stepMachineCount is how many steps run in machines at the same time.
const stepMachineCount = 8

// stepAddresses are kept for machines that run build steps.
func (s *server) stepAddresses() []netip.Addr {
	return machine.Addresses(s.network.Config().Machines, stepMachineCount)
}

// stepMachines runs build steps that need a booted machine.
func (s *server) stepMachines(ctx context.Context) (*machine.Runner, error) {
	accelerator, err := vm.Choose(ctx, s.cfg.Accelerator, filepath.Join(s.dir.Machines(), "accelerator.json"))
	if err != nil {
		return nil, err
	}
	resolvers, err := network.Resolvers()
	if err != nil {
		return nil, err
	}
	cfg := s.network.Config()
	return &machine.Runner{Dir: filepath.Join(s.dir.Builds(), "machines"), Network: s.network, Subnet: cfg.Machines, Gateway: cfg.Gateway(),
		Addresses: s.stepAddresses(), Nameservers: resolvers, Accel: accelerator.Accel, CPUs: s.cfg.MachineCores, MemoryMiB: s.cfg.MachineMemoryMiB}, nil
}

// builders are the provider that builds images, and the one that shows what
// builds keep.
func (s *server) builders(ctx context.Context, regions []*region.Region) ([]provider.Provider, error) {
	b, err := s.openBuilder(ctx)
	if err != nil {
		return nil, err
	}
	catalogue, err := s.catalogue()
	if err != nil {
		return nil, err
	}
	return []provider.Provider{
		imagebuilder.New(imagebuilder.Config{
			Builder:   b,
			Sources:   &imagebuilder.Library{Dir: s.dir.Bases(), Catalogue: catalogue, Mirror: s.cfg.mirror(), Regions: regions},
			Artifacts: s.artifacts, Logs: filepath.Join(s.dir.Builds(), "logs"), EngineVersion: engineVersion, Log: s.log,
		}),
		control.New(control.Config{Cache: buildCache{b}, BackupDir: s.dir.Backups()}),
	}, nil
}

// catalogue is the built-in marketplace with the user's own entries.
func (s *server) catalogue() (base.Catalogue, error) {
	if s.cfg.Catalogue == "" {
		return base.NewCatalogue(nil), nil
	}
	text, err := os.ReadFile(s.cfg.Catalogue)
	if err != nil {
		return base.Catalogue{}, fmt.Errorf("read the catalogue: %w", err)
	}
	entries, err := base.ParseCatalogue(s.cfg.Catalogue, text)
	return base.NewCatalogue(entries), err
}

func (c config) mirror() base.Mirror {
	return base.Mirror{Main: c.Mirror, Security: c.SecurityMirror}
}

// stepNetwork gives a build's steps a network that reaches other machines and
// nothing of this host.
func (s *server) stepNetwork(ctx context.Context, run string) (build.NetworkNamespace, error) {
	ns, err := s.network.Namespace(ctx, run)
	if err != nil {
		return nil, err
	}
	return namespace{ns}, nil
}

type namespace struct{ *network.Namespace }

func (n namespace) Path() string { return n.Namespace.Path }

// ResolvConf is a resolv.conf that works inside, where the host's own loopback
// resolver is out of reach.
func (n namespace) ResolvConf() []byte {
	resolvers, err := network.Resolvers()
	if err != nil {
		return nil
	}
	var text bytes.Buffer
	for _, r := range resolvers {
		fmt.Fprintf(&text, "nameserver %s\n", r)
	}
	return text.Bytes()
}

// buildCache is what builds keep, as the control provider sees it.
type buildCache struct{ *build.Builder }

func (c buildCache) Entries(ctx context.Context) ([]control.Entry, error) {
	entries, err := c.Cache(ctx)
	return controlEntries(entries), err
}

func (c buildCache) Prune(ctx context.Context, maxBytes int64, all bool) ([]control.Entry, error) {
	entries, err := c.Builder.Prune(ctx, build.PruneOptions{MaxBytes: maxBytes, All: all})
	return controlEntries(entries), err
}

func controlEntries(entries []build.CacheEntry) []control.Entry {
	var out []control.Entry
	for _, e := range entries {
		out = append(out, control.Entry{Kind: e.Kind, Digest: e.Digest, Step: e.Step, Run: e.Run, Size: e.Size, Used: e.Used, InUse: e.InUse})
	}
	return out
}
