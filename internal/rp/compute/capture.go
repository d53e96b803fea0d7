package compute

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
)

// Managed images and snapshots are the same thing underneath: bytes taken once into the
// content store, named by their digest, which disks are then overlays on.

// captureState is the Private of both.
type captureState struct {
	Source source `json:"source"` // a disk, a blob, or a digest that is shared
}

type imageBody struct {
	Location   string
	Properties struct {
		SourceVirtualMachine struct{ ID string }
		HyperVGeneration     string
		StorageProfile       struct {
			OSDisk struct {
				OSType, OSState, BlobURI string
				ManagedDisk, Snapshot    struct{ ID string }
				DiskSizeGB               int64
			}
			DataDisks []json.RawMessage
		}
	}
}

func (s *service) loadImage(ctx context.Context, w *provider.Write) error {
	if w.Old != nil {
		return nil
	}
	var b imageBody
	_ = json.Unmarshal(w.Doc.Body, &b) // Validate reports what cannot be read
	from, err := s.imageSource(ctx, w, b)
	w.Loaded, err = keepARMError(from, err)
	return err
}

func (s *service) imageSource(ctx context.Context, w *provider.Write, b imageBody) (resolved, error) {
	osDisk := b.Properties.StorageProfile.OSDisk
	switch {
	case b.Properties.SourceVirtualMachine.ID != "":
		return s.machineSource(ctx, w, b.Properties.SourceVirtualMachine.ID)
	case osDisk.ManagedDisk.ID != "":
		return s.copySource(ctx, w.Client, osDisk.ManagedDisk.ID)
	case osDisk.Snapshot.ID != "":
		return s.copySource(ctx, w.Client, osDisk.Snapshot.ID)
	case osDisk.BlobURI != "":
		return s.blobSource(ctx, osDisk.BlobURI)
	}
	return resolved{}, arm.BadRequest(arm.CodeInvalidParameter, "properties.storageProfile",
		"The image needs a source: sourceVirtualMachine.id, or storageProfile.osDisk with managedDisk.id, snapshot.id or blobUri.")
}

// machineSource is the system disk of a generalized machine.
func (s *service) machineSource(ctx context.Context, w *provider.Write, text string) (resolved, error) {
	const at = "properties.sourceVirtualMachine.id"
	id, err := arm.ParseID(text)
	if err != nil || !id.Type().Equal(TypeVM) {
		return resolved{}, arm.BadRequest(arm.CodeInvalidParameter, at, "'%s' is not the id of a virtual machine.", text)
	}
	body, err := w.Client.Get(ctx, id)
	if err != nil {
		return resolved{}, err
	}
	if v, _ := arm.Get(body, "properties.hallmark.generalized"); string(v) != "true" {
		return resolved{}, arm.Conflict("OperationNotAllowed", at, "The Virtual Machine %s creating the image from is not generalized. Stop it and mark it generalized.", text)
	}
	var b vmBody
	if err := json.Unmarshal(body, &b); err != nil {
		return resolved{}, fmt.Errorf("reading %s: %w", id, err)
	}
	return s.copySource(ctx, w.Client, b.Properties.StorageProfile.OSDisk.ManagedDisk.ID)
}

func defaultImage(w *provider.Write) error {
	if w.Old != nil {
		if p, ok := arm.Get(w.Old.Body, "properties.storageProfile"); ok {
			return apply(w.Doc, edit{"properties.storageProfile", p, true})
		}
		return nil
	}
	from, _ := w.Loaded.(loadedSource)
	edits := []edit{
		{"properties.storageProfile.osDisk.osType", cmp.Or(from.resolved.OSType, "Linux"), true},
		{"properties.storageProfile.osDisk.osState", "Generalized", true},
		{"properties.storageProfile.osDisk.caching", "ReadWrite", true},
		{"properties.hyperVGeneration", cmp.Or(from.resolved.Generation, "V2"), true},
	}
	if d := from.resolved.Source.Disk; d != "" {
		edits = append(edits, edit{"properties.storageProfile.osDisk.managedDisk.id", d, true})
	}
	if err := apply(w.Doc, edits...); err != nil {
		return err
	}
	return setPrivate(w.Doc, captureState{from.resolved.Source})
}

func (s *service) validateImage(w *provider.Write) []*arm.Error {
	var b imageBody
	if err := json.Unmarshal(w.Doc.Body, &b); err != nil {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidRequestContent, "properties", "The image cannot be read: %v.", err)}
	}
	var errs []*arm.Error
	from, _ := w.Loaded.(loadedSource)
	if from.err != nil {
		errs = append(errs, from.err)
	}
	if len(b.Properties.StorageProfile.DataDisks) > 0 {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, "properties.storageProfile.dataDisks", "Images with data disks are not supported: an image here is a system disk."))
	}
	osDisk := b.Properties.StorageProfile.OSDisk
	if !strings.EqualFold(osDisk.OSType, "Linux") && !strings.EqualFold(osDisk.OSType, "Windows") {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, "properties.storageProfile.osDisk.osType", "The system is '%s'; it must be Linux or Windows.", osDisk.OSType))
	}
	if !strings.EqualFold(osDisk.OSState, "Generalized") && !strings.EqualFold(osDisk.OSState, "Specialized") {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, "properties.storageProfile.osDisk.osState", "The state of the system is '%s'; it must be Generalized or Specialized.", osDisk.OSState))
	}
	if w.Old != nil {
		errs = append(errs, fixedSource(w, "properties.storageProfile", "properties.sourceVirtualMachine")...)
	}
	return errs
}

