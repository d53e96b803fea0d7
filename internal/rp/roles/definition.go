package roles

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/access"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/directory"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/rbac"
	"hallmark.dev/hallmark/internal/store"
)

// loadDefinition asks whether the caller may write the role at every scope that it is
// or was for: a role reaches all of them, whatever scope it is written at.
func (cfg Config) loadDefinition(ctx context.Context, w *provider.Write) error {
	set, err := cfg.Index.Current(ctx)
	if err != nil {
		return err
	}
	bodies := []json.RawMessage{w.Doc.Body}
	if w.Old != nil {
		bodies = append(bodies, w.Old.Body)
	}
	for _, body := range bodies {
		d, err := access.ReadDefinition(body)
		if err != nil {
			return arm.BadRequest(arm.CodeInvalidRequestContent, "properties", "The role definition cannot be read: %v.", err)
		}
		if d.Type == access.BuiltInRole && w.Old != nil {
			return builtInStays(w)
		}
		if err := mayAt(set, w, d.AssignableScopes, "write"); err != nil {
			return err
		}
	}
	return nil
}

func builtInStays(w *provider.Write) error {
	return arm.Errorf(403, "BuiltInRoleCannotBeModified", "The role definition '%s' is a built-in role, which cannot be changed or deleted. Create a custom role.", w.ID.Name()).At(w.ID.String())
}

func mayAt(set *access.Set, w *provider.Write, scopes []string, verb string) error {
	action := string(access.TypeDefinition) + "/" + verb
	for _, text := range scopes {
		scope, err := arm.ParseID(text)
		if err == nil && !set.Allows(w.Principal, action, scope) {
			return access.Denied(w.Principal, action, scope)
		}
	}
	return nil
}

func defaultDefinition(w *provider.Write) error {
	d, err := access.ReadDefinition(w.Doc.Body)
	if err != nil {
		return err
	}
	d.RoleName = strings.TrimSpace(d.RoleName)
	d.Type = access.CustomRole
	for i := range d.Permissions {
		complete(&d.Permissions[i])
	}
	at, by := w.Now.Format(time.RFC3339Nano), w.Principal.ObjectID
	d.CreatedOn, d.UpdatedOn, d.CreatedBy, d.UpdatedBy = at, at, &by, &by
	if w.Old != nil {
		if old, err := access.ReadDefinition(w.Old.Body); err == nil {
			d.CreatedOn, d.CreatedBy = old.CreatedOn, old.CreatedBy
		}
	}
	w.Doc.Body, err = json.Marshal(map[string]any{"properties": d})
	return err
}

// complete makes absent lists empty ones, as Azure shows them.
func complete(p *rbac.Permission) {
	for _, list := range []*[]string{&p.Actions, &p.NotActions, &p.DataActions, &p.NotDataActions} {
		if *list == nil {
			*list = []string{}
		}
	}
}

func validateDefinition(w *provider.Write) (errs []*arm.Error) {
	bad := func(code, target, format string, args ...any) {
		errs = append(errs, arm.BadRequest(code, "properties."+target, format, args...))
	}
	d, err := access.ReadDefinition(w.Doc.Body)
	if err != nil {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidRequestContent, "properties", "The role definition cannot be read: %v.", err)}
	}
	if d.RoleName == "" || len(d.RoleName) > maxRoleName {
		bad("InvalidRoleDefinitionName", "roleName", "roleName is empty or longer than %d characters.", maxRoleName)
	}
	if len(d.Description) > 2*maxDescription {
		bad("InvalidRoleDefinitionDescription", "description", "description is longer than %d characters.", 2*maxDescription)
	}
	if len(d.Permissions) == 0 {
		bad("MissingPermissions", "permissions", "A role needs at least one permission.")
	}
	for i, p := range d.Permissions {
		errs = append(errs, checkPermission(p, fmt.Sprintf("properties.permissions[%d]", i))...)
	}
	return append(errs, checkAssignable(d)...)
}

