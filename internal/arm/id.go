package arm

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits on ids, so that hostile paths end early with a message. Azure's own
// longest name is 260 characters.
const (
	MaxIDLength   = 2048
	MaxNameLength = 260
)

// ID is a resource id that has been parsed: of a resource at any scope, of an
// extension resource, or of a scope itself (tenant, management group,
// subscription, resource group). It is a comparable value, but two ids of the same
// resource may differ in case: compare with Equal or Key.
//
// The zero value is the tenant root "/".
type ID struct {
	path  string // as given, without trailing slash; "" is the root
	scope int    // length of the prefix of path that the provider part hangs on
	typ   Type
	name  string
}

// Kind says what an id stands for.
type Kind int

// The kinds of scope, widest first.
const (
	KindTenant Kind = iota
	KindManagementGroup
	KindSubscription
	KindResourceGroup
	KindResource
)

func (k Kind) String() string {
	return [...]string{"tenant", "management group", "subscription", "resource group", "resource"}[k]
}

// Tenant is the root scope.
var Tenant = ID{}

// SubscriptionID is the id of a subscription.
func SubscriptionID(subscription string) ID {
	return ID{path: "/subscriptions/" + subscription, typ: TypeSubscription, name: subscription}
}

// ResourceGroupID is the id of a resource group.
func ResourceGroupID(subscription, group string) ID {
	p := "/subscriptions/" + subscription
	return ID{path: p + "/resourceGroups/" + group, scope: len(p), typ: TypeResourceGroup, name: group}
}

// String is the id as it was written, without a trailing slash.
func (id ID) String() string {
	if id.path == "" {
		return "/"
	}
	return id.path
}

// Key is the canonical form: the id in lower case. Keys sort children right
// after their parents' siblings of the same prefix, so a prefix scan with
// Key()+"/" visits exactly what lies below.
func (id ID) Key() string { return strings.ToLower(id.String()) }

// Equal reports whether both name the same resource.
//
// It compares keys, as stores do: strings.EqualFold knows letters (ſ and s) that
// lower case keeps apart.
func (id ID) Equal(other ID) bool { return id.Key() == other.Key() }

// Type is the resource type; scopes have types too (TypeSubscription ...).
func (id ID) Type() Type {
	if id.path == "" {
		return TypeTenant
	}
	return id.typ
}

// Name is the last segment: the resource's own name.
func (id ID) Name() string { return id.name }

// IsRoot reports whether id is the tenant root.
func (id ID) IsRoot() bool { return id.path == "" }

// Kind says whether id is a scope or a resource.
func (id ID) Kind() Kind {
	switch {
	case id.path == "":
		return KindTenant
	case id.typ.Equal(TypeManagementGroup):
		return KindManagementGroup
	case id.typ.Equal(TypeSubscription):
		return KindSubscription
	case id.typ.Equal(TypeResourceGroup):
		return KindResourceGroup
	}
	return KindResource
}

// Subscription is the subscription that id lies in, or "".
func (id ID) Subscription() string { return id.prefixed(0, "subscriptions") }

// ResourceGroup is the group that id lies in, or "".
func (id ID) ResourceGroup() string {
	if id.Subscription() == "" {
		return ""
	}
	return id.prefixed(2, "resourcegroups")
}

// prefixed is the segment after position at if the segment there is name.
func (id ID) prefixed(at int, name string) string {
	seg := strings.SplitN(strings.TrimPrefix(id.path, "/"), "/", at+3)
	if len(seg) < at+2 || !strings.EqualFold(seg[at], name) {
		return ""
	}
	return seg[at+1]
}

// Scope is what the resource hangs on: the group of a machine, the machine of a
// policy assignment on a machine, the subscription of a group. A child's scope
// is that of its top-level parent.
func (id ID) Scope() ID {
	if id.path == "" {
		return Tenant
	}
	return mustSub(id.path[:id.scope])
}

// Parent is one step up: the parent resource of a child, else Scope.
func (id ID) Parent() ID {
	if id.path == "" {
		return Tenant
	}
	if typ, ok := id.typ.Parent(); ok && id.Kind() == KindResource {
		p := id.path[:strings.LastIndexByte(id.path, '/')]
		p = p[:strings.LastIndexByte(p, '/')]
		return ID{path: p, scope: id.scope, typ: typ, name: p[strings.LastIndexByte(p, '/')+1:]}
	}
	return id.Scope()
}

// Child is the id of a child resource (type name and name of one level), or of an
// extension's child.
func (id ID) Child(typ, name string) ID {
	return ID{path: id.path + "/" + typ + "/" + name, scope: id.scope, typ: id.typ.Child(typ), name: name}
}

// Resource is the id of a top-level resource at this scope; on a resource's id
// it makes an extension resource.
func (id ID) Resource(typ Type, name string) ID {
	return ID{path: id.path + "/providers/" + string(typ) + "/" + name, scope: len(id.path), typ: typ, name: name}
}

// Contains reports whether other is id itself or lies below it. Management groups
// contain only what lies below them in the text of the id: membership of
// subscriptions is data, not syntax.
func (id ID) Contains(other ID) bool {
	if id.path == "" {
		return true
	}
	key, inner := id.Key(), other.Key()
	return strings.HasPrefix(inner, key) && (len(inner) == len(key) || inner[len(key)] == '/')
}

