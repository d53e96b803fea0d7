package metadata

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/directory"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/store"
)

const typeInterface arm.Type = "Microsoft.Network/networkInterfaces"

// errFound ends a search.
var errFound = errors.New("found")

// identities are those that a machine may act as.
type identities struct {
	owner    *store.Document // whose own identity system is
	system   string          // object id
	assigned map[string]struct{ PrincipalID, ClientID string }
}

// principal is who the machine at an address acts as.
func (s *service) principal(ctx context.Context, from netip.Addr, form url.Values) (identity.Principal, error) {
	ids, err := s.identities(ctx, from)
	if err != nil {
		return identity.Principal{}, err
	}
	resource, objectID, err := ids.choose(form)
	if err != nil {
		return identity.Principal{}, err
	}
	id, err := arm.ParseID(resource)
	if err != nil {
		return identity.Principal{}, err
	}
	p, err := s.Directory.OfResource(ctx, id, objectID)
	if errors.Is(err, directory.ErrNotFound) {
		err = notFound
	}
	return p, err
}

var notFound = &failure{http.StatusBadRequest, "invalid_request", "Identity not found. Give the machine a managed identity (az vm identity assign)."}

func (s *service) identities(ctx context.Context, from netip.Addr) (ids identities, err error) {
	err = s.Store.View(ctx, func(tx store.ReadTx) error {
		machine, err := machineAt(tx, from)
		if err != nil {
			return err
		}
		if ids.owner, err = owner(tx, machine); err != nil {
			return err
		}
		raw, _ := arm.Get(ids.owner.Body, "identity")
		var m struct {
			PrincipalID            string
			UserAssignedIdentities map[string]struct{ PrincipalID, ClientID string }
		}
		if len(raw) > 0 && json.Unmarshal(raw, &m) != nil {
			return fmt.Errorf("reading the identity of %s", ids.owner.ID)
		}
		ids.system, ids.assigned = m.PrincipalID, m.UserAssignedIdentities
		return nil
	})
	return ids, err
}

// machineAt is the machine with an address. Addresses are unique, and the network lets
// nobody else send from it.
func machineAt(tx store.ReadTx, from netip.Addr) (*store.Document, error) {
	machine := ""
	err := store.Each(tx, store.Query{Type: typeInterface}, func(d *store.Document) error {
		if vm := arm.GetString(d.Body, "properties.virtualMachine.id"); vm != "" && has(d.Body, from) {
			machine = vm
			return errFound
		}
		return nil
	})
	if err != nil && !errors.Is(err, errFound) {
		return nil, err
	}
	if machine == "" {
		return nil, &failure{http.StatusForbidden, "access_denied", "No machine of this server has the address that the request comes from."}
	}
	d, err := tx.Get(machine)
	if errors.Is(err, store.ErrNotFound) || err == nil && d.Deleting {
		return nil, notFound
	}
	return d, err
}

func has(nic json.RawMessage, address netip.Addr) bool {
	var n struct {
		Properties struct {
			IPConfigurations []struct {
				Properties struct{ PrivateIPAddress string }
			}
		}
	}
	if json.Unmarshal(nic, &n) != nil {
		return false
	}
	for _, c := range n.Properties.IPConfigurations {
		if a, err := netip.ParseAddr(c.Properties.PrivateIPAddress); err == nil && a == address {
			return true
		}
	}
	return false
}

// owner is whose identity a machine has: its own, or that of the scale set that it is
// an instance of.
func owner(tx store.ReadTx, machine *store.Document) (*store.Document, error) {
	if _, ok := arm.Get(machine.Body, "identity"); ok {
		return machine, nil
	}
	set := arm.GetString(machine.Body, "properties.virtualMachineScaleSet.id")
	if _, child := machine.Type.Parent(); child {
		set = machine.ARMID().Parent().String()
	}
	if set == "" {
		return machine, nil
	}
	d, err := tx.Get(set)
	if errors.Is(err, store.ErrNotFound) {
		return machine, nil
	}
	return d, err
}

// choose is the resource whose identity is asked for, and its object id.
func (ids identities) choose(form url.Values) (resource, objectID string, err error) {
	asked := func(names ...string) string {
		for _, n := range names {
			if v := form.Get(n); v != "" {
				return strings.ToLower(v)
			}
		}
		return ""
	}
	client, object, id := asked("client_id"), asked("object_id", "principal_id"), asked("msi_res_id", "mi_res_id")
	fits := func(clientID, principalID, resource string) bool {
		return (client == "" || client == strings.ToLower(clientID)) && (object == "" || object == strings.ToLower(principalID)) && (id == "" || id == strings.ToLower(resource))
	}
	if ids.system != "" && id == "" && fits(directory.ClientID(ids.system), ids.system, "") {
		return ids.owner.ID, ids.system, nil
	}
	for r, one := range ids.assigned {
		if !fits(one.ClientID, one.PrincipalID, r) {
			continue
		}
		if resource != "" {
			return "", "", &failure{http.StatusBadRequest, "invalid_request", "Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request"}
		}
		resource, objectID = r, one.PrincipalID
	}
	if resource == "" {
		err = notFound
	}
	return resource, objectID, err
}
