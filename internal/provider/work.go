package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/operation"
	"hallmark.dev/hallmark/internal/store"
)

// Work is what Reconcile gets: the document as it was at the call, and the only
// ways to change it.
type Work struct {
	Doc *store.Document // replaced by Update and Refresh
	ID  arm.ID
	Runtime
}

// Refresh reads the document again, after controller.Changed has fired.
// store.ErrNotFound when it is gone.
func (w *Work) Refresh(ctx context.Context) error {
	d, err := store.Get(ctx, w.Store, w.Doc.Key)
	if err != nil {
		return fmt.Errorf("reading %s again: %w", w.Doc.ID, err)
	}
	w.Doc = d
	return nil
}

// Update changes the document in one transaction, together with the operations
// that it ends. Nothing is written when nothing changes. store.ErrConflict (return
// it: Reconcile is called again) if somebody changed the document since w.Doc was
// read. change may run more than once.
func (w *Work) Update(ctx context.Context, change func(d *Draft)) error {
	var next *store.Document
	err := w.Store.Update(ctx, func(tx store.Tx) error {
		doc, err := tx.Get(w.Doc.Key)
		if err != nil {
			return err
		}
		if doc.Revision != w.Doc.Revision {
			return store.ErrConflict
		}
		next, err = w.apply(tx, doc, change)
		return err
	})
	if err != nil {
		return fmt.Errorf("updating %s: %w", w.Doc.ID, err)
	}
	w.Doc = next
	return nil
}

// Remove ends a delete: the document goes, with what still hangs on it (extensions
// such as policy assignments), and its operations end (the delete
// as Succeeded, others as Canceled), in one transaction. Every side effect must be
// gone before.
func (w *Work) Remove(ctx context.Context) error {
	err := w.Store.Update(ctx, func(tx store.Tx) error {
		doc, err := tx.Get(w.Doc.Key)
		if err != nil {
			return err
		}
		if doc.Revision != w.Doc.Revision {
			return store.ErrConflict
		}
		return removeAll(tx, doc, w.Now())
	})
	if err != nil {
		return fmt.Errorf("removing %s: %w", w.Doc.ID, err)
	}
	return nil
}

func (w *Work) apply(tx store.Tx, doc *store.Document, change func(*Draft)) (*store.Document, error) {
	d := &Draft{Doc: doc}
	before := *doc
	change(d)
	if d.err != nil {
		return nil, d.err
	}
	for _, e := range d.endings {
		left, err := operation.End(tx, doc.Operations, e.action, w.Now(), e.outcome)
		if err != nil {
			return nil, err
		}
		doc.Operations = left
	}
	if string(doc.Body) == string(before.Body) && string(doc.Private) == string(before.Private) &&
		slices.Equal(doc.Operations, before.Operations) && doc.Deleting == before.Deleting {
		return doc, nil
	}
	doc.UpdatedAt = w.Now()
	return doc, tx.Put(doc, before.Revision)
}

// Draft is a document that a controller changes: properties that the server owns,
// and Private; never what the client asked for. Errors are kept until the end.
type Draft struct {
	Doc     *store.Document // Body and Private may be changed
	endings []ending
	err     error
}

type ending struct {
	action  string // "" means all that are left
	outcome operation.Outcome
}

// Set writes one property of the body, such as "properties.instanceId".
func (d *Draft) Set(path string, value any) {
	body, err := arm.Set(d.Doc.Body, path, value)
	if err != nil {
		d.fail(err)
		return
	}
	d.Doc.Body = body
}

// Unset removes one property of the body.
func (d *Draft) Unset(path string) { d.Doc.Body = arm.Remove(d.Doc.Body, path) }

// SetPrivate replaces the provider's own state.
func (d *Draft) SetPrivate(state any) {
	raw, err := json.Marshal(state)
	if err != nil {
		d.fail(fmt.Errorf("writing private state: %w", err))
		return
	}
	d.Doc.Private = raw
}

// Succeed sets provisioningState Succeeded and ends all operations that still run.
func (d *Draft) Succeed() {
	d.Set("properties.provisioningState", arm.StateSucceeded)
	d.end("", operation.Outcome{Status: arm.StateSucceeded})
}

// Fail sets provisioningState Failed and ends all operations that still run with
// this error, which reaches the client: say what happened and what to do.
func (d *Draft) Fail(err *arm.Error) {
	d.Set("properties.provisioningState", arm.StateFailed)
	d.end("", operation.Outcome{Status: arm.StateFailed, Error: err})
}

// AbortDelete ends a delete that cannot be done: the resource stays, in the given
// state, and the operations that still run fail with this error.
func (d *Draft) AbortDelete(state arm.ProvisioningState, err *arm.Error) {
	d.Doc.Deleting = false
	d.Set("properties.provisioningState", state)
	d.end("", operation.Outcome{Status: arm.StateFailed, Error: err})
}

// Cancel sets provisioningState Canceled and ends all operations that still run as
// canceled. (End the operation of the cancel action itself before.)
func (d *Draft) Cancel() {
	d.Set("properties.provisioningState", arm.StateCanceled)
	d.end("", operation.Outcome{Status: arm.StateCanceled})
}

// End ends the operations of one action ("start", "run", "write") and leaves
// provisioningState alone. A nil error is success, with result as
// the operation's answer (nil: none).
func (d *Draft) End(action string, result any, err *arm.Error) {
	if err != nil {
		d.end(action, operation.Outcome{Status: arm.StateFailed, Error: err})
		return
	}
	o := operation.Outcome{Status: arm.StateSucceeded}
	if result != nil {
		raw, merr := json.Marshal(result)
		if merr != nil {
			d.fail(fmt.Errorf("writing the result of %s: %w", action, merr))
			return
		}
		o.Result = raw
	}
	d.end(action, o)
}

func (d *Draft) end(action string, o operation.Outcome) {
	d.endings = append(d.endings, ending{action, o})
}

func (d *Draft) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}
