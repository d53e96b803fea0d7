package graph

import (
	"regexp"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
)

// filter is a $filter: conditions joined by "and".
type filter []condition

// condition compares one property: as a whole, by its beginning, or, for lists, any
// of the elements.
type condition struct {
	property string // lower case
	prefix   bool
	value    string // lower case
}

var (
	equals = regexp.MustCompile(`(?i)^([a-z]+)\s+eq\s+'((?:[^']|'')*)'$`)
	starts = regexp.MustCompile(`(?i)^startswith\(\s*([a-z]+)\s*,\s*'((?:[^']|'')*)'\s*\)$`)
	anyOf  = regexp.MustCompile(`(?i)^([a-z]+)/any\(\s*([a-z]+)\s*:\s*([a-z]+)\s+eq\s+'((?:[^']|'')*)'\s*\)$`)
	truth  = regexp.MustCompile(`(?i)^([a-z]+)\s+eq\s+(true|false)$`)
)

func parseFilter(text string) (filter, error) {
	var f filter
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	for _, part := range arm.SplitAnd(text) {
		c, ok := parseCondition(strings.TrimSpace(part))
		if !ok {
			return nil, failure(400, "Request_UnsupportedQuery", "The filter '%s' is not supported here. Use eq, startswith() and any(x:x eq '…'), joined by 'and'.", clip(part))
		}
		f = append(f, c)
	}
	return f, nil
}

func parseCondition(part string) (condition, bool) {
	compare := func(property, value string, prefix bool) (condition, bool) {
		return condition{strings.ToLower(property), prefix, strings.ToLower(strings.ReplaceAll(value, "''", "'"))}, true
	}
	if m := equals.FindStringSubmatch(part); m != nil {
		return compare(m[1], m[2], false)
	}
	if m := truth.FindStringSubmatch(part); m != nil {
		return compare(m[1], m[2], false)
	}
	if m := starts.FindStringSubmatch(part); m != nil {
		return compare(m[1], m[2], true)
	}
	if m := anyOf.FindStringSubmatch(part); m != nil && strings.EqualFold(m[2], m[3]) {
		return compare(m[1], m[4], false)
	}
	return condition{}, false
}

func (f filter) matches(o object) bool {
	for _, c := range f {
		if !c.matches(o) {
			return false
		}
	}
	return true
}

func (c condition) matches(o object) bool {
	for name, v := range o {
		if strings.EqualFold(name, c.property) {
			return c.fits(v)
		}
	}
	return false
}

func (c condition) fits(v any) bool {
	switch v := v.(type) {
	case string:
		v = strings.ToLower(v)
		return v == c.value || c.prefix && strings.HasPrefix(v, c.value)
	case bool:
		return c.value == map[bool]string{true: "true", false: "false"}[v]
	case []string:
		for _, one := range v {
			if c.fits(one) {
				return true
			}
		}
	}
	return false
}
