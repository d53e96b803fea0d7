package provider

import (
	"context"
	"encoding/json"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
)

// resources serves GET …/resources: what all tracked types have, without properties.
func (c *call) resources(ctx context.Context) (*Response, error) {
	if c.Method != "GET" {
		return nil, c.notAllowed()
	}
	scope := c.path.ID
	if err := c.p.scopeExists(ctx, scope); err != nil {
		return nil, err
	}
	f, err := parseFilter(c.query.Get("$filter"))
	if err != nil {
		return nil, err
	}
	q := store.Query{SubscriptionID: scope.Subscription(), ResourceGroup: scope.ResourceGroup(), Type: arm.Type(f.required("resourcetype")), Location: arm.NormalLocation(f.required("location"))}
	if q.ResourceGroup == "" {
		q.ResourceGroup = f.required("resourcegroup")
	}
	keep := func(d *store.Document) bool { return c.p.listed(d) && f.matches(d) }
	return c.list(ctx, q, keep, func(d *store.Document) (json.RawMessage, error) { return generic(d, expands(c.query)) },
		"Microsoft.Resources/subscriptions/resources/read")
}

// listed reports whether …/resources shows the document. Of what is only recorded
// nobody says whether it is tracked: a child with a location is.
func (p *Pipeline) listed(d *store.Document) bool { return p.lists(d.Type, d.Location) }

func (p *Pipeline) lists(typ arm.Type, location string) bool {
	t := p.reg.types[typ.Key()]
	if t == nil || !t.Tags || t.Hidden || t.Type.Equal(arm.TypeResourceGroup) || t.Type.Equal(arm.TypeSubscription) {
		return false
	}
	_, child := t.Type.Parent()
	return !t.Recorded || !child || location != ""
}

// readOf is the permission to read one item of a list.
func (p *Pipeline) readOf(typ arm.Type, permission string) string {
	if t := p.reg.types[typ.Key()]; t != nil {
		return t.permission("read")
	}
	return permission
}

// generic is the short form of a resource.
func generic(d *store.Document, expand []string) (json.RawMessage, error) {
	var full struct {
		ID        json.RawMessage `json:"id"`
		Name      json.RawMessage `json:"name"`
		Type      json.RawMessage `json:"type"`
		Kind      json.RawMessage `json:"kind,omitempty"`
		ManagedBy json.RawMessage `json:"managedBy,omitempty"`
		Location  json.RawMessage `json:"location,omitempty"`
		Tags      json.RawMessage `json:"tags,omitempty"`
		Identity  json.RawMessage `json:"identity,omitempty"`
		Plan      json.RawMessage `json:"plan,omitempty"`
		SKU       json.RawMessage `json:"sku,omitempty"`
		Zones     json.RawMessage `json:"zones,omitempty"`

		ProvisioningState arm.ProvisioningState `json:"provisioningState,omitempty"`
		CreatedTime       *time.Time            `json:"createdTime,omitempty"`
		ChangedTime       *time.Time            `json:"changedTime,omitempty"`
	}
	if err := json.Unmarshal(d.Body, &full); err != nil {
		return nil, err
	}
	for _, e := range expand {
		switch e {
		case "provisioningstate":
			full.ProvisioningState = d.State()
		case "createdtime":
			full.CreatedTime = &d.CreatedAt
		case "changedtime":
			full.ChangedTime = &d.UpdatedAt
		}
	}
	return json.Marshal(full)
}
