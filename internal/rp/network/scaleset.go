package network

import (
	"context"
	"encoding/json"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// TypeInstanceInterface is a network interface of an instance of a scale set. Azure keeps
// it below the instance, under the namespace of compute but with the shape of an interface.
const TypeInstanceInterface arm.Type = "Microsoft.Compute/virtualMachineScaleSets/virtualMachines/networkInterfaces"

const typeScaleSet arm.Type = "Microsoft.Compute/virtualMachineScaleSets"

// NewScaleSets serves the interfaces of scale sets' instances. It needs the types above
// them, which compute has.
func NewScaleSets(cfg Config) provider.Provider {
	t := provider.ResourceType{Type: TypeInstanceInterface, APIVersions: apiVersions, Name: name, NameHint: nameHint,
		Location: provider.LocationRequired, Tags: true, Hidden: true}
	cfg.asInterface(&t)
	return provider.Provider{Types: []provider.ResourceType{t}, Routes: []provider.Route{{
		Pattern:    "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/Microsoft.Compute/virtualMachineScaleSets/{name}/networkInterfaces",
		Permission: string(typeScaleSet) + "/networkInterfaces/read", Handle: listOfScaleSet,
	}}}
}

// listOfScaleSet lists the interfaces of all instances.
func listOfScaleSet(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	set := c.Scope.Resource(typeScaleSet, c.Vars["name"])
	if _, err := c.Client.Get(ctx, set); err != nil {
		return nil, err
	}
	all, err := store.List(ctx, c.Runtime.Store, store.Query{Type: TypeInstanceInterface, Prefix: set.Key() + "/"})
	if err != nil {
		return nil, err
	}
	value := []json.RawMessage{}
	for _, d := range all {
		value = append(value, d.Body)
	}
	return provider.Page(c, value)
}
