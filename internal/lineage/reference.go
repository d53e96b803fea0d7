package lineage

import "strings"

// Form is the way in which a document names its image.
type Form string

// The forms.
const (
	FormGalleryVersion   Form = "gallery-version"
	FormGalleryLatest    Form = "gallery-latest" // a definition's id: whatever is the latest version at creation
	FormManagedImage     Form = "managed-image"
	FormMarketplace      Form = "marketplace"
	FormCommunityGallery Form = "community-gallery"
	FormSharedGallery    Form = "shared-gallery"
	FormDisk             Form = "disk"  // attached, or copied from another disk or a snapshot
	FormVHD              Form = "vhd"   // imported or uploaded bytes
	FormEmpty            Form = "empty" // a data disk that began empty
	FormNone             Form = "none"  // the document names no image
)

// Reference is the image that a document names, taken apart.
type Reference struct {
	Form Form   `json:"form"`
	ID   string `json:"id,omitempty"` // as written; of a disk: of the disk or snapshot it came from

	// Of a gallery image. GalleryID is empty for community and shared
	// galleries, whose public name is Gallery.
	GalleryID  string `json:"galleryId,omitempty"`
	Gallery    string `json:"gallery,omitempty"`
	Definition string `json:"definition,omitempty"`

	// Of a marketplace image.
	Publisher string `json:"publisher,omitempty"`
	Offer     string `json:"offer,omitempty"`
	SKU       string `json:"sku,omitempty"`

	Version string `json:"version,omitempty"` // exact where that is known, never "latest"
}

// imageReference is the shape in machines; disks use a part of it.
type imageReference struct {
	ID                      string
	Publisher, Offer, SKU   string
	Version, ExactVersion   string
	CommunityGalleryImageID string
	SharedGalleryImageID    string
}

// reference takes an image reference apart, whatever form it has.
func (r *imageReference) reference() Reference {
	switch {
	case r == nil:
		return Reference{Form: FormNone}
	case r.CommunityGalleryImageID != "":
		return publicGallery(FormCommunityGallery, "communitygalleries", r.CommunityGalleryImageID, r.ExactVersion)
	case r.SharedGalleryImageID != "":
		return publicGallery(FormSharedGallery, "sharedgalleries", r.SharedGalleryImageID, r.ExactVersion)
	case r.ID != "":
		return referenceOfID(r.ID, r.ExactVersion)
	case r.Publisher != "":
		return Reference{Form: FormMarketplace, Publisher: r.Publisher, Offer: r.Offer, SKU: r.SKU, Version: exact(r.Version, r.ExactVersion)}
	}
	return Reference{Form: FormNone}
}

// referenceOfID tells the kinds of ids apart by their segments: a gallery
// image's id also ends in images/NAME, which is why checks that look at the
// text get it wrong.
func referenceOfID(id, exactVersion string) Reference {
	seg := segments(id)
	switch {
	case seg["galleries"] != "" && seg["images"] != "":
		ref := Reference{
			Form: FormGalleryVersion, ID: id, GalleryID: id[:indexAfter(id, "galleries")],
			Gallery: seg["galleries"], Definition: seg["images"], Version: exact(seg["versions"], exactVersion),
		}
		if seg["versions"] == "" || strings.EqualFold(seg["versions"], "latest") {
			ref.Form = FormGalleryLatest
		}
		return ref
	case seg["publishers"] != "":
		return Reference{
			Form: FormMarketplace, ID: id, Publisher: seg["publishers"], Offer: seg["offers"], SKU: seg["skus"],
			Version: exact(seg["versions"], exactVersion),
		}
	case seg["communitygalleries"] != "":
		return publicGallery(FormCommunityGallery, "communitygalleries", id, exactVersion)
	case seg["sharedgalleries"] != "":
		return publicGallery(FormSharedGallery, "sharedgalleries", id, exactVersion)
	case seg["images"] != "":
		return Reference{Form: FormManagedImage, ID: id}
	case seg["disks"] != "" || seg["snapshots"] != "":
		return Reference{Form: FormDisk, ID: id}
	}
	return Reference{Form: FormNone, ID: id}
}

func publicGallery(form Form, key, id, exactVersion string) Reference {
	seg := segments(id)
	return Reference{Form: form, ID: id, Gallery: seg[key], Definition: seg["images"], Version: exact(seg["versions"], exactVersion)}
}

// exact prefers the version that was really used; "latest" says nothing.
func exact(version, exactVersion string) string {
	if exactVersion != "" {
		return exactVersion
	}
	if strings.EqualFold(version, "latest") {
		return ""
	}
	return version
}

// segments are an id's name/value pairs, names in lower case. The first of a
// repeated name counts.
func segments(id string) map[string]string {
	parts := strings.Split(strings.Trim(id, "/"), "/")
	out := make(map[string]string, len(parts)/2+1)
	for i := 0; i+1 < len(parts) && i < 64; i++ {
		name := strings.ToLower(parts[i])
		if name == "providers" || out[name] != "" {
			continue
		}
		if i%2 == 0 {
			out[name] = parts[i+1]
		}
	}
	return out
}

// indexAfter is where the value of a named segment ends.
func indexAfter(id, name string) int {
	at := strings.Index(strings.ToLower(id), "/"+name+"/")
	if at < 0 {
		return len(id)
	}
	start := at + len(name) + 2
	if end := strings.IndexByte(id[start:], '/'); end >= 0 {
		return start + end
	}
	return len(id)
}

// key makes ids comparable: ARM ignores case.
func key(id string) string { return strings.ToLower(strings.TrimRight(id, "/")) }

// DefinitionID is the id of the image definition that a gallery reference
// names, or "".
func (r Reference) DefinitionID() string {
	if r.GalleryID == "" {
		return ""
	}
	return r.GalleryID + "/images/" + r.Definition
}

// String is what a person calls the image.
func (r Reference) String() string {
	switch r.Form {
	case FormGalleryVersion, FormGalleryLatest, FormCommunityGallery, FormSharedGallery:
		return r.Gallery + "/" + r.Definition
	case FormMarketplace:
		return r.Publisher + ":" + r.Offer + ":" + r.SKU
	case FormManagedImage, FormDisk, FormVHD:
		return r.ID[strings.LastIndexByte(r.ID, '/')+1:]
	}
	return ""
}
