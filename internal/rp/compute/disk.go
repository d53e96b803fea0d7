package compute

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

const (
	gib = int64(1) << 30

	// The actions by which machines claim disks; in Azure nobody can call them, and here
	// only the control plane itself can.
	actionJoin, actionLeave, actionReset = "join", "leave", "reset"
)

type diskBody struct {
	Location   string
	ManagedBy  string
	Properties struct {
		OSType        string
		DiskSizeGB    int64
		DiskSizeBytes int64
		CreationData  struct {
			CreateOption          string
			ImageReference        imageReference
			GalleryImageReference imageReference
			SourceResourceID      string
			SourceURI             string
		}
	}
}

// diskState is a disk's Private.
type diskState struct {
	Volume string `json:"volume"` // decided when the disk is asked for
	Source source `json:"source"`
	Made   bool   `json:"made"` // the volume is complete
	// Backing is the file that the volume was made on.
	Backing string `json:"backing,omitempty"`
	// Stale is a volume that a reset has replaced and that has to go.
	Stale string `json:"stale,omitempty"`
	// Former is the digest of the image that a reset has replaced by another.
	Former string `json:"former,omitempty"`
	// Reserved are bytes that the volume may grow to.
	Reserved int64 `json:"reserved"`
	// Error is why the disk failed, for the machine that waits for it.
	Error *arm.Error `json:"error,omitempty"`
}

func readDisk(d *store.Document) (b diskBody, p diskState) {
	_ = json.Unmarshal(d.Body, &b) // Validate reports what cannot be read
	_ = json.Unmarshal(d.Private, &p)
	return b, p
}

// loadedSource is what Load has found for a disk, snapshot or image.
type loadedSource struct {
	resolved resolved
	err      *arm.Error // for Validate
}

func (s *service) loadDisk(ctx context.Context, w *provider.Write) error {
	if w.Old != nil || !s.serves(w.Doc.Location) {
		return nil // where it came from cannot change
	}
	b, _ := readDisk(w.Doc)
	from, err := s.diskSource(ctx, w, b)
	w.Loaded, err = keepARMError(from, err)
	return err
}

// keepARMError leaves what the client did wrong to Validate, so that it is reported
// together with everything else.
func keepARMError(r resolved, err error) (loadedSource, error) {
	l := loadedSource{resolved: r}
	if err == nil {
		return l, nil
	}
	if e := arm.AsError(err); e.Status < 500 && e.Code != arm.CodeAuthorizationFailed {
		l.err = e
		return l, nil
	}
	return l, err
}

func (s *service) diskSource(ctx context.Context, w *provider.Write, b diskBody) (resolved, error) {
	c := b.Properties.CreationData
	location := w.Doc.Location
	switch strings.ToLower(c.CreateOption) {
	case "empty":
		return resolved{}, nil
	case "fromimage":
		ref := c.ImageReference
		if c.GalleryImageReference.ID != "" {
			ref = c.GalleryImageReference
		}
		return s.resolve(ctx, w.Client, location, ref, w.ID.Subscription())
	case "copy":
		return s.copySource(ctx, w.Client, c.SourceResourceID)
	case "import":
		return s.blobSource(ctx, c.SourceURI)
	}
	return resolved{}, arm.BadRequest(arm.CodeInvalidParameter, "properties.creationData.createOption",
		"The create option '%s' is not supported; it must be Empty, FromImage, Copy or Import.", c.CreateOption)
}

// copySource is a snapshot's image or another disk.
func (s *service) copySource(ctx context.Context, client provider.Client, text string) (resolved, error) {
	const at = "properties.creationData.sourceResourceId"
	id, err := arm.ParseID(text)
	if err != nil || !id.Type().Equal(TypeDisk) && !id.Type().Equal(TypeSnapshot) {
		return resolved{}, arm.BadRequest(arm.CodeInvalidParameter, at, "'%s' is not the id of a disk or a snapshot.", text)
	}
	f, err := getFacts(ctx, client, id)
	if err != nil {
		return resolved{}, err
	}
	r := resolved{ImageID: f.Properties.Hallmark.ImageID, OSType: f.Properties.OSType, Generation: f.Properties.HyperVGeneration, SizeBytes: f.Properties.DiskSizeBytes}
	if id.Type().Equal(TypeDisk) {
		r.Source.Disk = id.String()
		return r, nil
	}
	if r.Source.Digest = f.Properties.Hallmark.ImageDigest; r.Source.Digest == "" {
		return r, arm.Conflict(arm.CodeConflict, at, "The snapshot %s is not ready: its provisioning state is %s.", id, f.Properties.ProvisioningState)
	}
	return r, nil
}

