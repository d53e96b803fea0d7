package managementgroups

import (
	"net/url"
	"strconv"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
)

// largestPage is how many items a page has unless $top says less.
const largestPage = 1000

// page answers a part of a list: $top items from $skiptoken on.
func page[T any](c *provider.Call, all []T) (*provider.Response, error) {
	top, err := number(c, "$top", largestPage)
	if err != nil {
		return nil, err
	}
	from, err := number(c, "$skiptoken", 0)
	if err != nil {
		return nil, err
	}
	from = min(from, len(all))
	to := min(from+min(max(top, 1), largestPage), len(all))
	answer := map[string]any{"value": all[from:to], "count": to - from}
	if to < len(all) {
		answer["nextLink"] = next(c, to)
	}
	return provider.JSON(200, answer)
}

// option is a query parameter, whatever the case of its name.
func option(c *provider.Call, name string) string {
	for k, v := range c.Request.Query {
		if strings.EqualFold(k, name) && len(v) > 0 {
			return v[0]
		}
	}
	return ""
}

func number(c *provider.Call, name string, unless int) (int, error) {
	text := option(c, name)
	if text == "" {
		return unless, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, arm.BadRequest(arm.CodeInvalidParameter, name, "%s is %.64q; it must be a number from 0.", name, text)
	}
	return n, nil
}

func next(c *provider.Call, from int) string {
	q := url.Values{}
	for k, v := range c.Request.Query {
		if !strings.EqualFold(k, "$skiptoken") {
			q[k] = v
		}
	}
	q.Set("$skiptoken", strconv.Itoa(from))
	return c.Request.BaseURL + (&url.URL{Path: c.Request.Path, RawQuery: q.Encode()}).String()
}
