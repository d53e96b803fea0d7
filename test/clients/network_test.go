package clients_test

import "testing"

// network makes what machines are plugged into, and the rules that say who may reach
// them; those are recorded, so what is seen is what other commands then show.
func (s *suite) network(t *testing.T) {
	s.az.Run(t, "group", "create", "-n", "net", "-l", "eastus")
	s.expect(t, "10.2.0.0/24", "newVNet.subnets[].addressPrefix", "network", "vnet", "create", "-g", "net", "-n", "lan", "--address-prefixes", "10.2.0.0/16", "--subnet-name", "front", "--subnet-prefixes", "10.2.0.0/24")
	s.expect(t, "10.2.1.0/24", "addressPrefix", "network", "vnet", "subnet", "create", "-g", "net", "--vnet-name", "lan", "-n", "back", "--address-prefixes", "10.2.1.0/24")
	s.refused(t, 1, []string{"NetcfgSubnetRangesOverlap"}, "network", "vnet", "subnet", "create", "-g", "net", "--vnet-name", "lan", "-n", "again", "--address-prefixes", "10.2.1.0/25")
	s.expect(t, "back front", "sort([].name)", "network", "vnet", "subnet", "list", "-g", "net", "--vnet-name", "lan")
	s.expect(t, "back front", "sort(subnets[].name)", "network", "vnet", "show", "-g", "net", "-n", "lan")
	s.expect(t, "lan", "[].name", "network", "vnet", "list", "-g", "net")

	s.rules(t)
	s.expect(t, "guard", "ends_with(networkSecurityGroup.id, '/guard') && 'guard'", "network", "vnet", "subnet", "update", "-g", "net", "--vnet-name", "lan", "-n", "front", "--nsg", "guard")
	s.expect(t, "ip", "publicIp.name", "network", "public-ip", "create", "-g", "net", "-n", "ip")
	s.expect(t, "ip", "[].name", "network", "public-ip", "list", "-g", "net")
	s.expect(t, "guard", "ends_with(NewNIC.networkSecurityGroup.id, '/guard') && 'guard'", "network", "nic", "create", "-g", "net", "-n", "card", "--vnet-name", "lan", "--subnet", "front", "--network-security-group", "guard", "--public-ip-address", "ip")
	s.expect(t, "card", "[].name", "network", "nic", "list", "-g", "net")
	s.refused(t, 1, []string{"InUseNetworkSecurityGroupCannotBeDeleted"}, "network", "nsg", "delete", "-g", "net", "-n", "guard")
	s.refused(t, 1, []string{"InUseSubnetCannotBeDeleted"}, "network", "vnet", "subnet", "delete", "-g", "net", "--vnet-name", "lan", "-n", "front")
	s.az.Run(t, "network", "nic", "delete", "-g", "net", "-n", "card")
	s.az.Run(t, "network", "public-ip", "delete", "-g", "net", "-n", "ip")
	s.az.Run(t, "network", "vnet", "subnet", "delete", "-g", "net", "--vnet-name", "lan", "-n", "back")
	s.az.Run(t, "network", "vnet", "delete", "-g", "net", "-n", "lan")
	s.az.Run(t, "network", "nsg", "delete", "-g", "net", "-n", "guard")
	s.expect(t, "", "[].name", "resource", "list", "-g", "net")
	s.az.Run(t, "group", "delete", "-n", "net", "--yes")
}

// rules are written one by one and seen in their group.
func (s *suite) rules(t *testing.T) {
	guard := []string{"-g", "net", "--nsg-name", "guard"}
	rule := func(verb string, more ...string) []string {
		return append(append([]string{"network", "nsg", "rule", verb}, guard...), more...)
	}
	s.expect(t, "DenyAllInBound", "NewNSG.defaultSecurityRules[?direction=='Inbound']|[-1].name", "network", "nsg", "create", "-g", "net", "-n", "guard")
	s.expect(t, "guard", "[].name", "network", "nsg", "list", "-g", "net")
	s.expect(t, "Succeeded", "provisioningState", rule("create", "-n", "ssh", "--priority", "100", "--destination-port-ranges", "22", "--protocol", "Tcp")...)
	s.expect(t, "80 8000-8080", "destinationPortRanges", rule("create", "-n", "web", "--priority", "110", "--destination-port-ranges", "80", "8000-8080")...)
	s.refused(t, 1, []string{"SecurityRuleConflict", "ssh"}, rule("create", "-n", "other", "--priority", "100")...)
	s.refused(t, 1, []string{"SecurityRuleInvalidPortRange"}, rule("create", "-n", "other", "--priority", "120", "--destination-port-ranges", "99999")...)
	s.expect(t, "ssh web", "sort(securityRules[].name)", "network", "nsg", "show", "-g", "net", "-n", "guard")
	s.expect(t, "ssh web", "sort([].name)", rule("list")...)
	s.expect(t, "8", "length(@)", rule("list", "--include-default")...)
	s.expect(t, "Deny", "access", rule("update", "-n", "web", "--access", "Deny")...)
	s.expect(t, "Deny", "access", rule("show", "-n", "web")...)
	s.az.Run(t, rule("delete", "-n", "web")...)
	s.expect(t, "ssh", "securityRules[].name", "network", "nsg", "show", "-g", "net", "-n", "guard")
	s.expect(t, "blue", "tags.team", "network", "nsg", "update", "-g", "net", "-n", "guard", "--set", "tags.team=blue")
}