func (s *service) blobSource(ctx context.Context, uri string) (resolved, error) {
	if s.Artifacts == nil || uri == "" {
		return resolved{}, arm.BadRequest(arm.CodeInvalidParameter, "sourceUri", "The blob URI '%s' cannot be used: only artifacts of this server can be imported.", uri)
	}
	path, err := s.Artifacts.Resolve(ctx, uri)
	if err != nil {
		return resolved{}, arm.BadRequest(arm.CodeInvalidParameter, "sourceUri", "The blob '%s' cannot be read: %v.", uri, err).Because(err)
	}
	size, err := s.Volumes.Size(ctx, path)
	if err != nil {
		return resolved{}, arm.BadRequest(arm.CodeInvalidParameter, "sourceUri", "The blob '%s' is not a disk image: %v.", uri, err).Because(err)
	}
	return resolved{Source: source{Blob: uri}, SizeBytes: size}, nil
}

// edit sets several properties of a document; those with keep only if they are missing.
type edit struct {
	path  string
	value any
	keep  bool
}

func apply(d *store.Document, edits ...edit) error {
	for _, e := range edits {
		if _, ok := arm.Get(d.Body, e.path); ok && e.keep {
			continue
		}
		body, err := arm.Set(d.Body, e.path, e.value)
		if err != nil { // something on the way is not an object: the client's mistake
			return arm.BadRequest(arm.CodeInvalidRequestContent, e.path, "The request cannot be read: %v.", err)
		}
		d.Body = body
	}
	return nil
}

func setPrivate(d *store.Document, state any) (err error) {
	d.Private, err = json.Marshal(state)
	return err
}

func gibFor(bytes int64) int64 { return (bytes + gib - 1) / gib }

func (s *service) defaultDisk(w *provider.Write) error {
	if w.Old != nil {
		if creation, ok := arm.Get(w.Old.Body, "properties.creationData"); ok {
			return apply(w.Doc, edit{"properties.creationData", creation, true})
		}
		return nil
	}
	from, _ := w.Loaded.(loadedSource)
	volume := uuid.NewString()
	edits := []edit{
		{"properties.timeCreated", w.Now.UTC().Format(time.RFC3339Nano), false},
		{"properties.uniqueId", volume, false},
		{"properties.diskState", "Unattached", false},
		{"properties.encryption", map[string]string{"type": "EncryptionAtRestWithPlatformKey"}, true},
		{"sku", map[string]string{"name": "Standard_LRS", "tier": "Standard"}, true},
	}
	if n := gibFor(from.resolved.SizeBytes); n > 0 {
		edits = append(edits, edit{"properties.diskSizeGB", n, true})
	}
	if o := from.resolved.OSType; o != "" {
		edits = append(edits, edit{"properties.osType", o, true}, edit{"properties.hyperVGeneration", cmp.Or(from.resolved.Generation, "V2"), true})
	}
	if h := lineage(from.resolved); len(h) > 0 {
		edits = append(edits, edit{"properties.hallmark", h, false})
	}
	if vm := arm.GetString(w.Request, "managedBy"); vm != "" && w.Principal.Kind == identity.System.Kind {
		edits = append(edits, edit{"managedBy", vm, false}, edit{"properties.diskState", "Attached", false}) // made for this machine
	}
	if err := apply(w.Doc, edits...); err != nil {
		return err
	}
	return setPrivate(w.Doc, diskState{Volume: volume, Source: from.resolved.Source})
}

