package roles

import (
	"context"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
)

// namespace is the actions of one provider, as providerOperations shows them.
type namespace struct {
	ID            string         `json:"id"`
	Type          string         `json:"type"`
	Name          string         `json:"name"`
	DisplayName   string         `json:"displayName"`
	ResourceTypes []resourceType `json:"resourceTypes"`
	Operations    []operation    `json:"operations"`
}

type resourceType struct {
	Name        string      `json:"name"`
	DisplayName string      `json:"displayName"`
	Operations  []operation `json:"operations"`
}

type operation struct {
	Name         string `json:"name"`
	DisplayName  string `json:"displayName"`
	Description  string `json:"description"`
	Origin       string `json:"origin"`
	IsDataAction bool   `json:"isDataAction"`
}

func (cfg Config) allOperations(context.Context, *provider.Call) (*provider.Response, error) {
	return provider.JSON(200, map[string]any{"value": cfg.namespaces()})
}

func (cfg Config) operationsOf(_ context.Context, c *provider.Call) (*provider.Response, error) {
	for _, n := range cfg.namespaces() {
		if strings.EqualFold(n.Name, c.Vars["namespace"]) {
			return provider.JSON(200, n)
		}
	}
	return nil, arm.Errorf(404, "ProviderNotFound", "Provider '%s' not found.", clip(c.Vars["namespace"])).At(c.Request.Path)
}

func (cfg Config) namespaces() []*namespace {
	all := []*namespace{}
	if cfg.Operations == nil {
		return all
	}
	for _, o := range cfg.Operations() {
		ns, rest, ok := strings.Cut(o.Name, "/")
		if !ok {
			continue
		}
		all = find(all, ns)
		at := slices.IndexFunc(all, func(n *namespace) bool { return strings.EqualFold(n.Name, ns) })
		all[at].add(rest, o)
	}
	return all
}

func find(all []*namespace, name string) []*namespace {
	if slices.ContainsFunc(all, func(n *namespace) bool { return strings.EqualFold(n.Name, name) }) {
		return all
	}
	const typ = "Microsoft.Authorization/providerOperations"
	return append(all, &namespace{ID: "/providers/" + typ + "/" + name, Type: typ, Name: name, DisplayName: name, ResourceTypes: []resourceType{}, Operations: []operation{}})
}

// add files an action under its resource type: what stands before the verb.
func (n *namespace) add(rest string, o provider.Operation) {
	typ, verb := rest, ""
	if i := strings.LastIndexByte(rest, '/'); i >= 0 {
		typ, verb = rest[:i], rest[i+1:]
	}
	if verb == "action" {
		if i := strings.LastIndexByte(typ, '/'); i >= 0 {
			typ, verb = typ[:i], typ[i+1:]
		}
	}
	at := slices.IndexFunc(n.ResourceTypes, func(r resourceType) bool { return strings.EqualFold(r.Name, typ) })
	if at < 0 {
		at = len(n.ResourceTypes)
		n.ResourceTypes = append(n.ResourceTypes, resourceType{Name: typ, DisplayName: typ, Operations: []operation{}})
	}
	r := &n.ResourceTypes[at]
	r.Operations = append(r.Operations, operation{Name: o.Name, DisplayName: verb + " " + typ, Description: verb + " " + typ, Origin: "user,system"})
}
