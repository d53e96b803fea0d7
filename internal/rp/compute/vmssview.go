package compute

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// viewMember shows a machine as an instance of its scale set.
func (s *service) viewMember(ctx context.Context, v *provider.View) (json.RawMessage, error) {
	body, err := s.viewVM(ctx, v)
	if err != nil {
		return nil, err
	}
	id := v.Doc.ARMID()
	set, _ := setOf(id, v.Doc.Body)
	edits := []edit{{"properties.latestModelApplied", latestModelApplied(ctx, v, set), false}}
	if id.Type().Equal(TypeInstance) {
		edits = append(edits, edit{"name", machineName(id), false})
	} else {
		edits = append(edits, edit{"instanceId", id.Name(), false})
	}
	shown := &store.Document{Body: body}
	err = apply(shown, edits...)
	return shown.Body, err
}

func latestModelApplied(ctx context.Context, v *provider.View, set arm.ID) bool {
	d, err := store.Get(ctx, v.Runtime.Store, set.Key())
	if err != nil {
		return false
	}
	_, of := readSet(d)
	_, p := readVM(v.Doc)
	return p.Model == of.Model
}

type countedStatus struct {
	Code  string `json:"code"`
	Count int    `json:"count"`
}

// viewOfSet counts the states of the members.
func (s *service) viewOfSet(ctx context.Context, w *provider.Write) (any, error) {
	client := w.Client.As(identity.System)
	items, err := client.List(ctx, w.ID, TypeInstance)
	if err != nil {
		return nil, err
	}
	counts := map[string]int{}
	for _, item := range items {
		counts["ProvisioningState/"+strings.ToLower(arm.GetString(item, "properties.provisioningState"))]++
	}
	summary := []countedStatus{}
	for _, code := range slices.Sorted(maps.Keys(counts)) {
		summary = append(summary, countedStatus{code, counts[code]})
	}
	return map[string]any{"virtualMachine": map[string]any{"statusesSummary": summary}, "extensions": []any{}, "statuses": []status{provisioning(w.Doc)}, "orchestrationServices": []any{}}, nil
}

func skusOfSet(_ context.Context, w *provider.Write) (any, error) {
	b, _ := readSet(w.Doc)
	value := []any{}
	if b.SKU.Name != "" {
		value = append(value, map[string]any{"resourceType": string(TypeScaleSet), "sku": map[string]string{"name": b.SKU.Name, "tier": "Standard"},
			"capacity": map[string]any{"minimum": 0, "maximum": maxCapacity, "defaultCapacity": 1, "scaleType": "Automatic"}})
	}
	return map[string]any{"value": value}, nil
}

// upgradeHistory has the last rolling upgrade; those before it are not kept.
func upgradeHistory(_ context.Context, w *provider.Write) (any, error) {
	_, p := readSet(w.Doc)
	value := []any{}
	if u := p.Last; u != nil {
		by := "User"
		if u.ByItself {
			by = "Platform"
		}
		value = append(value, map[string]any{"type": string(TypeScaleSet) + "/rollingUpgrades", "location": w.Doc.Location, "properties": map[string]any{
			"runningStatus": map[string]any{"code": u.Code, "startTime": u.Started, "endTime": u.Ended}, "startedBy": by,
			"progress": map[string]int{"successfulInstanceCount": u.Successful, "failedInstanceCount": u.Failed, "inProgressInstanceCount": 0, "pendingInstanceCount": u.Pending}}})
	}
	return map[string]any{"value": value}, nil
}

// setsByLocation is the one list of scale sets that is not under a group or subscription.
func (s *service) setsByLocation(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	if err := s.checkCall(c); err != nil {
		return nil, err
	}
	all, err := c.Client.List(ctx, c.Scope, TypeScaleSet)
	if err != nil {
		return nil, err
	}
	here := slices.DeleteFunc(all, func(set json.RawMessage) bool {
		return arm.NormalLocation(arm.GetString(set, "location")) != arm.NormalLocation(c.Vars["location"])
	})
	return provider.Page(c, here)
}
