package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Store is a directory of files named by their digest. It is safe for concurrent use.
type Store struct {
	dir      string
	endpoint string
	since    func(fs.FileInfo) time.Time // when the file came, or was given again
}

// File is a file in the store.
type File struct {
	Digest Digest
	Size   int64 // bytes
}

// Open makes the directory if it is missing and removes scratch files that a
// killed process left. endpoint is this server's address without a trailing
// slash, for URIs. Only one process may have a directory open.
func Open(dir, endpoint string) (*Store, error) {
	s := &Store{dir: dir, endpoint: strings.TrimSuffix(endpoint, "/"), since: changed}
	if err := os.RemoveAll(s.scratch()); err != nil {
		return nil, fmt.Errorf("clean up artifacts: %w", err)
	}
	for _, d := range []string{s.blobs(), s.scratch()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("make the directory of artifacts: %w", err)
		}
	}
	return s, nil
}

func (s *Store) blobs() string        { return filepath.Join(s.dir, algorithm) }
func (s *Store) scratch() string      { return filepath.Join(s.dir, "scratch") }
func (s *Store) path(d Digest) string { return filepath.Join(s.blobs(), string(d)) }

// Scratch makes an empty directory on the store's file system, so that Put of a file
// written there is a rename. The caller removes it; Open does after a crash.
func (s *Store) Scratch() (string, error) {
	dir, err := os.MkdirTemp(s.scratch(), "")
	if err != nil {
		return "", fmt.Errorf("make a scratch directory for an artifact: %w", err)
	}
	return dir, nil
}

// Put moves a finished file into the store. On return the bytes are durable under
// their digest and the file is gone from path. It may be repeated: the same bytes
// give the same File. A file that is not named by a document before Sweep's grace
// is over is removed.
func (s *Store) Put(ctx context.Context, path string) (File, error) {
	f, err := s.put(ctx, path)
	if err != nil {
		return File{}, fmt.Errorf("keep %s as an artifact: %w", filepath.Base(path), err)
	}
	return f, nil
}

func (s *Store) put(ctx context.Context, path string) (File, error) {
	file, err := sum(ctx, path)
	if err != nil {
		return File{}, err
	}
	target := s.path(file.Digest)
	err = os.Rename(path, target)
	if errors.Is(err, syscall.EXDEV) {
		err = s.copyIn(ctx, path, target)
	}
	if err != nil {
		return File{}, err
	}
	// After a copy it is still there; and rename(2) leaves a second name of the same file.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return File{}, err
	}
	return file, syncDirectory(s.blobs())
}

// Link gives a finished file that stays where it is a place in the store, without
// copying it where the file system allows. The caller knows the digest of its bytes and
// vouches that they never change. Otherwise it is as Put.
func (s *Store) Link(ctx context.Context, path string, digest Digest) (File, error) {
	f, err := s.link(ctx, path, digest)
	if err != nil {
		return File{}, fmt.Errorf("keep %s as an artifact: %w", filepath.Base(path), err)
	}
	return f, nil
}

func (s *Store) link(ctx context.Context, path string, digest Digest) (File, error) {
	if _, err := ParseDigest(string(digest)); err != nil {
		return File{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return File{}, err
	}
	dir, err := s.Scratch()
	if err != nil {
		return File{}, err
	}
	defer os.RemoveAll(dir)
	// Through a second name, because a link does not replace what is there.
	if temp := filepath.Join(dir, string(digest)); os.Link(path, temp) == nil {
		err = os.Rename(temp, s.path(digest))
	} else {
		err = s.copyIn(ctx, path, s.path(digest))
	}
	if err != nil {
		return File{}, err
	}
	return File{Digest: digest, Size: info.Size()}, syncDirectory(s.blobs())
}

// sum reads the file, makes it durable and read-only.
func sum(ctx context.Context, path string) (File, error) {
	f, err := os.Open(path)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return File{}, errors.Join(err, fmt.Errorf("%s is not a regular file", path))
	}
	h := sha256.New()
	n, err := io.Copy(h, reader{ctx, f})
	if err != nil {
		return File{}, err
	}
	if err := f.Chmod(0o400); err != nil {
		return File{}, err
	}
	return File{Digest: Digest(hex.EncodeToString(h.Sum(nil))), Size: n}, f.Sync()
}

// copyIn brings a file in from another file system: copy, sync, rename.
func (s *Store) copyIn(ctx context.Context, path, target string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.CreateTemp(s.scratch(), "")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	if _, err := io.Copy(out, reader{ctx, in}); err != nil {
		return err
	}
	if err := errors.Join(out.Chmod(0o400), out.Sync()); err != nil {
		return err
	}
	return os.Rename(out.Name(), target)
}

// URI is how others name the file.
func (s *Store) URI(d Digest) string { return s.endpoint + PathPrefix + algorithm + "/" + string(d) }

// Resolve finds the local file of a URI, for reading only. Errors: ErrNotBlob, ErrNotFound.
func (s *Store) Resolve(uri string) (path string, file File, err error) {
	digest, err := ParseURI(uri)
	if err != nil {
		return "", File{}, err
	}
	info, err := os.Stat(s.path(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return "", File{}, fmt.Errorf("%w: %s", ErrNotFound, digest)
	}
	if err != nil {
		return "", File{}, fmt.Errorf("look for a blob: %w", err)
	}
	return s.path(digest), File{Digest: digest, Size: info.Size()}, nil
}

// Swept says what Sweep removed.
type Swept struct {
	Files int
	Bytes int64
}

// Sweep removes files that nothing names and that were put before the given
// time. named is asked after the files have been listed; its error ends the sweep
// with nothing removed.
func (s *Store) Sweep(ctx context.Context, before time.Time, named func(context.Context) (map[Digest]bool, error)) (Swept, error) {
	entries, err := os.ReadDir(s.blobs())
	if err != nil {
		return Swept{}, fmt.Errorf("sweep artifacts: %w", err)
	}
	keep, err := named(ctx)
	if err != nil {
		return Swept{}, fmt.Errorf("sweep artifacts: ask which are in use: %w", err)
	}
	var done Swept
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) || keep[Digest(e.Name())] || (err == nil && !s.since(info).Before(before)) {
			continue
		}
		if err == nil {
			err = os.Remove(filepath.Join(s.blobs(), e.Name()))
		}
		if err != nil {
			return done, fmt.Errorf("sweep artifacts: %w", err)
		}
		done.Files++
		done.Bytes += info.Size()
	}
	return done, nil
}

// changed is the inode's change time, which a rename, a link and a chmod set: so bytes
// that were there before and are given again count as new, and their new owner has time
// to write their name into a document.
func changed(info fs.FileInfo) time.Time {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(st.Ctim.Unix())
	}
	return info.ModTime()
}

// reader ends a long copy when its context ends.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
