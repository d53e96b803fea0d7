package region

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
	"hallmark.dev/hallmark/internal/cas/file"
)

// Names inside a region's root.
const (
	chunksDir   = "chunks"
	replicasDir = "replicas"
	tempDir     = "tmp"
	replicaExt  = ".qcow2"
)

var (
	// ErrNoReplica says that the image has no replica in the region.
	ErrNoReplica = errors.New("the image is not replicated to the region")
	// ErrReplicaInUse says that machines use the replica.
	ErrReplicaInUse = errors.New("the replica is in use")
)

// Region is a storage root. It is safe for concurrent use; one process at a
// time has it open.
type Region struct {
	name, root string
	store      *file.Store

	// inUse is held for reading while a replica gets a user, for writing while one is
	// removed: the user who comes in between would be left with a missing disk.
	inUse sync.RWMutex

	mu     sync.Mutex
	making map[cas.Digest]chan struct{} // closed when done
}

// Open opens a region, makes its root if it is not there, and removes what an
// interrupted write left. Errors: file.ErrInUse, or the file system's.
func Open(name, root string) (*Region, error) {
	r := &Region{name: name, root: root, making: map[cas.Digest]chan struct{}{}}
	if err := r.open(); err != nil {
		return nil, fmt.Errorf("open region %s: %w", name, err)
	}
	return r, nil
}

func (r *Region) open() error {
	absolute, err := filepath.Abs(r.root)
	if err != nil {
		return err
	}
	r.root = absolute
	// Replicas are opened by machines, which need not run as this user.
	for dir, mode := range map[string]os.FileMode{"": 0o711, replicasDir: 0o711, tempDir: 0o700} {
		if err := os.MkdirAll(r.path(dir), mode); err != nil {
			return err
		}
	}
	// The store's lock shows that nobody else writes into tmp.
	if r.store, err = file.Open(r.path(chunksDir)); err != nil {
		return err
	}
	if err := emptyDir(r.path(tempDir)); err != nil {
		return errors.Join(err, r.store.Close())
	}
	return syncDir(r.root)
}

func emptyDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return errors.Join(errs...)
}

// Close lets another process open the region. Replicas stay usable.
func (r *Region) Close() error { return r.store.Close() }

// Name returns the region's name, such as "westeurope".
func (r *Region) Name() string { return r.name }

// Chunks gives other regions access to this one's chunks.
func (r *Region) Chunks() cas.Reader { return r.store }

func (r *Region) path(elements ...string) string {
	return filepath.Join(append([]string{r.root}, elements...)...)
}

func (r *Region) replicaPath(digest cas.Digest) string {
	return r.path(replicasDir, digest.Hex()+replicaExt)
}

// Replica is a complete replica: a read-only, flat qcow2 file.
type Replica struct {
	Digest cas.Digest
	Path   string
	Bytes  int64 // on disk
}

// Replica returns the image's replica. Errors: ErrNoReplica, or that the root
// cannot be read.
func (r *Region) Replica(digest cas.Digest) (Replica, error) {
	path := r.replicaPath(digest)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNoReplica
	}
	if err != nil {
		return Replica{}, fmt.Errorf("image %s in region %s: %w", digest, r.name, err)
	}
	return Replica{Digest: digest, Path: path, Bytes: onDisk(info)}, nil
}

// Replicas lists what is ready.
func (r *Region) Replicas() ([]Replica, error) {
	entries, err := os.ReadDir(r.path(replicasDir))
	if err != nil {
		return nil, fmt.Errorf("region %s: %w", r.name, err)
	}
	var list []Replica
	for _, e := range entries {
		digest, ok := DigestOf(e.Name())
		if !ok {
			continue // not ours
		}
		replica, err := r.Replica(digest)
		if err != nil {
			return nil, err
		}
		list = append(list, replica)
	}
	return list, nil
}

// DigestOf reads the digest of an image from its replica's path. It says what
// the file claims to be; Verify says whether it is.
func DigestOf(path string) (cas.Digest, bool) {
	digits, ok := strings.CutSuffix(filepath.Base(path), replicaExt)
	id, err := cas.ParseID(digits)
	return cas.Digest(id), ok && err == nil
}

// Use calls do with the replica's path, and keeps the replica from being removed
// until do returns. What then uses it must be known to the Users of Remove.
func (r *Region) Use(digest cas.Digest, do func(path string) error) error {
	r.inUse.RLock()
	defer r.inUse.RUnlock()
	replica, err := r.Replica(digest)
	if err != nil {
		return err
	}
	return do(replica.Path)
}

// Users names what uses an image's replica, machines say. It must not call Use.
type Users func(ctx context.Context, digest cas.Digest) ([]string, error)

// Remove removes a replica that nothing uses. Its chunks stay until Collect. That
// it is gone already is no error. Errors: ErrReplicaInUse, which names the users.
func (r *Region) Remove(ctx context.Context, digest cas.Digest, users Users) error {
	r.inUse.Lock()
	defer r.inUse.Unlock()
	using, err := users(ctx, digest)
	if err == nil && len(using) > 0 {
		err = fmt.Errorf("%w by %s; delete or refresh them first", ErrReplicaInUse, strings.Join(using, ", "))
	}
	if err != nil {
		return fmt.Errorf("remove image %s from region %s: %w", digest, r.name, err)
	}
	if err := os.Remove(r.replicaPath(digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove image %s from region %s: %w", digest, r.name, err)
	}
	return syncDir(r.path(replicasDir))
}

// Collect removes the chunks that neither a replica here nor one of the roots
// uses. See cas.Collector for when roots is called.
func (r *Region) Collect(ctx context.Context, roots cas.Roots, rule cas.Retention) (cas.Collected, error) {
	return r.store.Collect(ctx, func(ctx context.Context) ([]cas.Digest, error) {
		digests, err := roots(ctx)
		if err != nil {
			return nil, err
		}
		replicas, err := r.Replicas()
		for _, replica := range replicas {
			digests = append(digests, replica.Digest)
		}
		return digests, err
	}, rule)
}

// Usage is what a region holds.
type Usage struct {
	Replicas     int
	ReplicaBytes int64 // on disk
	Chunks       file.Usage
	Free         int64 // on the root's file system, for this user
}

// Usage counts what is there; it reads no image.
func (r *Region) Usage() (Usage, error) {
	replicas, err := r.Replicas()
	if err != nil {
		return Usage{}, err
	}
	u := Usage{Replicas: len(replicas), Chunks: r.store.Usage()}
	for _, replica := range replicas {
		u.ReplicaBytes += replica.Bytes
	}
	u.Free, err = freeSpace(r.root)
	return u, err
}
