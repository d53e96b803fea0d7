package check

import (
	"fmt"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy"
)

// Document is one resource as it will be.
type Document struct {
	ID       arm.ID // made up where it is not known; then "id" is among the unknown
	Type     arm.Type
	Location string // normalised; "" if none, or not known
	Resource *policy.Resource
	Unknown  policy.Unknown

	Source string // what it is called there: an address in Terraform, a path in a template
	File   string
	Line   int

	// Unchanged says that a plan leaves the resource as it is.
	Unchanged bool
	// Conditional says that it is not known whether it will be made at all.
	Conditional bool
	// GroupUnknown says that its resource group is not known.
	GroupUnknown bool
	// Untranslated are attributes of which the document says nothing.
	Untranslated []string

	// locate finds the line of a path of the document; nil: that of the resource.
	locate func(address string) (file string, line int)
}

// At is where a path of the document is written down.
func (d *Document) At(address string) (file string, line int) {
	if d.locate != nil && address != "" {
		if file, line := d.locate(address); line > 0 {
			return file, line
		}
	}
	return d.File, d.Line
}

// Place says where resources live whose documents do not say it.
type Place struct {
	Subscription  string // "": unknown, then the zero GUID stands for it
	ResourceGroup string // "": unknown
}

// nowhere stands for an unknown subscription or group in the ids that are made up.
const (
	noSubscription = "00000000-0000-0000-0000-000000000000"
	noGroup        = "unknown-resource-group"
)

// draft is a document on its way.
type draft struct {
	Document
	body     value.Value
	version  string
	id       string   // "" if not known
	group    string   // "" if not known
	names    []string // along the id, as far as known
	parentID string
	tenant   bool // it lies in no group: a group itself, or a tenant's resource
}

// finish places a document and prepares it for evaluation.
func (d *draft) finish(place Place) (*Document, error) {
	known := d.place(place)
	body := d.body.With("type", value.FromString(policyType(d.Type)))
	if !known {
		d.hide("id")
		body = body.Without("id")
	} else {
		body = body.With("id", value.FromString(d.ID.String()))
	}
	if loc := body.Find(value.NewKey("location")); loc.Kind() == value.String {
		d.Location = arm.NormalLocation(loc.Str())
	}
	d.Unknown.Facts = true
	r := policy.NewResource(body.AsResource(), d.version)
	var err error
	if d.Resource, err = r.WithUnknown(d.Unknown); err != nil {
		return nil, fmt.Errorf("%s: %w", d.Source, err)
	}
	out := d.Document
	return &out, nil
}

func policyType(t arm.Type) string {
	if t.Equal(arm.TypeResourceGroup) {
		return "Microsoft.Resources/subscriptions/resourceGroups"
	}
	return string(t)
}

func (d *draft) hide(path string) {
	if !slices.Contains(d.Unknown.Paths, path) {
		d.Unknown.Paths = append(d.Unknown.Paths, path)
	}
}

// unknownAt reports whether a path itself is unknown.
func (d *draft) unknownAt(path string) bool { return slices.Contains(d.Unknown.Paths, path) }

// place gives the document an id, and reports whether that is the real one.
func (d *draft) place(p Place) bool {
	if id, err := arm.ParseID(d.id); err == nil && !id.IsRoot() {
		d.ID = id
		return true
	}
	known := true
	subscription, group := p.Subscription, d.group
	if subscription == "" {
		subscription, known = noSubscription, false
	}
	if group == "" {
		group = p.ResourceGroup
	}
	names := slices.Clone(d.names)
	for len(names) <= d.Type.Depth()-1 {
		names, known = append([]string{"unknown"}, names...), false
	}
	if d.unknownAt("name") {
		known = false
	}
	if parent, err := arm.ParseID(d.parentID); err == nil && !parent.IsRoot() {
		d.ID = below(parent, d.Type, names)
		return !d.unknownAt("name") && parent.Subscription() != noSubscription
	}
	scope := arm.SubscriptionID(subscription)
	switch {
	case d.Type.Equal(arm.TypeResourceGroup):
		d.ID = arm.ResourceGroupID(subscription, names[len(names)-1])
		return known
	case d.tenant:
	case group == "":
		scope, d.GroupUnknown, known = arm.ResourceGroupID(subscription, noGroup), true, false
	default:
		scope = arm.ResourceGroupID(subscription, group)
	}
	d.ID = idOf(scope, d.Type, names)
	return known
}

// below is the id of a resource under its parent: a child, or one of a group.
func below(parent arm.ID, t arm.Type, names []string) arm.ID {
	if p, ok := t.Parent(); ok && p.Equal(parent.Type()) {
		return parent.Child(t.Name(), names[len(names)-1])
	}
	return idOf(parent, t, names)
}

func idOf(scope arm.ID, t arm.Type, names []string) arm.ID {
	segments := strings.Split(t.Path(), "/")
	id := scope.Resource(arm.Type(t.Namespace()+"/"+segments[0]), names[0])
	for i, s := range segments[1:] {
		id = id.Child(s, names[min(i+1, len(names)-1)])
	}
	return id
}

// OnlyChanges leaves out what a plan does not change.
func (in *Input) OnlyChanges() {
	in.Documents = slices.DeleteFunc(in.Documents, func(d *Document) bool { return d.Unchanged })
}

// Subscriptions are those that documents lie in, made up ones included.
func (in *Input) Subscriptions() []string {
	var all []string
	for _, d := range in.Documents {
		if s := d.ID.Subscription(); s != "" && !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}
