package compute_test

import (
	"fmt"
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
