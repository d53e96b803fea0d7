package imagebuilder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// putOutput writes runOutputs/NAME, which clients read.
func putOutput(ctx context.Context, w *provider.Work, name string, o output) error {
	id := w.ID.Child("runOutputs", name)
	properties := map[string]any{"provisioningState": arm.StateSucceeded}
	if o.ID != "" {
		properties["artifactId"] = o.ID
	}
	if o.URI != "" {
		properties["artifactUri"] = o.URI
	}
	body, err := json.Marshal(map[string]any{"id": id.String(), "name": name, "type": TypeRunOutput, "properties": properties})
	if err != nil {
		return err
	}
	return w.Store.Update(ctx, func(tx store.Tx) error {
		d, err := tx.Get(id.Key())
		if errors.Is(err, store.ErrNotFound) {
			d, err = &store.Document{ID: id.String(), Type: TypeRunOutput, SubscriptionID: id.Subscription(), ResourceGroup: id.ResourceGroup(), CreatedAt: w.Now(), CreatedBy: w.Doc.CreatedBy}, nil
		}
		if err != nil {
			return err
		}
		d.Body, d.UpdatedAt = body, w.Now()
		return tx.Put(d, d.Revision)
	})
}

// removeOutputs removes the template's runOutputs; what they name stays.
func removeOutputs(ctx context.Context, w *provider.Work) error {
	err := w.Store.Update(ctx, func(tx store.Tx) error {
		all, err := tx.List(store.Query{Type: TypeRunOutput, Prefix: w.ID.Key() + "/runoutputs/"})
		if err != nil {
			return err
		}
		for _, d := range slices.Backward(all) {
			if err := tx.Delete(d.Key, d.Revision); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("removing the run outputs of %s: %w", w.Doc.ID, err)
	}
	return nil
}
