package compute

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
)

// imageReference is ARM's: either an id or the four names of a marketplace image.
type imageReference struct {
	ID           string `json:"id,omitempty"`
	Publisher    string `json:"publisher,omitempty"`
	Offer        string `json:"offer,omitempty"`
	SKU          string `json:"sku,omitempty"`
	Version      string `json:"version,omitempty"`
	ExactVersion string `json:"exactVersion,omitempty"`
}

// source is where a volume's bytes come from. Exactly one field is set, or none for
// an empty volume.
type source struct {
	Digest   string         `json:"digest,omitempty"`   // an image in the content store
	Platform *PlatformImage `json:"platform,omitempty"` // a marketplace image
	Disk     string         `json:"disk,omitempty"`     // id of a disk to copy
	Blob     string         `json:"blob,omitempty"`     // URI of an artifact of this server
}

// resolved is what an image reference stands for at one moment.
type resolved struct {
	Source       source
	ImageID      string // of the exact version, managed image or platform image
	ExactVersion string
	OSType       string
	Generation   string
	Specialized  bool
	SizeBytes    int64 // 0: not known yet
}

// facts is what this provider reads of documents that carry image bytes: gallery
// versions, managed images, snapshots and disks.
type facts struct {
	leaving    bool // a disk whose machine is letting go of it
	ID         string
	Location   string
	ManagedBy  string
	Properties struct {
		ProvisioningState string
		OSType            string
		OSState           string
		HyperVGeneration  string
		DiskSizeGB        int64
		DiskSizeBytes     int64
		StorageProfile    struct {
			OSDisk struct {
				OSType, OSState string
				DiskSizeGB      int64
			}
			OSDiskImage struct{ SizeInGB int64 }
		}
		PublishingProfile struct {
			ExcludeFromLatest bool
			TargetRegions     []struct {
				Name              string
				ExcludeFromLatest *bool
			}
		}
		Hallmark struct {
			ImageDigest   string // of the bytes that the document stands for
			BackingDigest string // of the image that a disk or machine was made from
			ImageID       string
			Generalized   bool
		}
	}
}

const pathImageReference = "properties.storageProfile.imageReference"

// resolve finds what ref means now, with the rights of client. Errors are ARM's
// and carry Azure's codes.
func (s *service) resolve(ctx context.Context, client provider.Client, location string, ref imageReference, subscription string) (resolved, error) {
	if ref.ID == "" {
		return s.resolvePlatform(ctx, location, ref, subscription)
	}
	id, err := arm.ParseID(ref.ID)
	if err != nil {
		return resolved{}, arm.BadRequest(arm.CodeInvalidParameter, "imageReference.id", "'%s' is not a resource id.", ref.ID)
	}
	switch t := id.Type(); {
	case t.Equal(typeGalleryImage):
		return s.resolveLatest(ctx, client, location, id)
	case t.Equal(typeGalleryVersion) && strings.EqualFold(id.Name(), "latest"):
		return s.resolveLatest(ctx, client, location, id.Parent())
	case t.Equal(typeGalleryVersion):
		return s.resolveVersion(ctx, client, location, id)
	case t.Equal(TypeImage):
		return s.resolveManaged(ctx, client, location, id)
	case t.Equal(typePlatformImage):
		n := id.Names()
		return s.resolvePlatform(ctx, location, imageReference{Publisher: n[1], Offer: n[3], SKU: n[4], Version: n[5]}, subscription)
	}
	return resolved{}, arm.BadRequest(arm.CodeInvalidParameter, "imageReference.id",
		"'%s' is a %s; an image reference names a gallery image version, a gallery image definition or a managed image.", ref.ID, id.Type())
}

