package resourcegraph

import (
	"encoding/json"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
)

// container completes a row of ResourceContainers: Azure shows subscriptions under
// their display name, with the management groups above them.
func (r *reading) container(id []byte, typ arm.Type) bool {
	if !typ.Equal(arm.TypeSubscription) {
		if typ.Equal(arm.TypeManagementGroup) {
			r.rec.Text[textGroup], r.rec.Text[textSubscription] = "", ""
		}
		r.rec.Fetch = func() ([]byte, error) { return r.fetch(id) }
		return true
	}
	body, err := r.fetch(id)
	if err != nil || body == nil {
		return false
	}
	if name := arm.GetString(body, "displayName"); name != "" {
		r.rec.Text[textName] = name
	}
	r.rec.Body = r.subscription(body)
	return true
}

type ancestor struct {
	Name        string `json:"name"`
	DisplayName string `json:"displayName"`
}

func (r *reading) subscription(body []byte) []byte {
	var s struct {
		State                string          `json:"state"`
		SubscriptionPolicies json.RawMessage `json:"subscriptionPolicies"`
		ManagedByTenants     json.RawMessage `json:"managedByTenants"`
	}
	if err := json.Unmarshal(body, &s); err != nil {
		return nil
	}
	chain := []ancestor{}
	for _, g := range r.source.scopes.hierarchy.Ancestors(arm.SubscriptionID(r.sub)) {
		chain = append(chain, ancestor{g.Name(), r.displayName(g)})
	}
	raw, err := json.Marshal(map[string]any{"properties": map[string]any{"state": s.State, "subscriptionPolicies": s.SubscriptionPolicies,
		"managedByTenants": s.ManagedByTenants, "managementGroupAncestorsChain": chain}})
	if err != nil {
		return nil
	}
	return raw
}

func (r *reading) displayName(group arm.ID) string {
	d, err := r.tx.Get(group.Key())
	if err != nil {
		return group.Name()
	}
	if name := arm.GetString(d.Body, "properties.displayName"); strings.TrimSpace(name) != "" {
		return name
	}
	return group.Name()
}
