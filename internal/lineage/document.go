package lineage

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Kind is what a document describes, as far as lineage cares.
type Kind string

// The kinds. Disks and snapshots are KindDisk.
const (
	KindVM         Kind = "virtualMachine"
	KindScaleSet   Kind = "scaleSet"
	KindDisk       Kind = "disk"
	KindImage      Kind = "image"
	KindGallery    Kind = "gallery"
	KindDefinition Kind = "definition"
	KindVersion    Kind = "version"
	KindOther      Kind = ""
)

// Subject is a machine, a scale set's model or a disk: what has a lineage.
type Subject struct {
	Kind      Kind              `json:"kind"`
	ID        string            `json:"id"`
	Name      string            `json:"name"`
	Type      string            `json:"type,omitempty"`
	Location  string            `json:"location,omitempty"`
	Tags      map[string]string `json:"tags,omitempty"`
	Reference Reference         `json:"reference"`
	OSDiskID  string            `json:"osDiskId,omitempty"`  // of a machine
	ManagedBy string            `json:"managedBy,omitempty"` // of a disk: the machine that it is attached to
	RawID     string            `json:"-"`                   // storageProfile.imageReference.id, exactly as written
}

// Version is a gallery image version.
type Version struct {
	ID, Name          string
	Tags              map[string]string
	ExcludeFromLatest bool
	PublishedDate     time.Time
	EndOfLifeDate     time.Time
	ProvisioningState string
	ImageDigest       string
}

// Definition is a gallery image definition.
type Definition struct {
	ID            string
	Tags          map[string]string
	EndOfLifeDate time.Time
}

// Gallery is a gallery and the public names that it is shared under.
type Gallery struct {
	ID          string
	PublicNames []string
}

// Image is a managed image.
type Image struct {
	ID   string
	Tags map[string]string
}

// Document is what one ARM document says; the field that Kind names is set.
// A disk is both a Subject and a link in other subjects' lineage.
type Document struct {
	Kind       Kind
	ID         string
	Subject    *Subject
	Version    *Version
	Definition *Definition
	Gallery    *Gallery
	Image      *Image
}

// ErrDocument is wrapped by every error about a document that cannot be read.
var ErrDocument = errors.New("not a document of ARM's")

// resource is a document's shape in both of its spellings: the Azure CLI
// prints what is below properties on the top level.
type resource struct {
	ID, Name, Type, Location string
	Tags                     map[string]string
	Properties               *properties
	properties
}

type properties struct {
	StorageProfile        *storageProfile
	VirtualMachineProfile *struct{ StorageProfile *storageProfile }
	CreationData          *creationData
	OSType                string
	ProvisioningState     string
	PublishingProfile     *publishingProfile
	EndOfLifeDate         string
	Identifier            *struct{ UniqueName string }
	SharingProfile        *struct {
		CommunityGalleryInfo *struct{ PublicNames []string }
	}
	Hallmark *struct{ ImageDigest string }
}

type publishingProfile struct {
	ExcludeFromLatest            bool
	PublishedDate, EndOfLifeDate string
}

type storageProfile struct {
	ImageReference *imageReference
	OSDisk         *struct {
		CreateOption string
		ManagedDisk  *struct{ ID string }
		Image, VHD   *struct{ URI string }
	}
}

type creationData struct {
	CreateOption          string
	ImageReference        *imageReference
	GalleryImageReference *imageReference
	SourceResourceID      string
	SourceURI             string
}

// Read takes one document apart. A document of a type that says nothing about
// images has KindOther and is no error.
func Read(raw []byte) (Document, error) {
	var r resource
	if err := json.Unmarshal(raw, &r); err != nil {
		return Document{}, fmt.Errorf("%w: %w", ErrDocument, err)
	}
	p := r.properties
	if r.Properties != nil {
		p = *r.Properties
	}
	out := Document{Kind: kindOf(r.ID, r.Type), ID: r.ID}
	switch out.Kind {
	case KindVM:
		out.Subject = r.subject(out.Kind, p.StorageProfile)
	case KindScaleSet:
		if p.VirtualMachineProfile != nil {
			out.Subject = r.subject(out.Kind, p.VirtualMachineProfile.StorageProfile)
		} else {
			out.Subject = r.subject(out.Kind, nil)
		}
	case KindDisk:
		out.Subject = r.subject(out.Kind, nil)
		out.Subject.Reference = p.CreationData.reference()
		out.Subject.ManagedBy = managedBy(raw)
	case KindImage:
		out.Image = &Image{ID: r.ID, Tags: r.Tags}
	case KindGallery:
		out.Gallery = p.gallery(r.ID)
	case KindDefinition:
		out.Definition = &Definition{ID: r.ID, Tags: r.Tags, EndOfLifeDate: date(p.EndOfLifeDate)}
	case KindVersion:
		out.Version = p.version(&r)
	}
	return out, nil
}

