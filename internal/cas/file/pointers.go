package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"hallmark.dev/hallmark/internal/cas"
)

// Pointers is a cas.Pointers in a directory: one file each, replaced by rename
// under a lock that all processes share.
type Pointers struct{ dir string }

// pointerTemp and lockName begin with or lack what a pointer's file ends in, so
// that no pointer's name meets them.
const (
	pointerExt  = ".pointer"
	pointerTemp = ".new"
)

// OpenPointers opens the pointers in dir and makes it if it is not there.
func OpenPointers(dir string) (*Pointers, error) {
	if err := makeDirs(dir); err != nil {
		return nil, fmt.Errorf("open pointers %s: %w", dir, err)
	}
	return &Pointers{dir}, nil
}

// Get implements cas.Pointers.
func (p *Pointers) Get(_ context.Context, name string) ([]byte, error) {
	if err := cas.CheckPointer(name, nil); err != nil {
		return nil, err
	}
	value, err := os.ReadFile(p.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		err = cas.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("pointer %s in %s: %w", name, p.dir, err)
	}
	return value, nil
}

func (p *Pointers) path(name string) string { return filepath.Join(p.dir, name+pointerExt) }

// CompareAndSwap implements cas.Pointers.
func (p *Pointers) CompareAndSwap(ctx context.Context, name string, old, new []byte) error {
	if err := cas.CheckPointer(name, new); err != nil {
		return err
	}
	unlock, err := p.lock()
	if err != nil {
		return err
	}
	defer unlock()
	now, err := p.Get(ctx, name)
	if err != nil && !errors.Is(err, cas.ErrNotFound) {
		return err
	}
	exists := err == nil
	if exists != (old != nil) || !bytes.Equal(now, old) {
		return fmt.Errorf("pointer %s in %s: %w", name, p.dir, cas.ErrConflict)
	}
	if err := replaceFile(p.path(name), new); err != nil {
		return fmt.Errorf("pointer %s in %s: %w", name, p.dir, err)
	}
	return nil
}

func (p *Pointers) lock() (func(), error) {
	f, err := os.OpenFile(filepath.Join(p.dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock pointers %s: %w", p.dir, err)
		}
	}
}

// replaceFile leaves the old content or the new, never a part, and is durable
// on return. What a killed process left under the temporary name is overwritten.
func replaceFile(path string, content []byte) error {
	temp := strings.TrimSuffix(path, pointerExt) + pointerTemp
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}
