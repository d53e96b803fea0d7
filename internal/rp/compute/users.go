package compute

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// Users names the documents that need an image's replica in a location: disks that stand
// on it and the machines that have them, managed images and snapshots that are nothing
// else, and gallery versions, wherever they are replicated to. It errs on the side of
// keeping.
func Users(ctx context.Context, s store.Store, location, digest string) (users []string, err error) {
	err = s.View(ctx, func(tx store.ReadTx) error {
		users = users[:0]
		for _, typ := range []arm.Type{TypeVM, TypeInstance, TypeDisk, TypeImage, TypeSnapshot, typeGalleryVersion} {
			q := store.Query{Type: typ, Location: location}
			if typ == typeGalleryVersion {
				q.Location = ""
			}
			all, err := tx.List(q)
			if err != nil {
				return err
			}
			for _, d := range all {
				if needs(d, digest) {
					users = append(users, d.ID)
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing the users of image %s: %w", digest, err)
	}
	return users, nil
}

func needs(d *store.Document, digest string) bool {
	return strings.EqualFold(arm.GetString(d.Body, "properties.hallmark.imageDigest"), digest) ||
		strings.EqualFold(arm.GetString(d.Body, "properties.hallmark.backingDigest"), digest)
}

// release gives up a document's claim on a replica. It never stands in the way of a
// delete: a replica that stays costs space, a document that cannot be deleted costs nerves.
func (s *service) release(ctx context.Context, w *provider.Work, digest string) {
	if digest == "" {
		return
	}
	err := s.Replicas.Release(ctx, w.Doc.Location, digest, func(ctx context.Context) ([]string, error) {
		users, err := Users(ctx, w.Store, w.Doc.Location, digest)
		return slices.DeleteFunc(users, func(id string) bool { return strings.EqualFold(id, w.Doc.ID) }), err
	})
	if err != nil {
		s.Log.WarnContext(ctx, "a replica stays although nothing needs it", "image", digest, "location", w.Doc.Location, "error", err)
	}
}
