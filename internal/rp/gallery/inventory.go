package gallery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"hallmark.dev/hallmark/internal/disk"
	"hallmark.dev/hallmark/internal/inventory"
	"hallmark.dev/hallmark/internal/region"
)

// FormatInventory is the export that tells what is in an image instead of holding
// it: an inventory.Inventory as JSON.
const FormatInventory = "inventory"

// Inventories is an Engine that exports inventories, too. It needs root: it mounts
// replicas, read-only, below Host's directory, which is its alone; what a killed
// process leaves there, disk.Sweep removes.
type Inventories struct {
	*Engine
	Host disk.Host
}

// Export implements Bytes.
func (v Inventories) Export(ctx context.Context, location, digest, format, file string) error {
	if format != FormatInventory {
		return v.Engine.Export(ctx, location, digest, format, file)
	}
	return v.useReplica(location, digest, func(path string) error {
		found, err := v.look(ctx, path)
		if err != nil {
			return err
		}
		text, err := json.Marshal(found)
		if err != nil {
			return err
		}
		return writeWhole(file, text)
	})
}

// useReplica takes the location's replica, or another region's: their bytes are
// the same.
func (v Inventories) useReplica(location, digest string, do func(path string) error) error {
	first, d, err := v.at(location, digest)
	if err == nil {
		if err = first.Use(d, do); !errors.Is(err, region.ErrNoReplica) {
			return err
		}
	}
	for _, r := range v.regions {
		if _, other, atErr := v.at(r.Name(), digest); atErr == nil {
			if useErr := r.Use(other, do); !errors.Is(useErr, region.ErrNoReplica) {
				return useErr
			}
		}
	}
	return fmt.Errorf("no region has a replica of the image to look into: %w", err)
}

func (v Inventories) look(ctx context.Context, path string) (found inventory.Inventory, err error) {
	m, err := v.Host.Mount(ctx, path, disk.QCOW2, true)
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	root, err := os.OpenRoot(m.Root())
	if err != nil {
		return found, err
	}
	defer root.Close()
	if found, err = inventory.Read(root); err != nil {
		return found, err
	}
	var s unix.Statfs_t
	if err := unix.Statfs(m.Root(), &s); err != nil {
		return found, err
	}
	found.UsedBytes = int64(s.Blocks-s.Bfree) * s.Bsize
	return found, nil
}

// writeWhole makes a file that is complete and durable when it appears.
func writeWhole(file string, text []byte) error {
	part := file + ".part"
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return os.Rename(part, file)
}
