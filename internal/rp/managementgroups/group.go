package managementgroups

import (
	"encoding/json"
	"slices"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

type group struct {
	// Of a PATCH, which Azure keeps flat.
	DisplayName   *string
	ParentGroupID *string
	Properties    struct {
		DisplayName string
		Details     struct {
			Version int
			Parent  struct{ ID string }
		}
	}
}

func (cfg Config) isRoot(id arm.ID) bool { return id.Equal(RootID(cfg.TenantID)) }

// defaults names the group, hangs it below the root one and counts its versions.
func (cfg Config) defaults(w *provider.Write) error {
	var g group
	if json.Unmarshal(w.Doc.Body, &g) != nil {
		return nil // validate says so
	}
	p := &g.Properties
	if g.DisplayName != nil {
		p.DisplayName = *g.DisplayName
	}
	if g.ParentGroupID != nil {
		p.Details.Parent.ID = *g.ParentGroupID
	}
	if p.DisplayName == "" {
		p.DisplayName = w.ID.Name()
	}
	if p.Details.Parent.ID == "" && w.Old != nil {
		p.Details.Parent.ID = arm.GetString(w.Old.Body, "properties.details.parent.id")
	}
	if p.Details.Parent.ID == "" && !cfg.isRoot(w.ID) {
		p.Details.Parent.ID = RootID(cfg.TenantID).String()
	}
	return cfg.write(w, g)
}

func (cfg Config) write(w *provider.Write, g group) (err error) {
	details := map[string]any{"version": g.Properties.Details.Version + 1, "updatedTime": w.Now.Format(time.RFC3339), "updatedBy": w.Principal.ObjectID}
	if id, err := arm.ParseID(g.Properties.Details.Parent.ID); err == nil && !id.IsRoot() {
		details["parent"] = map[string]any{"id": id.String(), "name": id.Name(), "displayName": id.Name()}
	} else if g.Properties.Details.Parent.ID != "" {
		details["parent"] = map[string]any{"id": g.Properties.Details.Parent.ID}
	}
	w.Doc.Body, err = json.Marshal(map[string]any{
		"properties": map[string]any{"tenantId": cfg.TenantID, "displayName": g.Properties.DisplayName, "details": details},
	})
	return err
}

func validate(w *provider.Write) (errs []*arm.Error) {
	var g group
	if err := json.Unmarshal(w.Doc.Body, &g); err != nil {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidRequestContent, "properties", "%v", err)}
	}
	if len(g.Properties.DisplayName) > 256 {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, "properties.displayName", "displayName has more than 256 characters."))
	}
	parent := g.Properties.Details.Parent.ID
	if id, err := arm.ParseID(parent); parent != "" && (err != nil || id.Kind() != arm.KindManagementGroup) {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, "properties.details.parent.id",
			"%q is not the id of a management group (/providers/Microsoft.Management/managementGroups/NAME).", parent))
	}
	return errs
}

// commit keeps the tree a tree, and not too deep.
func (cfg Config) commit(tx store.Tx, w *provider.Write) error {
	parent := arm.GetString(w.Doc.Body, "properties.details.parent.id")
	if cfg.isRoot(w.ID) {
		if parent != "" {
			return arm.BadRequest(arm.CodeInvalidParameter, "properties.details.parent.id", "The root management group cannot be moved.")
		}
		return touchBoth(tx)
	}
	h, err := assignment.ReadHierarchy(tx)
	if err != nil {
		return err
	}
	id, err := arm.ParseID(parent)
	if err != nil {
		return err
	}
	if err := fits(h, w.ID, id); err != nil {
		return err
	}
	return touchBoth(tx)
}

func fits(h *assignment.Hierarchy, id, parent arm.ID) error {
	const at = "properties.details.parent.id"
	if !h.Exists(parent) {
		return arm.Errorf(404, "ParentManagementGroupNotFound", "The parent management group '%s' does not exist. Create it first.", parent.Name()).At(at)
	}
	above := append([]arm.ID{parent}, h.Ancestors(parent)...)
	if slices.ContainsFunc(above, id.Equal) {
		return arm.BadRequest(arm.CodeInvalidParameter, at, "The management group '%s' cannot lie below itself: '%s' does.", id.Name(), parent.Name())
	}
	if n := len(above) + height(h, id) - 1; n > assignment.MaxDepth {
		return arm.BadRequest("HierarchyDepthExceeded", at, "The management groups would be %d levels deep below the root; at most %d are possible.", n, assignment.MaxDepth)
	}
	return nil
}

// height is how many levels a group and what is below it have.
func height(h *assignment.Hierarchy, id arm.ID) int {
	most := 0
	for _, c := range h.Children(id) {
		most = max(most, height(h, c))
	}
	return most + 1
}

func (cfg Config) checkDelete(tx store.Tx, w *provider.Write) error {
	if cfg.isRoot(w.ID) {
		return arm.BadRequest(arm.CodeCannotDeleteResource, w.ID.String(), "The root management group cannot be deleted.")
	}
	h, err := assignment.ReadHierarchy(tx)
	if err != nil {
		return err
	}
	if c := h.Children(w.ID); len(c) > 0 {
		return arm.BadRequest(arm.CodeCannotDeleteResource, w.ID.String(),
			"The management group '%s' still has the management group '%s' below it. Move or delete what is below it first.", w.ID.Name(), c[0].Name())
	}
	return touchBoth(tx)
}
