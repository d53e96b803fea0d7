// Package gallery is the part of the resource provider Microsoft.Compute that
// publishes images: galleries, image definitions and image versions, with Azure's
// shapes, limits and refusals.
//
// A version is desired state: bytes that are taken from a source once, and the
// regions where a replica of them has to be ready. Reconcile takes the bytes into
// the content store, makes the replicas, and says Succeeded only when every
// region is ready. It moves no bytes itself: that is the engines' work, behind Bytes and
// Regions. Machines, disks and managed images belong to other providers; they
// are seen here as documents only. Only cmd imports it.
package gallery

import (
	"context"
	"log/slog"
	"regexp"
	"slices"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/artifact"
	"hallmark.dev/hallmark/internal/provider"
)

// The types that this provider serves, and those of others that it looks at.
const (
	TypeGallery    arm.Type = "Microsoft.Compute/galleries"
	TypeDefinition arm.Type = "Microsoft.Compute/galleries/images"
	TypeVersion    arm.Type = "Microsoft.Compute/galleries/images/versions"

	typeVM       arm.Type = "Microsoft.Compute/virtualMachines"
	typeScaleSet arm.Type = "Microsoft.Compute/virtualMachineScaleSets"
	typeDisk     arm.Type = "Microsoft.Compute/disks"
	typeSnapshot arm.Type = "Microsoft.Compute/snapshots"
	typeImage    arm.Type = "Microsoft.Compute/images"
)

// Image is an image in the content store.
type Image struct {
	Digest      string `json:"imageDigest"`      // sha256:…, of guest-visible bytes
	VirtualSize int64  `json:"virtualSizeBytes"` // what a machine sees
	DataBytes   int64  `json:"dataBytes"`        // of these, not zero
	ChunksNew   int    `json:"chunksNew"`        // chunks that the store lacked when it was taken in
	BytesNew    int64  `json:"chunkBytesNew"`    // their bytes
	StoredBytes int64  `json:"storedBytes"`      // what these take on disk, compressed
}

// Bytes takes disk images into the content store and writes them out again. Every
// call may be repeated after any failure.
type Bytes interface {
	// Ingest stores the image in a local file (qcow2, raw or VHD, not resting on
	// another file) in a location. recorded is called once, while what was stored is
	// safe from collection: after it returned nil, a document names the digest.
	Ingest(ctx context.Context, location, file string, recorded func(context.Context, Image) error, report func(percent int)) error
	// Stat is what is known of an image that is stored in some region.
	Stat(ctx context.Context, digest string) (Image, error)
	// Export writes a stored image to a file that does not exist yet, in one of
	// Formats. The file is complete and durable when it appears.
	Export(ctx context.Context, location, digest, format, file string) error
}

// Regions keeps the read-only replicas that machines are made from. Every call may
// be repeated after any failure.
type Regions interface {
	// Ready reports whether the replica is there. An error means that it cannot be told.
	Ready(ctx context.Context, location, digest string) (bool, error)
	// Replicate makes the replica, from whichever region has the bytes, and returns
	// how many bytes had to be brought into the region. It is durable on return.
	Replicate(ctx context.Context, location, digest string, report func(percent int)) (moved int64, err error)
	// Remove removes a replica unless users names some, in which case the error wraps
	// ErrInUse. That it is gone already is no error.
	Remove(ctx context.Context, location, digest string, users func(context.Context) ([]string, error)) error
}

// Config is what the provider works with.
type Config struct {
	Bytes     Bytes
	Regions   Regions
	Artifacts *artifact.Store // where blob URIs point to, and exports go
	Locations []string        // the configured regions; the names that targetRegions may use
	Log       *slog.Logger    // nil discards
}

type service struct{ Config }

var (
	apiVersions = []string{"2025-03-03", "2024-03-03", "2023-07-03", "2022-08-03", "2022-03-03", "2022-01-03", "2021-10-01", "2021-07-01", "2020-09-30", "2019-12-01"}

	galleryName    = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.]{0,78}[A-Za-z0-9])?$`)
	definitionName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,78}[A-Za-z0-9])?$`)
)

// New is the provider.
func New(cfg Config) provider.Provider {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &service{cfg}
	return provider.Provider{Types: []provider.ResourceType{s.galleries(), s.definitions(), s.versions()}}
}

func (s *service) galleries() provider.ResourceType {
	return provider.ResourceType{
		Type: TypeGallery, Scopes: provider.AtResourceGroup, APIVersions: apiVersions,
		Name: galleryName, NameHint: "English letters, digits, and in the middle underscores and full stops, up to 80 characters; dashes are not allowed",
		Location: provider.LocationRequired, Tags: true,
		ReadOnly: []string{"properties.identifier", "properties.sharingStatus"},
		Default:  defaultGallery, Validate: validateGallery, Commit: commitGallery,
	}
}

func (s *service) definitions() provider.ResourceType {
	return provider.ResourceType{
		Type: TypeDefinition, APIVersions: apiVersions,
		Name: definitionName, NameHint: "English letters, digits, and in the middle dashes, underscores and full stops, up to 80 characters",
		Location: provider.LocationRequired, Tags: true,
		Default: defaultDefinition, Validate: validateDefinition, Commit: commitDefinition,
	}
}

func (s *service) versions() provider.ResourceType {
	return provider.ResourceType{
		Type: TypeVersion, APIVersions: apiVersions,
		Location: provider.LocationRequired, Tags: true,
		ReadOnly: []string{"properties.replicationStatus", "properties.validationsProfile", "properties.hallmark",
			"properties.publishingProfile.publishedDate", "properties.storageProfile.osDiskImage.sizeInGB"},
		Load: s.loadVersion, Default: defaultVersion, Validate: s.validateVersion, Commit: commitVersion,
		CheckDelete: checkDeleteVersion,
		Reconcile:   s.reconcileVersion, Workers: 2,
		View:    viewVersion,
		Actions: []provider.Action{{Name: actionExport, Async: true, KeepState: true, Apply: applyExport}},
	}
}

func (s *service) known(location string) bool {
	return len(s.Locations) == 0 || slices.ContainsFunc(s.Locations, func(l string) bool {
		return arm.NormalLocation(l) == arm.NormalLocation(location)
	})
}
