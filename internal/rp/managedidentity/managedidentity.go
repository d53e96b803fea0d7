// Package managedidentity is the Microsoft.ManagedIdentity provider: user-assigned
// identities, which are resources of their own and can be given to several machines.
//
// Their principals are in package directory; who may act as one, the metadata service
// of the machines decides (package metadata). cmd imports it; no other rp may.
package managedidentity

import (
	"encoding/json"
	"regexp"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/directory"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// Config is what the provider needs.
type Config struct{ TenantID string }

var (
	versions = []string{"2024-11-30", "2023-01-31", "2018-11-30", "2015-08-31-preview"}
	name     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{2,127}$`)
)

// New is the provider.
func New(cfg Config) provider.Provider {
	return provider.Provider{Types: []provider.ResourceType{{
		Type: provider.TypeUserAssigned, Scopes: provider.AtResourceGroup, APIVersions: versions, Location: provider.LocationRequired, Tags: true, NoState: true,
		Name: name, NameHint: "from 3 to 128 letters, digits, '-' and '_', beginning with a letter or digit",
		ReadOnly: []string{"properties.principalId", "properties.clientId", "properties.tenantId"},
		Default:  cfg.defaults, Commit: commit, CheckDelete: checkDelete,
	}}}
}

func (cfg Config) defaults(w *provider.Write) (err error) {
	if w.Old != nil {
		return nil
	}
	id := identity.NewID()
	props := map[string]any{}
	if raw, ok := arm.Get(w.Doc.Body, "properties"); ok && string(raw) != "null" {
		if err := json.Unmarshal(raw, &props); err != nil {
			return arm.BadRequest(arm.CodeInvalidRequestContent, "properties", "properties must be an object.")
		}
	}
	props["tenantId"], props["principalId"], props["clientId"] = cfg.TenantID, id, directory.ClientID(id)
	w.Doc.Body, err = arm.Set(w.Doc.Body, "properties", props)
	return err
}

func commit(tx store.Tx, w *provider.Write) error {
	return directory.KeepManaged(tx, directory.Managed(w.ID, arm.GetString(w.Doc.Body, "properties.principalId"), w.Now))
}

// checkDelete: machines that have the identity keep its id and get no tokens any more,
// as in Azure.
func checkDelete(tx store.Tx, w *provider.Write) error {
	return directory.RemoveManaged(tx, w.Old.ID, arm.GetString(w.Old.Body, "properties.principalId"))
}
