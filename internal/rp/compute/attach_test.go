package compute_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/compute"
)

// disk makes a disk that nobody has.
func (r *rig) disk(name string) arm.ID {
	r.t.Helper()
	at := id(compute.TypeDisk, name)
	r.put(at, `{"location":"local","properties":{"creationData":{"createOption":"Empty"},"diskSizeGB":1}}`)
	r.settled(at)
	return at
}

func (r *rig) exchange(vm string, attach, detach []arm.ID) (*armcompute.StorageProfile, error) {
	r.t.Helper()
	in := armcompute.AttachDetachDataDisksRequest{}
	for _, d := range attach {
		in.DataDisksToAttach = append(in.DataDisksToAttach, &armcompute.DataDisksToAttach{DiskID: to.Ptr(d.String())})
	}
	for _, d := range detach {
		in.DataDisksToDetach = append(in.DataDisksToDetach, &armcompute.DataDisksToDetach{DiskID: to.Ptr(d.String())})
	}
	p, err := r.vms().BeginAttachDetachDataDisks(r.t.Context(), providertest.ResourceGroup, vm, in, nil)
	done, err := wait(r.t, p, err)
	return &done.StorageProfile, err
}

// Disks come and go while the machine runs, each to one machine at a time.
func TestAttachDetach(t *testing.T) {
	r := fresh(t)
	version := r.publish("1.0.0", "").String()
	vm := r.mustCreate("web-1", machine(version))
	r.mustCreate("web-2", machine(version))
	one, two := r.disk("one"), r.disk("two")
	profile, err := r.exchange("web-1", []arm.ID{one, two}, nil)
	if err != nil || len(profile.DataDisks) != 2 || *profile.DataDisks[1].Lun != 1 {
		t.Fatalf("%v: %+v", err, profile.DataDisks)
	}
	runs := r.w.machines[*vm.Properties.VMID]
	if len(runs.Disks) != 3 || runs.Disks[2].LUN != 1 || r.w.started[runs.Name] != 1 {
		t.Errorf("started %d times, with %+v", r.w.started[runs.Name], runs.Disks)
	}
	if _, err := r.exchange("web-2", []arm.ID{one}, nil); code(err) != "ConflictingUserInput" {
		t.Errorf("a disk of another machine: %v", err)
	}
	if err := r.Client.Delete(t.Context(), one); err == nil {
		t.Error("an attached disk was deleted")
	}
	if profile, err = r.exchange("web-1", nil, []arm.ID{one}); err != nil || len(profile.DataDisks) != 1 {
		t.Fatalf("%v: %+v", err, profile.DataDisks)
	}
	if _, err := r.exchange("web-2", []arm.ID{one}, nil); err != nil {
		t.Errorf("the detached disk at another machine: %v", err)
	}
	if _, err := r.exchange("web-1", nil, []arm.ID{one}); code(err) != "InvalidParameter" {
		t.Errorf("detaching what is not there: %v", err)
	}
	if _, err := r.exchange("web-1", []arm.ID{id(compute.TypeDisk, "none")}, nil); code(err) != "ResourceNotFound" {
		t.Errorf("attaching what does not exist: %v", err)
	}
	if status, _, body := r.Do(t, "POST", vmID("web-1").String()+"/attachDetachDataDisks"+computeVersion, `{}`); status != 400 {
		t.Errorf("nothing to do: %d %s", status, body)
	}
}

// A client that forces a detach marks the disk.
func TestForcedDetach(t *testing.T) {
	r := fresh(t)
	r.mustCreate("web-1", machine(r.publish("1.0.0", "").String()))
	one := r.disk("one")
	if _, err := r.exchange("web-1", []arm.ID{one}, nil); err != nil {
		t.Fatal(err)
	}
	patch := fmt.Sprintf(`{"properties":{"storageProfile":{"dataDisks":[{"lun":0,"createOption":"Attach","toBeDetached":true,"detachOption":"ForceDetach","managedDisk":{"id":%q}}]}}}`, one)
	if err := r.asks("PATCH", "", patch); err != nil {
		t.Fatal(err)
	}
	r.settled(vmID("web-1"))
	if body := r.settled(one); arm.GetString(body, "managedBy") != "" {
		t.Errorf("it is still attached: %s", body)
	}
}

// A data disk may be a copy of another.
func TestDataDiskCopied(t *testing.T) {
	r := fresh(t)
	vm := r.mustCreate("web-1", machine(r.publish("1.0.0", "").String()))
	one := r.disk("one")
	patch := fmt.Sprintf(`{"properties":{"storageProfile":{"dataDisks":[{"lun":4,"createOption":"Copy","sourceResource":{"id":%q}}]}}}`, one)
	if err := r.asks("PATCH", "", patch); err != nil {
		t.Fatal(err)
	}
	r.settled(vmID("web-1"))
	if runs := r.w.machines[*vm.Properties.VMID]; len(runs.Disks) != 2 || runs.Disks[1].LUN != 4 {
		t.Errorf("disks %+v", runs.Disks)
	}
}

