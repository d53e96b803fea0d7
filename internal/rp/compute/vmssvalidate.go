package compute

import (
	"context"
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

// loadedSet is what Load has found: the first member that the model would make, and
// whether its image and its subnet are there.
type loadedSet struct {
	vm      loadedVM
	missing []string // ids of subnets
}

func (s *service) loadSet(ctx context.Context, w *provider.Write) error {
	asked := w.Doc.Clone()
	if err := inheritSet(asked, w.Old); err != nil {
		return err
	}
	b, p := readSet(asked)
	b.Location = w.Doc.Location
	l := loadedSet{}
	if b.hasProfile() {
		l.vm.password, l.vm.customData = arm.GetString(asked.Body, pathProfile+".osProfile.adminPassword"), arm.GetString(asked.Body, pathProfile+".osProfile.customData")
		l.vm.asked = firstMember(w.ID, b, p)
	}
	if ref := l.vm.asked.Properties.StorageProfile.ImageReference; ref != nil && s.serves(w.Doc.Location) && looksAtImage(w, asked) {
		image, err := s.resolve(ctx, w.Client, w.Doc.Location, *ref, w.ID.Subscription())
		found, err := keepARMError(image, err)
		if err != nil {
			return err
		}
		l.vm.image, l.vm.imageErr = found.resolved, found.err
	}
	var err error
	l.missing, err = missingSubnets(ctx, w, l.vm.asked.Properties.NetworkProfile.NetworkInterfaceConfigurations)
	w.Loaded = l
	return err
}

// looksAtImage: a set whose image has gone can still be scaled in and relabelled.
func looksAtImage(w *provider.Write, asked *store.Document) bool {
	if w.Create() {
		return true
	}
	was, _ := readSet(w.Old)
	is, _ := readSet(asked)
	return is.SKU.Capacity > was.SKU.Capacity || !sameAt(w.Old.Body, asked.Body, pathProfile+".storageProfile.imageReference")
}

func sameAt(a, b json.RawMessage, path string) bool {
	x, _ := arm.Get(a, path)
	y, _ := arm.Get(b, path)
	return string(canonical(x)) == string(canonical(y))
}

func missingSubnets(ctx context.Context, w *provider.Write, configurations []json.RawMessage) (missing []string, err error) {
	for _, raw := range configurations {
		c, err := readConfiguration(raw)
		if err != nil {
			continue // Validate says so
		}
		id, err := arm.ParseID(c.subnet())
		if err != nil || !id.Type().Equal(typeSubnet) {
			continue
		}
		if _, err := w.Client.Get(ctx, id); arm.IsNotFound(err) {
			missing = append(missing, c.subnet())
		} else if err != nil {
			return nil, err
		}
	}
	return missing, nil
}

// firstMember is the machine that the model would make first, with names for its disks, so
// that what is wrong with the model is said as of a machine.
func firstMember(set arm.ID, b setBody, p setState) (vm vmBody) {
	properties, err := memberProperties(set, b, p.Next)
	if err != nil {
		return vm
	}
	_ = json.Unmarshal(properties, &vm.Properties) // Validate reads it again
	storage := &vm.Properties.StorageProfile
	storage.OSDisk.Name = "os"
	for i := range storage.DataDisks {
		storage.DataDisks[i].Name = fmt.Sprintf("data%d", i)
		storage.DataDisks[i].ManagedDisk.ID = fmt.Sprintf("data%d", i)
	}
	return vm
}

// inherited are the paths that keep their stored value when an update leaves them out: az
// scales with a PUT of nothing but the sku.
var inherited = []string{
	"sku", "sku.name", "sku.tier", pathCapacity, "tags", "identity", "zones", "plan", pathProfile,
	pathOrchestration, "properties.upgradePolicy", pathUpgradeMode, "properties.singlePlacementGroup", "properties.overprovision", "properties.platformFaultDomainCount",
	"properties.scaleInPolicy", "properties.automaticRepairsPolicy",
	pathProfile + ".storageProfile", pathProfile + ".storageProfile.imageReference", pathProfile + ".storageProfile.osDisk", pathProfile + ".osProfile",
	pathProfile + ".osProfile.adminUsername", pathComputerPrefix, pathProfile + ".osProfile.linuxConfiguration",
	pathProfile + ".networkProfile", pathProfile + ".networkProfile.networkInterfaceConfigurations", pathProfile + ".extensionProfile",
}

func inheritSet(d, old *store.Document) error {
	if old == nil {
		return nil
	}
	for _, path := range inherited {
		v, ok := arm.Get(old.Body, path)
		if !ok {
			continue
		}
		if err := apply(d, edit{path, v, true}); err != nil {
			return err
		}
	}
	return nil
}

func (s *service) defaultSet(w *provider.Write) error {
	l, _ := w.Loaded.(loadedSet)
	_, p := readSet(w.Doc)
	if err := s.takeSetSecrets(w, l, &p); err != nil {
		return err
	}
	if err := readBooleans(w.Doc); err != nil {
		return err
	}
	if err := inheritSet(w.Doc, w.Old); err != nil {
		return err
	}
	if w.Old != nil && len(w.Doc.Tags) == 0 { // inherited
		w.Doc.Tags = w.Old.Tags
	}
	if err := defaultNewSet(w, l); err != nil {
		return err
	}
	if l.vm.image.ImageID != "" {
		p.Specialized = l.vm.image.Specialized
	}
	b, _ := readSet(w.Doc)
	before := p.Model
	if p.Model = fingerprint(b, p); !w.Create() && p.Model != before {
		p.Upgrade = b.upgrades(automatic) || b.upgrades(rolling)
	}
	p.Replace = true // a creation that failed is tried again
	return setPrivate(w.Doc, p)
}

func readBooleans(d *store.Document) error {
	for _, path := range []string{pathProfile + ".networkProfile", pathProfile + ".scheduledEventsProfile", "properties.automaticRepairsPolicy"} {
		raw, ok := arm.Get(d.Body, path)
		var v any
		if !ok || json.Unmarshal(raw, &v) != nil {
			continue
		}
		if err := apply(d, edit{path, withBooleans(v), false}); err != nil {
			return err
		}
	}
	return nil
}

// takeSetSecrets moves what nobody may read again from the model into Private. The same
// password, and the same custom data, again is the same model.
func (s *service) takeSetSecrets(w *provider.Write, l loadedSet, p *setState) error {
	for _, name := range []string{"adminPassword", "customData"} {
		w.Doc.Body = arm.Remove(w.Doc.Body, pathProfile+".osProfile."+name)
	}
	if err := dropProtectedSettings(w.Doc); err != nil {
		return err
	}
	if l.vm.password != "" && bcrypt.CompareHashAndPassword([]byte(p.PasswordHash), []byte(l.vm.password)) != nil {
		hash, err := bcrypt.GenerateFromPassword([]byte(l.vm.password), bcrypt.DefaultCost)
		if err != nil && !errors.Is(err, bcrypt.ErrPasswordTooLong) {
			return fmt.Errorf("hashing the password: %w", err)
		}
		p.PasswordHash = string(hash) // Validate refuses a password that is too long
	}
	return s.takeCustomData(l.vm.customData, &p.CustomData)
}

// dropProtectedSettings: extensions in a model are recorded only, and their secrets not even that.
func dropProtectedSettings(d *store.Document) error {
	const path = pathProfile + ".extensionProfile.extensions"
	raw, ok := arm.Get(d.Body, path)
	var list []json.RawMessage
	if !ok || json.Unmarshal(raw, &list) != nil {
		return nil
	}
	for i := range list {
		list[i] = arm.Remove(list[i], "properties.protectedSettings")
	}
	return apply(d, edit{path, list, false})
}

func defaultNewSet(w *provider.Write, l loadedSet) error {
	b, _ := readSet(w.Doc)
	edits := []edit{{pathOrchestration, uniform, true}, {"properties.singlePlacementGroup", !b.flexible(), true}}
	if w.Create() {
		edits = append(edits, edit{"properties.uniqueId", uuid.NewString(), false}, edit{"properties.timeCreated", w.Now.UTC().Format(time.RFC3339Nano), false})
	}
	if !b.flexible() {
		edits = append(edits, edit{pathUpgradeMode, manual, true}, edit{"properties.overprovision", true, true})
	} else {
		edits = append(edits, edit{"properties.platformFaultDomainCount", 1, true})
	}
	if b.SKU.Name != "" {
		edits = append(edits, edit{"sku.tier", "Standard", true}, edit{pathCapacity, 0, true})
	}
	if b.hasProfile() {
		edits = append(edits, defaultProfile(w, l)...)
	}
	return apply(w.Doc, edits...)
}

func defaultProfile(w *provider.Write, l loadedSet) []edit {
	const disk = pathProfile + ".storageProfile.osDisk."
	edits := []edit{{disk + "createOption", "FromImage", true}, {disk + "caching", "None", true}, {disk + "managedDisk.storageAccountType", "Premium_LRS", true}}
	if _, ok := arm.Get(w.Doc.Body, pathProfile+".osProfile"); ok {
		prefix := hostNameOf(w.ID.Name())
		edits = append(edits, edit{pathComputerPrefix, strings.TrimRight(prefix[:min(len(prefix), 9)], "-"), true})
	}
	if l.vm.image.OSType != "" {
		edits = append(edits, edit{disk + "osType", l.vm.image.OSType, true})
	}
	return edits
}

func (s *service) validateSet(w *provider.Write) (errs []*arm.Error) {
	var b setBody
	if err := json.Unmarshal(w.Doc.Body, &b); err != nil {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidRequestContent, "properties", "The scale set cannot be read: %v.", err)}
	}
	_, p := readSet(w.Doc)
	l, _ := w.Loaded.(loadedSet)
	errs = append(errs, checkSet(b)...)
	errs = append(errs, checkUpgradePolicy(b)...)
	if !w.Create() {
		errs = append(errs, unchanged(w, pathOrchestration)...)
		errs = append(errs, unchanged(w, pathComputerPrefix)...)
	}
	return append(errs, s.checkModel(w, b, p, l)...)
}

