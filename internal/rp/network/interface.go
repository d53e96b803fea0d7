package network

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

type networkInterface struct {
	Properties struct {
		IPConfigurations     []ipConfiguration
		NetworkSecurityGroup reference
		VirtualMachine       reference
		MACAddress           string
	}
}

type ipConfiguration struct {
	Name       string
	Properties struct {
		Subnet                    reference
		PublicIPAddress           reference
		PrivateIPAddress          string
		PrivateIPAllocationMethod string
	}
}

// loaded are the documents that an interface names, by the path that names them;
// nil for one that does not exist.
type loaded map[string]json.RawMessage

const (
	pathSubnet = "properties.ipConfigurations[0].properties.subnet.id"
	pathPublic = "properties.ipConfigurations[0].properties.publicIPAddress.id"
	pathGroup  = "properties.networkSecurityGroup.id"
)

func loadInterface(ctx context.Context, w *provider.Write) error {
	n := readInterface(w.Doc.Body)
	found := loaded{}
	w.Loaded = found
	wanted := map[string]string{pathGroup: n.Properties.NetworkSecurityGroup.ID}
	if len(n.Properties.IPConfigurations) > 0 {
		c := n.Properties.IPConfigurations[0].Properties
		wanted[pathSubnet], wanted[pathPublic] = c.Subnet.ID, c.PublicIPAddress.ID
	}
	for path, text := range wanted {
		id, err := arm.ParseID(text)
		if text == "" || err != nil {
			continue // Validate says so
		}
		if found[path], err = w.Client.Get(ctx, id); err != nil && !arm.IsNotFound(err) {
			return err
		}
	}
	return nil
}

func readInterface(body json.RawMessage) (n networkInterface) {
	_ = json.Unmarshal(body, &n) // Validate reports what cannot be read
	return n
}

func defaultInterface(w *provider.Write) error {
	var list []json.RawMessage
	if raw, ok := arm.Get(w.Doc.Body, "properties.ipConfigurations"); ok && json.Unmarshal(raw, &list) != nil {
		return nil
	}
	for i := range list {
		if err := defaultIPConfiguration(&list[i], w.ID, i == 0); err != nil {
			return nil // not an object: Validate says so
		}
	}
	if list != nil {
		if err := set(w.Doc, "properties.ipConfigurations", list); err != nil {
			return err
		}
	}
	return defaultGUID(w)
}

func defaultIPConfiguration(raw *json.RawMessage, nic arm.ID, first bool) (err error) {
	values := map[string]any{
		"id":                                   nic.Child("ipConfigurations", arm.GetString(*raw, "name")).String(),
		"properties.provisioningState":         arm.StateSucceeded,
		"properties.privateIPAllocationMethod": "Dynamic", "properties.privateIPAddressVersion": "IPv4", "properties.primary": first,
	}
	for path, v := range values {
		if _, ok := arm.Get(*raw, path); ok {
			continue
		}
		if *raw, err = arm.Set(*raw, path, v); err != nil {
			return err
		}
	}
	return nil
}

func (cfg Config) validateInterface(w *provider.Write) (errs []*arm.Error) {
	var n networkInterface
	if err := json.Unmarshal(w.Doc.Body, &n); err != nil {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidRequestContent, "properties", "The network interface cannot be read: %v.", err)}
	}
	configurations := n.Properties.IPConfigurations
	if len(configurations) != 1 {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, "properties.ipConfigurations",
			"The network interface has %d IP configurations; here each has exactly one.", len(configurations))}
	}
	c := configurations[0]
	if !name.MatchString(c.Name) {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidResourceName, "properties.ipConfigurations[0].name", "The name '%s' is not valid: %s.", c.Name, nameHint))
	}
	found, _ := w.Loaded.(loaded)
	errs = append(errs, checkReference(w, found, pathSubnet, c.Properties.Subnet.ID, TypeSubnet, true)...)
	errs = append(errs, checkReference(w, found, pathPublic, c.Properties.PublicIPAddress.ID, TypePublicAddress, false)...)
	errs = append(errs, checkReference(w, found, pathGroup, n.Properties.NetworkSecurityGroup.ID, TypeSecurityGroup, false)...)
	return append(errs, cfg.validateAddress(c)...)
}

func checkReference(w *provider.Write, found loaded, path, text string, want arm.Type, required bool) []*arm.Error {
	if text == "" {
		if !required {
			return nil
		}
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidRequestContent, path, "The network interface names no %s.", want.Name())}
	}
	id, err := arm.ParseID(text)
	if err != nil || !id.Type().Equal(want) {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidRequestContent, path, "'%s' is not the id of a %s.", text, want)}
	}
	body := found[path]
	if body == nil {
		return []*arm.Error{arm.BadRequest("InvalidResourceReference", path, "Resource %s referenced by resource %s was not found. Please make sure that the referenced resource exists.", text, w.ID)}
	}
	if l := arm.GetString(body, "location"); l != "" && arm.NormalLocation(l) != w.Doc.Location {
		return []*arm.Error{arm.BadRequest("InvalidResourceReference", path, "Resource %s is in %s; the network interface in %s cannot use it.", text, l, w.Doc.Location)}
	}
	return nil
}

