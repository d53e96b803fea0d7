package assignment

import (
	"encoding/json"
	"errors"
	"fmt"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
)

// typeEpoch is the type of the one document that every write of a policy, and of
// the hierarchy that policies hang on, changes in its own transaction.
const typeEpoch arm.Type = "Hallmark.Compliance/epochs"

var epochID = arm.Tenant.Resource(typeEpoch, "policies")

// Touch marks, inside the transaction that changes a policy, that the effective
// policies have changed.
func Touch(tx store.Tx) error {
	d := &store.Document{ID: epochID.String(), Type: typeEpoch, Body: json.RawMessage("{}")}
	if err := tx.Put(d, store.Any); err != nil {
		return fmt.Errorf("marking that the policies have changed: %w", err)
	}
	return nil
}

// epoch is the revision of the last change of a policy; 0 before the first.
func epoch(tx store.ReadTx) (int64, error) {
	d, err := tx.Get(epochID.Key())
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading the revision of the policies: %w", err)
	}
	return d.Revision, nil
}