func checkSet(b setBody) (errs []*arm.Error) {
	bad := func(at, format string, args ...any) {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, at, format, args...))
	}
	mode := b.Properties.OrchestrationMode
	if !strings.EqualFold(mode, uniform) && !strings.EqualFold(mode, flexible) {
		bad(pathOrchestration, "The orchestration mode is '%s'; it must be Uniform or Flexible.", mode)
	}
	if n := b.SKU.Capacity; n < 0 || n > maxCapacity {
		bad(pathCapacity, "The capacity is %d; a scale set has 0 to %d instances.", n, maxCapacity)
	}
	if spg := b.Properties.SinglePlacementGroup; b.flexible() && spg != nil && *spg {
		bad("properties.singlePlacementGroup", "The value of parameter singlePlacementGroup is invalid: a Flexible scale set has no single placement group.")
	}
	switch {
	case b.hasProfile() && b.SKU.Name == "":
		bad("sku.name", "The scale set needs a size for its instances.")
	case !b.hasProfile() && !b.flexible():
		bad(pathProfile, "Required parameter 'virtualMachineProfile' is missing (null).")
	case !b.hasProfile() && b.SKU.Capacity > 0 && b.SKU.Name != "":
		bad(pathProfile, "A scale set without a virtualMachineProfile cannot make instances; its capacity is %d.", b.SKU.Capacity)
	}
	for i, rule := range b.Properties.ScaleInPolicy.Rules {
		if !slices.ContainsFunc([]string{"Default", "NewestVM", "OldestVM"}, func(r string) bool { return strings.EqualFold(r, rule) }) {
			bad(fmt.Sprintf("properties.scaleInPolicy.rules[%d]", i), "The scale-in rule is '%s'; it must be Default, NewestVM or OldestVM.", rule)
		}
	}
	return errs
}

