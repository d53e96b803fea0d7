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
	"hallmark.dev/hallmark/internal/rp/network"
	"hallmark.dev/hallmark/internal/store"
)

func setID(name string) arm.ID { return id(compute.TypeScaleSet, name) }

func (r *rig) sets() *armcompute.VirtualMachineScaleSetsClient {
	r.t.Helper()
	c, err := armcompute.NewVirtualMachineScaleSetsClient(providertest.Subscription, r.Credential, r.Options)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) setVMs() *armcompute.VirtualMachineScaleSetVMsClient {
	r.t.Helper()
	c, err := armcompute.NewVirtualMachineScaleSetVMsClient(providertest.Subscription, r.Credential, r.Options)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// subnet is one that scale sets put their interfaces in.
func (r *rig) subnet() string {
	r.t.Helper()
	vnet := id(network.TypeVirtualNetwork, "net")
	r.put(vnet, `{"location":"local","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[{"name":"default","properties":{"addressPrefix":"10.0.0.0/24"}}]}}`)
	return vnet.Child("subnets", "default").String()
}

// scaleSet is a valid request, as the SDK writes it.
func (r *rig) scaleSet(mode armcompute.OrchestrationMode, image string, capacity int64) armcompute.VirtualMachineScaleSet {
	return armcompute.VirtualMachineScaleSet{Location: to.Ptr("local"), Tags: map[string]*string{"team": to.Ptr("web")},
		SKU: &armcompute.SKU{Name: to.Ptr("Standard_B1s"), Capacity: &capacity},
		Properties: &armcompute.VirtualMachineScaleSetProperties{OrchestrationMode: &mode,
			UpgradePolicy: &armcompute.UpgradePolicy{Mode: to.Ptr(armcompute.UpgradeModeManual)},
			VirtualMachineProfile: &armcompute.VirtualMachineScaleSetVMProfile{
				StorageProfile: &armcompute.VirtualMachineScaleSetStorageProfile{ImageReference: &armcompute.ImageReference{ID: &image}},
				OSProfile: &armcompute.VirtualMachineScaleSetOSProfile{ComputerNamePrefix: to.Ptr("web"), AdminUsername: to.Ptr("azureuser"), LinuxConfiguration: &armcompute.LinuxConfiguration{
					DisablePasswordAuthentication: to.Ptr(true), SSH: &armcompute.SSHConfiguration{PublicKeys: []*armcompute.SSHPublicKey{{
						Path: to.Ptr("/home/azureuser/.ssh/authorized_keys"), KeyData: to.Ptr(sshKey)}}}}},
				NetworkProfile: &armcompute.VirtualMachineScaleSetNetworkProfile{NetworkInterfaceConfigurations: []*armcompute.VirtualMachineScaleSetNetworkConfiguration{{
					Name: to.Ptr("webnic"), Properties: &armcompute.VirtualMachineScaleSetNetworkConfigurationProperties{Primary: to.Ptr(true),
						IPConfigurations: []*armcompute.VirtualMachineScaleSetIPConfiguration{{Name: to.Ptr("ip"), Properties: &armcompute.VirtualMachineScaleSetIPConfigurationProperties{
							Subnet:                          &armcompute.APIEntityReference{ID: to.Ptr(r.subnet())},
							LoadBalancerBackendAddressPools: []*armcompute.SubResource{{ID: to.Ptr(id("Microsoft.Network/loadBalancers", "lb").Child("backendAddressPools", "p").String())}}}}}}}}},
			}},
	}
}

func (r *rig) createSet(name string, set armcompute.VirtualMachineScaleSet) (armcompute.VirtualMachineScaleSet, error) {
	r.t.Helper()
	p, err := r.sets().BeginCreateOrUpdate(r.t.Context(), providertest.ResourceGroup, name, set, nil)
	done, err := wait(r.t, p, err)
	r.finish() // disks of machines that have gone follow by themselves
	return done.VirtualMachineScaleSet, err
}

func (r *rig) mustCreateSet(name string, set armcompute.VirtualMachineScaleSet) armcompute.VirtualMachineScaleSet {
	r.t.Helper()
	done, err := r.createSet(name, set)
	if err != nil {
		r.t.Fatal(err)
	}
	return done
}

// instances are a set's instances, as clients see them.
func (r *rig) instances(name string) (all []*armcompute.VirtualMachineScaleSetVM) {
	r.t.Helper()
	pager := r.setVMs().NewListPager(providertest.ResourceGroup, name, nil)
	for pager.More() {
		page, err := pager.NextPage(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, page.Value...)
	}
	return all
}

func (r *rig) instanceIDs(name string) (ids []string) {
	for _, vm := range r.instances(name) {
		ids = append(ids, *vm.InstanceID)
	}
	return ids
}

// scale changes the capacity as az does: a PUT of the sku and nothing else.
func (r *rig) scale(name string, capacity int64) error {
	r.t.Helper()
	_, err := r.createSet(name, armcompute.VirtualMachineScaleSet{Location: to.Ptr("local"), SKU: &armcompute.SKU{Name: to.Ptr("Standard_B1s"), Capacity: &capacity}})
	return err
}

func TestUniformScaleSet(t *testing.T) {
	r := fresh(t)
	set := r.mustCreateSet("web", r.scaleSet(armcompute.OrchestrationModeUniform, r.publish("1.0.0", "").String(), 2))
	if *set.Properties.ProvisioningState != "Succeeded" || len(r.w.machines) != 2 || len(r.w.volumes) != 2 || len(r.w.ports) != 2 {
		t.Fatalf("%s: %d machines, %d volumes, %d ports", *set.Properties.ProvisioningState, len(r.w.machines), len(r.w.volumes), len(r.w.ports))
	}
	vms := r.instances("web")
	if len(vms) != 2 {
		t.Fatalf("%d instances", len(vms))
	}
	vm := vms[1]
	if *vm.Name != "web_1" || *vm.InstanceID != "1" || *vm.SKU.Name != "Standard_B1s" || *vm.Properties.OSProfile.ComputerName != "web000001" || !*vm.Properties.LatestModelApplied {
		t.Errorf("instance %s %s %s %s %v", *vm.Name, *vm.InstanceID, *vm.SKU.Name, *vm.Properties.OSProfile.ComputerName, *vm.Properties.LatestModelApplied)
	}
	m := r.w.machines[*vm.Properties.VMID]
	if m.Label != "web_1" || m.Guest.Hostname != "web000001" || !slices.Equal(m.Guest.SSHKeys, []string{sshKey}) {
		t.Errorf("the machine: %+v", m)
	}
	nic, err := arm.ParseID(*vm.Properties.NetworkProfile.NetworkInterfaces[0].ID)
	if want := setID("web").Child("virtualMachines", "1").Child("networkInterfaces", "webnic"); err != nil || !nic.Equal(want) {
		t.Errorf("the interface is %s, want %s", nic, want)
	}
	list, err := r.Client.List(t.Context(), setID("web").Child("virtualMachines", "1"), network.TypeInstanceInterface)
	if err != nil || len(list) != 1 || !strings.Contains(string(list[0]), m.Interface.Address.Addr().String()) {
		t.Errorf("interfaces of the instance: %s %v", list, err)
	}
	if got, err := r.Client.List(t.Context(), providertest.Group(), compute.TypeVM); err != nil || len(got) != 0 {
		t.Errorf("instances among the machines: %s %v", got, err)
	}
	view, err := r.sets().GetInstanceView(t.Context(), providertest.ResourceGroup, "web", nil)
	if err != nil || *view.VirtualMachine.StatusesSummary[0].Code != "ProvisioningState/succeeded" || *view.VirtualMachine.StatusesSummary[0].Count != 2 {
		t.Errorf("instance view: %+v %v", view, err)
	}
	one, err := r.setVMs().GetInstanceView(t.Context(), providertest.ResourceGroup, "web", "1", nil)
	if err != nil || !slices.Equal(codes(one.Statuses), []string{"ProvisioningState/succeeded", "PowerState/running"}) {
		t.Errorf("instance view of one: %v", err)
	}
}

func TestScale(t *testing.T) {
	for _, mode := range armcompute.PossibleOrchestrationModeValues() {
		t.Run(string(mode), func(t *testing.T) {
			r := fresh(t)
			r.mustCreateSet("web", r.scaleSet(mode, r.publish("1.0.0", "").String(), 2))
			before := r.instanceIDs("web")
			if err := r.scale("web", 4); err != nil || len(r.w.machines) != 4 {
				t.Fatalf("to 4: %v, %d machines", err, len(r.w.machines))
			}
			if err := r.scale("web", 1); err != nil || len(r.w.machines) != 1 || len(r.w.volumes) != 1 || len(r.w.ports) != 1 {
				t.Fatalf("to 1: %v, %d machines, %d volumes", err, len(r.w.machines), len(r.w.volumes))
			}
			if left := r.instanceIDs("web"); len(left) != 1 || mode == armcompute.OrchestrationModeUniform && left[0] != before[0] {
				t.Errorf("left are %v of %v", left, before)
			}
			set, err := r.sets().Get(t.Context(), providertest.ResourceGroup, "web", nil)
			if err != nil || *set.Tags["team"] != "web" || set.Properties.VirtualMachineProfile.OSProfile == nil || *set.SKU.Capacity != 1 {
				t.Errorf("after scaling: %v %v", err, set.Tags)
			}
			p, err := r.sets().BeginDelete(t.Context(), providertest.ResourceGroup, "web", nil)
			if _, err := wait(t, p, err); err != nil {
				t.Fatal(err)
			}
			r.finish()
			wantNothing(t, r)
			for _, typ := range []arm.Type{compute.TypeScaleSet, compute.TypeInstance, network.TypeInstanceInterface} {
				if left, err := store.List(t.Context(), r.Store, store.Query{Type: typ}); err != nil || len(left) != 0 {
					t.Errorf("%s left: %v %v", typ, left, err)
				}
			}
		})
	}
}

func TestFlexibleScaleSet(t *testing.T) {
	r := fresh(t)
	image := r.publish("1.0.0", "").String()
	r.mustCreateSet("web", r.scaleSet(armcompute.OrchestrationModeFlexible, image, 2))
	all, err := r.Client.List(t.Context(), providertest.Group(), compute.TypeVM)
	if err != nil || len(all) != 2 {
		t.Fatalf("%d machines %v", len(all), err)
	}
	name := arm.GetString(all[0], "name")
	if !strings.HasPrefix(name, "web_") || arm.GetString(all[0], "properties.virtualMachineScaleSet.id") != setID("web").String() {
		t.Errorf("a member: %s", all[0])
	}
	if ids := r.instanceIDs("web"); len(ids) != 2 || !slices.Contains(ids, name) {
		t.Errorf("listed instances: %v", ids)
	}
	vm := machine(image)
	vm.Properties.VirtualMachineScaleSet = &armcompute.SubResource{ID: to.Ptr(setID("web").String())}
	r.mustCreate("pet", vm)
	capacity := func() int64 {
		set, err := r.sets().Get(t.Context(), providertest.ResourceGroup, "web", nil)
		if err != nil {
			t.Fatal(err)
		}
		return *set.SKU.Capacity
	}
	if n := capacity(); n != 3 {
		t.Errorf("with a machine that somebody made in it: capacity %d", n)
	}
	if _, err := r.move("web", "2.0.0"); err != nil {
		t.Fatal(err)
	}
	if err := r.manualUpgrade("web", "*"); err != nil || !slices.Equal(r.backings(), []string{"1", "2", "2"}) {
		t.Errorf("an update of all: %v, they stand on %v", err, r.backings())
	}
	if err := r.manualUpgrade("web", "pet"); code(err) != "OperationNotAllowed" {
		t.Errorf("an update of a machine that the set has not made: %v", err)
	}
	if _, err := r.sets().BeginDelete(t.Context(), providertest.ResourceGroup, "web", nil); code(err) != "OperationNotAllowed" {
		t.Errorf("deleting a set with a machine that it has not made: %v", err)
	}
	p, err := r.vms().BeginDelete(t.Context(), providertest.ResourceGroup, name, nil)
	if _, err := wait(t, p, err); err != nil {
		t.Fatal(err)
	}
	r.finish()
	if n := capacity(); n != 2 || len(r.w.machines) != 2 {
		t.Errorf("without one that somebody deleted: capacity %d, %d machines", n, len(r.w.machines))
	}
}

// manualUpgrade is az vmss update-instances.
func (r *rig) manualUpgrade(name string, ids ...string) error {
	r.t.Helper()
	p, err := r.sets().BeginUpdateInstances(r.t.Context(), providertest.ResourceGroup, name, armcompute.VirtualMachineScaleSetVMInstanceRequiredIDs{InstanceIDs: to.SliceOfPtrs(ids...)}, nil)
	_, err = wait(r.t, p, err)
	return err
}

// move publishes an image with other bytes and makes it the set's model.
func (r *rig) move(name, version string) (arm.ID, error) {
	r.t.Helper()
	id := r.publishOther(version)
	p, err := r.sets().BeginUpdate(r.t.Context(), providertest.ResourceGroup, name, armcompute.VirtualMachineScaleSetUpdate{Properties: &armcompute.VirtualMachineScaleSetUpdateProperties{
		VirtualMachineProfile: &armcompute.VirtualMachineScaleSetUpdateVMProfile{StorageProfile: &armcompute.VirtualMachineScaleSetUpdateStorageProfile{
			ImageReference: &armcompute.ImageReference{ID: to.Ptr(id.String())}}}}}, nil)
	_, err = wait(r.t, p, err)
	return id, err
}

// backings are what the instances' system disks stand on.
func (r *rig) backings() (all []string) {
	r.w.locked(func() {
		for _, v := range r.w.volumes {
			all = append(all, strings.TrimPrefix(v.backing, "/regions/local/sha256:")[:1])
		}
	})
	slices.Sort(all)
	return all
}

func TestManualUpgrade(t *testing.T) {
	for _, mode := range armcompute.PossibleOrchestrationModeValues() {
		t.Run(string(mode), func(t *testing.T) {
			r := fresh(t)
			r.mustCreateSet("web", r.scaleSet(mode, r.publish("1.0.0", "").String(), 2))
			image, err := r.move("web", "2.0.0")
			if err != nil {
				t.Fatal(err)
			}
			vms := r.instances("web")
			if *vms[0].Properties.LatestModelApplied || *vms[1].Properties.LatestModelApplied {
				t.Error("instances that nobody has updated have the latest model")
			}
			if got := r.backings(); !slices.Equal(got, []string{"1", "1"}) {
				t.Fatalf("a changed model changed instances: %v", got)
			}
			if err := r.manualUpgrade("web", *vms[0].InstanceID); err != nil {
				t.Fatal(err)
			}
			if got := r.backings(); !slices.Equal(got, []string{"1", "2"}) {
				t.Errorf("after one was updated: %v", got)
			}
			if err := r.manualUpgrade("web", "*"); err != nil {
				t.Fatal(err)
			}
			if got := r.backings(); !slices.Equal(got, []string{"2", "2"}) || len(r.w.machines) != 2 {
				t.Errorf("after all were updated: %v, %d machines", got, len(r.w.machines))
			}
			for _, vm := range r.instances("web") {
				if !*vm.Properties.LatestModelApplied || *vm.Properties.StorageProfile.ImageReference.ID != image.String() || *vm.Properties.StorageProfile.ImageReference.ExactVersion != "2.0.0" {
					t.Errorf("%s: %v, image %s", *vm.Name, *vm.Properties.LatestModelApplied, *vm.Properties.StorageProfile.ImageReference.ID)
				}
				if r.w.started[*vm.Properties.VMID] != 2 {
					t.Errorf("%s was started %d times", *vm.Name, r.w.started[*vm.Properties.VMID])
				}
			}
			disks, err := r.Client.List(t.Context(), providertest.Group(), compute.TypeDisk)
			if err != nil || len(disks) != 2 || arm.GetString(disks[0], "properties.creationData.galleryImageReference.id") != image.String() {
				t.Errorf("disks: %s %v", disks, err)
			}
			if _, kept := r.w.replicas["local/"+digest("1")]; !kept {
				t.Error("the first image's replica has gone although its version is there")
			}
		})
	}
}

// A set whose model names a definition moves to what its latest version is, when asked.
func TestUpdateToTheLatestVersion(t *testing.T) {
	r := fresh(t)
	r.mustCreateSet("web", r.scaleSet(armcompute.OrchestrationModeUniform, r.publish("1.0.0", "").Parent().String(), 1))
	r.publishOther("2.0.0")
	if err := r.manualUpgrade("web", "*"); err != nil {
		t.Fatal(err)
	}
	vm := r.instances("web")[0]
	if got := r.backings(); !slices.Equal(got, []string{"2"}) || *vm.Properties.StorageProfile.ImageReference.ExactVersion != "2.0.0" {
		t.Errorf("stands on %v, %s", got, *vm.Properties.StorageProfile.ImageReference.ExactVersion)
	}
}

// publishOther makes a version whose bytes are others than those of publish.
func (r *rig) publishOther(version string) arm.ID {
	r.t.Helper()
	id := id("Microsoft.Compute/galleries", "g").Child("images", "web").Child("versions", version)
	r.w.locked(func() { r.w.replicas["local/"+digest("2")] = 5 << 30 })
	r.put(id, fmt.Sprintf(`{"location":"local","properties":{"hallmark":{"imageDigest":%q},"publishingProfile":{"targetRegions":[{"name":"Local"}]}}}`, digest("2")))
	return id
}

// A set with automatic upgrades moves when a version is published, and not to one that is
// excluded from latest.
func TestAutomaticOSUpgrade(t *testing.T) {
	r := fresh(t)
	set := r.scaleSet(armcompute.OrchestrationModeUniform, r.publish("1.0.0", "").Parent().String(), 2)
	set.Properties.UpgradePolicy.AutomaticOSUpgradePolicy = &armcompute.AutomaticOSUpgradePolicy{EnableAutomaticOSUpgrade: to.Ptr(true)}
	r.mustCreateSet("web", set)
	r.publish("1.5.0", `,"excludeFromLatest":true`)
	r.finish()
	for _, vm := range r.instances("web") {
		if r.w.started[*vm.Properties.VMID] != 1 {
			t.Errorf("%s was started again without a new version", *vm.Name)
		}
	}
	r.publishOther("2.0.0")
	r.finish()
	if got := r.backings(); !slices.Equal(got, []string{"2", "2"}) {
		t.Errorf("stand on %v", got)
	}
	page, err := r.sets().NewGetOSUpgradeHistoryPager(providertest.ResourceGroup, "web", nil).NextPage(t.Context())
	if err != nil || len(page.Value) != 1 || *page.Value[0].Properties.StartedBy != armcompute.UpgradeOperationInvokerPlatform {
		t.Errorf("the history of upgrades: %v %+v", err, page.Value)
	}
}

func TestAutomaticAndRollingUpgrade(t *testing.T) {
	for _, mode := range []armcompute.UpgradeMode{armcompute.UpgradeModeAutomatic, armcompute.UpgradeModeRolling} {
		t.Run(string(mode), func(t *testing.T) {
			r := fresh(t)
			set := r.scaleSet(armcompute.OrchestrationModeUniform, r.publish("1.0.0", "").String(), 3)
			set.Properties.UpgradePolicy = &armcompute.UpgradePolicy{Mode: &mode, RollingUpgradePolicy: &armcompute.RollingUpgradePolicy{
				MaxBatchInstancePercent: to.Ptr(int32(34)), PauseTimeBetweenBatches: to.Ptr("PT0S")}}
			r.mustCreateSet("web", set)
			if _, err := r.move("web", "2.0.0"); err != nil {
				t.Fatal(err)
			}
			if got := r.backings(); !slices.Equal(got, []string{"2", "2", "2"}) {
				t.Errorf("stand on %v", got)
			}
			if mode != armcompute.UpgradeModeRolling {
				return
			}
			c, err := armcompute.NewVirtualMachineScaleSetRollingUpgradesClient(providertest.Subscription, r.Credential, r.Options)
			if err != nil {
				t.Fatal(err)
			}
			last, err := c.GetLatest(t.Context(), providertest.ResourceGroup, "web", nil)
			if err != nil || *last.Properties.RunningStatus.Code != armcompute.RollingUpgradeStatusCodeCompleted || *last.Properties.Progress.SuccessfulInstanceCount != 3 {
				t.Errorf("the latest rolling upgrade: %v %+v", err, last.Properties)
			}
		})
	}
}

// An upgrade that makes instances fail stops before it has harmed them all.
func TestRollingUpgradeStops(t *testing.T) {
	r := fresh(t)
	set := r.scaleSet(armcompute.OrchestrationModeUniform, r.publish("1.0.0", "").String(), 4)
	set.Properties.UpgradePolicy = &armcompute.UpgradePolicy{Mode: to.Ptr(armcompute.UpgradeModeRolling), RollingUpgradePolicy: &armcompute.RollingUpgradePolicy{MaxBatchInstancePercent: to.Ptr(int32(25))}}
	r.mustCreateSet("web", set)
	r.w.locked(func() { r.w.broken["Machines.Start"] = fmt.Errorf("no luck") })
	_, err := r.move("web", "2.0.0")
	if code(err) != "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade" {
		t.Fatal(err)
	}
	if len(r.w.machines) != 3 || !slices.Equal(r.backings(), []string{"1", "1", "1", "2"}) {
		t.Errorf("%d machines run, standing on %v", len(r.w.machines), r.backings())
	}
}

// Power, reimage and delete-instances, as the SDK asks for them.
func TestActionsOnInstances(t *testing.T) {
	r := fresh(t)
	r.mustCreateSet("web", r.scaleSet(armcompute.OrchestrationModeUniform, r.publish("1.0.0", "").String(), 3))
	c, ctx, g := r.sets(), t.Context(), providertest.ResourceGroup
	off, err := c.BeginDeallocate(ctx, g, "web", &armcompute.VirtualMachineScaleSetsClientBeginDeallocateOptions{VMInstanceIDs: &armcompute.VirtualMachineScaleSetVMInstanceIDs{InstanceIDs: to.SliceOfPtrs("0", "2")}})
	if _, err := wait(t, off, err); err != nil || len(r.w.machines) != 1 || len(r.w.ports) != 1 {
		t.Fatalf("deallocate: %v, %d run", err, len(r.w.machines))
	}
	on, err := c.BeginStart(ctx, g, "web", nil)
	if _, err := wait(t, on, err); err != nil || len(r.w.machines) != 3 {
		t.Fatalf("start: %v, %d run", err, len(r.w.machines))
	}
	again, err := c.BeginRestart(ctx, g, "web", nil)
	if _, err := wait(t, again, err); err != nil {
		t.Fatal(err)
	}
	stop, err := r.setVMs().BeginPowerOff(ctx, g, "web", "1", nil)
	if _, err := wait(t, stop, err); err != nil || len(r.w.machines) != 2 {
		t.Fatalf("powerOff of one: %v, %d run", err, len(r.w.machines))
	}
	_, err = c.BeginRestart(ctx, g, "web", &armcompute.VirtualMachineScaleSetsClientBeginRestartOptions{VMInstanceIDs: &armcompute.VirtualMachineScaleSetVMInstanceIDs{InstanceIDs: to.SliceOfPtrs("7")}})
	if code(err) != "InvalidParameter" {
		t.Errorf("restart of what is not there: %v", err)
	}
	volumes := r.volumeNames()
	fresh, err := c.BeginReimage(ctx, g, "web", nil)
	if _, err := wait(t, fresh, err); err != nil {
		t.Fatal(err)
	}
	for _, v := range r.volumeNames() {
		if slices.Contains(volumes, v) {
			t.Errorf("the volume %s has survived a reimage", v)
		}
	}
	gone, err := c.BeginDeleteInstances(ctx, g, "web", armcompute.VirtualMachineScaleSetVMInstanceRequiredIDs{InstanceIDs: to.SliceOfPtrs("1")}, nil)
	if _, err := wait(t, gone, err); err != nil {
		t.Fatal(err)
	}
	one, err := r.setVMs().BeginDelete(ctx, g, "web", "0", nil)
	if _, err := wait(t, one, err); err != nil {
		t.Fatal(err)
	}
	r.finish()
	set, err := c.Get(ctx, g, "web", nil)
	if ids := r.instanceIDs("web"); err != nil || !slices.Equal(ids, []string{"2"}) || *set.SKU.Capacity != 1 || len(r.w.volumes) != 1 {
		t.Errorf("left %v, capacity %d, %v", ids, *set.SKU.Capacity, err)
	}
	if err := r.scale("web", 2); err != nil || !slices.Equal(r.instanceIDs("web"), []string{"2", "3"}) {
		t.Errorf("numbers are used again: %v %v", r.instanceIDs("web"), err)
	}
}

func (r *rig) volumeNames() (names []string) {
	r.w.locked(func() {
		for name := range r.w.volumes {
			names = append(names, name)
		}
	})
	return names
}

// Protected instances outlive a scale-in, and az sets protection with a PUT of the instance.
func TestScaleInProtection(t *testing.T) {
	r := fresh(t)
	r.mustCreateSet("web", r.scaleSet(armcompute.OrchestrationModeUniform, r.publish("1.0.0", "").String(), 3))
	vm := r.instances("web")[2]
	vm.Properties.ProtectionPolicy = &armcompute.VirtualMachineScaleSetVMProtectionPolicy{ProtectFromScaleIn: to.Ptr(true)}
	vm.Properties.StorageProfile.ImageReference = nil // as az does
	p, err := r.setVMs().BeginUpdate(t.Context(), providertest.ResourceGroup, "web", "2", *vm, nil)
	if _, err := wait(t, p, err); err != nil {
		t.Fatal(err)
	}
	if err := r.scale("web", 1); err != nil || !slices.Equal(r.instanceIDs("web"), []string{"2"}) {
		t.Errorf("left %v: %v", r.instanceIDs("web"), err)
	}
	if err := r.scale("web", 0); code(err) != "OperationNotAllowed" {
		t.Errorf("scaling in what is protected: %v", err)
	}
}

// A set that does not fit fails with the numbers, and what fits stays; asked again with room
// it gets what is missing.
func TestScaleSetAllocation(t *testing.T) {
	r := fresh(t)
	r.w.free = 9 << 30 // two system disks of 4 GiB
	_, err := r.createSet("web", r.scaleSet(armcompute.OrchestrationModeUniform, r.publish("1.0.0", "").String(), 3))
	if code(err) != "AllocationFailed" || !strings.Contains(err.Error(), "4.0 GiB") || len(r.w.machines) != 2 {
		t.Fatalf("%v; %d run", err, len(r.w.machines))
	}
	r.w.locked(func() { r.w.free = 1 << 40 })
	if err := r.scale("web", 3); err != nil || len(r.w.machines) != 3 || len(r.instances("web")) != 3 {
		t.Errorf("%v; %d run, %v", err, len(r.w.machines), r.instanceIDs("web"))
	}
}

func TestScaleSetIsRefused(t *testing.T) {
	r := fresh(t)
	image := r.publish("1.0.0", "").String()
	tests := []struct {
		change func(*armcompute.VirtualMachineScaleSet)
		code   string
		target string
	}{
		{func(s *armcompute.VirtualMachineScaleSet) { s.SKU.Name = to.Ptr("Standard_Huge") }, "InvalidParameter", "sku.name"},
		{func(s *armcompute.VirtualMachineScaleSet) { s.SKU.Capacity = to.Ptr(int64(-1)) }, "InvalidParameter", "sku.capacity"},
		{func(s *armcompute.VirtualMachineScaleSet) { s.Properties.VirtualMachineProfile = nil }, "InvalidParameter", "virtualMachineProfile"},
		{func(s *armcompute.VirtualMachineScaleSet) {
			s.Properties.UpgradePolicy.Mode = to.Ptr(armcompute.UpgradeMode("Sometimes"))
		}, "InvalidParameter", "properties.upgradePolicy.mode"},
		{func(s *armcompute.VirtualMachineScaleSet) {
			s.Properties.VirtualMachineProfile.OSProfile.AdminUsername = to.Ptr("root")
		}, "InvalidParameter", "properties.virtualMachineProfile.osProfile.adminUsername"},
		{func(s *armcompute.VirtualMachineScaleSet) {
			s.Properties.VirtualMachineProfile.StorageProfile.ImageReference.ID = to.Ptr(image + "1")
		}, "GalleryImageNotFound", "properties.virtualMachineProfile.storageProfile.imageReference"},
		{func(s *armcompute.VirtualMachineScaleSet) {
			s.Properties.VirtualMachineProfile.NetworkProfile.NetworkInterfaceConfigurations[0].Properties.IPConfigurations[0].Properties.Subnet.ID = to.Ptr(r.subnet() + "x")
		}, "InvalidResourceReference", "subnet.id"},
	}
	for _, test := range tests {
		set := r.scaleSet(armcompute.OrchestrationModeUniform, image, 1)
		test.change(&set)
		if _, err := r.createSet("bad", set); err == nil || !strings.Contains(err.Error(), `"`+test.code+`"`) || !strings.Contains(err.Error(), test.target) {
			t.Errorf("want %s at %s: %v", test.code, test.target, err)
		}
	}
	r.mustCreateSet("web", r.scaleSet(armcompute.OrchestrationModeUniform, image, 1))
	other := r.scaleSet(armcompute.OrchestrationModeFlexible, image, 1)
	other.Properties.SinglePlacementGroup = to.Ptr(false)
	if _, err := r.createSet("web", other); code(err) != "PropertyChangeNotAllowed" {
		t.Errorf("another orchestration mode: %v", err)
	}
	vm := machine(image)
	vm.Properties.VirtualMachineScaleSet = &armcompute.SubResource{ID: to.Ptr(setID("web").String())}
	if _, err := r.create("vm", vm); code(err) != "OperationNotAllowed" {
		t.Errorf("a machine in a Uniform set: %v", err)
	}
	status, _, body := r.Do(t, "PUT", setID("web").String()+"/virtualMachines/9"+computeVersion, `{"location":"local"}`)
	if status < 400 || status >= 500 {
		t.Errorf("an instance made by hand: %d %s", status, body)
	}
}

// Secrets of the model are in no answer.
func TestScaleSetSecrets(t *testing.T) {
	r := fresh(t)
	set := r.scaleSet(armcompute.OrchestrationModeUniform, r.publish("1.0.0", "").String(), 1)
	o := set.Properties.VirtualMachineProfile.OSProfile
	o.LinuxConfiguration, o.AdminPassword, o.CustomData = nil, to.Ptr("Secret-Word-1"), to.Ptr("c2VjcmV0IGRhdGE=")
	set.Properties.VirtualMachineProfile.ExtensionProfile = &armcompute.VirtualMachineScaleSetExtensionProfile{Extensions: []*armcompute.VirtualMachineScaleSetExtension{{
		Name: to.Ptr("agent"), Properties: &armcompute.VirtualMachineScaleSetExtensionProperties{ProtectedSettings: map[string]any{"token": "Secret-Word-1"}}}}}
	r.mustCreateSet("web", set)
	for _, m := range r.w.machines {
		if m.Guest.PasswordHash == "" || string(m.Guest.CustomData) != "secret data" || !m.Guest.PasswordLogin {
			t.Errorf("the guest is told %+v", m.Guest)
		}
	}
	if _, err := r.createSet("web", set); err != nil { // the same again is the same model
		t.Fatal(err)
	}
	if !*r.instances("web")[0].Properties.LatestModelApplied {
		t.Error("the same model again is another model")
	}
	docs, err := store.List(t.Context(), r.Store, store.Query{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range docs {
		if s := string(d.Body) + string(d.Private); strings.Contains(s, "Secret-Word-1") || strings.Contains(string(d.Body), "c2VjcmV0IGRhdGE=") {
			t.Errorf("%s has the secret: %s", d.ID, s)
		}
	}
}

// A resource group goes with everything that is in it, while machines run.
func TestGroupWithAScaleSetIsDeleted(t *testing.T) {
	for _, mode := range armcompute.PossibleOrchestrationModeValues() {
		t.Run(string(mode), func(t *testing.T) {
			r := fresh(t)
			r.mustCreateSet("web", r.scaleSet(mode, r.publish("1.0.0", "").String(), 2))
			if err := r.Client.Delete(t.Context(), providertest.Group()); err != nil {
				t.Fatal(err)
			}
			for {
				if _, err := store.Get(t.Context(), r.Store, providertest.Group().Key()); err != nil {
					break
				}
				r.Settle(t)
			}
			if len(r.w.machines)+len(r.w.volumes)+len(r.w.ports) != 0 {
				t.Errorf("left: %v %v %v", r.w.machines, r.w.volumes, r.w.ports)
			}
		})
	}
}