// fixedSource refuses another source than the stored one.
func fixedSource(w *provider.Write, paths ...string) (errs []*arm.Error) {
	for _, path := range paths {
		was, _ := arm.Get(w.Old.Body, path)
		is, _ := arm.Get(w.Doc.Body, path)
		if !sameJSON(was, is) {
			errs = append(errs, immutable(path))
		}
	}
	return errs
}

func sameJSON(a, b json.RawMessage) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return string(a) == string(b)
	}
	p, _ := json.Marshal(x) // sorts the properties
	q, _ := json.Marshal(y)
	return strings.EqualFold(string(p), string(q))
}

func (s *service) loadSnapshot(ctx context.Context, w *provider.Write) error {
	if w.Old != nil {
		return nil
	}
	b, _ := readDisk(w.Doc)
	c := b.Properties.CreationData
	var from resolved
	var err error
	switch strings.ToLower(c.CreateOption) {
	case "copy":
		from, err = s.copySource(ctx, w.Client, c.SourceResourceID)
	case "import":
		from, err = s.blobSource(ctx, c.SourceURI)
	default:
		err = arm.BadRequest(arm.CodeInvalidParameter, "properties.creationData.createOption", "The create option '%s' is not supported for a snapshot; it must be Copy or Import.", c.CreateOption)
	}
	w.Loaded, err = keepARMError(from, err)
	return err
}

func defaultSnapshot(w *provider.Write) error {
	if w.Old != nil {
		if creation, ok := arm.Get(w.Old.Body, "properties.creationData"); ok {
			return apply(w.Doc, edit{"properties.creationData", creation, true})
		}
		return nil
	}
	from, _ := w.Loaded.(loadedSource)
	edits := []edit{
		{"properties.timeCreated", w.Now.UTC().Format(time.RFC3339Nano), false},
		{"properties.uniqueId", uuid.NewString(), false},
		{"properties.diskState", "Unattached", false},
		{"properties.incremental", false, true},
		{"sku", map[string]string{"name": "Standard_LRS", "tier": "Standard"}, true},
		{"properties.diskSizeBytes", from.resolved.SizeBytes, false},
		{"properties.diskSizeGB", gibFor(from.resolved.SizeBytes), false},
	}
	if o := from.resolved.OSType; o != "" {
		edits = append(edits, edit{"properties.osType", o, true}, edit{"properties.hyperVGeneration", cmp.Or(from.resolved.Generation, "V2"), true})
	}
	if err := apply(w.Doc, edits...); err != nil {
		return err
	}
	return setPrivate(w.Doc, captureState{from.resolved.Source})
}

func (s *service) validateSnapshot(w *provider.Write) []*arm.Error {
	var errs []*arm.Error
	if from, _ := w.Loaded.(loadedSource); from.err != nil {
		errs = append(errs, from.err)
	}
	if w.Old != nil {
		errs = append(errs, fixedSource(w, "properties.creationData")...)
	}
	return errs
}

func (s *service) reconcileSnapshot(ctx context.Context, w *provider.Work) (time.Duration, error) {
	return s.capture(ctx, w)
}

func (s *service) reconcileImage(ctx context.Context, w *provider.Work) (time.Duration, error) {
	return s.capture(ctx, w)
}

// capture takes the source's bytes in. At a delete the replica goes, unless something
// else needs it; chunks are collected when nothing names them any more.
func (s *service) capture(ctx context.Context, w *provider.Work) (time.Duration, error) {
	if w.Doc.Deleting {
		s.release(ctx, w, arm.GetString(w.Doc.Body, "properties.hallmark.imageDigest"))
		return 0, w.Remove(ctx)
	}
	if w.Doc.State().Terminal() {
		return 0, nil
	}
	ctx, stop := interruptible(ctx, w)
	defer stop()
	if err := s.takeBytes(ctx, w); err != nil {
		e := asFailure(ctx, err, "InternalOperationError")
		if e == nil {
			return 0, err
		}
		return 0, w.Update(ctx, func(d *provider.Draft) { d.Fail(e) })
	}
	return 0, w.Update(ctx, func(d *provider.Draft) { d.Succeed() })
}

func (s *service) takeBytes(ctx context.Context, w *provider.Work) error {
	var p captureState
	if err := json.Unmarshal(w.Doc.Private, &p); err != nil {
		return fmt.Errorf("reading the state of %s: %w", w.Doc.ID, err)
	}
	record := func(ctx context.Context, digest string) error {
		return w.Update(ctx, func(d *provider.Draft) { d.Set("properties.hallmark.imageDigest", digest) })
	}
	if digest := p.Source.Digest; digest != "" { // of a snapshot: the bytes are there
		if _, err := s.Replicas.Path(ctx, w.Doc.Location, digest); err != nil {
			return notReplicated(digest, w.Doc.Location, err)
		}
		return record(ctx, digest)
	}
	return s.withBacking(ctx, w, p.Source, func(path string) error {
		return s.Replicas.Ingest(ctx, w.Doc.Location, path, record)
	})
}
