package provider

import (
	"fmt"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
)

type compiledRoute struct {
	Route
	anyScope bool // starts with {scope...}
	segments []string
}

func compile(r Route) (compiledRoute, error) {
	c := compiledRoute{Route: r}
	if c.Method == "" {
		c.Method = "GET"
	}
	pattern := strings.Trim(r.Pattern, "/")
	pattern, c.anyScope = strings.CutPrefix(pattern, "{scope...}/")
	c.segments = strings.Split(pattern, "/")
	if r.Pattern == "" || r.Permission == "" || r.Handle == nil {
		return c, fmt.Errorf("route %s %q needs a pattern, a permission and a handler", c.Method, r.Pattern)
	}
	return c, nil
}

// match is the pattern's values and the scope, if the path fits. Every request is
// compared with every pattern: what takes long comes after what rarely fits.
func (c *compiledRoute) match(seg []string) (map[string]string, arm.ID, bool) {
	n := len(seg) - len(c.segments)
	if n < 0 || n > 0 && !c.anyScope || !c.fits(seg[n:]) {
		return nil, arm.Tenant, false
	}
	scope := arm.Tenant
	if c.anyScope {
		var err error
		if scope, err = arm.ParseID("/" + strings.Join(seg[:n], "/")); err != nil {
			return nil, scope, false
		}
	}
	vars := map[string]string{}
	for i, s := range c.segments {
		if name, ok := variable(s); ok {
			vars[name] = seg[n+i]
		}
	}
	if !c.anyScope {
		scope = scopeOf(vars)
	}
	return vars, scope, true
}

// fits compares as many segments as the pattern has.
func (c *compiledRoute) fits(seg []string) bool {
	for i, s := range c.segments {
		if _, ok := variable(s); !ok && !strings.EqualFold(s, seg[i]) {
			return false
		}
	}
	return true
}

// variable is the name in a pattern's segment such as {name}.
func variable(segment string) (string, bool) {
	name, ok := strings.CutPrefix(segment, "{")
	return strings.TrimSuffix(name, "}"), ok
}

func scopeOf(vars map[string]string) arm.ID {
	sub, group := vars["subscription"], vars["resourceGroup"]
	switch {
	case sub != "" && group != "":
		return arm.ResourceGroupID(sub, group)
	case sub != "":
		return arm.SubscriptionID(sub)
	case vars["managementGroup"] != "":
		return arm.Tenant.Resource(arm.TypeManagementGroup, vars["managementGroup"])
	}
	return arm.Tenant
}
