package lineage

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Lineage is where a subject's image comes from and in which state it is.
type Lineage struct {
	Reference Reference `json:"reference"`
	State     State     `json:"state"`
	Why       string    `json:"why"` // one sentence

	VersionID          string     `json:"versionId,omitempty"`
	LatestVersion      string     `json:"latestVersion,omitempty"`  // the newest that is released
	VersionsBehind     int        `json:"versionsBehind,omitempty"` // released versions that are newer
	PublishedDate      *time.Time `json:"publishedDate,omitempty"`
	DaysSincePublished int        `json:"daysSincePublished,omitempty"`
	EndOfLifeDate      *time.Time `json:"endOfLifeDate,omitempty"`

	// Source is what the image was built from, where the version's tags say so.
	Source      string `json:"source,omitempty"`
	ImageDigest string `json:"imageDigest,omitempty"`
	Recipe      string `json:"recipe,omitempty"`
	Run         string `json:"run,omitempty"`

	// Via are the disks and snapshots that led to the image.
	Via []string `json:"via,omitempty"`
}

// Options adjust what counts as approved.
type Options struct {
	// Now is the time that end of life and age are measured at.
	Now time.Time

	// Galleries, if there are any, are the ids of the only galleries whose
	// images are approved. Otherwise every gallery that the catalog knows is.
	Galleries []string

	// Current overrides how many of the newest versions count as approved; 0
	// leaves that to each version's own tag, and to 2 where there is none.
	Current int
}

const defaultCurrent = 2

// maxHops bounds a chain of copied disks, which could also be a circle.
const maxHops = 16

// Resolve answers for one subject. ok is false for a disk that began empty: it
// has no image.
func (c *Catalog) Resolve(s Subject, o Options) (l Lineage, ok bool) {
	if s.Reference.Form == FormEmpty {
		return Lineage{}, false
	}
	ref, via, why := c.origin(s)
	l = Lineage{Reference: ref, State: Unknown, Why: why, Via: via}
	if why != "" {
		return l, true
	}
	switch ref.Form {
	case FormGalleryVersion, FormGalleryLatest:
		c.gallery(&l, s, o)
	case FormCommunityGallery, FormSharedGallery:
		c.publicGallery(&l, s, o)
	case FormManagedImage:
		c.managedImage(&l)
	case FormMarketplace:
		l.State, l.Why = UnapprovedMarketplace, fmt.Sprintf("it was made directly from the marketplace image %s", ref)
	case FormVHD:
		l.State, l.Why = UnapprovedCustom, "its disk was uploaded as a VHD, so nothing is known of what is in it"
	case FormEmpty:
		l.State, l.Why = UnapprovedCustom, "its disk began empty, so whatever is on it was not built from an approved image"
	default:
		l.Why = "the document names no image"
	}
	return l, true
}

// origin follows disks to the image. What a machine's OS disk was made from
// wins over what the machine's document says: a disk can be swapped later, and
// the document then still names the old image.
func (c *Catalog) origin(s Subject) (ref Reference, via []string, why string) {
	ref = s.Reference
	if s.Kind == KindVM && s.OSDiskID != "" {
		if r, ok := c.disks[key(s.OSDiskID)]; ok && r.Form != FormNone {
			ref, via = r, []string{s.OSDiskID}
		}
	}
	for ref.Form == FormDisk {
		if len(via) >= maxHops || slices.ContainsFunc(via, func(id string) bool { return strings.EqualFold(id, ref.ID) }) {
			return ref, via, "its disk's origin leads in a circle"
		}
		via = append(via, ref.ID)
		next, ok := c.disks[key(ref.ID)]
		if !ok {
			return ref, via, fmt.Sprintf("it runs from %s, which is not among the documents: add what az disk list and az snapshot list print", ref)
		}
		ref = next
	}
	return ref, via, ""
}

// gallery resolves an image of a gallery that the reference names by id.
func (c *Catalog) gallery(l *Lineage, s Subject, o Options) {
	ref := &l.Reference
	d := c.definitions[key(ref.DefinitionID())]
	switch {
	case !approvedGallery(ref.GalleryID, o):
		l.State, l.Why = UnapprovedCustom, fmt.Sprintf("gallery %s is not one of the approved galleries", ref.Gallery)
		return
	case d == nil && c.galleries[key(ref.GalleryID)]:
		l.Why = fmt.Sprintf("gallery %s has no image definition %s among the documents", ref.Gallery, ref.Definition)
		return
	case d == nil:
		l.Why = fmt.Sprintf("gallery %s is not among the documents: add what az sig image-version list prints for %s", ref.Gallery, ref.Definition)
		return
	case ref.Version == "" && s.Kind == KindScaleSet:
		newest, ok := d.newest(o.Now)
		if !ok {
			l.Why = fmt.Sprintf("the model asks for the latest version of %s, which has no released version", ref)
			return
		}
		ref.Version = newest.Name
	case ref.Version == "":
		l.Why = fmt.Sprintf("it was made from the latest version of %s, and neither its document nor its OS disk's says which that was: add what az disk list prints", ref)
		return
	}
	v, ok := d.find(ref.Version)
	if !ok {
		l.Why = fmt.Sprintf("version %s of %s is not among the documents: it was deleted, or they are incomplete", ref.Version, ref)
		return
	}
	d.judge(l, v, o)
}

func approvedGallery(id string, o Options) bool {
	return len(o.Galleries) == 0 || slices.ContainsFunc(o.Galleries, func(g string) bool { return key(g) == key(id) })
}

// publicGallery resolves a public name to a gallery of ours, if it is one.
func (c *Catalog) publicGallery(l *Lineage, s Subject, o Options) {
	id, ok := c.public[strings.ToLower(l.Reference.Gallery)]
	switch {
	case ok:
		l.Reference.GalleryID = id
		c.gallery(l, s, o)
	case l.Reference.Form == FormCommunityGallery:
		l.State, l.Why = UnapprovedCustom, fmt.Sprintf("it comes from the community gallery %s, which is not one of ours", l.Reference.Gallery)
	default:
		l.Why = fmt.Sprintf("the shared gallery %s is not among the documents: add what az sig list and az sig image-version list print", l.Reference.Gallery)
	}
}

// managedImage goes by the mark alone: a managed image has no versions.
func (c *Catalog) managedImage(l *Lineage) {
	img, known := c.images[key(l.Reference.ID)]
	l.facts(img.Tags)
	name := l.Reference.String()
	switch tag(img.Tags, TagState) {
	case MarkRevoked:
		l.State, l.Why = Revoked, "the image "+name+" was revoked"+because(img.Tags)
	case MarkStaged:
		l.State, l.Why = StagedOnly, "the image "+name+" has not passed its tests"
	case MarkAged:
		l.State, l.Why = Aged, "the image "+name+" is marked as aged"
	case MarkPublished:
		l.State, l.Why = ApprovedCurrent, "the image "+name+" is published"
	default:
		l.State, l.Why = UnapprovedCustom, "the managed image "+name+" was made by hand: nothing says how it was built or tested"
		if !known {
			l.Why = "the managed image " + name + " is not among the documents, and a managed image is approved only by its marks"
		}
	}
}

func (l *Lineage) facts(tags map[string]string) {
	l.Source, l.Recipe, l.Run = tag(tags, TagSource), tag(tags, TagRecipe), tag(tags, TagRun)
	if l.ImageDigest == "" {
		l.ImageDigest = tag(tags, TagImageDigest)
	}
}

func because(tags map[string]string) string {
	if reason := tag(tags, TagReason); reason != "" {
		return ": " + reason
	}
	return ""
}
