package compute

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
)

const actionAttachDetach = "attachDetachDataDisks"

// attachDetach is the body of attachDetachDataDisks.
type attachDetach struct {
	DataDisksToAttach []struct {
		DiskID                  string
		LUN                     *int
		Caching, DeleteOption   string
		WriteAcceleratorEnabled *bool
	}
	DataDisksToDetach []struct{ DiskID, DetachOption string }
}

// applyAttachDetach changes the list of data disks as a PUT of the machine would.
func (s *service) applyAttachDetach(ctx context.Context, w *provider.Write) (any, error) {
	var in attachDetach
	if err := json.Unmarshal(w.Request, &in); err != nil {
		return nil, arm.BadRequest(arm.CodeInvalidRequestContent, "body", "The disks cannot be read: %v.", err)
	}
	if len(in.DataDisksToAttach)+len(in.DataDisksToDetach) == 0 {
		return nil, arm.BadRequest(arm.CodeInvalidParameter, "dataDisksToAttach", "There is no disk to attach or detach.")
	}
	list, errs := entries(w.Doc.Body)
	list, more := in.detach(list)
	errs = append(errs, more...)
	list, more = in.attach(list)
	if err := arm.Join(append(errs, more...)); err != nil {
		return nil, err
	}
	if err := apply(w.Doc, edit{pathDataDisks, list, false}); err != nil {
		return nil, err
	}
	if err := s.loadVM(ctx, w); err != nil {
		return nil, err
	}
	if err := defaultDisks(w); err != nil {
		return nil, err
	}
	return nil, arm.Join(s.validateVM(w))
}

const pathDataDisks = "properties.storageProfile.dataDisks"

// entries are the data disks of a machine's body, as they are written.
func entries(body json.RawMessage) (list []json.RawMessage, errs []*arm.Error) {
	raw, _ := arm.Get(body, pathDataDisks)
	if len(raw) > 0 && json.Unmarshal(raw, &list) != nil {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidRequestContent, pathDataDisks, "The data disks cannot be read."))
	}
	return list, errs
}

func diskOf(entry json.RawMessage) (d vmDisk) {
	_ = json.Unmarshal(entry, &d) // Validate reports what cannot be read
	return d
}

func (in attachDetach) detach(list []json.RawMessage) (left []json.RawMessage, errs []*arm.Error) {
	gone := map[string]bool{}
	for i, d := range in.DataDisksToDetach {
		found := false
		for _, e := range list {
			found = found || strings.EqualFold(diskOf(e).ManagedDisk.ID, d.DiskID)
		}
		if !found {
			errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, fmt.Sprintf("dataDisksToDetach[%d].diskId", i), "The disk '%s' is not a data disk of the machine.", d.DiskID))
		}
		gone[strings.ToLower(d.DiskID)] = true
	}
	left = []json.RawMessage{}
	for _, e := range list {
		if !gone[strings.ToLower(diskOf(e).ManagedDisk.ID)] {
			left = append(left, e)
		}
	}
	return left, errs
}

func (in attachDetach) attach(list []json.RawMessage) ([]json.RawMessage, []*arm.Error) {
	var errs []*arm.Error
	for i, d := range in.DataDisksToAttach {
		id, err := arm.ParseID(d.DiskID)
		if err != nil || !id.Type().Equal(TypeDisk) {
			errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, fmt.Sprintf("dataDisksToAttach[%d].diskId", i), "'%s' is not the id of a disk.", d.DiskID))
			continue
		}
		lun := freeLUN(list)
		if d.LUN != nil {
			lun = *d.LUN
		}
		raw, err := json.Marshal(map[string]any{"lun": lun, "name": id.Name(), "createOption": "Attach", "caching": cmp.Or(d.Caching, "None"),
			"deleteOption": cmp.Or(d.DeleteOption, "Detach"), "toBeDetached": false, "managedDisk": map[string]string{"id": d.DiskID}})
		if err != nil {
			return list, []*arm.Error{arm.AsError(err)}
		}
		list = append(list, raw)
	}
	return list, errs
}

func freeLUN(list []json.RawMessage) int {
	used := map[int]bool{}
	for _, e := range list {
		used[lun(diskOf(e))] = true
	}
	for n := 0; ; n++ {
		if !used[n] {
			return n
		}
	}
}

// dropDetached takes disks out of a machine's body that are marked toBeDetached: how clients ask to
// force a detach.
func dropDetached(w *provider.Write) error {
	list, errs := entries(w.Doc.Body)
	if len(errs) > 0 {
		return nil // Validate says so
	}
	left := []json.RawMessage{}
	for _, e := range list {
		if !diskOf(e).ToBeDetached {
			left = append(left, e)
		}
	}
	if len(left) == len(list) {
		return nil
	}
	return apply(w.Doc, edit{pathDataDisks, left, false})
}
