// Package controller drives documents to what is asked of them: level-based
// reconcile loops over the store.
//
// A controller looks at what is, not at what happened, and may be killed at any
// instruction: everything it must remember is in the document (Private) before
// the side effect that it describes. It knows nothing of HTTP. provider wraps it
// for resource types; only engines of background work import it directly.
package controller

import (
	"context"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
)

// Controller owns some types of documents.
type Controller struct {
	// Name is for logs and metrics, e.g. "Microsoft.Compute/virtualMachines".
	Name string
	// Types whose documents' keys are given to Reconcile.
	Types []arm.Type
	// Watches are further types: a change of one enqueues the keys that the function
	// returns. The document is nil when it is gone.
	Watches map[arm.Type]func(key string, d *store.Document) []string
	// Removed, if set, turns the key of any document that went, of whatever type,
	// into keys to look at: for those who wait for others to go.
	Removed func(key string) []string
	// Workers is how many keys are worked on at the same time; 0 means 1. One key is
	// never worked on twice at the same time.
	Workers int
	// Reconcile looks at the document under key (it may be gone) and takes the next
	// step. It is called at start for every document of Types and then after
	// every change, also its own. A returned duration above zero asks to be
	// called again by then; an error asks for it with exponential backoff.
	// ctx ends when the process stops: return soon, leave the rest to the next start.
	Reconcile func(ctx context.Context, key string) (again time.Duration, err error)
}

// Changed is a channel that gets a value when the document changes while
// Reconcile is still running on it, so that long work notices a cancel or a
// delete. Changes that Reconcile makes itself count too: read the document and
// decide. Outside Reconcile the channel never fires.
func Changed(ctx context.Context) <-chan struct{} {
	c, _ := ctx.Value(changedKey{}).(chan struct{})
	return c
}

type changedKey struct{}