// Names are the names of the levels, outermost first: gallery, image, version.
func (id ID) Names() []string {
	if id.Kind() != KindResource && id.Kind() != KindManagementGroup {
		return []string{id.name}
	}
	seg := strings.Split(id.path[id.scope:], "/") // "", providers, NS, t, n, t, n
	var names []string
	for i := 4; i < len(seg); i += 2 {
		names = append(names, seg[i])
	}
	return names
}

// ParseID parses a full resource id or scope. It refuses collections (a type
// without a name), "." and "..", empty segments, control characters and names
// that could mislead a file system.
func ParseID(text string) (ID, error) {
	p, err := ParsePath(text)
	if err != nil {
		return ID{}, err
	}
	if p.Tail != "" || p.Namespace != "" {
		return ID{}, idError(text, "it ends in a type without a name")
	}
	return p.ID, nil
}

// Path is a parsed URL path: an id, and what follows when the path does not end
// with a name.
//
//	/subscriptions/S/resourceGroups/G/providers/NS/t/n        ID
//	/subscriptions/S/resourceGroups/G/providers/NS/t          ID = group, Namespace = NS, Tail = t
//	/subscriptions/S/resourceGroups/G/providers/NS            ID = group, Namespace = NS
//	/subscriptions/S/resourceGroups/G/providers/NS/t/n/start  ID = …/t/n, Tail = start
//	/subscriptions/S/resourceGroups                           ID = subscription, Tail = resourceGroups
type Path struct {
	ID        ID
	Namespace string
	Tail      string
}

// ParsePath parses a path whose escapes have been decoded.
func ParsePath(text string) (Path, error) {
	trimmed := strings.Trim(text, "/")
	if len(text) > MaxIDLength {
		return Path{}, idError(text[:64]+"…", fmt.Sprintf("it is longer than %d characters", MaxIDLength))
	}
	if trimmed == "" {
		return Path{}, nil
	}
	seg := strings.Split(trimmed, "/")
	for _, s := range seg {
		if why := badSegment(s); why != "" {
			return Path{}, idError(text, why)
		}
	}
	return parseSegments(seg), nil
}

func parseSegments(seg []string) Path {
	id := ID{}
	if strings.EqualFold(seg[0], "subscriptions") {
		if len(seg) == 1 {
			return Path{Tail: seg[0]}
		}
		id, seg = SubscriptionID(seg[1]), seg[2:]
		if len(seg) > 0 && strings.EqualFold(seg[0], "resourceGroups") {
			if len(seg) == 1 {
				return Path{ID: id, Tail: seg[0]}
			}
			id = ID{path: id.path + "/" + seg[0] + "/" + seg[1], scope: len(id.path), typ: TypeResourceGroup, name: seg[1]}
			seg = seg[2:]
		}
	}
	for len(seg) > 0 {
		if !strings.EqualFold(seg[0], "providers") || len(seg) == 1 {
			return Path{ID: id, Tail: strings.Join(seg, "/")}
		}
		ns := seg[1]
		seg = seg[2:]
		if len(seg) < 2 {
			return Path{ID: id, Namespace: ns, Tail: strings.Join(seg, "/")}
		}
		id = id.Resource(Type(ns+"/"+seg[0]), seg[1])
		seg = seg[2:]
		for len(seg) >= 2 && !strings.EqualFold(seg[0], "providers") {
			id = id.Child(seg[0], seg[1])
			seg = seg[2:]
		}
	}
	return Path{ID: id}
}

// mustSub parses a prefix of a path that has been parsed before.
func mustSub(path string) ID {
	if path == "" {
		return Tenant
	}
	return parseSegments(strings.Split(strings.TrimPrefix(path, "/"), "/")).ID
}

// badSegment says what is wrong with a segment. Names become parts of file paths in
// some providers, so nothing that a file system could read as more than a name passes.
func badSegment(s string) string {
	if plain(s) {
		return ""
	}
	switch {
	case s == "":
		return "it has an empty segment"
	case s == "." || s == "..":
		return "it has a segment that is only dots"
	case len(s) > MaxNameLength:
		return fmt.Sprintf("a name is longer than %d characters", MaxNameLength)
	case !utf8.ValidString(s):
		return "it is not valid UTF-8"
	case strings.ContainsAny(s, `\/?#%<>*&:`) || strings.IndexFunc(s, unicode.IsControl) >= 0:
		return "it has a character that names may not have"
	}
	return ""
}

// plain reports whether a segment is of the kind that nearly all are: letters, digits and
// "-", "_" and ".", beginning with a letter or digit, and not long.
func plain(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || i > 0 && (c == '-' || c == '_' || c == '.')) {
			return false
		}
	}
	return s != "" && len(s) <= MaxNameLength
}

func idError(text, why string) error {
	return &Error{Status: 400, Code: CodeInvalidResourceID, Target: clip(text),
		Message: fmt.Sprintf("%q is not a resource id: %s.", clip(text), why)}
}

func clip(s string) string {
	s = strings.ToValidUTF8(s, "�")
	if len(s) > 200 {
		return strings.ToValidUTF8(s[:200], "") + "…"
	}
	return s
}
