package gallery_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/artifact"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/gallery"
)

// engine is Bytes and Regions in memory.
type engine struct {
	mu    sync.Mutex
	ready map[string]bool
}

const digest = "sha256:97e9d7a16021e6d07fb13ab0ac3c1a9c1a0b2cf4c5ecb63b9f1ba6ac11c29be0"

func (e *engine) Ingest(ctx context.Context, location, file string, recorded func(context.Context, gallery.Image) error, report func(int)) error {
	report(100)
	return recorded(ctx, gallery.Image{Digest: digest, VirtualSize: 2 << 30, DataBytes: 1 << 20})
}

func (e *engine) Stat(context.Context, string) (gallery.Image, error) {
	return gallery.Image{Digest: digest, VirtualSize: 2 << 30}, nil
}

func (e *engine) Export(_ context.Context, location, digest, format, file string) error {
	return os.WriteFile(file, []byte(format), 0o600)
}

func (e *engine) Ready(_ context.Context, location, digest string) (bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.ready[location+digest], nil
}

func (e *engine) Replicate(_ context.Context, location, digest string, report func(int)) (int64, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ready[location+digest] = true
	return 1, nil
}

func (e *engine) Remove(_ context.Context, location, digest string, users func(context.Context) ([]string, error)) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.ready, location+digest)
	return nil
}

var poll = &runtime.PollUntilDoneOptions{Frequency: time.Millisecond}

func start(t *testing.T) (*providertest.Server, *armcompute.ClientFactory, string) {
	t.Helper()
	store, err := artifact.Open(filepath.Join(t.TempDir(), "artifacts"), "https://localhost:8443")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, []byte("disk"), 0o600); err != nil {
		t.Fatal(err)
	}
	blob, err := store.Put(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{ready: map[string]bool{}}
	machines := provider.Provider{Types: []provider.ResourceType{{Type: "Microsoft.Compute/virtualMachines", Scopes: provider.AtResourceGroup, APIVersions: []string{"2024-03-01"}}}}
	s := providertest.Start(t, providertest.With(machines, gallery.New(gallery.Config{Bytes: e, Regions: e, Artifacts: store, Locations: []string{providertest.Location, providertest.Location2}})))
	clients, err := armcompute.NewClientFactory(providertest.Subscription, s.Credential, s.Options)
	if err != nil {
		t.Fatal(err)
	}
	return s, clients, store.URI(blob.Digest)
}

