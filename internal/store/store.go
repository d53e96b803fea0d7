// Package store keeps ARM resources as documents: one JSON document for each
// resource, an etag, and a revision that rises with every change, so that
// controllers can ask what changed since they last looked.
//
// It knows no resource type and no rule of ARM beyond ids. Implementations are
// store/sqlite (durable) and store/mem (tests; can lie about failing); both run
// store/storetest. Engines must not import it: they take plain data.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"hallmark.dev/hallmark/internal/arm"
)

// What callers must handle.
var (
	// ErrNotFound: no document under the key.
	ErrNotFound = errors.New("no such document")
	// ErrConflict: the document is not at the expected revision: somebody else
	// wrote first. Read again and decide anew.
	ErrConflict = errors.New("the document was changed by somebody else")
	// ErrClosed: the store has been closed.
	ErrClosed = errors.New("the store is closed")
	// ErrPruned: Since was asked for revisions whose tombstones are gone; list instead.
	ErrPruned = errors.New("the change history does not reach back that far")
)

// Document is one stored resource. Slices and maps belong to whoever got the
// document: implementations copy on the way in and out.
type Document struct {
	ID             string // as first written, case kept
	Key            string // arm.ID.Key(): lower case, unique
	Type           arm.Type
	SubscriptionID string // "" outside subscriptions
	ResourceGroup  string // "" outside groups
	Location       string // normalised: "westeurope"
	Tags           map[string]string

	// Body is the ARM document as clients see it, with unknown fields kept.
	Body json.RawMessage
	// Private is the provider's own state (desired power state, secrets,
	// file names). It never leaves the server.
	Private json.RawMessage

	// Operations are the ids of the long-running operations that still run on it.
	Operations []string
	// Deleting marks the first phase of a delete; the controller cleans up and
	// then removes the document.
	Deleting bool

	// Revision is that of the last change, unique in the store; 0 means never stored.
	Revision int64
	ETag     string // opaque; changes with every change

	CreatedAt, UpdatedAt time.Time
	CreatedBy, UpdatedBy string // object ids of principals
}

// ARMID is the parsed ID.
func (d *Document) ARMID() arm.ID {
	id, err := arm.ParseID(d.ID)
	if err != nil {
		return arm.ID{} // stored ids were parsed before they were stored
	}
	return id
}

// State is properties.provisioningState of the body.
func (d *Document) State() arm.ProvisioningState {
	return arm.ProvisioningState(arm.GetString(d.Body, "properties.provisioningState"))
}

// Expectations about what is stored, for Put and Delete; any other value is the
// exact revision that must be there.
const (
	Any    int64 = -1 // whatever is there, or nothing
	Absent int64 = 0  // nothing may be there
)

// Query selects documents. Empty fields do not restrict; all comparison is
// without regard to case.
type Query struct {
	Type           arm.Type
	SubscriptionID string
	ResourceGroup  string
	Location       string
	Prefix         string // of the key, e.g. a parent's Key()+"/"
	Name           string // the key's last segment

	After  string // keys greater than this: where the last page ended
	Before string // keys less than this
	Limit  int    // at most this many; 0 means all
}

// Change is something that happened to one document. Only the newest change of
// each document is kept.
type Change struct {
	Revision int64
	Key      string
	Type     arm.Type
	Deleted  bool // a tombstone
}

// ReadTx reads one consistent state.
type ReadTx interface {
	// Get is the document under the key (any case), or ErrNotFound.
	Get(key string) (*Document, error)
	// List is the documents that match, in key order.
	List(q Query) ([]*Document, error)
}

// Tx also writes. Nothing is visible to others before Update returns nil.
type Tx interface {
	ReadTx
	// Put stores d if what is there meets the expectation, else ErrConflict.
	// It sets d.Key, d.Revision and d.ETag; d.UpdatedAt is the caller's.
	Put(d *Document, expect int64) error
	// Delete removes the document and leaves a tombstone; ErrNotFound or ErrConflict.
	Delete(key string, expect int64) error
}

// Store is a set of documents.
type Store interface {
	// View runs f on one consistent state. f must not keep tx.
	View(ctx context.Context, f func(tx ReadTx) error) error
	// Update runs f and commits, durably, if it returns nil; an error of f or of
	// the commit means nothing was written, except that after an I/O error
	// at commit it is unknown (read again). f may run more than once, and
	// must have no effect besides tx.
	Update(ctx context.Context, f func(tx Tx) error) error
	// Since is the changes with a revision above the given one, rising, at
	// most limit (0: all), and the newest revision of the store at that moment.
	// ErrPruned if tombstones in that range may be gone; never from revision 0,
	// whose answer is everything that there is.
	Since(ctx context.Context, revision int64, limit int) ([]Change, int64, error)
	Close() error
}

