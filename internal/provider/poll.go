package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/operation"
	"hallmark.dev/hallmark/internal/store"
)

// operation serves …/operationStatuses/NAME and …/operationResults/NAME.
func (c *call) operation(ctx context.Context) (*Response, error) {
	if c.Method != "GET" {
		return nil, c.notAllowed()
	}
	id := c.path.ID.Parent().Child("operationStatuses", c.path.ID.Name())
	d, err := store.Get(ctx, c.p.cfg.Store, id.Key())
	if err != nil || !d.Type.Equal(operation.Type) {
		return nil, arm.Errorf(404, "OperationNotFound", "There is no operation '%s'; the records of old operations are removed.", clip(id.Name())).At(id.String())
	}
	rec, err := operation.Read(d)
	if err != nil {
		return nil, err
	}
	if err := c.mayPoll(ctx, rec); err != nil {
		return nil, err
	}
	if strings.EqualFold(c.path.ID.Type().Name(), "operationResults") {
		return c.result(rec)
	}
	return c.status(d, rec)
}

// mayPoll: who started it, and who may read the resource.
func (c *call) mayPoll(ctx context.Context, rec operation.Record) error {
	if rec.Principal == c.Principal.ObjectID {
		return nil
	}
	id, err := arm.ParseID(rec.Resource)
	if err != nil {
		return fmt.Errorf("operation %s: %w", rec.Name, err)
	}
	t, err := c.p.reg.find(id.Type(), c.apiVersion)
	if err != nil {
		return err
	}
	return c.authorize(ctx, t.permission("read"), id)
}

func (c *call) status(d *store.Document, rec operation.Record) (*Response, error) {
	resp, err := JSON(200, struct {
		ID         string                `json:"id"`
		Name       string                `json:"name"`
		Status     arm.ProvisioningState `json:"status"`
		ResourceID string                `json:"resourceId"`
		StartTime  time.Time             `json:"startTime"`
		EndTime    *time.Time            `json:"endTime,omitempty"`
		Percent    float64               `json:"percentComplete"`
		Error      *arm.Error            `json:"error,omitempty"`
		Properties json.RawMessage       `json:"properties,omitempty"`
	}{d.ID, rec.Name, rec.Status, rec.Resource, rec.StartTime, rec.EndTime, percent(rec), rec.Error, rec.Result})
	if err == nil && !rec.Status.Terminal() {
		c.retryAfter(resp)
	}
	return resp, err
}

func percent(rec operation.Record) float64 {
	if rec.Status == arm.StateSucceeded {
		return 100
	}
	return 0
}

func (c *call) retryAfter(r *Response) {
	if c.p.cfg.RetryAfter > 0 {
		r.Header.Set("Retry-After", fmt.Sprint(c.p.cfg.RetryAfter))
	}
}

// result is the Location form: 202 while it runs, then the action's own answer.
func (c *call) result(rec operation.Record) (*Response, error) {
	switch {
	case !rec.Status.Terminal():
		h := http.Header{}
		h.Set("Location", c.BaseURL+c.path.ID.String()+"?api-version="+c.apiVersion)
		r := &Response{Status: http.StatusAccepted, Header: h}
		c.retryAfter(r)
		return r, nil
	case rec.Status != arm.StateSucceeded && rec.Error != nil:
		e := *rec.Error
		if e.Status = http.StatusConflict; e.Code == arm.CodeInternalServerError {
			e.Status = http.StatusInternalServerError
		}
		return nil, &e
	case len(rec.Result) > 0:
		return JSON(200, rec.Result)
	}
	return &Response{Status: http.StatusNoContent}, nil
}
