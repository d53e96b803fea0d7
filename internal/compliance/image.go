package compliance

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/lineage"
	"hallmark.dev/hallmark/internal/store"
)

// Types that have a lineage, and types that a lineage depends on.
var (
	subjectTypes = []arm.Type{"Microsoft.Compute/virtualMachines", "Microsoft.Compute/virtualMachineScaleSets", typeDisk, "Microsoft.Compute/virtualMachineScaleSets/virtualMachines"}
	imageTypes   = []arm.Type{"Microsoft.Compute/galleries", "Microsoft.Compute/galleries/images", "Microsoft.Compute/galleries/images/versions", "Microsoft.Compute/images"}
)

const (
	typeDisk     arm.Type = "Microsoft.Compute/disks"
	typeGallery  arm.Type = "Microsoft.Compute/galleries"
	typeVersions arm.Type = "Microsoft.Compute/galleries/images/versions"
)

// ImageFacts answers for the aliases Hallmark.Image/* of machines, scale sets, their
// instances and disks. It reads what a subject's lineage leads to, in the state that is evaluated,
// and nothing else.
type ImageFacts struct {
	// Galleries are the ids of the only approved galleries; none: all of them.
	Galleries []string
}

// Facts implements assignment.Facts.
func (f ImageFacts) Facts(w *assignment.World, d *store.Document) (value.Value, error) {
	if !among(subjectTypes, d.Type) {
		return value.Value{}, nil
	}
	body, err := identified(d)
	if err != nil {
		return value.Value{}, err
	}
	doc, err := lineage.Read(body)
	if err != nil || doc.Subject == nil {
		return value.Value{}, nil // a document that cannot be read has no lineage
	}
	c := catalogOf(w)
	if err := c.follow(w.Tx, *doc.Subject); err != nil {
		return value.Value{}, err
	}
	l, ok := c.Resolve(*doc.Subject, lineage.Options{Now: w.Now, Galleries: f.Galleries})
	if !ok {
		return value.Value{}, nil
	}
	return facts(l), nil
}

// identified is a document's body with its id and type, which a request's body does
// not have yet.
func identified(d *store.Document) (json.RawMessage, error) {
	body := d.Body
	for name, v := range map[string]string{"id": d.ID, "type": string(d.Type)} {
		if arm.GetString(body, name) != "" {
			continue
		}
		var err error
		if body, err = arm.Set(body, name, v); err != nil {
			return nil, err
		}
	}
	return body, nil
}

func among(types []arm.Type, t arm.Type) bool {
	for _, x := range types {
		if x.Equal(t) {
			return true
		}
	}
	return false
}

// catalog grows with what subjects refer to.
type catalog struct {
	*lineage.Catalog
	loaded map[string]bool
}

func catalogOf(w *assignment.World) *catalog {
	const name = "image catalog"
	if c, ok := w.Memo[name].(*catalog); ok {
		return c
	}
	c := &catalog{lineage.NewCatalog(), map[string]bool{}}
	if w.Memo == nil {
		w.Memo = map[string]any{}
	}
	w.Memo[name] = c
	return c
}

// hops bounds a chain of disks that were copied from one another.
const hops = 16

// follow loads what leads from a subject to its image.
func (c *catalog) follow(tx store.ReadTx, s lineage.Subject) error {
	ids := []string{s.OSDiskID}
	if err := c.reference(tx, s.Reference, &ids); err != nil {
		return err
	}
	for n := 0; n < len(ids) && n < hops; n++ {
		doc, err := c.load(tx, ids[n])
		if err != nil {
			return err
		}
		if doc.Subject != nil {
			if err := c.reference(tx, doc.Subject.Reference, &ids); err != nil {
				return err
			}
		}
	}
	return nil
}

// reference loads the images that a reference may mean, or notes the disk to go on
// from.
func (c *catalog) reference(tx store.ReadTx, r lineage.Reference, ids *[]string) error {
	switch r.Form {
	case lineage.FormDisk:
		*ids = append(*ids, r.ID)
	case lineage.FormManagedImage:
		_, err := c.load(tx, r.ID)
		return err
	case lineage.FormGalleryVersion, lineage.FormGalleryLatest:
		return c.definition(tx, r.GalleryID, r.DefinitionID())
	case lineage.FormCommunityGallery, lineage.FormSharedGallery:
		return c.public(tx)
	}
	return nil
}

func (c *catalog) definition(tx store.ReadTx, gallery, definition string) error {
	if _, err := c.load(tx, gallery); err != nil || definition == "" || c.loaded[strings.ToLower(definition)] {
		return err
	}
	if _, err := c.load(tx, definition); err != nil {
		return err
	}
	return c.list(tx, store.Query{Type: typeVersions, Prefix: strings.ToLower(definition) + "/versions/"})
}

