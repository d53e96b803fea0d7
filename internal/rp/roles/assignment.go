package roles

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/access"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/directory"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/rbac"
	"hallmark.dev/hallmark/internal/store"
)

func (cfg Config) loadAssignment(ctx context.Context, w *provider.Write) error {
	set, err := cfg.Index.Current(ctx)
	w.Loaded = set
	return err
}

// defaultAssignment fills in what Azure does: the scope, the kind of principal, who and
// when, and the role's id as it is shown at the scope.
func defaultAssignment(w *provider.Write) error {
	g, err := access.ReadGrant(w.Doc.Body)
	if err != nil {
		return arm.BadRequest(arm.CodeInvalidRequestContent, "properties", "The role assignment cannot be read: %v.", err)
	}
	g.Scope = w.ID.Scope().String()
	if guid.MatchString(g.RoleID()) {
		g.RoleDefinitionID = access.DefinitionAt(w.ID.Scope(), g.RoleID())
	}
	if g.PrincipalType == "" {
		g.PrincipalType = w.Loaded.(*access.Set).Directory.Kind(g.PrincipalID)
	}
	at := w.Now.Format(time.RFC3339Nano)
	g.CreatedOn, g.UpdatedOn, g.CreatedBy, g.UpdatedBy = at, at, w.Principal.ObjectID, w.Principal.ObjectID
	if w.Old != nil {
		if old, err := access.ReadGrant(w.Old.Body); err == nil {
			g.CreatedOn, g.CreatedBy = old.CreatedOn, old.CreatedBy
		}
	}
	w.Doc.Body, err = json.Marshal(map[string]any{"properties": g})
	return err
}

func (cfg Config) validateAssignment(w *provider.Write) (errs []*arm.Error) {
	g, err := access.ReadGrant(w.Doc.Body)
	if err != nil {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidRequestContent, "properties", "The role assignment cannot be read: %v.", err)}
	}
	set := w.Loaded.(*access.Set)
	if g.Condition != nil && *g.Condition != "" || g.ConditionVersion != nil && *g.ConditionVersion != "" {
		errs = append(errs, arm.BadRequest("RoleAssignmentConditionNotSupported", "properties.condition",
			"Conditions on role assignments are not evaluated here, and one that is not evaluated would give more than was meant. Assign a narrower role or scope instead."))
	}
	if g.Description != nil && len(*g.Description) > maxDescription {
		errs = append(errs, arm.BadRequest("InvalidRoleAssignmentDescription", "properties.description", "description is longer than %d characters.", maxDescription))
	}
	errs = append(errs, checkRole(set, w, g)...)
	errs = append(errs, cfg.checkPrincipal(set, g)...)
	return append(errs, checkUpdate(w, g)...)
}

func checkRole(set *access.Set, w *provider.Write, g access.Grant) []*arm.Error {
	const at = "properties.roleDefinitionId"
	d, ok := set.Definition(g.RoleID())
	switch {
	case g.RoleDefinitionID == "":
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidRequestContent, at, "roleDefinitionId is missing: the id of the role to give.")}
	case !ok:
		return []*arm.Error{arm.Errorf(404, "RoleDefinitionDoesNotExist", "The specified role definition with ID '%s' does not exist.", clip(g.RoleID())).At(at)}
	case !set.AssignableAt(d, w.ID.Scope()):
		return []*arm.Error{arm.BadRequest("RoleDefinitionNotAssignableAtScope", at, "The role '%s' is not assignable at '%s'. Its assignable scopes are %s.",
			d.RoleName, w.ID.Scope(), strings.Join(d.AssignableScopes, ", "))}
	case d.Type == access.CustomRole && w.ID.Scope().Kind() == arm.KindManagementGroup && hasData(d):
		return []*arm.Error{arm.BadRequest("InvalidRoleAssignmentScope", at, "The custom role '%s' has data actions; such roles cannot be assigned at a management group.", d.RoleName)}
	}
	return nil
}

func hasData(d access.Definition) bool {
	for _, p := range d.Permissions {
		if len(p.DataActions) > 0 {
			return true
		}
	}
	return false
}

var principalTypes = map[string]bool{directory.KindServicePrincipal: true, directory.KindGroup: true, directory.KindUser: true, "ForeignGroup": true, "Device": true}

