package provider

import (
	"regexp"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
)

// filter is a $filter as ARM's lists have it: comparisons joined by "and".
type filter struct {
	equals   map[string]string // property in lower case → value
	differs  map[string]string
	contains map[string]string // substringof('x', name)
}

var (
	comparison  = regexp.MustCompile(`(?i)^\(?\s*([a-z]+)\s+(eq|ne)\s+'((?:[^']|'')*)'\s*\)?$`)
	substringOf = regexp.MustCompile(`(?i)^substringof\(\s*'((?:[^']|'')*)'\s*,\s*(name|resourceGroup)\s*\)$`)
	filterable  = map[string]bool{"resourcetype": true, "resourcegroup": true, "name": true, "location": true, "tagname": true, "tagvalue": true}
)

func parseFilter(text string) (filter, error) {
	f := filter{equals: map[string]string{}, differs: map[string]string{}, contains: map[string]string{}}
	if strings.TrimSpace(text) == "" {
		return f, nil
	}
	for _, part := range splitAnd(text) {
		if !f.add(strings.TrimSpace(part)) {
			return f, arm.BadRequest("InvalidFilterInQueryString", "$filter",
				"The filter '%s' is not supported. Use eq or ne on resourceType, resourceGroup, name, location, tagName, tagValue, substringof('text', name), joined by 'and'.", clip(part))
		}
	}
	return f, nil
}

// splitAnd splits at "and" outside quotes.
func splitAnd(text string) []string {
	var parts []string
	start, quoted := 0, false
	for i := 0; i < len(text); i++ {
		if text[i] == '\'' {
			quoted = !quoted
		}
		if !quoted && i+5 <= len(text) && strings.EqualFold(text[i:i+5], " and ") {
			parts = append(parts, text[start:i])
			start = i + 5
		}
	}
	return append(parts, text[start:])
}

func (f filter) add(part string) bool {
	if m := comparison.FindStringSubmatch(part); m != nil && filterable[strings.ToLower(m[1])] {
		into := f.equals
		if strings.EqualFold(m[2], "ne") {
			into = f.differs
		}
		into[strings.ToLower(m[1])] = strings.ReplaceAll(m[3], "''", "'")
		return true
	}
	if m := substringOf.FindStringSubmatch(part); m != nil {
		f.contains[strings.ToLower(m[2])] = strings.ToLower(strings.ReplaceAll(m[1], "''", "'"))
		return true
	}
	return false
}

func (f filter) matches(d *store.Document) bool {
	for property, want := range f.equals {
		if !is(d, property, want, f.equals) {
			return false
		}
	}
	for property, not := range f.differs {
		if is(d, property, not, f.equals) {
			return false
		}
	}
	for property, part := range f.contains {
		if !strings.Contains(strings.ToLower(propertyOf(d, property)), part) {
			return false
		}
	}
	return true
}

func is(d *store.Document, property, want string, equals map[string]string) bool {
	switch property {
	case "tagname":
		return hasTag(d, want, nil)
	case "tagvalue":
		return hasTag(d, equals["tagname"], &want)
	case "location":
		want = arm.NormalLocation(want)
	}
	return strings.EqualFold(propertyOf(d, property), want)
}

func propertyOf(d *store.Document, property string) string {
	switch property {
	case "resourcetype":
		return string(d.Type)
	case "resourcegroup":
		return d.ResourceGroup
	case "location":
		return d.Location
	}
	return d.ID[strings.LastIndexByte(d.ID, '/')+1:]
}

// hasTag: tag names do not differ by case, values do; an empty name is any tag.
func hasTag(d *store.Document, name string, value *string) bool {
	for n, v := range d.Tags {
		if (name == "" || strings.EqualFold(n, name)) && (value == nil || *value == v) {
			return true
		}
	}
	return false
}
