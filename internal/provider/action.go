package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
)

// action serves a sub-path of a resource that is no child collection.
func (c *call) action(ctx context.Context) (*Response, error) {
	t, err := c.p.reg.find(c.path.ID.Type(), c.apiVersion)
	if err != nil {
		return nil, err
	}
	a, known := t.action(c.path.Tail, c.Method)
	switch {
	case a != nil:
	case known:
		return nil, c.notAllowed()
	case t.Recorded && c.Method == http.MethodPost:
		return nil, c.refuseRecorded(ctx, t)
	default:
		return nil, arm.Errorf(404, arm.CodeInvalidResourceType, "'%s' is neither an action nor a child type of '%s'.", clip(c.path.Tail), t.Type).At(c.Path)
	}
	if err := t.checkID(c.path.ID); err != nil {
		return nil, err
	}
	c.locate(t)
	c.tried = a.permission(t)
	if err := c.authorize(ctx, c.tried, c.asked); err != nil {
		return nil, err
	}
	request, err := c.decodeBody(t)
	if err != nil {
		return nil, err
	}
	return c.retry(ctx, a.permission(t), func() (*Response, error) { return c.actOnce(ctx, t, a, request) })
}

// refuseRecorded is why nothing can be done with a resource that is only recorded.
func (c *call) refuseRecorded(ctx context.Context, t *ResourceType) error {
	if err := c.authorize(ctx, t.permission(c.path.Tail+"/action"), c.path.ID); err != nil {
		return err
	}
	return arm.BadRequest(CodeRecordedOnly, c.path.ID.String(), "'%s' is not possible: resources of type '%s' are only recorded here, and nothing stands behind them that could do it.",
		clip(c.path.Tail), t.Type)
}

func (c *call) actOnce(ctx context.Context, t *ResourceType, a *Action, request json.RawMessage) (*Response, error) {
	w, err := c.prepare(ctx, t, a.verb(), request)
	if a.method() == "GET" && err != nil && w != nil && w.Old != nil {
		err = nil // reading is possible whatever goes on
	}
	if err != nil {
		return nil, err
	}
	w.Doc = w.Old.Clone()
	result, err := a.Apply(ctx, w)
	if err != nil {
		return nil, err
	}
	if a.method() != "GET" && c.p.cfg.Admitter != nil {
		if err := c.p.cfg.Admitter.Admit(ctx, w); err != nil {
			return nil, err
		}
	}
	op := c.newOperation(w, a.Async)
	if a.Async && !a.KeepState {
		if err := c.finishBody(w, arm.StateUpdating); err != nil {
			return nil, err
		}
	}
	if err := c.store(ctx, w, a, op); err != nil {
		return nil, err
	}
	return c.acted(w, a, op, result)
}

// store commits what an action changed; one that changed nothing leaves its audit event.
func (c *call) store(ctx context.Context, w *Write, a *Action, op *running) error {
	changed := op != nil || !bytes.Equal(w.Doc.Body, w.Old.Body) || !bytes.Equal(w.Doc.Private, w.Old.Private)
	if changed {
		return c.commit(ctx, w, op, nil)
	}
	if a.method() == "GET" {
		return nil
	}
	return c.p.cfg.Store.Update(ctx, func(tx store.Tx) error {
		if err := c.stillAllowed(tx); err != nil {
			return err
		}
		return c.audit(tx, w, nil)
	})
}

func (c *call) acted(w *Write, a *Action, op *running, result any) (*Response, error) {
	if op != nil {
		h := http.Header{}
		c.follow(h, w, op, true)
		return &Response{Status: http.StatusAccepted, Header: h}, nil
	}
	if result == nil {
		return &Response{Status: or(a.Code, http.StatusOK)}, nil
	}
	return JSON(or(a.Code, http.StatusOK), result)
}
