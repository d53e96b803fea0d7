// Package alias is the table of Azure's property aliases: which path of a
// resource document a name such as
// Microsoft.Compute/virtualMachines/storageProfile.osDisk.diskSizeGB stands for.
//
// A table of the public aliases (type, name, default path) is packed into the
// binary; a provider list in Azure's own format adds paths by api-version and
// tells which aliases a policy may modify. The table holds facts only and knows
// nothing of rules or documents. Package policy and its commands import it.
package alias

import (
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/expr/value"
)

// Modifiable says whether a modify effect may change an alias.
type Modifiable uint8

// Unchecked is what the packed table knows: nothing.
const (
	Unchecked Modifiable = iota
	Allowed
	Forbidden
)

// Alias is one name of one resource type.
type Alias struct {
	Name       string // as the provider spells it
	Type       string // the resource type that carries it
	Path       string // default path, from the root of the document
	Versions   []VersionPath
	Modifiable Modifiable
	Deprecated bool
}

// VersionPath is the path that holds for some api-versions.
type VersionPath struct {
	Path        string
	APIVersions []string
}

// PathFor returns the path for an api-version, the default path when the alias
// does not list it.
func (a Alias) PathFor(apiVersion string) string {
	for _, v := range a.Versions {
		if slices.ContainsFunc(v.APIVersions, func(s string) bool { return strings.EqualFold(s, apiVersion) }) {
			return v.Path
		}
	}
	return a.Path
}

// Short returns the name without its resource type: what is left is the path in
// a document whose properties are merged into its root.
func (a Alias) Short() string {
	short := a.Name
	if n := len(a.Type) + 1; len(short) > n && value.EqualASCII(short[:n], a.Type+"/") {
		short = short[n:]
	} else if i := strings.LastIndexByte(short, '/'); i >= 0 {
		short = short[i+1:]
	}
	if n := len("properties."); len(short) > n && value.EqualASCII(short[:n], "properties.") {
		short = short[n:]
	}
	return short
}

// Table finds aliases by name, ignoring case. It is immutable.
type Table struct {
	packed *table
	added  map[string][]Alias // by lower-case name
}

// New returns a table of exactly these aliases.
func New(aliases ...Alias) *Table { return (&Table{}).With(aliases...) }

// With returns a table that also has these aliases; one with the type and name
// of an earlier one replaces it.
func (t *Table) With(aliases ...Alias) *Table {
	added := make(map[string][]Alias, len(t.added)+len(aliases))
	for name, have := range t.added {
		added[name] = have
	}
	for _, a := range aliases {
		key := value.LowerASCII(a.Name)
		same := func(b Alias) bool { return value.EqualASCII(a.Type, b.Type) }
		added[key] = append(slices.DeleteFunc(slices.Clone(added[key]), same), a)
	}
	return &Table{packed: t.packed, added: added}
}

// Lookup returns the aliases of that name, one for each resource type that has
// it. A name that is only listed with [*] at its end is found without it, too.
func (t *Table) Lookup(name string) []Alias {
	if found := t.lookup(name); len(found) > 0 {
		return found
	}
	found := t.lookup(name + "[*]")
	for i := range found {
		found[i] = trimStar(found[i])
	}
	return found
}

func trimStar(a Alias) Alias {
	a.Name = strings.TrimSuffix(a.Name, "[*]")
	a.Path = strings.TrimSuffix(a.Path, "[*]")
	a.Versions = slices.Clone(a.Versions)
	for i := range a.Versions {
		a.Versions[i].Path = strings.TrimSuffix(a.Versions[i].Path, "[*]")
	}
	return a
}

func (t *Table) lookup(name string) []Alias {
	key := value.LowerASCII(name)
	found := slices.Clone(t.added[key])
	for _, a := range t.packed.lookup(key) {
		known := func(b Alias) bool { return value.EqualASCII(a.Type, b.Type) }
		if !slices.ContainsFunc(found, known) {
			found = append(found, a)
		}
	}
	return found
}

// Len returns how many aliases the table has; one that replaces a packed one is
// counted twice.
func (t *Table) Len() int {
	n := t.packed.len()
	for _, list := range t.added {
		n += len(list)
	}
	return n
}

// each calls f with every name, in no order, until f returns false.
func (t *Table) each(prefix string, f func(name string) bool) {
	for key, list := range t.added {
		if strings.HasPrefix(key, prefix) && !f(list[0].Name) {
			return
		}
	}
	t.packed.each(prefix, f)
}

// Each calls f with every alias, in no order.
func (t *Table) Each(f func(Alias)) {
	for _, list := range t.added {
		for _, a := range list {
			f(a)
		}
	}
	t.packed.from("", func(lower string, d *decoder) bool {
		a := t.packed.alias(d)
		for _, added := range t.added[lower] {
			if value.EqualASCII(added.Type, a.Type) {
				return true // replaced
			}
		}
		f(a)
		return true
	})
}
