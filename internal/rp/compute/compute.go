// Package compute is the resource provider Microsoft.Compute without galleries:
// virtualMachines, virtualMachineScaleSets and their instances, disks, snapshots, managed images, and what a location offers
// (marketplace publishers, sizes, skus).
//
// It turns documents into machines: what to do is decided from documents and
// recorded in them before it is done, so that after any crash Reconcile finds what
// it had begun by the name that it had decided. It runs nothing itself: machines,
// volumes, taps, replicas and the marketplace catalogue are engines behind the small
// interfaces of engines.go. What it needs of other providers (interfaces, gallery
// versions) it reads and asks for through provider.Client. Only cmd/hallmark
// imports it.
package compute

import (
	"log/slog"
	"net/netip"
	"regexp"
	"sync"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/vm"
)

// The types that this provider serves, and those of others that it uses.
const (
	TypeVM       arm.Type = "Microsoft.Compute/virtualMachines"
	TypeScaleSet arm.Type = "Microsoft.Compute/virtualMachineScaleSets"
	TypeInstance arm.Type = "Microsoft.Compute/virtualMachineScaleSets/virtualMachines"
	TypeDisk     arm.Type = "Microsoft.Compute/disks"
	TypeSnapshot arm.Type = "Microsoft.Compute/snapshots"
	TypeImage    arm.Type = "Microsoft.Compute/images"

	TypeExtension arm.Type = "Microsoft.Compute/virtualMachines/extensions"
	TypeCommand   arm.Type = "Microsoft.Compute/virtualMachines/runCommands"

	typeGalleryImage   arm.Type = "Microsoft.Compute/galleries/images"
	typeGalleryVersion arm.Type = "Microsoft.Compute/galleries/images/versions"
	typeInterface      arm.Type = "Microsoft.Network/networkInterfaces"
	typeVirtualNetwork arm.Type = "Microsoft.Network/virtualNetworks"
	typePlatformImage  arm.Type = "Microsoft.Compute/locations/publishers/artifacttypes/offers/skus/versions"
)

// Config is everything that the provider works with.
type Config struct {
	Machines  Machines
	Jobs      Jobs
	Volumes   Volumes
	Network   Network
	Replicas  Replicas
	Catalogue Catalogue
	Artifacts Artifacts // may be nil: images from blob URIs are then refused
	Secrets   Sealer    // may be nil: protected settings are then refused

	// Locations are the configured regions.
	Locations []string
	// Sizes are what machines may be; nil means SizesWithin(vm.DefaultCaps).
	Sizes []Size
	// Memory is how many MiB all allocated machines may take together.
	Memory int64
	// Subnet, Gateway and Nameservers are what a machine is told of its network.
	Subnet      netip.Prefix
	Gateway     netip.Addr
	Nameservers []netip.Addr
	// BootID identifies this boot of the host; machines that ran in another one were
	// ended by the host, not by anybody's wish, and are started again.
	BootID string
	// Log gets what no client waits for; nil discards.
	Log *slog.Logger
}

// service is the provider at work.
type service struct {
	Config
	// reserving makes "is there room" and "recorded as taken" one step. One process
	// owns the data directory, so a lock in memory is enough.
	reserving sync.Mutex
	// waiting are the scale sets that wait for machines to be gone; what is lost with the
	// process is found again at the next start.
	waiting keySet
	// following are the scale sets that upgrade by themselves, with the image definition that
	// they follow; every set is looked at at the start.
	following keySet
	// queueing makes "no other job has its turn" and "recorded as this one's" one step.
	queueing sync.Mutex
}

// Sealer encrypts what must not stand in the store as it is.
type Sealer interface {
	Seal(plain []byte) ([]byte, error)
	Open(sealed []byte) ([]byte, error)
}

var (
	computeVersions = []string{"2024-11-01", "2024-07-01", "2024-03-01", "2023-09-01", "2022-08-01", "2021-11-01", "2020-06-01", "2019-07-01", "2017-12-01"}
	diskVersions    = []string{"2024-03-02", "2023-10-02", "2023-04-02", "2022-07-02", "2021-12-01", "2020-12-01", "2018-06-01"}

	vmName   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9_])?$`)
	diskName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,78}[A-Za-z0-9_])?$`)
)

const (
	vmNameHint   = "1 to 64 letters, digits, underscores, full stops or dashes; it starts with a letter or digit and does not end with a full stop or dash"
	diskNameHint = "1 to 80 letters, digits, underscores, full stops or dashes; it starts with a letter or digit and does not end with a full stop or dash"

	// workers bounds how many machines change at the same time. A worker mostly waits for
	// a guest or a process, so there are more of them than processors.
	workers = 8
	// jobWorkers bounds how many guests are asked at the same time how a job stands.
	jobWorkers = 8

	// shutdownGrace is how long a guest may take to power off when asked; an emulated
	// one on a busy host needs most of it.
	shutdownGrace = 90 * time.Second
	// lookAgain is how often a machine that runs is looked at: its end comes without notice.
	lookAgain = 15 * time.Second
	// commandTimeout is Azure's for a run command.
	commandTimeout = 90 * time.Minute
	agentPatience  = 500 * time.Millisecond
)

