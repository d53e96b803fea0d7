package insights

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"hallmark.dev/hallmark/internal/admission"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/operation"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

type log struct{ tenant string }

// pageSize is how many entries a page has; farthest is how far pages go back.
const (
	pageSize = 200
	farthest = 100_000
)

// list serves GET …/eventtypes/management/values: the newest first.
func (l log) list(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	f, err := readFilter(option(c.Request.Query, "$filter"))
	if err != nil {
		return nil, err
	}
	skip := 0
	if token := option(c.Request.Query, "$skiptoken"); token != "" {
		if skip, err = strconv.Atoi(token); err != nil || skip < 0 || skip > farthest {
			return nil, arm.BadRequest(arm.CodeInvalidParameter, "$skiptoken", "The $skiptoken is not one that this server made.")
		}
	}
	newest := newest{most: skip + pageSize + 1, may: rights(c)}
	if err := c.Runtime.Store.View(ctx, func(tx store.ReadTx) error {
		newest.all = nil
		return collect(tx, c.Scope.Subscription(), f, &newest)
	}); err != nil {
		return nil, err
	}
	page := struct {
		Value    []map[string]any `json:"value"`
		NextLink string           `json:"nextLink,omitempty"`
	}{Value: []map[string]any{}}
	all := newest.sorted()
	for _, e := range all[min(skip, len(all)):min(skip+pageSize, len(all))] {
		page.Value = append(page.Value, selected(e.shown(l.tenant), option(c.Request.Query, "$select")))
	}
	if len(all) > skip+pageSize {
		page.NextLink = nextLink(c, skip+pageSize)
	}
	return provider.JSON(200, page)
}

// rights asks at most once for each resource whether the caller may see its log.
func rights(c *provider.Call) func(arm.ID) bool {
	if c.Allowed(permission, c.Scope) {
		return func(arm.ID) bool { return true }
	}
	known := map[string]bool{}
	return func(id arm.ID) bool {
		allowed, ok := known[id.Key()]
		if !ok {
			allowed = c.Allowed(permission, id)
			known[id.Key()] = allowed
		}
		return allowed
	}
}

// newest keeps the newest entries, a bounded number of them.
type newest struct {
	most int
	may  func(arm.ID) bool
	all  []*entry
}

func (n *newest) add(e *entry) {
	if !n.may(e.id) {
		return
	}
	if n.all = append(n.all, e); len(n.all) > 2*n.most+1000 {
		n.sorted()
		n.all = n.all[:n.most]
	}
}

func (n *newest) sorted() []*entry {
	slices.SortStableFunc(n.all, func(a, b *entry) int {
		if c := b.time.Compare(a.time); c != 0 {
			return c
		}
		return strings.Compare(b.key, a.key)
	})
	return n.all
}

var errLater = errors.New("later than what is asked for")

// collect reads what the three sources of the log have.
func collect(tx store.ReadTx, subscription string, f filter, n *newest) error {
	for _, s := range []struct {
		typ   arm.Type
		entry func(*store.Document) (*entry, bool)
		dated bool // the keys rise with time
	}{{provider.EventType, ofEvent, true}, {admission.TypeEvent, ofPolicy, true}, {operation.Type, ofOperation, false}} {
		q := store.Query{Type: s.typ, SubscriptionID: subscription, Prefix: arm.SubscriptionID(subscription).Key() + "/"}
		if s.dated {
			q.Prefix += "providers/" + s.typ.Key() + "/"
			if !f.from.IsZero() {
				q.After = q.Prefix + keyAt(f.from.Add(-time.Minute))
			}
		}
		err := store.Each(tx, q, func(d *store.Document) error {
			if s.dated && !f.to.IsZero() && d.CreatedAt.After(f.to.Add(time.Minute)) {
				return errLater
			}
			if e, ok := s.entry(d); ok && f.keeps(e) {
				n.add(e)
			}
			return nil
		})
		if err != nil && !errors.Is(err, errLater) {
			return err
		}
	}
	return nil
}

// keyAt is the smallest name of an event of a time.
func keyAt(t time.Time) string {
	var id ulid.ULID
	if t.UnixMilli() < 0 || id.SetTime(ulid.Timestamp(t)) != nil {
		return ""
	}
	return strings.ToLower(id.String())
}

func selected(e map[string]any, names string) map[string]any {
	if strings.TrimSpace(names) == "" {
		return e
	}
	out := map[string]any{}
	for name := range strings.SplitSeq(names, ",") {
		for k, v := range e {
			if strings.EqualFold(k, strings.TrimSpace(name)) {
				out[k] = v
			}
		}
	}
	return out
}

func nextLink(c *provider.Call, skip int) string {
	q := url.Values{"$skiptoken": {strconv.Itoa(skip)}}
	for k, v := range c.Request.Query {
		if !strings.EqualFold(k, "$skiptoken") {
			q[k] = v
		}
	}
	u := url.URL{Path: c.Request.Path, RawQuery: q.Encode()}
	return c.Request.BaseURL + u.String()
}

func option(q url.Values, name string) string {
	for k, v := range q {
		if strings.EqualFold(k, name) && len(v) > 0 {
			return v[0]
		}
	}
	return ""
}
