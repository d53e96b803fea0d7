package compute

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/bcrypt"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// loadedVM is what Load has found; err are for Validate.
type loadedVM struct {
	image      resolved
	imageErr   *arm.Error
	password   string // as sent; kept nowhere
	customData string
	userData   *string                    // as sent
	interfaces map[string]json.RawMessage // by lower-case id, nil for one that does not exist
	disks      map[string]*facts          // attached by id
	scaleSet   json.RawMessage            // that the machine says it is in; nil if there is none
	asked      vmBody                     // as sent, with what is left out filled in
}

// pathUserData is shown under $expand=userData only.
const pathUserData = "properties.userData"

func (s *service) loadVM(ctx context.Context, w *provider.Write) error {
	asked := w.Doc.Clone()
	if err := inheritVM(asked, w.Old); err != nil {
		return err
	}
	b, _ := readVM(asked)
	l := loadedVM{interfaces: map[string]json.RawMessage{}, disks: map[string]*facts{}, asked: b}
	if o := b.Properties.OSProfile; o != nil {
		l.password, l.customData = o.AdminPassword, o.CustomData
	}
	if raw, ok := arm.Get(w.Doc.Body, pathUserData); ok && string(raw) != "null" {
		text := arm.GetString(w.Doc.Body, pathUserData)
		l.userData = &text
	}
	if ref := b.Properties.StorageProfile.ImageReference; ref != nil && w.Create() && s.serves(w.Doc.Location) {
		image, err := s.resolve(ctx, w.Client, w.Doc.Location, *ref, w.ID.Subscription())
		kept, err := keepARMError(image, err)
		if err != nil {
			return err
		}
		l.image, l.imageErr = kept.resolved, kept.err
	}
	err := loadInterfaces(ctx, w, b, l.interfaces)
	if err != nil {
		return err
	}
	if l.scaleSet, err = loadScaleSet(ctx, w, b); err != nil {
		return err
	}
	w.Loaded = l
	return loadAttached(ctx, w, b, l.disks)
}

func loadInterfaces(ctx context.Context, w *provider.Write, b vmBody, found map[string]json.RawMessage) error {
	for _, n := range b.Properties.NetworkProfile.NetworkInterfaces {
		id, err := arm.ParseID(n.ID)
		if err != nil || !isInterface(w.ID, id) {
			continue // Validate says so
		}
		body, err := w.Client.Get(ctx, id)
		if err != nil && !arm.IsNotFound(err) {
			return err
		}
		found[id.Key()] = body
	}
	return nil
}

// loadAttached reads the disks that are attached by id, new ones as well as those
// that the machine has made itself before.
func loadAttached(ctx context.Context, w *provider.Write, b vmBody, found map[string]*facts) error {
	for _, d := range b.disks() {
		id, err := arm.ParseID(d.ManagedDisk.ID)
		if d.ManagedDisk.ID == "" || err != nil || !id.Type().Equal(TypeDisk) {
			continue // Validate says so
		}
		f, err := getFacts(ctx, w.Client, id)
		if arm.IsNotFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		if f.ManagedBy != "" && !strings.EqualFold(f.ManagedBy, w.ID.String()) {
			f.leaving = isLeaving(ctx, w, id, f.ManagedBy)
		}
		found[id.Key()] = &f
	}
	return nil
}

// isLeaving: whether the machine that has the disk does not want it any more.
func isLeaving(ctx context.Context, w *provider.Write, disk arm.ID, owner string) bool {
	id, err := arm.ParseID(owner)
	if err != nil {
		return false
	}
	body, err := w.Client.Get(ctx, id)
	if err != nil {
		return arm.IsNotFound(err)
	}
	var b vmBody
	return json.Unmarshal(body, &b) == nil && !slices.Contains(b.attached(), disk.Key())
}

