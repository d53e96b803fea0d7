package clients_test

import (
	"slices"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v4"
	aib "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/virtualmachineimagebuilder/armvirtualmachineimagebuilder/v2"
)

// store is a group with disks and what is made from them; the bytes are real.
type store struct {
	*sdk
	*armcompute.ClientFactory
	group string
	id    string
}

func (s *sdk) compute(t *testing.T) {
	const name = "sdk-compute"
	x := &store{s, good[*armcompute.ClientFactory](t)(armcompute.NewClientFactory(s.Subscription, s.Credential, s.Options)), name, s.group(t, name)}
	t.Run("disks", x.disks)
	t.Run("snapshots", x.snapshots)
	t.Run("images", x.images)
	t.Run("gallery", x.gallery)
	t.Run("image builder", x.imageBuilder)
	t.Run("machines", x.machines)
	t.Run("scale sets", x.sets)
	t.Run("catalogues", x.catalogues)
	t.Run("delete", x.goes)
}

// disks: an empty one, and its copy.
func (x *store) disks(t *testing.T) {
	c := x.NewDisksClient()
	empty := armcompute.Disk{Location: to.Ptr(here), Properties: &armcompute.DiskProperties{OSType: to.Ptr(armcompute.OperatingSystemTypesLinux), HyperVGeneration: to.Ptr(armcompute.HyperVGenerationV2),
		DiskSizeGB: to.Ptr[int32](1), CreationData: &armcompute.CreationData{CreateOption: to.Ptr(armcompute.DiskCreateOptionEmpty)}}}
	p, err := c.BeginCreateOrUpdate(soon(t), x.group, "empty", empty, nil)
	made := finish(t, p, err)
	if *made.Properties.DiskState != armcompute.DiskStateUnattached || *made.Properties.UniqueID == "" {
		t.Errorf("%+v", made.Properties)
	}
	grow, err := c.BeginUpdate(soon(t), x.group, "empty", armcompute.DiskUpdate{Properties: &armcompute.DiskUpdateProperties{DiskSizeGB: to.Ptr[int32](2)}, Tags: map[string]*string{"a": to.Ptr("b")}}, nil)
	if got := finish(t, grow, err); *got.Properties.DiskSizeGB != 2 || *got.Tags["a"] != "b" {
		t.Errorf("%+v", got.Properties)
	}
	empty.Properties = &armcompute.DiskProperties{CreationData: &armcompute.CreationData{CreateOption: to.Ptr(armcompute.DiskCreateOptionCopy), SourceResourceID: made.ID}}
	p, err = c.BeginCreateOrUpdate(soon(t), x.group, "copy", empty, nil)
	finish(t, p, err)
	if got := good[armcompute.DisksClientGetResponse](t)(c.Get(soon(t), x.group, "copy", nil)); *got.Properties.DiskSizeGB != 2 {
		t.Errorf("%d GB", *got.Properties.DiskSizeGB)
	}
	in, _ := drain(t, c.NewListByResourceGroupPager(x.group, nil), func(p armcompute.DisksClientListByResourceGroupResponse) []*armcompute.Disk { return p.Value })
	all, _ := drain(t, c.NewListPager(nil), func(p armcompute.DisksClientListResponse) []*armcompute.Disk { return p.Value })
	if len(in) != 2 || len(all) < 2 {
		t.Errorf("%d and %d disks", len(in), len(all))
	}
	if _, err := c.BeginGrantAccess(soon(t), x.group, "copy", armcompute.GrantAccessData{Access: to.Ptr(armcompute.AccessLevelRead), DurationInSeconds: to.Ptr[int32](60)}, nil); refusal(err) == "" {
		t.Error("a disk's bytes were handed out by URI")
	}
	d, err := c.BeginDelete(soon(t), x.group, "copy", nil)
	finish(t, d, err)
}

func (x *store) snapshots(t *testing.T) {
	c := x.NewSnapshotsClient()
	p, err := c.BeginCreateOrUpdate(soon(t), x.group, "snap", armcompute.Snapshot{Location: to.Ptr(here), Properties: &armcompute.SnapshotProperties{
		CreationData: &armcompute.CreationData{CreateOption: to.Ptr(armcompute.DiskCreateOptionCopy), SourceResourceID: to.Ptr(x.id + "/providers/Microsoft.Compute/disks/empty")}}}, nil)
	finish(t, p, err)
	u, err := c.BeginUpdate(soon(t), x.group, "snap", armcompute.SnapshotUpdate{Tags: map[string]*string{"a": to.Ptr("b")}}, nil)
	finish(t, u, err)
	if got := good[armcompute.SnapshotsClientGetResponse](t)(c.Get(soon(t), x.group, "snap", nil)); *got.Properties.DiskSizeGB != 2 || *got.Tags["a"] != "b" {
		t.Errorf("%+v", got.Properties)
	}
	if in, _ := drain(t, c.NewListByResourceGroupPager(x.group, nil), func(p armcompute.SnapshotsClientListByResourceGroupResponse) []*armcompute.Snapshot { return p.Value }); len(in) != 1 {
		t.Errorf("%d snapshots", len(in))
	}
}

