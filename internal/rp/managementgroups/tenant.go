package managementgroups

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// checkName serves checkNameAvailability.
func checkName(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	var request struct{ Name string }
	if err := json.Unmarshal(c.Request.Body, &request); err != nil {
		return nil, arm.BadRequest(arm.CodeInvalidRequestContent, "body", "The request cannot be read: %v.", err)
	}
	if !groupName.MatchString(request.Name) {
		return unavailable("Invalid", "The name is not valid: "+nameHint+".")
	}
	_, err := store.Get(ctx, c.Runtime.Store, arm.Tenant.Resource(arm.TypeManagementGroup, request.Name).Key())
	if errors.Is(err, store.ErrNotFound) {
		return provider.JSON(200, map[string]any{"nameAvailable": true})
	}
	if err != nil {
		return nil, err
	}
	return unavailable("AlreadyExists", "There is a management group '"+request.Name+"' already. Choose another name.")
}

func unavailable(reason, message string) (*provider.Response, error) {
	return provider.JSON(200, map[string]any{"nameAvailable": false, "reason": reason, "message": message})
}

// backfill answers that every subscription is in the tree: here each is, always.
func (cfg Config) backfill(context.Context, *provider.Call) (*provider.Response, error) {
	return provider.JSON(200, map[string]string{"tenantId": cfg.TenantID, "status": "Completed"})
}

const typeSettings = arm.TypeManagementGroup + "/settings"

// settings are the hierarchy settings of the root group. They are recorded: to make a group
// always takes the right to, and no subscription comes after the first start.
func (cfg Config) settings() provider.ResourceType {
	return provider.ResourceType{
		Type: typeSettings, APIVersions: versions, Hidden: true, NoState: true,
		Name: regexp.MustCompile(`^(?i:default)$`), NameHint: "default",
		Codes:    provider.Codes{Create: 200, Delete: 200},
		ReadOnly: []string{"properties.tenantId"},
		Default: func(w *provider.Write) (err error) {
			if p, ok := arm.Get(w.Doc.Body, "properties"); ok && p[0] == '{' {
				w.Doc.Body, err = arm.Set(w.Doc.Body, "properties.tenantId", cfg.TenantID)
			}
			return err
		},
		Validate: validateSettings, Commit: cfg.commitSettings,
	}
}

func validateSettings(w *provider.Write) []*arm.Error {
	var s struct {
		Properties struct {
			DefaultManagementGroup               string
			RequireAuthorizationForGroupCreation *bool
		}
	}
	if err := json.Unmarshal(w.Doc.Body, &s); err != nil {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidRequestContent, "properties", "The settings cannot be read: %v.", err)}
	}
	return nil
}

// commitSettings: only the root group has settings, and the group that they name exists.
func (cfg Config) commitSettings(tx store.Tx, w *provider.Write) error {
	if !cfg.isRoot(w.ID.Parent()) {
		return arm.BadRequest(arm.CodeInvalidParameter, w.ID.String(), "Only the root management group '%s' has hierarchy settings.", cfg.TenantID)
	}
	named := arm.GetString(w.Doc.Body, "properties.defaultManagementGroup")
	if named == "" {
		return nil
	}
	h, err := assignment.ReadHierarchy(tx)
	if err != nil {
		return err
	}
	if id, err := arm.ParseID(named); err != nil || !h.Exists(id) {
		return arm.BadRequest("InvalidResourceReference", "properties.defaultManagementGroup", "There is no management group '%s'.", named)
	}
	return nil
}