// public loads all galleries: their public names are in their documents.
func (c *catalog) public(tx store.ReadTx) error {
	if c.loaded["public"] {
		return nil
	}
	c.loaded["public"] = true
	if err := c.list(tx, store.Query{Type: typeGallery}); err != nil {
		return err
	}
	for _, t := range imageTypes[1:3] {
		if err := c.list(tx, store.Query{Type: t}); err != nil {
			return err
		}
	}
	return nil
}

func (c *catalog) list(tx store.ReadTx, q store.Query) error {
	docs, err := tx.List(q)
	for _, d := range docs {
		c.add(d)
	}
	return err
}

func (c *catalog) load(tx store.ReadTx, id string) (lineage.Document, error) {
	key := strings.ToLower(strings.TrimSuffix(id, "/"))
	if id == "" {
		return lineage.Document{}, nil
	}
	d, err := tx.Get(key)
	c.loaded[key] = true
	if errors.Is(err, store.ErrNotFound) {
		return lineage.Document{}, nil
	}
	if err != nil {
		return lineage.Document{}, err
	}
	return c.add(d), nil
}

func (c *catalog) add(d *store.Document) lineage.Document {
	body, err := identified(d)
	if err != nil {
		return lineage.Document{}
	}
	doc, err := lineage.Read(body)
	if err != nil {
		return lineage.Document{}
	}
	c.Add(doc)
	return doc
}

// facts are the aliases' values; what is not known is left out.
func facts(l lineage.Lineage) value.Value {
	var fields []value.Field
	text := func(name, v string) {
		if v != "" {
			fields = append(fields, value.Field{Key: "Hallmark.Image/" + name, Value: value.FromString(v)})
		}
	}
	number := func(name string, n int) {
		fields = append(fields, value.Field{Key: "Hallmark.Image/" + name, Value: value.FromInt(int64(n))})
	}
	text("state", string(l.State))
	text("why", l.Why)
	text("form", string(l.Reference.Form))
	text("galleryVersionId", l.VersionID)
	text("galleryImageId", l.Reference.DefinitionID())
	text("galleryId", l.Reference.GalleryID)
	text("version", l.Reference.Version)
	text("latestVersion", l.LatestVersion)
	text("imageDigest", l.ImageDigest)
	text("recipe", l.Recipe)
	text("source", l.Source)
	var source []string
	if !strings.HasPrefix(l.Source, "/") { // not a gallery version: publisher:offer:sku:version
		source = strings.Split(l.Source, ":")
	}
	if l.Reference.Form == lineage.FormMarketplace {
		source = []string{l.Reference.Publisher, l.Reference.Offer, l.Reference.SKU, l.Reference.Version}
	}
	for i, name := range []string{"sourcePublisher", "sourceOffer", "sourceSku", "sourceVersion"} {
		if i < len(source) {
			text(name, source[i])
		}
	}
	if l.VersionID != "" {
		number("versionsBehind", l.VersionsBehind)
	}
	if l.PublishedDate != nil {
		text("publishedDate", l.PublishedDate.UTC().Format(time.RFC3339))
		number("daysSincePublished", l.DaysSincePublished)
	}
	if l.EndOfLifeDate != nil {
		text("endOfLife", l.EndOfLifeDate.UTC().Format(time.RFC3339))
	}
	return value.FromFields(fields)
}

// images evaluates the machine that a changed disk may tell something about, and notes
// that an image has changed: any machine may be made from it.
func (w *work) images(c store.Change) error {
	switch {
	case among(imageTypes, c.Type):
		w.imaged = true
	case c.Type.Equal(typeDisk) && len(readFacts(w.set)) > 0:
		return w.usersOf(c.Key)
	}
	return nil
}

// readFacts are the assignments with rules that read what images tell of machines.
func readFacts(set *assignment.Set) (as []*assignment.Assignment) {
	for _, a := range set.Assignments {
		if slices.ContainsFunc(a.Units, (*assignment.Unit).NeedsFacts) {
			as = append(as, a)
		}
	}
	return as
}

// again has some assignments evaluated over everything that they cover, behind the scans
// that are under way. Until then they count as unknown, here and in the store.
func (e *Engine) again(ctx context.Context, set *assignment.Set, as []*assignment.Assignment) error {
	as = slices.DeleteFunc(as, func(a *assignment.Assignment) bool {
		return slices.ContainsFunc(e.scans, func(s *scan) bool { return !s.begun && !s.timed && s.evaluates(a) })
	})
	if len(as) == 0 {
		return nil
	}
	if err := e.turn(ctx, e.ledger.unknown(as)); err != nil {
		return err
	}
	return e.enqueue(ctx, set, as, false)
}

// usersOf evaluates the machine that a disk is attached to.
func (w *work) usersOf(disk string) error {
	d, err := w.world.Tx.Get(disk)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if vm := arm.GetString(d.Body, "managedBy"); vm != "" {
		return w.key(strings.ToLower(vm))
	}
	return nil
}
