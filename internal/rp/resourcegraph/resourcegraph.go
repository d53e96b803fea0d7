// Package resourcegraph is the Microsoft.ResourceGraph provider: it answers Kusto
// queries over everything that the caller may read.
//
// The language is package kql's; here are the tables that it runs over: what lies
// in the store, a page at a time, and the compliance states. docs/graph.md says
// which tables and columns there are. It changes nothing. cmd imports it; no other
// rp may.
package resourcegraph

import (
	"context"
	"time"

	"hallmark.dev/hallmark/internal/compliance"
	"hallmark.dev/hallmark/internal/provider"
)

// Config is what the provider works with.
type Config struct {
	TenantID string
	Engine   *compliance.Engine // nil: there are no compliance states
}

var versions = []string{"2024-04-01", "2022-10-01", "2021-03-01", "2021-06-01-preview", "2020-04-01-preview", "2019-04-01"}

// Bounds on what queries take together.
const (
	maxTime    = 30 * time.Second // of one
	maxAtOnce  = 4
	maxWaiting = 10 * time.Second
)

type graph struct {
	Config
	slots chan struct{}
}

// New is the provider.
func New(cfg Config) provider.Provider {
	g := &graph{Config: cfg, slots: make(chan struct{}, maxAtOnce)}
	return provider.Provider{Routes: []provider.Route{{
		Method: "POST", Pattern: "/providers/Microsoft.ResourceGraph/resources", Permission: "Microsoft.ResourceGraph/resources/read",
		Type: "Microsoft.ResourceGraph/resources", APIVersions: versions, Filtered: true, Handle: g.query,
	}, {
		Pattern: "/providers/Microsoft.ResourceGraph/operations", Permission: "Microsoft.ResourceGraph/operations/read",
		Type: "Microsoft.ResourceGraph/operations", APIVersions: versions, Filtered: true, Handle: operations,
	}}}
}

func operations(context.Context, *provider.Call) (*provider.Response, error) {
	return provider.JSON(200, map[string]any{"value": []map[string]any{{
		"name":    "Microsoft.ResourceGraph/resources/read",
		"display": map[string]string{"provider": "Microsoft Resource Graph", "resource": "resources", "operation": "Query resources", "description": "Query the resources that the caller may read"},
	}}})
}
