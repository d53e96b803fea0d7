package policy

import (
	"strings"

	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy/alias"
)

// ref is a compiled field name: where its value stands, seen from a document or
// from the current element of a count.
type ref struct {
	name    string // as written
	slot    int    // the count element it starts from; -1: the document
	level   int    // how many [*] of the paths lie before that element
	primary bool   // the resource itself, where field: means a related one
	special special
	tag     value.Key
	paths   []typedPath
	short   shortPath
	stars   int // [*] from the start on
}

type special uint8

const (
	bySpecialNone special = iota
	specialType
	specialAPIVersion
	specialFullName
	specialTag
	specialFact
)

// typedPath is an alias's path for one resource type.
type typedPath struct {
	typ      string // "": any
	key      typeKey
	path     path
	versions []versionedPath
}

type versionedPath struct {
	apiVersions []string
	path        path
}

// shortPath is where an alias's short name points in a document of any type:
// members of properties count as if they stood at the root, and the root wins.
type shortPath struct {
	root, properties path
}

// rootFields are the members of an ARM document that are not in properties.
var rootFields = map[string]bool{
	"name": true, "type": true, "location": true, "kind": true, "id": true, "tags": true, "identity": true, "sku": true,
	"plan": true, "zones": true, "managedby": true, "etag": true, "apiversion": true, "fullname": true,
	"systemdata": true, "extendedlocation": true,
}

// builtinFields are the names that need no alias; identity.<path> is another.
var builtinFields = map[string]special{
	"type": specialType, "apiversion": specialAPIVersion, "fullname": specialFullName,
	"id": bySpecialNone, "kind": bySpecialNone, "name": bySpecialNone, "location": bySpecialNone, "tags": bySpecialNone, "identity": bySpecialNone,
}

// tagName returns the tag that a field names: tags.x, tags['x'] or tags[x].
// Everything after the prefix is one name, dots included.
func tagName(field string) (string, bool) {
	if len(field) < 6 || !value.EqualASCII(field[:4], "tags") {
		return "", false
	}
	switch {
	case field[4] == '.':
		return field[5:], true
	case field[4] == '[' && field != "tags[*]":
		end := strings.LastIndexByte(field, ']')
		if end < 0 {
			return "", false
		}
		name := field[5:end]
		if n := len(name); n >= 2 && name[0] == name[n-1] && (name[0] == '\'' || name[0] == '"') {
			name = name[1 : n-1]
		}
		return name, true
	}
	return "", false
}

// start returns the value that the ref's first group is walked from, and the
// document that decides which path holds.
func (r *ref) document(f *frame) *Resource {
	if r.primary {
		return f.primary
	}
	return f.doc
}

// value returns the value of a ref without [*]; Undefined when there is none.
func (r *ref) value(f *frame) Value {
	doc := r.document(f)
	if r.slot >= 0 {
		groups := r.pathFor(doc)
		if r.level >= len(groups) {
			return Value{}
		}
		return walk(f.elems[r.slot], groups[r.level])
	}
	switch r.special {
	case specialType:
		return doc.root.Find(keyType)
	case specialTag:
		return doc.root.Find(keyTags).Find(r.tag)
	case specialAPIVersion:
		if doc.apiVersion == "" {
			return Value{}
		}
		return value.FromString(doc.apiVersion)
	case specialFullName:
		return doc.fullName()
	case specialFact:
		return r.fact(doc)
	}
	if len(r.paths) > 0 {
		if groups := r.pathFor(doc); groups != nil {
			if v := walk(doc.root, groups[0]); v.Kind() != value.Undefined {
				return v
			}
		}
	}
	return r.short.value(doc.root)
}

func (r *ref) fact(doc *Resource) Value {
	if v := doc.facts.Find(r.tag); !v.IsUndefined() {
		return v
	}
	return doc.root.Find(r.tag)
}

func (s *shortPath) value(root Value) Value {
	if s.root != nil {
		if v := walk(root, s.root[0]); !v.IsUndefined() {
			return v
		}
	}
	if s.properties != nil {
		return walk(root, s.properties[0])
	}
	return Value{}
}

// pathFor picks the path that holds for the document's type and api-version, nil
// when the alias is not of its type.
func (r *ref) pathFor(doc *Resource) path {
	for i := range r.paths {
		t := &r.paths[i]
		if t.typ != "" && t.key != doc.typeKey {
			continue
		}
		for j := range t.versions {
			for _, v := range t.versions[j].apiVersions {
				if value.EqualASCII(v, doc.apiVersion) {
					return t.versions[j].path
				}
			}
		}
		return t.path
	}
	return nil
}

// groups returns the groups of segments of a ref with [*] and the value that the
// first starts from. For a document of another type the short name decides.
func (r *ref) groups(f *frame) (Value, path) {
	doc := r.document(f)
	groups := r.pathFor(doc)
	if r.slot >= 0 {
		if r.level >= len(groups) {
			return Value{}, path{nil}
		}
		return f.elems[r.slot], groups[r.level:]
	}
	if groups != nil && (r.short.properties == nil || !walk(doc.root, groups[0]).IsUndefined()) {
		return doc.root, groups
	}
	if r.short.root != nil && !walk(doc.root, r.short.root[0]).IsUndefined() {
		return doc.root, r.short.root
	}
	if r.short.properties != nil {
		return doc.root, r.short.properties
	}
	return Value{}, path{nil, nil}
}

// typedPaths turns the aliases of one name into paths, by resource type.
func typedPaths(found []alias.Alias) (paths []typedPath, problem string) {
	for _, a := range found {
		p, bad := parsePath(a.Path)
		if bad != "" {
			return nil, "the alias " + a.Name + " has a broken path: " + bad
		}
		t := typedPath{typ: a.Type, key: newTypeKey(a.Type), path: p}
		for _, v := range a.Versions {
			if vp, bad := parsePath(v.Path); bad == "" && vp.stars() == p.stars() {
				t.versions = append(t.versions, versionedPath{v.APIVersions, vp})
			}
		}
		paths = append(paths, t)
	}
	return paths, ""
}

// newShortPath makes the path of a short name.
func newShortPath(short string) shortPath {
	p, bad := parsePath(short)
	if bad != "" || len(p[0]) == 0 {
		return shortPath{}
	}
	under := make(path, len(p))
	copy(under, p)
	under[0] = append([]segment{{key: keyProperties, index: -1}}, p[0]...)
	s := shortPath{properties: under}
	if rootFields[value.LowerASCII(p[0][0].key.Name)] {
		s.root = p
	}
	return s
}
