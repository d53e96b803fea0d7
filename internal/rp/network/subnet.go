package network

import (
	"context"
	"encoding/json"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
)

var subnets = listed{typ: TypeSubnet, path: "properties.subnets", unused: subnetUnused}

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
	body, err := subnets.complete(w.Doc.Body, w.ID)
	if err != nil {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidRequestContent, "properties", "The subnet cannot be read: %v.", err)}
	}
	errs := validateSubnets(with(v.Properties.Subnets, w.ID.Name(), body), space)
	for _, e := range errs { // the list is the parent's; here there is only one subnet
		e.Target = "properties.addressPrefix"
	}
	return errs
}
