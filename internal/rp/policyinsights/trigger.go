package policyinsights

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
)

// trigger serves …/policyStates/latest/triggerEvaluation. Evaluation follows every
// change by itself; a scan on demand is done when it has reached what is newest now.
func (cfg Config) trigger(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	_, newest, err := c.Runtime.Store.Since(ctx, 0, 1)
	if err != nil {
		return nil, err
	}
	h := http.Header{}
	h.Set("Location", c.Request.BaseURL+strings.TrimSuffix(c.Scope.String(), "/")+"/providers/"+namespace+"asyncOperationResults/"+
		strconv.FormatInt(newest, 10)+"?api-version="+c.Request.Query.Get("api-version"))
	return &provider.Response{Status: http.StatusAccepted, Header: h}, nil
}

// patience is how long a poll waits before it answers "not yet".
const patience = 2 * time.Second

// triggered serves the poll: 202 until evaluation has got there.
func (cfg Config) triggered(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	target, err := strconv.ParseInt(c.Vars["revision"], 10, 64)
	if err != nil {
		return nil, arm.Errorf(http.StatusNotFound, arm.CodeResourceNotFound, "There is no operation '%s'.", clip(c.Vars["revision"])).At(c.Request.Path)
	}
	p, current, err := cfg.Engine.Wait(ctx, patience)
	if err != nil {
		return nil, err
	}
	if !current && (p.Evaluated < target || p.Pending > 0) {
		h := http.Header{}
		h.Set("Location", c.Request.BaseURL+c.Request.Path+"?api-version="+c.Request.Query.Get("api-version"))
		return &provider.Response{Status: http.StatusAccepted, Header: h}, nil
	}
	return provider.JSON(http.StatusOK, map[string]string{"status": "Succeeded"})
}