// checkPrincipal: an object that is not in the directory may be one of another issuer,
// if there is one; Azure, too, takes the caller's word when it names the type.
func (cfg Config) checkPrincipal(set *access.Set, g access.Grant) []*arm.Error {
	kind := set.Directory.Kind(g.PrincipalID)
	switch {
	case g.PrincipalID == "":
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidRequestContent, "properties.principalId", "principalId is missing: the object id of the principal that gets the role.")}
	case kind == "" && (!cfg.Foreign || !principalTypes[g.PrincipalType]):
		return []*arm.Error{arm.BadRequest("PrincipalNotFound", "properties.principalId",
			"Principal %s does not exist in the directory. Check that you have the correct principal ID: the object id, not the application id. (A principal of another issuer needs its principalType, too.)",
			clip(strings.ReplaceAll(g.PrincipalID, "-", "")))}
	case kind != "" && kind != g.PrincipalType && g.PrincipalType != "ForeignGroup":
		return []*arm.Error{arm.BadRequest("UnmatchedPrincipalType", "properties.principalType",
			"The PrincipalId '%s' has type '%s', which is different from specified PrincipalType '%s'.", clip(g.PrincipalID), kind, clip(g.PrincipalType))}
	}
	return nil
}

func checkUpdate(w *provider.Write, g access.Grant) []*arm.Error {
	if w.Old == nil {
		return nil
	}
	old, err := access.ReadGrant(w.Old.Body)
	if err != nil || !strings.EqualFold(old.PrincipalID, g.PrincipalID) || old.RoleID() != g.RoleID() {
		return []*arm.Error{arm.Errorf(403, "RoleAssignmentUpdateNotPermitted", "Tenant ID, application ID, principal ID, and scope are not allowed to be updated. Delete the assignment and create another.").At(w.ID.String())}
	}
	return nil
}

// commitAssignment refuses a second assignment of the same, and too many.
func commitAssignment(tx store.Tx, w *provider.Write) error {
	if w.Old != nil {
		return directory.Touch(tx)
	}
	g, err := access.ReadGrant(w.Doc.Body)
	if err != nil {
		return err
	}
	same, err := atScope(tx, w.ID.Scope())
	if err != nil {
		return err
	}
	for _, d := range same {
		other, err := access.ReadGrant(d.Body)
		if err != nil {
			return err
		}
		if strings.EqualFold(other.PrincipalID, g.PrincipalID) && other.RoleID() == g.RoleID() {
			return arm.Conflict("RoleAssignmentExists", w.ID.String(), "The role assignment already exists. The ID of the existing role assignment is %s.", strings.ReplaceAll(d.ARMID().Name(), "-", ""))
		}
	}
	if err := limit(tx, w.ID, len(same)); err != nil {
		return err
	}
	return directory.Touch(tx)
}

func atScope(tx store.ReadTx, scope arm.ID) ([]*store.Document, error) {
	return tx.List(store.Query{Type: access.TypeAssignment, Prefix: strings.TrimSuffix(scope.Key(), "/") + "/providers/" + access.TypeAssignment.Key() + "/"})
}

func limit(tx store.ReadTx, id arm.ID, atScope int) error {
	full := func(where string, n int) error {
		return arm.BadRequest("RoleAssignmentLimitExceeded", id.String(), "No more role assignments can be created: the %s has %d. Assign roles to groups instead of principals.", where, n)
	}
	if id.Subscription() == "" {
		if atScope >= maxAtManagementGroup {
			return full("scope", atScope)
		}
		return nil
	}
	all, err := tx.List(store.Query{Type: access.TypeAssignment, SubscriptionID: id.Subscription(), Limit: maxInSubscription})
	if err == nil && len(all) >= maxInSubscription {
		return full("subscription", len(all))
	}
	return err
}

// checkDeleteAssignment keeps the last Owner of everything: without one, nobody could
// ever give a role again.
func checkDeleteAssignment(tx store.Tx, w *provider.Write) error {
	g, err := access.ReadGrant(w.Old.Body)
	if err != nil {
		return err
	}
	if w.ID.Scope().IsRoot() && g.RoleID() == rbac.OwnerID {
		others, err := atScope(tx, w.ID.Scope())
		if err != nil {
			return err
		}
		owners := 0
		for _, d := range others {
			if o, err := access.ReadGrant(d.Body); err == nil && o.RoleID() == rbac.OwnerID {
				owners++
			}
		}
		if owners < 2 {
			return arm.BadRequest("CannotDeleteLastRbacAdminAssignment", w.ID.String(), "This is the last Owner at the root scope. Give the role to somebody else first.")
		}
	}
	return directory.Touch(tx)
}
