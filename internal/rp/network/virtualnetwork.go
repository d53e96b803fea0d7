package network

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/uuid"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

type virtualNetwork struct {
	Properties struct {
		AddressSpace struct{ AddressPrefixes []string }
		Subnets      []json.RawMessage
	}
}

type subnet struct {
	Name       string
	Properties struct {
		AddressPrefix   string
		AddressPrefixes []string
	}
}

func (s subnet) prefixes() []string {
	if len(s.Properties.AddressPrefixes) > 0 {
		return s.Properties.AddressPrefixes
	}
	return []string{s.Properties.AddressPrefix}
}

func defaultVirtualNetwork(w *provider.Write) error {
	if _, given := arm.Get(w.Doc.Body, "properties.subnets"); !given {
		kept := json.RawMessage("[]")
		if w.Old != nil {
			kept, _ = arm.Get(w.Old.Body, "properties.subnets")
		}
		if err := set(w.Doc, "properties.subnets", kept); err != nil {
			return err
		}
	}
	return defaultGUID(w)
}

func defaultGUID(w *provider.Write) error {
	if _, ok := arm.Get(w.Doc.Body, "properties.resourceGuid"); ok {
		return nil
	}
	return set(w.Doc, "properties.resourceGuid", uuid.NewString())
}

// set writes a property. It fails when something on the way is not an object, which is
// the client's mistake.
func set(d *store.Document, path string, value any) error {
	body, err := arm.Set(d.Body, path, value)
	if err != nil {
		return arm.BadRequest(arm.CodeInvalidRequestContent, path, "The request cannot be read: %v.", err)
	}
	d.Body = body
	return nil
}

func validateVirtualNetwork(w *provider.Write) []*arm.Error {
	var v virtualNetwork
	if err := json.Unmarshal(w.Doc.Body, &v); err != nil {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidRequestContent, "properties", "The virtual network cannot be read: %v.", err)}
	}
	space, errs := parsePrefixes(v.Properties.AddressSpace.AddressPrefixes, "properties.addressSpace.addressPrefixes")
	if len(v.Properties.AddressSpace.AddressPrefixes) == 0 {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidRequestContent, "properties.addressSpace.addressPrefixes",
			"The virtual network needs at least one address prefix, such as 10.0.0.0/16."))
	}
	return append(errs, validateSubnets(v.Properties.Subnets, space)...)
}

func validateSubnets(raw []json.RawMessage, space []netip.Prefix) (errs []*arm.Error) {
	names, taken := map[string]bool{}, map[netip.Prefix]string{}
	for i, r := range raw {
		at := fmt.Sprintf("properties.subnets[%d]", i)
		var s subnet
		if err := json.Unmarshal(r, &s); err != nil {
			errs = append(errs, arm.BadRequest(arm.CodeInvalidRequestContent, at, "The subnet cannot be read: %v.", err))
			continue
		}
		if !name.MatchString(s.Name) {
			errs = append(errs, arm.BadRequest(arm.CodeInvalidResourceName, at+".name", "The subnet name '%s' is not valid: %s.", s.Name, nameHint))
		}
		if names[strings.ToLower(s.Name)] {
			errs = append(errs, arm.BadRequest("InvalidRequestFormat", at+".name", "The subnet name '%s' is used twice.", s.Name))
		}
		names[strings.ToLower(s.Name)] = true
		errs = append(errs, validateRange(s, space, taken, at)...)
	}
	return errs
}

// validateRange checks one subnet's prefixes and notes them in taken.
func validateRange(s subnet, space []netip.Prefix, taken map[netip.Prefix]string, at string) []*arm.Error {
	prefixes, errs := parsePrefixes(s.prefixes(), at+".properties.addressPrefix")
	for _, p := range prefixes {
		if !within(p, space) {
			errs = append(errs, arm.BadRequest("NetcfgInvalidSubnet", at, "Subnet '%s' is not valid: its range %s is outside the address space of the virtual network.", s.Name, p))
		}
		for q, other := range taken {
			if p.Overlaps(q) {
				errs = append(errs, arm.BadRequest("NetcfgSubnetRangesOverlap", at, "Subnet '%s' overlaps with subnet '%s': %s and %s.", s.Name, other, p, q))
			}
		}
		taken[p] = s.Name
	}
	return errs
}

func within(p netip.Prefix, space []netip.Prefix) bool {
	for _, s := range space {
		if s.Contains(p.Addr()) && s.Bits() <= p.Bits() {
			return true
		}
	}
	return false
}

func parsePrefixes(texts []string, at string) (ps []netip.Prefix, errs []*arm.Error) {
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil || p.Masked() != p {
			errs = append(errs, arm.BadRequest("InvalidAddressPrefixFormat", at, "The address prefix '%s' is not valid; an example of a valid one is 10.0.0.0/24.", text))
			continue
		}
		ps = append(ps, p)
	}
	return ps, errs
}

func checkVirtualNetworkUnused(tx store.Tx, w *provider.Write) error { return subnetUnused(tx, w.ID) }

// subnetUnused refuses while an interface is in the subnet, or in any of the virtual network.
func subnetUnused(tx store.ReadTx, id arm.ID) error {
	user, err := interfaceThat(tx, id.Subscription(), func(n networkInterface) bool {
		for _, c := range n.Properties.IPConfigurations {
			if s, err := arm.ParseID(c.Properties.Subnet.ID); err == nil && id.Contains(s) {
				return true
			}
		}
		return false
	})
	if err != nil || user == "" {
		return err
	}
	return arm.BadRequest("InUseSubnetCannotBeDeleted", id.String(),
		"'%s' is in use by %s and cannot be deleted. Delete the network interface first.", id.Name(), user)
}
