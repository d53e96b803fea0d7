package resources

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

const tagsPattern = "{scope...}/providers/Microsoft.Resources/tags/default"

// tagRoutes serve the tags of any resource as a resource of their own. They
// change the resource itself through the pipeline, as the caller, so that its own
// rules and permissions apply.
func tagRoutes() []provider.Route {
	route := func(method, verb string, h func(context.Context, *provider.Call) (*provider.Response, error)) provider.Route {
		return provider.Route{Method: method, Pattern: tagsPattern, Permission: "Microsoft.Resources/tags/" + verb, Handle: h,
			Type: "Microsoft.Resources/tags", APIVersions: versions}
	}
	first := route("GET", "read", getTags)
	rest := []provider.Route{route("PUT", "write", putTags), route("PATCH", "write", patchTags), route("DELETE", "delete", deleteTags)}
	for i := range rest {
		rest[i].Type = "" // one entry in the providers listing
	}
	return append(rest, first)
}

type tagsBody struct {
	Operation  string
	Properties struct{ Tags map[string]string }
}

func getTags(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	tags, err := currentTags(ctx, c)
	if err != nil {
		return nil, err
	}
	return tagsResponse(c.Scope, tags)
}

func putTags(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	b, err := readTags(c)
	if err != nil {
		return nil, err
	}
	return setTags(ctx, c, func(map[string]string) map[string]string { return b.Properties.Tags })
}

func patchTags(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	b, err := readTags(c)
	if err != nil {
		return nil, err
	}
	switch strings.ToLower(b.Operation) {
	case "replace":
		return setTags(ctx, c, func(map[string]string) map[string]string { return b.Properties.Tags })
	case "merge":
		return setTags(ctx, c, func(old map[string]string) map[string]string {
			return without(old, b.Properties.Tags, b.Properties.Tags)
		})
	case "delete":
		return setTags(ctx, c, func(old map[string]string) map[string]string {
			return without(old, matching(old, b.Properties.Tags), nil)
		})
	}
	return nil, arm.BadRequest(arm.CodeInvalidParameter, "operation", "operation is '%s'; it must be Replace, Merge or Delete.", b.Operation)
}

func deleteTags(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	_, err := setTags(ctx, c, func(map[string]string) map[string]string { return nil })
	return &provider.Response{Status: 200}, err
}

func readTags(c *provider.Call) (b tagsBody, err error) {
	if err := json.Unmarshal(c.Request.Body, &b); err != nil {
		return b, arm.BadRequest(arm.CodeInvalidRequestContent, "properties.tags", "The body must be {\"properties\":{\"tags\":{…}}} with string values.").Because(err)
	}
	return b, nil
}

// currentTags reads what is stored: who may read or write tags need not be allowed to
// read the resource.
func currentTags(ctx context.Context, c *provider.Call) (map[string]string, error) {
	d, err := store.Get(ctx, c.Runtime.Store, c.Scope.Key())
	if errors.Is(err, store.ErrNotFound) {
		return nil, arm.NotFound(c.Scope)
	}
	if err != nil {
		return nil, err
	}
	return d.Tags, nil
}

// matching are the tags that a Delete names: by name, and by value where one is given.
func matching(old, named map[string]string) map[string]string {
	found := map[string]string{}
	for n, v := range old {
		for name, value := range named {
			if strings.EqualFold(n, name) && (value == "" || value == v) {
				found[n] = v
			}
		}
	}
	return found
}

// without is old less the names in drop (in any case), plus add.
func without(old, drop, add map[string]string) map[string]string {
	next := map[string]string{}
	for n, v := range old {
		if !hasName(drop, n) {
			next[n] = v
		}
	}
	maps.Copy(next, add)
	return next
}

func hasName(tags map[string]string, name string) bool {
	for n := range tags {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// setTags patches the resource: names that go are null in a merge patch.
func setTags(ctx context.Context, c *provider.Call, change func(old map[string]string) map[string]string) (*provider.Response, error) {
	old, err := currentTags(ctx, c)
	if err != nil {
		return nil, err
	}
	next := change(old)
	patch := map[string]any{}
	for n := range old {
		if !hasName(next, n) {
			patch[n] = nil
		}
	}
	for n, v := range next {
		patch[n] = v
	}
	if err := c.Retag(ctx, c.Scope, patch); err != nil {
		return nil, err
	}
	return tagsResponse(c.Scope, next)
}

func tagsResponse(scope arm.ID, tags map[string]string) (*provider.Response, error) {
	if tags == nil {
		tags = map[string]string{}
	}
	return provider.JSON(200, map[string]any{"id": scope.Resource("Microsoft.Resources/tags", "default").String(), "name": "default",
		"type": "Microsoft.Resources/tags", "properties": map[string]any{"tags": tags}})
}