func (x *store) images(t *testing.T) {
	c := x.NewImagesClient()
	p, err := c.BeginCreateOrUpdate(soon(t), x.group, "image", armcompute.Image{Location: to.Ptr(here), Properties: &armcompute.ImageProperties{HyperVGeneration: to.Ptr(armcompute.HyperVGenerationTypesV2),
		StorageProfile: &armcompute.ImageStorageProfile{OSDisk: &armcompute.ImageOSDisk{OSType: to.Ptr(armcompute.OperatingSystemTypesLinux), OSState: to.Ptr(armcompute.OperatingSystemStateTypesGeneralized),
			Snapshot: &armcompute.SubResource{ID: to.Ptr(x.id + "/providers/Microsoft.Compute/snapshots/snap")}}}}}, nil)
	finish(t, p, err)
	u, err := c.BeginUpdate(soon(t), x.group, "image", armcompute.ImageUpdate{Tags: map[string]*string{"a": to.Ptr("b")}}, nil)
	finish(t, u, err)
	if got := good[armcompute.ImagesClientGetResponse](t)(c.Get(soon(t), x.group, "image", nil)); *got.Properties.StorageProfile.OSDisk.OSState != armcompute.OperatingSystemStateTypesGeneralized || *got.Tags["a"] != "b" {
		t.Errorf("%+v", got.Properties.StorageProfile.OSDisk)
	}
	in, _ := drain(t, c.NewListByResourceGroupPager(x.group, nil), func(p armcompute.ImagesClientListByResourceGroupResponse) []*armcompute.Image { return p.Value })
	all, _ := drain(t, c.NewListPager(nil), func(p armcompute.ImagesClientListResponse) []*armcompute.Image { return p.Value })
	if len(in) != 1 || len(all) != 1 {
		t.Errorf("%d and %d images", len(in), len(all))
	}
}

