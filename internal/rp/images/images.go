// Package images is the resource provider Hallmark.Images: pipelines, which
// hold a recipe, and their runs, each of which builds, tests and publishes one
// version of it.
//
// A run is driven by package pipeline, which acts on an ARM endpoint that is
// a parameter: this control plane, another one, or Azure. Nothing here touches
// a disk image or a machine. Only the wiring imports it.
package images

import (
	"context"
	"net/http"
	"regexp"
	"sync"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/pipeline"
	"hallmark.dev/hallmark/internal/provider"
)

// The types and the api-version of this provider.
const (
	TypePipeline = arm.Type("Hallmark.Images/pipelines")
	TypeRun      = arm.Type("Hallmark.Images/pipelines/runs")
	APIVersion   = "2026-11-01"
)

// Config is what the provider needs from the process that it runs in.
type Config struct {
	// Endpoint returns the ARM endpoint that a pipeline acts on; target is the
	// pipeline's own choice, empty for this control plane.
	Endpoint func(target string) (pipeline.Cloud, error)
	// Signer signs tattoos and statements.
	Signer pipeline.Signer
	// Sealer encrypts secrets while their run lasts.
	Sealer Sealer
	// LogDir is where the logs of runs are kept, one file a run.
	LogDir string
	// Location is where images are built unless a pipeline says otherwise.
	Location string
}

// Sealer encrypts what must not stand in the database as it is.
type Sealer interface {
	Seal(plain []byte) (sealed []byte, err error)
	Open(sealed []byte) (plain []byte, err error)
}

// runsAtOnce is how many runs go on at the same time. Building is bound by the
// machine's cores, testing by its memory.
const runsAtOnce = 4

// New is the provider.
func New(c Config) provider.Provider {
	p := &images{Config: c}
	return provider.Provider{Types: []provider.ResourceType{
		{
			Type: TypePipeline, Scopes: provider.AtResourceGroup, APIVersions: []string{APIVersion},
			Name: regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`), NameHint: "letters, digits, dots, dashes and underscores, at most 63",
			Location: provider.LocationOptional, Tags: true,
			ReadOnly: []string{"properties.recipeDigest"},
			Validate: validatePipeline, Default: defaultPipeline,
			CascadeDelete: true,
			Actions:       []provider.Action{{Name: "run", Apply: p.startRun}},
		},
		{
			Type: TypeRun, APIVersions: []string{APIVersion},
			Name: regexp.MustCompile(`^[0-9A-Za-z]{10,40}$`), NameHint: "a ULID: 10 to 40 letters and digits",
			Load: loadRun, Default: p.defaultRun, Validate: validateRun,
			ReadOnly:  []string{"properties.run"},
			NoPatch:   true,
			Reconcile: p.reconcile, Workers: runsAtOnce,
			Actions: []provider.Action{
				{Name: "cancel", Apply: cancelRun, WhileBusy: true},
				{Name: "log", Method: http.MethodGet, Apply: p.readLog},
				{Name: "junit", Method: http.MethodGet, Apply: junitOfRun},
			},
		},
	}}
}

type images struct {
	Config
	clouds sync.Map // target → pipeline.Cloud
}

// cloud connects to an endpoint once.
func (p *images) cloud(target string) (pipeline.Cloud, error) {
	if c, ok := p.clouds.Load(target); ok {
		return c.(pipeline.Cloud), nil
	}
	c, err := p.Endpoint(target)
	if err != nil {
		return nil, err
	}
	p.clouds.Store(target, c)
	return c, nil
}

func (p *images) driver(ctx context.Context, s *runState, now func() time.Time, key string) (*pipeline.Driver, error) {
	cloud, err := p.cloud(s.Target)
	if err != nil {
		return nil, err
	}
	recipe, err := parse(s.Recipe)
	if err != nil {
		return nil, err
	}
	secrets, err := p.openSecrets(s.Secrets)
	if err != nil {
		return nil, err
	}
	log, err := openLog(p.LogDir, key)
	if err != nil {
		return nil, err
	}
	return &pipeline.Driver{
		Cloud: cloud, Signer: p.Signer, Place: s.Place.Within(recipe.Regions), Recipe: recipe, Secrets: secrets, Now: now,
		Log: log.append,
	}, nil
}