func checkUpgradePolicy(b setBody) (errs []*arm.Error) {
	const at = "properties.upgradePolicy"
	u := b.Properties.UpgradePolicy
	if m := u.Mode; m != "" && !b.upgrades(manual) && !b.upgrades(automatic) && !b.upgrades(rolling) {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, at+".mode", "The upgrade mode is '%s'; it must be Manual, Automatic or Rolling.", m))
	}
	r := u.RollingUpgradePolicy
	for _, percent := range []struct {
		name  string
		value *int
		least int
	}{{"maxBatchInstancePercent", r.MaxBatchInstancePercent, 5}, {"maxUnhealthyInstancePercent", r.MaxUnhealthyInstancePercent, 5},
		{"maxUnhealthyUpgradedInstancePercent", r.MaxUnhealthyUpgradedInstancePercent, 0}} {
		if n := percent.value; n != nil && (*n < percent.least || *n > 100) {
			errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, at+".rollingUpgradePolicy."+percent.name, "%s is %d; it must be %d to 100.", percent.name, *n, percent.least))
		}
	}
	if r.PauseTimeBetweenBatches != "" {
		if _, err := duration(r.PauseTimeBetweenBatches); err != nil {
			errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, at+".rollingUpgradePolicy.pauseTimeBetweenBatches", "%v.", err))
		}
	}
	return errs
}

