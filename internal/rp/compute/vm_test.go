package compute_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/compute"
	"hallmark.dev/hallmark/internal/rp/network"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/mem"
)

const (
	computeVersion = "?api-version=2024-07-01"
	networkVersion = "?api-version=2024-05-01"
	sshKey         = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl test" // from RFC-style sample keys
)

// rig is a control plane over a world.
type rig struct {
	*providertest.Server
	w *world
	t testing.TB
}

// galleries stands in for the provider of galleries: plain documents.
func galleries() provider.Provider {
	plain := func(t arm.Type) provider.ResourceType {
		return provider.ResourceType{Type: t, Scopes: provider.AtResourceGroup, APIVersions: []string{"2023-07-03"}}
	}
	child := func(t arm.Type) provider.ResourceType {
		return provider.ResourceType{Type: t, APIVersions: []string{"2023-07-03"}}
	}
	return provider.Provider{Types: []provider.ResourceType{plain("Microsoft.Compute/galleries"), child("Microsoft.Compute/galleries/images"), child("Microsoft.Compute/galleries/images/versions")}}
}

func start(t testing.TB, w *world, st store.Store) *rig {
	t.Helper()
	cfg := w.config()
	m := mortal{st, w}
	if err := compute.Sweep(t.Context(), cfg, m); err != nil {
		t.Fatal(err)
	}
	networks := network.Config{Prefix: netip.MustParsePrefix("192.0.2.0/24")}
	return &rig{providertest.Start(t, providertest.WithStore(m), providertest.With(compute.New(cfg), network.New(networks), network.NewScaleSets(networks), galleries())), w, t}
}

func fresh(t *testing.T) *rig { return start(t, newWorld(), mem.New()) }

func id(typ arm.Type, name string) arm.ID { return providertest.Group().Resource(typ, name) }

func vmID(name string) arm.ID { return id(compute.TypeVM, name) }

func (r *rig) put(at arm.ID, body string) json.RawMessage {
	r.t.Helper()
	got, err := r.Client.Put(r.t.Context(), at, json.RawMessage(body))
	if err != nil {
		r.t.Fatalf("PUT %s: %v", at, err)
	}
	return got
}

// publish makes a gallery version whose bytes are in "local".
func (r *rig) publish(version, extra string) arm.ID {
	r.t.Helper()
	gallery := id("Microsoft.Compute/galleries", "g")
	definition := gallery.Child("images", "web")
	r.put(gallery, `{"location":"local"}`)
	r.put(definition, `{"location":"local","properties":{"osType":"Linux","osState":"Generalized","hyperVGeneration":"V2"}}`)
	r.put(definition.Child("versions", version), fmt.Sprintf(`{"location":"local","properties":{"hallmark":{"imageDigest":%q},
		"publishingProfile":{"targetRegions":[{"name":"Local"},{"name":"north"}]%s}}}`, digest("1"), extra))
	return definition.Child("versions", version)
}

func (r *rig) nic(name string) arm.ID {
	r.t.Helper()
	vnet := id(network.TypeVirtualNetwork, "net")
	r.put(vnet, `{"location":"local","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[{"name":"default","properties":{"addressPrefix":"10.0.0.0/24"}}]}}`)
	nic := id(network.TypeInterface, name)
	r.put(nic, fmt.Sprintf(`{"location":"local","properties":{"ipConfigurations":[{"name":"ip","properties":{"subnet":{"id":%q}}}]}}`, vnet.Child("subnets", "default")))
	return nic
}

// machine is a valid request, as the SDK writes it.
func machine(image string, nics ...arm.ID) armcompute.VirtualMachine {
	vm := armcompute.VirtualMachine{Location: to.Ptr("local"), Tags: map[string]*string{"team": to.Ptr("web")}, Properties: &armcompute.VirtualMachineProperties{
		HardwareProfile: &armcompute.HardwareProfile{VMSize: to.Ptr(armcompute.VirtualMachineSizeTypes("Standard_B1s"))},
		StorageProfile:  &armcompute.StorageProfile{ImageReference: &armcompute.ImageReference{ID: &image}},
		OSProfile: &armcompute.OSProfile{ComputerName: to.Ptr("web-1"), AdminUsername: to.Ptr("azureuser"), LinuxConfiguration: &armcompute.LinuxConfiguration{
			DisablePasswordAuthentication: to.Ptr(true), SSH: &armcompute.SSHConfiguration{PublicKeys: []*armcompute.SSHPublicKey{{
				Path: to.Ptr("/home/azureuser/.ssh/authorized_keys"), KeyData: to.Ptr(sshKey)}}}}},
		NetworkProfile: &armcompute.NetworkProfile{},
	}}
	for _, n := range nics {
		vm.Properties.NetworkProfile.NetworkInterfaces = append(vm.Properties.NetworkProfile.NetworkInterfaces, &armcompute.NetworkInterfaceReference{ID: to.Ptr(n.String())})
	}
	return vm
}

