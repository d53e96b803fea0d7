package network

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// loadSubnet fetches the virtual network, against which the range is checked.
func loadSubnet(ctx context.Context, w *provider.Write) (err error) {
	w.Loaded, err = w.Client.Get(ctx, w.ID.Parent())
	return err
}

func validateSubnet(w *provider.Write) []*arm.Error {
	parent, _ := w.Loaded.(json.RawMessage)
	var v virtualNetwork
	if err := json.Unmarshal(parent, &v); err != nil {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidRequestContent, "properties", "The virtual network cannot be read: %v.", err)}
	}
	space, _ := parsePrefixes(v.Properties.AddressSpace.AddressPrefixes, "")
	body, err := completeSubnet(w.Doc.Body, w.ID)
	if err != nil {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidRequestContent, "properties", "The subnet cannot be read: %v.", err)}
	}
	errs := validateSubnets(withSubnet(v.Properties.Subnets, w.ID.Name(), body), space)
	for _, e := range errs { // the list is the parent's; here there is only one subnet
		e.Target = "properties.addressPrefix"
	}
	return errs
}

func commitSubnet(tx store.Tx, w *provider.Write) error {
	body, err := completeSubnet(w.Doc.Body, w.ID)
	if err != nil {
		return err
	}
	return changeParent(tx, w, func(list []json.RawMessage) []json.RawMessage { return withSubnet(list, w.ID.Name(), body) })
}

func deleteSubnet(tx store.Tx, w *provider.Write) error {
	if err := subnetUnused(tx, w.ID); err != nil {
		return err
	}
	return changeParent(tx, w, func(list []json.RawMessage) []json.RawMessage { return withoutSubnet(list, w.ID.Name()) })
}

func changeParent(tx store.Tx, w *provider.Write, change func([]json.RawMessage) []json.RawMessage) error {
	d, err := tx.Get(w.ID.Parent().Key())
	if err != nil {
		return err
	}
	var v virtualNetwork
	if err := json.Unmarshal(d.Body, &v); err != nil {
		return err
	}
	if err := set(d, "properties.subnets", change(v.Properties.Subnets)); err != nil {
		return err
	}
	d.UpdatedAt, d.UpdatedBy = w.Now, w.Principal.ObjectID
	return tx.Put(d, d.Revision)
}

func withSubnet(list []json.RawMessage, name string, body json.RawMessage) []json.RawMessage {
	i := slices.IndexFunc(list, func(r json.RawMessage) bool { return strings.EqualFold(arm.GetString(r, "name"), name) })
	if i < 0 {
		return append(slices.Clone(list), body)
	}
	list = slices.Clone(list)
	list[i] = body
	return list
}

func withoutSubnet(list []json.RawMessage, name string) []json.RawMessage {
	left := []json.RawMessage{}
	for _, r := range list {
		if !strings.EqualFold(arm.GetString(r, "name"), name) {
			left = append(left, r)
		}
	}
	return left
}