func (cfg Config) validateAddress(c ipConfiguration) []*arm.Error {
	const at = "properties.ipConfigurations[0].properties.privateIPAddress"
	switch method := c.Properties.PrivateIPAllocationMethod; {
	case strings.EqualFold(method, "Dynamic"):
		return nil
	case !strings.EqualFold(method, "Static"):
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, at, "The allocation method is '%s'; it must be Dynamic or Static.", method)}
	}
	a, err := netip.ParseAddr(c.Properties.PrivateIPAddress)
	if err != nil {
		return []*arm.Error{arm.BadRequest("InvalidIPAddressFormat", at, "The static address '%s' is not an IP address.", c.Properties.PrivateIPAddress)}
	}
	if !cfg.assignable(a) {
		return []*arm.Error{arm.BadRequest("PrivateIPAddressNotInSubnet", at,
			"The static address %s cannot be used: machines of this instance have addresses within %s, without its first %d and its last.", a, cfg.Prefix, reservedAddressCount)}
	}
	return nil
}

// commitInterface settles the private address, race-free because in the transaction,
// and shows it on the public address.
func (cfg Config) commitInterface(tx store.Tx, w *provider.Write) error {
	n := readInterface(w.Doc.Body)
	c := n.Properties.IPConfigurations[0]
	address, err := cfg.address(tx, w, c)
	if err != nil {
		return err
	}
	raw, err := firstConfiguration(w.Doc.Body)
	if err != nil {
		return err
	}
	if raw, err = arm.Set(raw, "properties.privateIPAddress", address.String()); err != nil {
		return err
	}
	if err := set(w.Doc, "properties.ipConfigurations", []json.RawMessage{raw}); err != nil {
		return err
	}
	if err := set(w.Doc, "properties.macAddress", macAddress(address)); err != nil {
		return err
	}
	if w.Old != nil {
		before := readInterface(w.Old.Body).Properties.IPConfigurations[0].Properties.PublicIPAddress.ID
		if before != "" && !strings.EqualFold(before, c.Properties.PublicIPAddress.ID) {
			if err := release(tx, w, before); err != nil {
				return err
			}
		}
	}
	return associate(tx, w, c, address)
}

func firstConfiguration(body json.RawMessage) (json.RawMessage, error) {
	var list []json.RawMessage
	raw, _ := arm.Get(body, "properties.ipConfigurations")
	if err := json.Unmarshal(raw, &list); err != nil || len(list) == 0 {
		return nil, fmt.Errorf("an interface without IP configuration got past validation: %w", err)
	}
	return list[0], nil
}

// deleteInterface refuses while a machine has the interface, else lets go of the public address.
func deleteInterface(tx store.Tx, w *provider.Write) error {
	n := readInterface(w.Old.Body)
	if vm := n.Properties.VirtualMachine.ID; vm != "" {
		return arm.BadRequest("NicInUse", w.ID.String(), "Network Interface %s is used by existing resource %s. "+
			"In order to delete the network interface, it must be dissociated from the resource.", w.ID, vm)
	}
	for _, c := range n.Properties.IPConfigurations {
		if id := c.Properties.PublicIPAddress.ID; id != "" {
			if err := release(tx, w, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// join and leave keep properties.virtualMachine. In Azure nobody can call them; the
// permission of that name stands for what compute does, and here compute does it
// by this call.
func join(_ context.Context, w *provider.Write) (any, error) {
	vm, err := machineOf(w)
	if err != nil {
		return nil, err
	}
	if other := readInterface(w.Doc.Body).Properties.VirtualMachine.ID; other != "" && !strings.EqualFold(other, vm) {
		return nil, arm.BadRequest("NicInUse", w.ID.String(), "Network Interface %s is in use by %s.", w.ID, other)
	}
	return nil, set(w.Doc, "properties.virtualMachine", reference{ID: vm})
}

func leave(_ context.Context, w *provider.Write) (any, error) {
	vm, err := machineOf(w)
	if err != nil {
		return nil, err
	}
	if strings.EqualFold(readInterface(w.Doc.Body).Properties.VirtualMachine.ID, vm) {
		w.Doc.Body = arm.Remove(w.Doc.Body, "properties.virtualMachine")
	}
	return nil, nil
}

func machineOf(w *provider.Write) (string, error) {
	if w.Principal.Kind != identity.System.Kind {
		return "", arm.Errorf(403, arm.CodeAuthorizationFailed, "Only the control plane itself attaches interfaces to machines.").At(w.ID.String())
	}
	id := arm.GetString(w.Request, "virtualMachine.id")
	if _, err := arm.ParseID(id); err != nil || id == "" {
		return "", arm.BadRequest(arm.CodeInvalidRequestContent, "virtualMachine.id", "'%s' is not a machine's id.", id)
	}
	return id, nil
}

// interfaces are all network interfaces, of a subscription or ("") of all of them.
func interfaces(tx store.ReadTx, subscription string) (all []*store.Document, err error) {
	for _, t := range []arm.Type{TypeInterface, TypeInstanceInterface} {
		some, err := tx.List(store.Query{Type: t, SubscriptionID: subscription})
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// interfaceThat is the id of the first interface in the subscription for which match
// holds, or "".
func interfaceThat(tx store.ReadTx, subscription string, match func(networkInterface) bool) (string, error) {
	all, err := interfaces(tx, subscription)
	if err != nil {
		return "", err
	}
	for _, d := range all {
		if match(readInterface(d.Body)) {
			return d.ID, nil
		}
	}
	return "", nil
}
