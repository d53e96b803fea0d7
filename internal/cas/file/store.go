// Package file keeps chunks in pack files and pointers in small files, under a
// directory of a local file system. docs/on-disk.md specifies the bytes.
//
// It is not a cache and knows nothing of images beyond their manifests. One
// process at a time has a store open. Packages that own a directory (region)
// and cmd may import it; others take the interfaces of package cas.
package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"hallmark.dev/hallmark/internal/cas"
)

// Names inside a store's directory.
const (
	lockName = "lock"  // held while the store is open
	packsDir = "packs" // complete packs
	tempDir  = "tmp"   // packs being written; emptied by Open
	packExt  = ".pack"
)

// ErrInUse says that another process has the store open.
var ErrInUse = errors.New("the chunk store is in use by another process")

// Store is a cas.Store and cas.Collector in a directory.
type Store struct {
	dir   string
	lock  *os.File
	codec codec

	collecting sync.Mutex // one collection at a time

	mu      sync.Mutex // guards all below
	closed  bool
	index   map[cas.ID]place
	packs   map[uint32]pack
	next    uint32
	batches map[*batch]struct{}
	kept    map[cas.ID]struct{} // what batches touch during a collection; nil outside of one
	damaged []Damage
}

// place says where a chunk is.
type place struct {
	pack   uint32
	stored uint32 // compressed bytes
	offset uint32 // in the pack: packs are far smaller than 4 GiB
	plain  uint32
}

type pack struct {
	name  string
	bytes int64 // of the whole file
}

// Damage is a pack or chunk that cannot be read as written.
type Damage struct {
	Path string
	ID   cas.ID // zero when the whole pack is meant
	Err  error
}

func (d Damage) Error() string {
	if d.ID == (cas.ID{}) {
		return fmt.Sprintf("pack %s: %v", d.Path, d.Err)
	}
	return fmt.Sprintf("chunk %s in pack %s: %v", d.ID, d.Path, d.Err)
}

// Open opens the store in dir, makes it if it is not there, removes what an
// interrupted write left, and reads the index of every pack (48 bytes a chunk).
// A damaged pack does not keep the rest from being used: see Damaged.
// Errors: ErrInUse, or the file system's.
func Open(dir string) (*Store, error) {
	s := &Store{dir: dir, index: map[cas.ID]place{}, packs: map[uint32]pack{}, batches: map[*batch]struct{}{}}
	if err := s.open(); err != nil {
		if s.lock != nil {
			s.lock.Close()
		}
		return nil, fmt.Errorf("open chunk store %s: %w", dir, err)
	}
	return s, nil
}

func (s *Store) open() error {
	if err := makeDirs(s.dir, packsDir, tempDir); err != nil {
		return err
	}
	var err error
	if s.lock, err = lockFile(filepath.Join(s.dir, lockName)); err != nil {
		return err
	}
	if s.codec, err = newCodec(); err != nil {
		return err
	}
	if err := emptyDir(filepath.Join(s.dir, tempDir)); err != nil {
		return err
	}
	return s.readPacks()
}

func makeDirs(dir string, inside ...string) error {
	for _, name := range append([]string{""}, inside...) {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			return err
		}
	}
	return syncDir(dir)
}

// readPacks builds the index. What is in two packs counts in one of them.
func (s *Store) readPacks() error {
	entries, err := os.ReadDir(filepath.Join(s.dir, packsDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), packExt) {
			continue
		}
		records, size, err := readIndex(s.packPath(e.Name()))
		if err != nil {
			s.damaged = append(s.damaged, Damage{Path: s.packPath(e.Name()), Err: err})
			continue
		}
		s.add(pack{e.Name(), size}, records)
	}
	return nil
}

// add makes a pack's records readable; s.mu is held, or s not yet shared.
func (s *Store) add(p pack, records []record) uint32 {
	number := s.next
	s.next++
	s.packs[number] = p
	for _, r := range records {
		if _, ok := s.index[r.id]; !ok {
			s.index[r.id] = place{pack: number, offset: r.offset, stored: r.stored, plain: r.plain}
		}
	}
	return number
}

func (s *Store) packPath(name string) string { return filepath.Join(s.dir, packsDir, name) }

// Close releases the store for other processes. Batches that are still open
// lose what they did not commit.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	return s.lock.Close()
}

// Has implements cas.Reader.
func (s *Store) Has(_ context.Context, id cas.ID) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.index[id]
	return ok, s.usable()
}

// Get implements cas.Reader.
func (s *Store) Get(ctx context.Context, id cas.ID) ([]byte, error) {
	const moves = 3 // a collection may move the chunk between look-up and open
	for try := 0; ; try++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		name, at, err := s.find(id)
		if err != nil {
			return nil, err
		}
		data, err := s.read(name, id, at)
		if errors.Is(err, fs.ErrNotExist) && try < moves {
			continue
		}
		return data, err
	}
}

func (s *Store) find(id cas.ID) (string, place, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.index[id]
	if err := s.usable(); err != nil {
		return "", place{}, err
	}
	if !ok {
		return "", place{}, fmt.Errorf("chunk %s in %s: %w", id, s.dir, cas.ErrNotFound)
	}
	return s.packs[at.pack].name, at, nil
}

func (s *Store) usable() error {
	if s.closed {
		return fmt.Errorf("chunk store %s: %w", s.dir, cas.ErrClosed)
	}
	return nil
}

func (s *Store) read(name string, id cas.ID, at place) ([]byte, error) {
	path := s.packPath(name)
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := s.codec.read(f, id, at)
	if err != nil {
		return nil, Damage{Path: path, ID: id, Err: err}
	}
	return data, nil
}

// Unwrap lets errors.Is find cas.ErrCorrupt.
func (d Damage) Unwrap() error { return d.Err }

// Damaged lists the packs that Open could not read. Their chunks count as
// missing, so that putting an image again, or copying it from another region, heals it.
func (s *Store) Damaged() []Damage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Damage(nil), s.damaged...)
}

// Usage is what a store holds.
type Usage struct {
	Chunks int
	Plain  int64 // bytes of the chunks
	Stored int64 // bytes on disk, unused ones included
	Packs  int
}

// Usage counts; it reads nothing from disk.
func (s *Store) Usage() Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := Usage{Chunks: len(s.index), Packs: len(s.packs)}
	for _, at := range s.index {
		u.Plain += int64(at.plain)
	}
	for _, p := range s.packs {
		u.Stored += p.bytes
	}
	return u
}

// StoredSize returns the bytes that a chunk takes on disk; ok is false when the
// store does not have it.
func (s *Store) StoredSize(id cas.ID) (size int64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.index[id]
	return int64(at.stored), ok
}
