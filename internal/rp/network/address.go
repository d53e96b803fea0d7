package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

var errFull = errors.New("all addresses are taken")

// address is the interface's private address: the one it has, the one it asks for,
// or the lowest that is free.
func (cfg Config) address(tx store.ReadTx, w *provider.Write, c ipConfiguration) (netip.Addr, error) {
	taken, err := takenAddresses(tx, w.ID.Key())
	if err != nil {
		return netip.Addr{}, err
	}
	if strings.EqualFold(c.Properties.PrivateIPAllocationMethod, "Static") {
		a := netip.MustParseAddr(c.Properties.PrivateIPAddress) // Validate has parsed it
		if user := taken[a]; user != "" {
			return a, arm.BadRequest("PrivateIPAddressInUse", "properties.ipConfigurations[0].properties.privateIPAddress",
				"IP configuration %s is using the private IP address %s which is already allocated to resource %s.", c.Name, a, user)
		}
		return a, nil
	}
	if w.Old != nil {
		if a, err := netip.ParseAddr(readInterface(w.Old.Body).Properties.IPConfigurations[0].Properties.PrivateIPAddress); err == nil {
			return a, nil
		}
	}
	a, err := cfg.firstFree(taken)
	if errors.Is(err, errFull) {
		return a, arm.Conflict("SubnetIsFull", "properties.ipConfigurations[0].properties.subnet.id",
			"No address is left: all of %s are given to the %d network interfaces that exist. Delete interfaces that no machine uses.", cfg.Prefix, len(taken))
	}
	return a, err
}

// takenAddresses maps addresses to the interfaces that have them, of all subscriptions:
// they share the bridge.
func takenAddresses(tx store.ReadTx, except string) (map[netip.Addr]string, error) {
	all, err := interfaces(tx, "")
	if err != nil {
		return nil, fmt.Errorf("listing the addresses in use: %w", err)
	}
	taken := map[netip.Addr]string{}
	for _, d := range all {
		if d.Key == except {
			continue
		}
		for _, c := range readInterface(d.Body).Properties.IPConfigurations {
			if a, err := netip.ParseAddr(c.Properties.PrivateIPAddress); err == nil {
				taken[a] = d.ID
			}
		}
	}
	return taken, nil
}

func (cfg Config) firstFree(taken map[netip.Addr]string) (netip.Addr, error) {
	for a := cfg.Prefix.Masked().Addr(); cfg.Prefix.Contains(a); a = a.Next() {
		if taken[a] == "" && cfg.assignable(a) {
			return a, nil
		}
	}
	return netip.Addr{}, errFull
}

// assignable reports whether a machine may have the address at all.
func (cfg Config) assignable(a netip.Addr) bool {
	if !cfg.Prefix.Contains(a) || !cfg.Prefix.Contains(a.Next()) || slices.Contains(cfg.Reserved, a) {
		return false
	}
	first := cfg.Prefix.Masked().Addr()
	for range reservedAddressCount {
		if a == first {
			return false
		}
		first = first.Next()
	}
	return true
}

// macAddress follows from the IPv4 address, so it is unique on the bridge without a
// second register, and a neighbour's cache stays true when an address is used again.
// 02-48-4D is locally administered and holds a letter: YAML 1.1, which cloud-init reads, takes
// an address of digits only for a number to base 60.
func macAddress(a netip.Addr) string {
	b := a.As4()
	return fmt.Sprintf("02-48-4D-%02X-%02X-%02X", b[1], b[2], b[3])
}

// associate shows the interface's address on the public address that it names.
func associate(tx store.Tx, w *provider.Write, c ipConfiguration, address netip.Addr) error {
	id := c.Properties.PublicIPAddress.ID
	if id == "" {
		return nil
	}
	d, err := tx.Get(strings.ToLower(id))
	if err != nil {
		return err
	}
	configuration := w.ID.Child("ipConfigurations", c.Name).String()
	other := arm.GetString(d.Body, "properties.ipConfiguration.id")
	if other != "" && !strings.HasPrefix(strings.ToLower(other), w.ID.Key()+"/") {
		return arm.BadRequest("PublicIPAddressInUse", pathPublic, "Resource %s is referencing public IP address %s that is already allocated to resource %s.", w.ID, d.ID, other)
	}
	if other == configuration && arm.GetString(d.Body, "properties.ipAddress") == address.String() {
		return nil
	}
	if err := set(d, "properties.ipConfiguration", reference{ID: configuration}); err != nil {
		return err
	}
	if err := set(d, "properties.ipAddress", address.String()); err != nil {
		return err
	}
	return touch(tx, w, d)
}

// release takes the address off a public address again; one that is gone is fine.
func release(tx store.Tx, w *provider.Write, id string) error {
	d, err := tx.Get(strings.ToLower(id))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if !strings.HasPrefix(strings.ToLower(arm.GetString(d.Body, "properties.ipConfiguration.id")), w.ID.Key()+"/") {
		return nil
	}
	d.Body = arm.Remove(arm.Remove(d.Body, "properties.ipConfiguration"), "properties.ipAddress")
	return touch(tx, w, d)
}

func touch(tx store.Tx, w *provider.Write, d *store.Document) error {
	d.UpdatedAt, d.UpdatedBy = w.Now, w.Principal.ObjectID
	return tx.Put(d, d.Revision)
}

func defaultPublicAddress(w *provider.Write) error {
	for path, v := range map[string]any{
		"properties.publicIPAllocationMethod": "Dynamic", "properties.publicIPAddressVersion": "IPv4",
		"properties.idleTimeoutInMinutes": 4, "sku": json.RawMessage(`{"name":"Basic","tier":"Regional"}`),
	} {
		if _, ok := arm.Get(w.Doc.Body, path); ok {
			continue
		}
		if err := set(w.Doc, path, v); err != nil {
			return err
		}
	}
	return defaultGUID(w)
}

func checkPublicAddressUnused(_ store.Tx, w *provider.Write) error {
	user := arm.GetString(w.Old.Body, "properties.ipConfiguration.id")
	if user == "" {
		return nil
	}
	return arm.BadRequest("PublicIPAddressCannotBeDeleted", w.ID.String(), "Public IP address %s can not be deleted since it is still allocated to resource %s.", w.ID, user)
}
