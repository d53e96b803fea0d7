package compute

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// Machines runs virtual machines that outlive this process. Names are machine ids,
// which compute chooses (UUIDs). Every call may be repeated.
type Machines interface {
	// Start makes the machine run as described and returns as soon as its hypervisor
	// process runs; nothing happens if it runs already.
	Start(ctx context.Context, m Machine) error
	// Stop asks the guest to power off, waits for at most grace, and then ends
	// the process. A machine that does not run is no error.
	Stop(ctx context.Context, name string, grace time.Duration) error
	// Running tells whether the machine's process exists. It must be quick (no talk with
	// the guest): lists call it for every item.
	Running(name string) bool
	// Agent asks the guest's agent about its system; ErrAgent if it does not answer.
	Agent(ctx context.Context, name string) (AgentInfo, error)
	// Accelerator is "kvm" or "tcg".
	Accelerator() string
	// Exec runs a shell script in the guest as root. ErrAgent if the guest's agent
	// does not answer.
	Exec(ctx context.Context, name string, script string) (Output, error)
	// CopyDisk writes a disk that a running machine has, by its file, as it is at one moment
	// into the qcow2 file target, which exists and is of the same size.
	CopyDisk(ctx context.Context, name, path, target string) error
	// Console is the end of the serial console's log, at most limit bytes.
	Console(name string, limit int64) ([]byte, error)
	// SetDisks makes the data disks of a machine that runs those described, while it runs. What
	// goes is let go of by the hypervisor when it returns. A machine that does not run is no
	// error.
	SetDisks(ctx context.Context, m Machine) error
	// GrowDisk makes a data disk larger that a running machine has, by its file, in bytes.
	GrowDisk(ctx context.Context, name, path string, size int64) error
	// Remove ends the machine and removes all that it has except its disks.
	Remove(ctx context.Context, name string) error
	// Sweep removes every machine of which anything is left, a process or a folder, that keep
	// does not want.
	Sweep(ctx context.Context, keep func(name string) bool) error
}

// What engines report, wrapped with details.
var (
	// ErrAgent: the guest agent does not answer.
	ErrAgent = errors.New("the guest agent does not answer")
	// ErrNotReplicated: the region has no complete replica of the image.
	ErrNotReplicated = errors.New("the image is not replicated to the region")
	// ErrNoSuchImage: the catalogue has no such publisher, offer, sku or version.
	ErrNoSuchImage = errors.New("no such marketplace image")
)

// Machine is all that a machine is made of.
type Machine struct {
	Name      string // its id
	Label     string // what people call it; for the process list
	VCPUs     int
	MemoryMiB int
	Disks     []MachineDisk // the first is booted from
	Interface MachineInterface
	Guest     Guest
}

// MachineDisk is a qcow2 file that the guest sees as a disk.
type MachineDisk struct {
	Path string
	LUN  int // of a data disk
}

// MachineInterface is a network card.
type MachineInterface struct {
	Tap         string
	MAC         string // aa:bb:cc:dd:ee:ff
	Address     netip.Prefix
	Gateway     netip.Addr
	Nameservers []netip.Addr
}

// Guest is what the guest is told at its first boot.
type Guest struct {
	InstanceID    string // a new one makes cloud-init run again
	Hostname      string
	AdminUser     string
	SSHKeys       []string
	PasswordHash  string // crypt(5), "" for none
	PasswordLogin bool   // over SSH
	CustomData    []byte
	Specialized   bool // an existing system disk: tell it its network only
}

// AgentInfo is what the guest's agent says of its system.
type AgentInfo struct {
	Version           string // of the agent
	OSName, OSVersion string
	HostName          string
}

// Output is what a script in the guest has done.
type Output struct {
	ExitCode       int
	Stdout, Stderr string
	Truncated      bool
}

