package managementgroups

import (
	"context"
	"regexp"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// entity is a management group or a subscription, with where it lies and what the
// caller may do there.
type entity struct {
	ID         string `json:"id"`
	Type       string `json:"type"`
	Name       string `json:"name"`
	Properties struct {
		TenantID               string            `json:"tenantId"`
		DisplayName            string            `json:"displayName"`
		Parent                 map[string]string `json:"parent,omitempty"`
		Permissions            string            `json:"permissions"`
		InheritedPermissions   string            `json:"inheritedPermissions"`
		NumberOfDescendants    int               `json:"numberOfDescendants"`
		NumberOfChildren       int               `json:"numberOfChildren"`
		NumberOfChildGroups    int               `json:"numberOfChildGroups"`
		ParentNameChain        []string          `json:"parentNameChain"`
		ParentDisplayNameChain []string          `json:"parentDisplayNameChain"`
	} `json:"properties"`
}

// entities serves getEntities: everything in the tree that the caller may read.
func (cfg Config) entities(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	wanted, err := selection(c)
	if err != nil {
		return nil, err
	}
	found := []entity{}
	err = c.Runtime.Store.View(ctx, func(tx store.ReadTx) error {
		t, err := readTree(tx)
		if err != nil {
			return err
		}
		root := RootID(cfg.TenantID)
		all := []child{{ID: root.String(), Type: string(arm.TypeManagementGroup), Name: root.Name(), DisplayName: t.display[root.Key()]}}
		for _, one := range append(all, flat(t.children(root, true, false))...) {
			if e, ok := t.entity(cfg, c, one); ok && wanted(e) {
				found = append(found, e)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return provider.Page(c, found)
}

// entity is false if the caller may not read it.
func (t *tree) entity(cfg Config, c *provider.Call, one child) (e entity, ok bool) {
	id, err := arm.ParseID(one.ID)
	if err != nil || !c.CanRead(id.Type(), id) {
		return e, false
	}
	e.ID, e.Type, e.Name = one.ID, one.Type, one.Name
	p := &e.Properties
	p.TenantID, p.DisplayName, p.Permissions, p.InheritedPermissions = cfg.TenantID, one.DisplayName, permissions(c, id, id), "noaccess"
	if !one.parent.IsRoot() {
		p.Parent = map[string]string{"id": one.parent.String()}
		p.InheritedPermissions = permissions(c, id, one.parent)
	}
	p.ParentNameChain, p.ParentDisplayNameChain = []string{}, []string{}
	up := t.names(t.Ancestors(id))
	for i := range up {
		outer := up[len(up)-1-i]
		p.ParentNameChain, p.ParentDisplayNameChain = append(p.ParentNameChain, outer.Name), append(p.ParentDisplayNameChain, outer.DisplayName)
	}
	below := t.children(id, true, false)
	p.NumberOfChildren, p.NumberOfChildGroups, p.NumberOfDescendants = len(below), len(t.Children(id)), len(flat(below))
	return e, true
}

// permissions is the most that the caller may do to one at a scope, in this API's words.
func permissions(c *provider.Call, one, at arm.ID) string {
	switch typ := string(one.Type()); {
	case c.Allowed(typ+"/delete", at):
		return "delete"
	case c.Allowed(typ+"/write", at):
		return "edit"
	case c.CanRead(one.Type(), at):
		return "view"
	}
	return "noaccess"
}

// entityFilter is name eq 'x', contains(name, 'x') or contains(displayName, 'x').
var entityFilter = regexp.MustCompile(`(?i)^\s*(?:(name)\s+eq\s+'([^']*)'|contains\(\s*(name|displayName)\s*,\s*'([^']*)'\s*\))\s*$`)

// selection reads what is to be shown of all.
func selection(c *provider.Call) (func(entity) bool, error) {
	text := c.Option("$filter")
	if text == "" {
		text = strings.TrimPrefix(c.Option("groupName"), "$filter=") // the older name of the same
	}
	m := entityFilter.FindStringSubmatch(text)
	if text != "" && m == nil {
		return nil, arm.BadRequest("InvalidFilterInQueryString", "$filter", "The filter %.200q is not supported here: use name eq 'x', contains(name, 'x') or contains(displayName, 'x').", text)
	}
	if what := c.Option("$search"); what != "" {
		return nil, arm.BadRequest(arm.CodeInvalidParameter, "$search", "$search=%.64s is not supported here; every entity names its parent and counts its children.", what)
	}
	view := strings.ToLower(c.Option("$view"))
	return func(e entity) bool {
		group := e.Type != typeSubscription
		return (view != "groupsonly" || group) && (view != "subscriptionsonly" || !group) && (m == nil || matches(m, e))
	}, nil
}

func matches(m []string, e entity) bool {
	if m[1] != "" {
		return strings.EqualFold(e.Name, m[2])
	}
	text := e.Name
	if strings.EqualFold(m[3], "displayName") {
		text = e.Properties.DisplayName
	}
	return strings.Contains(strings.ToLower(text), strings.ToLower(m[4]))
}