// New is the provider. Call Sweep before its controllers start.
func New(cfg Config) provider.Provider {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Sizes == nil {
		cfg.Sizes = SizesWithin(vm.DefaultCaps)
	}
	s := &service{Config: cfg}
	return provider.Provider{
		Types:  []provider.ResourceType{s.virtualMachines(), s.extensions(), s.commands(), s.instances(), s.scaleSets(), s.disks(), s.snapshots(), s.images()},
		Routes: s.routes(),
	}
}

func (s *service) virtualMachines() provider.ResourceType {
	return provider.ResourceType{
		Type: TypeVM, Scopes: provider.AtResourceGroup, APIVersions: computeVersions, Name: vmName, NameHint: vmNameHint,
		Location: provider.LocationRequired, Tags: true, Identity: true,
		ReadOnly: []string{"properties.vmId", "properties.timeCreated", "properties.instanceView", "properties.hallmark", pathMembership},
		Load:     s.loadVM, Default: s.defaultVM, Validate: s.validateVM, Commit: joinScaleSet, CheckDelete: leaveScaleSet,
		Reconcile: s.reconcileVM, Workers: workers,
		Watches: map[arm.Type]func(string, *store.Document) []string{TypeDisk: wakeOwner(TypeVM)},
		View:    s.viewVM,
		Actions: s.vmActions(),
		// Extensions and run commands are nothing but documents once the machine has gone.
		CascadeDelete: true,
	}
}

func (s *service) extensions() provider.ResourceType {
	return provider.ResourceType{
		Type: TypeExtension, APIVersions: computeVersions, Name: diskName, NameHint: diskNameHint,
		Location: provider.LocationOptional, Tags: true,
		ReadOnly: []string{"properties.instanceView"},
		Default:  s.defaultExtension, Validate: s.validateExtension, Commit: s.commitExtension,
		Reconcile: s.reconcileExtension, Workers: jobWorkers,
		View:    viewExtension,
		Actions: []provider.Action{{Name: actionReapply, KeepState: true, WhileBusy: true, Apply: reapplyExtension}},
	}
}

func (s *service) commands() provider.ResourceType {
	return provider.ResourceType{
		Type: TypeCommand, APIVersions: computeVersions, Name: diskName, NameHint: diskNameHint,
		Location: provider.LocationOptional, Tags: true,
		ReadOnly: []string{"properties.instanceView"},
		Default:  s.defaultCommand, Validate: s.validateCommand, Commit: s.commitCommand,
		Reconcile: s.reconcileCommand, Workers: jobWorkers,
		View: viewCommand,
	}
}

func (s *service) disks() provider.ResourceType {
	return provider.ResourceType{
		Type: TypeDisk, Scopes: provider.AtResourceGroup, APIVersions: diskVersions, Name: diskName, NameHint: diskNameHint,
		Location: provider.LocationRequired, Tags: true,
		Codes:    provider.Codes{Create: 202},
		ReadOnly: []string{"managedBy", "properties.timeCreated", "properties.diskState", "properties.uniqueId", "properties.diskSizeBytes", "properties.hallmark"},
		Load:     s.loadDisk, Default: s.defaultDisk, Validate: s.validateDisk, Commit: commitDisk, CheckDelete: checkDiskDetached,
		Reconcile: s.reconcileDisk, Workers: workers,
		Actions: []provider.Action{
			{Name: actionJoin, KeepState: true, Apply: joinDisk},
			{Name: actionLeave, KeepState: true, WhileBusy: true, Apply: leaveDisk},
			{Name: actionReset, Async: true, Apply: s.resetDisk},
			{Name: "beginGetAccess", Apply: refuseAccess},
			{Name: "endGetAccess", Apply: refuseAccess},
		},
	}
}

func (s *service) snapshots() provider.ResourceType {
	return provider.ResourceType{
		Type: TypeSnapshot, Scopes: provider.AtResourceGroup, APIVersions: diskVersions, Name: diskName, NameHint: diskNameHint,
		Location: provider.LocationRequired, Tags: true,
		Codes:    provider.Codes{Create: 202},
		ReadOnly: []string{"properties.timeCreated", "properties.diskState", "properties.uniqueId", "properties.diskSizeBytes", "properties.hallmark"},
		Load:     s.loadSnapshot, Default: defaultSnapshot, Validate: s.validateSnapshot,
		Reconcile: s.reconcileSnapshot, Workers: 2,
		Actions: []provider.Action{{Name: "beginGetAccess", Apply: refuseAccess}, {Name: "endGetAccess", Apply: refuseAccess}},
	}
}

func (s *service) images() provider.ResourceType {
	return provider.ResourceType{
		Type: TypeImage, Scopes: provider.AtResourceGroup, APIVersions: computeVersions, Name: diskName, NameHint: diskNameHint,
		Location: provider.LocationRequired, Tags: true,
		ReadOnly: []string{"properties.hallmark"},
		Load:     s.loadImage, Default: defaultImage, Validate: s.validateImage,
		Reconcile: s.reconcileImage, Workers: 2,
	}
}
