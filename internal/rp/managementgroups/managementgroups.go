// Package managementgroups is the Microsoft.Management provider: management groups,
// their tree, and the subscriptions in them.
//
// A management group is a scope for policies and roles. The tree is read by package
// assignment; here it is written, and kept a tree. cmd imports it; no other rp may.
package managementgroups

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/directory"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// Config is what the provider serves besides what is stored.
type Config struct {
	// TenantID also names the root management group.
	TenantID string
}

var versions = []string{"2023-04-01", "2021-04-01", "2020-05-01", "2020-02-01"}

const nameHint = "letters, digits, '-', '_', '(', ')' and '.', at most 90, beginning with a letter or digit and not ending in '.'"

var groupName = regexp.MustCompile(`^[\p{L}\p{N}][-\p{L}\p{N}_().]{0,88}[-\p{L}\p{N}_()]$|^[\p{L}\p{N}]$`)

// New is the provider.
func New(cfg Config) provider.Provider {
	return provider.Provider{
		Types: []provider.ResourceType{{
			Type: arm.TypeManagementGroup, Scopes: provider.AtTenant, APIVersions: versions, Hidden: true, NoState: true,
			Name: groupName, NameHint: nameHint,
			Codes:    provider.Codes{Create: 200, Delete: 204},
			ReadOnly: []string{"properties.tenantId", "properties.details.version", "properties.details.updatedTime", "properties.details.updatedBy"},
			Default:  cfg.defaults, Validate: validate, Commit: cfg.commit, CheckDelete: cfg.checkDelete, View: view,
		}, {
			Type: assignment.TypeMember, APIVersions: versions, Hidden: true, NoState: true, NoPatch: true, NoBody: true,
			Codes:    provider.Codes{Create: 200, Delete: 204},
			ReadOnly: []string{"properties"},
			Load:     mayMove,
			Default:  cfg.defaultMember, Commit: commitMember, CheckDelete: touch,
		}, cfg.settings()},
		Routes: []provider.Route{
			route("GET", "managementGroups/{managementGroup}/descendants", "managementGroups/descendants/read", descendants),
			entities("POST", cfg.entities), entities("GET", cfg.entities), // clients follow a nextLink with GET
			route("POST", "checkNameAvailability", "checkNameAvailability/action", checkName),
			route("POST", "startTenantBackfill", "startTenantBackfill/action", cfg.backfill),
			route("POST", "tenantBackfillStatus", "tenantBackfillStatus/read", cfg.backfill),
		},
	}
}

func route(method, path, permission string, handle func(context.Context, *provider.Call) (*provider.Response, error)) provider.Route {
	const namespace = "Microsoft.Management/"
	return provider.Route{Method: method, Pattern: "/providers/" + namespace + path, Permission: namespace + permission, Handle: handle}
}

// entities is for everybody: it shows each caller what that one may read.
func entities(method string, handle func(context.Context, *provider.Call) (*provider.Response, error)) provider.Route {
	r := route(method, "getEntities", "getEntities/action", handle)
	r.Filtered = true
	return r
}

// RootID is the root management group of a tenant.
func RootID(tenant string) arm.ID { return arm.Tenant.Resource(arm.TypeManagementGroup, tenant) }

// EnsureRoot stores the root management group if it is not there yet; it holds every
// subscription that was not moved.
func EnsureRoot(ctx context.Context, s store.Store, tenant string, now time.Time) error {
	id := RootID(tenant)
	body, err := json.Marshal(map[string]any{
		"id": id.String(), "name": tenant, "type": arm.TypeManagementGroup,
		"properties": map[string]any{"tenantId": tenant, "displayName": "Tenant Root Group", "details": map[string]any{"version": 1}},
	})
	if err != nil {
		return fmt.Errorf("creating the root management group: %w", err)
	}
	now = now.UTC().Truncate(time.Millisecond)
	err = s.Update(ctx, func(tx store.Tx) error {
		d := &store.Document{ID: id.String(), Type: arm.TypeManagementGroup, Body: body, CreatedAt: now, UpdatedAt: now}
		if err := tx.Put(d, store.Absent); err != nil {
			return err
		}
		return touchBoth(tx)
	})
	if err != nil && !errors.Is(err, store.ErrConflict) {
		return fmt.Errorf("creating the root management group: %w", err)
	}
	return nil
}

func touch(tx store.Tx, _ *provider.Write) error { return touchBoth(tx) }

// touchBoth: policies and rights hang on the tree.
func touchBoth(tx store.Tx) error {
	if err := assignment.Touch(tx); err != nil {
		return err
	}
	return directory.Touch(tx)
}
