package provider

import (
	"context"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
)

const typeProviderOperations arm.Type = "Microsoft.Authorization/providerOperations"

// operationRoutes list what roles may allow, by provider.
func (p *Pipeline) operationRoutes() []Route {
	pattern := "/providers/" + string(typeProviderOperations)
	permission := string(typeProviderOperations) + "/read"
	return []Route{
		{Pattern: pattern, Permission: permission, Type: typeProviderOperations, APIVersions: []string{"2022-04-01", "2018-01-01-preview"},
			Handle: func(context.Context, *Call) (*Response, error) {
				all := []providerOperations{}
				ops := p.Operations()
				for _, ns := range p.reg.namespaces() {
					all = append(all, operationsOf(ns, ops))
				}
				return JSON(200, map[string]any{"value": all})
			}},
		{Pattern: pattern + "/{namespace}", Permission: permission,
			Handle: func(_ context.Context, c *Call) (*Response, error) {
				for _, ns := range p.reg.namespaces() {
					if strings.EqualFold(ns, c.Vars["namespace"]) {
						return JSON(200, operationsOf(ns, p.Operations()))
					}
				}
				return nil, invalidNamespace(c.Vars["namespace"])
			}},
		{Pattern: "/providers/{namespace}/operations", Permission: permission, Filtered: true, // for everybody, as in Azure
			Handle: func(_ context.Context, c *Call) (*Response, error) { return p.clientOperations(c.Vars["namespace"]) }},
	}
}

// clientOperations are a namespace's operations in the form that the SDKs' clients of the
// namespace read.
func (p *Pipeline) clientOperations(namespace string) (*Response, error) {
	type display struct {
		Provider    string `json:"provider"`
		Resource    string `json:"resource"`
		Operation   string `json:"operation"`
		Description string `json:"description"`
	}
	type view struct {
		Name         string  `json:"name"`
		IsDataAction bool    `json:"isDataAction"`
		Display      display `json:"display"`
	}
	value := []view{}
	for _, t := range operationsOf(namespace, p.Operations()).ResourceTypes {
		for _, o := range t.Operations {
			value = append(value, view{o.Name, o.IsDataAction, display{namespace, t.Name, o.DisplayName, o.Description}})
		}
	}
	if len(value) == 0 {
		return nil, invalidNamespace(namespace)
	}
	return JSON(200, map[string]any{"value": value})
}

func invalidNamespace(ns string) *arm.Error {
	return arm.Errorf(404, "InvalidResourceNamespace", "The resource namespace '%s' is invalid.", clip(ns))
}

type providerOperations struct {
	ID            string           `json:"id"`
	Name          string           `json:"name"`
	Type          arm.Type         `json:"type"`
	DisplayName   string           `json:"displayName"`
	ResourceTypes []typeOperations `json:"resourceTypes"`
	Operations    []operationView  `json:"operations"`
}

type typeOperations struct {
	Name        string          `json:"name"`
	DisplayName string          `json:"displayName"`
	Operations  []operationView `json:"operations"`
}

type operationView struct {
	Name         string `json:"name"`
	DisplayName  string `json:"displayName"`
	Description  string `json:"description"`
	Origin       string `json:"origin"`
	IsDataAction bool   `json:"isDataAction"`
}

func operationsOf(ns string, ops []Operation) providerOperations {
	v := providerOperations{ID: "/providers/" + string(typeProviderOperations) + "/" + ns, Name: ns, Type: typeProviderOperations, DisplayName: ns,
		ResourceTypes: []typeOperations{}, Operations: []operationView{}}
	for _, o := range ops {
		namespace, rest, _ := strings.Cut(o.Name, "/")
		if !strings.EqualFold(namespace, ns) {
			continue
		}
		typ, verb := splitOperation(rest)
		i := slices.IndexFunc(v.ResourceTypes, func(t typeOperations) bool { return strings.EqualFold(t.Name, typ) })
		if i < 0 {
			v.ResourceTypes, i = append(v.ResourceTypes, typeOperations{Name: typ, DisplayName: typ}), len(v.ResourceTypes)
		}
		t := &v.ResourceTypes[i]
		t.Operations = append(t.Operations, operationView{Name: o.Name, DisplayName: verb + " " + typ, Description: verb + " " + typ, Origin: "user,system"})
	}
	return v
}

// splitOperation is type and verb of an RBAC action without its namespace:
// "virtualMachines/start/action" is "virtualMachines" and "start".
func splitOperation(rest string) (typ, verb string) {
	typ, verb = cutLast(rest)
	if verb == "action" {
		typ, verb = cutLast(typ)
	}
	return typ, verb
}

func cutLast(s string) (before, after string) {
	if i := strings.LastIndexByte(s, '/'); i >= 0 {
		return s[:i], s[i+1:]
	}
	return "", s
}