// Volumes keeps disk files (qcow2). Paths come from File; every call may be repeated.
type Volumes interface {
	// File is where the volume of that name is or would be.
	File(name string) string
	// Overlay makes an overlay on a backing file, of at least size bytes.
	Overlay(ctx context.Context, name, backing string, size int64) error
	// Empty makes an empty volume.
	Empty(ctx context.Context, name string, size int64) error
	// Copy makes an independent copy of a file with its backing chain, of at least size bytes.
	Copy(ctx context.Context, name, source string, size int64) error
	// Fill makes a volume with what fill writes into an empty file of that size.
	Fill(ctx context.Context, name string, size int64, fill func(file string) error) error
	// Grow makes a volume larger.
	Grow(ctx context.Context, name string, size int64) error
	// Size is the virtual size of any image file in bytes.
	Size(ctx context.Context, path string) (int64, error)
	// Backing is the file that a volume stands on, as its own header says; "" for none.
	Backing(ctx context.Context, name string) (string, error)
	// Allocated is how many bytes the volume has on disk; 0 if there is none.
	Allocated(name string) int64
	// Free is how many bytes volumes may still grow by.
	Free() (int64, error)
	Remove(ctx context.Context, name string) error
	// Sweep removes every volume and temporary file that keep does not want.
	Sweep(ctx context.Context, keep func(name string) bool) error
}

// Network connects machines to the bridge. Every call may be repeated.
type Network interface {
	// Attach makes the tap of a port, or brings it up to date, and returns its name.
	Attach(ctx context.Context, port, mac string, address netip.Addr) (tap string, err error)
	Detach(ctx context.Context, port string) error
	// Sweep removes the ports of this instance that are not among keep.
	Sweep(ctx context.Context, keep []string) error
}

// Replicas are images as read-only qcow2 files in the regions.
type Replicas interface {
	// Path is the replica's file, or ErrNotReplicated.
	Path(ctx context.Context, location, digest string) (string, error)
	// DigestOf is the digest of the image that a replica's file claims to be; "" for other files.
	DigestOf(path string) string
	// Use calls do with the replica's file, which stays until do returns, or
	// ErrNotReplicated. What uses it longer is in a document before (see Users).
	Use(ctx context.Context, location, digest string, do func(path string) error) error
	// Ingest takes the bytes of a qcow2 file, backing chain included, as an image into
	// the location's content store, has record write the digest into a document
	// while nothing may be collected, and materialises the replica.
	Ingest(ctx context.Context, location, path string, record func(ctx context.Context, digest string) error) error
	// Release removes the replica unless users names some; one that is gone, or in use, is no
	// error.
	Release(ctx context.Context, location, digest string, users func(ctx context.Context) ([]string, error)) error
}

// Artifacts resolves blob URIs of this server to qcow2 files.
type Artifacts interface {
	Resolve(ctx context.Context, uri string) (path string, err error)
}

// Catalogue is the local marketplace. Names match without regard to case.
type Catalogue interface {
	// Entries are all skus on offer.
	Entries() []Entry
	// Versions are the versions of a sku that exist, oldest first.
	Versions(ctx context.Context, e Entry) ([]string, error)
	// Resolve finds the exact version; version may be "latest". ErrNoSuchImage.
	Resolve(ctx context.Context, publisher, offer, sku, version string) (PlatformImage, error)
	// Assemble makes sure that the image's file exists, which may take minutes, and
	// returns it. progress gets lines for people.
	Assemble(ctx context.Context, p PlatformImage, progress func(string)) (path string, err error)
}

// Entry is a sku of the catalogue.
type Entry struct{ Publisher, Offer, SKU string }

// PlatformImage is a marketplace image in an exact version.
type PlatformImage struct {
	Entry
	Version string
	// Digest names what the image is assembled from; its bytes come out a little
	// different each time.
	Digest string
	// OSID and OSVersion are os-release(5)'s ID and VERSION_ID; empty if not known.
	OSID, OSVersion string

	OSType     string // Linux or Windows
	Generation string // V1 or V2
	SizeBytes  int64  // virtual; 0 if not known before it is assembled
}
