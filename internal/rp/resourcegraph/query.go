package resourcegraph

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/kql"
	"hallmark.dev/hallmark/internal/provider"
)

// query serves POST …/resources.
func (g *graph) query(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	r, err := readRequest(c.Request.Body, apiVersion(c))
	if err != nil {
		return nil, err
	}
	q, err := kql.Parse(r.Query)
	if err != nil {
		return nil, invalid(err)
	}
	plan, err := kql.Compile(q, tables)
	if err != nil {
		return nil, invalid(err)
	}
	if err := g.enter(ctx); err != nil {
		return nil, err
	}
	defer g.leave()
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	scopes, err := g.scopes(ctx, c, r)
	if err != nil {
		return nil, err
	}
	result, err := plan.Run(&source{graph: g, ctx: ctx, call: c, scopes: scopes, may: newRights(c)}, kql.Options{
		Now: c.Runtime.Now(), Interrupt: ctx.Err, Skip: r.page.Skip, Top: r.top, Total: r.page.Total})
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, arm.Errorf(400, "QueryTimeout", "The query took longer than %d seconds. Filter by type, subscriptionId or resourceGroup first.", int(maxTime.Seconds()))
	}
	if err != nil {
		return nil, invalid(err)
	}
	return answer(r, result)
}

func apiVersion(c *provider.Call) string {
	for k, v := range c.Request.Query {
		if strings.EqualFold(k, "api-version") && len(v) > 0 {
			return v[0]
		}
	}
	return ""
}

// enter waits for its turn: what all queries keep in memory is bounded.
func (g *graph) enter(ctx context.Context) error {
	wait := time.NewTimer(maxWaiting)
	defer wait.Stop()
	select {
	case g.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-wait.C:
		return arm.Errorf(429, "RateLimiting", "Too many queries run at the same time. Try again in some seconds.")
	}
}

func (g *graph) leave() { <-g.slots }

// answered is a page in the service's shape.
type answered struct {
	TotalRecords    int       `json:"totalRecords"`
	Count           int       `json:"count"`
	Data            *struct{} `json:"data"` // put in as text: it may have megabytes
	Facets          []facet   `json:"facets"`
	ResultTruncated string    `json:"resultTruncated"`
	SkipToken       string    `json:"$skipToken,omitempty"`
}

// facet is the answer to a facet: none is served.
type facet struct {
	Expression string              `json:"expression"`
	ResultType string              `json:"resultType"`
	Errors     []map[string]string `json:"errors"`
}

func answer(r *request, result *kql.Result) (*provider.Response, error) {
	a := answered{TotalRecords: result.Total, Count: len(result.Rows), ResultTruncated: "false", Facets: []facet{}}
	for _, raw := range r.Facets {
		var f struct{ Expression string }
		_ = json.Unmarshal(raw, &f) // it is only shown again
		a.Facets = append(a.Facets, facet{f.Expression, "FacetError", []map[string]string{{"code": "NotSupported", "message": "Facets are not supported; use summarize count() by."}}})
	}
	if shown := r.page.Skip + len(result.Rows); shown < result.Total && len(result.Rows) > 0 {
		a.SkipToken = position{Skip: shown, Total: result.Total, Query: r.page.Query}.token()
	}
	frame, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	data := objects(result)
	if r.table {
		data = tableOf(result)
	}
	const hole = `"data":null`
	at := bytes.Index(frame, []byte(hole)) + len(hole) - len("null")
	body := slices.Concat(frame[:at], data, frame[at+len("null"):])
	return &provider.Response{Status: 200, Header: http.Header{}, Body: body}, nil
}

func objects(r *kql.Result) []byte {
	names := make([][]byte, len(r.Columns))
	for i, c := range r.Columns {
		names[i] = kql.String(c.Name).AppendJSON(nil)
	}
	b := []byte{'['}
	for i, row := range r.Rows {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '{')
		for j, v := range row {
			if j > 0 {
				b = append(b, ',')
			}
			b = append(append(b, names[j]...), ':')
			b = v.AppendJSON(b)
		}
		b = append(b, '}')
	}
	return append(b, ']')
}

var columnTypes = map[kql.Kind]string{kql.KindNull: "object", kql.KindBool: "boolean", kql.KindLong: "integer", kql.KindReal: "number",
	kql.KindString: "string", kql.KindDatetime: "datetime", kql.KindTimespan: "string", kql.KindDynamic: "object"}

func tableOf(r *kql.Result) []byte {
	b := []byte(`{"columns":[`)
	for i, c := range r.Columns {
		if i > 0 {
			b = append(b, ',')
		}
		b = kql.String(c.Name).AppendJSON(append(b, `{"name":`...))
		b = append(b, `,"type":"`+columnTypes[c.Kind]+`"}`...)
	}
	b = append(b, `],"rows":[`...)
	for i, row := range r.Rows {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '[')
		for j, v := range row {
			if j > 0 {
				b = append(b, ',')
			}
			b = v.AppendJSON(b)
		}
		b = append(b, ']')
	}
	return append(b, `]}`...)
}
