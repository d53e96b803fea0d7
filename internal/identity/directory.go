package identity

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Files in the directory's folder, all 0600.
const (
	principalsFile = "principals.json"
	pepperFile     = "secrets.key"
	signingFile    = "signing.key"
)

// ErrNoSuchPrincipal: no service principal has that id.
var ErrNoSuchPrincipal = errors.New("no such service principal")

// ServicePrincipal is an application that may sign in.
type ServicePrincipal struct {
	AppID       string    `json:"appId"` // what clients sign in with
	ObjectID    string    `json:"objectId"`
	DisplayName string    `json:"displayName"`
	Created     time.Time `json:"created"`
	Secrets     []Secret  `json:"secrets"`
	Roles       []Role    `json:"roles"`
}

// Secret is the trace of a secret: enough to recognise it, not to know it.
//
// Hash is HMAC-SHA-256 under a key in a file of its own. A slow password hash would
// add nothing: a secret is 256 random bits, made here and never chosen by
// people, so guessing is hopeless at any speed, and every token request would
// pay for it. The key makes a copied database worthless by itself.
type Secret struct {
	KeyID   string    `json:"keyId"`
	Hash    string    `json:"hash"` // hex
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"` // zero: never
}

// Role is a role at a scope, as text; internal/rbac gives it meaning.
type Role struct {
	Name  string `json:"name"`
	Scope string `json:"scope"`
}

// Directory keeps service principals in a folder. One process at a time uses it; it
// is safe for concurrent use in that process.
type Directory struct {
	dir    string
	pepper []byte

	mu         sync.RWMutex
	tenant     string
	principals []ServicePrincipal
}

type directoryFile struct {
	Tenant     string             `json:"tenantId"`
	Principals []ServicePrincipal `json:"principals"`
}

// OpenDirectory reads a folder, and makes it and a tenant id if they are not there.
func OpenDirectory(dir string) (*Directory, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening the directory of principals: %w", err)
	}
	pepper, err := readOrCreate(filepath.Join(dir, pepperFile), func() ([]byte, error) { return randomBytes(32), nil })
	if err != nil {
		return nil, fmt.Errorf("reading the key of secrets: %w", err)
	}
	d := &Directory{dir: dir, pepper: pepper}
	raw, err := os.ReadFile(filepath.Join(dir, principalsFile))
	if errors.Is(err, os.ErrNotExist) {
		d.tenant = newUUID()
		return d, d.save(nil)
	}
	if err != nil {
		return nil, fmt.Errorf("reading principals: %w", err)
	}
	var f directoryFile
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, fmt.Errorf("reading %s: %w (restore it from a backup)", filepath.Join(dir, principalsFile), err)
	}
	d.tenant, d.principals = f.Tenant, f.Principals
	return d, nil
}

// TenantID is the id of this installation's tenant.
func (d *Directory) TenantID() string { return d.tenant }

// Create adds a service principal without roles and returns its first secret, which is
// shown once and stored nowhere.
func (d *Directory) Create(displayName string, now time.Time) (ServicePrincipal, string, error) {
	text, s := d.newSecret(now, time.Time{})
	sp := ServicePrincipal{AppID: newUUID(), ObjectID: newUUID(), DisplayName: displayName, Created: now.UTC(), Secrets: []Secret{s}, Roles: []Role{}}
	err := d.change(func(ps []ServicePrincipal) ([]ServicePrincipal, error) { return append(ps, sp), nil })
	return sp, text, err
}

// AddSecret gives a service principal one more secret; zero expires means never.
func (d *Directory) AddSecret(appID string, now, expires time.Time) (string, error) {
	text, s := d.newSecret(now, expires)
	return text, d.edit(appID, func(sp *ServicePrincipal) { sp.Secrets = append(slices.Clone(sp.Secrets), s) })
}

// RemoveSecret takes a secret away; tokens issued for it live on until they expire.
func (d *Directory) RemoveSecret(appID, keyID string) error {
	return d.edit(appID, func(sp *ServicePrincipal) {
		sp.Secrets = slices.DeleteFunc(slices.Clone(sp.Secrets), func(s Secret) bool { return s.KeyID == keyID })
	})
}

