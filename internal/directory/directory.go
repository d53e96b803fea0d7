package directory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/store"
)

// What callers must handle.
var (
	ErrNotFound = errors.New("no such object in the directory")
	ErrExists   = errors.New("the directory has such an object already")
)

// Directory changes the directory and checks secrets. It is safe for concurrent use.
type Directory struct {
	store  store.Store
	hasher *identity.Hasher
	tenant string
	also   func(tx store.Tx) error
	seen   *sync.Map // users by object id, as recorded
}

// With is the same directory, each of whose changes also does something in its own
// transaction: to leave an audit event, say.
func (d *Directory) With(also func(tx store.Tx) error) *Directory {
	c := *d
	c.also = also
	return &c
}

func (d *Directory) update(ctx context.Context, f func(tx store.Tx) error) error {
	return d.store.Update(ctx, func(tx store.Tx) error {
		if err := f(tx); err != nil || d.also == nil {
			return err
		}
		return d.also(tx)
	})
}

// Open opens the directory that a store keeps; the tenant's id and the key of secrets
// are in a folder.
func Open(s store.Store, keys string) (*Directory, error) {
	tenant, err := identity.OpenTenant(keys)
	if err != nil {
		return nil, err
	}
	hasher, err := identity.OpenHasher(keys)
	return &Directory{store: s, hasher: hasher, tenant: tenant, seen: &sync.Map{}}, err
}

// TenantID is the id of this installation's tenant.
func (d *Directory) TenantID() string { return d.tenant }

// Create adds an application with a service principal and returns its first secret,
// which is shown once and stored nowhere.
func (d *Directory) Create(ctx context.Context, displayName string, now time.Time) (Principal, string, error) {
	text, secret := d.hasher.New(now, time.Time{})
	p := Principal{AppID: identity.NewID(), ObjectID: identity.NewID(), ApplicationID: identity.NewID(), Kind: Application,
		DisplayName: displayName, Created: now.UTC(), Secrets: []identity.Secret{secret}}
	return p, text, d.Add(ctx, p)
}

// Add stores a new principal.
func (d *Directory) Add(ctx context.Context, p Principal) error {
	return d.update(ctx, func(tx store.Tx) error {
		if _, err := tx.Get(principalID(p.AppID).Key()); !errors.Is(err, store.ErrNotFound) {
			return errors.Join(err, fmt.Errorf("application %s: %w", p.AppID, ErrExists))
		}
		return Put(tx, p)
	})
}

// Put stores a principal in a transaction.
func Put(tx store.Tx, p Principal) error { return put(tx, principalID(p.AppID), p, p.Created) }

// Edit changes a principal. f may run more than once; what it returns is returned.
func (d *Directory) Edit(ctx context.Context, appID string, f func(*Principal) error) (p Principal, err error) {
	err = d.update(ctx, func(tx store.Tx) error {
		if p, err = get[Principal](tx, principalID(appID)); err != nil {
			return found(err, "application", appID)
		}
		if err := f(&p); err != nil {
			return err
		}
		return Put(tx, p)
	})
	return p, err
}

func found(err error, what, id string) error {
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%s %s: %w", what, id, ErrNotFound)
	}
	return err
}

// AddSecret gives an application one more secret; zero expires means never.
func (d *Directory) AddSecret(ctx context.Context, appID, displayName string, now, expires time.Time) (string, identity.Secret, error) {
	text, secret := d.hasher.New(now, expires)
	secret.DisplayName = displayName
	_, err := d.Edit(ctx, appID, func(p *Principal) error {
		p.Secrets = append(p.Secrets, secret)
		return nil
	})
	return text, secret, err
}

// RemoveSecret takes a secret away; tokens issued for it live on until they expire.
func (d *Directory) RemoveSecret(ctx context.Context, appID, keyID string) error {
	_, err := d.Edit(ctx, appID, func(p *Principal) error {
		n := len(p.Secrets)
		p.Secrets = slices.DeleteFunc(p.Secrets, func(s identity.Secret) bool { return s.KeyID == keyID })
		if len(p.Secrets) == n {
			return fmt.Errorf("secret %s: %w", keyID, ErrNotFound)
		}
		return nil
	})
	return err
}

// Delete removes an application with its service principal. Its tokens are worth
// nothing from then on.
func (d *Directory) Delete(ctx context.Context, appID string) error {
	return d.update(ctx, func(tx store.Tx) error { return found(Remove(tx, appID), "application", appID) })
}

// Remove removes a principal in a transaction; store.ErrNotFound if it is not there.
func Remove(tx store.Tx, appID string) error {
	if err := tx.Delete(principalID(appID).Key(), store.Any); err != nil {
		return err
	}
	return Touch(tx)
}

// Read is the whole directory.
func (d *Directory) Read(ctx context.Context) (s *Snapshot, err error) {
	err = d.store.View(ctx, func(tx store.ReadTx) error {
		s, err = Read(tx)
		return err
	})
	return s, err
}

// Authenticate checks a client id and secret. Unknown client and wrong secret take the
// same path and give the same error, identity.ErrUnauthenticated.
func (d *Directory) Authenticate(ctx context.Context, appID, secret string, now time.Time) (identity.Principal, error) {
	var p Principal
	err := d.store.View(ctx, func(tx store.ReadTx) (err error) {
		p, err = get[Principal](tx, principalID(appID))
		return err
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return identity.Principal{}, err
	}
	if !d.hasher.Matches(p.Secrets, secret, now) || p.ObjectID == "" {
		return identity.Principal{}, fmt.Errorf("client %q: wrong client id or secret, or the secret has expired: %w", clip(appID), identity.ErrUnauthenticated)
	}
	return p.Identity(d.tenant), nil
}

func clip(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}
