package build

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"time"

	"hallmark.dev/hallmark/internal/disk"
)

// NetworkNamespace is a network for steps: it reaches other machines and neither
// the host's loopback nor its services.
type NetworkNamespace interface {
	// Path names the namespace's file, such as one below /run/netns.
	Path() string
	Close() error
}

// Resolver is what a NetworkNamespace may also be: it knows the resolv.conf that
// works inside. Without it the host's is used.
type Resolver interface {
	ResolvConf() []byte
}

// VMRunner runs one step in a booted machine, over SSH.
type VMRunner interface {
	// RunStep boots a machine whose disk is the overlay at s.Image, runs the step,
	// shuts the machine down cleanly and answers the step's exit code. When it
	// returns, nothing of the machine is left and every byte is in the overlay,
	// also after a step that failed: its state is kept to be looked into.
	RunStep(ctx context.Context, s VMStep) (exitCode int, err error)
}

// VMStep is what a VMRunner needs.
type VMStep struct {
	Run   string
	Image string // a qcow2 overlay, writable
	Step  Step   // for its name, Offline, and its time limit, which begins when the machine is up
	// Command runs as root in /, with Env and nothing else but HOME, USER and
	// LOGNAME in its environment, and without input.
	Command []string
	Env     map[string]string
	Files   map[string][]byte // to be placed in /run/hallmark, in memory, executable
	Secrets []Secret          // to be placed in /run/secrets, in memory that is never swapped
	Output  io.Writer         // masks secrets by itself
}

// Builder runs plans in one data directory. Fill in the fields before the first
// use; methods may be called at the same time, also by several processes.
type Builder struct {
	// Network makes a network namespace for a run. Without it, steps that may use
	// the network have none.
	Network func(ctx context.Context, run string) (NetworkNamespace, error)
	// VM runs steps that need a machine. Without it they fail with ErrNeedsVM.
	VM VMRunner
	// OnFailure is called while the failed state is kept, when the plan asks for
	// a shell; it may call Shell.
	OnFailure func(ctx context.Context, run string, failure *StepError)
	// CacheLimit bounds the cache in bytes; it is pruned after each build. 0 means
	// no limit.
	CacheLimit int64
	// Hook is told of each point that is passed; for tests.
	Hook func(Point, When) error

	cache     cache
	secretKey []byte
	images    images
	container container
	now       func() time.Time
}

// images is what a builder needs of package disk; tests have another.
type images interface {
	overlay(ctx context.Context, path, backing string, format disk.Format, size int64) error
	mount(ctx context.Context, path string) (mounted, error)
	check(ctx context.Context, path string) error
	flatten(ctx context.Context, from, to string) error
	grow(ctx context.Context, path string) error
	inspect(ctx context.Context, path string, format disk.Format) (disk.Info, error)
	sweep() ([]string, error)
}

// mounted is a *disk.Mount.
type mounted interface {
	Root() string
	Dir() string
	Private() (string, error)
	Free() (int64, error)
	Trim(ctx context.Context) error
	Close() error
	CloseSealed(ctx context.Context) error
	Discard() error
}

// container runs programs in a mounted root.
type container interface {
	run(ctx context.Context, j job) (exitCode int, err error)
}

// Open prepares a data directory. Call Sweep once before the first build.
func Open(dir string) (*Builder, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	c, err := openCache(dir)
	if err != nil {
		return nil, err
	}
	key, err := loadSecretKey(c.path(keyFile))
	if err != nil {
		return nil, err
	}
	return &Builder{cache: c, secretKey: key, images: qemuImages{c.path(mountsDir), cgroupPrefix(dir)}, container: nspawn{}, now: time.Now}, nil
}

// qemuImages is images through package disk.
type qemuImages struct {
	dir          string
	cgroupPrefix string
}

func (q qemuImages) overlay(ctx context.Context, path, backing string, format disk.Format, size int64) error {
	return disk.CreateOverlay(ctx, path, backing, format, size)
}

func (q qemuImages) mount(ctx context.Context, path string) (mounted, error) {
	m, err := disk.Host{Dir: q.dir}.Mount(ctx, path, disk.QCOW2, false)
	if err != nil {
		return nil, err // not m: a nil *disk.Mount is no nil interface
	}
	return m, nil
}

func (q qemuImages) check(ctx context.Context, path string) error {
	return disk.Check(ctx, path, disk.QCOW2)
}

func (q qemuImages) flatten(ctx context.Context, from, to string) error {
	return disk.ConvertInto(ctx, from, disk.QCOW2, to, disk.QCOW2)
}

func (q qemuImages) grow(ctx context.Context, path string) error {
	return disk.Host{Dir: q.dir}.Grow(ctx, path, disk.QCOW2)
}

func (q qemuImages) inspect(ctx context.Context, path string, format disk.Format) (disk.Info, error) {
	return disk.Inspect(ctx, path, format)
}

func (q qemuImages) sweep() ([]string, error) {
	done, err := disk.Sweep(q.dir)
	if err != nil {
		return done, err
	}
	return done, sweepCgroups(q.cgroupPrefix, q.dir)
}
