package provider

import (
	"context"
	"maps"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
)

type namespaceView struct {
	ID                 string     `json:"id"`
	Namespace          string     `json:"namespace"`
	RegistrationState  string     `json:"registrationState"`
	RegistrationPolicy string     `json:"registrationPolicy"`
	ResourceTypes      []typeView `json:"resourceTypes"`
}

type typeView struct {
	ResourceType      string   `json:"resourceType"`
	Locations         []string `json:"locations"`
	APIVersions       []string `json:"apiVersions"`
	DefaultAPIVersion string   `json:"defaultApiVersion"`
	Capabilities      string   `json:"capabilities"`
}

// providers serves GET …/providers and …/providers/NS.
func (c *call) providers(ctx context.Context) (*Response, error) {
	scope := c.path.ID
	if c.Method != "GET" || scope.Kind() != arm.KindSubscription && !scope.IsRoot() {
		return nil, c.notAllowed()
	}
	if err := c.authorize(ctx, "Microsoft.Resources/subscriptions/providers/read", scope); err != nil {
		return nil, err
	}
	if err := c.p.scopeExists(ctx, scope); err != nil {
		return nil, err
	}
	if c.path.Namespace != "" {
		return c.namespace()
	}
	views := []namespaceView{}
	for _, ns := range c.p.reg.namespaces() {
		views = append(views, c.namespaceView(ns))
	}
	return JSON(200, map[string]any{"value": views})
}

func (c *call) namespace() (*Response, error) {
	for _, ns := range c.p.reg.namespaces() {
		if strings.EqualFold(ns, c.path.Namespace) {
			return JSON(200, c.namespaceView(ns))
		}
	}
	return nil, arm.Errorf(404, "InvalidResourceNamespace", "The resource namespace '%s' is invalid.", clip(c.path.Namespace)).At(c.Path)
}

// register answers what az and the SDKs ask before they use a provider: all are
// registered.
func (c *call) register(ctx context.Context) (*Response, error) {
	if c.Method != "POST" {
		return nil, c.notAllowed()
	}
	if err := c.authorize(ctx, "Microsoft.Resources/subscriptions/providers/read", c.path.ID); err != nil {
		return nil, err
	}
	return c.namespace()
}

func (r *registry) namespaces() []string {
	byKey := map[string]string{}
	for _, t := range r.types {
		byKey[strings.ToLower(t.Type.Namespace())] = t.Type.Namespace()
	}
	for _, rt := range r.routes {
		if rt.Type != "" {
			byKey[strings.ToLower(rt.Type.Namespace())] = rt.Type.Namespace()
		}
	}
	return slices.Sorted(maps.Values(byKey))
}

func (c *call) namespaceView(ns string) namespaceView {
	v := namespaceView{ID: strings.TrimSuffix(c.path.ID.String(), "/") + "/providers/" + ns, Namespace: ns,
		RegistrationState: "Registered", RegistrationPolicy: "RegistrationFree", ResourceTypes: []typeView{}}
	add := func(t arm.Type, versions []string, capabilities string) {
		if !strings.EqualFold(t.Namespace(), ns) || len(versions) == 0 {
			return
		}
		v.ResourceTypes = append(v.ResourceTypes, typeView{ResourceType: t.Path(), Locations: append([]string{}, c.p.cfg.Locations...),
			APIVersions: versions, DefaultAPIVersion: versions[0], Capabilities: capabilities})
	}
	for _, t := range c.p.reg.sorted() {
		add(t.Type, t.APIVersions, t.capabilities())
	}
	for _, rt := range c.p.reg.routes {
		add(rt.Type, rt.APIVersions, "None")
	}
	return v
}

func (t *ResourceType) capabilities() string {
	switch {
	case t.Tags && t.Location != LocationNone:
		return "SupportsTags, SupportsLocation"
	case t.Tags:
		return "SupportsTags"
	case t.Scopes&AtResource != 0:
		return "SupportsExtension"
	}
	return "None"
}

// Operation is something that a role may allow.
type Operation struct {
	Name string // "Microsoft.Compute/virtualMachines/start/action"
	Read bool
}

// Operations is every RBAC action that the registrations imply, sorted: what role
// definitions may name.
func (p *Pipeline) Operations() []Operation {
	all := map[string]bool{}
	for _, t := range p.reg.types {
		all[t.permission("read")] = true
		for verb, no := range map[string]bool{"write": t.NoPut && t.NoPatch, "delete": t.NoDelete} {
			if !no {
				all[t.permission(verb)] = false
			}
		}
		for i := range t.Actions {
			name := t.Actions[i].permission(t)
			all[name] = strings.HasSuffix(name, "/read")
		}
	}
	for _, rt := range p.reg.routes {
		all[rt.Permission] = strings.HasSuffix(rt.Permission, "/read")
	}
	var ops []Operation
	for _, name := range slices.Sorted(maps.Keys(all)) {
		ops = append(ops, Operation{name, all[name]})
	}
	return ops
}