func (s *service) resolvePlatform(ctx context.Context, location string, ref imageReference, subscription string) (resolved, error) {
	p, err := s.Catalogue.Resolve(ctx, ref.Publisher, ref.Offer, ref.SKU, cmp.Or(ref.Version, "latest"))
	if errors.Is(err, ErrNoSuchImage) {
		return resolved{}, arm.Errorf(404, "PlatformImageNotFound", "The platform image '%s:%s:%s:%s' is not available. Verify that all fields in the storage profile are correct. %v",
			ref.Publisher, ref.Offer, ref.SKU, ref.Version, err).At("imageReference")
	}
	if err != nil {
		return resolved{}, arm.Errorf(400, "PlatformImageNotAvailable", "The platform image '%s:%s:%s:%s' cannot be resolved now: %v",
			ref.Publisher, ref.Offer, ref.SKU, ref.Version, err).At("imageReference").Because(err)
	}
	return resolved{Source: source{Platform: &p}, ImageID: platformID(subscription, location, p), ExactVersion: p.Version,
		OSType: cmp.Or(p.OSType, "Linux"), Generation: cmp.Or(p.Generation, "V2"), SizeBytes: p.SizeBytes}, nil
}

// platformID is how Azure writes the id of a marketplace image.
func platformID(subscription, location string, p PlatformImage) string {
	return fmt.Sprintf("/Subscriptions/%s/Providers/Microsoft.Compute/Locations/%s/Publishers/%s/ArtifactTypes/VMImage/Offers/%s/Skus/%s/Versions/%s",
		subscription, location, p.Publisher, p.Offer, p.SKU, p.Version)
}

func getFacts(ctx context.Context, client provider.Client, id arm.ID) (f facts, err error) {
	body, err := client.Get(ctx, id)
	if err != nil {
		return f, err
	}
	if err := json.Unmarshal(body, &f); err != nil {
		return f, fmt.Errorf("reading %s: %w", id, err)
	}
	return f, nil
}

func (s *service) resolveVersion(ctx context.Context, client provider.Client, location string, id arm.ID) (resolved, error) {
	version, err := getFacts(ctx, client, id)
	if arm.IsNotFound(err) {
		return resolved{}, arm.Errorf(404, "GalleryImageNotFound", "The gallery image version %s does not exist.", id).At("imageReference")
	}
	if err != nil {
		return resolved{}, err
	}
	definition, err := getFacts(ctx, client, id.Parent())
	if err != nil {
		return resolved{}, err
	}
	return s.fromVersion(ctx, location, id, version, definition)
}

func (s *service) fromVersion(ctx context.Context, location string, id arm.ID, version, definition facts) (resolved, error) {
	digest := version.Properties.Hallmark.ImageDigest
	if digest == "" {
		return resolved{}, arm.Conflict("ImageNotReady", "imageReference", "The gallery image version %s is not usable: its provisioning state is %s. Wait for it, or use another version.",
			id, version.Properties.ProvisioningState)
	}
	path, err := s.Replicas.Path(ctx, location, digest)
	if err != nil {
		return resolved{}, notReplicated(id.String(), location, err)
	}
	size, err := s.Volumes.Size(ctx, path)
	if err != nil {
		return resolved{}, notReplicated(id.String(), location, err)
	}
	return resolved{Source: source{Digest: digest}, ImageID: id.String(), ExactVersion: id.Name(), OSType: definition.Properties.OSType,
		Generation: definition.Properties.HyperVGeneration, Specialized: strings.EqualFold(definition.Properties.OSState, "Specialized"), SizeBytes: size}, nil
}

// notReplicated is Azure's answer for a version that the region does not have.
// Source: answers of Azure quoted in hashicorp/terraform-provider-azurerm issue 12217.
func notReplicated(image, location string, cause error) *arm.Error {
	return arm.Errorf(404, "GalleryImageNotFound", "The gallery image %s is not available in %s region. "+
		"Please contact image owner to replicate to this region, or change your requested region.", image, location).At("imageReference").Because(cause)
}

