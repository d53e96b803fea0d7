package host

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"hallmark.dev/hallmark/internal/disk"
)

// Volumes are qcow2 files in one directory. A file has its name only once it is complete
// and durable.
type Volumes struct {
	Dir string
	// Keep are bytes of the file system that machines never get.
	Keep int64
}

const (
	volumeSuffix = ".qcow2"
	partSuffix   = ".part"
)

var volumeName = regexp.MustCompile(`^[0-9a-f-]{36}$`)

// File is where a volume is.
func (v Volumes) File(name string) string { return filepath.Join(v.Dir, name+volumeSuffix) }

// make lets fill write a temporary file, unless the volume is there.
func (v Volumes) make(name string, fill func(temp string) error) error {
	if !volumeName.MatchString(name) {
		return fmt.Errorf("%q is not the name of a volume", name)
	}
	file := v.File(name)
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	if err := os.MkdirAll(v.Dir, 0o700); err != nil {
		return err
	}
	temp := file + partSuffix
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := fill(temp); err != nil {
		return errors.Join(err, os.RemoveAll(temp))
	}
	if err := errors.Join(os.Chmod(temp, 0o600), disk.SyncFile(temp)); err != nil {
		return err
	}
	if err := os.Rename(temp, file); err != nil {
		return err
	}
	return disk.SyncFile(v.Dir)
}

// Overlay makes an overlay.
func (v Volumes) Overlay(ctx context.Context, name, backing string, size int64) error {
	return v.make(name, func(temp string) error { return disk.CreateOverlay(ctx, temp, backing, disk.QCOW2, size) })
}

// Empty makes an empty volume.
func (v Volumes) Empty(ctx context.Context, name string, size int64) error {
	return v.make(name, func(temp string) error { return disk.Create(ctx, temp, disk.QCOW2, size) })
}

// Copy makes an independent copy.
func (v Volumes) Copy(ctx context.Context, name, source string, size int64) error {
	return v.make(name, func(temp string) error {
		if err := disk.Convert(ctx, source, disk.QCOW2, temp, disk.QCOW2); err != nil {
			return err
		}
		return v.grow(ctx, temp, size)
	})
}

// Fill makes a volume that fill writes.
func (v Volumes) Fill(ctx context.Context, name string, size int64, fill func(file string) error) error {
	return v.make(name, func(temp string) error {
		if err := disk.Create(ctx, temp, disk.QCOW2, size); err != nil {
			return err
		}
		return fill(temp)
	})
}

// Grow makes a volume larger, never smaller.
func (v Volumes) Grow(ctx context.Context, name string, size int64) error {
	return v.grow(ctx, v.File(name), size)
}

func (v Volumes) grow(ctx context.Context, file string, size int64) error {
	has, err := v.Size(ctx, file)
	if err != nil || has >= size {
		return err
	}
	return disk.Resize(ctx, file, disk.QCOW2, size)
}

// Size reads the header by itself (QEMU, docs/interop/qcow2.txt: magic, then the size at
// byte 24): it is asked for several times for each new machine, and a process for that takes
// longer than all the rest.
func (v Volumes) Size(_ context.Context, path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var header [32]byte
	if _, err := io.ReadFull(f, header[:]); err != nil || string(header[:4]) != "QFI\xfb" {
		return 0, errors.Join(fmt.Errorf("%s is not a qcow2 image", path), err)
	}
	return int64(binary.BigEndian.Uint64(header[24:])), nil
}

// Backing is what the volume's header names.
func (v Volumes) Backing(ctx context.Context, name string) (string, error) {
	info, err := disk.Inspect(ctx, v.File(name), disk.QCOW2)
	return info.Backing, err
}

// Allocated counts the blocks of the file.
func (v Volumes) Allocated(name string) int64 {
	info, err := os.Stat(v.File(name))
	if err != nil {
		return 0
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Blocks * 512
	}
	return info.Size()
}

// Free is what the file system has, without Keep.
func (v Volumes) Free() (int64, error) {
	if err := os.MkdirAll(v.Dir, 0o700); err != nil {
		return 0, err
	}
	var s unix.Statfs_t
	if err := unix.Statfs(v.Dir, &s); err != nil {
		return 0, fmt.Errorf("reading the free space of %s: %w", v.Dir, err)
	}
	return max(0, int64(s.Bavail)*s.Bsize-v.Keep), nil
}

// Remove removes the volume.
func (v Volumes) Remove(_ context.Context, name string) error {
	if !volumeName.MatchString(name) {
		return fmt.Errorf("%q is not the name of a volume", name)
	}
	for _, file := range []string{v.File(name), v.File(name) + partSuffix} {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Sweep looks only at names that Volumes gives.
func (v Volumes) Sweep(_ context.Context, keep func(name string) bool) error {
	entries, err := os.ReadDir(v.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		name, _, _ := strings.Cut(e.Name(), ".")
		if !volumeName.MatchString(name) || e.Name() == name+volumeSuffix && keep(name) {
			continue
		}
		errs = append(errs, os.Remove(filepath.Join(v.Dir, e.Name())))
	}
	return errors.Join(errs...)
}
