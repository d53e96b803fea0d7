package authorization

import (
	"context"
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// lists are the collections, which Azure fills with more than what stands at the
// scope itself: definitions with the built-ins and those of the management groups
// above, assignments and exemptions with those above and, for a subscription, below.
func lists() []provider.Route {
	route := func(t arm.Type, f func(context.Context, *provider.Call, arm.Type) ([]*store.Document, error)) provider.Route {
		return provider.Route{Pattern: "{scope...}/providers/" + string(t), Permission: string(t) + "/read",
			Handle: func(ctx context.Context, c *provider.Call) (*provider.Response, error) {
				docs, err := f(ctx, c, t)
				if err != nil {
					return nil, err
				}
				return answer(c, docs)
			}}
	}
	return []provider.Route{
		route(assignment.TypeDefinition, listDefinitions), route(assignment.TypeInitiative, listDefinitions),
		route(assignment.TypeAssignment, listAssigned), route(assignment.TypeExemption, listAssigned),
	}
}

func answer(c *provider.Call, docs []*store.Document) (*provider.Response, error) {
	f, err := readFilter(c.Request.Query)
	if err != nil {
		return nil, err
	}
	value := []json.RawMessage{}
	for _, d := range docs {
		if f.keeps(c.Scope, d, c.Runtime.Now()) {
			value = append(value, d.Body)
		}
	}
	return provider.JSON(200, map[string]any{"value": value})
}

// listDefinitions is what may be assigned at the scope.
func listDefinitions(ctx context.Context, c *provider.Call, t arm.Type) (docs []*store.Document, err error) {
	err = c.Runtime.Store.View(ctx, func(tx store.ReadTx) error {
		h, err := assignment.ReadHierarchy(tx)
		if err != nil {
			return err
		}
		docs, err = at(tx, t, append([]arm.ID{c.Scope}, above(h, c.Scope)...)...)
		return err
	})
	return docs, err
}

// above are the scopes that a scope lies in, the tenant last.
func above(h *assignment.Hierarchy, scope arm.ID) (out []arm.ID) {
	for id := scope; !id.IsRoot() && id.Kind() != arm.KindManagementGroup; {
		if id = id.Parent(); !id.IsRoot() {
			out = append(out, id)
		}
	}
	out = append(out, h.Ancestors(scope)...)
	if !scope.IsRoot() {
		out = append(out, arm.Tenant)
	}
	return out
}

func at(tx store.ReadTx, t arm.Type, scopes ...arm.ID) (docs []*store.Document, err error) {
	for _, s := range scopes {
		found, err := tx.List(store.Query{Type: t, Prefix: strings.TrimSuffix(s.Key(), "/") + "/providers/" + t.Key() + "/"})
		if err != nil {
			return nil, err
		}
		docs = append(docs, found...)
	}
	return docs, nil
}

// listAssigned is what holds at the scope, and what stands below it.
func listAssigned(ctx context.Context, c *provider.Call, t arm.Type) (docs []*store.Document, err error) {
	err = c.Runtime.Store.View(ctx, func(tx store.ReadTx) error {
		h, err := assignment.ReadHierarchy(tx)
		if err != nil {
			return err
		}
		if docs, err = at(tx, t, append([]arm.ID{c.Scope}, above(h, c.Scope)...)...); err != nil {
			return err
		}
		if c.Scope.Kind() == arm.KindManagementGroup || c.Scope.IsRoot() {
			return nil
		}
		below, err := tx.List(store.Query{Type: t, Prefix: c.Scope.Key() + "/"})
		for _, d := range below {
			if !d.ARMID().Scope().Equal(c.Scope) {
				docs = append(docs, d)
			}
		}
		return err
	})
	return docs, err
}

// filter is the $filter that these lists have: comparisons and atScope().
type filter struct {
	atScope, exactly bool
	equals           map[string]string
}

var comparison = regexp.MustCompile(`(?i)^([a-z]+)\s+eq\s+'?\{?([^'{}]*)\}?'?$`)

func readFilter(q url.Values) (filter, error) {
	f := filter{equals: map[string]string{}}
	text := ""
	for k, v := range q {
		if strings.EqualFold(k, "$filter") && len(v) > 0 {
			text = v[0]
		}
	}
	if strings.TrimSpace(text) == "" {
		return f, nil
	}
	for _, part := range regexp.MustCompile(`(?i)\s+and\s+`).Split(text, -1) {
		part = strings.TrimSpace(part)
		m := comparison.FindStringSubmatch(part)
		switch {
		case strings.EqualFold(part, "atScope()"):
			f.atScope = true
		case strings.EqualFold(part, "atExactScope()"):
			f.exactly = true
		case strings.EqualFold(part, "excludeExpired()"):
			f.equals["excludeexpired"] = "true"
		case m != nil && properties[strings.ToLower(m[1])] != "":
			f.equals[strings.ToLower(m[1])] = m[2]
		default:
			return f, arm.BadRequest("InvalidFilterInQueryString", "$filter",
				"%q is not understood. Use atScope(), atExactScope(), policyDefinitionId eq '…', policyAssignmentId eq '…', policyType eq '…' or category eq '…', joined by and.", part)
		}
	}
	return f, nil
}

// properties are where the names of comparisons stand in the documents.
var properties = map[string]string{
	"policydefinitionid": "properties.policyDefinitionId", "associationid": "properties.policyAssignmentId",
	"policyassignmentid": "properties.policyAssignmentId", "policytype": "properties.policyType", "category": "properties.metadata.category",
}

func (f filter) keeps(scope arm.ID, d *store.Document, now time.Time) bool {
	at := d.ARMID().Scope()
	if f.exactly && !at.Equal(scope) || f.atScope && !at.Equal(scope) && scope.Contains(at) {
		return false
	}
	for name, want := range f.equals {
		if name == "excludeexpired" {
			if assignment.Expired(d.Body, now) {
				return false
			}
			continue
		}
		if !strings.EqualFold(strings.TrimSuffix(arm.GetString(d.Body, properties[name]), "/"), want) {
			return false
		}
	}
	return true
}