func checkAssignable(d access.Definition) (errs []*arm.Error) {
	if len(d.AssignableScopes) == 0 {
		errs = append(errs, arm.BadRequest("MissingAssignableScopes", "properties.assignableScopes", "A custom role needs at least one assignable scope: a management group, subscription or resource group."))
	}
	groups := 0
	for i, text := range d.AssignableScopes {
		at := fmt.Sprintf("properties.assignableScopes[%d]", i)
		id, err := arm.ParseID(text)
		switch {
		case err != nil || !strings.HasPrefix(text, "/"):
			errs = append(errs, arm.BadRequest("InvalidAssignableScope", at, "%q is not a scope such as /subscriptions/ID.", text))
		case id.IsRoot():
			errs = append(errs, arm.BadRequest("InvalidAssignableScope", at, "Only built-in roles may be assignable at the root scope '/'. Use a management group, subscription or resource group."))
		case id.Kind() == arm.KindManagementGroup:
			if groups++; groups > 1 {
				errs = append(errs, arm.BadRequest("InvalidAssignableScope", at, "A custom role may have one management group among its assignable scopes; this is another."))
			}
		}
	}
	return errs
}

var action = regexp.MustCompile(`^[A-Za-z0-9*._/-]+$`)

func checkPermission(p rbac.Permission, at string) (errs []*arm.Error) {
	if len(p.Actions)+len(p.DataActions) == 0 {
		errs = append(errs, arm.BadRequest("MissingActions", at, "A permission needs at least one action or data action."))
	}
	for name, list := range map[string][]string{"actions": p.Actions, "notActions": p.NotActions, "dataActions": p.DataActions, "notDataActions": p.NotDataActions} {
		for i, a := range list {
			if !action.MatchString(a) || len(a) > maxPermissionsActions || a != "*" && !strings.Contains(a, "/") {
				errs = append(errs, arm.BadRequest("InvalidActionOrNotAction", fmt.Sprintf("%s.%s[%d]", at, name, i),
					"'%s' does not match any of the actions supported by the providers. Write NAMESPACE/TYPE/VERB, with '*' for any text.", clip(a)))
			}
		}
	}
	return errs
}

func clip(s string) string {
	if len(s) > 100 {
		return strings.ToValidUTF8(s[:100], "") + "…"
	}
	return s
}

// commitDefinition keeps names unique and roles within Azure's limit.
func commitDefinition(tx store.Tx, w *provider.Write) error {
	d, err := access.ReadDefinition(w.Doc.Body)
	if err != nil {
		return err
	}
	custom := 0
	err = store.Each(tx, store.Query{Type: access.TypeDefinition}, func(other *store.Document) error {
		o, err := access.ReadDefinition(other.Body)
		if err != nil || other.Key == w.ID.Key() {
			return err
		}
		if o.Type == access.CustomRole {
			custom++
		}
		if strings.EqualFold(o.RoleName, d.RoleName) {
			return arm.Conflict("RoleDefinitionWithSameNameExists", "properties.roleName",
				"A role definition cannot be updated with a name that already exists: '%s' is the name of %s.", d.RoleName, other.ARMID().Name())
		}
		return nil
	})
	if err == nil && custom >= maxDefinitions {
		err = arm.BadRequest("RoleDefinitionLimitExceeded", w.ID.String(), "No more role definitions can be created: there are %d custom roles already.", custom)
	}
	if err != nil {
		return err
	}
	return directory.Touch(tx)
}

func checkDeleteDefinition(tx store.Tx, w *provider.Write) error {
	d, err := access.ReadDefinition(w.Old.Body)
	if err != nil {
		return err
	}
	if d.Type == access.BuiltInRole {
		return builtInStays(w)
	}
	set, err := access.ReadSet(tx)
	if err != nil {
		return err
	}
	if err := mayAt(set, w, d.AssignableScopes, "delete"); err != nil {
		return err
	}
	err = store.Each(tx, store.Query{Type: access.TypeAssignment}, func(a *store.Document) error {
		g, err := access.ReadGrant(a.Body)
		if err == nil && g.RoleID() == strings.ToLower(w.ID.Name()) {
			return arm.BadRequest("RoleDefinitionHasAssignments", w.ID.String(), "There are existing role assignments referencing role '%s', such as '%s'. Delete them first.", d.RoleName, a.ID)
		}
		return err
	})
	if err != nil {
		return err
	}
	return directory.Touch(tx)
}

func viewDefinition(_ context.Context, v *provider.View) (json.RawMessage, error) {
	return arm.Set(v.Doc.Body, "id", access.DefinitionAt(v.Asked, v.Doc.ARMID().Name()))
}
