package compute

import (
	"context"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

const typeSetAddresses = TypeScaleSet + "/publicIPAddresses"

func addressRoute() provider.Route {
	return provider.Route{Permission: string(typeSetAddresses) + "/read", Handle: publicAddresses,
		Pattern: "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/Microsoft.Compute/virtualMachineScaleSets/{name}/publicIPAddresses"}
}

// publicAddresses are those of a Uniform set's instances: in Azure too they are no resources
// that one can have. As every public address here, each shows the private one.
func publicAddresses(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	set := c.Scope.Resource(TypeScaleSet, c.Vars["name"])
	if _, err := c.Client.Get(ctx, set); err != nil {
		return nil, err
	}
	all, err := store.List(ctx, c.Runtime.Store, store.Query{Type: TypeInstance, Prefix: set.Key() + "/"})
	if err != nil {
		return nil, err
	}
	value := []any{}
	for _, d := range all {
		b, p := readVM(d)
		for _, n := range b.Properties.NetworkProfile.NetworkInterfaces {
			if address := publicAddressOf(ctx, c.Runtime.Store, n.ID, p); address != nil {
				value = append(value, address)
			}
		}
	}
	return provider.Page(c, value)
}

// publicAddressOf is nil for an interface that was asked for without one.
func publicAddressOf(ctx context.Context, st store.Store, nic string, p vmState) map[string]any {
	id, err := arm.ParseID(nic)
	asked, bad := readConfiguration(p.Interface)
	name := arm.GetString(asked.ip, pathAddressConfiguration+".name")
	if err != nil || bad != nil || name == "" {
		return nil
	}
	d, err := store.Get(ctx, st, id.Key())
	if err != nil {
		return nil // not made yet
	}
	_, address, err := addressOf(d.Body)
	if err != nil {
		return nil
	}
	ip := id.Child("ipConfigurations", arm.GetString(asked.ip, "name"))
	return map[string]any{"id": ip.Child("publicIPAddresses", name).String(), "name": name, "properties": map[string]any{
		"provisioningState": arm.StateSucceeded, "ipAddress": address.String(), "publicIPAddressVersion": "IPv4", "publicIPAllocationMethod": "Dynamic",
		"ipConfiguration": map[string]string{"id": ip.String()}}}
}