// kindOf goes by the type, or by the id where a tool leaves the type out.
func kindOf(id, typeName string) Kind {
	if typeName == "" {
		typeName = typeOfID(id)
	}
	switch strings.ToLower(typeName) {
	case "microsoft.compute/virtualmachines", "microsoft.compute/virtualmachinescalesets/virtualmachines":
		return KindVM
	case "microsoft.compute/virtualmachinescalesets":
		return KindScaleSet
	case "microsoft.compute/disks", "microsoft.compute/snapshots":
		return KindDisk
	case "microsoft.compute/images":
		return KindImage
	case "microsoft.compute/galleries":
		return KindGallery
	case "microsoft.compute/galleries/images":
		return KindDefinition
	case "microsoft.compute/galleries/images/versions":
		return KindVersion
	}
	return KindOther
}

func typeOfID(id string) string {
	at := strings.LastIndex(strings.ToLower(id), "/providers/")
	if at < 0 {
		return ""
	}
	parts := strings.Split(strings.Trim(id[at+len("/providers/"):], "/"), "/")
	typeName := parts[0]
	for i := 1; i < len(parts); i += 2 {
		typeName += "/" + parts[i]
	}
	return typeName
}

func (r *resource) subject(kind Kind, s *storageProfile) *Subject {
	out := &Subject{Kind: kind, ID: r.ID, Name: r.Name, Type: r.Type, Location: r.Location, Tags: r.Tags, Reference: Reference{Form: FormNone}}
	if out.Type == "" {
		out.Type = typeOfID(r.ID)
	}
	if out.Name == "" {
		out.Name = r.ID[strings.LastIndexByte(r.ID, '/')+1:]
	}
	if s == nil {
		return out
	}
	out.Reference = s.ImageReference.reference()
	if s.ImageReference != nil {
		out.RawID = s.ImageReference.ID
	}
	if disk := s.OSDisk; disk != nil {
		if disk.ManagedDisk != nil {
			out.OSDiskID = disk.ManagedDisk.ID
		}
		if out.Reference.Form == FormNone {
			out.Reference = s.attached()
		}
	}
	return out
}

// attached is the reference of a machine that names no image: its disk's.
func (s *storageProfile) attached() Reference {
	disk := s.OSDisk
	switch {
	case disk.ManagedDisk != nil && disk.ManagedDisk.ID != "":
		return Reference{Form: FormDisk, ID: disk.ManagedDisk.ID}
	case disk.Image != nil && disk.Image.URI != "":
		return Reference{Form: FormVHD, ID: disk.Image.URI}
	case disk.VHD != nil && disk.VHD.URI != "":
		return Reference{Form: FormVHD, ID: disk.VHD.URI}
	}
	return Reference{Form: FormNone}
}

func (c *creationData) reference() Reference {
	if c == nil {
		return Reference{Form: FormNone}
	}
	if c.GalleryImageReference != nil {
		return c.GalleryImageReference.reference()
	}
	if c.ImageReference != nil {
		return c.ImageReference.reference()
	}
	switch strings.ToLower(c.CreateOption) {
	case "empty":
		return Reference{Form: FormEmpty}
	case "import", "importsecure", "upload", "uploadpreparedsecure":
		return Reference{Form: FormVHD, ID: c.SourceURI}
	}
	if c.SourceResourceID != "" {
		return Reference{Form: FormDisk, ID: c.SourceResourceID}
	}
	return Reference{Form: FormNone}
}

// managedBy is on the top level in both spellings.
func managedBy(raw []byte) string {
	var r struct{ ManagedBy string }
	_ = json.Unmarshal(raw, &r) // read once already
	return r.ManagedBy
}

func (p *properties) gallery(id string) *Gallery {
	g := &Gallery{ID: id}
	if p.Identifier != nil && p.Identifier.UniqueName != "" {
		g.PublicNames = append(g.PublicNames, p.Identifier.UniqueName)
	}
	if p.SharingProfile != nil && p.SharingProfile.CommunityGalleryInfo != nil {
		g.PublicNames = append(g.PublicNames, p.SharingProfile.CommunityGalleryInfo.PublicNames...)
	}
	return g
}

func (p *properties) version(r *resource) *Version {
	v := &Version{ID: r.ID, Name: r.Name, Tags: r.Tags, ProvisioningState: p.ProvisioningState, ImageDigest: tag(r.Tags, TagImageDigest)}
	if v.Name == "" {
		v.Name = segments(r.ID)["versions"]
	}
	if p.PublishingProfile != nil {
		v.ExcludeFromLatest = p.PublishingProfile.ExcludeFromLatest
		v.PublishedDate = date(p.PublishingProfile.PublishedDate)
		v.EndOfLifeDate = date(p.PublishingProfile.EndOfLifeDate)
	}
	if p.Hallmark != nil && p.Hallmark.ImageDigest != "" {
		v.ImageDigest = p.Hallmark.ImageDigest
	}
	return v
}

// date reads the ways in which Azure and its tools write a time; what cannot be
// read is no date.
func date(text string) time.Time {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}

// tag reads a tag whose name, as Azure has it, may differ in case.
func tag(tags map[string]string, name string) string {
	if value, ok := tags[name]; ok {
		return value
	}
	for k, value := range tags {
		if strings.EqualFold(k, name) {
			return value
		}
	}
	return ""
}
