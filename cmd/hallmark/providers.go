package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/artifact"
	"hallmark.dev/hallmark/internal/azure"
	"hallmark.dev/hallmark/internal/disk"
	"hallmark.dev/hallmark/internal/frontdoor"
	"hallmark.dev/hallmark/internal/network"
	"hallmark.dev/hallmark/internal/pipeline"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/region"
	"hallmark.dev/hallmark/internal/rp/compute"
	"hallmark.dev/hallmark/internal/rp/deployments"
	"hallmark.dev/hallmark/internal/rp/gallery"
	"hallmark.dev/hallmark/internal/rp/images"
	rpnetwork "hallmark.dev/hallmark/internal/rp/network"
	"hallmark.dev/hallmark/internal/rp/resources"
	"hallmark.dev/hallmark/internal/secret"
)

// providers opens the engines and hands each to the provider that drives it.
func (s *server) providers(ctx context.Context) ([]provider.Provider, error) {
	regions, err := s.openEngines(ctx)
	if err != nil {
		return nil, err
	}
	builders, err := s.builders(ctx, regions)
	if err != nil {
		return nil, err
	}
	machines, err := s.machines(ctx, regions)
	if err != nil {
		return nil, err
	}
	pipelines, err := s.pipelines()
	if err != nil {
		return nil, err
	}
	sealer, err := secret.Open(s.dir.SealingKey())
	if err != nil {
		return nil, err
	}
	networks := rpnetwork.Config{Prefix: s.network.Config().Machines, Reserved: s.stepAddresses()}
	return append(builders,
		resources.New(resources.Config{TenantID: s.people.TenantID(), Locations: s.locations()}),
		rpnetwork.New(networks), rpnetwork.NewScaleSets(networks),
		compute.New(machines),
		gallery.New(gallery.Config{Bytes: gallery.Inventories{Engine: s.images, Host: disk.Host{Dir: s.dir.Mounts()}}, Regions: s.images, Artifacts: s.artifacts, Locations: s.locationNames(), Log: s.log}),
		deployments.New(deployments.Config{Sealer: sealer, TenantID: s.people.TenantID(), URL: s.url}),
		pipelines,
	), nil
}

// openEngines opens what touches disks, networks and machines.
func (s *server) openEngines(ctx context.Context) ([]*region.Region, error) {
	regions, err := s.openRegions()
	if err != nil {
		return nil, err
	}
	s.regions, s.images = regions, gallery.NewEngine(regions...)
	if _, err := disk.Sweep(s.dir.Mounts()); err != nil {
		return nil, fmt.Errorf("clean up after inventories that were never finished: %w", err)
	}
	if s.artifacts, err = artifact.Open(s.dir.Artifacts(), s.url); err != nil {
		return nil, err
	}
	s.mounts[artifact.PathPrefix] = s.artifacts.Handler(s.mayRead)
	return regions, s.openNetwork(ctx)
}

// openRegions opens the regions that can be opened: one whose root is gone must
// not take the others with it.
func (s *server) openRegions() ([]*region.Region, error) {
	var regions []*region.Region
	for _, l := range s.cfg.Locations {
		r, err := region.Open(l.Name, l.root(s.dir))
		if err != nil {
			s.log.Error("a region is not usable", "region", l.Name, "root", l.root(s.dir), "error", err)
			continue
		}
		regions = append(regions, r)
	}
	if len(regions) == 0 {
		return nil, fmt.Errorf("no region of %s can be opened; the log says why", s.dir.Config())
	}
	return regions, nil
}

// sweepEvery is how often bytes that nothing names any more are looked for.
const sweepEvery = time.Hour

// sweepImages removes blobs, replicas and chunks that no resource names, until
// ctx ends. What goes wrong is logged: the next sweep tries again.
func (s *server) sweepImages(ctx context.Context) error {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	sweeper := gallery.Sweeper{Store: s.store, Artifacts: s.artifacts, Regions: s.regions}
	for {
		swept, err := sweeper.Run(ctx)
		if err != nil && ctx.Err() == nil {
			s.log.Error("sweeping images", "error", err)
		}
		if swept != (gallery.Swept{}) {
			s.log.Info("swept images", "blobs", swept.Blobs, "replicas", swept.Replicas, "chunks", swept.Chunks, "bytes", swept.Bytes)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (s *server) openNetwork(ctx context.Context) error {
	cfg, err := network.Load(s.dir.Network(), string(s.dir))
	if err != nil {
		return err
	}
	if s.network, err = network.Open(cfg); err != nil {
		return err
	}
	return s.network.Ensure(ctx)
}

func (s *server) locations() []resources.Location {
	var all []resources.Location
	for _, l := range s.cfg.Locations {
		all = append(all, resources.Location{Name: l.Name, DisplayName: l.DisplayName})
	}
	return all
}

// pipelines is the provider that is a client of this server, like any other.
func (s *server) pipelines() (provider.Provider, error) {
	sealer, err := secret.Open(s.dir.SealingKey())
	if err != nil {
		return provider.Provider{}, err
	}
	signer, err := openSigner(s.dir)
	if err != nil {
		return provider.Provider{}, err
	}
	return images.New(images.Config{
		Endpoint: s.endpoint, Signer: signer, Sealer: sealer,
		LogDir: s.dir.RunLogs(), Location: s.cfg.Locations[0].Name,
	}), nil
}

// endpoint connects a pipeline to the ARM endpoint that it acts on: this
// server, or one of config.yaml's targets.
func (s *server) endpoint(target string) (pipeline.Cloud, error) {
	if target == "" {
		secret, err := readSecret(s.dir.AdminSecret())
		if err != nil {
			return nil, err
		}
		return azure.New(azure.Endpoint{URL: s.url, ClientID: s.admin.AppID, ClientSecret: secret, CAFile: s.dir.CACertificate()})
	}
	t, ok := s.cfg.Targets[target]
	if !ok {
		return nil, fmt.Errorf("there is no target %q in %s", target, s.dir.Config())
	}
	return t.connect()
}

// mayRead lets those download artifacts who may read gallery versions in the
// subscription.
func (s *server) mayRead(r *http.Request) error {
	who, err := frontdoor.Authenticate(r, s.tokens)
	if err != nil {
		return arm.Errorf(http.StatusUnauthorized, arm.CodeAuthenticationFailed, "%v", err)
	}
	return s.access.Authorize(r.Context(), who, string(gallery.TypeVersion)+"/read", arm.SubscriptionID(s.cfg.Subscription))
}

func readSecret(path string) (string, error) {
	text, err := readOrMake(path)
	return strings.TrimSpace(text), err
}