// gallery publishes the image to two regions.
func (x *store) gallery(t *testing.T) {
	galleries, definitions, versions := x.NewGalleriesClient(), x.NewGalleryImagesClient(), x.NewGalleryImageVersionsClient()
	g, err := galleries.BeginCreateOrUpdate(soon(t), x.group, "golden", armcompute.Gallery{Location: to.Ptr(here)}, nil)
	finish(t, g, err)
	gu, err := galleries.BeginUpdate(soon(t), x.group, "golden", armcompute.GalleryUpdate{Properties: &armcompute.GalleryProperties{Description: to.Ptr("approved")}}, nil)
	finish(t, gu, err)
	d, err := definitions.BeginCreateOrUpdate(soon(t), x.group, "golden", "base", armcompute.GalleryImage{Location: to.Ptr(here), Properties: &armcompute.GalleryImageProperties{
		OSType: to.Ptr(armcompute.OperatingSystemTypesLinux), OSState: to.Ptr(armcompute.OperatingSystemStateTypesGeneralized), HyperVGeneration: to.Ptr(armcompute.HyperVGenerationV2),
		Identifier: &armcompute.GalleryImageIdentifier{Publisher: to.Ptr("p"), Offer: to.Ptr("o"), SKU: to.Ptr("s")}}}, nil)
	finish(t, d, err)
	du, err := definitions.BeginUpdate(soon(t), x.group, "golden", "base", armcompute.GalleryImageUpdate{Properties: &armcompute.GalleryImageProperties{Description: to.Ptr("the base")}}, nil)
	finish(t, du, err)
	region := func(name string) *armcompute.TargetRegion { return &armcompute.TargetRegion{Name: &name} }
	v, err := versions.BeginCreateOrUpdate(soon(t), x.group, "golden", "base", "1.0.0", armcompute.GalleryImageVersion{Location: to.Ptr(here), Properties: &armcompute.GalleryImageVersionProperties{
		PublishingProfile: &armcompute.GalleryImageVersionPublishingProfile{TargetRegions: []*armcompute.TargetRegion{region(here)}},
		StorageProfile:    &armcompute.GalleryImageVersionStorageProfile{Source: &armcompute.GalleryArtifactVersionFullSource{ID: to.Ptr(x.id + "/providers/Microsoft.Compute/images/image")}}}}, nil)
	finish(t, v, err)
	vu, err := versions.BeginUpdate(soon(t), x.group, "golden", "base", "1.0.0", armcompute.GalleryImageVersionUpdate{Properties: &armcompute.GalleryImageVersionProperties{StorageProfile: &armcompute.GalleryImageVersionStorageProfile{},
		PublishingProfile: &armcompute.GalleryImageVersionPublishingProfile{TargetRegions: []*armcompute.TargetRegion{region(here), region(elsewhere)}}}}, nil)
	finish(t, vu, err)
	got := good[armcompute.GalleryImageVersionsClientGetResponse](t)(versions.Get(soon(t), x.group, "golden", "base", "1.0.0", &armcompute.GalleryImageVersionsClientGetOptions{Expand: to.Ptr(armcompute.ReplicationStatusTypesReplicationStatus)}))
	if s := got.Properties.ReplicationStatus; *s.AggregatedState != armcompute.AggregatedReplicationStateCompleted || len(s.Summary) != 2 || *got.Properties.StorageProfile.OSDiskImage.SizeInGB != 2 {
		t.Errorf("%+v", s)
	}
	one, _ := drain(t, galleries.NewListByResourceGroupPager(x.group, nil), func(p armcompute.GalleriesClientListByResourceGroupResponse) []*armcompute.Gallery { return p.Value })
	two, _ := drain(t, definitions.NewListByGalleryPager(x.group, "golden", nil), func(p armcompute.GalleryImagesClientListByGalleryResponse) []*armcompute.GalleryImage { return p.Value })
	three, _ := drain(t, versions.NewListByGalleryImagePager(x.group, "golden", "base", nil), func(p armcompute.GalleryImageVersionsClientListByGalleryImageResponse) []*armcompute.GalleryImageVersion {
		return p.Value
	})
	if len(one) != 1 || *one[0].Properties.Description != "approved" || len(two) != 1 || *two[0].Properties.Description != "the base" || len(three) != 1 {
		t.Errorf("%d galleries, %d definitions, %d versions", len(one), len(two), len(three))
	}
}

// imageBuilder stores a template; what a run does is elsewhere.
func (x *store) imageBuilder(t *testing.T) {
	c := good[*aib.VirtualMachineImageTemplatesClient](t)(aib.NewVirtualMachineImageTemplatesClient(x.Subscription, x.Credential, x.Options))
	p, err := c.BeginCreateOrUpdate(soon(t), x.group, "template", aib.ImageTemplate{Location: to.Ptr(here), Identity: &aib.ImageTemplateIdentity{Type: to.Ptr(aib.ResourceIdentityTypeNone)}, Properties: &aib.ImageTemplateProperties{
		Source:    &aib.ImageTemplateManagedImageSource{Type: to.Ptr("ManagedImage"), ImageID: to.Ptr(x.id + "/providers/Microsoft.Compute/images/image")},
		Customize: []aib.ImageTemplateCustomizerClassification{&aib.ImageTemplateShellCustomizer{Type: to.Ptr("Shell"), Name: to.Ptr("hello"), Inline: to.SliceOfPtrs("echo hello")}},
		Distribute: []aib.ImageTemplateDistributorClassification{&aib.ImageTemplateSharedImageDistributor{Type: to.Ptr("SharedImage"), RunOutputName: to.Ptr("gallery"),
			GalleryImageID: to.Ptr(x.id + "/providers/Microsoft.Compute/galleries/golden/images/base"), TargetRegions: []*aib.TargetRegion{{Name: to.Ptr(here)}}}}}}, nil)
	if made := finish(t, p, err); *made.Properties.ProvisioningState != aib.ProvisioningStateSucceeded {
		t.Errorf("%+v", made.Properties)
	}
	u, err := c.BeginUpdate(soon(t), x.group, "template", aib.ImageTemplateUpdateParameters{Tags: map[string]*string{"a": to.Ptr("b")}}, nil)
	finish(t, u, err)
	if got := good[aib.VirtualMachineImageTemplatesClientGetResponse](t)(c.Get(soon(t), x.group, "template", nil)); *got.Tags["a"] != "b" || got.Properties.LastRunStatus != nil {
		t.Errorf("%+v", got.ImageTemplate)
	}
	in, _ := drain(t, c.NewListByResourceGroupPager(x.group, nil), func(p aib.VirtualMachineImageTemplatesClientListByResourceGroupResponse) []*aib.ImageTemplate {
		return p.Value
	})
	all, _ := drain(t, c.NewListPager(nil), func(p aib.VirtualMachineImageTemplatesClientListResponse) []*aib.ImageTemplate { return p.Value })
	outputs, _ := drain(t, c.NewListRunOutputsPager(x.group, "template", nil), func(p aib.VirtualMachineImageTemplatesClientListRunOutputsResponse) []*aib.RunOutput { return p.Value })
	if len(in) != 1 || len(all) != 1 || len(outputs) != 0 {
		t.Errorf("%d and %d templates, %d outputs", len(in), len(all), len(outputs))
	}
	d, err := c.BeginDelete(soon(t), x.group, "template", nil)
	finish(t, d, err)
}

