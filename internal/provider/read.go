package provider

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
)

// Page sizes of lists.
const (
	defaultPage = 200
	largestPage = 1000
)

func (c *call) get(ctx context.Context, t *ResourceType) (*Response, error) {
	if err := c.authorize(ctx, t.permission("read"), c.asked); err != nil {
		return nil, err
	}
	doc, err := c.p.load(ctx, c.path.ID)
	if err != nil {
		return nil, err
	}
	if c.Method == "HEAD" {
		return &Response{Status: http.StatusNoContent, Header: headers(t, doc)}, nil
	}
	if matches(c.Header.Get("If-None-Match"), doc.ETag) {
		return &Response{Status: http.StatusNotModified, Header: headers(t, doc)}, nil
	}
	body, err := c.show(ctx, t, doc, false)
	return &Response{Status: 200, Header: headers(t, doc), Body: body}, err
}

// RecordedHeader is in answers about resources that are only recorded.
const RecordedHeader = "X-Hallmark-Recorded-Only"

// CodeRecordedOnly refuses what cannot be done with a resource that is only recorded.
const CodeRecordedOnly = "ResourceRecordedOnly"

func headers(t *ResourceType, d *store.Document) http.Header {
	h := http.Header{"Etag": {d.ETag}}
	if t.Recorded {
		h.Set(RecordedHeader, "true")
	}
	return h
}

// matches reports whether a condition names the etag: *, one, or several with commas.
func matches(condition, etag string) bool {
	for one := range strings.SplitSeq(condition, ",") {
		one = strings.TrimPrefix(strings.TrimSpace(one), "W/")
		if one == "*" || one == etag || one != "" && one == strings.Trim(etag, `"`) {
			return true
		}
	}
	return false
}

// load is the document, or the 404 of the first thing on the way to it that is missing.
func (p *Pipeline) load(ctx context.Context, id arm.ID) (*store.Document, error) {
	doc, err := store.Get(ctx, p.cfg.Store, id.Key())
	if !errors.Is(err, store.ErrNotFound) {
		return doc, err
	}
	err = p.cfg.Store.View(ctx, func(tx store.ReadTx) (err error) {
		if doc, err = tx.Get(id.Key()); errors.Is(err, store.ErrNotFound) {
			return errors.Join(p.checkScopes(tx, id.Parent()), p.notFound(id))
		}
		return err
	})
	return doc, first(err)
}

// notFound is the 404 that clients of the resource's type know.
func (p *Pipeline) notFound(id arm.ID) *arm.Error {
	t := p.reg.types[id.Type().Key()]
	if t == nil || t.NotFoundCode == "" {
		return arm.NotFound(id)
	}
	return arm.Errorf(http.StatusNotFound, t.NotFoundCode, "The %s '%s' could not be found.", words(t.NotFoundCode), id.Name()).At(id.String())
}