// checkModel says of the model what would be said of a machine made from it.
func (s *service) checkModel(w *provider.Write, b setBody, p setState, l loadedSet) (errs []*arm.Error) {
	if !b.hasProfile() {
		return nil
	}
	properties, err := memberProperties(w.ID, b, p.Next)
	var whole vmBody
	if err == nil {
		err = json.Unmarshal(properties, &whole.Properties)
	}
	if err != nil {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidRequestContent, pathProfile, "The model cannot be read: %v.", err)}
	}
	vm := firstMember(w.ID, b, p)
	vm.Location = w.Doc.Location
	if b.SKU.Name != "" {
		errs = append(errs, s.checkSize(vm)...)
	}
	errs = append(errs, s.checkImage(vm, l.vm, w.Doc.Location)...)
	errs = append(errs, checkSystemDisk(w, vm, l.vm)...)
	errs = append(errs, checkDataDisks(w, vm, l.vm)...)
	errs = append(errs, checkOSProfile(vm, l.vm, vmState{PasswordHash: p.PasswordHash, Specialized: p.Specialized})...)
	configurations := vm.Properties.NetworkProfile.NetworkInterfaceConfigurations
	errs = append(errs, checkConfigurations(configurations, "networkProfile.networkInterfaceConfigurations")...)
	for _, subnet := range l.missing {
		errs = append(errs, arm.BadRequest("InvalidResourceReference", "networkProfile.networkInterfaceConfigurations[0].properties.ipConfigurations[0].properties.subnet.id",
			"Resource %s referenced by resource %s was not found. Please make sure that the referenced resource exists.", subnet, w.ID))
	}
	for i := range errs {
		errs[i] = ofModel(errs[i])
	}
	return errs
}

// ofModel points an error about a machine at the place in the model where it comes from.
func ofModel(e *arm.Error) *arm.Error {
	at := strings.TrimPrefix(e.Target, "properties.")
	switch {
	case at == "hardwareProfile.vmSize":
		return e.At("sku.name")
	case at == "osProfile.computerName":
		return e.At(pathComputerPrefix)
	case strings.HasPrefix(at, "imageReference"):
		at = "storageProfile." + at
	}
	return e.At(pathProfile + "." + at)
}
