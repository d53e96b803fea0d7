package policy

import (
	"strings"
	"unique"

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
	raw     bool   // the name is a path, not an alias
	special special
	tag     value.Key
	paths   []typedPath
	short   shortPath
	stars   int // [*] from the start on
	number  int // under which a frame remembers the value; notShared
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
	typ string // "": any
	key typeKey
	onePath
	versions []versionedPath
}

type versionedPath struct {
	apiVersions []string
	onePath
}

// onePath is a path with a handle for all but its last segment, equal for equal
// parents.
type onePath struct {
	path   path
	parent unique.Handle[string]
}

func newOnePath(p path) onePath {
	parent := ""
	if n := len(p[0]); n > 0 {
		parent = value.LowerASCII(path{p[0][:n-1]}.String())
	}
	return onePath{path: p, parent: unique.Make(parent)}
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

// document returns the document that the ref reads, and whose type and
// api-version decide which path holds.
func (r *ref) document(f *frame) *Resource {
	if r.primary {
		return f.primary
	}
	return f.doc
}

// nothing is the value of what does not exist.
var nothing Value

// value returns a pointer to the value of a ref without [*], to an Undefined one
// when there is none. Nobody may write through it; it holds until the next ref
// is read.
func (r *ref) value(f *frame) *Value {
	doc := r.document(f)
	if r.slot >= 0 {
		groups := r.pathFor(doc)
		if groups == nil || r.level >= len(groups.path) {
			return &nothing
		}
		return value.Walk(f.elems[r.slot], groups.path[r.level])
	}
	switch r.special {
	case bySpecialNone:
		if r.number == notShared || r.number >= len(f.fields) {
			return r.documentValue(f, doc)
		}
		known := &f.fields[r.number]
		if known.serial != doc.serial {
			*known = sharedValue{doc.serial, r.documentValue(f, doc)}
		}
		return known.value
	case specialType:
		return value.FindIn(&doc.root, &keyType)
	case specialTag:
		return value.FindIn(value.FindIn(&doc.root, &keyTags), &r.tag)
	case specialFact:
		if v := value.FindIn(&doc.facts, &r.tag); !v.IsUndefined() {
			return v
		}
		return value.FindIn(&doc.root, &r.tag)
	}
	f.scratch = Value{}
	if r.special == specialFullName {
		f.scratch = doc.fullName()
	} else if doc.apiVersion != "" {
		f.scratch = value.FromString(doc.apiVersion)
	}
	return &f.scratch
}

// documentValue walks the path, else the short name. The parent that was walked
// to last is kept: rules like to compare several members of one object.
func (r *ref) documentValue(f *frame, doc *Resource) *Value {
	if p := r.pathFor(doc); p != nil && len(p.path) > 0 {
		first := p.path[0]
		last := len(first) - 1
		if last < 0 {
			return &doc.root
		}
		if f.parentDoc != doc || f.parentKey != p.parent {
			f.parent = value.Walk(&doc.root, first[:last])
			f.parentDoc, f.parentKey = doc, p.parent
		}
		if v := value.Walk(f.parent, first[last:]); !v.IsUndefined() {
			return v
		}
	}
	return r.short.value(&doc.root)
}

func (s *shortPath) value(root *Value) *Value {
	if s.root != nil {
		if v := value.Walk(root, s.root[0]); !v.IsUndefined() {
			return v
		}
	}
	if s.properties != nil {
		return value.Walk(root, s.properties[0])
	}
	return &nothing
}

// pathFor picks the path that holds for the document's type and api-version, nil
// when the alias is not of its type.
func (r *ref) pathFor(doc *Resource) *onePath {
	if len(r.paths) == 1 && r.paths[0].typ == "" && r.paths[0].versions == nil {
		return &r.paths[0].onePath
	}
	return r.pathForType(doc)
}

func (r *ref) pathForType(doc *Resource) *onePath {
	for i := range r.paths {
		t := &r.paths[i]
		if t.typ != "" && t.key != doc.typeKey {
			continue
		}
		for j := range t.versions {
			for _, v := range t.versions[j].apiVersions {
				if value.EqualASCII(v, doc.apiVersion) {
					return &t.versions[j].onePath
				}
			}
		}
		return &t.onePath
	}
	return nil
}

// groups returns the groups of segments of a ref with [*] and the value that the
// first starts from. For a document of another type the short name decides.
func (r *ref) groups(f *frame) (*Value, path) {
	doc := r.document(f)
	p := r.pathFor(doc)
	if r.slot >= 0 {
		if p == nil || r.level >= len(p.path) {
			return &nothing, path{nil}
		}
		return f.elems[r.slot], p.path[r.level:]
	}
	if p != nil && (r.short.properties == nil || !value.Walk(&doc.root, p.path[0]).IsUndefined()) {
		return &doc.root, p.path
	}
	if r.short.root != nil && !value.Walk(&doc.root, r.short.root[0]).IsUndefined() {
		return &doc.root, r.short.root
	}
	if r.short.properties != nil {
		return &doc.root, r.short.properties
	}
	return &nothing, path{nil, nil}
}

// typedPaths turns the aliases of one name into paths, by resource type.
func typedPaths(found []alias.Alias) (paths []typedPath, problem string) {
	for _, a := range found {
		p, bad := parsePath(a.Path)
		if bad != "" {
			return nil, "the alias " + a.Name + " has a broken path: " + bad
		}
		t := typedPath{typ: a.Type, key: newTypeKey(a.Type), onePath: newOnePath(p)}
		for _, v := range a.Versions {
			if vp, bad := parsePath(v.Path); bad == "" && vp.stars() == p.stars() {
				t.versions = append(t.versions, versionedPath{v.APIVersions, newOnePath(vp)})
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
	under[0] = append([]segment{{Key: keyProperties, Index: -1}}, p[0]...)
	s := shortPath{properties: under}
	if rootFields[value.LowerASCII(p[0][0].Key.Name)] {
		s.root = p
	}
	return s
}