// lineage is what clients may know of where a disk came from. It is called
// backingDigest, not imageDigest: that is the digest of the bytes that a document stands
// for, and a disk's change.
func lineage(r resolved) map[string]string {
	h := map[string]string{}
	if r.Source.Digest != "" {
		h["backingDigest"] = r.Source.Digest
	}
	if p := r.Source.Platform; p != nil && p.Digest != "" {
		h["sourceDigest"] = p.Digest
	}
	if r.ImageID != "" {
		h["imageId"] = r.ImageID
	}
	return h
}

func (s *service) validateDisk(w *provider.Write) (errs []*arm.Error) {
	var b diskBody
	if err := json.Unmarshal(w.Doc.Body, &b); err != nil {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidRequestContent, "properties", "The disk cannot be read: %v.", err)}
	}
	from, _ := w.Loaded.(loadedSource)
	if from.err != nil {
		errs = append(errs, from.err)
	}
	size := b.Properties.DiskSizeGB
	if w.Old != nil {
		return append(errs, changedDisk(w, b)...)
	}
	if from.err == nil && from.resolved.Source.Platform == nil && size == 0 || size < 0 || size > 32767 {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, "properties.diskSizeGB", "The disk size is %d GB; it must be 1 to 32767.", size))
	}
	if size > 0 && size*gib < from.resolved.SizeBytes {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, "properties.diskSizeGB", "The disk size of %d GB is smaller than what it is made from, which has %d GB.", size, gibFor(from.resolved.SizeBytes)))
	}
	return errs
}

func changedDisk(w *provider.Write, b diskBody) (errs []*arm.Error) {
	old, _ := readDisk(w.Old)
	if fmt.Sprint(b.Properties.CreationData) != fmt.Sprint(old.Properties.CreationData) {
		errs = append(errs, immutable("properties.creationData"))
	}
	if was, is := old.Properties.DiskSizeGB, b.Properties.DiskSizeGB; is < was {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, "properties.diskSizeGB", "Disk size reduction is not supported. Current size is %d GB, requested size is %d GB.", was, is))
	}
	return errs
}

// commitDisk refuses to make a system disk larger while its machine may use it, as Azure does; a
// data disk grows while it is used.
func commitDisk(tx store.Tx, w *provider.Write) error {
	if w.Create() {
		return nil
	}
	old, _ := readDisk(w.Old)
	b, _ := readDisk(w.Doc)
	id, err := arm.ParseID(old.ManagedBy)
	if b.Properties.DiskSizeGB <= old.Properties.DiskSizeGB || old.ManagedBy == "" || err != nil {
		return nil
	}
	d, err := tx.Get(id.Key())
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	vm, p := readVM(d)
	if p.Want == deallocated || !strings.EqualFold(vm.Properties.StorageProfile.OSDisk.ManagedDisk.ID, w.ID.String()) {
		return nil
	}
	return arm.Conflict("OperationNotAllowed", "properties.diskSizeGB", "Cannot resize disk %s while it is attached to running VM %s. Resizing the system disk of a virtual machine requires the virtual machine to be deallocated. Please stop your VM and retry the operation.",
		w.ID.Name(), old.ManagedBy)
}

// refuseAccess says that bytes do not leave as a VHD here, instead of giving out a link that
// leads nowhere.
func refuseAccess(_ context.Context, w *provider.Write) (any, error) {
	return nil, arm.Conflict("OperationNotAllowed", w.ID.String(), "Disks and snapshots cannot be exported or uploaded through access URIs here. Make an image or a gallery image version of it, and export that.")
}

// immutable is Azure's answer to a change of something that is decided at creation.
func immutable(path string) *arm.Error {
	short := strings.TrimPrefix(path, "properties.")
	return arm.Conflict(arm.CodePropertyChangeNotAllowed, short, "Changing property '%s' is not allowed.", short)
}

// serves reports whether a location is configured; that one is not, the pipeline tells the client.
func (s *service) serves(location string) bool { return slices.Contains(s.Locations, location) }

func checkDiskDetached(_ store.Tx, w *provider.Write) error {
	b, _ := readDisk(w.Old)
	if b.ManagedBy == "" {
		return nil
	}
	return arm.Conflict("OperationNotAllowed", w.ID.String(), "Disk %s is attached to VM %s. Detach it or delete the machine first.", w.ID.Name(), b.ManagedBy)
}