// OnceReader is an optional ability of a Store: to read once, without what it takes to
// keep several reads consistent, which is a third of a Get's time. Get and List below
// use it.
type OnceReader interface {
	// GetOnce is a View with a single Get.
	GetOnce(ctx context.Context, key string) (*Document, error)
	// ListOnce is a View with a single List.
	ListOnce(ctx context.Context, q Query) ([]*Document, error)
}

// Notifier is an optional ability of a Store: to say that something changed.
// Without it, callers poll Since once a second.
type Notifier interface {
	// Changed is closed at the next commit after the call.
	Changed() <-chan struct{}
}

// Backuper is an optional ability: a consistent copy while running.
type Backuper interface {
	// Backup writes a complete copy to a file that must not exist, and syncs it.
	Backup(ctx context.Context, path string) error
}

// Pruner is an optional ability: to forget tombstones.
type Pruner interface {
	// Prune forgets tombstones with a revision of at most upTo.
	Prune(ctx context.Context, upTo int64) error
}

// Head is what a Scan tells of a document. ID and Tags may be reused after the call
// that they were given to.
type Head struct {
	ID       []byte
	Type     arm.Type
	Location string
	Tags     []byte // a JSON object; nil if there are none
	Body     []byte // nil unless it was asked for
	Deleting bool   // false unless the body was asked for
}

// Scanner is an optional ability of a ReadTx: to read parts of many documents, much
// faster than List reads all of them.
type Scanner interface {
	// Scan calls f with what List(q) would return, in the same order, until f returns
	// an error, which it returns as it is. f may call Get. It is fastest with q.Type.
	Scan(q Query, bodies bool, f func(*Head) error) error
	// Types are the types of which there are documents, sorted by their keys.
	Types() ([]arm.Type, error)
}

// Scan is tx's Scan, or what List makes of it.
func Scan(tx ReadTx, q Query, bodies bool, f func(*Head) error) error {
	if s, ok := tx.(Scanner); ok {
		return s.Scan(q, bodies, f)
	}
	limit := q.Limit
	var enough = errors.New("enough")
	err := Each(tx, q, func(d *Document) error {
		h, err := d.head(bodies)
		if err != nil {
			return err
		}
		if err := f(h); err != nil {
			return err
		}
		if limit--; limit == 0 {
			return enough
		}
		return nil
	})
	if err == enough { //nolint:errorlint // it is this one, not one of f's
		return nil
	}
	return err
}

func (d *Document) head(bodies bool) (*Head, error) {
	h := &Head{ID: []byte(d.ID), Type: d.Type, Location: d.Location}
	if bodies {
		h.Body, h.Deleting = d.Body, d.Deleting
	}
	if len(d.Tags) == 0 {
		return h, nil
	}
	var err error
	if h.Tags, err = json.Marshal(d.Tags); err != nil {
		return nil, fmt.Errorf("reading the tags of %s: %w", d.ID, err)
	}
	return h, nil
}

// Types is tx's Types, or what is found by looking at every document.
func Types(tx ReadTx) ([]arm.Type, error) {
	if s, ok := tx.(Scanner); ok {
		return s.Types()
	}
	byKey := map[string]arm.Type{}
	err := Each(tx, Query{}, func(d *Document) error {
		byKey[d.Type.Key()] = d.Type
		return nil
	})
	var types []arm.Type
	for _, k := range slices.Sorted(maps.Keys(byKey)) {
		types = append(types, byKey[k])
	}
	return types, err
}

// Get is a View with a single Get.
func Get(ctx context.Context, s Store, key string) (d *Document, err error) {
	if o, ok := s.(OnceReader); ok {
		return o.GetOnce(ctx, key)
	}
	err = s.View(ctx, func(tx ReadTx) error {
		d, err = tx.Get(key)
		return err
	})
	return d, err
}

// List is a View with a single List.
func List(ctx context.Context, s Store, q Query) (ds []*Document, err error) {
	if o, ok := s.(OnceReader); ok {
		return o.ListOnce(ctx, q)
	}
	err = s.View(ctx, func(tx ReadTx) error {
		ds, err = tx.List(q)
		return err
	})
	return ds, err
}

// eachPage is how many documents Each has in memory: some megabytes at the most.
const eachPage = 500

// Each calls f with every document that List would return, in the same order,
// reading page by page: what looks at everything must not hold everything.
// q.Limit is not regarded. An error of f ends it and is returned as it is.
func Each(tx ReadTx, q Query, f func(*Document) error) error {
	q.Limit = eachPage
	for {
		page, err := tx.List(q)
		if err != nil {
			return err
		}
		for _, d := range page {
			if err := f(d); err != nil {
				return err
			}
		}
		if len(page) < q.Limit {
			return nil
		}
		q.After = page[len(page)-1].Key
	}
}
