package compute

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
)

// followRequest is what a scale set sends a member that is to follow the model.
type followRequest struct {
	membership
	// Reimage makes the system disk anew even from the image that the member has.
	Reimage bool
	// Properties are what the set would make today.
	Properties json.RawMessage
}

// follow brings a member to its scale set's model: another image makes the system disk
// anew, another size restarts it, other data disks are exchanged.
func (s *service) follow(ctx context.Context, w *provider.Write) (any, error) {
	if !system(w) {
		return nil, arm.Errorf(403, arm.CodeAuthorizationFailed, "Only a scale set itself brings its machines to the model: use its manualupgrade.").At(w.ID.String())
	}
	var r followRequest
	var wanted vmBody
	if err := json.Unmarshal(w.Request, &r); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(w.Request, &wanted); err != nil {
		return nil, err
	}
	ref := wanted.Properties.StorageProfile.ImageReference
	if ref == nil {
		return nil, arm.BadRequest(arm.CodeInvalidParameter, pathImageReference, "The model of the scale set names no image.")
	}
	image, err := s.resolve(ctx, w.Client, w.Doc.Location, *ref, w.ID.Subscription())
	if err != nil {
		return nil, err
	}
	_, p := readVM(w.Doc)
	p.take(r, image)
	if err := followProperties(w, r, image); err != nil {
		return nil, err
	}
	if err := followDisks(w, r.Properties, &p); err != nil {
		return nil, err
	}
	return nil, setPrivate(w.Doc, p)
}

func (p *vmState) take(r followRequest, image resolved) {
	p.Reimage = p.Reimage || r.Reimage || !strings.EqualFold(p.ImageID, image.ImageID)
	p.Model, p.PasswordHash, p.CustomData = r.Model, r.PasswordHash, r.CustomData
	p.Source, p.ImageID, p.Generation, p.Specialized = image.Source, image.ImageID, image.Generation, image.Specialized
	if !p.Born {
		p.Want = running
	}
}

// kept are the parts of a member that the model does not change once it exists.
var kept = []string{"networkProfile", "virtualMachineScaleSet", "storageProfile"}

func followProperties(w *provider.Write, r followRequest, image resolved) error {
	edits := []edit{{pathImageReference, json.RawMessage("null"), false}, {"properties.hallmark", lineage(image), false}}
	computer := arm.GetString(w.Doc.Body, "properties.osProfile.computerName")
	err := arm.EachMember(r.Properties, func(name string, value json.RawMessage) {
		if !slices.ContainsFunc(kept, func(k string) bool { return strings.EqualFold(k, name) }) {
			edits = append(edits, edit{"properties." + name, value, false})
		}
	})
	if err != nil {
		return err
	}
	ref, _ := arm.Get(r.Properties, "storageProfile.imageReference")
	edits = append(edits, edit{pathImageReference, ref, false})
	if image.ExactVersion != "" {
		edits = append(edits, edit{pathImageReference + ".exactVersion", image.ExactVersion, false})
	}
	if computer != "" {
		edits = append(edits, edit{"properties.osProfile.computerName", computer, false})
	}
	if len(r.SKU) > 0 && w.ID.Type().Equal(TypeInstance) {
		edits = append(edits, edit{"sku", r.SKU, false})
	}
	return apply(w.Doc, edits...)
}

// followDisks gives the machine the model's data disks, LUN by LUN. Disks that somebody
// attached to this machine alone stay.
func followDisks(w *provider.Write, properties json.RawMessage, p *vmState) error {
	has, wanted := diskEntries(w.Doc.Body, "properties.storageProfile.dataDisks"), diskEntries(properties, "storageProfile.dataDisks")
	list := []json.RawMessage{}
	changed := false
	for lun, entry := range wanted {
		if there, ok := has[lun]; ok {
			list = append(list, there)
			continue
		}
		name := fmt.Sprintf("%s_disk%d_%s", machineName(w.ID), lun+2, hex32())
		entry, ok := defaultDiskEntry(w.ID, entry, name)
		if !ok {
			return arm.BadRequest(arm.CodeInvalidParameter, "properties.storageProfile.dataDisks", "A data disk of the model cannot be read.")
		}
		list, changed = append(list, entry), true
	}
	for lun, entry := range has {
		if _, stays := wanted[lun]; stays {
			continue
		}
		var d vmDisk
		_ = json.Unmarshal(entry, &d) // it was read by diskEntries
		if strings.EqualFold(d.CreateOption, "Attach") {
			list = append(list, entry)
			continue
		}
		changed = true
		if strings.EqualFold(d.DeleteOption, "Delete") {
			p.Discarded = append(p.Discarded, strings.ToLower(d.ManagedDisk.ID))
		}
	}
	if !changed {
		return nil
	}
	slices.SortFunc(list, func(a, b json.RawMessage) int { return lunOf(a) - lunOf(b) })
	return apply(w.Doc, edit{"properties.storageProfile.dataDisks", list, false})
}

func diskEntries(doc json.RawMessage, path string) map[int]json.RawMessage {
	raw, _ := arm.Get(doc, path)
	var list []json.RawMessage
	_ = json.Unmarshal(raw, &list) // none
	byLUN := map[int]json.RawMessage{}
	for _, entry := range list {
		byLUN[lunOf(entry)] = entry
	}
	return byLUN
}

func lunOf(entry json.RawMessage) int {
	var d vmDisk
	_ = json.Unmarshal(entry, &d) // Validate has read it
	return lun(d)
}
