package image

import (
	"maps"
	"reflect"
	"slices"
)

// allowed reports fields that exist, but not for this type of source, step or
// distributor. Only fields that were written are looked at, not defaults.
func (c *checker) allowed(at, typeName string, value any, fields []string) {
	for _, name := range fieldNames(reflect.TypeOf(value)) {
		if _, written := c.places[at+"."+name]; written && !slices.Contains(fields, name) {
			c.fail(at+"."+name, "type "+typeName+" has no such field", suggest(name, fields))
		}
	}
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
