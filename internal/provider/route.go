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

// match is the pattern's values and the scope, if the path fits.
func (c *compiledRoute) match(seg []string) (map[string]string, arm.ID, bool) {
	scope := arm.Tenant
	if c.anyScope {
		n := len(seg) - len(c.segments)
		if n < 0 {
			return nil, scope, false
		}
		id, err := arm.ParseID("/" + strings.Join(seg[:n], "/"))
		if err != nil {
			return nil, scope, false
		}
		scope, seg = id, seg[n:]
	}
	if len(seg) != len(c.segments) {
		return nil, scope, false
	}
	vars := map[string]string{}
	for i, s := range c.segments {
		if name, ok := strings.CutPrefix(s, "{"); ok {
			vars[strings.TrimSuffix(name, "}")] = seg[i]
		} else if !strings.EqualFold(s, seg[i]) {
			return nil, scope, false
		}
	}
	if !c.anyScope {
		scope = scopeOf(vars)
	}
	return vars, scope, true
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
