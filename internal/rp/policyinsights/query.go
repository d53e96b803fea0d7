package policyinsights

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
)

type handler = func(ctx context.Context, c *provider.Call) (*provider.Response, error)

// query is what a client asks of a list of records.
type query struct {
	filter   predicate
	filtered bool // $filter was given
	orderBy  []ordering
	selected []string // nil: all
	top      int
	skip     int
	from, to time.Time
	details  bool // $expand=PolicyEvaluationDetails
	apply    []transformation
}

type ordering struct {
	property string // in lower case
	down     bool
}

// Page sizes; Azure answers with at most 1000 records.
const maxTop = 1000

// readQuery reads the query's options, of the address and, as some clients send
// them, without regard to the case of their names.
func readQuery(q url.Values, now time.Time, known func(string) bool) (*query, error) {
	get := func(name string) string {
		for k, v := range q {
			if strings.EqualFold(k, name) && len(v) > 0 {
				return v[0]
			}
		}
		return ""
	}
	out := &query{top: maxTop, filtered: get("$filter") != "", details: strings.Contains(strings.ToLower(get("$expand")), "policyevaluationdetails")}
	var err error
	if out.filter, err = parseFilter(get("$filter"), known); err != nil {
		return nil, err
	}
	if out.apply, err = parseApply(get("$apply"), known); err != nil {
		return nil, err
	}
	if out.from, out.to, err = span(get("$from"), get("$to"), now); err != nil {
		return nil, err
	}
	if err := out.numbers(get("$top"), get("$skiptoken")); err != nil {
		return nil, err
	}
	return out, out.columns(get("$orderby"), get("$select"), known)
}

// span is the time that is asked for: a day by default, as in Azure.
func span(from, to string, now time.Time) (a, b time.Time, err error) {
	a, b = now.Add(-24*time.Hour), now
	for _, one := range []struct {
		name, text string
		into       *time.Time
	}{{"$from", from, &a}, {"$to", to, &b}} {
		if one.text == "" {
			continue
		}
		v, ok := literal(one.text)
		t, isTime := v.(time.Time)
		if !ok || !isTime {
			return a, b, arm.BadRequest(arm.CodeInvalidParameter, one.name, "%s is %q; it must be a time such as 2026-05-01T00:00:00Z.", one.name, clip(one.text))
		}
		*one.into = t
	}
	return a, b, nil
}

func (q *query) numbers(top, skip string) error {
	for _, n := range []struct {
		name, text string
		into       *int
	}{{"$top", top, &q.top}, {"$skiptoken", skip, &q.skip}} {
		if n.text == "" {
			continue
		}
		v, err := strconv.Atoi(n.text)
		if err != nil || v < 0 {
			return arm.BadRequest(arm.CodeInvalidParameter, n.name, "%s is %q; it must be a number from 0.", n.name, clip(n.text))
		}
		*n.into = v
	}
	q.top = min(q.top, maxTop)
	return nil
}

func (q *query) columns(orderBy, selected string, known func(string) bool) error {
	for one := range strings.SplitSeq(orderBy, ",") {
		words := strings.Fields(one)
		if len(words) == 0 {
			continue
		}
		down := len(words) == 2 && strings.EqualFold(words[1], "desc")
		if !q.knows(words[0], known) || len(words) > 2 || len(words) == 2 && !down && !strings.EqualFold(words[1], "asc") {
			return arm.BadRequest(arm.CodeInvalidParameter, "$orderby", "%q is not a property with asc or desc.", clip(one))
		}
		q.orderBy = append(q.orderBy, ordering{strings.ToLower(words[0]), down})
	}
	for one := range strings.SplitSeq(selected, ",") {
		if one = strings.TrimSpace(one); one == "" || one == "*" {
			continue
		}
		if !q.knows(one, known) {
			return arm.BadRequest(arm.CodeInvalidParameter, "$select", "%q is not a property.", clip(one))
		}
		q.selected = append(q.selected, strings.ToLower(one))
	}
	return nil
}

// knows reports whether a property exists, after $apply has made its own.
func (q *query) knows(property string, known func(string) bool) bool {
	return known(property) || slices.ContainsFunc(q.apply, func(t transformation) bool {
		return slices.ContainsFunc(t.aggregates, func(a aggregate) bool { return strings.EqualFold(a.as, property) })
	})
}

// less orders two records.
func (q *query) less(a, b getter) int {
	for _, o := range q.orderBy {
		if c, ok := compare(a(o.property), b(o.property)); ok && c != 0 {
			if o.down {
				return -c
			}
			return c
		}
	}
	return 0
}

// list is an ordered window of records: what is skipped and what is shown.
type list[T any] struct {
	q      *query
	get    func(T, string) any
	items  []T
	total  int // that passed the filter
	sorted bool
}

// add takes a record that passed the filter. With an order only the best that can
// be shown are kept; without one the first.
func (l *list[T]) add(x T) {
	l.total++
	most := l.q.skip + l.q.top
	if len(l.q.orderBy) == 0 {
		if l.total > l.q.skip && len(l.items) < l.q.top {
			l.items = append(l.items, x)
		}
		return
	}
	l.items = append(l.items, x)
	if len(l.items) > 2*most+1000 {
		l.sort()
		l.items = slices.Clip(l.items[:most])
	}
}

func (l *list[T]) sort() {
	slices.SortStableFunc(l.items, func(a, b T) int {
		return l.q.less(func(p string) any { return l.get(a, p) }, func(p string) any { return l.get(b, p) })
	})
}

// page is what is shown.
func (l *list[T]) page() []T {
	if len(l.q.orderBy) == 0 {
		return l.items
	}
	l.sort()
	from := min(l.q.skip, len(l.items))
	return l.items[from:min(from+l.q.top, len(l.items))]
}

// object is JSON with its properties in order.
type object []property

type property struct {
	name  string
	value any
}

// MarshalJSON implements json.Marshaler.
func (o object) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, p := range o {
		if i > 0 {
			b = append(b, ',')
		}
		name, err := json.Marshal(p.name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(p.value)
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, name...), ':'), value...)
	}
	return append(b, '}'), nil
}

// nextLink is where the rest of a list is, "" if there is none.
func nextLink(c *provider.Call, q *query, shown, total int) string {
	if shown == 0 || q.skip+shown >= total {
		return ""
	}
	return c.NextLink(strconv.Itoa(q.skip + shown))
}