func (s *service) resolveLatest(ctx context.Context, client provider.Client, location string, definition arm.ID) (resolved, error) {
	def, err := getFacts(ctx, client, definition)
	if arm.IsNotFound(err) {
		return resolved{}, arm.Errorf(404, "GalleryImageNotFound", "The gallery image definition %s does not exist.", definition).At("imageReference")
	}
	if err != nil {
		return resolved{}, err
	}
	items, err := client.List(ctx, definition, typeGalleryVersion)
	if err != nil {
		return resolved{}, err
	}
	best, found, err := latest(items, location)
	if err != nil {
		return resolved{}, err
	}
	if !found {
		return resolved{}, arm.BadRequest(arm.CodeInvalidParameter, "imageReference", "In region %s, no version of the gallery image %s can be used as the latest: "+
			"it has none that is replicated to %s and not excluded from latest. Publish one, or name a version.", location, definition, location)
	}
	id, err := arm.ParseID(best.ID)
	if err != nil {
		return resolved{}, err
	}
	return s.fromVersion(ctx, location, id, best, def)
}

// latest is the highest version that counts as such in the location: a region's own
// excludeFromLatest goes before the version's.
func latest(items []json.RawMessage, location string) (best facts, found bool, err error) {
	for _, raw := range items {
		var f facts
		if err := json.Unmarshal(raw, &f); err != nil {
			return best, false, fmt.Errorf("reading a gallery version: %w", err)
		}
		if !offered(f, location) {
			continue
		}
		if !found || CompareVersions(versionOf(best), versionOf(f)) < 0 {
			best, found = f, true
		}
	}
	return best, found, nil
}

func offered(f facts, location string) bool {
	if f.Properties.Hallmark.ImageDigest == "" {
		return false // still being made, or failed
	}
	for _, r := range f.Properties.PublishingProfile.TargetRegions {
		if arm.NormalLocation(r.Name) != location {
			continue
		}
		if r.ExcludeFromLatest != nil && *r.ExcludeFromLatest {
			return false
		}
		return !f.Properties.PublishingProfile.ExcludeFromLatest
	}
	return false
}

func versionOf(f facts) string { return f.ID[strings.LastIndexByte(f.ID, '/')+1:] }

// CompareVersions compares versions such as 1.10.0 by number, as cmp.Compare does.
func CompareVersions(a, b string) int {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(as), len(bs)) {
		x, _ := strconv.ParseInt(as[i], 10, 64)
		y, _ := strconv.ParseInt(bs[i], 10, 64)
		if c := cmp.Compare(x, y); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(as), len(bs))
}

func (s *service) resolveManaged(ctx context.Context, client provider.Client, location string, id arm.ID) (resolved, error) {
	image, err := getFacts(ctx, client, id)
	if arm.IsNotFound(err) || err == nil && arm.NormalLocation(image.Location) != location {
		return resolved{}, arm.Errorf(404, "ImageNotFound", "The Image '%s' cannot be found in '%s' region.", id, location).At("imageReference")
	}
	if err != nil {
		return resolved{}, err
	}
	digest := image.Properties.Hallmark.ImageDigest
	if digest == "" || arm.ProvisioningState(image.Properties.ProvisioningState) != arm.StateSucceeded {
		return resolved{}, arm.Conflict("ImageNotReady", "imageReference", "The image %s is not usable: its provisioning state is %s.", id, image.Properties.ProvisioningState)
	}
	path, err := s.Replicas.Path(ctx, location, digest)
	if err != nil {
		return resolved{}, arm.Errorf(404, "ImageNotFound", "The bytes of image '%s' cannot be found in '%s' region.", id, location).At("imageReference").Because(err)
	}
	size, err := s.Volumes.Size(ctx, path)
	osDisk := image.Properties.StorageProfile.OSDisk
	return resolved{Source: source{Digest: digest}, ImageID: id.String(), OSType: osDisk.OSType, Generation: image.Properties.HyperVGeneration,
		Specialized: strings.EqualFold(osDisk.OSState, "Specialized"), SizeBytes: size}, err
}
