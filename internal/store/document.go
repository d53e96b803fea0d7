package store

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Clone is a deep copy.
func (d *Document) Clone() *Document {
	c := *d
	c.Tags = maps.Clone(d.Tags)
	c.Body = bytes.Clone(d.Body)
	c.Private = bytes.Clone(d.Private)
	c.Operations = slices.Clone(d.Operations)
	return &c
}

// ETagOf is the etag of a document at a revision: revisions are unique in a store,
// so nothing else needs to go in.
func ETagOf(revision int64) string { return fmt.Sprintf(`"%08x"`, revision) }

// Stamp sets what Put derives: key, revision and etag. For implementations.
func (d *Document) Stamp(revision int64) {
	d.Key, d.Revision, d.ETag = strings.ToLower(d.ID), revision, ETagOf(revision)
}

// Normal is the query with its fields in the case that keys have, so that
// implementations compare bytes.
func (q Query) Normal() Query {
	q.SubscriptionID, q.ResourceGroup = strings.ToLower(q.SubscriptionID), strings.ToLower(q.ResourceGroup)
	q.Location, q.Prefix, q.Name = strings.ToLower(q.Location), strings.ToLower(q.Prefix), strings.ToLower(q.Name)
	q.After, q.Before = strings.ToLower(q.After), strings.ToLower(q.Before)
	return q
}

// Matches reports whether the document is selected by a Normal query, After and
// Limit aside.
func (q Query) Matches(d *Document) bool {
	return strings.HasPrefix(d.Key, q.Prefix) &&
		(q.Before == "" || d.Key < q.Before) &&
		(q.Name == "" || strings.HasSuffix(d.Key, "/"+q.Name)) &&
		(q.Type == "" || q.Type.Equal(d.Type)) &&
		(q.SubscriptionID == "" || strings.EqualFold(q.SubscriptionID, d.SubscriptionID)) &&
		(q.ResourceGroup == "" || strings.EqualFold(q.ResourceGroup, d.ResourceGroup)) &&
		(q.Location == "" || strings.EqualFold(q.Location, d.Location))
}
