// Package insights is the part of the Microsoft.Insights provider that is served for
// real: the activity log. It tells what the audit events, the operations that ended
// and the policies' decisions say, in the shape that az and the portal read; it
// writes nothing.
//
// Requests that were refused are there as Failed, with the error's code: messages may
// quote what a client sent. cmd imports it; no other rp may.
package insights

import (
	"context"

	"hallmark.dev/hallmark/internal/provider"
)

// permission is what reading the log of a resource takes.
const permission = "Microsoft.Insights/eventtypes/values/Read"

var versions = []string{"2017-03-01-preview", "2015-04-01"}

// New is the provider.
func New(tenant string) provider.Provider {
	l := log{tenant: tenant}
	return provider.Provider{Routes: []provider.Route{
		{Pattern: "/subscriptions/{subscription}/providers/Microsoft.Insights/eventtypes/management/values", Permission: permission,
			Type: "Microsoft.Insights/eventtypes", APIVersions: versions, Filtered: true, Handle: l.list},
		{Pattern: "/providers/Microsoft.Insights/eventcategories", Permission: "Microsoft.Insights/eventCategories/read",
			Type: "Microsoft.Insights/eventCategories", APIVersions: versions, Filtered: true, Handle: categories},
	}}
}

func categories(context.Context, *provider.Call) (*provider.Response, error) {
	value := []localized{}
	for _, name := range []string{categoryAdministrative, categoryPolicy} {
		value = append(value, word(name))
	}
	return provider.JSON(200, map[string]any{"value": value})
}
