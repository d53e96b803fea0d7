package authorization

import (
	"cmp"
	"context"
	"encoding/json"
	"net/url"
	"regexp"
	"strconv"
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

// listPage is how many items a list answers with at once: all built-ins together
// are more than twenty megabytes.
const listPage = 1000

func answer(c *provider.Call, docs []*store.Document) (*provider.Response, error) {
	f, err := readFilter(option(c.Request.Query, "$filter"))
	if err != nil {
		return nil, err
	}
	skip, err := strconv.Atoi(cmp.Or(option(c.Request.Query, "$skiptoken"), "0"))
	if err != nil || skip < 0 {
		return nil, arm.BadRequest(arm.CodeInvalidParameter, "$skiptoken", "The $skiptoken is not one that this server made.")
	}
	page := struct {
		Value    []json.RawMessage `json:"value"`
		NextLink string            `json:"nextLink,omitempty"`
	}{Value: []json.RawMessage{}}
	now := c.Runtime.Now()
	for _, d := range docs {
		switch {
		case !f.keeps(c.Scope, d, now):
		case skip > 0:
			skip--
		case len(page.Value) == listPage:
			page.NextLink = next(c)
			return provider.JSON(200, page)
		default:
			page.Value = append(page.Value, d.Body)
		}
	}
	return provider.JSON(200, page)
}

// option is a query parameter, whatever the case of its name.
func option(q url.Values, name string) string {
	for k, v := range q {
		if strings.EqualFold(k, name) && len(v) > 0 {
			return v[0]
		}
	}
	return ""
}

// next is the link to the page behind this one.
func next(c *provider.Call) string {
	skip, _ := strconv.Atoi(option(c.Request.Query, "$skiptoken")) // checked before
	q := url.Values{"$skiptoken": {strconv.Itoa(skip + listPage)}}
	for k, v := range c.Request.Query {
		if !strings.EqualFold(k, "$skiptoken") {
			q[k] = v
		}
	}
	u := url.URL{Path: c.Request.Path, RawQuery: q.Encode()}
	return c.Request.BaseURL + u.String()
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

func readFilter(text string) (filter, error) {
	f := filter{equals: map[string]string{}}
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