// Grant gives a role at a scope; twice is once.
func (d *Directory) Grant(appID string, r Role) error {
	return d.edit(appID, func(sp *ServicePrincipal) {
		if !slices.Contains(sp.Roles, r) {
			sp.Roles = append(slices.Clone(sp.Roles), r)
		}
	})
}

// Revoke takes a role away.
func (d *Directory) Revoke(appID string, r Role) error {
	return d.edit(appID, func(sp *ServicePrincipal) {
		sp.Roles = slices.DeleteFunc(slices.Clone(sp.Roles), func(x Role) bool { return x == r })
	})
}

// Delete removes a service principal.
func (d *Directory) Delete(appID string) error {
	return d.change(func(ps []ServicePrincipal) ([]ServicePrincipal, error) {
		rest := slices.DeleteFunc(slices.Clone(ps), func(sp ServicePrincipal) bool { return strings.EqualFold(sp.AppID, appID) })
		if len(rest) == len(ps) {
			return nil, fmt.Errorf("%s: %w", appID, ErrNoSuchPrincipal)
		}
		return rest, nil
	})
}

// List is all service principals.
func (d *Directory) List() []ServicePrincipal {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return slices.Clone(d.principals)
}

// ByObjectID finds a service principal.
func (d *Directory) ByObjectID(id string) (ServicePrincipal, error) {
	for _, sp := range d.List() {
		if strings.EqualFold(sp.ObjectID, id) {
			return sp, nil
		}
	}
	return ServicePrincipal{}, fmt.Errorf("%s: %w", id, ErrNoSuchPrincipal)
}

// Authenticate checks a client id and secret. Unknown client and wrong secret take the
// same path and give the same error, ErrUnauthenticated.
func (d *Directory) Authenticate(_ context.Context, appID, secret string, now time.Time) (Principal, error) {
	hash := d.hash(secret)
	for _, sp := range d.List() {
		if !strings.EqualFold(sp.AppID, appID) {
			continue
		}
		for _, s := range sp.Secrets {
			valid := s.Expires.IsZero() || now.Before(s.Expires)
			if hmac.Equal([]byte(s.Hash), []byte(hash)) && valid {
				return d.principal(sp), nil
			}
		}
	}
	return Principal{}, fmt.Errorf("client %q: wrong client id or secret, or the secret has expired: %w", clip(appID), ErrUnauthenticated)
}

func (d *Directory) principal(sp ServicePrincipal) Principal {
	return Principal{ObjectID: sp.ObjectID, AppID: sp.AppID, Name: sp.DisplayName, TenantID: d.tenant, Kind: "ServicePrincipal"}
}

func (d *Directory) newSecret(now, expires time.Time) (string, Secret) {
	text := base64.RawURLEncoding.EncodeToString(randomBytes(32))
	return text, Secret{KeyID: newUUID(), Hash: d.hash(text), Created: now.UTC(), Expires: expires}
}

func (d *Directory) hash(secret string) string {
	m := hmac.New(sha256.New, d.pepper)
	m.Write([]byte(secret))
	return hex.EncodeToString(m.Sum(nil))
}

func (d *Directory) edit(appID string, f func(*ServicePrincipal)) error {
	return d.change(func(ps []ServicePrincipal) ([]ServicePrincipal, error) {
		next := slices.Clone(ps)
		for i := range next {
			if strings.EqualFold(next[i].AppID, appID) {
				f(&next[i])
				return next, nil
			}
		}
		return nil, fmt.Errorf("%s: %w", appID, ErrNoSuchPrincipal)
	})
}

func (d *Directory) change(f func([]ServicePrincipal) ([]ServicePrincipal, error)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	next, err := f(d.principals)
	if err != nil {
		return err
	}
	if err := d.save(next); err != nil {
		return err
	}
	d.principals = next
	return nil
}

func (d *Directory) save(ps []ServicePrincipal) error {
	raw, err := json.MarshalIndent(directoryFile{Tenant: d.tenant, Principals: ps}, "", "  ")
	if err == nil {
		err = writeFile(filepath.Join(d.dir, principalsFile), raw)
	}
	if err != nil {
		return fmt.Errorf("writing principals: %w", err)
	}
	return nil
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

func newUUID() string {
	b := randomBytes(16)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func clip(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}