// User data can change, and is shown to those who ask for it.
func TestUserData(t *testing.T) {
	r := fresh(t)
	vm := machine(r.publish("1.0.0", "").String())
	vm.Properties.UserData = to.Ptr("b25l")
	if made := r.mustCreate("web-1", vm); made.Properties.UserData != nil {
		t.Error("user data is shown")
	}
	read := func() string {
		t.Helper()
		got, err := r.vms().Get(t.Context(), providertest.ResourceGroup, "web-1", &armcompute.VirtualMachinesClientGetOptions{Expand: to.Ptr(armcompute.InstanceViewTypesUserData)})
		if err != nil || got.Properties.UserData == nil {
			t.Fatalf("%v: no user data", err)
		}
		return *got.Properties.UserData
	}
	vm.Properties.UserData = nil
	r.mustCreate("web-1", vm) // a read and a write in between keep it
	if got := read(); got != "b25l" {
		t.Errorf("user data %q", got)
	}
	vm.Properties.UserData = to.Ptr("dHdv")
	r.mustCreate("web-1", vm)
	if got := read(); got != "dHdv" {
		t.Errorf("user data %q", got)
	}
	vm.Properties.UserData = to.Ptr("%")
	if _, err := r.create("web-1", vm); code(err) != "InvalidParameter" {
		t.Errorf("bad user data: %v", err)
	}
}

// A data disk grows while its machine runs, the system's only while it is deallocated.
func TestGrowAttached(t *testing.T) {
	r := fresh(t)
	vm := r.mustCreate("web-1", machine(r.publish("1.0.0", "").String()))
	one := r.disk("one")
	if _, err := r.exchange("web-1", []arm.ID{one}, nil); err != nil {
		t.Fatal(err)
	}
	grow := func(disk string, size int) (int, string) {
		status, _, body := r.Do(t, "PATCH", disk+"?api-version=2024-03-02", fmt.Sprintf(`{"properties":{"diskSizeGB":%d}}`, size))
		return status, string(body)
	}
	if status, body := grow(one.String(), 3); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	r.settled(one)
	if points := r.w.revive(); !slices.Contains(points, "after Machines.GrowDisk") || slices.Contains(points, "after Volumes.Grow") {
		t.Errorf("a file that QEMU has open was changed: %v", points)
	}
	system := *vm.Properties.StorageProfile.OSDisk.ManagedDisk.ID
	if status, body := grow(system, 30); status != 409 {
		t.Errorf("the system disk of a running machine: %d %s", status, body)
	}
	p, err := r.vms().BeginDeallocate(t.Context(), providertest.ResourceGroup, "web-1", nil)
	if _, err := wait(t, p, err); err != nil {
		t.Fatal(err)
	}
	if status, body := grow(system, 30); status != 200 {
		t.Errorf("the system disk of a deallocated machine: %d %s", status, body)
	}
}

// Access URIs are refused, not made up.
func TestNoAccess(t *testing.T) {
	r := fresh(t)
	status, _, body := r.Do(t, "POST", r.disk("one").String()+"/beginGetAccess?api-version=2024-03-02", `{"access":"Read","durationInSeconds":60}`)
	if status != 409 || !strings.Contains(string(body), "OperationNotAllowed") {
		t.Errorf("%d %s", status, body)
	}
}

// What can be run in machines is listed, under publishers that have no images, too.
func TestCatalogues(t *testing.T) {
	r := fresh(t)
	const location = "/subscriptions/" + providertest.Subscription + "/providers/Microsoft.Compute/locations/local/"
	for path, want := range map[string]string{
		"publishers": `"name":"Microsoft.Azure.Extensions"`,
		"publishers/Microsoft.Azure.Extensions/artifacttypes/vmimage/offers":                                 "[]",
		"publishers/Microsoft.Azure.Extensions/artifacttypes/vmextension/types":                              `"name":"CustomScript"`,
		"publishers/microsoft.azure.extensions/artifacttypes/vmextension/types/customscript/versions":        `"name":"2.1.0"`,
		"publishers/Microsoft.Azure.Extensions/artifacttypes/vmextension/types/CustomScript/versions/2.1.0":  `"operatingSystem":"Linux"`,
		"publishers/Microsoft.Azure.Extensions/artifacttypes/vmextension/types/CustomScript/versions/9.9":    "ArtifactNotFound",
		"publishers/Microsoft.Azure.Monitor/artifacttypes/vmextension/types/AzureMonitorLinuxAgent/versions": "ArtifactNotFound",
		"runCommands":                `"id":"RunShellScript"`,
		"runCommands/RunShellScript": `"script":[""]`,
		"runCommands/ifconfig":       "ResourceNotFound",
	} {
		if _, _, body := r.Do(t, "GET", location+path+computeVersion, nil); !strings.Contains(string(body), want) {
			t.Errorf("%s: %s", path, body)
		}
	}
}
