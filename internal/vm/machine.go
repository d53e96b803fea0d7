package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"hallmark.dev/hallmark/internal/disk"
)

// ErrNotFound means that a folder holds no machine.
var ErrNotFound = errors.New("no such machine")

// Machine is one machine in its folder. It holds nothing that the folder does
// not: any number of them may stand for the same machine, in any process.
type Machine struct {
	dir string
	cfg Config
}

// Image is what a new machine's system disk stands on.
type Image struct {
	Path   string // absolute; read-only for as long as the machine exists
	Format disk.Format
	// DiskSize is the system disk's size in bytes; 0, or less than the image's: the image's.
	DiskSize int64
}

// Create makes a machine's folder, complete or not at all, and durable when it
// returns. A folder that has the machine already (the same ID) is opened.
func Create(ctx context.Context, dir string, cfg Config, image Image, seed *Seed) (*Machine, error) {
	if m, err := Open(dir); err == nil && m.cfg.ID == cfg.ID {
		return m, nil
	} else if !errors.Is(err, ErrNotFound) {
		return nil, errors.Join(err, fmt.Errorf("creating machine %q: %s holds another one", cfg.ID, dir))
	}
	if seed != nil {
		cfg.Seed = SeedFile
	}
	cfg = cfg.Default()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("machine %q: %w", cfg.ID, err)
	}
	temp := dir + partSuffix
	if err := fill(ctx, temp, cfg, image, seed); err != nil {
		return nil, errors.Join(fmt.Errorf("creating machine %q: %w", cfg.ID, err), os.RemoveAll(temp))
	}
	if err := os.Rename(temp, dir); err != nil {
		return nil, errors.Join(fmt.Errorf("creating machine %q: %w", cfg.ID, err), os.RemoveAll(temp))
	}
	if err := syncDir(filepath.Dir(dir)); err != nil {
		return nil, err
	}
	return Open(dir)
}

func fill(ctx context.Context, dir string, cfg Config, image Image, seed *Seed) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := overlay(ctx, filepath.Join(dir, OSDiskFile), image); err != nil {
		return err
	}
	if err := copyFile(cfg.Firmware.Vars, filepath.Join(dir, VarsFile)); err != nil {
		return fmt.Errorf("copying the firmware's variables (Debian package ovmf): %w", err)
	}
	if seed != nil {
		if err := seed.Write(filepath.Join(dir, SeedFile)); err != nil {
			return err
		}
	}
	return cfg.save(dir)
}

// overlay never makes the disk smaller than its image: that would cut it off.
func overlay(ctx context.Context, file string, image Image) error {
	if !filepath.IsAbs(image.Path) {
		return fmt.Errorf("image %q: must be an absolute path", image.Path)
	}
	info, err := disk.Inspect(ctx, image.Path, image.Format)
	if err != nil {
		return err
	}
	if err := disk.CreateOverlay(ctx, file, image.Path, image.Format, max(image.DiskSize, info.VirtualSize)); err != nil {
		return err
	}
	return disk.SyncFile(file)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// Open finds a machine in its folder, running or not. ErrNotFound where there
// is none.
func Open(dir string) (*Machine, error) {
	cfg, err := load(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w in %s", ErrNotFound, dir)
	}
	if err != nil {
		return nil, err
	}
	dir, err = filepath.EvalSymlinks(dir) // as the kernel names it
	if err != nil {
		return nil, err
	}
	dir, err = filepath.Abs(dir)
	return &Machine{dir, cfg}, err
}

// Config is the machine's configuration.
func (m *Machine) Config() Config { return m.cfg }

// Dir is the machine's folder.
func (m *Machine) Dir() string { return m.dir }

// Reconfigure replaces the configuration, durably; a running machine takes it
// at its next start. The ID stays.
func (m *Machine) Reconfigure(cfg Config) error {
	cfg.ID = m.cfg.ID
	cfg = cfg.Default()
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("machine %q: %w", cfg.ID, err)
	}
	if err := cfg.save(m.dir); err != nil {
		return fmt.Errorf("machine %q: %w", cfg.ID, err)
	}
	m.cfg = cfg
	return nil
}

// Destroy stops the machine at once and removes its folder. It can be repeated
// after a failure or a crash; a machine that is gone is fine.
func (m *Machine) Destroy(ctx context.Context) error {
	if err := m.Kill(ctx); err != nil {
		return err
	}
	return remove(m.dir)
}

// remove renames first: whatever happens next, the folder is no machine any
// more, and Sweep knows it for left over.
func remove(dir string) error {
	temp := dir + partSuffix
	if err := os.RemoveAll(temp); err != nil {
		return err
	}
	if err := os.Rename(dir, temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.RemoveAll(temp); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}
