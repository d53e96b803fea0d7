package disk

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Names inside a mount's directory.
const (
	lockName    = "lock"
	recordName  = "record.json"
	diskName    = "disk"    // the exported image, a FUSE mount
	rootName    = "root"    // the root file system
	privateName = "private" // a tmpfs for what must never reach a disk
)

// Host mounts images below one directory that belongs to it alone.
type Host struct {
	Dir string
}

// Record says, for a reader of the directory, what a mount is of. Ownership is
// the lock file's flock, which the kernel drops however its owner ends; process
// ids are for people.
type Record struct {
	Image   string    `json:"image"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
}

// Mount is a root file system that stands until Close or Discard.
type Mount struct {
	dir       string
	image     string
	readOnly  bool
	lock      *os.File
	export    *export
	loop      string // such as "loop3"
	partition Partition
	mounted   bool
	private   bool
}

// Mount makes the root file system of an image available; see RootPartition for
// which that is. It fails with ErrNoGPT or ErrUnsupportedRoot where the image is
// laid out otherwise. Needs root.
func (h Host) Mount(ctx context.Context, image string, format Format, readOnly bool) (*Mount, error) {
	m, err := h.claim(image, readOnly)
	for range 3 { // a Sweep may have met the directory before its lock was taken
		if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, ErrInUse) {
			break
		}
		m, err = h.claim(image, readOnly)
	}
	if err != nil {
		return nil, err
	}
	if err := m.bring(ctx, format); err != nil {
		return nil, errors.Join(fmt.Errorf("mounting %s: %w", image, err), m.Discard())
	}
	return m, nil
}

// claim makes the mount's directory, locked and recorded before any side effect.
func (h Host) claim(image string, readOnly bool) (*Mount, error) {
	dir, err := newDirectory(h.Dir)
	if err != nil {
		return nil, err
	}
	m := &Mount{dir: dir, image: image, readOnly: readOnly}
	if m.lock, err = tryLock(filepath.Join(dir, lockName)); err != nil {
		return nil, err
	}
	record, err := json.Marshal(Record{Image: image, PID: os.Getpid(), Started: time.Now().UTC()})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, recordName), record, 0o600); err != nil {
		return nil, errors.Join(err, m.Discard())
	}
	if err := share(dir); err != nil {
		return nil, errors.Join(err, m.Discard())
	}
	return m, nil
}

// share makes a directory a shared mount of itself (mount_namespaces(7)). Any
// process may make a mount namespace while we have an image mounted, and gets a
// copy of our mount with it; where ours is shared, unmounting it here unmounts it
// there, and the file system is released when we say so.
func share(dir string) error {
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("binding %s: %w", dir, err)
	}
	if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("sharing %s: %w", dir, err)
	}
	return nil
}

func newDirectory(parent string) (string, error) {
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return "", err
	}
	// The kernel reports resolved paths, and Sweep compares with those.
	parent, err := filepath.EvalSymlinks(parent)
	if err != nil {
		return "", err
	}
	if parent, err = filepath.Abs(parent); err != nil {
		return "", err
	}
	dir := filepath.Join(parent, randomName())
	return dir, os.Mkdir(dir, 0o700)
}

func randomName() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func (m *Mount) bring(ctx context.Context, format Format) error {
	if err := m.openExport(ctx, format); err != nil {
		return err
	}
	var err error
	if m.partition, err = m.findRoot(); err != nil {
		return err
	}
	return m.mountRoot()
}

func (m *Mount) openExport(ctx context.Context, format Format) (err error) {
	point := m.path(diskName)
	if err := os.WriteFile(point, nil, 0o600); err != nil {
		return err
	}
	m.export, err = startExport(ctx, m.image, format, point, m.readOnly)
	return err
}

func (m *Mount) findRoot() (Partition, error) {
	parts, err := m.partitions()
	if err != nil {
		return Partition{}, err
	}
	f, err := os.Open(m.path(diskName))
	if err != nil {
		return Partition{}, err
	}
	defer f.Close()
	return RootPartition(f, parts)
}

// mountRoot mounts with discard: what a step deletes leaves the layer. Lost data
// counts as an error of the file system, as lost metadata does: when this host's
// disk is full, a step may otherwise succeed although its writes did not.
func (m *Mount) mountRoot() error {
	if err := os.Mkdir(m.path(rootName), 0o700); err != nil {
		return err
	}
	device, err := attachLoop(m.path(diskName), m.partition.Start, m.partition.Size)
	if err != nil {
		return err
	}
	defer device.Close()
	m.loop = filepath.Base(device.Name())
	flags, options := uintptr(unix.MS_NODEV|unix.MS_NOATIME), "discard,errors=remount-ro,data_err=abort"
	if m.readOnly {
		flags, options = flags|unix.MS_RDONLY, "noload"
	}
	if err := unix.Mount(device.Name(), m.path(rootName), "ext4", flags, options); err != nil {
		return fmt.Errorf("mounting its partition %d as ext4: %w", m.partition.Number, err)
	}
	m.mounted = true
	return nil
}

func (m *Mount) path(name string) string { return filepath.Join(m.dir, name) }

// Root is where the root file system is mounted.
func (m *Mount) Root() string { return m.path(rootName) }

// Dir is the mount's own directory, for whoever needs a place that Sweep cleans.
func (m *Mount) Dir() string { return m.dir }

// Private is a directory in memory that vanishes with the mount and never
// touches a disk; mode 0755, below a directory that only root may enter.
func (m *Mount) Private() (string, error) {
	if m.private {
		return m.path(privateName), nil
	}
	if err := os.Mkdir(m.path(privateName), 0o755); err != nil {
		return "", err
	}
	if err := unix.Mount("tmpfs", m.path(privateName), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=64m"); err != nil {
		return "", fmt.Errorf("mounting a tmpfs: %w", err)
	}
	m.private = true
	return m.path(privateName), nil
}

// Free answers how many bytes the file system has left.
func (m *Mount) Free() (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(m.Root(), &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * s.Bsize, nil
}

// Trim discards every block that the file system does not use.
func (m *Mount) Trim(ctx context.Context) error {
	_, err := run(ctx, "fstrim", m.Root())
	return err
}

// Close unmounts and returns once every byte is in the image file and on disk.
// Any error means that the image must not be trusted; nothing is left mounted.
func (m *Mount) Close() error {
	err := m.unmount()
	if err == nil {
		err = m.fileSystemErrors()
	}
	if m.export != nil {
		if quitErr := m.export.quit(); err == nil {
			err = quitErr
		}
		m.export = nil
	}
	if err == nil && !m.readOnly {
		err = SyncFile(m.image)
	}
	return errors.Join(err, m.remove())
}

// Discard takes everything away without caring for the image.
func (m *Mount) Discard() error {
	err := m.unmount()
	if m.export != nil {
		m.export.kill()
		m.export = nil
	}
	return errors.Join(err, m.remove())
}

func (m *Mount) unmount() error {
	var err error
	if m.private {
		err = unmountFirmly(m.path(privateName))
		m.private = false
	}
	if m.mounted {
		err = errors.Join(err, unmountFirmly(m.Root()))
		m.mounted = false
	}
	return errors.Join(err, m.waitReleased())
}

// waitReleased returns when the kernel has let go of the file system and of the
// loop device: a superblock may outlive its mount point in another namespace.
func (m *Mount) waitReleased() error {
	if m.loop == "" {
		return nil
	}
	return errors.Join(waitGone("/sys/fs/ext4/"+m.loop, m.ours), waitGone("/sys/block/"+m.loop+"/loop/backing_file", m.ours))
}

// ours tells whether the loop device still shows our image: a device number is
// reused at once.
func (m *Mount) ours() bool {
	text, err := os.ReadFile("/sys/block/" + m.loop + "/loop/backing_file")
	return err == nil && string(text) == m.path(diskName)+"\n"
}

func (m *Mount) remove() error {
	err := cleanDirectory(m.dir)
	m.lock.Close()
	return err
}
