package region

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"hallmark.dev/hallmark/internal/cas"
)

// writers is how many chunks are read, checked and written at a time.
const writers = 2

// writeFile fills an empty file. Holes stay holes.
func (l layout) writeFile(ctx context.Context, f *os.File, m cas.Manifest, from cas.Reader, wrote func(int64)) error {
	if err := reserve(f, l.size, m.DataBytes()+int64(len(l.head)+len(l.tail))); err != nil {
		return err
	}
	if _, err := f.WriteAt(l.head, 0); err != nil {
		return err
	}
	if _, err := f.WriteAt(l.tail, l.size-int64(len(l.tail))); err != nil {
		return err
	}
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for i, e := range m.Extents {
		if inner.Err() != nil {
			break
		}
		group.Go(func() error {
			data, err := chunkOf(inner, from, e)
			if err == nil {
				_, err = f.WriteAt(data, l.offsets[i])
			}
			if err == nil {
				wrote(e.Length)
			}
			return err
		})
	}
	return errors.Join(group.Wait(), ctx.Err())
}

// reserve sets the file's size. A dense file's space is allocated too, so that a
// full disk shows before anything is written, and the file is in few pieces.
func reserve(f *os.File, size, used int64) error {
	if used > size/2 {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		if err == nil || !errors.Is(err, unix.EOPNOTSUPP) {
			return err
		}
	}
	return f.Truncate(size)
}

// writeStream writes the same bytes in order, holes as zeros.
func (l layout) writeStream(ctx context.Context, w io.Writer, m cas.Manifest, from cas.Reader, wrote func(int64)) error {
	out := &stream{w: bufio.NewWriterSize(w, 1<<20)}
	out.put(l.head)
	for i, e := range m.Extents {
		data, err := chunkOf(ctx, from, e)
		if err != nil {
			return err
		}
		out.zeros(l.offsets[i])
		out.put(data)
		if out.err != nil {
			return out.err
		}
		wrote(e.Length)
	}
	out.zeros(l.size - int64(len(l.tail)))
	out.put(l.tail)
	return errors.Join(out.err, out.w.Flush())
}

type stream struct {
	w   *bufio.Writer
	at  int64
	err error
}

func (s *stream) put(data []byte) {
	if s.err == nil {
		_, s.err = s.w.Write(data)
		s.at += int64(len(data))
	}
}

var zeroBlock [64 << 10]byte

// zeros writes zeros up to an offset.
func (s *stream) zeros(to int64) {
	for s.err == nil && s.at < to {
		s.put(zeroBlock[:min(int64(len(zeroBlock)), to-s.at)])
	}
}

// chunkOf reads a chunk, which the reader verifies, and guards the extent's length.
func chunkOf(ctx context.Context, from cas.Reader, e cas.Extent) ([]byte, error) {
	data, err := from.Get(ctx, e.ID)
	if err == nil && int64(len(data)) != e.Length {
		err = fmt.Errorf("chunk %s has %d bytes, the manifest says %d: %w", e.ID, len(data), e.Length, cas.ErrCorrupt)
	}
	return data, err
}

// create writes a file under a temporary name in tempDir, and gives it its own
// name once it is complete and durable. The file is never seen half-written.
func create(tempDir, path string, mode os.FileMode, fill func(*os.File) error) error {
	f, err := os.CreateTemp(tempDir, filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it is renamed, as it should
	err = fill(f)
	if err == nil {
		err = errors.Join(f.Chmod(mode), f.Sync())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// createUnnamed writes a file that gets its name, which must be free, once it is
// complete and durable. It is for directories that no sweep looks into.
func createUnnamed(path string, mode os.FileMode, fill func(*os.File) error) error {
	dir := filepath.Dir(path)
	f, err := os.OpenFile(dir, os.O_RDWR|unix.O_TMPFILE, mode)
	if err != nil {
		return fmt.Errorf("the file system must support O_TMPFILE: %w", err)
	}
	defer f.Close()
	if err := fill(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	open := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	if err := unix.Linkat(unix.AT_FDCWD, open, unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW); err != nil {
		return &os.LinkError{Op: "link", Old: open, New: path, Err: err}
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// counter adds up from several goroutines and reports without overlap.
type counter struct {
	mu     sync.Mutex
	now    cas.Progress
	report cas.Report
}

func (c *counter) add(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.now.Percent()
	c.now.Done += n
	if c.report != nil && c.now.Percent() != before {
		c.report(c.now)
	}
}
