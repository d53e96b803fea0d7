package disk

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// extent is a run of bytes.
type extent struct{ start, end int64 }

// fileSystemErrors asks the unmounted file system whether it met errors while it
// was mounted: a step may succeed although its writes did not.
func (m *Mount) fileSystemErrors() error {
	if m.readOnly || m.loop == "" {
		return nil
	}
	return m.withDevice(func(device string) error {
		out, err := run(context.Background(), "dumpe2fs", "-h", device)
		if err != nil {
			return err
		}
		return stateOf(out)
	})
}

// withDevice shows the unmounted partition as a loop device while do runs.
func (m *Mount) withDevice(do func(device string) error) error {
	device, err := attachLoop(m.path(diskName), m.partition.Start, m.partition.Size)
	if err != nil {
		return err
	}
	m.loop = filepath.Base(device.Name())
	err = do(device.Name())
	return errors.Join(err, device.Close(), m.waitReleased())
}

// stateOf reads "Filesystem state:" from dumpe2fs -h.
func stateOf(header []byte) error {
	for line := range strings.Lines(string(header)) {
		if state, ok := strings.CutPrefix(line, "Filesystem state:"); ok {
			if state = strings.TrimSpace(state); state != "clean" {
				return fmt.Errorf("the file system is %q after unmounting; the disk below it failed", state)
			}
			return nil
		}
	}
	return errors.New("dumpe2fs names no file system state")
}

// CloseSealed is Close for an image that leaves the house: between unmounting
// and the end it checks the file system with e2fsck, which changes nothing, and
// overwrites with zeros each block that the file system does not use. Trim alone
// leaves deleted blocks smaller than the image's clusters in place.
func (m *Mount) CloseSealed(ctx context.Context) error {
	if err := m.unmount(); err != nil {
		return errors.Join(err, m.Discard())
	}
	if err := m.scrub(ctx); err != nil {
		return errors.Join(err, m.Discard())
	}
	return m.Close()
}

func (m *Mount) scrub(ctx context.Context) error {
	var free []extent
	err := m.withDevice(func(device string) error {
		if _, err := run(ctx, "e2fsck", "-fn", device); err != nil {
			return fmt.Errorf("the file system is damaged: %w", err)
		}
		out, err := run(ctx, "dumpe2fs", device)
		if err != nil {
			return err
		}
		free, err = parseFree(out)
		return err
	})
	if err != nil {
		return err
	}
	image, err := os.OpenFile(m.path(diskName), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer image.Close()
	if err := zeroData(ctx, image, m.partition.Start, free); err != nil {
		return err
	}
	return image.Sync()
}

// parseFree reads the free blocks of each group from dumpe2fs, as bytes from the
// file system's start.
func parseFree(text []byte) ([]extent, error) {
	var size int64
	var free []extent
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 16<<20) // a fragmented group is one long line
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if v, ok := strings.CutPrefix(line, "Block size:"); ok {
			size, _ = strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		}
		// The header has a "Free blocks: N" of its own, before the groups; a
		// group's list is indented.
		v, ok := strings.CutPrefix(line, "Free blocks:")
		if !ok || !strings.HasPrefix(lines.Text(), " ") {
			continue
		}
		if size < 1024 || size > 65536 {
			return nil, fmt.Errorf("dumpe2fs: block size %d", size)
		}
		ranges, err := parseRanges(v, size)
		if err != nil {
			return nil, err
		}
		free = append(free, ranges...)
	}
	return free, lines.Err()
}

func parseRanges(list string, size int64) ([]extent, error) {
	var out []extent
	for _, item := range strings.Split(list, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		low, high, ranged := strings.Cut(item, "-")
		if !ranged {
			high = low
		}
		first, err := strconv.ParseInt(low, 10, 48)
		if err != nil {
			return nil, fmt.Errorf("dumpe2fs: free blocks %q: %w", item, err)
		}
		last, err := strconv.ParseInt(high, 10, 48)
		if err != nil || first < 0 || last < first {
			return nil, fmt.Errorf("dumpe2fs: free blocks %q", item)
		}
		out = append(out, extent{first * size, (last + 1) * size})
	}
	return out, nil
}

// zeroData overwrites the parts of the extents, which count from base, that hold
// data; holes are skipped, so the cost is that of what is there.
func zeroData(ctx context.Context, f *os.File, base int64, extents []extent) error {
	for _, e := range extents {
		for at := e.start + base; at < e.end+base; {
			data, err := nextData(f, at)
			if err != nil {
				return err
			}
			if data.start >= e.end+base {
				break
			}
			end := min(data.end, e.end+base)
			if err := zeroRange(ctx, f, max(data.start, at), end); err != nil {
				return err
			}
			at = end
		}
	}
	return nil
}

// nextData finds the first run of data at or after an offset.
func nextData(f *os.File, at int64) (extent, error) {
	start, err := f.Seek(at, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return extent{1 << 62, 1 << 62}, nil
	}
	if err != nil {
		return extent{}, err
	}
	end, err := f.Seek(start, unix.SEEK_HOLE)
	return extent{start, end}, err
}

func zeroRange(ctx context.Context, f *os.File, start, end int64) error {
	zeros, have := make([]byte, 1<<20), make([]byte, 1<<20)
	for start < end {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n := min(end-start, int64(len(zeros)))
		if _, err := f.ReadAt(have[:n], start); err != nil && err != io.EOF {
			return err
		}
		if !bytes.Equal(have[:n], zeros[:n]) {
			if _, err := f.WriteAt(zeros[:n], start); err != nil {
				return err
			}
		}
		start += n
	}
	return nil
}
