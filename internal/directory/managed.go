package directory

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/store"
)

// Managed is the managed identity of a resource with an object id. Its client id
// follows from the object id, so that the one leads to the other.
func Managed(resource arm.ID, objectID string, now time.Time) Principal {
	return Principal{AppID: ClientID(objectID), ObjectID: objectID, Kind: ManagedIdentity, Resource: resource.String(), DisplayName: resource.Name(), Created: now.UTC()}
}

// ClientID is the client id of a managed identity.
func ClientID(objectID string) string {
	h := sha256.Sum256([]byte("managed identity\x00" + strings.ToLower(objectID)))
	h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80 // version 8: made in our own way (RFC 9562)
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

// KeepManaged stores a managed identity unless it is there.
func KeepManaged(tx store.Tx, p Principal) error {
	_, err := tx.Get(principalID(p.AppID).Key())
	if errors.Is(err, store.ErrNotFound) {
		return Put(tx, p)
	}
	return err
}

// RemoveManaged removes the managed identity of a resource with an object id. Nothing
// happens if there is none, or if the identity is another resource's: a document may
// say what it likes.
func RemoveManaged(tx store.Tx, resource, objectID string) error {
	p, err := get[Principal](tx, principalID(ClientID(objectID)))
	if errors.Is(err, store.ErrNotFound) || err == nil && (p.Kind != ManagedIdentity || !strings.EqualFold(p.Resource, resource)) {
		return nil
	}
	if err != nil {
		return err
	}
	return Remove(tx, p.AppID)
}

// OfResource is the managed identity with an object id, if it is the resource's own;
// ErrNotFound if not. It is who the resource acts as: provider.Client.As takes it.
func (d *Directory) OfResource(ctx context.Context, resource arm.ID, objectID string) (identity.Principal, error) {
	var p Principal
	err := d.store.View(ctx, func(tx store.ReadTx) (err error) {
		p, err = get[Principal](tx, principalID(ClientID(objectID)))
		return err
	})
	if err == nil && !strings.EqualFold(p.Resource, resource.String()) {
		err = store.ErrNotFound
	}
	if err != nil {
		return identity.Principal{}, found(err, "managed identity of", resource.String())
	}
	return p.Identity(d.tenant), nil
}