// words spells a code such as PolicyDefinitionNotFound: "policy definition".
func words(code string) string {
	var b strings.Builder
	for i, r := range strings.TrimSuffix(code, "NotFound") {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// first is the first ARM error of several joined ones, or the error itself.
func first(err error) error {
	var e *arm.Error
	if errors.As(err, &e) {
		return e
	}
	return err
}

// scopeExists is nil if the subscription and the group of a scope exist.
func (p *Pipeline) scopeExists(ctx context.Context, scope arm.ID) error {
	return p.cfg.Store.View(ctx, func(tx store.ReadTx) error { return p.checkScopes(tx, scope) })
}

// checkScopes looks for subscription and group of an id, outermost first. Types
// that nobody registered are not asked for.
func (p *Pipeline) checkScopes(tx store.ReadTx, id arm.ID) error {
	var chain []arm.ID
	if s := id.Subscription(); s != "" {
		chain = append(chain, arm.SubscriptionID(s))
		if g := id.ResourceGroup(); g != "" {
			chain = append(chain, arm.ResourceGroupID(s, g))
		}
	}
	for _, scope := range chain {
		if p.reg.types[scope.Type().Key()] == nil {
			continue
		}
		if _, err := tx.Get(scope.Key()); errors.Is(err, store.ErrNotFound) {
			return arm.NotFound(scope)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// show is what a client sees of a document.
func (c *call) show(ctx context.Context, t *ResourceType, doc *store.Document, list bool) (json.RawMessage, error) {
	body := doc.Body
	if t.View != nil {
		v := &View{Doc: doc, List: list, Asked: c.asked, APIVersion: c.apiVersion, Expand: expands(c.query), Query: c.query, Runtime: c.p.Runtime()}
		var err error
		if body, err = t.View(ctx, v); err != nil {
			return nil, err
		}
	}
	return withSystemData(body, doc)
}

func expands(q url.Values) []string {
	var out []string
	for s := range strings.SplitSeq(strings.ToLower(q.Get("$expand")), ",") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// withSystemData adds systemData at the end, by text: bodies are objects that Set wrote.
func withSystemData(body json.RawMessage, d *store.Document) (json.RawMessage, error) {
	if len(body) < 3 || body[len(body)-1] != '}' {
		return body, nil
	}
	out := make(json.RawMessage, 0, len(body)+320)
	out = append(out, body[:len(body)-1]...)
	out = append(out, `,"systemData":{"createdBy":`...)
	out, err := appendChange(out, d.CreatedBy, `,"createdByType":"Application","createdAt":"`, d.CreatedAt)
	if err != nil {
		return body, err
	}
	out = append(out, `,"lastModifiedBy":`...)
	out, err = appendChange(out, d.UpdatedBy, `,"lastModifiedByType":"Application","lastModifiedAt":"`, d.UpdatedAt)
	if err != nil {
		return body, err
	}
	return append(out, "}}"...), nil
}

// appendChange writes who changed something and when, which every item of a list has.
func appendChange(out []byte, by, between string, at time.Time) ([]byte, error) {
	out = append(arm.AppendString(out, by), between...)
	out, err := at.AppendText(out)
	return append(out, '"'), err
}

func (c *call) collection(ctx context.Context, typ arm.Type) (*Response, error) {
	if c.Method != "GET" {
		return nil, c.notAllowed()
	}
	t, err := c.p.reg.find(typ, c.apiVersion)
	if err != nil {
		return nil, err
	}
	scope := c.path.ID
	if err := c.scopeOfList(ctx, t, scope); err != nil {
		return nil, err
	}
	f, err := parseFilter(c.query.Get("$filter"), t.Filters...)
	if err != nil {
		return nil, err
	}
	q, keep := t.query(scope, f.atScope), f.matches
	if t.Collection != nil {
		parent, err := c.p.load(ctx, scope)
		if err != nil {
			return nil, err
		}
		if elsewhere, member, ok := t.Collection(parent); ok {
			q, keep = elsewhere, func(d *store.Document) bool { return member(d) && f.matches(d) }
		}
	}
	return c.list(ctx, q, keep, func(d *store.Document) (json.RawMessage, error) { return c.show(ctx, t, d, true) }, t.permission("read"))
}

// scopeOfList is nil if something of the type may be listed at the scope.
func (c *call) scopeOfList(ctx context.Context, t *ResourceType, scope arm.ID) error {
	parent, child := t.Type.Parent()
	switch {
	case child && !scope.Type().Equal(parent):
		return arm.Errorf(404, arm.CodeInvalidResourceType, "'%s' is listed under a '%s', not here.", t.Type, parent).At(c.Path)
	case child:
		_, err := c.p.load(ctx, scope)
		if arm.IsNotFound(err) && scope.Kind() == arm.KindResource {
			return arm.Errorf(404, arm.CodeParentResourceNotFound, "Failed to list, because the parent resource '%s' was not found.", scope).At(scope.String())
		}
		return err
	case scope.Kind() == arm.KindResource && t.Scopes&AtResource != 0:
		_, err := c.p.load(ctx, scope)
		return err
	case scope.Kind() == arm.KindSubscription && t.Scopes&(AtResourceGroup|AtSubscription) != 0, t.allows(scope):
		return c.p.scopeExists(ctx, scope)
	}
	return arm.Errorf(404, arm.CodeInvalidResourceType, "The resource type '%s' cannot be listed at a %s.", t.Type, scope.Kind()).At(c.Path)
}

// query selects the type's documents at a scope: those of a parent, of one scope for
// types that exist at several (with what is below unless only, under ListBelow), and
// otherwise all in the subscription or group.
func (t *ResourceType) query(scope arm.ID, only bool) store.Query {
	q := store.Query{Type: t.Type, SubscriptionID: scope.Subscription(), ResourceGroup: scope.ResourceGroup()}
	if scope.Kind() != arm.KindTenant {
		q.Prefix = scope.Key() + "/" // what a store finds fastest
	}
	if _, child := t.Type.Parent(); child {
		q.Prefix = scope.Key() + "/" + t.Type.Name() + "/"
	} else if (only || !t.ListBelow) && t.Scopes&^(AtResourceGroup) != 0 && !t.Type.Equal(arm.TypeSubscription) && !t.Type.Equal(arm.TypeResourceGroup) {
		q.Prefix = strings.TrimSuffix(scope.Key(), "/") + "/providers/" + string(t.Type) + "/"
	}
	return q
}

// list answers one page. Items that the caller may not read are left out, so a page
// may be short, or empty, with a nextLink.
func (c *call) list(ctx context.Context, q store.Query, keep func(*store.Document) bool, show func(*store.Document) (json.RawMessage, error), permission string) (*Response, error) {
	size, err := pageSize(c.query.Get("$top"))
	if err != nil {
		return nil, err
	}
	if q.After, err = readSkipToken(c.query.Get("$skiptoken")); err != nil {
		return nil, err
	}
	q.Limit = size + 1
	docs, err := store.List(ctx, c.p.cfg.Store, q)
	if err != nil {
		return nil, err
	}
	var items []json.RawMessage
	var next string
	if len(docs) > size {
		docs = docs[:size]
		next = c.nextLink(docs[size-1].Key)
	}
	all := c.authorize(ctx, permission, c.path.ID) == nil
	for _, d := range docs {
		if !keep(d) || !all && c.authorize(ctx, c.p.readOf(d.Type, permission), d.ARMID()) != nil {
			continue
		}
		item, err := show(d)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	body, err := page(items, next)
	return &Response{Status: 200, Header: http.Header{}, Body: body}, err
}

// page joins items, which are JSON already: to marshal them would check and copy each
// byte again, which was half of a list's time.
func page(items []json.RawMessage, nextLink string) ([]byte, error) {
	size := len(nextLink) + 64
	for _, item := range items {
		size += len(item) + 1
	}
	out := append(make([]byte, 0, size), `{"value":[`...)
	for i, item := range items {
		if i > 0 {
			out = append(out, ',')
		}
		if len(item) == 0 {
			item = json.RawMessage("null")
		}
		out = append(out, item...)
	}
	out = append(out, ']')
	if nextLink != "" {
		link, err := json.Marshal(nextLink)
		if err != nil {
			return nil, fmt.Errorf("writing an answer: %w", err)
		}
		out = append(append(out, `,"nextLink":`...), link...)
	}
	return append(out, '}'), nil
}

func pageSize(top string) (int, error) {
	if top == "" {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(top)
	if err != nil || n < 1 {
		return 0, arm.BadRequest(arm.CodeInvalidParameter, "$top", "$top is %q; it must be a number from 1.", clip(top))
	}
	return min(n, largestPage), nil
}

func (c *call) nextLink(after string) string {
	return (&Call{Request: c.Request}).NextLink(base64.RawURLEncoding.EncodeToString([]byte(after)))
}

func readSkipToken(t string) (string, error) {
	key, err := base64.RawURLEncoding.DecodeString(t)
	if err != nil {
		return "", arm.BadRequest(arm.CodeInvalidParameter, "$skiptoken", "The $skiptoken is not one that this server made.").Because(err)
	}
	return string(key), nil
}
