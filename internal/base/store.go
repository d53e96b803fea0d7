package base

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"hallmark.dev/hallmark/internal/disk"
)

// The folders of a store.
const (
	imageDir    = "images"    // one folder an image: image.qcow2, image.json
	releaseDir  = "releases"  // the last known InRelease files
	downloadDir = "downloads" // files from URLs, complete or .part
	workDir     = "work"      // one folder for each assembly that runs
	lockDir     = "locks"     // keeps two processes from making one image
)

const (
	imageFile  = "image.qcow2"
	recordFile = "image.json"
	partSuffix = ".part"
)

// Store resolves entries and keeps images. It is safe for concurrent use, also
// by several processes on one directory.
type Store struct {
	dir       string
	catalogue Catalogue
	mirror    Mirror
	client    *http.Client
	clock     func() time.Time
}

// Open prepares a store in dir.
func Open(dir string, c Catalogue, m Mirror) (*Store, error) {
	m = m.withDefaults()
	if err := m.validate(); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	for _, sub := range []string{imageDir, releaseDir, downloadDir, workDir, lockDir} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("opening the store of base images: %w", err)
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.RegisterProtocol("file", http.NewFileTransport(http.Dir("/")))
	transport.ResponseHeaderTimeout = time.Minute
	return &Store{dir: dir, catalogue: c, mirror: m, client: &http.Client{Transport: transport}, clock: time.Now}, nil
}

// Catalogue is what the store offers.
func (s *Store) Catalogue() Catalogue { return s.catalogue }

// Resolved is an exact version of an entry.
type Resolved struct {
	Publisher string `json:"publisher"`
	Offer     string `json:"offer"`
	SKU       string `json:"sku"`
	Version   string `json:"version"`
	// Digest names the source: the suites' InRelease files, or the fetched file.
	Digest   string    `json:"digest"`
	Released time.Time `json:"released,omitzero"`
	// Warning is for the user: the version may not be the newest.
	Warning string `json:"-"`
}

// Ref of the exact version.
func (r Resolved) Ref() Ref { return Ref{r.Publisher, r.Offer, r.SKU, r.Version} }

// Image is a base image in the store: a read-only qcow2 without a backing file.
type Image struct {
	Resolved
	Path        string `json:"-"`
	VirtualSize int64  `json:"virtualSize"` // bytes
	Key         string `json:"key"`         // its name in the store
}

// ErrNoSuchVersion means that a version is neither the current one nor kept.
var ErrNoSuchVersion = errors.New("no such version")

// Resolve finds what ref stands for now. For `latest` it asks the mirror, every
// time; an exact version is found where it is kept, or is the current one.
func (s *Store) Resolve(ctx context.Context, ref Ref) (Resolved, error) {
	entry, err := s.catalogue.Find(ref.Publisher, ref.Offer, ref.SKU)
	if err != nil {
		return Resolved{}, err
	}
	if !strings.EqualFold(ref.Version, Latest) {
		if image, ok, err := s.kept(entry, ref.Version); err != nil || ok {
			return image.Resolved, err
		}
	}
	now, err := s.current(ctx, entry)
	if err != nil {
		return Resolved{}, fmt.Errorf("resolving %s: %w", ref, err)
	}
	if !strings.EqualFold(ref.Version, Latest) && ref.Version != now.Version {
		return Resolved{}, fmt.Errorf("%s: %w: the source offers %s now, and the image of %s is not kept here", ref, ErrNoSuchVersion, now.Version, ref.Version)
	}
	return now, nil
}

func (s *Store) current(ctx context.Context, e Entry) (r Resolved, err error) {
	if e.Debian != nil {
		r, err = s.resolveDebian(ctx, *e.Debian)
	} else {
		r, err = s.resolveFile(ctx, *e.File)
	}
	r.Publisher, r.Offer, r.SKU = e.Publisher, e.Offer, e.SKU
	return r, err
}

func (s *Store) kept(e Entry, version string) (Image, bool, error) {
	images, err := s.List()
	for _, i := range images {
		if i.Publisher == e.Publisher && i.Offer == e.Offer && i.SKU == e.SKU && i.Version == version {
			return i, true, nil
		}
	}
	return Image{}, false, err
}

// Event is a sign of progress. Total is 0 where it is not known.
type Event struct {
	Stage       string // what is being done, for people
	Done, Total int64  // bytes
}

// Get returns the image of a resolved version, and makes or fetches it first
// where it is not kept. report may be nil.
func (s *Store) Get(ctx context.Context, r Resolved, report func(Event)) (Image, error) {
	if report == nil {
		report = func(Event) {}
	}
	entry, err := s.catalogue.Find(r.Publisher, r.Offer, r.SKU)
	if err != nil {
		return Image{}, err
	}
	key := keyOf(entry, r)
	unlock, err := s.lock(ctx, key)
	if err != nil {
		return Image{}, err
	}
	defer unlock()
	if image, err := s.read(key); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return image, err
	}
	image, err := s.make(ctx, entry, r, key, report)
	if errors.Is(err, ErrMoved) || errors.Is(err, ErrFetch) {
		// The source is gone; an earlier Hallmark may have made the image.
		if old, ok, _ := s.kept(entry, r.Version); ok && old.Digest == r.Digest {
			return old, nil
		}
	}
	return image, err
}

