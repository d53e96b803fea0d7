package provider

import (
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
)

// A $filter as ARM's lists have it: comparisons of properties, substringof, startswith
// and atScope(), with and, or and parentheses. It is kept as alternatives (or) of
// conjunctions (and), because tagName and tagValue of one conjunction mean one tag.
type filter struct {
	any     []conjunction
	atScope bool // only what is at the scope that is listed, not below it
}

type conjunction []condition

// condition is one comparison. compare is eq, ne, contains or starts.
type condition struct {
	property string // in lower case
	compare  string
	value    string
}

// matches reports whether a document is to be shown; an empty filter shows all.
func (f filter) matches(d *store.Document) bool {
	for _, c := range f.any {
		if c.matches(d) {
			return true
		}
	}
	return len(f.any) == 0
}

// required is the value that a property must have in every match, or "".
func (f filter) required(property string) string {
	if len(f.any) != 1 {
		return ""
	}
	return f.any[0].value(property, "eq")
}

func (c conjunction) value(property, compare string) string {
	for _, one := range c {
		if one.property == property && one.compare == compare {
			return one.value
		}
	}
	return ""
}

func (c conjunction) matches(d *store.Document) bool {
	for _, one := range c {
		if !c.holds(one, d) {
			return false
		}
	}
	return true
}

func (c conjunction) holds(one condition, d *store.Document) bool {
	switch one.property {
	case "tagname":
		return hasTag(d, one.compare, one.value, nil) != (one.compare == "ne")
	case "tagvalue":
		return hasTag(d, "eq", c.value("tagname", "eq"), &one.value) != (one.compare == "ne")
	}
	have, want := strings.ToLower(propertyOf(d, one.property)), strings.ToLower(one.value)
	switch one.compare {
	case "contains":
		return strings.Contains(have, want)
	case "starts":
		return strings.HasPrefix(have, want)
	}
	if one.property == "location" {
		want = arm.NormalLocation(want)
	}
	return (have == want) != (one.compare == "ne")
}

func propertyOf(d *store.Document, property string) string {
	switch property {
	case "resourcetype":
		return string(d.Type)
	case "resourcegroup":
		return d.ResourceGroup
	case "location":
		return d.Location
	case "provisioningstate":
		return string(d.State())
	case "name":
		return d.ID[strings.LastIndexByte(d.ID, '/')+1:]
	}
	return arm.GetString(d.Body, strings.ReplaceAll(property, "/", "."))
}

// hasTag: tag names do not differ by case, values do; an empty name is any tag.
func hasTag(d *store.Document, compare, name string, value *string) bool {
	for n, v := range d.Tags {
		named := name == "" || strings.EqualFold(n, name)
		if compare == "starts" {
			named = strings.HasPrefix(strings.ToLower(n), strings.ToLower(name))
		}
		if named && (value == nil || *value == v) {
			return true
		}
	}
	return false
}