func (r *rig) vms() *armcompute.VirtualMachinesClient {
	r.t.Helper()
	c, err := armcompute.NewVirtualMachinesClient(providertest.Subscription, r.Credential, r.Options)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// wait polls an operation of the SDK to its end.
func wait[T any](t testing.TB, p *runtime.Poller[T], err error) (T, error) {
	t.Helper()
	if err != nil {
		var none T
		return none, err
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return p.PollUntilDone(ctx, &runtime.PollUntilDoneOptions{Frequency: time.Millisecond})
}

func (r *rig) create(name string, vm armcompute.VirtualMachine) (armcompute.VirtualMachine, error) {
	r.t.Helper()
	p, err := r.vms().BeginCreateOrUpdate(r.t.Context(), providertest.ResourceGroup, name, vm, nil)
	done, err := wait(r.t, p, err)
	return done.VirtualMachine, err
}

func (r *rig) mustCreate(name string, vm armcompute.VirtualMachine) armcompute.VirtualMachine {
	r.t.Helper()
	done, err := r.create(name, vm)
	if err != nil {
		r.t.Fatal(err)
	}
	return done
}

func code(err error) string {
	var response *azcore.ResponseError
	if errors.As(err, &response) {
		return response.ErrorCode
	}
	return fmt.Sprint(err)
}

func TestCreateFromAGalleryVersion(t *testing.T) {
	r := fresh(t)
	version, nic := r.publish("1.0.0", ""), r.nic("nic")
	vm := r.mustCreate("web-1", machine(version.String(), nic))

	name := *vm.Properties.VMID
	made := r.w.machines[name]
	want := compute.Machine{Name: name, Label: "web-1", VCPUs: 1, MemoryMiB: 1024, Disks: made.Disks,
		Interface: compute.MachineInterface{Tap: "tap-" + name[:4], MAC: "02:48:4d:00:02:04", Address: netip.MustParsePrefix("192.0.2.4/24"),
			Gateway: netip.MustParseAddr("192.0.2.1"), Nameservers: []netip.Addr{netip.MustParseAddr("192.0.2.53")}},
		Guest: compute.Guest{InstanceID: name, Hostname: "web-1", AdminUser: "azureuser", SSHKeys: []string{sshKey}}}
	if diff := cmp.Diff(want, made, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("the machine that was started (-want +got):\n%s", diff)
	}
	if got := *vm.Properties.StorageProfile.ImageReference.ExactVersion; got != "1.0.0" {
		t.Errorf("exactVersion %q", got)
	}
	osDisk := vm.Properties.StorageProfile.OSDisk
	disks, err := armcompute.NewDisksClient(providertest.Subscription, r.Credential, r.Options)
	if err != nil {
		t.Fatal(err)
	}
	disk, err := disks.Get(t.Context(), providertest.ResourceGroup, *osDisk.Name, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.EqualFold(*disk.ManagedBy, *vm.ID) || *disk.Properties.DiskState != armcompute.DiskStateAttached || *disk.Properties.DiskSizeGB != 4 || *osDisk.DiskSizeGB != 4 {
		t.Errorf("the system disk's document: managedBy %s, %s, %d GB", *disk.ManagedBy, *disk.Properties.DiskState, *disk.Properties.DiskSizeGB)
	}
	if got := r.w.volumes[*disk.Properties.UniqueID].backing; got != "/regions/local/"+digest("1")+".qcow2" {
		t.Errorf("the system disk stands on %q", got)
	}

	view, err := r.vms().InstanceView(t.Context(), providertest.ResourceGroup, "web-1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := codes(view.Statuses); !slices.Equal(got, []string{"ProvisioningState/succeeded", "PowerState/running"}) || *view.OSName != "Debian GNU/Linux" || *view.ComputerName != "web-1" {
		t.Errorf("instance view %v, %v, %v", got, *view.OSName, *view.ComputerName)
	}
	got, err := r.vms().Get(t.Context(), providertest.ResourceGroup, "web-1", &armcompute.VirtualMachinesClientGetOptions{Expand: to.Ptr(armcompute.InstanceViewTypesInstanceView)})
	if err != nil || len(got.Properties.InstanceView.Statuses) != 2 {
		t.Errorf("GET ?$expand=instanceView: %v", err)
	}
}

func codes(statuses []*armcompute.InstanceViewStatus) (codes []string) {
	for _, s := range statuses {
		codes = append(codes, *s.Code)
	}
	return codes
}

// An image definition means its latest version that is replicated here and not excluded.
func TestCreateFromTheLatestVersion(t *testing.T) {
	r := fresh(t)
	r.publish("1.9.0", "")
	v := r.publish("1.10.0", "")
	r.publish("2.0.0", `,"excludeFromLatest":true`)
	r.publish("3.0.0", `,"endOfLifeDate":"2030-01-01"`)
	r.put(v.Parent().Child("versions", "3.0.0"), fmt.Sprintf(`{"location":"local","properties":{"hallmark":{"imageDigest":%q},"publishingProfile":{"targetRegions":[{"name":"local","excludeFromLatest":true}]}}}`, digest("1")))
	r.put(v.Parent().Child("versions", "4.0.0"), fmt.Sprintf(`{"location":"local","properties":{"hallmark":{"imageDigest":%q},"publishingProfile":{"targetRegions":[{"name":"north"}]}}}`, digest("1")))
	for _, ref := range []string{v.Parent().String(), v.Parent().String() + "/versions/latest"} {
		vm := r.mustCreate("m"+fmt.Sprint(len(ref)), machine(ref))
		if got := *vm.Properties.StorageProfile.ImageReference.ExactVersion; got != "1.10.0" {
			t.Errorf("%s: exactVersion %q", ref, got)
		}
		body, _ := r.Client.Get(t.Context(), vmID(*vm.Name))
		if got := arm.GetString(body, "properties.hallmark.imageId"); got != v.String() {
			t.Errorf("imageId %q", got)
		}
	}
}

func TestCreateFromTheMarketplace(t *testing.T) {
	r := fresh(t)
	vm := machine("")
	vm.Properties.StorageProfile.ImageReference = &armcompute.ImageReference{Publisher: to.Ptr("debian"), Offer: to.Ptr("debian-12"), SKU: to.Ptr("12-gen2"), Version: to.Ptr("latest")}
	got := r.mustCreate("rogue-1", vm)
	ref := got.Properties.StorageProfile.ImageReference
	if *ref.ExactVersion != "12.20261101.1" || *ref.Version != "latest" {
		t.Errorf("image reference %+v", ref)
	}
	answer, err := r.Client.Post(t.Context(), vmID("rogue-1"), "hallmarkIdentity", nil)
	if err != nil {
		t.Fatal(err)
	}
	if arm.GetString(answer, "backingDigest") != "" || arm.GetString(answer, "backingPath") != "/bases/12.20261101.1" || arm.GetString(answer, "accelerator") != "tcg" {
		t.Errorf("identity %s", answer)
	}
}

// A machine without a network profile gets an interface, which goes with it.
func TestImplicitInterface(t *testing.T) {
	r := fresh(t)
	vm := r.mustCreate("alone", machine(r.publish("1.0.0", "").String()))
	nics := vm.Properties.NetworkProfile.NetworkInterfaces
	if len(nics) != 1 {
		t.Fatalf("%d interfaces", len(nics))
	}
	nic, err := arm.ParseID(*nics[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	p, err := r.vms().BeginDelete(t.Context(), providertest.ResourceGroup, "alone", nil)
	if _, err := wait(t, p, err); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Client.Get(t.Context(), nic); !arm.IsNotFound(err) {
		t.Errorf("the interface is still there: %v", err)
	}
}

func TestDeleteHonoursDeleteOption(t *testing.T) {
	for _, test := range []struct {
		option armcompute.DiskDeleteOptionTypes
		left   int
	}{{armcompute.DiskDeleteOptionTypesDelete, 0}, {armcompute.DiskDeleteOptionTypesDetach, 1}} {
		t.Run(string(test.option), func(t *testing.T) {
			r := fresh(t)
			nic := r.nic("nic")
			vm := machine(r.publish("1.0.0", "").String(), nic)
			vm.Properties.StorageProfile.OSDisk = &armcompute.OSDisk{CreateOption: to.Ptr(armcompute.DiskCreateOptionTypesFromImage), DeleteOption: &test.option}
			made := r.mustCreate("web-1", vm)
			p, err := r.vms().BeginDelete(t.Context(), providertest.ResourceGroup, "web-1", nil)
			if _, err := wait(t, p, err); err != nil {
				t.Fatal(err)
			}
			r.Settle(t)
			disks, err := store.List(t.Context(), r.Store, store.Query{Type: compute.TypeDisk})
			if err != nil || len(disks) != test.left || len(r.w.volumes) != test.left {
				t.Errorf("%d disks, %d volumes are left (%v)", len(disks), len(r.w.volumes), err)
			}
			if len(r.w.machines)+len(r.w.folders)+len(r.w.ports) != 0 {
				t.Errorf("left over: %v %v", r.w.folders, r.w.ports)
			}
			if _, err := r.Client.Get(t.Context(), nic); err != nil {
				t.Errorf("the interface went too: %v", err)
			}
			if test.left == 1 { // and another machine can be made of the disk
				again := machine("", nic)
				again.Properties.StorageProfile = &armcompute.StorageProfile{OSDisk: &armcompute.OSDisk{CreateOption: to.Ptr(armcompute.DiskCreateOptionTypesAttach),
					OSType: to.Ptr(armcompute.OperatingSystemTypesLinux), ManagedDisk: made.Properties.StorageProfile.OSDisk.ManagedDisk}}
				again.Properties.OSProfile = nil
				r.mustCreate("web-2", again)
			}
		})
	}
}

func (r *rig) power(name string) string {
	r.t.Helper()
	view, err := r.vms().InstanceView(r.t.Context(), providertest.ResourceGroup, name, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return *view.Statuses[1].Code
}

func TestPowerActions(t *testing.T) {
	r := fresh(t)
	vm := r.mustCreate("web-1", machine(r.publish("1.0.0", "").String(), r.nic("nic")))
	vms, ctx, group, name := r.vms(), t.Context(), providertest.ResourceGroup, *vm.Properties.VMID
	expect := func(step, state string, starts int, err error) {
		t.Helper()
		if got := r.power("web-1"); err != nil || got != "PowerState/"+state || r.w.started[name] != starts {
			t.Fatalf("after %s: %v, %s, started %d times; want %s, %d", step, err, got, r.w.started[name], state, starts)
		}
	}
	off, err := vms.BeginPowerOff(ctx, group, "web-1", &armcompute.VirtualMachinesClientBeginPowerOffOptions{SkipShutdown: to.Ptr(true)})
	_, err = wait(t, off, err)
	expect("powerOff", "stopped", 1, err)
	again, err := vms.BeginRestart(ctx, group, "web-1", nil)
	if _, err = wait(t, again, err); code(err) != "OperationNotAllowed" {
		t.Errorf("restart of a stopped machine: %v", err)
	}
	on, err := vms.BeginStart(ctx, group, "web-1", nil)
	_, err = wait(t, on, err)
	expect("start", "running", 2, err)
	again, err = vms.BeginRestart(ctx, group, "web-1", nil)
	_, err = wait(t, again, err)
	expect("restart", "running", 3, err)
	away, err := vms.BeginDeallocate(ctx, group, "web-1", nil)
	_, err = wait(t, away, err)
	expect("deallocate", "deallocated", 3, err)
	if len(r.w.ports) != 0 {
		t.Errorf("a deallocated machine keeps its tap: %v", r.w.ports)
	}
	on, err = vms.BeginStart(ctx, group, "web-1", nil)
	_, err = wait(t, on, err)
	expect("start", "running", 4, err)

	before := r.w.machines[name]
	anew, err := vms.BeginReimage(ctx, group, "web-1", nil)
	_, err = wait(t, anew, err)
	expect("reimage", "running", 5, err)
	after := r.w.machines[name]
	if before.Disks[0].Path == after.Disks[0].Path || before.Guest.InstanceID == after.Guest.InstanceID || len(r.w.volumes) != 1 {
		t.Errorf("reimage: disk %s → %s, instance %s → %s, %d volumes", before.Disks[0].Path, after.Disks[0].Path, before.Guest.InstanceID, after.Guest.InstanceID, len(r.w.volumes))
	}

	size, err := vms.BeginUpdate(ctx, group, "web-1", armcompute.VirtualMachineUpdate{Properties: &armcompute.VirtualMachineProperties{
		HardwareProfile: &armcompute.HardwareProfile{VMSize: to.Ptr(armcompute.VirtualMachineSizeTypesStandardB2S)}}}, nil)
	_, err = wait(t, size, err)
	expect("resize", "running", 6, err)
	if got := r.w.machines[name]; got.VCPUs != 2 {
		t.Errorf("after the resize: %d processors", got.VCPUs)
	}
	tags, err := vms.BeginUpdate(ctx, group, "web-1", armcompute.VirtualMachineUpdate{Tags: map[string]*string{"a": to.Ptr("b")}}, nil)
	_, err = wait(t, tags, err)
	expect("a change of tags", "running", 6, err)
}

// A machine that ended by itself stays down, also when something else changes; one
// that ended with its host comes back.
func TestMachineThatEnded(t *testing.T) {
	w, st := newWorld(), mem.New()
	var name string
	t.Run("by itself", func(t *testing.T) {
		r := start(t, w, st)
		vm := r.mustCreate("web-1", machine(r.publish("1.0.0", "").String(), r.nic("nic")))
		name = *vm.Properties.VMID
		w.locked(func() { delete(w.machines, name) })
		if got := r.power("web-1"); got != "PowerState/stopped" {
			t.Error(got)
		}
		tags, err := r.vms().BeginUpdate(t.Context(), providertest.ResourceGroup, "web-1", armcompute.VirtualMachineUpdate{Tags: map[string]*string{"a": to.Ptr("b")}}, nil)
		if _, err := wait(t, tags, err); err != nil || len(w.machines) != 0 {
			t.Errorf("a change of tags started the machine: %v", err)
		}
		on, err := r.vms().BeginStart(t.Context(), providertest.ResourceGroup, "web-1", nil)
		if _, err := wait(t, on, err); err != nil || len(w.machines) != 1 {
			t.Errorf("start: %v, %d run", err, len(w.machines))
		}
	})
	w.locked(func() { clear(w.machines); clear(w.ports) })
	t.Run("with its host", func(t *testing.T) {
		cfg := w.config()
		cfg.BootID = "boot-2"
		networks := network.New(network.Config{Prefix: netip.MustParsePrefix("192.0.2.0/24")})
		s := providertest.Start(t, providertest.WithStore(st), providertest.With(compute.New(cfg), networks, galleries()))
		s.Settle(t)
		if _, runs := w.machines[name]; !runs || len(w.ports) != 1 {
			t.Errorf("running: %v, ports %v", w.machines, w.ports)
		}
	})
}

func TestAllocation(t *testing.T) {
	r := fresh(t)
	r.w.free = 9 << 30 // two system disks of 4 GiB
	version := r.publish("1.0.0", "").String()
	big := machine(version)
	big.Properties.HardwareProfile.VMSize = to.Ptr(armcompute.VirtualMachineSizeTypesStandardB2S)
	r.mustCreate("a", big)
	r.mustCreate("b", big)
	_, err := r.create("c", machine(version))
	if code(err) != "AllocationFailed" || !strings.Contains(err.Error(), "4.0 GiB") {
		t.Errorf("a third disk: %v", err)
	}
	r.w.locked(func() { r.w.free = 1 << 40 })
	cfg := r.w.config()
	cfg.Memory = 2500
	small := &rig{providertest.Start(t, providertest.With(compute.New(cfg), network.New(network.Config{Prefix: netip.MustParsePrefix("192.0.2.0/24")}), galleries())), r.w, t}
	small.publish("1.0.0", "")
	small.mustCreate("a", machine(version))
	small.mustCreate("b", machine(version))
	_, err = small.create("c", machine(version))
	if code(err) != "AllocationFailed" || !strings.Contains(err.Error(), "1120 MiB") {
		t.Errorf("a third machine: %v", err)
	}
	off, err := small.vms().BeginDeallocate(t.Context(), providertest.ResourceGroup, "a", nil)
	if _, err := wait(t, off, err); err != nil {
		t.Fatal(err)
	}
	again, err := small.vms().BeginStart(t.Context(), providertest.ResourceGroup, "c", nil)
	if _, err := wait(t, again, err); err != nil {
		t.Errorf("after another machine gave its memory back: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	r := fresh(t)
	version, nic := r.publish("1.0.0", "").String(), r.nic("nic")
	r.mustCreate("taken", machine(version, nic))
	p := func(change func(*armcompute.VirtualMachineProperties)) armcompute.VirtualMachine {
		vm := machine(version)
		change(vm.Properties)
		return vm
	}
	for _, test := range []struct {
		name, code string
		vm         armcompute.VirtualMachine
	}{
		{"size", "InvalidParameter", p(func(p *armcompute.VirtualMachineProperties) {
			p.HardwareProfile.VMSize = to.Ptr(armcompute.VirtualMachineSizeTypes("Huge"))
		})},
		{"version", "GalleryImageNotFound", machine(strings.Replace(version, "1.0.0", "9.9.9", 1))},
		{"managed image", "ImageNotFound", machine(id(compute.TypeImage, "none").String())},
		{"marketplace", "PlatformImageNotFound", p(func(p *armcompute.VirtualMachineProperties) {
			p.StorageProfile.ImageReference = &armcompute.ImageReference{Publisher: to.Ptr("x"), Offer: to.Ptr("y"), SKU: to.Ptr("z"), Version: to.Ptr("latest")}
		})},
		{"location", "LocationNotAvailableForResourceType", func() armcompute.VirtualMachine { vm := machine(version); vm.Location = to.Ptr("mars"); return vm }()},
		{"not replicated", "GalleryImageNotFound", func() armcompute.VirtualMachine { vm := machine(version); vm.Location = to.Ptr("north"); return vm }()},
		{"interface in use", "NicInUse", machine(version, nic)},
		{"no such interface", "InvalidResourceReference", machine(version, id(network.TypeInterface, "none"))},
		{"administrator", "InvalidParameter", p(func(p *armcompute.VirtualMachineProperties) {
			p.OSProfile.AdminUsername = to.Ptr("root")
			p.OSProfile.LinuxConfiguration.SSH.PublicKeys[0].Path = nil
		})},
		{"key", "InvalidParameter", p(func(p *armcompute.VirtualMachineProperties) {
			p.OSProfile.LinuxConfiguration.SSH.PublicKeys[0].KeyData = to.Ptr("x\ny")
		})},
		{"password", "InvalidParameter", p(func(p *armcompute.VirtualMachineProperties) {
			p.OSProfile.LinuxConfiguration = nil
			p.OSProfile.AdminPassword = to.Ptr("weak")
		})},
		{"no login", "InvalidParameter", p(func(p *armcompute.VirtualMachineProperties) { p.OSProfile.LinuxConfiguration = nil })},
		{"custom data", "InvalidParameter", p(func(p *armcompute.VirtualMachineProperties) { p.OSProfile.CustomData = to.Ptr("!") })},
		{"disk size", "InvalidParameter", p(func(p *armcompute.VirtualMachineProperties) {
			p.StorageProfile.OSDisk = &armcompute.OSDisk{CreateOption: to.Ptr(armcompute.DiskCreateOptionTypesFromImage), DiskSizeGB: to.Ptr(int32(1))}
		})},
		{"everything at once", "MultipleErrorsOccurred", p(func(p *armcompute.VirtualMachineProperties) {
			p.HardwareProfile.VMSize, p.OSProfile.ComputerName = to.Ptr(armcompute.VirtualMachineSizeTypes("Huge")), to.Ptr("-x")
		})},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &rig{r.Server, r.w, t}
			if _, err := r.create("bad", test.vm); code(err) != test.code {
				t.Errorf("%v, want %s", err, test.code)
			}
		})
	}
}

func TestImmutable(t *testing.T) {
	r := fresh(t)
	version := r.publish("1.0.0", "").String()
	other := r.publish("1.1.0", "").String()
	first := machine(version)
	first.Properties.OSProfile.LinuxConfiguration = nil
	first.Properties.OSProfile.AdminPassword = to.Ptr("Correct-horse1")
	first.Properties.OSProfile.CustomData = to.Ptr(base64.StdEncoding.EncodeToString([]byte("#!/bin/sh\n")))
	vm := r.mustCreate("web-1", first)
	if vm.Properties.OSProfile.AdminPassword != nil || vm.Properties.OSProfile.CustomData != nil {
		t.Error("secrets are shown")
	}
	d, err := store.Get(t.Context(), r.Store, vmID("web-1").Key())
	for _, secret := range []string{"Correct-horse1", *first.Properties.OSProfile.CustomData} {
		if err != nil || strings.Contains(string(d.Private)+string(d.Body), secret) {
			t.Errorf("%q is stored: %v", secret, err)
		}
	}
	guest := r.w.machines[*vm.Properties.VMID].Guest
	if !guest.PasswordLogin || !strings.HasPrefix(guest.PasswordHash, "$2a$") || string(guest.CustomData) != "#!/bin/sh\n" {
		t.Errorf("the guest is told %+v", guest)
	}
	// The same request again is what a repeated deployment sends.
	r.mustCreate("web-1", first)
	for name, change := range map[string]func(*armcompute.VirtualMachineProperties){
		"image":         func(p *armcompute.VirtualMachineProperties) { p.StorageProfile.ImageReference.ID = &other },
		"administrator": func(p *armcompute.VirtualMachineProperties) { p.OSProfile.AdminUsername = to.Ptr("somebody") },
		"password":      func(p *armcompute.VirtualMachineProperties) { p.OSProfile.AdminPassword = to.Ptr("Another-horse1") },
		"custom data":   func(p *armcompute.VirtualMachineProperties) { p.OSProfile.CustomData = to.Ptr("eA==") },
	} {
		changed := machine(version)
		changed.Properties.OSProfile.LinuxConfiguration = nil
		change(changed.Properties)
		if _, err := r.create("web-1", changed); code(err) != "PropertyChangeNotAllowed" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDataDisks(t *testing.T) {
	r := fresh(t)
	vm := machine(r.publish("1.0.0", "").String())
	vm.Properties.StorageProfile.DataDisks = []*armcompute.DataDisk{{Lun: to.Ptr(int32(3)), CreateOption: to.Ptr(armcompute.DiskCreateOptionTypesEmpty), DiskSizeGB: to.Ptr(int32(2))}}
	made := r.mustCreate("web-1", vm)
	if got := r.w.machines[*made.Properties.VMID].Disks; len(got) != 2 || got[1].LUN != 3 {
		t.Fatalf("disks %+v", got)
	}
	none := armcompute.VirtualMachineUpdate{Properties: &armcompute.VirtualMachineProperties{StorageProfile: &armcompute.StorageProfile{DataDisks: []*armcompute.DataDisk{}}}}
	detach, err := r.vms().BeginUpdate(t.Context(), providertest.ResourceGroup, "web-1", none, nil)
	if _, err := wait(t, detach, err); err != nil {
		t.Fatal(err)
	}
	if got := r.w.machines[*made.Properties.VMID]; len(got.Disks) != 1 || r.w.started[got.Name] != 1 {
		t.Errorf("after detaching from the running machine, started %d times: %+v", r.w.started[got.Name], got.Disks)
	}
	data, err := arm.ParseID(*made.Properties.StorageProfile.DataDisks[0].ManagedDisk.ID)
	if err != nil {
		t.Fatal(err)
	}
	body, err := r.Client.Get(t.Context(), data)
	if err != nil || arm.GetString(body, "managedBy") != "" || arm.GetString(body, "properties.diskState") != "Unattached" {
		t.Errorf("the detached disk: %v %s", err, body)
	}
	if err := r.Client.Delete(t.Context(), data); err != nil {
		t.Fatal(err)
	}
	r.Settle(t)
	if len(r.w.volumes) != 1 {
		t.Errorf("%d volumes are left", len(r.w.volumes))
	}
}

func TestRunCommand(t *testing.T) {
	r := fresh(t)
	r.w.output = compute.Output{ExitCode: 3, Stdout: "out\n", Stderr: "err\n"}
	r.mustCreate("web-1", machine(r.publish("1.0.0", "").String()))
	run := func() (*armcompute.RunCommandResult, error) {
		p, err := r.vms().BeginRunCommand(t.Context(), providertest.ResourceGroup, "web-1", armcompute.RunCommandInput{CommandID: to.Ptr("RunShellScript"),
			Script: to.SliceOfPtrs("echo $who", "exit 3"), Parameters: []*armcompute.RunCommandInputParameter{{Name: to.Ptr("who"), Value: to.Ptr("it's me")}}}, nil)
		done, err := wait(t, p, err)
		return &done.RunCommandResult, err
	}
	got, err := run()
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Value) != 1 || *got.Value[0].Code != "ProvisioningState/succeeded" || *got.Value[0].Message != "Enable succeeded: \n[stdout]\nout\n\n[stderr]\nerr\n" {
		t.Errorf("result %+v", got.Value)
	}
	if want := "export who='it'\\''s me'\necho $who\nexit 3\n"; r.w.scripts[0] != want {
		t.Errorf("script %q, want %q", r.w.scripts[0], want)
	}
	r.w.agent = compute.ErrAgent
	if _, err := run(); code(err) != "VMAgentStatusCommunicationError" {
		t.Errorf("without an agent: %v", err)
	}
}

// A delete does not wait for a script that hangs.
func TestDeleteEndsARunCommand(t *testing.T) {
	r := fresh(t)
	r.w.hang = make(chan struct{})
	r.mustCreate("web-1", machine(r.publish("1.0.0", "").String()))
	_, err := r.vms().BeginRunCommand(t.Context(), providertest.ResourceGroup, "web-1", armcompute.RunCommandInput{CommandID: to.Ptr("RunShellScript"), Script: to.SliceOfPtrs("sleep inf")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := r.vms().BeginDelete(t.Context(), providertest.ResourceGroup, "web-1", nil)
	if _, err := wait(t, p, err); err != nil || len(r.w.machines) != 0 {
		t.Errorf("%v, %d machines are left", err, len(r.w.machines))
	}
}

func TestBootDiagnostics(t *testing.T) {
	r := fresh(t)
	vm := r.mustCreate("web-1", machine(r.publish("1.0.0", "").String()))
	got, err := r.vms().RetrieveBootDiagnosticsData(t.Context(), providertest.ResourceGroup, "web-1", nil)
	if err != nil {
		t.Fatal(err)
	}
	fetch := func(uri string, at time.Time) *httptest.ResponseRecorder { // without a token, as clients do
		answer := httptest.NewRecorder()
		compute.ConsoleHandler(r.w.config(), func() time.Time { return at }).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, uri, nil))
		return answer
	}
	now := time.Now()
	answer := fetch(*got.SerialConsoleLogBlobURI, now)
	if answer.Code != http.StatusOK || answer.Body.String() != "console of "+*vm.Properties.VMID+"\n" || !strings.HasPrefix(answer.Header().Get("Content-Type"), "text/plain") {
		t.Errorf("%s: %d %q %s", *got.SerialConsoleLogBlobURI, answer.Code, answer.Body, answer.Header())
	}
	for what, answer := range map[string]*httptest.ResponseRecorder{
		"an expired link": fetch(*got.SerialConsoleLogBlobURI, now.Add(3*time.Hour)),
		"a changed link":  fetch(*got.SerialConsoleLogBlobURI+"AA", now),
		"no link":         fetch("https://x/serial-console/log", now),
	} {
		if answer.Code != http.StatusForbidden {
			t.Errorf("%s: %d", what, answer.Code)
		}
	}
}

// Lists: by group, by subscription, by location.
func TestLists(t *testing.T) {
	r := fresh(t)
	r.mustCreate("web-1", machine(r.publish("1.0.0", "").String()))
	count := func(page []*armcompute.VirtualMachine, err error) int {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return len(page)
	}
	group, err := r.vms().NewListPager(providertest.ResourceGroup, nil).NextPage(t.Context())
	all, err2 := r.vms().NewListAllPager(nil).NextPage(t.Context())
	here, err3 := r.vms().NewListByLocationPager("local", nil).NextPage(t.Context())
	there, err4 := r.vms().NewListByLocationPager("north", nil).NextPage(t.Context())
	got := []int{count(group.Value, err), count(all.Value, err2), count(here.Value, err3), count(there.Value, err4)}
	if diff := cmp.Diff([]int{1, 1, 1, 0}, got); diff != "" {
		t.Error(diff)
	}
}

// Ten machines at a time, and what they wait for is made for all of them at once.
func TestTenAtATime(t *testing.T) {
	r := fresh(t)
	image := r.publish("1.0.0", "").String()
	cfg := make([]*runtime.Poller[armcompute.VirtualMachinesClientCreateOrUpdateResponse], 10)
	for i := range cfg {
		vm := machine(image)
		vm.Properties.HardwareProfile.VMSize = to.Ptr(armcompute.VirtualMachineSizeTypes("Standard_B1ls"))
		var err error
		if cfg[i], err = r.vms().BeginCreateOrUpdate(t.Context(), providertest.ResourceGroup, fmt.Sprintf("web-%d", i), vm, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range cfg {
		if _, err := wait(t, p, nil); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.w.machines) != 10 || len(r.w.ports) != 10 {
		t.Errorf("%d machines, %d ports", len(r.w.machines), len(r.w.ports))
	}
}
