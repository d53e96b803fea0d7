package tfplan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"
)

// Plan is what a plan holds of Azure resources.
type Plan struct {
	Resources []Resource
	// Untranslated are the managed resources of other types, by type.
	Untranslated map[string]int
}

// Resource is one resource that will exist when the plan was applied.
type Resource struct {
	Address string // azurerm_linux_virtual_machine.web["a"], with its modules
	Type    string // azurerm_linux_virtual_machine
	Name    string // web
	// Directory is where the module's files are, relative to the root module, as
	// far as sources are local paths; "" is the root module.
	Directory string
	Actions   []string // create, update, delete and create, no-op

	ARMType       string
	APIVersion    string // "" if the provider decides
	ID            string // "" if it is not known
	ParentID      string // of azapi and extensions; "" if not known
	ParentAddress string // the resource of the plan that ParentID will be the id of
	ResourceGroup string // "" if not known
	Names         []string
	Body          json.RawMessage

	// Partial says that the document holds only what is to be changed.
	Partial bool
	// Unknown are paths in the document whose values only applying tells, or that
	// the plan marks as sensitive.
	Unknown []string
	// From says which attribute a path of the document comes from: os_disk.caching.
	From map[string]string
	// Links are unknown values that are the id of another resource of the plan.
	Links []Link
	// Untranslated are attributes that are set and have no place in the document.
	Untranslated []string
}

// Link says that the value at Path will be the id of the resource Address; while
// that is not known, Hidden is what is unknown.
type Link struct{ Path, Hidden, Address string }

// Change reports whether applying the plan changes the resource.
func (r *Resource) Change() bool { return !slices.Contains(r.Actions, "no-op") }

type plan struct {
	FormatVersion   string `json:"format_version"`
	ResourceChanges []struct {
		Address       string `json:"address"`
		ModuleAddress string `json:"module_address"`
		Mode          string `json:"mode"`
		Type          string `json:"type"`
		Name          string `json:"name"`
		Change        struct {
			Actions        []string       `json:"actions"`
			After          map[string]any `json:"after"`
			AfterUnknown   any            `json:"after_unknown"`
			AfterSensitive any            `json:"after_sensitive"`
		} `json:"change"`
	} `json:"resource_changes"`
	Configuration struct {
		RootModule module `json:"root_module"`
	} `json:"configuration"`
}

type module struct {
	Resources []struct {
		Address     string         `json:"address"`
		Mode        string         `json:"mode"`
		Expressions map[string]any `json:"expressions"`
	} `json:"resources"`
	ModuleCalls map[string]struct {
		Source string `json:"source"`
		Module module `json:"module"`
	} `json:"module_calls"`
}

// Parse reads the JSON of a plan (format version 1.x, of Terraform 0.14 and newer
// and of OpenTofu). The error says why it is none.
func Parse(text []byte) (*Plan, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var p plan
	if err := d.Decode(&p); err != nil {
		return nil, fmt.Errorf("this is no JSON of a Terraform plan: %w", err)
	}
	switch major, _, _ := strings.Cut(p.FormatVersion, "."); {
	case p.FormatVersion == "":
		return nil, errors.New("this is no Terraform plan: format_version is missing; make one with terraform show -json PLANFILE")
	case major != "1":
		return nil, fmt.Errorf("format version %s of Terraform plans is not known here, 1.x is", p.FormatVersion)
	}
	out := &Plan{Untranslated: map[string]int{}}
	for i := range p.ResourceChanges {
		c := &p.ResourceChanges[i]
		if c.Mode != "managed" || c.Change.After == nil {
			continue // data sources, and what will be gone
		}
		k, ok := kindOf(c.Type)
		if !ok {
			out.Untranslated[c.Type]++
			continue
		}
		r := Resource{Address: c.Address, Type: c.Type, Name: c.Name, Actions: c.Change.Actions, APIVersion: k.apiVersion}
		from := p.configured(c.ModuleAddress, c.Type+"."+c.Name)
		r.Directory = from.directory
		w := &writer{resource: &r, body: map[string]any{}, expressions: from.expressions}
		k.write(w, node{c.Change.After, c.Change.AfterUnknown, c.Change.AfterSensitive})
		if err := w.finish(); err != nil {
			return nil, fmt.Errorf("%s: %w", c.Address, err)
		}
		out.Resources = append(out.Resources, r)
	}
	return out, nil
}

// configuration is what the configuration says of a resource.
type configuration struct {
	directory   string
	expressions map[string]any
}

func (p *plan) configured(moduleAddress, address string) (c configuration) {
	m := p.Configuration.RootModule
	for _, name := range moduleNames(moduleAddress) {
		call, ok := m.ModuleCalls[name]
		if !ok {
			return c
		}
		if local := strings.HasPrefix(call.Source, "./") || strings.HasPrefix(call.Source, "../"); local {
			c.directory = path.Join(c.directory, call.Source)
		} else {
			c.directory = path.Join(c.directory, ".terraform/modules", name)
		}
		m = call.Module
	}
	for _, r := range m.Resources {
		if r.Address == address {
			c.expressions = r.Expressions
		}
	}
	return c
}

// moduleNames are the calls of an address such as module.a.module.b["x.y"].
func moduleNames(address string) []string {
	var names []string
	for rest := address; strings.HasPrefix(rest, "module."); {
		rest = strings.TrimPrefix(rest, "module.")
		n := strings.IndexAny(rest, ".[")
		if n < 0 {
			n = len(rest)
		}
		names = append(names, rest[:n])
		rest = afterIndex(rest[n:])
	}
	return names
}

// afterIndex is what follows ["key"] or [0], and a dot.
func afterIndex(rest string) string {
	if strings.HasPrefix(rest, `["`) {
		if end := strings.Index(rest, `"]`); end >= 0 {
			rest = rest[end+2:]
		}
	} else if strings.HasPrefix(rest, "[") {
		if end := strings.IndexByte(rest, ']'); end >= 0 {
			rest = rest[end+1:]
		}
	}
	return strings.TrimPrefix(rest, ".")
}

// node is a value of a plan with what the plan says about it.
type node struct{ value, unknown, sensitive any }

func (n node) get(key string) node {
	return node{member(n.value, key), member(n.unknown, key), member(n.sensitive, key)}
}

// member looks into an object; a mark on the whole holds for every part.
func member(v any, key string) any {
	switch v := v.(type) {
	case map[string]any:
		return v[key]
	case bool:
		return v
	}
	return nil
}

func element(v any, i int) any {
	switch v := v.(type) {
	case []any:
		if i < len(v) {
			return v[i]
		}
	case bool:
		return v
	}
	return nil
}

func (n node) at(i int) node {
	return node{element(n.value, i), element(n.unknown, i), element(n.sensitive, i)}
}

// hidden reports whether the value must not be used, and exists.
func (n node) hidden() bool { return n.unknown == true || n.sensitive == true && n.value != nil }

func (n node) len() int {
	v, _ := n.value.([]any)
	return len(v)
}

func (n node) text() string {
	s, _ := n.value.(string)
	return s
}

func sortedKeys[T any](m map[string]T) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
