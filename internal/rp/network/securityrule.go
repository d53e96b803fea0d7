package network

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

var rules = listed{typ: TypeSecurityRule, path: "properties.securityRules"}

type securityRule struct {
	Name       string
	Properties struct {
		Priority                                int
		Direction, Access, Protocol             string
		SourcePortRange, DestinationPortRange   string
		SourcePortRanges, DestinationPortRanges []string
	}
}

func readRule(body json.RawMessage) (r securityRule, err error) {
	return r, json.Unmarshal(body, &r)
}

// place is what no two rules of a group may share.
func (r securityRule) place() string {
	return fmt.Sprint(strings.ToLower(r.Properties.Direction), " ", r.Properties.Priority)
}

// conflict is Azure's refusal.
func (r securityRule) conflict(other string) *arm.Error {
	return arm.BadRequest("SecurityRuleConflict", "properties.priority", "Security rule %s conflicts with rule %s. Rules cannot have the same Priority and Direction.", r.Name, other)
}

func (r securityRule) validate(at string) (errs []*arm.Error) {
	p := r.Properties
	if p.Priority < 100 || p.Priority > 4096 {
		errs = append(errs, arm.BadRequest("SecurityRuleInvalidPriority", at+"priority", "Security rule %s has invalid Priority. Value provided: %d Allowed range 100-4096.", r.Name, p.Priority))
	}
	errs = append(errs, oneOf(at+"direction", p.Direction, "Inbound", "Outbound")...)
	errs = append(errs, oneOf(at+"access", p.Access, "Allow", "Deny")...)
	errs = append(errs, oneOf(at+"protocol", p.Protocol, "Tcp", "Udp", "Icmp", "Esp", "Ah", "*")...)
	for _, one := range []struct {
		where  string
		ranges []string
	}{{"sourcePortRange", []string{p.SourcePortRange}}, {"sourcePortRanges", p.SourcePortRanges},
		{"destinationPortRange", []string{p.DestinationPortRange}}, {"destinationPortRanges", p.DestinationPortRanges}} {
		for _, text := range one.ranges {
			if text != "" && !isPortRange(text) {
				errs = append(errs, arm.BadRequest("SecurityRuleInvalidPortRange", at+one.where,
					"Security rule %s has invalid Port range. Value provided: %s. Value should be an integer OR integer range with '-' delimiter. Valid range 0-65535.", r.Name, text))
			}
		}
	}
	return errs
}

var portRange = regexp.MustCompile(`^(\d{1,5})(?:-(\d{1,5}))?$`)

// isPortRange: "*", "22", or "8000-8080".
func isPortRange(text string) bool {
	if text == "*" {
		return true
	}
	m := portRange.FindStringSubmatch(text)
	if m == nil {
		return false
	}
	from, err := strconv.Atoi(m[1])
	to := from
	if m[2] != "" && err == nil {
		to, err = strconv.Atoi(m[2])
	}
	return err == nil && from <= to && to <= 65535
}

func validateSecurityRule(w *provider.Write) []*arm.Error {
	r, err := readRule(w.Doc.Body)
	if err != nil {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidRequestContent, "properties", "The security rule cannot be read: %v.", err)}
	}
	r.Name = w.ID.Name()
	return r.validate("properties.")
}

// commitSecurityRule refuses what another rule of the group, as it is now, has already.
func commitSecurityRule(tx store.Tx, w *provider.Write) error {
	_, list, err := rules.siblings(tx, w)
	if err != nil {
		return err
	}
	r, err := readRule(w.Doc.Body)
	if err != nil {
		return err
	}
	r.Name = w.ID.Name()
	for _, raw := range without(list, r.Name) {
		if other, err := readRule(raw); err == nil && other.place() == r.place() {
			return r.conflict(other.Name)
		}
	}
	return rules.commit(tx, w)
}

// defaultRuleRoutes serve the rules that every group has, as resources that can only be read.
func defaultRuleRoutes() []provider.Route {
	const pattern = "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/Microsoft.Network/networkSecurityGroups/{name}/defaultSecurityRules"
	const permission = string(TypeSecurityGroup) + "/defaultSecurityRules/read"
	return []provider.Route{
		{Pattern: pattern, Permission: permission, Handle: listDefaultRules},
		{Pattern: pattern + "/{rule}", Permission: permission, Handle: getDefaultRule},
	}
}

func defaultRulesOf(ctx context.Context, c *provider.Call) ([]json.RawMessage, arm.ID, error) {
	id := c.Scope.Resource(TypeSecurityGroup, c.Vars["name"])
	group, err := c.Client.Get(ctx, id)
	if err != nil {
		return nil, id, err
	}
	all, err := listed{path: "properties.defaultSecurityRules"}.read(group)
	return all, id, err
}

func listDefaultRules(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	all, _, err := defaultRulesOf(ctx, c)
	if err != nil {
		return nil, err
	}
	return provider.Page(c, all)
}

func getDefaultRule(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	all, group, err := defaultRulesOf(ctx, c)
	if err != nil {
		return nil, err
	}
	for _, r := range all {
		if strings.EqualFold(arm.GetString(r, "name"), c.Vars["rule"]) {
			return provider.JSON(200, r)
		}
	}
	return nil, arm.NotFound(group.Child("defaultSecurityRules", c.Vars["rule"]))
}
