package provider

import (
	"context"
	"errors"
	"net/http"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
)

// check is a PUT that is not carried out: it is authorised, and admitted as far as
// the document can be known. What a resource refers to may not exist yet, so
// Validate has no say, and where Load or Default fail nothing is said at all: a
// check must never refuse what the write itself would let through.
func (c *call) check(ctx context.Context, t *ResourceType) (*Response, error) {
	if t.NoPut {
		return nil, c.notAllowed()
	}
	if err := c.authorize(ctx, t.permission("write"), c.path.ID); err != nil {
		return nil, err
	}
	request, err := c.decodeObject(t)
	if err != nil {
		return nil, err
	}
	w := &Write{ID: c.p.reg.canonical(c.path.ID), Type: t, Action: "write", APIVersion: c.apiVersion, Principal: c.Principal, Now: c.p.now(),
		Client: c.client(), Request: request, Query: c.query}
	w.Old, err = store.Get(ctx, c.p.cfg.Store, w.ID.Key())
	if errors.Is(err, store.ErrNotFound) {
		w.Old, err = nil, t.checkName(w.ID)
	}
	if err != nil {
		return nil, err
	}
	var errs []*arm.Error
	if w.Doc, errs, err = c.draft(t, w.ID, w.Old, request); err != nil {
		return nil, err
	}
	if len(errs) > 0 {
		return nil, arm.Join(errs)
	}
	if c.knowable(ctx, w) && c.p.cfg.Admitter != nil {
		if err := c.p.cfg.Admitter.Admit(ctx, w); err != nil {
			return nil, err
		}
	}
	return &Response{Status: http.StatusNoContent}, nil
}

// knowable reports whether the document can be completed as a write would do it.
func (c *call) knowable(ctx context.Context, w *Write) bool {
	if w.Type.Load != nil && w.Type.Load(ctx, w) != nil {
		return false
	}
	return w.Type.Default == nil || w.Type.Default(w) == nil
}