// keyOf names an image by everything that decides its content.
func keyOf(e Entry, r Resolved) string {
	parts := []string{r.Publisher, r.Offer, r.SKU, r.Version, r.Digest}
	if e.Debian != nil {
		parts = append(parts, recipeDigest())
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\n")))
	return hex.EncodeToString(sum[:12])
}

func (s *Store) make(ctx context.Context, e Entry, r Resolved, key string, report func(Event)) (Image, error) {
	work, err := s.workspace()
	if err != nil {
		return Image{}, err
	}
	defer work.close()
	out := filepath.Join(work.dir, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		return Image{}, err
	}
	file := filepath.Join(out, imageFile)
	if e.Debian != nil {
		err = s.assemble(ctx, *e.Debian, r, work.dir, file, report)
	} else {
		err = s.obtain(ctx, *e.File, r, work.dir, file, report)
	}
	if err != nil {
		return Image{}, fmt.Errorf("making base image %s: %w", r.Ref(), err)
	}
	return s.publish(ctx, r, key, out)
}

// publish makes a complete image visible, by one rename.
func (s *Store) publish(ctx context.Context, r Resolved, key, out string) (Image, error) {
	file := filepath.Join(out, imageFile)
	info, err := disk.Inspect(ctx, file, disk.QCOW2)
	if err != nil {
		return Image{}, err
	}
	text, err := json.MarshalIndent(Image{Resolved: r, VirtualSize: info.VirtualSize, Key: key}, "", "  ")
	if err != nil {
		return Image{}, err
	}
	dir := filepath.Join(s.dir, imageDir, key)
	err = errors.Join(os.Chmod(file, 0o444), disk.SyncFile(file), writeFile(filepath.Join(out, recordFile), text))
	if err != nil {
		return Image{}, err
	}
	if err := os.Rename(out, dir); err != nil {
		return Image{}, err
	}
	if err := syncDir(filepath.Dir(dir)); err != nil {
		return Image{}, err
	}
	return s.read(key)
}

func (s *Store) read(key string) (Image, error) {
	dir := filepath.Join(s.dir, imageDir, key)
	text, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil {
		return Image{}, err
	}
	image := Image{Path: filepath.Join(dir, imageFile)}
	if err := json.Unmarshal(text, &image); err != nil {
		return Image{}, fmt.Errorf("reading %s: %w; delete that folder, and the image is made again", dir, err)
	}
	return image, nil
}

// List returns the images that are kept.
func (s *Store) List() ([]Image, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, imageDir))
	if err != nil {
		return nil, err
	}
	var images []Image
	var errs []error
	for _, e := range entries {
		image, err := s.read(e.Name())
		if err == nil {
			images = append(images, image)
		} else if !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return images, errors.Join(errs...)
}

// Remove deletes an image. The caller knows that no overlay stands on it.
func (s *Store) Remove(key string) error {
	if key == "" || filepath.Base(key) != key || strings.HasPrefix(key, ".") {
		return fmt.Errorf("%q is not an image's key", key)
	}
	dir := filepath.Join(s.dir, imageDir, key)
	if err := os.Remove(filepath.Join(dir, recordFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // the record first: without it the image does not exist
	}
	return os.RemoveAll(dir)
}

// lock keeps everybody else from making the same image; the kernel lets go when
// the process dies.
func (s *Store) lock(ctx context.Context, key string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(s.dir, lockDir, key), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(err, f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), f.Close())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// workspace is a temporary folder whose lock tells Sweep that it is in use.
type workspace struct {
	dir  string
	lock *os.File
}

func (s *Store) workspace() (workspace, error) {
	dir, err := os.MkdirTemp(filepath.Join(s.dir, workDir), "base-")
	if err != nil {
		return workspace{}, err
	}
	lock, err := os.Open(dir)
	if err == nil {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		return workspace{}, errors.Join(err, os.RemoveAll(dir))
	}
	return workspace{dir, lock}, nil
}

func (w workspace) close() {
	_ = os.RemoveAll(w.dir) // what stays, Sweep removes
	w.lock.Close()
}

// Sweep removes what crashes left, and returns the paths. Work that goes on in
// this or another process stays.
func (s *Store) Sweep() ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(s.dir, workDir, "*"))
	if err != nil {
		return nil, err
	}
	var removed []string
	var errs []error
	for _, p := range paths {
		f, err := os.Open(p)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			errs = append(errs, os.RemoveAll(p))
			removed = append(removed, p)
		}
		f.Close()
	}
	return removed, errors.Join(errs...)
}
