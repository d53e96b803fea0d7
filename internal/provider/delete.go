package provider

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/operation"
	"hallmark.dev/hallmark/internal/store"
)

func (c *call) delete(ctx context.Context, t *ResourceType) (*Response, error) {
	return c.retry(ctx, t.permission("delete"), func() (*Response, error) { return c.deleteOnce(ctx, t) })
}

func (c *call) deleteOnce(ctx context.Context, t *ResourceType) (*Response, error) {
	w, err := c.prepare(ctx, t, "delete", nil)
	if err != nil {
		return nil, err
	}
	if w.Old == nil {
		if w.ID.Kind() != arm.KindResource {
			return nil, c.p.notFound(w.ID)
		}
		return &Response{Status: http.StatusNoContent}, nil
	}
	w.Doc = w.Old.Clone()
	if w.Old.Deleting {
		return c.joinDelete(ctx, w)
	}
	if c.p.cfg.Admitter != nil {
		if err := c.p.cfg.Admitter.Admit(ctx, w); err != nil {
			return nil, err
		}
	}
	if t.Reconcile == nil || t.DeleteAtOnce {
		return c.deleteNow(ctx, w)
	}
	return c.deleteLater(ctx, w)
}

// checkDelete refuses when children exist or the type objects.
func (c *call) checkDelete(tx store.Tx, w *Write) error {
	if !w.Type.CascadeDelete {
		kids, err := children(tx, w.Old)
		if err != nil {
			return err
		}
		if len(kids) > 0 {
			return arm.Conflict(arm.CodeCannotDeleteResource, w.ID.String(),
				"Cannot delete resource while nested resources exist. Some existing nested resource IDs include: '%s'. Please delete all nested resources before deleting this resource.", kids[0].ID)
		}
	}
	if w.Type.CheckDelete != nil {
		return w.Type.CheckDelete(tx, w)
	}
	return nil
}

// children are the documents below d that are no extensions of it.
func children(tx store.ReadTx, d *store.Document) ([]*store.Document, error) {
	below, err := tx.List(store.Query{Prefix: d.Key + "/"})
	var kids []*store.Document
	for _, b := range below {
		if !strings.HasPrefix(b.Key[len(d.Key):], "/providers/") {
			kids = append(kids, b)
		}
	}
	return kids, err
}

func (c *call) deleteNow(ctx context.Context, w *Write) (*Response, error) {
	err := c.p.cfg.Store.Update(ctx, func(tx store.Tx) error {
		if err := c.stillAllowed(tx); err != nil {
			return err
		}
		if err := c.guard(tx, c.permission(w), w.ID); err != nil {
			return err
		}
		if err := c.checkDelete(tx, w); err != nil {
			return err
		}
		if err := c.audit(tx, w, nil); err != nil {
			return err
		}
		return removeAll(tx, w.Old, w.Now)
	})
	if err != nil {
		return nil, err
	}
	resp := &Response{Status: or(w.Type.Codes.Delete, http.StatusOK)}
	if w.Type.ShowDeleted {
		resp.Body, err = c.show(ctx, w.Type, w.Old, false)
	}
	return resp, err
}

// removeAll removes a document and what still lies below it: children under
// CascadeDelete, and extensions, which mean nothing without it.
func removeAll(tx store.Tx, d *store.Document, now time.Time) error {
	below, err := tx.List(store.Query{Prefix: d.Key + "/"})
	if err != nil {
		return err
	}
	for _, b := range append(below, d) {
		if err := operation.EndAll(tx, b.Operations, now, operation.Removed); err != nil {
			return err
		}
		if err := forgetIdentity(tx, b); err != nil {
			return err
		}
		if err := tx.Delete(b.Key, b.Revision); err != nil {
			return err
		}
	}
	return nil
}

// deleteLater is the first phase: mark it, cut short what runs, leave the rest to
// Reconcile.
func (c *call) deleteLater(ctx context.Context, w *Write) (*Response, error) {
	op := c.newOperation(w, true)
	w.Doc.Deleting = true
	w.Doc.Operations = nil
	if err := c.finishBody(w, arm.StateDeleting); err != nil {
		return nil, err
	}
	err := c.commit(ctx, w, op, func(tx store.Tx) error {
		if err := c.checkDelete(tx, w); err != nil {
			return err
		}
		return operation.EndAll(tx, w.Old.Operations, w.Now, operation.Preempted)
	})
	if err != nil {
		return nil, err
	}
	return c.accepted(w, op), nil
}

func (c *call) accepted(w *Write, op *running) *Response {
	h := http.Header{}
	c.follow(h, w, op, true)
	return &Response{Status: or(w.Type.Codes.Delete, http.StatusAccepted), Header: h}
}

// joinDelete answers a second DELETE with the operation of the first.
func (c *call) joinDelete(ctx context.Context, w *Write) (*Response, error) {
	for _, id := range w.Old.Operations {
		d, err := store.Get(ctx, c.p.cfg.Store, id)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if rec, err := operation.Read(d); err == nil && rec.Action == "delete" {
			return c.accepted(w, &running{id: d.ARMID(), record: rec}), nil
		}
	}
	return &Response{Status: http.StatusAccepted}, nil
}
