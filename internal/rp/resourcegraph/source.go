package resourcegraph

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/kql"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// source gives the rows of one query.
type source struct {
	*graph
	ctx    context.Context
	call   *provider.Call
	scopes *scopes
	may    *rights
}

// Scan implements kql.Source.
func (s *source) Scan(t *kql.Table, want kql.Want, f func(*kql.Record) error) error {
	if err := s.documents(t, want, f); err != nil || t != tablePolicy {
		return err
	}
	return s.states(want, f)
}

// documents are the table's rows that lie in the store.
func (s *source) documents(t *kql.Table, want kql.Want, f func(*kql.Record) error) error {
	return s.call.Runtime.Store.View(s.ctx, func(tx store.ReadTx) error {
		queries, err := s.queries(tx, t, want.Filter)
		if err != nil || len(queries) == 0 {
			return err
		}
		p := startReading(s.ctx, tx, queries, want)
		defer p.stop()
		r := newReading(s, t, tx)
		for b := range p.full {
			for i := range b.rows {
				if rec, ok := r.record(b, i); ok {
					if err := f(rec); err != nil {
						return err
					}
				}
			}
			p.free <- b
		}
		return p.err
	})
}

// prefixes is how many subscriptions are read by themselves; more are read all
// together, and told apart row by row.
const prefixes = 16

// queries are what is read: for each type that is in the table, and may be in the
// answer, the smallest ranges of keys that the conditions leave.
func (s *source) queries(tx store.ReadTx, t *kql.Table, filter kql.Filter) ([]store.Query, error) {
	types, err := store.Types(tx)
	if err != nil {
		return nil, err
	}
	wanted, restricted := filter.Values("type")
	var out []store.Query
	for _, typ := range types {
		if restricted && !slices.ContainsFunc(wanted, func(w string) bool { return strings.EqualFold(w, shownType(typ)) }) {
			continue
		}
		if holds(t, s.call, typ, "somewhere") || holds(t, s.call, typ, "") {
			out = append(out, s.ranges(t, typ, filter)...)
		}
	}
	return out, nil
}

func (s *source) ranges(t *kql.Table, typ arm.Type, filter kql.Filter) (out []store.Query) {
	q := store.Query{Type: typ}
	if ls, ok := filter.Values("location"); ok && len(ls) == 1 {
		q.Location = arm.NormalLocation(ls[0])
	}
	if names, ok := filter.Values("name"); ok && len(names) == 1 && t != tableContainers && names[0] != "" && !strings.Contains(names[0], "/") {
		q.Name = names[0]
	}
	if ids, ok := filter.Values("id"); ok && len(ids) <= prefixes {
		for _, id := range ids {
			q.Prefix = id
			out = append(out, q)
		}
		return out
	}
	for _, p := range s.prefixes(t, filter) {
		q.Prefix = p
		out = append(out, q)
	}
	return out
}

// prefixes are the beginnings of the keys that are looked at.
func (s *source) prefixes(t *kql.Table, filter kql.Filter) (out []string) {
	subs := s.scopes.list
	if ids, ok := filter.Values("subscriptionId"); ok && !everywhere(t) {
		subs = slices.DeleteFunc(slices.Clone(subs), func(sub string) bool {
			return !slices.ContainsFunc(ids, func(id string) bool { return strings.EqualFold(id, sub) })
		})
	}
	if everywhere(t) || len(subs) > prefixes {
		return []string{""}
	}
	groups, ok := filter.Values("resourceGroup")
	for _, sub := range subs {
		if !ok || len(groups) > prefixes || slices.Contains(groups, "") {
			out = append(out, arm.SubscriptionID(sub).Key()+"/")
			continue
		}
		for _, g := range groups {
			out = append(out, arm.ResourceGroupID(sub, g).Key()+"/")
		}
	}
	return out
}

// reading makes records of what was read.
type reading struct {
	source *source
	table  *kql.Table
	tx     store.ReadTx
	rec    kql.Record
	key    []byte
	// What repeats from row to row, with what was made of it.
	typ            arm.Type
	shown          string
	held           map[bool]bool // whether the table has the type, with and without a location
	sub, group     string
	lowGroup       string
	subID, groupID []byte
}

func newReading(s *source, t *kql.Table, tx store.ReadTx) *reading {
	r := &reading{source: s, table: t, tx: tx}
	r.rec.Text = make([]string, texts)
	r.rec.Text[textTenant] = s.TenantID
	return r
}

// record is a row as a record, if it is one that the caller gets.
func (r *reading) record(b *batch, i int) (*kql.Record, bool) {
	row := &b.rows[i]
	id := b.bytes(row.id)
	r.place(id, row.typ)
	s := r.source
	if r.sub != "" && !s.scopes.all && !s.scopes.has[strings.ToLower(r.sub)] || !r.held[row.location != ""] || !r.mine(id) {
		return nil, false
	}
	text := r.rec.Text
	text[textID], text[textName], text[textType] = shared(id), shared(id[bytes.LastIndexByte(id, '/')+1:]), r.shown
	text[textLocation], text[textGroup], text[textSubscription], text[textTags] = row.location, r.lowGroup, r.sub, shared(b.bytes(row.tags))
	r.rec.Body, r.rec.Fetch = nil, nil
	switch {
	case r.table == tableContainers:
		return &r.rec, r.container(id, row.typ)
	case row.body.to > row.body.from:
		r.rec.Body = b.bytes(row.body)
	default:
		r.rec.Fetch = func() ([]byte, error) { return r.fetch(id) }
	}
	return &r.rec, true
}

// mine reports whether the caller may read the resource. What is built in, every
// tenant's users may.
func (r *reading) mine(id []byte) bool {
	if _, builtIn := segment(id, "/providers/Microsoft.Authorization/"); builtIn != nil && r.table == tablePolicy {
		return len(r.source.scopes.list) > 0
	}
	return r.source.may.read(r.typ, r.sub, r.group, string(id))
}

// place finds subscription and group of an id.
func (r *reading) place(id []byte, typ arm.Type) {
	if typ != r.typ {
		r.typ, r.shown = typ, shownType(typ)
		r.held = map[bool]bool{true: holds(r.table, r.source.call, typ, "somewhere"), false: holds(r.table, r.source.call, typ, "")}
	}
	sub, rest := segment(id, "/subscriptions/")
	group, _ := segment(rest, "/resourcegroups/")
	if !bytes.Equal(sub, r.subID) {
		r.subID, r.sub = append(r.subID[:0], sub...), string(sub)
	}
	if !bytes.Equal(group, r.groupID) {
		r.groupID, r.group = append(r.groupID[:0], group...), string(group)
		r.lowGroup = strings.ToLower(r.group)
	}
}

// segment is the part of a path behind a known beginning, and what follows.
func segment(path []byte, name string) (value, rest []byte) {
	if len(path) < len(name) || !bytes.EqualFold(path[:len(name)], []byte(name)) {
		return nil, nil
	}
	value = path[len(name):]
	if i := bytes.IndexByte(value, '/'); i >= 0 {
		return value[:i], value[i:]
	}
	return value, nil
}

// fetch reads one body; a resource that is gone in between has none.
func (r *reading) fetch(id []byte) ([]byte, error) {
	d, err := r.tx.Get(string(id))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading a resource for a query: %w", err)
	}
	return d.Body, nil
}

// shared is b as a text in the same memory, for as long as a record lives.
func shared(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
