package managementgroups

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
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

// view adds the children under ?$expand=children.
func view(ctx context.Context, v *provider.View) (json.RawMessage, error) {
	if !slices.Contains(v.Expand, "children") {
		return v.Doc.Body, nil
	}
	var kids []descendant
	err := v.Runtime.Store.View(ctx, func(tx store.ReadTx) (err error) {
		kids, err = below(tx, v.Doc.ARMID(), false)
		return err
	})
	if err != nil {
		return nil, err
	}
	return arm.Set(v.Doc.Body, "properties.children", kids)
}

// descendant is one line of what lies below a group.
type descendant struct {
	ID          string `json:"id"`
	Type        string `json:"type"`
	Name        string `json:"name"`
	DisplayName string `json:"displayName,omitempty"`
	parent      arm.ID
}

// below lists the groups and subscriptions in a group, all levels or one.
func below(tx store.ReadTx, group arm.ID, all bool) ([]descendant, error) {
	h, err := assignment.ReadHierarchy(tx)
	if err != nil {
		return nil, err
	}
	out := []descendant{}
	var walk func(g arm.ID)
	walk = func(g arm.ID) {
		for _, c := range h.Children(g) {
			out = append(out, descendant{ID: c.String(), Type: string(arm.TypeManagementGroup), Name: c.Name(), DisplayName: name(tx, c), parent: g})
			if all {
				walk(c)
			}
		}
	}
	walk(group)
	subs, err := tx.List(store.Query{Type: arm.TypeSubscription})
	if err != nil {
		return nil, fmt.Errorf("listing subscriptions: %w", err)
	}
	for _, s := range subs {
		if g, ok := h.GroupOf(s.ARMID()); ok && (g.Equal(group) || all && h.Contains(group, g)) {
			out = append(out, descendant{ID: s.ID, Type: "/subscriptions", Name: s.ARMID().Name(), DisplayName: arm.GetString(s.Body, "displayName"), parent: g})
		}
	}
	return out, nil
}

func name(tx store.ReadTx, id arm.ID) string {
	d, err := tx.Get(id.Key())
	if err != nil {
		return id.Name()
	}
	return arm.GetString(d.Body, "properties.displayName")
}

func descendants(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	id := arm.Tenant.Resource(arm.TypeManagementGroup, c.Vars["managementGroup"])
	if _, err := c.Client.Get(ctx, id); err != nil {
		return nil, err
	}
	var lines []descendant
	err := c.Runtime.Store.View(ctx, func(tx store.ReadTx) (err error) {
		lines, err = below(tx, id, true)
		return err
	})
	if err != nil {
		return nil, err
	}
	value := []map[string]any{}
	for _, l := range lines {
		typ := l.Type
		if strings.HasPrefix(typ, "/") {
			typ = string(assignment.TypeMember)
		}
		value = append(value, map[string]any{"id": l.ID, "type": typ, "name": l.Name,
			"properties": map[string]any{"displayName": l.DisplayName, "parent": map[string]string{"id": l.parent.String()}}})
	}
	return provider.JSON(200, map[string]any{"value": value})
}
