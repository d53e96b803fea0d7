package compute

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"hallmark.dev/hallmark/internal/arm"
)

const typePublicAddress arm.Type = "Microsoft.Network/publicIPAddresses"

// ownInterface is the id of the interface that the machine makes itself: it follows from
// what was decided at creation.
func (v *vmWork) ownInterface() arm.ID {
	name := arm.GetString(v.state.Interface, "name")
	switch {
	case v.ID.Type().Equal(TypeInstance) && name != "":
		return v.ID.Child("networkInterfaces", name)
	case v.ID.Type().Equal(TypeInstance):
		return v.ID.Child("networkInterfaces", "nic")
	case name == "":
		name = v.ID.Name() + "-nic"
	}
	return v.ID.Scope().Resource(typeInterface, v.ownName(name))
}

// ownName makes a name that is the machine's alone.
func (v *vmWork) ownName(name string) string {
	return name[:min(len(name), 71)] + "-" + v.state.Machine[:8]
}

// makeInterface makes the interface, in the group's virtual network for machines that
// named none.
func (v *vmWork) makeInterface(ctx context.Context, id arm.ID) error {
	c, err := readConfiguration(v.state.Interface)
	if err != nil {
		return err
	}
	if c.subnet() == "" {
		if err := v.defaultSubnet(ctx, &c); err != nil {
			return err
		}
	}
	if err := v.makePublicAddress(ctx, &c); err != nil {
		return err
	}
	body, err := c.body()
	if err != nil {
		return err
	}
	_, err = v.Client.Put(ctx, id, map[string]any{"location": v.Doc.Location, "tags": v.Doc.Tags, "properties": body})
	return err
}

func (v *vmWork) defaultSubnet(ctx context.Context, c *configuration) (err error) {
	vnet := v.ID.Scope().Resource(typeVirtualNetwork, "hallmark-"+v.Doc.Location)
	_, err = v.Client.Create(ctx, vnet, map[string]any{"location": v.Doc.Location, "properties": map[string]any{
		"addressSpace": map[string]any{"addressPrefixes": []string{"10.0.0.0/16"}},
		"subnets":      []any{map[string]any{"name": "default", "properties": map[string]any{"addressPrefix": "10.0.0.0/20"}}},
	}})
	var e *arm.Error
	if err != nil && !(errors.As(err, &e) && e.Status == 412) { // 412: it is there
		return err
	}
	c.ip, err = arm.Set(c.ip, "properties.subnet.id", vnet.Child("subnets", "default").String())
	return err
}

// makePublicAddress makes the public address that the configuration asks for. Those of
// instances are no resources of their own, in Azure neither.
func (v *vmWork) makePublicAddress(ctx context.Context, c *configuration) error {
	id, wanted := v.ownPublicAddress()
	if !wanted {
		return nil
	}
	properties, ok := arm.Get(c.ip, pathAddressConfiguration+".properties")
	if !ok {
		properties = json.RawMessage("{}")
	}
	properties = arm.Remove(arm.Remove(properties, "deleteOption"), "dnsSettings")
	body := map[string]any{"location": v.Doc.Location, "tags": v.Doc.Tags, "properties": properties}
	if sku, ok := arm.Get(c.ip, pathAddressConfiguration+".sku"); ok {
		body["sku"] = sku
	}
	_, err := v.Client.Put(ctx, id, body)
	if err == nil {
		c.ip, err = arm.Set(c.ip, "properties.publicIPAddress.id", id.String())
	}
	return err
}

func (v *vmWork) ownPublicAddress() (id arm.ID, wanted bool) {
	c, err := readConfiguration(v.state.Interface)
	if err != nil || v.ID.Type().Equal(TypeInstance) {
		return id, false
	}
	name := arm.GetString(c.ip, pathAddressConfiguration+".name")
	if name == "" {
		return id, false
	}
	return v.ID.Scope().Resource(typePublicAddress, v.ownName(name)), true
}