func (s *service) defaultVM(w *provider.Write) error {
	_, p := readVM(w.Doc)
	l, _ := w.Loaded.(loadedVM)
	if w.Create() {
		p = newState(l)
	}
	if !p.Born {
		p.Want = running // a creation that failed is tried again
	}
	if err := s.takeSecrets(w, l, &p); err != nil {
		return err
	}
	if w.Create() {
		if err := s.defaultNewVM(w, l, p); err != nil {
			return err
		}
		takeConfiguration(l, &p)
		if err := takeMembership(w, &p); err != nil {
			return err
		}
	}
	w.Doc.Body = arm.Remove(w.Doc.Body, "properties.networkProfile.networkInterfaceConfigurations")
	if err := inheritVM(w.Doc, w.Old); err != nil {
		return err
	}
	if err := dropDetached(w); err != nil {
		return err
	}
	if err := defaultDisks(w); err != nil {
		return err
	}
	return setPrivate(w.Doc, p)
}

func newState(l loadedVM) vmState {
	return vmState{Machine: uuid.NewString(), Want: running, Source: l.image.Source, ImageID: l.image.ImageID,
		Generation: l.image.Generation, Specialized: l.image.Specialized}
}

// takeSecrets moves what nobody may read again from the body into Private: the
// password only as a hash, of a kind that crypt(5) knows, custom data sealed.
func (s *service) takeSecrets(w *provider.Write, l loadedVM, p *vmState) error {
	w.Doc.Body = arm.Remove(arm.Remove(w.Doc.Body, "properties.osProfile.adminPassword"), "properties.osProfile.customData")
	if w.Doc.Body = arm.Remove(w.Doc.Body, pathUserData); l.userData != nil {
		p.UserData = *l.userData
	}
	if !w.Create() {
		return nil // a change is refused by Validate
	}
	if l.password != "" {
		hash, err := bcrypt.GenerateFromPassword([]byte(l.password), bcrypt.DefaultCost)
		if err != nil && !errors.Is(err, bcrypt.ErrPasswordTooLong) {
			return fmt.Errorf("hashing the password: %w", err)
		}
		p.PasswordHash = string(hash) // Validate refuses a password that is too long
	}
	return s.takeCustomData(l.customData, &p.CustomData)
}

// takeCustomData seals custom data, which often holds secrets. What is kept already stays as
// it is: sealed anew, it would look like a change. Validate has refused what is not base64.
func (s *service) takeCustomData(text string, kept *[]byte) error {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(data) == 0 {
		return nil
	}
	if before, err := s.open(*kept); err == nil && bytes.Equal(before, data) {
		return nil
	}
	*kept, err = s.seal(data)
	return err
}

func (s *service) defaultNewVM(w *provider.Write, l loadedVM, p vmState) error {
	b, _ := readVM(w.Doc)
	edits := []edit{
		{"properties.vmId", p.Machine, false},
		{"properties.timeCreated", w.Now.UTC().Format(time.RFC3339Nano), false},
		{"properties.storageProfile.dataDisks", json.RawMessage("[]"), true},
	}
	if b.Properties.OSProfile != nil {
		edits = append(edits, edit{"properties.osProfile.computerName", hostNameOf(machineName(w.ID)), true})
	}
	if b.Properties.StorageProfile.ImageReference != nil && l.imageErr == nil {
		if l.image.ExactVersion != "" {
			edits = append(edits, edit{pathImageReference + ".exactVersion", l.image.ExactVersion, false})
		}
		edits = append(edits, edit{"properties.hallmark", lineage(l.image), false},
			edit{"properties.storageProfile.osDisk.osType", l.image.OSType, true},
			edit{"properties.storageProfile.osDisk.createOption", "FromImage", true})
	}
	if attached := l.disks[strings.ToLower(b.Properties.StorageProfile.OSDisk.ManagedDisk.ID)]; attached != nil {
		h := map[string]string{"backingDigest": attached.Properties.Hallmark.BackingDigest, "imageId": attached.Properties.Hallmark.ImageID}
		edits = append(edits, edit{"properties.hallmark", h, false}, edit{"properties.storageProfile.osDisk.osType", attached.Properties.OSType, true})
	}
	return apply(w.Doc, edits...)
}

// takeConfiguration keeps how the machine's interface is to be made, unless it names one.
func takeConfiguration(l loadedVM, p *vmState) {
	n := l.asked.Properties.NetworkProfile
	if len(n.NetworkInterfaces) == 0 && len(n.NetworkInterfaceConfigurations) > 0 {
		p.Interface = n.NetworkInterfaceConfigurations[0]
	}
}

