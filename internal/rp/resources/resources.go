// Package resources is the Microsoft.Resources provider: subscriptions, resource
// groups with their cascading delete, locations, tenants and tags.
//
// The lists of providers and of all resources come from internal/provider itself,
// because they derive from all registrations. cmd imports it; no other rp may.
package resources

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// Location is a place where resources may be.
type Location struct {
	Name        string // "local"
	DisplayName string // "Local"
}

// Config is what the provider serves besides what is stored.
type Config struct {
	TenantID  string
	Locations []Location
}

var versions = []string{"2024-11-01", "2022-12-01", "2021-04-01", "2020-06-01", "2019-11-01"}

var groupName = regexp.MustCompile(`^[-\w.()\p{L}\p{N}]{0,89}[-\w()\p{L}\p{N}]$`)

// New is the provider.
func New(cfg Config) provider.Provider {
	return provider.Provider{
		Types: []provider.ResourceType{{
			Type: arm.TypeSubscription, Scopes: provider.AtTenant, APIVersions: versions, Hidden: true, Tags: true,
			NoPut: true, NoPatch: true, NoDelete: true, NoState: true, // tags change through …/tags/default
		}, tagNames(), tagValues(), {
			Type: arm.TypeResourceGroup, Scopes: provider.AtSubscription, APIVersions: versions, Hidden: true,
			Name: groupName, NameHint: "letters, digits, '-', '_', '(', ')' and '.', at most 90, not ending in '.'",
			Location: provider.LocationRequired, Tags: true,
			// Clients do not poll after PUT: it has succeeded when it is answered.
			SyncWrites: true, CascadeDelete: true, Reconcile: reconcileGroup, Removed: groupOf, Workers: 2,
			Codes:   provider.Codes{Delete: 202},
			Actions: []provider.Action{{Name: "moveResources", WhileBusy: true, Apply: refuseMove}, {Name: "validateMoveResources", WhileBusy: true, Apply: refuseMove}},
		}},
		Routes: append(append(tagRoutes(), tagNameRoutes()...), cfg.locations(), cfg.tenants(), features(""), features("/providers/{namespace}")),
	}
}

// EnsureSubscription stores a subscription if it is not there yet.
func EnsureSubscription(ctx context.Context, s store.Store, tenant, id, name string, now time.Time) error {
	sub := arm.SubscriptionID(id)
	body, err := json.Marshal(map[string]any{
		"id": sub.String(), "subscriptionId": id, "tenantId": tenant, "displayName": name, "state": "Enabled",
		"subscriptionPolicies": map[string]string{"locationPlacementId": "Public_2014-09-01", "quotaId": "Local_2014-09-01", "spendingLimit": "Off"},
		"authorizationSource":  "RoleBased", "managedByTenants": []any{},
	})
	if err != nil {
		return fmt.Errorf("creating subscription %s: %w", id, err)
	}
	now = now.UTC().Truncate(time.Millisecond)
	err = s.Update(ctx, func(tx store.Tx) error {
		return tx.Put(&store.Document{ID: sub.String(), Type: arm.TypeSubscription, SubscriptionID: id, Body: body, CreatedAt: now, UpdatedAt: now}, store.Absent)
	})
	if err != nil && !errors.Is(err, store.ErrConflict) {
		return fmt.Errorf("creating subscription %s: %w", id, err)
	}
	return nil
}

// refuseMove is the honest answer to moving resources.
func refuseMove(_ context.Context, w *provider.Write) (any, error) {
	return nil, arm.Conflict("ResourceMoveNotSupported", w.ID.String(),
		"Resources cannot be moved to another group here: machines, images, policies and signed statements name them by their ids. Export a template of the group, deploy it to the other group, and delete what is left.")
}

// features is the list of preview features: there are none.
func features(of string) provider.Route {
	return provider.Route{Pattern: "/subscriptions/{subscription}/providers/Microsoft.Features" + of + "/features", Permission: "Microsoft.Features/features/read",
		Type: "Microsoft.Features/features", APIVersions: []string{"2021-07-01", "2015-12-01"},
		Handle: func(context.Context, *provider.Call) (*provider.Response, error) {
			return provider.JSON(200, map[string]any{"value": []any{}})
		}}
}

func (cfg Config) locations() provider.Route {
	return provider.Route{
		Pattern: "/subscriptions/{subscription}/locations", Permission: "Microsoft.Resources/subscriptions/locations/read",
		Handle: func(_ context.Context, c *provider.Call) (*provider.Response, error) {
			value := []map[string]any{}
			for _, l := range cfg.Locations {
				value = append(value, map[string]any{
					"id": c.Scope.String() + "/locations/" + l.Name, "name": l.Name, "displayName": l.DisplayName, "regionalDisplayName": l.DisplayName, "type": "Region",
					"metadata": map[string]any{"regionType": "Physical", "regionCategory": "Recommended", "geographyGroup": "Local", "pairedRegion": []any{}},
				})
			}
			return provider.JSON(200, map[string]any{"value": value})
		},
	}
}

func (cfg Config) tenants() provider.Route {
	return provider.Route{
		// Everybody who is signed in may see the tenant that signed them in; the
		// pipeline still asks, so the permission is one that reading a tenant needs.
		Pattern: "/tenants", Permission: "Microsoft.Resources/tenants/read",
		Handle: func(context.Context, *provider.Call) (*provider.Response, error) {
			return provider.JSON(200, map[string]any{"value": []map[string]string{{"id": "/tenants/" + cfg.TenantID, "tenantId": cfg.TenantID, "displayName": "Hallmark"}}})
		},
	}
}
