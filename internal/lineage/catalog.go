package lineage

import (
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/image"
)

// Catalog is what is known of galleries, images and disks. It is built from
// documents in any order and holds a few hundred bytes for each. Any number of
// readers may use it at the same time while nobody adds to it.
type Catalog struct {
	galleries   map[string]bool
	public      map[string]string // public name → gallery id
	definitions map[string]*definition
	images      map[string]Image
	disks       map[string]Reference
}

type definition struct {
	Definition
	versions []entry // highest first
}

// entry is a version with its number, read once.
type entry struct {
	Version
	number image.Version
	valid  bool
}

func newEntry(v Version) entry {
	number, err := image.ParseVersion(v.Name)
	return entry{v, number, err == nil}
}

// compare orders version numbers; a name that is none is below all.
func (e *entry) compare(o *entry) int {
	switch {
	case e.valid && o.valid:
		return e.number.Compare(o.number)
	case e.valid:
		return 1
	case o.valid:
		return -1
	}
	return strings.Compare(e.Name, o.Name)
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
	added := newEntry(v)
	i, found := slices.BinarySearchFunc(d.versions, &added, func(e entry, target *entry) int { return target.compare(&e) })
	if found {
		d.versions[i] = added
		return
	}
	d.versions = slices.Insert(d.versions, i, added)
}

// Versions are the known versions of a definition, highest first.
func (c *Catalog) Versions(definitionID string) []Version {
	d := c.definitions[key(definitionID)]
	if d == nil {
		return nil
	}
	out := make([]Version, len(d.versions))
	for i := range d.versions {
		out[i] = d.versions[i].Version
	}
	return out
}

func (d *definition) find(name string) (*entry, bool) {
	wanted := newEntry(Version{Name: name})
	i, found := slices.BinarySearchFunc(d.versions, &wanted, func(e entry, target *entry) int { return target.compare(&e) })
	if !found {
		return nil, false
	}
	return &d.versions[i], true
}

// Approved is the newest released version of a definition.
type Approved struct {
	DefinitionID string
	Version      Version
}

// Approved lists every definition that a machine could be made from now, by id.
func (c *Catalog) Approved(o Options) []Approved {
	var out []Approved
	for _, d := range c.definitions {
		gallery := d.ID[:indexAfter(d.ID, "galleries")]
		if newest, ok := d.newest(o.Now); ok && approvedGallery(gallery, o) {
			out = append(out, Approved{d.ID, newest.Version})
		}
	}
	slices.SortFunc(out, func(a, b Approved) int { return strings.Compare(key(a.DefinitionID), key(b.DefinitionID)) })
	return out
}
