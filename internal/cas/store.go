package cas

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Limits that every implementation may count on.
const (
	// MaxChunk is the most bytes that a chunk of an image has.
	MaxChunk = 128 << 10
	// MaxBlob is the most bytes that Put accepts. Manifests are blobs too and
	// are larger than chunks: this is enough for some 50 GB of data in one image.
	MaxBlob = 96 << 20
)

var (
	// ErrNotFound says that the store has no such chunk, or no such pointer.
	ErrNotFound = errors.New("not found")
	// ErrCorrupt says that stored bytes are not what their name promises.
	ErrCorrupt = errors.New("stored bytes are damaged")
	// ErrTooLarge says that a blob exceeds MaxBlob.
	ErrTooLarge = fmt.Errorf("blob is larger than %d bytes", MaxBlob)
	// ErrClosed says that the batch or store was used after Close.
	ErrClosed = errors.New("already closed")
	// ErrConflict says that a pointer no longer has the value the caller thought.
	ErrConflict = errors.New("pointer has changed")
)

// Reader reads chunks. Implementations are safe for concurrent use.
type Reader interface {
	// Get returns the chunk's bytes, verified against id. The caller owns them.
	// Errors: ErrNotFound; ErrCorrupt when the stored bytes do not match.
	Get(ctx context.Context, id ID) ([]byte, error)
	// Has reports whether the chunk is there. It does not read it.
	Has(ctx context.Context, id ID) (bool, error)
}

// Store is a Reader that can be added to.
type Store interface {
	Reader
	// Begin starts a batch. Any number may be open at a time.
	Begin(ctx context.Context) (Batch, error)
}

// Batch is a group of writes. Its methods are safe for concurrent use.
//
// What a batch puts or holds is safe from collection until Close. The owner
// therefore records the image's digest, where the collector's roots are read
// from, between Commit and Close.
type Batch interface {
	// Put stores data under its name. Storing what is there already costs
	// nothing and is no error. Errors: ErrTooLarge, ErrClosed, or the medium's.
	// After the medium's the batch may be unusable, and chunks put since the last
	// Commit may or may not be stored: close it and do the work again in another,
	// which costs no more than what is missing.
	Put(ctx context.Context, data []byte) (Stored, error)
	// Hold reports whether the store has the chunk and, if so, keeps it from
	// being collected until Close.
	Hold(ctx context.Context, id ID) (bool, error)
	// Commit makes everything put so far durable and visible to readers. Before
	// it, either may or may not be the case. The batch stays open. Errors: as Put.
	Commit(ctx context.Context) error
	// Close ends the batch. What was not committed may be lost. Closing twice is
	// no error.
	Close() error
}

// Stored says what a Put did.
type Stored struct {
	ID   ID
	New  bool  // the store did not have it
	Size int64 // bytes it takes in the store if New, else 0
}

// Collector is a Store's optional ability to remove what nothing uses. A store
// without it only grows.
type Collector interface {
	// Collect removes chunks that no root's manifest lists.
	//
	// roots is called after Collect has begun to watch the batches. So an image
	// whose batch closed before has to be among the roots, and a batch that is
	// open then or opened later keeps what it touches. An error from roots, or a
	// root whose manifest cannot be read, ends the collection with nothing removed.
	Collect(ctx context.Context, roots Roots, rule Retention) (Collected, error)
}

// Roots returns the digests of the images that are in use.
type Roots func(ctx context.Context) ([]Digest, error)

// Retention says what collection leaves alone.
type Retention struct {
	// WrittenBefore keeps whatever was written at or after this time; zero keeps
	// nothing for its age. It is the grace for work that a crash interrupted and
	// that will be taken up again.
	WrittenBefore time.Time
	// Waste is the share (0 to 1) of unused bytes up to which a pack is not
	// worth rewriting. Zero removes every unused byte.
	Waste float64
}

// Collected says what a collection did.
type Collected struct {
	LiveChunks    int
	RemovedChunks int
	FreedBytes    int64 // on the medium
	WastedBytes   int64 // unused bytes left behind, by Retention
}
