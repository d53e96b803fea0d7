package alias

import (
	"errors"
	"fmt"
	"strings"

	"hallmark.dev/hallmark/internal/expr/value"
)

// ErrNotProviders says that a JSON text is not a provider list.
var ErrNotProviders = errors.New("this is not a provider list; make one with: az provider list --expand resourceTypes/aliases")

// Import reads a provider list in Azure's own format, an array of providers or
// an object with one as value. Aliases without a default path are left out, as
// Azure does.
func Import(text string) ([]Alias, error) {
	v, err := value.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("provider list: %w", err)
	}
	return FromValue(v)
}

// FromValue is Import for parsed JSON.
func FromValue(v value.Value) ([]Alias, error) {
	if v.Kind() == value.Object {
		if list := get(v, "value"); list.Kind() == value.Array {
			v = list
		} else {
			v = value.FromSlice([]value.Value{v})
		}
	}
	if v.Kind() != value.Array {
		return nil, ErrNotProviders
	}
	var aliases []Alias
	for i, provider := range v.Elems() {
		namespace := get(provider, "namespace")
		if namespace.Kind() != value.String {
			return nil, fmt.Errorf("%w: element %d has no namespace", ErrNotProviders, i)
		}
		for _, rt := range get(provider, "resourceTypes").Elems() {
			typ := namespace.Str() + "/" + get(rt, "resourceType").Str()
			for _, a := range get(rt, "aliases").Elems() {
				if alias, ok := fromJSON(typ, a); ok {
					aliases = append(aliases, alias)
				}
			}
		}
	}
	return aliases, nil
}

func get(v value.Value, key string) value.Value { return v.Find(value.NewKey(key)) }

func fromJSON(typ string, v value.Value) (Alias, bool) {
	a := Alias{Name: get(v, "name").Str(), Type: typ, Path: pathOf(get(v, "defaultPath")), Modifiable: Forbidden}
	if a.Name == "" || a.Path == "" {
		return a, false
	}
	if hasAttribute(get(v, "defaultMetadata"), "Modifiable") {
		a.Modifiable = Allowed
	}
	a.Deprecated = hasAttribute(get(v, "defaultMetadata"), "Deprecated")
	for _, p := range get(v, "paths").Elems() {
		vp := VersionPath{Path: pathOf(get(p, "path"))}
		for _, version := range get(p, "apiVersions").Elems() {
			vp.APIVersions = append(vp.APIVersions, version.Str())
		}
		if vp.Path != "" {
			a.Versions = append(a.Versions, vp)
		}
	}
	return a, true
}

// pathOf reads a path given as text or as {path: text}.
func pathOf(v value.Value) string {
	if v.Kind() == value.Object {
		v = get(v, "path")
	}
	return v.Str()
}

func hasAttribute(metadata value.Value, name string) bool {
	for _, word := range strings.FieldsFunc(get(metadata, "attributes").Str(), func(r rune) bool { return r == ',' || r == ' ' }) {
		if strings.EqualFold(word, name) {
			return true
		}
	}
	return false
}

// Types returns the resource types of the table that have aliases, in no order.
func (t *Table) Types() []string {
	var types []string
	if t.packed != nil {
		types = append(types, t.packed.types...)
	}
	seen := map[string]bool{}
	for _, list := range t.added {
		for _, a := range list {
			if !seen[a.Type] {
				seen[a.Type] = true
				types = append(types, a.Type)
			}
		}
	}
	return types
}
