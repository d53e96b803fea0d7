package network

import (
	"encoding/json"
	"fmt"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// defaultRules are what Azure puts into every security group.
// Source: "Default security rules" in Azure's overview of network security groups.
var defaultRules = []struct {
	name, direction, access, source, target string
	priority                                int
}{
	{"AllowVnetInBound", "Inbound", "Allow", "VirtualNetwork", "VirtualNetwork", 65000},
	{"AllowAzureLoadBalancerInBound", "Inbound", "Allow", "AzureLoadBalancer", "*", 65001},
	{"DenyAllInBound", "Inbound", "Deny", "*", "*", 65500},
	{"AllowVnetOutBound", "Outbound", "Allow", "VirtualNetwork", "VirtualNetwork", 65000},
	{"AllowInternetOutBound", "Outbound", "Allow", "*", "Internet", 65001},
	{"DenyAllOutBound", "Outbound", "Deny", "*", "*", 65500},
}

func defaultSecurityGroup(w *provider.Write) error {
	if err := set(w.Doc, "properties.defaultSecurityRules", shownDefaultRules(w.ID)); err != nil {
		return err
	}
	if _, ok := arm.Get(w.Doc.Body, "properties.securityRules"); !ok {
		if err := set(w.Doc, "properties.securityRules", json.RawMessage("[]")); err != nil {
			return err
		}
	}
	return defaultGUID(w)
}

func shownDefaultRules(group arm.ID) []map[string]any {
	rules := []map[string]any{}
	for _, r := range defaultRules {
		rules = append(rules, map[string]any{
			"id": group.Child("defaultSecurityRules", r.name).String(), "name": r.name,
			"properties": map[string]any{
				"provisioningState": arm.StateSucceeded, "protocol": "*", "priority": r.priority, "direction": r.direction, "access": r.access,
				"sourcePortRange": "*", "destinationPortRange": "*", "sourceAddressPrefix": r.source, "destinationAddressPrefix": r.target,
			},
		})
	}
	return rules
}

func validateSecurityGroup(w *provider.Write) (errs []*arm.Error) {
	var g struct {
		Properties struct{ SecurityRules []json.RawMessage }
	}
	if err := json.Unmarshal(w.Doc.Body, &g); err != nil {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidRequestContent, "properties", "The security group cannot be read: %v.", err)}
	}
	taken := map[string]string{}
	for i, raw := range g.Properties.SecurityRules {
		at := fmt.Sprintf("properties.securityRules[%d]", i)
		r, err := readRule(raw)
		if err != nil {
			errs = append(errs, arm.BadRequest(arm.CodeInvalidRequestContent, at, "The security rule cannot be read: %v.", err))
			continue
		}
		if !name.MatchString(r.Name) {
			errs = append(errs, arm.BadRequest(arm.CodeInvalidResourceName, at+".name", "The rule name '%s' is not valid: %s.", r.Name, nameHint))
		}
		errs = append(errs, r.validate(at+".properties.")...)
		if other := taken[r.place()]; other != "" {
			errs = append(errs, r.conflict(other).At(at))
		}
		taken[r.place()] = r.Name
	}
	return errs
}

func oneOf(at, got string, allowed ...string) []*arm.Error {
	for _, a := range allowed {
		if strings.EqualFold(a, got) {
			return nil
		}
	}
	return []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, at, "'%s' is not valid; it must be one of %s.", got, strings.Join(allowed, ", "))}
}

func checkSecurityGroupUnused(tx store.Tx, w *provider.Write) error {
	user, err := interfaceThat(tx, w.ID.Subscription(), func(n networkInterface) bool {
		return strings.EqualFold(n.Properties.NetworkSecurityGroup.ID, w.ID.String())
	})
	if err != nil || user == "" {
		return err
	}
	return arm.BadRequest("InUseNetworkSecurityGroupCannotBeDeleted", w.ID.String(),
		"Network security group %s cannot be deleted because it is in use by %s. Take it off there first.", w.ID, user)
}
