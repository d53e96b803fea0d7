package policy

import (
	"strings"
	"unique"

	"hallmark.dev/hallmark/internal/expr/value"
)

// Resource is an ARM document prepared for evaluation. It is immutable.
type Resource struct {
	root       Value
	typ        string
	typeKey    typeKey
	typeIsText bool // and ASCII
	indexed    bool // mode Indexed looks at it
	serial     uint64
	apiVersion string
	facts      Value
	unknown    *unknown // nil: everything is known
}

// NewResource wraps a document parsed with value.ParseResource (or made so with
// AsResource). apiVersion is the version that the document was written in; the
// document's own apiVersion wins.
func NewResource(root Value, apiVersion string) *Resource {
	r := &Resource{root: root, apiVersion: apiVersion, serial: lastSerial.Add(1)}
	r.typ = root.Find(keyType).Str()
	r.typeKey = newTypeKey(r.typ)
	r.typeIsText = r.typ != "" && isASCII(r.typ)
	if own := root.Find(keyAPIVersion); own.Kind() == value.String {
		r.apiVersion = own.Str()
	}
	r.indexed = r.carriesTags()
	return r
}

// typeKey is a resource type that can be compared at once, ignoring ASCII case.
type typeKey = unique.Handle[string]

func newTypeKey(typ string) typeKey { return unique.Make(value.LowerASCII(typ)) }

// ParseResource parses the JSON text of a document.
func ParseResource(text, apiVersion string) (*Resource, error) {
	root, err := value.ParseResource(text)
	if err != nil {
		return nil, err
	}
	return NewResource(root, apiVersion), nil
}

// WithFacts returns the resource with the values of Hallmark's read-only
// aliases: an object from alias (Hallmark.Image/state) to value.
func (r *Resource) WithFacts(facts Value) *Resource {
	with := *r
	with.facts = facts.Folded()
	with.serial = lastSerial.Add(1)
	return &with
}

// Root returns the document.
func (r *Resource) Root() Value { return r.root }

// Type returns the resource type as the document spells it.
func (r *Resource) Type() string { return r.typ }

// APIVersion returns the api-version of the document, "" if unknown.
func (r *Resource) APIVersion() string { return r.apiVersion }

// ID returns the document's id.
func (r *Resource) ID() string { return r.root.Find(keyID).Str() }

var (
	keyType       = value.NewKey("type")
	keyAPIVersion = value.NewKey("apiVersion")
	keyID         = value.NewKey("id")
	keyName       = value.NewKey("name")
	keyFullName   = value.NewKey("fullName")
	keyTags       = value.NewKey("tags")
	keyLocation   = value.NewKey("location")
	keyProperties = value.NewKey("properties")
)

// fullName is the document's own, else the names in its id, else its name.
func (r *Resource) fullName() Value {
	if v := r.root.Find(keyFullName); !v.IsNothing() {
		return v
	}
	if names := namesInID(r.ID()); names != "" {
		return value.FromString(names)
	}
	return r.root.Find(keyName)
}

// namesInID joins the names behind the last provider of an id with slashes.
func namesInID(id string) string {
	at := strings.LastIndex(value.LowerASCII(id), "/providers/")
	if at < 0 {
		return ""
	}
	parts := strings.Split(id[at+len("/providers/"):], "/")
	var names []string
	for i := 2; i < len(parts); i += 2 {
		names = append(names, parts[i])
	}
	return strings.Join(names, "/")
}