// hostNameOf makes a host name of a machine's name, which may have more characters.
func hostNameOf(name string) string {
	name = strings.Map(func(r rune) rune {
		if r == '.' || r == '_' {
			return '-'
		}
		return r
	}, name)
	return strings.Trim(name[:min(len(name), 63)], "-")
}

// decided are the paths that keep their stored value when an update leaves them out.
var decided = []string{
	pathImageReference, "properties.storageProfile.osDisk.name", "properties.storageProfile.osDisk.createOption",
	"properties.storageProfile.osDisk.osType", "properties.storageProfile.osDisk.managedDisk", "properties.storageProfile.osDisk.diskSizeGB",
	"properties.storageProfile.osDisk.deleteOption", "properties.storageProfile.osDisk.caching", "properties.storageProfile.dataDisks",
	"properties.osProfile", "properties.networkProfile.networkInterfaces", "properties.hardwareProfile",
	"properties.osProfile.computerName", "properties.osProfile.adminUsername", "properties.osProfile.linuxConfiguration",
	pathImageReference + ".exactVersion", "properties.virtualMachineScaleSet",
}

func inheritVM(d, old *store.Document) error {
	if old == nil {
		return nil
	}
	for _, path := range decided {
		if v, ok := arm.Get(old.Body, path); ok {
			if err := apply(d, edit{path, v, true}); err != nil {
				return err
			}
		}
	}
	return nil
}

// defaultDisks names the disks that the machine will make, so that their ids are decided
// and shown before anything is made.
func defaultDisks(w *provider.Write) error {
	osDisk, ok := arm.Get(w.Doc.Body, "properties.storageProfile.osDisk")
	if !ok {
		osDisk = json.RawMessage("{}")
	}
	if osDisk, ok = defaultDiskEntry(w.ID, osDisk, fmt.Sprintf("%s_OsDisk_1_%s", machineName(w.ID), hex32())); !ok {
		return nil // not an object: Validate says so
	}
	if err := apply(w.Doc, edit{"properties.storageProfile.osDisk", osDisk, false}); err != nil {
		return err
	}
	raw, _ := arm.Get(w.Doc.Body, "properties.storageProfile.dataDisks")
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return nil
	}
	for i := range list {
		name := cmp.Or(nameAt(w.Old, list[i]), fmt.Sprintf("%s_disk%d_%s", machineName(w.ID), i+2, hex32()))
		if list[i], ok = defaultDiskEntry(w.ID, list[i], name); !ok {
			return nil
		}
	}
	if len(list) == 0 {
		return nil
	}
	return apply(w.Doc, edit{"properties.storageProfile.dataDisks", list, false})
}

// nameAt is the name of the disk that the machine has at the entry's LUN: the same request
// sent again means the same disk.
func nameAt(old *store.Document, entry json.RawMessage) string {
	var d vmDisk
	if old == nil || json.Unmarshal(entry, &d) != nil || d.LUN == nil {
		return ""
	}
	b, _ := readVM(old)
	for _, has := range b.Properties.StorageProfile.DataDisks {
		if has.LUN != nil && *has.LUN == *d.LUN {
			return has.Name
		}
	}
	return ""
}

func hex32() string { return strings.ReplaceAll(uuid.NewString(), "-", "") }

func defaultDiskEntry(vm arm.ID, raw json.RawMessage, name string) (json.RawMessage, bool) {
	var d vmDisk
	if json.Unmarshal(raw, &d) != nil {
		return raw, false
	}
	if id, err := arm.ParseID(d.ManagedDisk.ID); d.ManagedDisk.ID != "" && err == nil {
		name = id.Name()
	} else if d.Name != "" {
		name = d.Name
	}
	for _, e := range []edit{
		{"name", name, true}, {"deleteOption", "Detach", true}, {"caching", "None", true},
		{"managedDisk.storageAccountType", "Premium_LRS", true}, {"managedDisk.id", diskID(vm, name), true},
	} {
		if _, ok := arm.Get(raw, e.path); ok {
			continue
		}
		changed, err := arm.Set(raw, e.path, e.value)
		if err != nil {
			return raw, false
		}
		raw = changed
	}
	return raw, true
}
