package vm

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// List opens every machine whose folder lies in root. A folder that cannot be
// read is reported beside the machines that can.
func List(root string) ([]*Machine, error) {
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []*Machine
	var errs []error
	for _, e := range entries {
		if !e.IsDir() || strings.HasSuffix(e.Name(), partSuffix) {
			continue
		}
		m, err := Open(filepath.Join(root, e.Name()))
		if err == nil {
			found = append(found, m)
		} else if !errors.Is(err, ErrNotFound) {
			errs = append(errs, err)
		}
	}
	return found, errors.Join(errs...)
}

// Sweep removes what crashes left in root: half-made and half-removed folders,
// processes whose folder is gone, and machines that owned does not claim, whose
// processes it kills. It returns what it removed, in words. Nobody may create
// or destroy machines in root meanwhile.
func Sweep(ctx context.Context, root string, owned func(Config) bool) ([]string, error) {
	root, err := filepath.EvalSymlinks(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	removed, err := sweepMachines(ctx, root, owned)
	strays, err2 := sweepProcesses(ctx, root)
	parts, err3 := sweepParts(root)
	return append(append(removed, strays...), parts...), errors.Join(err, err2, err3)
}

func sweepMachines(ctx context.Context, root string, owned func(Config) bool) (removed []string, err error) {
	machines, err := List(root)
	for _, m := range machines {
		if owned(m.cfg) {
			continue
		}
		if e := m.Destroy(ctx); e != nil {
			err = errors.Join(err, e)
			continue
		}
		removed = append(removed, "machine "+m.cfg.ID+" in "+m.dir)
	}
	return removed, err
}

// sweepProcesses ends every QEMU that runs in a folder of root which holds no
// machine.
func sweepProcesses(ctx context.Context, root string) (removed []string, err error) {
	running, err := emulators(root)
	if err != nil {
		return nil, err
	}
	for dir, p := range running {
		if _, e := os.Stat(filepath.Join(dir, ConfigFile)); e == nil {
			continue
		}
		if e := p.kill(ctx); e != nil {
			err = errors.Join(err, e)
			continue
		}
		removed = append(removed, "QEMU of "+dir)
	}
	return removed, err
}

func sweepParts(root string) (removed []string, err error) {
	for _, pattern := range []string{"*" + partSuffix, "*/*" + partSuffix} {
		paths, e := filepath.Glob(filepath.Join(root, pattern))
		err = errors.Join(err, e)
		for _, p := range paths {
			if e := os.RemoveAll(p); e != nil {
				err = errors.Join(err, e)
				continue
			}
			removed = append(removed, p)
		}
	}
	return removed, err
}
