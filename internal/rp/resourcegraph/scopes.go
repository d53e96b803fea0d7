package resourcegraph

import (
	"context"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// scopes are the subscriptions that a query is about: those that are named, those of
// the management groups that are named, or all; always only such as the caller may see.
type scopes struct {
	list      []string        // ids, in the order of their keys
	has       map[string]bool // ids in lower case
	all       bool            // every subscription that there is
	hierarchy *assignment.Hierarchy
}

func (g *graph) scopes(ctx context.Context, c *provider.Call, r *request) (*scopes, error) {
	s := &scopes{has: map[string]bool{}}
	var subs []string
	err := c.Runtime.Store.View(ctx, func(tx store.ReadTx) (err error) {
		if s.hierarchy, err = assignment.ReadHierarchy(tx); err != nil {
			return err
		}
		subs = nil
		return store.Scan(tx, store.Query{Type: arm.TypeSubscription}, false, func(h *store.Head) error {
			subs = append(subs, string(h.ID[len("/subscriptions/"):]))
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	wanted, err := s.wanted(c, r, subs)
	if err != nil {
		return nil, err
	}
	for _, sub := range subs {
		if wanted[strings.ToLower(sub)] && c.CanRead(arm.TypeSubscription, arm.SubscriptionID(sub)) {
			s.list, s.has[strings.ToLower(sub)] = append(s.list, sub), true
		}
	}
	s.all = len(s.list) == len(subs)
	if len(s.list) == 0 && len(r.Subscriptions) > 0 {
		return nil, noSubscriptions(r.Subscriptions)
	}
	return s, nil
}

func noSubscriptions(given []string) error {
	if len(given) > 10 {
		given = append(given[:10:10], "…")
	}
	e := arm.Errorf(400, "BadRequest", "None of the subscriptions exists, or you may read none of them.")
	e.Details = []*arm.Error{{Code: "NoValidSubscriptionsInQueryRequest",
		Message: "There must be at least one subscription that is eligible to contain resources. Given: '" + clip(strings.Join(given, ",")) + "'."}}
	return e
}

func (s *scopes) wanted(c *provider.Call, r *request, subs []string) (map[string]bool, error) {
	wanted := map[string]bool{}
	if len(r.Subscriptions) == 0 && len(r.ManagementGroups) == 0 {
		for _, sub := range subs {
			wanted[strings.ToLower(sub)] = true
		}
	}
	for _, sub := range r.Subscriptions {
		wanted[strings.ToLower(sub)] = true
	}
	for _, name := range r.ManagementGroups {
		group, err := arm.ParseID(arm.Tenant.Resource(arm.TypeManagementGroup, name).String())
		if err != nil || !s.hierarchy.Exists(group) || !c.CanRead(arm.TypeManagementGroup, group) {
			return nil, arm.Errorf(403, arm.CodeAuthorizationFailed, "The management group '%s' does not exist, or you may not read it.", clip(name)).At("managementGroups")
		}
		for _, sub := range s.hierarchy.Subscriptions(group, subs) {
			wanted[strings.ToLower(sub)] = true
		}
	}
	return wanted, nil
}

// rights remembers what the caller may read, so that the Authorizer is not asked for
// each of a hundred thousand rows. Roles add up on the way down: what is allowed at a
// scope is allowed below it.
type rights struct {
	call  *provider.Call
	known map[right]bool
}

type right struct {
	typ   arm.Type
	scope string
}

func newRights(c *provider.Call) *rights { return &rights{call: c, known: map[right]bool{}} }

// read reports whether the caller may read a resource; subscription and group may be "".
func (m *rights) read(t arm.Type, subscription, group, id string) bool {
	if m.at(t, "", arm.Tenant) || subscription != "" && m.at(t, subscription, arm.SubscriptionID(subscription)) {
		return true
	}
	if group != "" && m.at(t, subscription+"/"+group, arm.ResourceGroupID(subscription, group)) {
		return true
	}
	parsed, err := arm.ParseID(id)
	return err == nil && m.call.CanRead(t, parsed)
}

func (m *rights) at(t arm.Type, key string, scope arm.ID) bool {
	k := right{t, key}
	allowed, known := m.known[k]
	if !known {
		allowed = m.call.CanRead(t, scope)
		m.known[k] = allowed
	}
	return allowed
}
