package assignment

import (
	"fmt"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
)

// MaxDepth is how many levels of management groups may lie below the root one
// (Azure's limit: the root and the subscriptions do not count).
const MaxDepth = 6

// Hierarchy is the tree of management groups and the subscriptions in them.
type Hierarchy struct {
	root    string              // key of the root management group; "" without one
	ids     map[string]arm.ID   // of a management group's key, as first written
	parents map[string]string   // management group → management group, by key; "" for none
	members map[string]string   // subscription's key → management group's key
	below   map[string][]string // management group → its children, by key
}

// ReadHierarchy reads the tree from one consistent state.
func ReadHierarchy(tx store.ReadTx) (*Hierarchy, error) {
	h := &Hierarchy{ids: map[string]arm.ID{}, parents: map[string]string{}, members: map[string]string{}, below: map[string][]string{}}
	groups, err := tx.List(store.Query{Type: arm.TypeManagementGroup})
	if err != nil {
		return nil, fmt.Errorf("reading management groups: %w", err)
	}
	for _, g := range groups {
		h.addGroup(g)
	}
	members, err := tx.List(store.Query{Type: TypeMember})
	if err != nil {
		return nil, fmt.Errorf("reading the subscriptions of management groups: %w", err)
	}
	for _, m := range members {
		id := m.ARMID()
		h.members[arm.SubscriptionID(id.Name()).Key()] = id.Parent().Key()
	}
	return h, nil
}

func (h *Hierarchy) addGroup(g *store.Document) {
	parent := strings.ToLower(arm.GetString(g.Body, "properties.details.parent.id"))
	h.ids[g.Key], h.parents[g.Key] = g.ARMID(), parent
	if parent == "" {
		h.root = g.Key
		return
	}
	h.below[parent] = append(h.below[parent], g.Key)
}

// Root is the root management group, and false if there is none.
func (h *Hierarchy) Root() (arm.ID, bool) {
	id, ok := h.ids[h.root]
	return id, ok
}

// Children are the management groups right below one.
func (h *Hierarchy) Children(group arm.ID) []arm.ID {
	var ids []arm.ID
	for _, k := range h.below[group.Key()] {
		ids = append(ids, h.ids[k])
	}
	return ids
}

// Exists reports whether there is such a management group.
func (h *Hierarchy) Exists(group arm.ID) bool {
	_, ok := h.ids[group.Key()]
	return ok
}

// GroupOf is the management group that a subscription is in: the root one unless it
// was moved; false without management groups.
func (h *Hierarchy) GroupOf(subscription arm.ID) (arm.ID, bool) {
	key, moved := h.members[subscription.Key()]
	if !moved {
		key = h.root
	}
	id, ok := h.ids[key]
	return id, ok
}

// Ancestors are the management groups that a scope or resource lies in, innermost
// first; a management group's do not include itself.
func (h *Hierarchy) Ancestors(id arm.ID) []arm.ID {
	key := ""
	switch {
	case id.Subscription() != "":
		if g, ok := h.GroupOf(arm.SubscriptionID(id.Subscription())); ok {
			key = g.Key()
		}
	default:
		if g, ok := managementGroupOf(id); ok {
			if key = h.parents[g.Key()]; !g.Equal(id) {
				key = g.Key()
			}
		}
	}
	var out []arm.ID
	for range len(h.ids) { // a circle cannot be written; do not hang on one
		g, ok := h.ids[key]
		if !ok {
			break
		}
		out, key = append(out, g), h.parents[key]
	}
	return out
}

// managementGroupOf is the management group that an id hangs on, or is.
func managementGroupOf(id arm.ID) (arm.ID, bool) {
	for ; !id.IsRoot(); id = id.Parent() {
		if id.Kind() == arm.KindManagementGroup {
			return id, true
		}
	}
	return id, false
}

// Contains reports whether a scope covers a resource or scope, management groups
// included.
func (h *Hierarchy) Contains(scope, id arm.ID) bool {
	if scope.Kind() != arm.KindManagementGroup {
		return scope.Contains(id)
	}
	if scope.Contains(id) {
		return true
	}
	for _, a := range h.Ancestors(id) {
		if a.Equal(scope) {
			return true
		}
	}
	return false
}

// Subscriptions are those of a list that lie below a management group.
func (h *Hierarchy) Subscriptions(group arm.ID, all []string) []string {
	var in []string
	for _, s := range all {
		if h.Contains(group, arm.SubscriptionID(s)) {
			in = append(in, s)
		}
	}
	return in
}

// shape is a text that is the same for the same tree.
func (h *Hierarchy) shape() string {
	var lines []string
	for k, p := range h.parents {
		lines = append(lines, k+"<"+p)
	}
	for k, g := range h.members {
		lines = append(lines, k+"<"+g)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
