package gallery

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

type imageReference struct{ ID, ExactVersion string }

// referenceIn is where each type says which image it was made from.
var referenceIn = map[arm.Type][]string{
	typeVM:       {"properties.storageProfile.imageReference"},
	typeScaleSet: {"properties.virtualMachineProfile.storageProfile.imageReference"},
	typeDisk:     {"properties.creationData.imageReference", "properties.creationData.galleryImageReference"},
}

// users are the ids of machines, scale sets and disks whose image reference
// resolves to the version: by its id, or by its definition's id and either
// the exact version that was recorded or, where none was, `latest` today.
// location "" means everywhere.
func users(tx store.ReadTx, version arm.ID, location string) ([]string, error) {
	siblings, err := tx.List(store.Query{Type: TypeVersion, Prefix: version.Parent().Key() + "/versions/"})
	if err != nil {
		return nil, err
	}
	var found []string
	for _, typ := range []arm.Type{typeVM, typeScaleSet, typeDisk} {
		docs, err := tx.List(store.Query{Type: typ, Location: location})
		if err != nil {
			return nil, err
		}
		for _, d := range docs {
			if resolvesTo(d, referenceIn[typ], version, siblings) {
				found = append(found, d.ID)
			}
		}
	}
	return found, nil
}

func resolvesTo(d *store.Document, paths []string, version arm.ID, siblings []*store.Document) bool {
	for _, path := range paths {
		var ref imageReference
		raw, ok := arm.Get(d.Body, path)
		if !ok || json.Unmarshal(raw, &ref) != nil {
			continue
		}
		switch {
		case strings.EqualFold(ref.ID, version.String()):
			return true
		case !strings.EqualFold(ref.ID, version.Parent().String()):
		case strings.EqualFold(ref.ExactVersion, version.Name()), ref.ExactVersion == "" && latest(siblings, d.Location) == version.Name():
			return true
		}
	}
	return false
}

// checkDeleteVersion: unlike Azure, where a machine has a disk of its own, a machine
// here is an overlay on the replica; taking that away would end it.
func checkDeleteVersion(tx store.Tx, w *provider.Write) error {
	b, err := readVersion(w.Old)
	if err != nil {
		return err
	}
	if err := pastEndOfLife(w, b); err != nil {
		return err
	}
	in, err := users(tx, w.ID, "")
	if err != nil || len(in) == 0 {
		return err
	}
	return arm.Conflict("OperationNotAllowed", w.ID.String(),
		"The gallery image version '%s' is in use and cannot be deleted. It is used by: %s. Delete these or move them to another version first.", w.ID.Name(), someOf(in))
}

func pastEndOfLife(w *provider.Write, b versionBody) error {
	if !b.Properties.SafetyProfile.BlockDeletionBeforeEndOfLife {
		return nil
	}
	text := b.Properties.PublishingProfile.EndOfLifeDate
	if date, err := parseDate(text); err == nil && !w.Now.Before(date) {
		return nil
	}
	if text == "" {
		text = "not set"
	}
	return arm.Conflict("OperationNotAllowed", w.ID.String(),
		"The gallery image version '%s' cannot be deleted before its end of life (%s), because safetyProfile.blockDeletionBeforeEndOfLife is true. Set it to false first.", w.ID.Name(), text)
}

func someOf(ids []string) string {
	const most = 20
	if len(ids) > most {
		return strings.Join(ids[:most], ", ") + fmt.Sprintf(" and %d more", len(ids)-most)
	}
	return strings.Join(ids, ", ")
}

// namedBy are documents other than self that need the image's replica in the
// location: other versions that target it, and whatever else was made from these
// bytes. It errs on the side of keeping.
func namedBy(tx store.ReadTx, self arm.ID, digest, location string) ([]string, error) {
	in, err := users(tx, self, location)
	if err != nil {
		return nil, err
	}
	for _, typ := range []arm.Type{TypeVersion, typeImage, typeSnapshot, typeDisk, typeVM} {
		docs, err := tx.List(store.Query{Type: typ})
		if err != nil {
			return nil, err
		}
		for _, d := range docs {
			if !self.Equal(d.ARMID()) && names(d, digest) && needsIn(d, location) {
				in = append(in, d.ID)
			}
		}
	}
	return in, nil
}

func names(d *store.Document, digest string) bool {
	return bytes.Contains(d.Private, []byte(digest)) || bytes.Contains(d.Body, []byte(digest))
}

func needsIn(d *store.Document, location string) bool {
	if !d.Type.Equal(TypeVersion) {
		return d.Location == location
	}
	b, err := readVersion(d)
	return !d.Deleting && (err != nil || b.targeted(location))
}

// retryInUse is how long a replica is left alone that machines still use.
const retryInUse = time.Minute