// deletePublicAddress deletes the address that the machine has made with its interface.
func (v *vmWork) deletePublicAddress(ctx context.Context) error {
	id, made := v.ownPublicAddress()
	if !made {
		return nil
	}
	return v.deleteOwn(ctx, id)
}

// deleteOwn deletes something that the machine has made; what is refused stays.
func (v *vmWork) deleteOwn(ctx context.Context, id arm.ID) error {
	err := v.Client.Delete(ctx, id)
	var e *arm.Error
	if errors.As(err, &e) && e.Status < 500 {
		v.Log.Warn("a resource stays although its machine does not need it any more", "vm", v.Doc.ID, "resource", id.String(), "error", err)
		return nil
	}
	return err
}

// discard deletes disks that nobody wants any more, once the machine has let go of them.
func (v *vmWork) discard(ctx context.Context) error {
	for _, text := range slices.Clone(v.state.Discarded) {
		id, err := arm.ParseID(text)
		if err != nil {
			continue
		}
		if err := v.deleteOwn(ctx, id); err != nil {
			return err
		}
	}
	v.state.Discarded = nil
	return nil
}

const pathAddressConfiguration = "properties.publicIPAddressConfiguration"

// configuration is a networkInterfaceConfiguration taken apart: ip is its only IP
// configuration, both without what is no part of an interface.
type configuration struct{ properties, ip json.RawMessage }

func readConfiguration(raw json.RawMessage) (configuration, error) {
	c := configuration{json.RawMessage("{}"), json.RawMessage(`{"name":"ipconfig"}`)}
	properties, ok := arm.Get(raw, "properties")
	if !ok {
		return c, nil
	}
	c.properties = properties
	list, ok := arm.Get(properties, "ipConfigurations")
	if !ok {
		return c, nil
	}
	var ips []json.RawMessage
	if err := json.Unmarshal(list, &ips); err != nil || len(ips) != 1 {
		return c, errors.Join(fmt.Errorf("an interface has one IP configuration here; the configuration has %d", len(ips)), err)
	}
	c.ip = ips[0]
	return c, nil
}

func (c configuration) subnet() string { return arm.GetString(c.ip, "properties.subnet.id") }

// body is the interface's properties.
func (c configuration) body() (json.RawMessage, error) {
	body, ip := c.properties, arm.Remove(arm.Remove(c.ip, pathAddressConfiguration), "properties.primary")
	for _, path := range []string{"primary", "deleteOption", "auxiliaryMode", "auxiliarySku", "disableTcpStateTracking"} {
		body = arm.Remove(body, path)
	}
	return arm.Set(body, "ipConfigurations", []json.RawMessage{ip})
}

// checkConfigurations looks at networkInterfaceConfigurations. at is the path of the list.
func checkConfigurations(list []json.RawMessage, at string) (errs []*arm.Error) {
	if len(list) > 1 {
		errs = append(errs, arm.BadRequest("NetworkInterfaceCountExceeded", at, "There are %d network interface configurations; a machine here has one interface.", len(list)))
	}
	for i, raw := range list {
		where := fmt.Sprintf("%s[%d]", at, i)
		if name := arm.GetString(raw, "name"); !diskName.MatchString(name) {
			errs = append(errs, arm.BadRequest("InvalidResourceName", where+".name", "The name '%s' of the interface configuration is not valid: %s.", name, diskNameHint))
		}
		c, err := readConfiguration(raw)
		if err != nil {
			errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, where+".properties.ipConfigurations", "%v.", err))
			continue
		}
		if id, err := arm.ParseID(c.subnet()); err != nil || !id.Type().Equal(typeSubnet) {
			errs = append(errs, arm.BadRequest("InvalidResourceReference", where+".properties.ipConfigurations[0].properties.subnet.id", "'%s' is not the id of a subnet.", c.subnet()))
		}
	}
	return errs
}

const typeSubnet arm.Type = "Microsoft.Network/virtualNetworks/subnets"