func joinDisk(_ context.Context, w *provider.Write) (any, error) {
	vm, err := systemCallOf(w)
	if err != nil {
		return nil, err
	}
	b, p := readDisk(w.Doc)
	if b.ManagedBy != "" && !strings.EqualFold(b.ManagedBy, vm) {
		return nil, arm.Conflict("ConflictingUserInput", w.ID.String(), "Disk '%s' cannot be attached as the disk is already owned by VM '%s'.", w.ID, b.ManagedBy)
	}
	if !p.Made {
		return nil, arm.Conflict("OperationNotAllowed", w.ID.String(), "Disk %s is not ready: its provisioning state is %s.", w.ID, w.Doc.State())
	}
	return nil, apply(w.Doc, edit{"managedBy", vm, false}, edit{"properties.diskState", "Attached", false})
}

func leaveDisk(_ context.Context, w *provider.Write) (any, error) {
	vm, err := systemCallOf(w)
	if err != nil {
		return nil, err
	}
	b, _ := readDisk(w.Doc)
	if !strings.EqualFold(b.ManagedBy, vm) {
		return nil, nil
	}
	w.Doc.Body = arm.Remove(w.Doc.Body, "managedBy")
	return nil, apply(w.Doc, edit{"properties.diskState", "Unattached", false})
}

// resetDisk asks for a fresh volume, from the same image or the one that the machine has
// now; the machine has been stopped.
func (s *service) resetDisk(ctx context.Context, w *provider.Write) (any, error) {
	vm, err := systemCallOf(w)
	if err != nil {
		return nil, err
	}
	b, p := readDisk(w.Doc)
	if !strings.EqualFold(b.ManagedBy, vm) || (p.Source == source{}) {
		return nil, arm.Conflict("OperationNotAllowed", w.ID.String(), "Disk %s cannot be made anew: it was not made from an image.", w.ID)
	}
	if image := arm.GetString(w.Request, "imageId"); image != "" && !strings.EqualFold(image, imageIDOf(w.Doc)) {
		if err := s.moveDisk(ctx, w, &p, image); err != nil {
			return nil, err
		}
	}
	p.Stale, p.Volume, p.Made, p.Error = p.Volume, uuid.NewString(), false, nil
	return nil, setPrivate(w.Doc, p)
}

// moveDisk makes another image the disk's source.
func (s *service) moveDisk(ctx context.Context, w *provider.Write, p *diskState, image string) error {
	from, err := s.resolve(ctx, w.Client, w.Doc.Location, imageReference{ID: image}, w.ID.Subscription())
	if err != nil {
		return err
	}
	p.Former, p.Source = p.Source.Digest, from.Source
	edits := []edit{{"properties.creationData", creationOf(image), false}}
	if h := lineage(from); len(h) > 0 {
		edits = append(edits, edit{"properties.hallmark", h, false})
	}
	return apply(w.Doc, edits...)
}

// creationOf is creationData of a disk from an image.
func creationOf(image string) map[string]any {
	reference := "imageReference"
	if id, err := arm.ParseID(image); err == nil && id.Type().Equal(typeGalleryVersion) {
		reference = "galleryImageReference"
	}
	return map[string]any{"createOption": "FromImage", reference: map[string]string{"id": image}}
}

func systemCallOf(w *provider.Write) (vm string, err error) {
	if w.Principal.Kind != identity.System.Kind {
		return "", arm.Errorf(403, arm.CodeAuthorizationFailed, "Only the control plane itself may do this.").At(w.ID.String())
	}
	return arm.GetString(w.Request, "virtualMachine.id"), nil
}

// wakeOwner makes a machine of the type look again when one of its disks changes.
func wakeOwner(owner arm.Type) func(string, *store.Document) []string {
	return func(_ string, d *store.Document) []string {
		if d == nil {
			return nil
		}
		b, _ := readDisk(d)
		if id, err := arm.ParseID(b.ManagedBy); b.ManagedBy != "" && err == nil && id.Type().Equal(owner) {
			return []string{id.Key()}
		}
		return nil
	}
}
