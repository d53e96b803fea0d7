package lineage

import (
	"cmp"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/image"
)

// Catalog is what is known of galleries, images and disks. It is built from
// documents in any order, holds a few hundred bytes for each, and is not safe
// for concurrent change.
type Catalog struct {
	galleries   map[string]bool
	public      map[string]string // public name → gallery id
	definitions map[string]*definition
	images      map[string]Image
	disks       map[string]Reference
}

type definition struct {
	Definition
	versions []Version // highest first once sorted
	sorted   bool
}

// NewCatalog is an empty catalog.
func NewCatalog() *Catalog {
	return &Catalog{
		galleries: map[string]bool{}, public: map[string]string{}, definitions: map[string]*definition{},
		images: map[string]Image{}, disks: map[string]Reference{},
	}
}

// Add takes over what a document says. Subjects other than disks leave no
// trace. A version that is added twice counts as it was added last.
func (c *Catalog) Add(d Document) {
	switch {
	case d.Version != nil:
		c.addVersion(*d.Version)
	case d.Definition != nil:
		c.definition(d.ID).Definition = *d.Definition
	case d.Gallery != nil:
		c.galleries[key(d.ID)] = true
		for _, name := range d.Gallery.PublicNames {
			c.public[strings.ToLower(name)] = d.ID
		}
	case d.Image != nil:
		c.images[key(d.ID)] = *d.Image
	case d.Kind == KindDisk && d.Subject != nil:
		c.disks[key(d.ID)] = d.Subject.Reference
	}
}

func (c *Catalog) definition(id string) *definition {
	k := key(id)
	if c.definitions[k] == nil {
		c.definitions[k] = &definition{Definition: Definition{ID: id}}
		c.galleries[k[:indexAfter(k, "galleries")]] = true
	}
	return c.definitions[k]
}

func (c *Catalog) addVersion(v Version) {
	at := strings.LastIndex(strings.ToLower(v.ID), "/versions/")
	if at < 0 {
		return
	}
	d := c.definition(v.ID[:at])
	d.sorted = false
	if i := slices.IndexFunc(d.versions, func(o Version) bool { return strings.EqualFold(o.Name, v.Name) }); i >= 0 {
		d.versions[i] = v
		return
	}
	d.versions = append(d.versions, v)
}

// Versions are the known versions of a definition, highest first.
func (c *Catalog) Versions(definitionID string) []Version {
	if d := c.definitions[key(definitionID)]; d != nil {
		return d.ordered()
	}
	return nil
}

func (d *definition) ordered() []Version {
	if !d.sorted {
		slices.SortFunc(d.versions, func(a, b Version) int { return compareNames(b.Name, a.Name) })
		d.sorted = true
	}
	return d.versions
}

// compareNames orders version numbers; a name that is none is below all.
func compareNames(a, b string) int {
	va, errA := image.ParseVersion(a)
	vb, errB := image.ParseVersion(b)
	switch {
	case errA != nil && errB != nil:
		return strings.Compare(a, b)
	case errA != nil:
		return -1
	case errB != nil:
		return 1
	}
	return cmp.Or(va.Compare(vb), strings.Compare(a, b))
}

func (d *definition) find(name string) (Version, bool) {
	for _, v := range d.versions {
		if strings.EqualFold(v.Name, name) {
			return v, true
		}
	}
	return Version{}, false
}
