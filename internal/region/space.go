package region

import (
	"fmt"
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

// reserveBytes is what a write leaves free for others, logs and databases above all.
const reserveBytes = 64 << 20

// NoSpaceError says that a write was not begun because its result would not fit.
type NoSpaceError struct {
	Dir                         string
	Replica, Chunks, Kept, Free int64 // bytes
}

func (e *NoSpaceError) Error() string {
	return fmt.Sprintf("not enough space in %s: %s needed (%s for the file, up to %s for chunks, %s kept free), %s free; "+
		"free some, or remove versions that nothing uses and prune",
		e.Dir, size(e.Replica+e.Chunks+e.Kept), size(e.Replica), size(e.Chunks), size(e.Kept), size(e.Free))
}

func size(n int64) string {
	if n < 1<<30 {
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

func checkSpace(dir string, replica, chunks int64) error {
	free, err := freeSpace(dir)
	if err != nil {
		return err
	}
	if replica+chunks+reserveBytes > free {
		return &NoSpaceError{dir, replica, chunks, reserveBytes, free}
	}
	return nil
}

func freeSpace(dir string) (int64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(stat.Bavail) * stat.Bsize, nil
}

// onDisk returns the bytes that a file takes, holes not counted.
func onDisk(info fs.FileInfo) int64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Blocks * 512
	}
	return info.Size()
}