// machines: there are none; the life of one is what the Azure CLI's suite drives.
func (x *store) machines(t *testing.T) {
	c := x.NewVirtualMachinesClient()
	p, err := c.BeginCreateOrUpdate(soon(t), x.group, "vm", armcompute.VirtualMachine{Location: to.Ptr(here), Properties: &armcompute.VirtualMachineProperties{
		HardwareProfile: &armcompute.HardwareProfile{VMSize: to.Ptr(armcompute.VirtualMachineSizeTypes("Huge"))},
		StorageProfile:  &armcompute.StorageProfile{ImageReference: &armcompute.ImageReference{ID: to.Ptr(x.id + "/providers/Microsoft.Compute/images/none")}}}}, nil)
	if refusal(err) == "" {
		finish(t, p, nil)
		t.Error("a machine of no size was made")
	}
	if _, err := c.Get(soon(t), x.group, "vm", nil); refusal(err) != "ResourceNotFound" {
		t.Errorf("no machine: %v", err)
	}
	in, _ := drain(t, c.NewListPager(x.group, nil), func(p armcompute.VirtualMachinesClientListResponse) []*armcompute.VirtualMachine { return p.Value })
	if all, _ := drain(t, c.NewListAllPager(nil), func(p armcompute.VirtualMachinesClientListAllResponse) []*armcompute.VirtualMachine { return p.Value }); len(in)+len(all) != 0 {
		t.Errorf("%d and %d machines", len(in), len(all))
	}
}

// sets are scale sets without instances.
func (x *store) sets(t *testing.T) {
	c := x.NewVirtualMachineScaleSetsClient()
	p, err := c.BeginCreateOrUpdate(soon(t), x.group, "set", armcompute.VirtualMachineScaleSet{Location: to.Ptr(here), SKU: &armcompute.SKU{Name: to.Ptr("Standard_B1s"), Capacity: to.Ptr[int64](0)},
		Properties: &armcompute.VirtualMachineScaleSetProperties{OrchestrationMode: to.Ptr(armcompute.OrchestrationModeUniform), UpgradePolicy: &armcompute.UpgradePolicy{Mode: to.Ptr(armcompute.UpgradeModeManual)},
			VirtualMachineProfile: x.profile(t)}}, nil)
	finish(t, p, err)
	u, err := c.BeginUpdate(soon(t), x.group, "set", armcompute.VirtualMachineScaleSetUpdate{Tags: map[string]*string{"a": to.Ptr("b")}}, nil)
	finish(t, u, err)
	if got := good[armcompute.VirtualMachineScaleSetsClientGetResponse](t)(c.Get(soon(t), x.group, "set", nil)); *got.Tags["a"] != "b" || *got.SKU.Capacity != 0 {
		t.Errorf("%+v", got.VirtualMachineScaleSet)
	}
	good[armcompute.VirtualMachineScaleSetsClientGetInstanceViewResponse](t)(c.GetInstanceView(soon(t), x.group, "set", nil))
	in, _ := drain(t, c.NewListPager(x.group, nil), func(p armcompute.VirtualMachineScaleSetsClientListResponse) []*armcompute.VirtualMachineScaleSet {
		return p.Value
	})
	instances, _ := drain(t, x.NewVirtualMachineScaleSetVMsClient().NewListPager(x.group, "set", nil), func(p armcompute.VirtualMachineScaleSetVMsClientListResponse) []*armcompute.VirtualMachineScaleSetVM {
		return p.Value
	})
	if len(in) != 1 || len(instances) != 0 {
		t.Errorf("%d sets, %d instances", len(in), len(instances))
	}
	d, err := c.BeginDelete(soon(t), x.group, "set", nil)
	finish(t, d, err)
}

