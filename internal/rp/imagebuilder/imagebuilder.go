// Package imagebuilder is the resource provider Microsoft.VirtualMachineImages:
// image templates that are run, with Azure Image Builder's shapes and behaviour.
//
// A template is a document that hardly changes; a run takes it from a source image
// through its customizers to its distributions. The bytes are made by internal/build;
// what comes out goes to galleries and managed images through ARM, with the rights
// of whoever asked for the run. Everything that a run has decided is recorded before
// it is done, so that a run that was killed goes on (finished layers are in the cache)
// or ends as failed with a reason.
//
// It resolves no marketplace and keeps no image: those are engines behind Sources and
// Builder. Only cmd imports it.
package imagebuilder

import (
	"context"
	"log/slog"
	"regexp"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/artifact"
	"hallmark.dev/hallmark/internal/build"
	"hallmark.dev/hallmark/internal/disk"
	"hallmark.dev/hallmark/internal/provider"
)

// The types that this provider serves, and those of others that it uses.
const (
	TypeTemplate  arm.Type = "Microsoft.VirtualMachineImages/imageTemplates"
	TypeRunOutput arm.Type = "Microsoft.VirtualMachineImages/imageTemplates/runOutputs"

	typeDefinition arm.Type = "Microsoft.Compute/galleries/images"
	typeVersion    arm.Type = "Microsoft.Compute/galleries/images/versions"
	typeImage      arm.Type = "Microsoft.Compute/images"
	typeVM         arm.Type = "Microsoft.Compute/virtualMachines"
)

// Builder makes an image of a plan; internal/build's is one. Interrupted by its context
// it cleans up, and keeps finished layers for the next time.
type Builder interface {
	Build(ctx context.Context, run string, plan build.Plan, sink func(build.Event)) (build.Result, error)
}

// Sources finds the image that a build starts from. The files must not change.
type Sources interface {
	// Platform is a marketplace image. version may be "latest": what that means is
	// found out now. It may take minutes to make the file; progress gets lines for people.
	Platform(ctx context.Context, publisher, offer, sku, version string, progress func(line string)) (Base, error)
	// Fetched is a disk image from a URL, checked against its digest.
	Fetched(ctx context.Context, u URL, progress func(line string)) (Base, error)
	// Stored is the replica of an image of the content store in a location.
	Stored(ctx context.Context, location, digest string) (Base, error)
}

// URL names a disk image to fetch. One of SHA256 and ChecksumURI is set.
type URL struct{ URI, SHA256, ChecksumURI, Format string }

// Base is a resolved source.
type Base struct {
	build.Base
	Version      string // exact, of a marketplace image
	SourceDigest string // what names the source, where that is not the file's own digest
}

// Fetcher gets the scripts and files that customizers name by https.
type Fetcher interface {
	// Fetch returns at most limit bytes; more are an error.
	Fetch(ctx context.Context, uri string, limit int64) ([]byte, error)
}

// Config is what the provider works with.
type Config struct {
	Builder   Builder
	Sources   Sources
	Artifacts *artifact.Store
	Fetch     Fetcher // nil: NewFetcher()
	// Logs is a directory of this provider's own for the runs' logs.
	Logs string
	// Builds is how many runs may build at the same time; others wait, Queued. 0 means 1.
	Builds int
	// EngineVersion is part of every cache key.
	EngineVersion string
	// Convert writes a qcow2 file as a fixed VHD; nil: package disk's.
	Convert func(ctx context.Context, from, to string) error
	// PollEvery is how often a resource that another provider makes is looked at; 0 means
	// a second.
	PollEvery time.Duration
	Log       *slog.Logger // nil discards
}

type service struct {
	Config
	slots   chan struct{} // one for each build that may go on
	secrets secrets
}

var (
	apiVersions  = []string{"2024-02-01", "2023-07-01", "2022-07-01", "2022-02-14", "2021-10-01", "2020-02-14"}
	templateName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)
	runID        = regexp.MustCompile(`^[0-9a-z]{26}$`)
)

// workers bounds how many templates are looked at at the same time. Most of them
// wait for a slot; each must notice a cancel within seconds.
const workers = 16

// New is the provider.
func New(cfg Config) provider.Provider {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.PollEvery == 0 {
		cfg.PollEvery = time.Second
	}
	if cfg.Fetch == nil {
		cfg.Fetch = NewFetcher()
	}
	if cfg.Convert == nil {
		cfg.Convert = func(ctx context.Context, from, to string) error {
			return disk.Convert(ctx, from, disk.QCOW2, to, disk.VHD)
		}
	}
	s := &service{Config: cfg, slots: make(chan struct{}, max(cfg.Builds, 1))}
	return provider.Provider{Types: []provider.ResourceType{s.templates(), {
		Type: TypeRunOutput, APIVersions: apiVersions, NoPut: true, NoPatch: true, NoDelete: true,
	}}}
}

func (s *service) templates() provider.ResourceType {
	return provider.ResourceType{
		Type: TypeTemplate, Scopes: provider.AtResourceGroup, APIVersions: apiVersions,
		Name: templateName, NameHint: "letters, digits, dashes, underscores and full stops, at most 64",
		Location: provider.LocationRequired, Tags: true,
		ReadOnly: []string{"properties.lastRunStatus", "properties.provisioningError", "properties.exactStagingResourceGroup", "properties.source.exactVersion"},
		Load:     s.loadTemplate, Default: defaultTemplate, Validate: validateTemplate,
		Reconcile: s.reconcile, Workers: workers,
		CascadeDelete: true,
		Actions: []provider.Action{
			{Name: actionRun, Async: true, KeepState: true, Apply: s.applyRun},
			{Name: actionCancel, Async: true, KeepState: true, WhileBusy: true, Apply: applyCancel},
			{Name: actionReadLog, WhileBusy: true, Apply: s.applyReadLog},
			{Name: actionReadLog, Method: "GET", WhileBusy: true, Apply: s.applyReadLog}, // leaves no audit event
		},
	}
}
