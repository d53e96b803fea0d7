// Package recorded serves the resource types that Hallmark knows and does nothing
// with: a load balancer, a storage account, a diagnostic setting. They are stored,
// checked by shape, listed, tagged, locked and governed by policy like any other
// resource; nothing stands behind them, which answers, the providers listing and
// docs/api.md say. Passwords and keys, which Azure takes and never shows, are not kept.
//
// A type is known because it has policy aliases, because this package names it, or
// because the configuration does. Some namespaces are closed: what Hallmark does not
// serve of them for real would mislead, so it stays unknown.
// cmd imports it; no other rp may.
package recorded

import (
	"fmt"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/policy/alias"
	"hallmark.dev/hallmark/internal/provider"
)

// Type is one type that is to be recorded.
type Type struct {
	Type arm.Type
	// Scopes are where a top-level type may be; 0 is in resource groups.
	Scopes provider.Scopes
}

// Config is what the provider serves.
type Config struct {
	Aliases *alias.Table // nil: Azure's public ones
	Types   []Type       // beyond those that are known
	// Real are the providers whose types are not to be recorded.
	Real []provider.Provider
}

// apiVersions is what the listing names; every dated version is accepted.
var apiVersions = []string{"2024-05-01"}

// New is the provider. It fails when Config.Types names what cannot be recorded.
func New(cfg Config) (provider.Provider, error) {
	if cfg.Aliases == nil {
		cfg.Aliases = alias.Default()
	}
	c := collector{found: map[string]Type{}, real: realTypes(cfg.Real)}
	for _, t := range cfg.Types {
		if err := check(t); err != nil {
			return provider.Provider{}, err
		}
		c.add(t)
	}
	for _, t := range named {
		c.add(t)
	}
	for _, t := range cfg.Aliases.Types() {
		if t := arm.Type(t); !closed(t) {
			c.add(Type{Type: t})
		}
	}
	return provider.Provider{Types: c.types()}, nil
}

func check(t Type) error {
	_, child := t.Type.Parent()
	switch {
	case t.Type.Path() == "" || strings.Contains(string(t.Type), "//"):
		return fmt.Errorf("recorded type %q: want NAMESPACE/NAME", t.Type)
	case isClosed(t.Type.Namespace()):
		return fmt.Errorf("recorded type %s: what Hallmark does not serve of %s cannot be recorded; it would look as if it worked", t.Type, t.Type.Namespace())
	case child && t.Scopes != 0:
		return fmt.Errorf("recorded type %s: a child type exists where its parent does; leave its scopes out", t.Type)
	}
	return nil
}

func realTypes(ps []provider.Provider) map[string]bool {
	real := map[string]bool{}
	for _, p := range ps {
		for _, t := range p.Types {
			real[t.Type.Key()] = true
		}
	}
	return real
}

// collector gathers each type once, with its parents.
type collector struct {
	found map[string]Type
	real  map[string]bool
}

func (c *collector) add(t Type) {
	if c.real[t.Type.Key()] || strings.HasPrefix(strings.ToLower(t.Type.Path()), "locations/") {
		return
	}
	if parent, child := t.Type.Parent(); child {
		c.add(Type{Type: parent})
	}
	if _, have := c.found[t.Type.Key()]; !have {
		c.found[t.Type.Key()] = t
	}
}

func (c *collector) types() []provider.ResourceType {
	var types []provider.ResourceType
	for _, t := range c.found {
		types = append(types, resourceType(t))
	}
	slices.SortFunc(types, func(a, b provider.ResourceType) int { return strings.Compare(a.Type.Key(), b.Type.Key()) })
	return types
}

func resourceType(t Type) provider.ResourceType {
	r := provider.ResourceType{
		Type: t.Type, Scopes: t.Scopes, APIVersions: apiVersions, Recorded: true,
		Location: provider.LocationOptional, Tags: true, CascadeDelete: true, Default: forget, Validate: validateShape,
		// The clients of all providers take 200 for a PUT; not all take 201.
		Codes: provider.Codes{Create: 200},
	}
	if rule, ok := names[r.Type.Key()]; ok {
		r.Name, r.NameHint = rule.pattern, rule.hint
	}
	if _, child := t.Type.Parent(); child {
		return r
	}
	if r.Scopes == 0 {
		r.Scopes = provider.AtResourceGroup
	}
	if r.Name == nil && strings.EqualFold(r.Type.Namespace(), "Microsoft.Network") {
		r.Name, r.NameHint = networkName.pattern, networkName.hint
	}
	if r.Scopes&provider.AtResourceGroup == 0 {
		r.Tags = false // settings of something else, not resources of their own
	}
	return r
}

// Aliases are a table's aliases as the providers listing shows them.
func Aliases(table *alias.Table) func(namespace string) []provider.Alias {
	return func(namespace string) []provider.Alias {
		var found []provider.Alias
		table.Each(func(a alias.Alias) {
			if namespace != "" && !strings.EqualFold(arm.Type(a.Type).Namespace(), namespace) {
				return
			}
			shown := provider.Alias{Type: a.Type, Name: a.Name, Path: a.Path, Modifiable: a.Modifiable == alias.Allowed}
			for _, v := range a.Versions {
				shown.Versions = append(shown.Versions, provider.AliasPath{Path: v.Path, APIVersions: v.APIVersions})
			}
			found = append(found, shown)
		})
		return found
	}
}
