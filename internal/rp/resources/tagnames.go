package resources

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// Predefined tag names and values, the older way to speak of tags: /subscriptions/S/
// tagNames/N/tagValues/V. They are kept as resources of these types, which
// only the routes here show.
const (
	typeTagName  arm.Type = "Microsoft.Resources/tagNames"
	typeTagValue arm.Type = "Microsoft.Resources/tagNames/tagValues"

	tagNamePermission = "Microsoft.Resources/subscriptions/tagNames"
)

// reservedPrefixes of predefined names are Azure's own.
var reservedPrefixes = []string{"microsoft", "azure", "windows"}

func tagNames() provider.ResourceType {
	return provider.ResourceType{Type: typeTagName, Scopes: provider.AtSubscription, APIVersions: versions, Permission: tagNamePermission,
		Hidden: true, NoState: true, NoPatch: true, Validate: validateTagName, CheckDelete: unusedTag}
}

func tagValues() provider.ResourceType {
	return provider.ResourceType{Type: typeTagValue, APIVersions: versions, Permission: tagNamePermission + "/tagValues",
		Hidden: true, NoState: true, NoPatch: true, Validate: validateTagValue, CheckDelete: unusedTag}
}

func validateTagName(w *provider.Write) []*arm.Error {
	for _, p := range reservedPrefixes {
		if strings.HasPrefix(strings.ToLower(w.ID.Name()), p) {
			return []*arm.Error{arm.BadRequest("InvalidTagName", w.ID.String(), "The tag name '%s' starts with '%s', which is reserved. Choose another name.", w.ID.Name(), p)}
		}
	}
	return nil
}

func validateTagValue(w *provider.Write) []*arm.Error {
	if n := len([]rune(w.ID.Name())); n > 256 {
		return []*arm.Error{arm.BadRequest("InvalidTagValueLength", w.ID.String(), "The tag value has %d characters; at most 256 are possible.", n)}
	}
	return nil
}

// unusedTag lets a predefined name or value go only when no resource has it.
func unusedTag(tx store.Tx, w *provider.Write) error {
	names := w.ID.Names()
	return store.Each(tx, store.Query{SubscriptionID: w.ID.Subscription()}, func(d *store.Document) error {
		for n, v := range d.Tags {
			if strings.EqualFold(n, names[0]) && (len(names) == 1 || names[1] == v) {
				return arm.Conflict("TagInUse", w.ID.String(), "The tag '%s' is in use by '%s'. Take it off there first.", strings.Join(names, "/"), d.ID)
			}
		}
		return nil
	})
}

func tagNameRoutes() []provider.Route {
	const (
		list  = "/subscriptions/{subscription}/tagNames"
		name  = list + "/{name}"
		value = name + "/tagValues/{value}"
	)
	return []provider.Route{
		{Pattern: list, Permission: tagNamePermission + "/read", Handle: listTagNames},
		{Method: "PUT", Pattern: name, Permission: tagNamePermission + "/write", Handle: putTagName},
		{Method: "DELETE", Pattern: name, Permission: tagNamePermission + "/delete", Handle: deleteTagName},
		{Method: "PUT", Pattern: value, Permission: tagNamePermission + "/tagValues/write", Handle: putTagName},
		{Method: "DELETE", Pattern: value, Permission: tagNamePermission + "/tagValues/delete", Handle: deleteTagName},
	}
}

// tagID is the resource that keeps the name or value of a route.
func tagID(c *provider.Call) arm.ID {
	id := c.Scope.Resource(typeTagName, c.Vars["name"])
	if v, ok := c.Vars["value"]; ok {
		return id.Child("tagValues", v)
	}
	return id
}

func putTagName(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	id := tagID(c)
	_, err := c.Client.Create(ctx, id, map[string]any{})
	status := http.StatusCreated
	if e := arm.AsError(err); err != nil && e.Status == http.StatusPreconditionFailed {
		status, err = http.StatusOK, nil
	}
	if err != nil {
		return nil, err
	}
	tags, err := countTags(ctx, c)
	if err != nil {
		return nil, err
	}
	tag := tags[strings.ToLower(c.Vars["name"])]
	if v, ok := c.Vars["value"]; ok {
		return provider.JSON(status, tag.value(c.Scope, v))
	}
	return provider.JSON(status, tag.view(c.Scope))
}

func deleteTagName(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	id := tagID(c)
	if _, err := store.Get(ctx, c.Runtime.Store, id.Key()); err != nil {
		return &provider.Response{Status: http.StatusNoContent}, nil
	}
	return &provider.Response{Status: http.StatusOK}, c.Client.Delete(ctx, id)
}

func listTagNames(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	tags, err := countTags(ctx, c)
	if err != nil {
		return nil, err
	}
	views := []tagView{}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		views = append(views, tags[key].view(c.Scope))
	}
	return provider.JSON(200, map[string]any{"value": views})
}

// tagCount is one name: on how many resources, and with which values on how many.
type tagCount struct {
	name   string
	total  int
	values map[string]int
}

type tagView struct {
	ID     string         `json:"id"`
	Name   string         `json:"tagName"`
	Count  tagTotal       `json:"count"`
	Values []tagValueView `json:"values"`
}

type tagValueView struct {
	ID    string   `json:"id"`
	Value string   `json:"tagValue"`
	Count tagTotal `json:"count"`
}

type tagTotal struct {
	Type  string `json:"type"`
	Value int    `json:"value"`
}

func (t *tagCount) view(scope arm.ID) tagView {
	v := tagView{ID: scope.String() + "/tagNames/" + t.name, Name: t.name, Count: tagTotal{"Total", t.total}, Values: []tagValueView{}}
	for _, value := range slices.Sorted(maps.Keys(t.values)) {
		v.Values = append(v.Values, t.value(scope, value))
	}
	return v
}

func (t *tagCount) value(scope arm.ID, value string) tagValueView {
	return tagValueView{ID: scope.String() + "/tagNames/" + t.name + "/tagValues/" + value, Value: value, Count: tagTotal{"Total", t.values[value]}}
}

// countTags are the names that are predefined or in use in the subscription, by name
// in lower case.
func countTags(ctx context.Context, c *provider.Call) (map[string]*tagCount, error) {
	tags := map[string]*tagCount{}
	at := func(name string) *tagCount {
		key := strings.ToLower(name)
		if tags[key] == nil {
			tags[key] = &tagCount{name: name, values: map[string]int{}}
		}
		return tags[key]
	}
	count := func(d *store.Document) error {
		switch {
		case d.Type.Equal(typeTagName):
			at(d.ARMID().Name())
		case d.Type.Equal(typeTagValue):
			names := d.ARMID().Names()
			at(names[0]).values[names[1]] += 0
		}
		for n, v := range d.Tags {
			t := at(n)
			t.total++
			t.values[v]++
		}
		return nil
	}
	err := c.Runtime.Store.View(ctx, func(tx store.ReadTx) error {
		clear(tags)
		if err := store.Each(tx, store.Query{SubscriptionID: c.Scope.Subscription()}, count); err != nil {
			return err
		}
		return nil
	})
	return tags, err
}
