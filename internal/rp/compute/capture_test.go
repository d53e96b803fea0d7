package compute_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/compute"
)

// image makes a managed image through the SDK.
func (r *rig) image(name string, p *armcompute.ImageProperties) (armcompute.Image, error) {
	r.t.Helper()
	c, err := armcompute.NewImagesClient(providertest.Subscription, r.Credential, r.Options)
	if err != nil {
		r.t.Fatal(err)
	}
	poller, err := c.BeginCreateOrUpdate(r.t.Context(), providertest.ResourceGroup, name, armcompute.Image{Location: to.Ptr("local"), Properties: p}, nil)
	done, err := wait(r.t, poller, err)
	return done.Image, err
}

// A managed image is the bytes of a generalized machine's disk, and machines are made from it.
func TestManagedImage(t *testing.T) {
	r := fresh(t)
	vm := r.mustCreate("web-1", machine(r.publish("1.0.0", "").String()))
	from := &armcompute.ImageProperties{SourceVirtualMachine: &armcompute.SubResource{ID: vm.ID}}
	if _, err := r.image("captured", from); code(err) != "OperationNotAllowed" {
		t.Errorf("an image of a running machine: %v", err)
	}
	if _, err := r.vms().Generalize(t.Context(), providertest.ResourceGroup, "web-1", nil); code(err) != "OperationNotAllowed" {
		t.Errorf("generalizing a running machine: %v", err)
	}
	off, err := r.vms().BeginDeallocate(t.Context(), providertest.ResourceGroup, "web-1", nil)
	if _, err := wait(t, off, err); err != nil {
		t.Fatal(err)
	}
	if _, err := r.vms().Generalize(t.Context(), providertest.ResourceGroup, "web-1", nil); err != nil {
		t.Fatal(err)
	}
	on, err := r.vms().BeginStart(t.Context(), providertest.ResourceGroup, "web-1", nil)
	if _, err := wait(t, on, err); code(err) != "OperationNotAllowed" {
		t.Errorf("starting a generalized machine: %v", err)
	}
	image, err := r.image("captured", from)
	if err != nil {
		t.Fatal(err)
	}
	if got := image.Properties.StorageProfile.OSDisk; *got.OSType != armcompute.OperatingSystemTypesLinux || *got.OSState != armcompute.OperatingSystemStateTypesGeneralized ||
		!strings.EqualFold(*got.ManagedDisk.ID, *vm.Properties.StorageProfile.OSDisk.ManagedDisk.ID) {
		t.Errorf("the image's disk: %+v", got)
	}
	body, err := r.Client.Get(t.Context(), id(compute.TypeImage, "captured"))
	if err != nil || arm.GetString(body, "properties.hallmark.imageDigest") != digest("c") {
		t.Errorf("%v %s", err, body)
	}
	again := r.mustCreate("web-2", machine(*image.ID))
	disk, err := arm.ParseID(*again.Properties.StorageProfile.OSDisk.ManagedDisk.ID)
	if err != nil {
		t.Fatal(err)
	}
	body, err = r.Client.Get(t.Context(), disk)
	if err != nil || arm.GetString(body, "properties.hallmark.backingDigest") != digest("c") {
		t.Errorf("%v %s", err, body)
	}

	// The bytes stay as long as the machine needs them, and no longer.
	if err := r.Client.Delete(t.Context(), id(compute.TypeImage, "captured")); err != nil {
		t.Fatal(err)
	}
	r.Settle(t)
	if users, err := compute.Users(t.Context(), r.Store, "local", digest("c")); err != nil || len(users) != 2 {
		t.Errorf("users %v, %v", users, err)
	}
	if _, there := r.w.replicas["local/"+digest("c")]; !there {
		t.Error("the replica went although a machine stands on it")
	}
	gone, err := r.vms().BeginDelete(t.Context(), providertest.ResourceGroup, "web-2", nil)
	if _, err := wait(t, gone, err); err != nil {
		t.Fatal(err)
	}
	if err := r.Client.Delete(t.Context(), disk); err != nil {
		t.Fatal(err)
	}
	r.Settle(t)
	if _, there := r.w.replicas["local/"+digest("c")]; there {
		t.Error("the replica stays although nothing needs it")
	}
	if _, there := r.w.replicas["local/"+digest("1")]; !there {
		t.Error("the gallery's replica went")
	}
}