// profile is of machines that are never made.
func (x *store) profile(t *testing.T) *armcompute.VirtualMachineScaleSetVMProfile {
	network := document(t, `{"addressSpace": {"addressPrefixes": ["10.1.0.0/16"]}, "subnets": [{"name": "default", "properties": {"addressPrefix": "10.1.0.0/24"}}]}`)
	c := good[*armresources.Client](t)(armresources.NewClient(x.Subscription, x.Credential, x.Options))
	id := x.id + "/providers/Microsoft.Network/virtualNetworks/net"
	p, err := c.BeginCreateOrUpdateByID(soon(t), id, routesAPI, armresources.GenericResource{Location: to.Ptr(here), Properties: network}, nil)
	finish(t, p, err)
	return &armcompute.VirtualMachineScaleSetVMProfile{
		StorageProfile: &armcompute.VirtualMachineScaleSetStorageProfile{ImageReference: &armcompute.ImageReference{ID: to.Ptr(x.id + "/providers/Microsoft.Compute/galleries/golden/images/base")}},
		OSProfile:      &armcompute.VirtualMachineScaleSetOSProfile{ComputerNamePrefix: to.Ptr("set"), AdminUsername: to.Ptr("azureuser"), AdminPassword: to.Ptr("Correct-horse1")},
		NetworkProfile: &armcompute.VirtualMachineScaleSetNetworkProfile{NetworkInterfaceConfigurations: []*armcompute.VirtualMachineScaleSetNetworkConfiguration{{Name: to.Ptr("nic"),
			Properties: &armcompute.VirtualMachineScaleSetNetworkConfigurationProperties{Primary: to.Ptr(true), IPConfigurations: []*armcompute.VirtualMachineScaleSetIPConfiguration{{Name: to.Ptr("ip"),
				Properties: &armcompute.VirtualMachineScaleSetIPConfigurationProperties{Subnet: &armcompute.APIEntityReference{ID: to.Ptr(id + "/subnets/default")}}}}}}}},
	}
}

func (x *store) catalogues(t *testing.T) {
	sizes, _ := drain(t, x.NewVirtualMachineSizesClient().NewListPager(here, nil), func(p armcompute.VirtualMachineSizesClientListResponse) []*armcompute.VirtualMachineSize {
		return p.Value
	})
	skus, _ := drain(t, x.NewResourceSKUsClient().NewListPager(&armcompute.ResourceSKUsClientListOptions{Filter: to.Ptr("location eq '" + here + "'")}), func(p armcompute.ResourceSKUsClientListResponse) []*armcompute.ResourceSKU { return p.Value })
	if len(sizes) == 0 || len(skus) == 0 {
		t.Errorf("%d sizes, %d SKUs", len(sizes), len(skus))
	}
	c := x.NewVirtualMachineImagesClient()
	publishers := good[armcompute.VirtualMachineImagesClientListPublishersResponse](t)(c.ListPublishers(soon(t), here, nil))
	if !slices.ContainsFunc(publishers.VirtualMachineImageResourceArray, func(p *armcompute.VirtualMachineImageResource) bool { return *p.Name == "Debian" }) {
		t.Errorf("%d publishers without Debian", len(publishers.VirtualMachineImageResourceArray))
	}
	if got := good[armcompute.VirtualMachineImagesClientListResponse](t)(c.List(soon(t), here, "Debian", "debian-12", "12-gen2", nil)); len(got.VirtualMachineImageResourceArray) == 0 {
		t.Error("no versions of Debian")
	}
}

func (x *store) goes(t *testing.T) {
	versions, definitions, galleries := x.NewGalleryImageVersionsClient(), x.NewGalleryImagesClient(), x.NewGalleriesClient()
	v, err := versions.BeginDelete(soon(t), x.group, "golden", "base", "1.0.0", nil)
	finish(t, v, err)
	d, err := definitions.BeginDelete(soon(t), x.group, "golden", "base", nil)
	finish(t, d, err)
	g, err := galleries.BeginDelete(soon(t), x.group, "golden", nil)
	finish(t, g, err)
	i, err := x.NewImagesClient().BeginDelete(soon(t), x.group, "image", nil)
	finish(t, i, err)
	s, err := x.NewSnapshotsClient().BeginDelete(soon(t), x.group, "snap", nil)
	finish(t, s, err)
	if _, err := x.NewSnapshotsClient().Get(soon(t), x.group, "snap", nil); refusal(err) != "ResourceNotFound" {
		t.Errorf("after the delete: %v", err)
	}
}
