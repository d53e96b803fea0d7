package roles

import (
	"regexp"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
)

// filter is a $filter of the two lists: conditions joined by "and".
type filter struct {
	atScope, andBelow bool              // atScope(), atScopeAndBelow()
	assignedTo        string            // assignedTo('id'): also through groups
	equals            map[string]string // property in lower case → value
}

var (
	comparison = regexp.MustCompile(`(?i)^([a-z]+)\s+eq\s+'((?:[^']|'')*)'$`)
	assigned   = regexp.MustCompile(`(?i)^assignedTo\(\s*'([^']+)'\s*\)$`)
)

// parseFilter reads a filter in which the properties may be compared.
func parseFilter(text string, properties ...string) (filter, error) {
	f := filter{equals: map[string]string{}}
	if strings.TrimSpace(text) == "" {
		return f, nil
	}
	for _, part := range arm.SplitAnd(text) {
		if !f.add(strings.TrimSpace(part), properties) {
			return f, arm.BadRequest("InvalidFilterInQueryString", "$filter",
				"The filter '%s' is not supported here. Use atScope(), %s eq '…', joined by 'and'.", clip(part), strings.Join(properties, " eq '…', "))
		}
	}
	return f, nil
}

func (f *filter) add(part string, properties []string) bool {
	switch strings.ToLower(strings.ReplaceAll(part, " ", "")) {
	case "atscope()":
		f.atScope = true
		return true
	case "atscopeandbelow()":
		f.andBelow = true
		return true
	}
	if m := assigned.FindStringSubmatch(part); m != nil {
		f.assignedTo = m[1]
		return true
	}
	m := comparison.FindStringSubmatch(part)
	if m == nil {
		return false
	}
	for _, p := range properties {
		if strings.EqualFold(p, m[1]) {
			f.equals[strings.ToLower(p)] = strings.ReplaceAll(m[2], "''", "'")
			return true
		}
	}
	return false
}
