package provider

import (
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
)

// always are body paths that no client writes, whatever the type.
var always = []string{"id", "name", "type", "systemData", "etag", "properties.provisioningState"}

// decodeBody is the request's body as checked JSON; nil if it is empty.
func (c *call) decodeBody(t *ResourceType) (json.RawMessage, error) {
	body := c.Body
	if t.Decode != nil && len(body) > 0 {
		var err error
		if body, err = t.Decode(body); err != nil {
			return nil, err
		}
	}
	if len(body) == 0 {
		return nil, nil
	}
	return body, arm.CheckJSON(body)
}

// decodeObject also demands an object.
func (c *call) decodeObject(t *ResourceType) (json.RawMessage, error) {
	raw, err := c.decodeBody(t)
	if err != nil {
		return nil, err
	}
	if len(raw) == 0 && t.NoBody {
		return json.RawMessage("{}"), nil
	}
	if len(raw) == 0 {
		return nil, arm.BadRequest(arm.CodeInvalidRequestContent, "body", "The request has no body; a %s needs a JSON object.", c.Method)
	}
	if err := arm.EachMember(raw, func(string, json.RawMessage) {}); err != nil {
		return nil, arm.BadRequest(arm.CodeInvalidRequestContent, "body", "The request body must be a JSON object.").Because(err)
	}
	return raw, nil
}

// draft makes the document that a PUT or PATCH asks for. What only the server writes
// comes from old, whatever the client sent. The errors are the client's.
func (c *call) draft(t *ResourceType, id arm.ID, old *store.Document, request json.RawMessage) (*store.Document, []*arm.Error, error) {
	doc := &store.Document{ID: id.String(), Type: t.Type, SubscriptionID: id.Subscription(), ResourceGroup: id.ResourceGroup()}
	if old != nil {
		doc = old.Clone()
	}
	for _, path := range append(always, t.ReadOnly...) {
		request = arm.Remove(request, path)
	}
	body := request
	var err error
	if old != nil {
		if c.Method == "PATCH" {
			if body, err = arm.Merge(old.Body, request); err != nil {
				return nil, nil, err
			}
		}
		if body, err = keep(body, old.Body, append([]string{"properties.provisioningState"}, t.ReadOnly...)); err != nil {
			return nil, nil, err
		}
	}
	doc.Body = body
	var errs []*arm.Error
	errs = append(errs, c.location(t, doc, old)...)
	errs = append(errs, readTags(t, doc)...)
	if p, ok := arm.Get(doc.Body, "properties"); ok && (len(p) == 0 || p[0] != '{') {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidRequestContent, "properties", "properties must be an object."))
	}
	return doc, errs, nil
}

// keep copies paths from the stored body.
func keep(body, stored json.RawMessage, paths []string) (json.RawMessage, error) {
	for _, path := range paths {
		body = arm.Remove(body, path)
		v, ok := arm.Get(stored, path)
		if !ok {
			continue
		}
		if p, bad := arm.Get(body, "properties"); bad && p[0] != '{' {
			return body, nil // reported as a client's error
		}
		var err error
		if body, err = arm.Set(body, path, v); err != nil {
			return nil, err
		}
	}
	return body, nil
}

// arrange puts what clients look for first and writes the id as the server spells it.
func arrange(t *ResourceType, doc *store.Document) (err error) {
	doc.Key = strings.ToLower(doc.ID)
	for path, v := range map[string]string{"id": doc.ID, "name": doc.ARMID().Name(), "type": string(t.Type)} {
		if doc.Body, err = arm.Set(doc.Body, path, v); err != nil {
			return err
		}
	}
	doc.Body, err = arm.Arrange(doc.Body, "id", "name", "type", "location", "tags", "properties")
	return err
}

