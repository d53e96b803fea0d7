package directory

import (
	"encoding/json"
	"errors"
	"fmt"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
)

var epochID = arm.Tenant.Resource(typeEpoch, "access")

// Touch marks, inside the transaction that changes who there is or who may do what
// (roles, assignments, and the management groups that those hang on), that rights
// have changed: writes that were authorised before are decided anew.
func Touch(tx store.Tx) error {
	d := &store.Document{ID: epochID.String(), Type: typeEpoch, Body: json.RawMessage("{}")}
	if err := tx.Put(d, store.Any); err != nil {
		return fmt.Errorf("marking that rights have changed: %w", err)
	}
	return nil
}

// Epoch is the revision of the last change of rights; 0 before the first.
func Epoch(tx store.ReadTx) (int64, error) {
	d, err := tx.Get(epochID.Key())
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading the revision of rights: %w", err)
	}
	return d.Revision, nil
}
