// Package control is the resource provider Hallmark.Control: what an operator
// asks of the control plane itself. It lists operations and audit events, takes
// backups, and shows and prunes what builds have cached.
//
// It changes no resource. Only the wiring imports it.
package control

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/operation"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// APIVersion of every route here.
const APIVersion = "2026-11-01"

// Entry is one thing that a cache keeps. Size is in bytes.
type Entry struct {
	Kind   string    `json:"kind"`
	Digest string    `json:"digest,omitempty"`
	Step   string    `json:"step,omitempty"`
	Run    string    `json:"run,omitempty"`
	Size   int64     `json:"size"`
	Used   time.Time `json:"used"`
	InUse  bool      `json:"inUse"`
}

// Cache is what builds keep to be faster next time.
type Cache interface {
	Entries(ctx context.Context) ([]Entry, error)
	// Prune removes what is not in use, least recently used first, until what
	// stays fits maxBytes, or all of it; it returns what it removed.
	Prune(ctx context.Context, maxBytes int64, all bool) ([]Entry, error)
}

// Config is what the provider works with.
type Config struct {
	Cache Cache
	// BackupDir is where backups are written.
	BackupDir string
}

// New is the provider.
func New(c Config) provider.Provider {
	const subscription = "/subscriptions/{subscription}/providers/Hallmark.Control"
	const tenant = "/providers/Hallmark.Control"
	versions := []string{APIVersion}
	return provider.Provider{Routes: []provider.Route{
		{Pattern: subscription + "/operations", Permission: "Hallmark.Control/operations/read", Type: "Hallmark.Control/operations", APIVersions: versions, Handle: listOperations},
		{Pattern: subscription + "/events", Permission: "Hallmark.Control/events/read", Type: "Hallmark.Control/events", APIVersions: versions, Handle: listEvents},
		{Pattern: tenant + "/cache", Permission: "Hallmark.Control/cache/read", Handle: c.showCache},
		{Method: http.MethodPost, Pattern: tenant + "/cache/prune", Permission: "Hallmark.Control/cache/prune/action", Handle: c.pruneCache},
		{Method: http.MethodPost, Pattern: tenant + "/backup", Permission: "Hallmark.Control/backup/action", Handle: c.backup},
	}}
}

// mostListed is how many of the newest records a list shows.
const mostListed = 1000

// private lists the Private parts of a type's documents in a subscription, the last
// written first: their names are ULIDs, which rise within a millisecond too, while
// their times may be equal. A stable sort by time keeps that order.
func private[T any](ctx context.Context, c *provider.Call, typ arm.Type) ([]T, error) {
	var all []T
	err := c.Runtime.Store.View(ctx, func(tx store.ReadTx) error {
		all = nil
		documents, err := tx.List(store.Query{Type: typ, SubscriptionID: c.Scope.Subscription()})
		if err != nil {
			return err
		}
		for _, d := range documents {
			var one T
			if err := json.Unmarshal(d.Private, &one); err != nil {
				return fmt.Errorf("reading %s: %w", d.ID, err)
			}
			all = append(all, one)
		}
		slices.Reverse(all)
		return nil
	})
	return all, err
}

func listOperations(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	all, err := private[operation.Record](ctx, c, operation.Type)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, func(a, b operation.Record) int { return b.StartTime.Compare(a.StartTime) })
	for i := range all {
		all[i].Result = nil // results may be long, and are for whoever asked
	}
	return list(c, all)
}

func listEvents(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	all, err := private[provider.Event](ctx, c, provider.EventType)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, func(a, b provider.Event) int { return b.Time.Compare(a.Time) })
	return list(c, all)
}

// list answers the newest of all, as many as $top says.
func list[T any](c *provider.Call, all []T) (*provider.Response, error) {
	top := mostListed
	if text := c.Request.Query.Get("$top"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return nil, arm.BadRequest(arm.CodeInvalidParameter, "$top", "$top is %q; it must be a number above 0.", text)
		}
		top = min(top, n)
	}
	if all == nil {
		all = []T{}
	}
	return provider.JSON(http.StatusOK, map[string]any{"value": all[:min(len(all), top)]})
}

func (c Config) showCache(ctx context.Context, _ *provider.Call) (*provider.Response, error) {
	entries, err := c.Cache.Entries(ctx)
	if err != nil {
		return nil, err
	}
	return provider.JSON(http.StatusOK, map[string]any{"value": nonNil(entries)})
}

func nonNil(entries []Entry) []Entry {
	if entries == nil {
		return []Entry{}
	}
	return entries
}

func (c Config) pruneCache(ctx context.Context, call *provider.Call) (*provider.Response, error) {
	var asked struct {
		MaxBytes int64
		All      bool
	}
	if len(call.Request.Body) > 0 {
		if err := json.Unmarshal(call.Request.Body, &asked); err != nil {
			return nil, arm.BadRequest(arm.CodeInvalidRequestContent, "body", "The body of prune is {\"maxBytes\":N} or {\"all\":true}: %v.", err)
		}
	}
	if asked.MaxBytes <= 0 && !asked.All {
		return nil, arm.BadRequest(arm.CodeInvalidParameter, "maxBytes", "Say how much may stay (maxBytes above 0), or all.")
	}
	removed, err := c.Cache.Prune(ctx, asked.MaxBytes, asked.All)
	if err != nil {
		return nil, err
	}
	return provider.JSON(http.StatusOK, map[string]any{"value": nonNil(removed)})
}

// backup writes a consistent copy of the store while everything goes on.
func (c Config) backup(ctx context.Context, call *provider.Call) (*provider.Response, error) {
	backuper, ok := call.Runtime.Store.(store.Backuper)
	if !ok {
		return nil, arm.Errorf(http.StatusNotImplemented, "BackupNotSupported", "This store cannot be copied while it runs; use the database's own backup.")
	}
	path := filepath.Join(c.BackupDir, call.Runtime.Now().UTC().Format("20060102T150405.000Z")+".db")
	if err := backuper.Backup(ctx, path); err != nil {
		return nil, err
	}
	return provider.JSON(http.StatusOK, map[string]any{"database": path})
}
