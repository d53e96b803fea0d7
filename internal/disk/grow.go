package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// ErrNotLast means that a root partition cannot grow because another partition
// lies behind it.
var ErrNotLast = errors.New("the root partition is not the last one on the disk")

// Grow enlarges the root partition of an image, and the ext4 on it, to the end of
// the image's disk. The image must not be mounted.
func (h Host) Grow(ctx context.Context, image string, format Format) error {
	m, err := h.claim(image, false)
	if err != nil {
		return err
	}
	if err := m.growRoot(ctx, format); err != nil {
		return errors.Join(fmt.Errorf("growing %s: %w", image, err), m.Discard())
	}
	return m.Close()
}

func (m *Mount) growRoot(ctx context.Context, format Format) error {
	if err := m.openExport(ctx, format); err != nil {
		return err
	}
	if err := m.growPartition(ctx); err != nil {
		return err
	}
	var err error
	if m.partition, err = m.findRoot(); err != nil {
		return err
	}
	return m.withDevice(func(device string) error {
		// resize2fs insists on a check; 1 means that something was put right.
		_, err := run(ctx, "e2fsck", "-fp", device)
		var failed *ToolError
		if err != nil && (!errors.As(err, &failed) || failed.ExitCode() != 1) {
			return err
		}
		_, err = run(ctx, "resize2fs", device)
		return err
	})
}

// growPartition moves the backup table to the disk's new end and lets the root
// partition reach it.
func (m *Mount) growPartition(ctx context.Context) error {
	root, err := m.findRoot()
	if err != nil {
		return err
	}
	parts, err := m.partitions()
	if err != nil {
		return err
	}
	for _, p := range parts {
		if p.Start > root.Start {
			return fmt.Errorf("%w: partition %d follows", ErrNotLast, p.Number)
		}
	}
	if _, err := run(ctx, "sfdisk", "--relocate", "gpt-bak-std", m.path(diskName)); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "sfdisk", "--no-reread", "--no-tell-kernel", "-N", strconv.Itoa(root.Number), m.path(diskName))
	cmd.Stdin = strings.NewReader(", +\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return &ToolError{Args: cmd.Args, Output: tail(string(out)), Err: err}
	}
	return nil
}

func (m *Mount) partitions() ([]Partition, error) {
	f, err := os.Open(m.path(diskName))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	parts, err := ReadGPT(f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrUnsupportedRoot, err)
	}
	return parts, nil
}
