package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/directory"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/rbac"
	"hallmark.dev/hallmark/internal/store"
)

// The types of documents that rights come from, besides the directory's.
const (
	TypeDefinition arm.Type = "Microsoft.Authorization/roleDefinitions"
	TypeAssignment arm.Type = "Microsoft.Authorization/roleAssignments"
)

// Values of a role definition's type.
const (
	BuiltInRole = "BuiltInRole"
	CustomRole  = "CustomRole"
)

// Definition is a role definition's properties.
type Definition struct {
	RoleName         string            `json:"roleName"`
	Type             string            `json:"type"`
	Description      string            `json:"description"`
	AssignableScopes []string          `json:"assignableScopes"`
	Permissions      []rbac.Permission `json:"permissions"`
	CreatedOn        string            `json:"createdOn,omitempty"`
	UpdatedOn        string            `json:"updatedOn,omitempty"`
	CreatedBy        *string           `json:"createdBy"`
	UpdatedBy        *string           `json:"updatedBy"`
}

// DefinitionID is where a role definition is kept, whatever scope it is named at.
func DefinitionID(guid string) arm.ID {
	return arm.Tenant.Resource(TypeDefinition, strings.ToLower(guid))
}

// DefinitionAt is the id of a role as it is shown at a scope: Azure's clients compare
// these texts.
func DefinitionAt(scope arm.ID, guid string) string {
	if s := scope.Subscription(); s != "" {
		return arm.SubscriptionID(s).Resource(TypeDefinition, guid).String()
	}
	return arm.Tenant.Resource(TypeDefinition, guid).String()
}

// ReadDefinition reads a role definition's document.
func ReadDefinition(body json.RawMessage) (Definition, error) {
	var d struct{ Properties Definition }
	if err := json.Unmarshal(body, &d); err != nil {
		return d.Properties, fmt.Errorf("reading a role definition: %w", err)
	}
	return d.Properties, nil
}

// Grant is a role assignment's properties.
type Grant struct {
	RoleDefinitionID string  `json:"roleDefinitionId"`
	PrincipalID      string  `json:"principalId"`
	PrincipalType    string  `json:"principalType"`
	Scope            string  `json:"scope"`
	Condition        *string `json:"condition"`
	ConditionVersion *string `json:"conditionVersion"`
	CreatedOn        string  `json:"createdOn"`
	UpdatedOn        string  `json:"updatedOn"`
	CreatedBy        string  `json:"createdBy"`
	UpdatedBy        string  `json:"updatedBy"`
	Delegated        *string `json:"delegatedManagedIdentityResourceId"`
	Description      *string `json:"description"`
}

// RoleID is the GUID of the role.
func (g Grant) RoleID() string {
	return strings.ToLower(g.RoleDefinitionID[strings.LastIndexByte(g.RoleDefinitionID, '/')+1:])
}

// ReadGrant reads a role assignment's document.
func ReadGrant(body json.RawMessage) (Grant, error) {
	var d struct{ Properties Grant }
	if err := json.Unmarshal(body, &d); err != nil {
		return d.Properties, fmt.Errorf("reading a role assignment: %w", err)
	}
	return d.Properties, nil
}

// Give stores a role assignment at a scope, unless the principal has the role there.
func Give(tx store.Tx, scope arm.ID, roleID, principalID, principalType, by string, now time.Time) error {
	all, err := tx.List(store.Query{Type: TypeAssignment, Prefix: strings.TrimSuffix(scope.Key(), "/") + "/providers/" + strings.ToLower(string(TypeAssignment)) + "/"})
	if err != nil {
		return fmt.Errorf("looking for role assignments at %s: %w", scope, err)
	}
	for _, d := range all {
		g, err := ReadGrant(d.Body)
		if err != nil {
			return err
		}
		if g.RoleID() == strings.ToLower(roleID) && strings.EqualFold(g.PrincipalID, principalID) {
			return nil
		}
	}
	id := scope.Resource(TypeAssignment, identity.NewID())
	at := now.UTC().Format(time.RFC3339Nano)
	body, err := json.Marshal(map[string]any{"id": id.String(), "type": TypeAssignment, "name": id.Name(), "properties": Grant{
		RoleDefinitionID: DefinitionAt(scope, roleID), PrincipalID: principalID, PrincipalType: principalType, Scope: scope.String(),
		CreatedOn: at, UpdatedOn: at, CreatedBy: by, UpdatedBy: by}})
	if err != nil {
		return fmt.Errorf("writing a role assignment: %w", err)
	}
	d := &store.Document{ID: id.String(), Type: TypeAssignment, SubscriptionID: id.Subscription(), ResourceGroup: id.ResourceGroup(),
		Body: body, CreatedAt: now, UpdatedAt: now, CreatedBy: by, UpdatedBy: by}
	if err := tx.Put(d, store.Absent); err != nil {
		return fmt.Errorf("writing a role assignment: %w", err)
	}
	return directory.Touch(tx)
}

// EnsureBuiltIns stores Azure's built-in roles as this version knows them.
func EnsureBuiltIns(ctx context.Context, s store.Store, now time.Time) error {
	return s.Update(ctx, func(tx store.Tx) error {
		for _, b := range rbac.BuiltIns() {
			if err := ensureBuiltIn(tx, b, now); err != nil {
				return fmt.Errorf("storing the role %s: %w", b.Name, err)
			}
		}
		return nil
	})
}

func ensureBuiltIn(tx store.Tx, b rbac.BuiltIn, now time.Time) error {
	id := DefinitionID(b.ID)
	body, err := json.Marshal(map[string]any{"id": id.String(), "type": TypeDefinition, "name": b.ID, "properties": Definition{
		RoleName: b.Name, Type: BuiltInRole, Description: b.Description, AssignableScopes: []string{"/"}, Permissions: b.Permissions}})
	if err != nil {
		return err
	}
	old, err := tx.Get(id.Key())
	if err == nil && string(old.Body) == string(body) {
		return nil
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	d := &store.Document{ID: id.String(), Type: TypeDefinition, Body: body, CreatedAt: now, UpdatedAt: now, CreatedBy: identity.System.ObjectID}
	if err := tx.Put(d, store.Any); err != nil {
		return err
	}
	return directory.Touch(tx)
}

// Import moves principals and their roles from the file in which older versions kept
// them into the store. Killed anywhere, it is done anew or was done.
func Import(ctx context.Context, s store.Store, keys string, now time.Time) error {
	old, err := identity.ReadLegacy(keys)
	if err != nil {
		return err
	}
	err = s.Update(ctx, func(tx store.Tx) error {
		for _, p := range old {
			if err := importOne(tx, p, now); err != nil {
				return fmt.Errorf("importing the principal %s: %w", p.DisplayName, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return identity.ForgetLegacy(keys)
}

func importOne(tx store.Tx, p identity.LegacyPrincipal, now time.Time) error {
	err := directory.Put(tx, directory.Principal{AppID: p.AppID, ObjectID: p.ObjectID, ApplicationID: identity.NewID(), Kind: directory.Application,
		DisplayName: p.DisplayName, Created: p.Created, Secrets: p.Secrets})
	for _, r := range p.Roles {
		if err != nil {
			return err
		}
		scope, perr := arm.ParseID(r.Scope)
		if perr != nil {
			return perr
		}
		for _, b := range rbac.BuiltIns() {
			if b.Name == r.Name {
				err = Give(tx, scope, b.ID, p.ObjectID, directory.KindServicePrincipal, identity.System.ObjectID, now)
			}
		}
	}
	return err
}