// TestSDK walks through the life of a gallery with Azure's own client.
func TestSDK(t *testing.T) {
	s, clients, uri := start(t)
	ctx := t.Context()
	galleries, images, versions := clients.NewGalleriesClient(), clients.NewGalleryImagesClient(), clients.NewGalleryImageVersionsClient()

	g, err := galleries.BeginCreateOrUpdate(ctx, "rg", "golden", armcompute.Gallery{Location: to.Ptr(providertest.Location), Tags: map[string]*string{"team": to.Ptr("web")}}, nil)
	made := done(t, g, err)
	if *made.Properties.Identifier.UniqueName != providertest.Subscription+"-GOLDEN" || *made.Properties.ProvisioningState != armcompute.GalleryProvisioningStateSucceeded {
		t.Errorf("%+v", made.Properties)
	}
	gu, err := galleries.BeginUpdate(ctx, "rg", "golden", armcompute.GalleryUpdate{Properties: &armcompute.GalleryProperties{Description: to.Ptr("d")}}, nil)
	if got := done(t, gu, err); *got.Properties.Description != "d" || *got.Tags["team"] != "web" {
		t.Errorf("%+v", got)
	}

	i, err := images.BeginCreateOrUpdate(ctx, "rg", "golden", "web-base", armcompute.GalleryImage{Location: to.Ptr(providertest.Location), Properties: &armcompute.GalleryImageProperties{
		OSType: to.Ptr(armcompute.OperatingSystemTypesLinux), OSState: to.Ptr(armcompute.OperatingSystemStateTypesGeneralized), HyperVGeneration: to.Ptr(armcompute.HyperVGenerationV2),
		Identifier: &armcompute.GalleryImageIdentifier{Publisher: to.Ptr("p"), Offer: to.Ptr("o"), SKU: to.Ptr("s")}}}, nil)
	done(t, i, err)

	v, err := versions.BeginCreateOrUpdate(ctx, "rg", "golden", "web-base", "1.0.0", armcompute.GalleryImageVersion{Location: to.Ptr(providertest.Location), Properties: &armcompute.GalleryImageVersionProperties{
		PublishingProfile: &armcompute.GalleryImageVersionPublishingProfile{ExcludeFromLatest: to.Ptr(true), TargetRegions: []*armcompute.TargetRegion{{Name: to.Ptr(providertest.Location)}}},
		StorageProfile:    &armcompute.GalleryImageVersionStorageProfile{OSDiskImage: &armcompute.GalleryOSDiskImage{Source: &armcompute.GalleryDiskImageSource{URI: to.Ptr(uri)}}}}}, nil)
	published := done(t, v, err)
	if p := published.Properties; *p.ProvisioningState != armcompute.GalleryProvisioningStateSucceeded || p.PublishingProfile.PublishedDate == nil || *p.StorageProfile.OSDiskImage.SizeInGB != 2 {
		t.Errorf("%+v", published.Properties)
	}

	// Promotion, as a client does it: everywhere, and in `latest`.
	vu, err := versions.BeginUpdate(ctx, "rg", "golden", "web-base", "1.0.0", armcompute.GalleryImageVersionUpdate{Properties: &armcompute.GalleryImageVersionProperties{
		StorageProfile: &armcompute.GalleryImageVersionStorageProfile{},
		PublishingProfile: &armcompute.GalleryImageVersionPublishingProfile{ExcludeFromLatest: to.Ptr(false), TargetRegions: []*armcompute.TargetRegion{
			{Name: to.Ptr(providertest.Location)}, {Name: to.Ptr(providertest.Location2), RegionalReplicaCount: to.Ptr[int32](3)}}}}}, nil)
	if got := done(t, vu, err); *got.Properties.PublishingProfile.ExcludeFromLatest || *got.Properties.StorageProfile.OSDiskImage.Source.URI != uri {
		t.Errorf("%+v", got.Properties)
	}
	got, err := versions.Get(ctx, "rg", "golden", "web-base", "1.0.0", &armcompute.GalleryImageVersionsClientGetOptions{Expand: to.Ptr(armcompute.ReplicationStatusTypesReplicationStatus)})
	if err != nil {
		t.Fatal(err)
	}
	status := got.Properties.ReplicationStatus
	if *status.AggregatedState != armcompute.AggregatedReplicationStateCompleted || len(status.Summary) != 2 || *status.Summary[1].State != armcompute.ReplicationStateCompleted || *status.Summary[1].Progress != 100 {
		t.Errorf("%+v", status)
	}

	for pager := versions.NewListByGalleryImagePager("rg", "golden", "web-base", nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil || len(page.Value) != 1 {
			t.Fatalf("%v %v", page, err)
		}
	}

	vm := providertest.Group().Resource("Microsoft.Compute/virtualMachines", "web-1")
	if _, err := s.Client.Put(ctx, vm, map[string]any{"properties": map[string]any{"storageProfile": map[string]any{"imageReference": map[string]any{"id": *got.ID}}}}); err != nil {
		t.Fatal(err)
	}
	_, err = versions.BeginDelete(ctx, "rg", "golden", "web-base", "1.0.0", nil)
	var refused *azcore.ResponseError
	if !errors.As(err, &refused) || refused.StatusCode != http.StatusConflict || !strings.Contains(refused.Error(), vm.String()) {
		t.Fatalf("deleting a version in use: %v", err)
	}
	if err := s.Client.Delete(ctx, vm); err != nil {
		t.Fatal(err)
	}
	vd, err := versions.BeginDelete(ctx, "rg", "golden", "web-base", "1.0.0", nil)
	done(t, vd, err)
	id, err := images.BeginDelete(ctx, "rg", "golden", "web-base", nil)
	done(t, id, err)
	gd, err := galleries.BeginDelete(ctx, "rg", "golden", nil)
	done(t, gd, err)
}

func done[T any](t *testing.T, p *runtime.Poller[T], err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.PollUntilDone(t.Context(), poll)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestExportOperation: a client polls the operation and finds the blob's URI in its result.
func TestExportOperation(t *testing.T) {
	s, _, uri := start(t)
	g := providertest.Group().Resource(gallery.TypeGallery, "golden")
	v := g.Child("images", "web-base").Child("versions", "1.0.0")
	for _, put := range []struct {
		id   arm.ID
		body string
	}{
		{g, `{"location":"local"}`},
		{v.Parent(), `{"location":"local","properties":{"osType":"Linux","osState":"Generalized","identifier":{"publisher":"p","offer":"o","sku":"s"}}}`},
		{v, `{"location":"local","properties":{"storageProfile":{"osDiskImage":{"source":{"uri":"` + uri + `"}}}}}`},
	} {
		if status, _, body := s.Do(t, "PUT", put.id.String()+"?api-version=2024-03-03", put.body); status != 201 {
			t.Fatalf("%d %s", status, body)
		}
	}
	s.Settle(t)
	status, header, body := s.Do(t, "POST", v.String()+"/export?api-version=2024-03-03", `{"format":"vhd"}`)
	if status != 202 {
		t.Fatalf("%d %s", status, body)
	}
	s.Settle(t)
	status, _, body = s.Do(t, "GET", header.Get("Location"), nil)
	if status != 200 || arm.GetString(body, "format") != "vhd" || !strings.Contains(arm.GetString(body, "uri"), artifact.PathPrefix) {
		t.Errorf("%d %s", status, body)
	}
}