func (c *call) location(t *ResourceType, doc, old *store.Document) []*arm.Error {
	if t.Location == LocationNone {
		return nil
	}
	l := arm.NormalLocation(arm.GetString(doc.Body, "location"))
	switch {
	case l == "" && old != nil:
		l = old.Location // left out on update
	case l == "" && t.Location == LocationRequired:
		return []*arm.Error{arm.BadRequest(arm.CodeLocationRequired, "location", "The location property is required for this definition.")}
	case old != nil && old.Location != "" && l != old.Location:
		return []*arm.Error{{Status: 409, Code: "InvalidResourceLocation", Target: "location", Message: "The resource '" + doc.ARMID().Name() +
			"' already exists in location '" + old.Location + "'. A resource with the same name cannot be created in location '" + l + "'. Please select a new resource name."}}
	}
	doc.Location = l
	if l == "" {
		return nil
	}
	if body, err := arm.Set(doc.Body, "location", l); err == nil {
		doc.Body = body
	}
	return c.known(t, l)
}

func (c *call) known(t *ResourceType, location string) []*arm.Error {
	if len(c.p.cfg.Locations) == 0 || location == "global" {
		return nil
	}
	for _, k := range c.p.cfg.Locations {
		if arm.NormalLocation(k) == location {
			return nil
		}
	}
	if t.Type.Equal(arm.TypeResourceGroup) {
		return []*arm.Error{arm.BadRequest("LocationNotAvailableForResourceGroup", "location",
			"The provided location '%s' is not available for resource group. List of available regions is '%s'.", clip(location), strings.Join(c.p.cfg.Locations, ","))}
	}
	return []*arm.Error{arm.BadRequest(arm.CodeLocationNotAvailable, "location",
		"The provided location '%s' is not available for resource type '%s'. List of available regions for the resource type is '%s'.",
		clip(location), t.Type, strings.Join(c.p.cfg.Locations, ","))}
}

// Azure's limits on tags.
const (
	maxTags     = 50
	maxTagName  = 512
	maxTagValue = 256
)

// reservedInTags are characters that tag names cannot have.
const reservedInTags = `<>%&\?/`

// readTags fills doc.Tags; a null value counts as an empty one.
func readTags(t *ResourceType, doc *store.Document) (errs []*arm.Error) {
	doc.Tags = nil
	raw, ok := arm.Get(doc.Body, "tags")
	if !ok || !t.Tags {
		return nil
	}
	tags := map[string]string{}
	err := arm.EachMember(raw, func(name string, value json.RawMessage) {
		var v string
		if err := json.Unmarshal(value, &v); err != nil {
			errs = append(errs, arm.BadRequest("InvalidTagValue", "tags."+clip(name), "The value of the tag '%s' must be a string.", clip(name)))
		}
		if e := checkTag(name, v); e != nil {
			errs = append(errs, e)
		}
		tags[name] = v
	})
	if err != nil {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidRequestContent, "tags", "tags must be an object of names and string values."))
	}
	if len(tags) > maxTags {
		errs = append(errs, arm.BadRequest("TagsLimitExceeded", "tags", "The resource has %d tags; at most %d are possible.", len(tags), maxTags))
	}
	if len(tags) > 0 {
		doc.Tags = tags
	}
	return errs
}

func checkTag(name, value string) *arm.Error {
	at := "tags." + clip(name)
	n, v := utf8.RuneCountInString(name), utf8.RuneCountInString(value)
	switch {
	case n == 0 || n > maxTagName:
		return arm.BadRequest("InvalidTagNameLength", at, "The tag name '%s' has %d characters; names have 1 to %d.", clip(name), n, maxTagName)
	case v > maxTagValue:
		return arm.BadRequest("InvalidTagValueLength", at, "The value of the tag '%s' has %d characters; at most %d are possible.", clip(name), v, maxTagValue)
	case strings.ContainsAny(name, reservedInTags) && !strings.HasPrefix(strings.ToLower(name), "hidden-"), // services link resources by hidden-… tags with ids
		strings.IndexFunc(name, unicode.IsControl) >= 0:
		return arm.BadRequest("InvalidTagNameCharacters", at, "The tag names '%s' have reserved characters '<,>,%%,&,\\,?,/' or control characters.", clip(name))
	}
	return nil
}
