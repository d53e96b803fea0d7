package gallery

import (
	"fmt"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/image"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// Azure's limits on replicas.
const (
	maxRegionReplicas  = 50
	maxVersionReplicas = 100
)

// fixedInVersion is what a version keeps for life.
var fixedInVersion = []string{"properties.storageProfile.source", "properties.storageProfile.osDiskImage.source", "properties.storageProfile.dataDiskImages",
	"properties.publishingProfile.replicationMode", "properties.publishingProfile.storageAccountType"}

func (s *service) validateVersion(w *provider.Write) []*arm.Error {
	var b versionBody
	if errs := decode(w.Doc.Body, &b); errs != nil {
		return errs
	}
	var errs []*arm.Error
	if _, err := image.ParseVersion(w.ID.Name()); err != nil && w.Create() {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, "name",
			"The image version name is invalid. The image version name should follow Major(int).Minor(int).Patch(int) format, for e.g: 1.0.0, 2018.12.1 etc. (%v)", err))
	}
	errs = append(errs, s.validatePublishing(w, b)...)
	errs = append(errs, notOffered(b)...)
	errs = append(errs, endOfLife(w, "properties.publishingProfile.endOfLifeDate")...)
	if w.Old != nil {
		return append(errs, validateChange(w, b)...)
	}
	return append(errs, validateSource(w, b)...)
}

func (s *service) validatePublishing(w *provider.Write, b versionBody) []*arm.Error {
	const path = "properties.publishingProfile."
	p := b.Properties.PublishingProfile
	errs := oneOf(nil, path+"replicationMode", p.ReplicationMode, true, "Full", "Shallow")
	errs = oneOf(errs, path+"storageAccountType", p.StorageAccountType, true, storageTypes...)
	seen, names, total := map[string]bool{}, []string{}, 0
	for i, t := range p.TargetRegions {
		at := fmt.Sprintf("%stargetRegions[%d]", path, i)
		errs = append(errs, s.validateRegion(t, at, p.ReplicationMode)...)
		if seen[t.location()] {
			errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, at+".name", "Duplicate regions are not allowed in target publishing regions: '%s'.", t.Name))
		}
		seen[t.location()] = true
		names = append(names, t.Name)
		if t.RegionalReplicaCount != nil {
			total += *t.RegionalReplicaCount
		}
	}
	if w.Doc.Location != "" && !seen[w.Doc.Location] {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, path+"targetRegions",
			"Gallery image version publishing profile regions '%s' must contain the location of image version '%s'.", strings.Join(names, ", "), w.Doc.Location))
	}
	if total > maxVersionReplicas {
		errs = append(errs, outOfRange(path+"targetRegions", total, 1, maxVersionReplicas))
	}
	return errs
}

var storageTypes = []string{"Standard_LRS", "Standard_ZRS", "Premium_LRS", "PremiumV2_LRS"}

func (s *service) validateRegion(t targetRegion, at, mode string) []*arm.Error {
	var errs []*arm.Error
	if !s.known(t.Name) || t.Name == "" {
		errs = append(errs, arm.BadRequest(arm.CodeLocationNotAvailable, at+".name",
			"The provided location '%s' is not available for resource type '%s'. List of available regions for the resource type is '%s'.", t.Name, TypeGallery, strings.Join(s.Locations, ",")))
	}
	errs = oneOf(errs, at+".storageAccountType", t.StorageAccountType, true, storageTypes...)
	most := maxRegionReplicas
	if strings.EqualFold(mode, "Shallow") {
		most = 1
	}
	if n := t.RegionalReplicaCount; n != nil && (*n < 1 || *n > most) {
		errs = append(errs, outOfRange(at+".regionalReplicaCount", *n, 1, most))
	}
	if len(t.Encryption) > 0 && string(t.Encryption) != "null" {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, at+".encryption", "Disk encryption sets are not offered here; leave 'encryption' out."))
	}
	return errs
}

