package provider

import (
	"net/url"
	"strconv"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
)

// Page answers a part of a list that a Route has computed as a whole: $top items from
// $skiptoken on, and where the rest is.
func Page[T any](c *Call, all []T) (*Response, error) {
	top, err := c.number("$top", largestPage)
	if err != nil {
		return nil, err
	}
	from, err := c.number("$skiptoken", 0)
	if err != nil {
		return nil, err
	}
	from = min(from, len(all))
	to := min(from+min(max(top, 1), largestPage), len(all))
	answer := map[string]any{"value": append([]T{}, all[from:to]...)}
	if to < len(all) {
		answer["nextLink"] = c.NextLink(strconv.Itoa(to))
	}
	return JSON(200, answer)
}

// Option is a query parameter of the request, whatever the case of its name; "" without.
func (c *Call) Option(name string) string {
	for k, v := range c.Request.Query {
		if strings.EqualFold(k, name) && len(v) > 0 {
			return v[0]
		}
	}
	return ""
}

func (c *Call) number(name string, unless int) (int, error) {
	text := c.Option(name)
	if text == "" {
		return unless, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, arm.BadRequest(arm.CodeInvalidParameter, name, "%s is %q; it must be a number from 0.", name, clip(text))
	}
	return n, nil
}

// NextLink is the request again, with a $skiptoken that says where to go on.
func (c *Call) NextLink(token string) string {
	q := url.Values{}
	for k, v := range c.Request.Query {
		if !strings.EqualFold(k, "$skiptoken") {
			q[k] = v
		}
	}
	q.Set("$skiptoken", token)
	return c.Request.BaseURL + (&url.URL{Path: c.Request.Path, RawQuery: q.Encode()}).String()
}
