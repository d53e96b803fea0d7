package compute

import (
	"context"
	"net/http"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// vmIdentity is what `hallmark vm verify` compares: which bytes the machine's system disk
// stands on.
type vmIdentity struct {
	BackingDigest    string `json:"backingDigest"` // "" for a marketplace image: nobody publishes its bytes
	BackingPath      string `json:"backingPath"`
	GalleryVersionID string `json:"galleryVersionId,omitempty"` // at creation
	ImageID          string `json:"imageId,omitempty"`          // the same for any kind of image
	Accelerator      string `json:"accelerator"`
}

// hallmarkIdentity reads the backing file from the disk itself, not from what was
// recorded: a disk that has been exchanged must show.
func (s *service) hallmarkIdentity(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	d, err := vmOf(ctx, c)
	if err != nil {
		return nil, err
	}
	b, _ := readVM(d)
	id, err := arm.ParseID(b.Properties.StorageProfile.OSDisk.ManagedDisk.ID)
	if err != nil {
		return nil, err
	}
	disk, err := store.Get(ctx, c.Runtime.Store, id.Key())
	if err != nil {
		return nil, arm.NotFound(id).Because(err)
	}
	_, state := readDisk(disk)
	path, err := s.Volumes.Backing(ctx, state.Volume)
	if err != nil {
		return nil, err
	}
	found := vmIdentity{BackingPath: path, BackingDigest: s.Replicas.DigestOf(path), ImageID: imageIDOf(d), Accelerator: s.Machines.Accelerator()}
	if image, err := arm.ParseID(found.ImageID); err == nil && image.Type().Equal(typeGalleryVersion) {
		found.GalleryVersionID = found.ImageID
	}
	return provider.JSON(http.StatusOK, found)
}
