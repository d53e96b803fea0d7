package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Files in the folder of keys. legacyFile is where principals and their roles were
// kept before they became documents in the store.
const (
	tenantFile = "tenant.id"
	legacyFile = "principals.json"
)

// LegacyPrincipal is a service principal as it was kept in a file.
type LegacyPrincipal struct {
	AppID       string       `json:"appId"`
	ObjectID    string       `json:"objectId"`
	DisplayName string       `json:"displayName"`
	Created     time.Time    `json:"created"`
	Secrets     []Secret     `json:"secrets"`
	Roles       []LegacyRole `json:"roles"`
}

// LegacyRole is a role by its name at a scope.
type LegacyRole struct {
	Name  string `json:"name"`
	Scope string `json:"scope"`
}

type legacyDirectory struct {
	Tenant     string            `json:"tenantId"`
	Principals []LegacyPrincipal `json:"principals"`
}

// ReadLegacy is what an older version kept in the folder; none if it never did, or
// after ForgetLegacy.
func ReadLegacy(dir string) ([]LegacyPrincipal, error) {
	f, err := readLegacy(dir)
	return f.Principals, err
}

func readLegacy(dir string) (f legacyDirectory, err error) {
	path := filepath.Join(dir, legacyFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return f, fmt.Errorf("reading principals: %w", err)
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return f, fmt.Errorf("reading %s: %w (restore it from a backup)", path, err)
	}
	return f, nil
}

// ForgetLegacy removes the old file, once its content is stored elsewhere for good.
func ForgetLegacy(dir string) error {
	err := os.Remove(filepath.Join(dir, legacyFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return errors.Join(err, syncDir(dir))
}

// OpenTenant is the id of this installation's tenant, made at the first start.
func OpenTenant(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("opening the folder of keys: %w", err)
	}
	raw, err := readOrCreate(filepath.Join(dir, tenantFile), func() ([]byte, error) {
		f, err := readLegacy(dir)
		if f.Tenant == "" {
			f.Tenant = NewID()
		}
		return []byte(f.Tenant + "\n"), err
	})
	if err != nil {
		return "", fmt.Errorf("reading the tenant's id: %w", err)
	}
	return strings.TrimSpace(string(raw)), nil
}