func TestDisksAndSnapshots(t *testing.T) {
	r := fresh(t)
	r.w.blobs["https://here/hallmark-blobs/sha256/aa"] = 3 << 30
	disk := func(name, creation, more string) arm.ID {
		t.Helper()
		at := id(compute.TypeDisk, name)
		r.put(at, `{"location":"local","properties":{"creationData":`+creation+more+`}}`)
		return at
	}
	empty := disk("empty", `{"createOption":"Empty"}`, `,"diskSizeGB":5`)
	imported := disk("imported", `{"createOption":"Import","sourceUri":"https://here/hallmark-blobs/sha256/aa"}`, ``)
	r.Settle(t)
	snapshot := id(compute.TypeSnapshot, "snap")
	r.put(snapshot, fmt.Sprintf(`{"location":"local","properties":{"creationData":{"createOption":"Copy","sourceResourceId":%q}}}`, imported))
	copied := disk("copied", fmt.Sprintf(`{"createOption":"Copy","sourceResourceId":%q}`, empty), `,"diskSizeGB":6`)
	fromImage := disk("fromimage", fmt.Sprintf(`{"createOption":"FromImage","galleryImageReference":{"id":%q}}`, r.publish("1.0.0", "")), `,"diskSizeGB":9`)
	r.Settle(t)
	thawed := disk("thawed", fmt.Sprintf(`{"createOption":"Copy","sourceResourceId":%q}`, snapshot), ``)
	r.put(empty, `{"location":"local","properties":{"diskSizeGB":7}}`)
	r.Settle(t)
	type facts struct {
		State string
		GB    int
		On    string
	}
	got := map[string]facts{}
	for _, at := range []arm.ID{empty, imported, copied, fromImage, thawed} {
		body, err := r.Client.Get(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		var gb int
		raw, _ := arm.Get(body, "properties.diskSizeGB")
		if err := json.Unmarshal(raw, &gb); err != nil {
			t.Errorf("%s: %v", body, err)
		}
		got[at.Name()] = facts{arm.GetString(body, "properties.provisioningState"), gb, r.w.volumes[arm.GetString(body, "properties.uniqueId")].backing}
	}
	want := map[string]facts{
		"empty": {"Succeeded", 7, ""}, "imported": {"Succeeded", 3, ""}, "copied": {"Succeeded", 6, ""},
		"fromimage": {"Succeeded", 9, "/regions/local/" + digest("1") + ".qcow2"},
		"thawed":    {"Succeeded", 3, "/regions/local/" + digest("c") + ".qcow2"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	refused := func(at arm.ID, body, want string) {
		t.Helper()
		_, err := r.Client.Put(t.Context(), at, json.RawMessage(body))
		if err == nil || arm.AsError(err).Code != want {
			t.Errorf("%s: %v, want %s", body, err, want)
		}
	}
	refused(empty, `{"location":"local","properties":{"diskSizeGB":1}}`, "InvalidParameter")
	refused(empty, `{"location":"local","properties":{"creationData":{"createOption":"Import"},"diskSizeGB":7}}`, "PropertyChangeNotAllowed")
	refused(id(compute.TypeDisk, "bad"), `{"location":"local","properties":{"creationData":{"createOption":"Empty"}}}`, "InvalidParameter")
	refused(id(compute.TypeDisk, "bad"), `{"location":"local","properties":{"creationData":{"createOption":"Import","sourceUri":"https://elsewhere/x"}}}`, "InvalidParameter")
	refused(id(compute.TypeDisk, "bad"), fmt.Sprintf(`{"location":"local","properties":{"diskSizeGB":1,"creationData":{"createOption":"Copy","sourceResourceId":%q}}}`, imported), "InvalidParameter")
	refused(id(compute.TypeSnapshot, "bad"), `{"location":"local","properties":{"creationData":{"createOption":"Empty"}}}`, "InvalidParameter")
}

// snapshot makes one of a disk through the SDK.
func (r *rig) snapshot(name string, disk *string) error {
	r.t.Helper()
	c, err := armcompute.NewSnapshotsClient(providertest.Subscription, r.Credential, r.Options)
	if err != nil {
		r.t.Fatal(err)
	}
	p, err := c.BeginCreateOrUpdate(r.t.Context(), providertest.ResourceGroup, name, armcompute.Snapshot{Location: to.Ptr("local"), Properties: &armcompute.SnapshotProperties{
		CreationData: &armcompute.CreationData{CreateOption: to.Ptr(armcompute.DiskCreateOptionCopy), SourceResourceID: disk}}}, nil)
	_, err = wait(r.t, p, err)
	return err
}

// A disk that its machine writes to is copied as it is at one moment, and no copy stays
// that was only for that; an image is not made of such a disk.
func TestDiskOfARunningMachine(t *testing.T) {
	r := fresh(t)
	vm := r.mustCreate("web-1", machine(r.publish("1.0.0", "").String()))
	disk := vm.Properties.StorageProfile.OSDisk.ManagedDisk.ID
	state := func(copies, volumes int) {
		t.Helper()
		r.w.locked(func() {
			if len(r.w.copied) != copies || len(r.w.volumes) != volumes {
				t.Errorf("%d copies while the machine ran, %d volumes; want %d, %d", len(r.w.copied), len(r.w.volumes), copies, volumes)
			}
		})
	}
	if err := r.snapshot("one", disk); err != nil {
		t.Fatal(err)
	}
	state(1, 1)
	r.put(id(compute.TypeDisk, "copy"), fmt.Sprintf(`{"location":"local","properties":{"creationData":{"createOption":"Copy","sourceResourceId":%q}}}`, *disk))
	r.finish()
	state(2, 2)
	_, err := r.image("image", &armcompute.ImageProperties{StorageProfile: &armcompute.ImageStorageProfile{OSDisk: &armcompute.ImageOSDisk{
		OSType: to.Ptr(armcompute.OperatingSystemTypesLinux), OSState: to.Ptr(armcompute.OperatingSystemStateTypesGeneralized), ManagedDisk: &armcompute.SubResource{ID: disk}}}})
	if code(err) != "OperationNotAllowed" {
		t.Errorf("an image: %v", err)
	}
	r.w.locked(func() { r.w.broken["Machines.CopyDisk"] = errors.New("no space left on device") })
	if err := r.snapshot("two", disk); code(err) != "InternalOperationError" {
		t.Errorf("when copying fails: %v", err)
	}
	state(2, 2)
	r.w.locked(func() { r.w.free = 1 << 20 })
	if err := r.snapshot("three", disk); code(err) != "AllocationFailed" {
		t.Errorf("without room: %v", err)
	}
	r.w.locked(func() {
		r.w.free, r.w.lies = 1<<40, true
		r.w.copying = func() { clear(r.w.machines) }
	})
	if err := r.snapshot("four", disk); err != nil {
		t.Errorf("when the machine stops meanwhile: %v", err)
	}
	state(3, 2)
}

// The marketplace as the SDK walks it: bare arrays.
func TestMarketplace(t *testing.T) {
	r := fresh(t)
	c, err := armcompute.NewVirtualMachineImagesClient(providertest.Subscription, r.Credential, r.Options)
	if err != nil {
		t.Fatal(err)
	}
	names := func(list []*armcompute.VirtualMachineImageResource, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, i := range list {
			if *i.Location != "local" || !strings.HasSuffix(*i.ID, "/"+*i.Name) {
				t.Errorf("%+v", i)
			}
			all = append(all, *i.Name)
		}
		return strings.Join(all, " ")
	}
	publishers, err := c.ListPublishers(t.Context(), "local", nil)
	if got := names(publishers.VirtualMachineImageResourceArray, err); got != "Debian Microsoft.Azure.Extensions Microsoft.OSTCExtensions Microsoft.CPlat.Core" {
		t.Errorf("publishers %s", got)
	}
	offers, err := c.ListOffers(t.Context(), "local", "debian", nil)
	if got := names(offers.VirtualMachineImageResourceArray, err); got != "debian-12 debian-13" {
		t.Errorf("offers %s", got)
	}
	skus, err := c.ListSKUs(t.Context(), "local", "Debian", "debian-12", nil)
	if got := names(skus.VirtualMachineImageResourceArray, err); got != "12-gen2" {
		t.Errorf("skus %s", got)
	}
	versions, err := c.List(t.Context(), "local", "Debian", "debian-12", "12-gen2", &armcompute.VirtualMachineImagesClientListOptions{Top: to.Ptr(int32(1)), Orderby: to.Ptr("name desc")})
	if got := names(versions.VirtualMachineImageResourceArray, err); got != "12.20261101.1" {
		t.Errorf("versions %s", got)
	}
	image, err := c.Get(t.Context(), "local", "Debian", "debian-12", "12-gen2", "latest", nil)
	if err != nil || *image.Name != "12.20261101.1" || *image.Properties.OSDiskImage.OperatingSystem != armcompute.OperatingSystemTypesLinux || *image.Properties.HyperVGeneration != armcompute.HyperVGenerationTypesV2 {
		t.Errorf("%v %+v", err, image)
	}
	if _, err := c.ListOffers(t.Context(), "local", "nobody", nil); code(err) != "ArtifactNotFound" {
		t.Error(err)
	}
	if _, err := c.ListPublishers(t.Context(), "mars", nil); code(err) != "NoRegisteredProviderFound" {
		t.Error(err)
	}
}

func TestSizesAndSKUs(t *testing.T) {
	r := fresh(t)
	sizes, err := armcompute.NewVirtualMachineSizesClient(providertest.Subscription, r.Credential, r.Options)
	if err != nil {
		t.Fatal(err)
	}
	page, err := sizes.NewListPager("local", nil).NextPage(t.Context())
	if err != nil || len(page.Value) < 10 || *page.Value[0].NumberOfCores < 1 {
		t.Errorf("%v, %d sizes", err, len(page.Value))
	}
	skus, err := armcompute.NewResourceSKUsClient(providertest.Subscription, r.Credential, r.Options)
	if err != nil {
		t.Fatal(err)
	}
	list, err := skus.NewListPager(&armcompute.ResourceSKUsClientListOptions{Filter: to.Ptr("location eq 'north'")}).NextPage(t.Context())
	if err != nil || len(list.Value) != len(page.Value) || *list.Value[0].Locations[0] != "north" {
		t.Errorf("%v, %d skus", err, len(list.Value))
	}
}
