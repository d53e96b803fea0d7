package managementgroups

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// defaultMember writes what the server knows: a client only names the two.
func (cfg Config) defaultMember(w *provider.Write) (err error) {
	w.Doc.Body, err = json.Marshal(map[string]any{"properties": map[string]any{
		"tenant": cfg.TenantID, "displayName": w.ID.Name(), "state": "Active", "parent": map[string]string{"id": w.ID.Parent().String()},
	}})
	return err
}

// mayMove: a subscription gets the roles and policies of the group that it moves to, so
// who moves it must be one who may give roles on it.
func mayMove(ctx context.Context, w *provider.Write) error {
	return w.Allowed(ctx, "Microsoft.Authorization/roleAssignments/write", arm.SubscriptionID(w.ID.Name()))
}

// commitMember moves the subscription: it leaves the group that it was in.
func commitMember(tx store.Tx, w *provider.Write) error {
	sub, err := tx.Get(arm.SubscriptionID(w.ID.Name()).Key())
	if errors.Is(err, store.ErrNotFound) {
		return arm.NotFound(arm.SubscriptionID(w.ID.Name()))
	}
	if err != nil {
		return err
	}
	if w.Doc.Body, err = arm.Set(w.Doc.Body, "properties.displayName", arm.GetString(sub.Body, "displayName")); err != nil {
		return err
	}
	members, err := tx.List(store.Query{Type: assignment.TypeMember})
	if err != nil {
		return err
	}
	for _, m := range members {
		if strings.EqualFold(m.ARMID().Name(), w.ID.Name()) && m.Key != w.ID.Key() {
			if err := tx.Delete(m.Key, m.Revision); err != nil {
				return err
			}
		}
	}
	return touchBoth(tx)
}
