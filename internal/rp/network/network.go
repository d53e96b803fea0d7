// Package network is the resource provider Microsoft.Network: virtual networks with
// subnets, network interfaces, public addresses and security groups, as far as
// machines of this control plane need them.
//
// What is real and what is recorded: an interface's private address is taken
// from the instance's own machine network (Config.Prefix), never from
// the subnet's prefix, because all machines sit on one bridge; a public
// address shows the private one, which is where the machine is reached from this
// host; security groups and virtual networks are recorded and checked, not enforced.
//
// It plugs nothing in: bridge and taps are internal/network's, and compute asks for
// them. Only cmd/hallmark imports it.
package network

import (
	"net/netip"
	"regexp"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
)

// The types that this provider serves.
const (
	TypeVirtualNetwork arm.Type = "Microsoft.Network/virtualNetworks"
	TypeSubnet         arm.Type = "Microsoft.Network/virtualNetworks/subnets"
	TypeInterface      arm.Type = "Microsoft.Network/networkInterfaces"
	TypePublicAddress  arm.Type = "Microsoft.Network/publicIPAddresses"
	TypeSecurityGroup  arm.Type = "Microsoft.Network/networkSecurityGroups"
	TypeSecurityRule   arm.Type = "Microsoft.Network/networkSecurityGroups/securityRules"
)

// reservedAddressCount is what Azure keeps of each subnet: network, gateway, and two
// for name service.
const reservedAddressCount = 4

// Config is what the provider must know of this instance.
type Config struct {
	// Prefix is the IPv4 network of the bridge that all machines sit on. Its first
	// four addresses and the last are never given to a machine.
	Prefix netip.Prefix
	// Reserved are further addresses that no machine may get.
	Reserved []netip.Addr
}

var (
	apiVersions = []string{"2024-05-01", "2023-11-01", "2022-07-01", "2021-08-01", "2020-11-01", "2018-11-01"}
	// name is Azure's rule for network resources.
	name     = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,78}[A-Za-z0-9_])?$`)
	nameHint = "1 to 80 letters, digits, underscores, full stops or dashes; it starts with a letter or digit and ends with one or an underscore"
)

// New is the provider.
func New(cfg Config) provider.Provider {
	return provider.Provider{Types: []provider.ResourceType{
		tracked(TypeVirtualNetwork, func(t *provider.ResourceType) {
			t.CascadeDelete = true
			t.ReadOnly = []string{"properties.resourceGuid"}
			t.Default, t.Validate = defaultVirtualNetwork, validateVirtualNetwork
			t.Commit, t.CheckDelete = subnets.commitParent, checkVirtualNetworkUnused
		}),
		{
			Type: TypeSubnet, APIVersions: apiVersions, Name: name, NameHint: nameHint,
			Load: loadSubnet, Validate: validateSubnet, Commit: subnets.commit, CheckDelete: subnets.delete,
		},
		tracked(TypeInterface, cfg.asInterface),
		tracked(TypePublicAddress, func(t *provider.ResourceType) {
			t.ReadOnly = []string{"properties.ipAddress", "properties.ipConfiguration", "properties.resourceGuid"}
			t.Default, t.CheckDelete = defaultPublicAddress, checkPublicAddressUnused
		}),
		tracked(TypeSecurityGroup, func(t *provider.ResourceType) {
			t.ReadOnly = []string{"properties.defaultSecurityRules", "properties.resourceGuid"}
			t.CascadeDelete = true
			t.Default, t.Validate = defaultSecurityGroup, validateSecurityGroup
			t.Commit, t.CheckDelete = rules.commitParent, checkSecurityGroupUnused
		}),
		{
			Type: TypeSecurityRule, APIVersions: apiVersions, Name: name, NameHint: nameHint,
			Validate: validateSecurityRule, Commit: commitSecurityRule, CheckDelete: rules.delete,
		},
	}, Routes: defaultRuleRoutes()}
}

// asInterface makes a type one of network interfaces.
func (cfg Config) asInterface(t *provider.ResourceType) {
	t.ReadOnly = []string{"properties.macAddress", "properties.virtualMachine", "properties.resourceGuid", "properties.primary"}
	t.Load, t.Default, t.Validate = loadInterface, defaultInterface, cfg.validateInterface
	t.Commit, t.CheckDelete = cfg.commitInterface, deleteInterface
	t.Actions = []provider.Action{{Name: "join", Apply: join}, {Name: "leave", Apply: leave}}
}

// tracked is what the provider's top-level types have in common.
func tracked(typ arm.Type, fill func(*provider.ResourceType)) provider.ResourceType {
	t := provider.ResourceType{
		Type: typ, Scopes: provider.AtResourceGroup, APIVersions: apiVersions, Name: name, NameHint: nameHint,
		Location: provider.LocationRequired, Tags: true,
	}
	fill(&t)
	return t
}

// reference is how ARM documents point at another resource.
type reference struct {
	ID string `json:"id,omitempty"`
}