// notOffered refuses what would otherwise be stored and never done.
func notOffered(b versionBody) (errs []*arm.Error) {
	refuse := func(there bool, path, why string) {
		if there {
			errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, path, "%s", why))
		}
	}
	p := b.Properties
	refuse(len(p.StorageProfile.DataDiskImages) > 0, "properties.storageProfile.dataDiskImages", "Data disk images are not offered here; an image version has one OS disk.")
	refuse(p.StorageProfile.Source.CommunityGalleryImageID != "", "properties.storageProfile.source.communityGalleryImageId", "Community galleries are not offered here.")
	refuse(len(p.PublishingProfile.TargetExtendedLocations) > 0, "properties.publishingProfile.targetExtendedLocations", "Edge zones are not offered here.")
	refuse(p.Restore, "properties.restore", "Soft delete is not offered here, so nothing can be restored.")
	return errs
}

// validateChange: the source and a few others are for life, and regions may be
// protected.
func validateChange(w *provider.Write, b versionBody) []*arm.Error {
	errs := changed(w, "galleryImageVersion", fixedInVersion)
	old, err := readVersion(w.Old)
	if err != nil {
		return errs
	}
	for i, t := range b.targets() {
		if o := oldRegion(w, t); o.Name != "" && !strings.EqualFold(o.StorageAccountType, t.StorageAccountType) {
			errs = append(errs, arm.Conflict(arm.CodePropertyChangeNotAllowed, fmt.Sprintf("properties.publishingProfile.targetRegions[%d].storageAccountType", i),
				"Changing the storage account type in '%s' from '%s' to '%s' is not allowed.", t.Name, o.StorageAccountType, t.StorageAccountType))
		}
	}
	allowed := b.Properties.SafetyProfile.AllowDeletionOfReplicatedLocations
	if gone := removed(old, b); len(gone) > 0 && allowed != nil && !*allowed {
		errs = append(errs, arm.Conflict("OperationNotAllowed", "properties.publishingProfile.targetRegions",
			"The image version cannot be removed from '%s', because safetyProfile.allowDeletionOfReplicatedLocations is false. Set it to true first.", strings.Join(gone, ", ")))
	}
	return errs
}

func removed(old, now versionBody) (gone []string) {
	for _, t := range old.targets() {
		if !now.targeted(t.location()) {
			gone = append(gone, t.Name)
		}
	}
	return gone
}

// validateSource compares what Load found of the source with the definition.
func validateSource(w *provider.Write, b versionBody) []*arm.Error {
	const path = "properties.storageProfile"
	if n := len(b.Properties.StorageProfile.sources()); n != 1 {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, path,
			"The gallery artifact version source can only be specified either directly under storageProfile or within individual OS or data disks. One and only one source type (user image, snapshot, disk, virtual machine) can be provided; the request has %d.", n)}
	}
	in, ok := w.Loaded.(*loaded)
	if !ok || in.source == nil {
		return nil
	}
	id, src, def := in.source.id, in.source, in.definition
	var errs []*arm.Error
	if src.osType != "" && !strings.EqualFold(src.osType, def.OSType) {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, path,
			"The resource with id '%s' has a different OS type ['%s'] than the parent gallery image OS type generation ['%s']", id, src.osType, def.OSType))
	}
	if src.generation != "" && !strings.EqualFold(src.generation, def.HyperVGeneration) {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, path,
			"The resource with id '%s' has a different Hypervisor generation ['%s'] than the parent gallery image Hypervisor generation ['%s']", id, src.generation, def.HyperVGeneration))
	}
	if src.osState != "" && !strings.EqualFold(src.osState, def.OSState) {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, path,
			"Cannot create Gallery Image Version from: %s since the OS State in the parent gallery image ('%s') is not '%s'.", id, def.OSState, src.osState))
	}
	if len(src.locations) > 0 && !slices.Contains(src.locations, w.Doc.Location) {
		errs = append(errs, sourceNotFound(id))
	}
	return errs
}

func sourceNotFound(id string) *arm.Error {
	return arm.BadRequest(arm.CodeInvalidParameter, "properties.storageProfile",
		"Source %s is not found. Please check source exists, and is in the same region as gallery image version being created.", id)
}

func commitVersion(tx store.Tx, w *provider.Write) error {
	if !w.Create() {
		return nil
	}
	have, err := countAt(tx, w, maxVersions)
	if err != nil {
		return err
	}
	return withinQuota(have, maxVersions, "image versions", w)
}
