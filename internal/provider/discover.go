package provider

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

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
	// Properties say of a type that it is only recorded.
	Properties map[string]string `json:"properties,omitempty"`
	Aliases    []aliasView       `json:"aliases,omitempty"`
}

type aliasView struct {
	Name            string            `json:"name"`
	Paths           []AliasPath       `json:"paths"`
	DefaultPath     string            `json:"defaultPath"`
	DefaultMetadata map[string]string `json:"defaultMetadata,omitempty"`
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
	if c.wantsAliases() {
		return c.providersWithAliases()
	}
	return c.allProviders(nil)
}

// providersWithAliases is some 20 MB that never change: they are written once for
// each scope.
func (c *call) providersWithAliases() (*Response, error) {
	write := func() (*Response, error) { return c.allProviders(c.aliases("")) }
	once, _ := c.p.listings.LoadOrStore(c.path.ID.Key(), sync.OnceValues(write))
	resp, err := once.(func() (*Response, error))()
	if err != nil {
		return nil, err
	}
	return &Response{Status: resp.Status, Header: http.Header{}, Body: resp.Body}, nil
}

func (c *call) allProviders(aliases map[string][]Alias) (*Response, error) {
	views := []namespaceView{}
	for _, ns := range c.p.reg.namespaces() {
		views = append(views, c.namespaceView(ns, aliases))
	}
	return JSON(200, map[string]any{"value": views})
}

func (c *call) namespace() (*Response, error) {
	for _, ns := range c.p.reg.namespaces() {
		if strings.EqualFold(ns, c.path.Namespace) {
			return JSON(200, c.namespaceView(ns, c.aliases(ns)))
		}
	}
	return nil, arm.Errorf(404, "InvalidResourceNamespace", "The resource namespace '%s' is invalid.", clip(c.path.Namespace)).At(c.Path)
}

func (c *call) wantsAliases() bool {
	return c.p.cfg.Aliases != nil && slices.Contains(expands(c.query), "resourcetypes/aliases")
}

// aliases are those of a namespace ("": of all) by type, if the request asks for them.
func (c *call) aliases(namespace string) map[string][]Alias {
	if !c.wantsAliases() {
		return nil
	}
	byType := map[string][]Alias{}
	for _, a := range c.p.cfg.Aliases(namespace) {
		key := strings.ToLower(a.Type)
		byType[key] = append(byType[key], a)
	}
	return byType
}

func aliasViews(aliases []Alias, versions []string) []aliasView {
	var views []aliasView
	for _, a := range aliases {
		v := aliasView{Name: a.Name, DefaultPath: a.Path, Paths: a.Versions}
		if len(v.Paths) == 0 {
			v.Paths = []AliasPath{{Path: a.Path, APIVersions: versions}}
		}
		if a.Modifiable {
			v.DefaultMetadata = map[string]string{"type": "NotSpecified", "attributes": "Modifiable"}
		}
		views = append(views, v)
	}
	return views
}

// register answers what az and the SDKs ask before they use a provider: all are
// registered, and stay so.
func (c *call) register(ctx context.Context) (*Response, error) {
	if c.Method != "POST" {
		return nil, c.notAllowed()
	}
	if err := c.authorize(ctx, "Microsoft.Resources/subscriptions/providers/read", c.path.ID); err != nil {
		return nil, err
	}
	resp, err := c.namespace()
	if err == nil && strings.EqualFold(c.path.Tail, "unregister") {
		return nil, arm.Conflict("CannotUnregisterProvider", c.Path, "The resource provider '%s' cannot be unregistered: here every provider is registered in every subscription, and stays so.", clip(c.path.Namespace))
	}
	return resp, err
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

func (c *call) namespaceView(ns string, aliases map[string][]Alias) namespaceView {
	v := namespaceView{ID: strings.TrimSuffix(c.path.ID.String(), "/") + "/providers/" + ns, Namespace: ns,
		RegistrationState: "Registered", RegistrationPolicy: "RegistrationFree", ResourceTypes: []typeView{}}
	add := func(t arm.Type, versions []string, capabilities string, properties map[string]string) {
		if !strings.EqualFold(t.Namespace(), ns) || len(versions) == 0 {
			return
		}
		v.ResourceTypes = append(v.ResourceTypes, typeView{ResourceType: t.Path(), Locations: append([]string{}, c.p.cfg.Locations...),
			APIVersions: versions, DefaultAPIVersion: versions[0], Capabilities: capabilities,
			Properties: properties, Aliases: aliasViews(aliases[t.Key()], versions)})
	}
	for _, t := range c.p.reg.sorted() {
		add(t.Type, t.APIVersions, t.capabilities(), t.notes())
	}
	for _, rt := range c.p.reg.routes {
		add(rt.Type, rt.APIVersions, "None", nil)
	}
	return v
}

func (t *ResourceType) notes() map[string]string {
	if t.Recorded {
		return map[string]string{"recordedOnly": "true"}
	}
	return nil
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
