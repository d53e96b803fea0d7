package arm

import "strings"

// Type is a resource type as Azure writes it: a namespace and one name for each
// level, such as "Microsoft.Compute/galleries/images/versions". Types compare
// without regard to case; use Equal or Key, never ==.
type Type string

// The types that resource ids imply without naming a provider.
const (
	TypeTenant        Type = "Microsoft.Resources/tenants"
	TypeSubscription  Type = "Microsoft.Resources/subscriptions"
	TypeResourceGroup Type = "Microsoft.Resources/resourceGroups"
	// TypeManagementGroup is both a resource at the tenant and a scope of its own.
	TypeManagementGroup Type = "Microsoft.Management/managementGroups"
)

// Key is the canonical form for maps, indexes and comparison.
func (t Type) Key() string { return strings.ToLower(string(t)) }

// Equal reports whether two types are the same to ARM.
func (t Type) Equal(u Type) bool { return t == u || t.Key() == u.Key() }

// Namespace is the part before the first slash.
func (t Type) Namespace() string {
	ns, _, _ := strings.Cut(string(t), "/")
	return ns
}

// Path is the part after the namespace: "galleries/images/versions".
func (t Type) Path() string {
	_, path, _ := strings.Cut(string(t), "/")
	return path
}

// Name is the last level: "versions".
func (t Type) Name() string { return string(t)[strings.LastIndexByte(string(t), '/')+1:] }

// Depth is the number of levels: 1 for a top-level type, 3 for gallery versions.
func (t Type) Depth() int { return strings.Count(string(t), "/") }

// Parent is the type one level up, and false for a top-level type.
func (t Type) Parent() (Type, bool) {
	i := strings.LastIndexByte(string(t), '/')
	if i < 0 || !strings.Contains(string(t[:i]), "/") {
		return "", false
	}
	return t[:i], true
}

// Child is the type one level down.
func (t Type) Child(name string) Type { return t + "/" + Type(name) }
