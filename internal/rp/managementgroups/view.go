package managementgroups

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// typeSubscription is what a subscription is called in the tree.
const typeSubscription = "/subscriptions"

// named is how the tree names a group on the way to another.
type named struct {
	Name        string `json:"name"`
	DisplayName string `json:"displayName"`
}

// child is what lies in a group.
type child struct {
	ID          string  `json:"id"`
	Type        string  `json:"type"`
	Name        string  `json:"name"`
	DisplayName string  `json:"displayName,omitempty"`
	Children    []child `json:"children,omitempty"`
	parent      arm.ID
}

// view names the parent as it is called now, and adds what $expand asks for: children
// (all levels under $recurse=true), path (from the root to the parent) or ancestors (from
// the parent to the root). Items of a list are short, as Azure's are.
func view(ctx context.Context, v *provider.View) (body json.RawMessage, err error) {
	if v.List {
		return v.Doc.Body, nil
	}
	err = v.Runtime.Store.View(ctx, func(tx store.ReadTx) error {
		t, err := readTree(tx)
		if err != nil {
			return err
		}
		body, err = t.shown(v)
		return err
	})
	return body, err
}

func (t *tree) shown(v *provider.View) (json.RawMessage, error) {
	body, id := v.Doc.Body, v.Doc.ARMID()
	up := t.names(t.Ancestors(id))
	more := map[string]any{}
	if len(up) > 0 {
		more["details.parent.displayName"] = up[0].DisplayName
	}
	for _, what := range v.Expand {
		switch what {
		case "children":
			more["children"] = t.children(id, strings.EqualFold(v.Query.Get("$recurse"), "true"), withoutSubscriptions(v.Query.Get("$filter")))
		case "ancestors":
			more["details.managementGroupAncestorsChain"] = up
		case "path":
			down := slices.Clone(up)
			slices.Reverse(down)
			more["details.path"] = down
		}
	}
	var err error
	for path, value := range more {
		if body, err = arm.Set(body, "properties."+path, value); err != nil {
			return nil, err
		}
	}
	return body, nil
}

// withoutSubscriptions reads the only filter that Azure has for children.
func withoutSubscriptions(filter string) bool {
	return strings.EqualFold(strings.Join(strings.Fields(filter), " "), "children.childType ne Subscription")
}

// tree is the management groups with what they are called, and the subscriptions in them.
type tree struct {
	*assignment.Hierarchy
	display       map[string]string   // by key, of groups and subscriptions
	subscriptions map[string][]arm.ID // by the key of the group that they are right below
}

func readTree(tx store.ReadTx) (*tree, error) {
	h, err := assignment.ReadHierarchy(tx)
	if err != nil {
		return nil, err
	}
	t := &tree{Hierarchy: h, display: map[string]string{}, subscriptions: map[string][]arm.ID{}}
	for typ, at := range map[arm.Type]string{arm.TypeManagementGroup: "properties.displayName", arm.TypeSubscription: "displayName"} {
		docs, err := tx.List(store.Query{Type: typ})
		if err != nil {
			return nil, err
		}
		for _, d := range docs {
			t.display[d.Key] = arm.GetString(d.Body, at)
			if g, ok := h.GroupOf(d.ARMID()); ok && typ == arm.TypeSubscription {
				t.subscriptions[g.Key()] = append(t.subscriptions[g.Key()], d.ARMID())
			}
		}
	}
	return t, nil
}

func (t *tree) names(groups []arm.ID) []named {
	all := []named{}
	for _, g := range groups {
		all = append(all, named{g.Name(), t.display[g.Key()]})
	}
	return all
}

// children are the groups, then the subscriptions, right below a group.
func (t *tree) children(group arm.ID, recurse, noSubscriptions bool) []child {
	all := []child{}
	for _, g := range t.Children(group) {
		c := child{ID: g.String(), Type: string(arm.TypeManagementGroup), Name: g.Name(), DisplayName: t.display[g.Key()], parent: group}
		if recurse {
			c.Children = t.children(g, true, noSubscriptions)
		}
		all = append(all, c)
	}
	if noSubscriptions {
		return all
	}
	for _, s := range t.subscriptions[group.Key()] {
		all = append(all, child{ID: s.String(), Type: typeSubscription, Name: s.Name(), DisplayName: t.display[s.Key()], parent: group})
	}
	return all
}

// flat is children of all levels, one after the other.
func flat(children []child) (all []child) {
	for _, c := range children {
		all = append(append(all, c), flat(c.Children)...)
	}
	return all
}

func descendants(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	id := arm.Tenant.Resource(arm.TypeManagementGroup, c.Vars["managementGroup"])
	if _, err := c.Client.Get(ctx, id); err != nil {
		return nil, err
	}
	value := []map[string]any{}
	err := c.Runtime.Store.View(ctx, func(tx store.ReadTx) error {
		t, err := readTree(tx)
		if err != nil {
			return err
		}
		for _, d := range flat(t.children(id, true, false)) {
			typ := d.Type
			if typ == typeSubscription {
				typ = string(assignment.TypeMember)
			}
			value = append(value, map[string]any{"id": d.ID, "type": typ, "name": d.Name,
				"properties": map[string]any{"displayName": d.DisplayName, "parent": map[string]string{"id": d.parent.String()}}})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return provider.Page(c, value)
}
