package gallery

import (
	"encoding/json"
	"fmt"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/image"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// versionBody is what is read of a version's document.
type versionBody struct {
	Properties struct {
		StorageProfile    storageProfile
		PublishingProfile publishingProfile
		SafetyProfile     struct {
			AllowDeletionOfReplicatedLocations *bool
			BlockDeletionBeforeEndOfLife       bool
		}
		Restore bool
	}
}

type storageProfile struct {
	Source         struct{ ID, VirtualMachineID, CommunityGalleryImageID string }
	OSDiskImage    struct{ Source struct{ ID, URI string } }
	DataDiskImages []json.RawMessage
}

type publishingProfile struct {
	ReplicaCount            *int
	ReplicationMode         string
	StorageAccountType      string
	EndOfLifeDate           string
	ExcludeFromLatest       bool
	TargetRegions           []targetRegion
	TargetExtendedLocations []json.RawMessage
}

type targetRegion struct {
	Name                 string
	RegionalReplicaCount *int
	StorageAccountType   string
	ExcludeFromLatest    *bool
	Encryption           json.RawMessage
}

func (t targetRegion) location() string { return arm.NormalLocation(t.Name) }

func readVersion(d *store.Document) (b versionBody, err error) {
	if err := json.Unmarshal(d.Body, &b); err != nil {
		return b, fmt.Errorf("reading %s: %w", d.ID, err)
	}
	return b, nil
}

// targets are the locations where the version is to be ready, as written.
func (b versionBody) targets() []targetRegion { return b.Properties.PublishingProfile.TargetRegions }

func (b versionBody) targeted(location string) bool {
	for _, t := range b.targets() {
		if t.location() == location {
			return true
		}
	}
	return false
}

// excluded reports whether `latest` passes the version by in a location; what a
// region says goes before what the version says.
func (b versionBody) excluded(location string) bool {
	for _, t := range b.targets() {
		if t.location() == location && t.ExcludeFromLatest != nil {
			return *t.ExcludeFromLatest
		}
	}
	return b.Properties.PublishingProfile.ExcludeFromLatest
}

// sources are all that the storage profile names as a source; exactly one is right.
func (p storageProfile) sources() []string {
	var all []string
	for _, s := range []string{p.Source.ID, p.Source.VirtualMachineID, p.Source.CommunityGalleryImageID, p.OSDiskImage.Source.ID, p.OSDiskImage.Source.URI} {
		if s != "" {
			all = append(all, s)
		}
	}
	return all
}

// state is a version's Private: what Reconcile has done and is about to do.
type state struct {
	Image *Image `json:"image,omitempty"` // the bytes, once they are stored
	// Regions has every location where a replica may exist, by normal name: it is
	// entered before the replica is begun and leaves after it is gone.
	Regions  map[string]replica  `json:"regions,omitempty"`
	Export   string              `json:"export,omitempty"` // the format that is asked for
	Exported map[string]exported `json:"exported,omitempty"`
}

// replica is the state of one region, in Azure's words.
type replica struct {
	State    string `json:"state"`
	Progress int    `json:"progress"` // percent
	Details  string `json:"details,omitempty"`
	Moved    int64  `json:"movedBytes,omitempty"` // brought into the region for it
}

const (
	replicating = "Replicating"
	completed   = "Completed"
	failed      = "Failed"
	unknown     = "Unknown"
)

func readState(d *store.Document) (s state, err error) {
	if len(d.Private) > 0 {
		if err := json.Unmarshal(d.Private, &s); err != nil {
			return s, fmt.Errorf("reading the state of %s: %w", d.ID, err)
		}
	}
	if s.Regions == nil {
		s.Regions = map[string]replica{}
	}
	return s, nil
}

// kept is what an update that leaves it out means to stay: a PUT of tags must neither
// take a version out of its regions nor let a staged one into latest.
var kept = []string{"properties.publishingProfile.replicationMode", "properties.publishingProfile.storageAccountType",
	"properties.publishingProfile.targetRegions", "properties.publishingProfile.replicaCount", "properties.publishingProfile.excludeFromLatest"}

// defaultVersion writes what Azure writes when it is left out, and keeps the
// source on an update that leaves it out: `az sig image-version update` sends
// storageProfile:{}.
func defaultVersion(w *provider.Write) error {
	if w.Old != nil {
		if err := keepSource(w); err != nil {
			return err
		}
		if err := inherit(w, kept); err != nil {
			return err
		}
	}
	err := setMissing(w, "properties.publishingProfile.replicaCount", 1, "properties.publishingProfile.excludeFromLatest", false,
		"properties.publishingProfile.replicationMode", "Full", "properties.publishingProfile.storageAccountType", "Standard_LRS")
	if err != nil {
		return err
	}
	return defaultRegions(w)
}

func keepSource(w *provider.Write) error {
	var b versionBody
	if json.Unmarshal(w.Doc.Body, &b) != nil || len(b.Properties.StorageProfile.sources()) > 0 {
		return nil
	}
	old, ok := arm.Get(w.Old.Body, "properties.storageProfile")
	if !ok {
		return nil
	}
	var err error
	w.Doc.Body, err = arm.Set(w.Doc.Body, "properties.storageProfile", old)
	return err
}

// defaultRegions: without targets the version's own location is the target; each
// has a replica count and a storage type.
func defaultRegions(w *provider.Write) error {
	const path = "properties.publishingProfile.targetRegions"
	var b versionBody
	var regions []json.RawMessage
	raw, there := arm.Get(w.Doc.Body, path)
	if json.Unmarshal(w.Doc.Body, &b) != nil || (there && json.Unmarshal(raw, &regions) != nil) {
		return nil // Validate says so
	}
	if len(regions) == 0 {
		regions = []json.RawMessage{json.RawMessage(`{}`)}
		b.Properties.PublishingProfile.TargetRegions = []targetRegion{{Name: w.Doc.Location}}
	}
	for i, t := range b.targets() {
		var err error
		if regions[i], err = completeRegion(regions[i], t, b.Properties.PublishingProfile, oldRegion(w, t)); err != nil {
			return nil // not an object: Validate says so
		}
	}
	var err error
	w.Doc.Body, err = arm.Set(w.Doc.Body, path, regions)
	return err
}

func oldRegion(w *provider.Write, t targetRegion) targetRegion {
	var b versionBody
	if w.Old != nil && json.Unmarshal(w.Old.Body, &b) == nil {
		for _, o := range b.targets() {
			if o.location() == t.location() {
				return o
			}
		}
	}
	return targetRegion{}
}

func completeRegion(raw json.RawMessage, t targetRegion, p publishingProfile, old targetRegion) (json.RawMessage, error) {
	count := 1
	if p.ReplicaCount != nil {
		count = *p.ReplicaCount
	}
	account := p.StorageAccountType
	if old.StorageAccountType != "" {
		account = old.StorageAccountType
	}
	for _, set := range []struct {
		missing bool
		name    string
		value   any
	}{
		{true, "name", t.Name},
		{t.RegionalReplicaCount == nil, "regionalReplicaCount", count},
		{t.StorageAccountType == "", "storageAccountType", account},
	} {
		if !set.missing {
			continue
		}
		var err error
		if raw, err = arm.Set(raw, set.name, set.value); err != nil {
			return nil, err
		}
	}
	return raw, nil
}

// latest is the version that `latest` means in a location among a definition's
// documents; "" if there is none. Versions that are not ready do not count.
func latest(versions []*store.Document, location string) string {
	var candidates []image.Candidate
	for _, d := range versions {
		v, err := image.ParseVersion(d.ARMID().Name())
		b, berr := readVersion(d)
		if err != nil || berr != nil || d.Deleting || d.State() != arm.StateSucceeded || !b.targeted(location) {
			continue
		}
		candidates = append(candidates, image.Candidate{Version: v, ExcludeFromLatest: b.excluded(location)})
	}
	if v, ok := image.Latest(candidates); ok {
		return v.String()
	}
	return ""
}
