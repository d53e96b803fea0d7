package assignment

import (
	"strings"

	"hallmark.dev/hallmark/internal/store"
)

// Hypothetical is a set of one assignment that nobody has made, as it would be if it
// and some definitions were stored: what-if asks it what an assigned one would answer.
// What is wrong with the assignment is in its Problem; the error is the store's. It
// stores nothing.
func (x *Index) Hypothetical(tx store.ReadTx, assignment *store.Document, definitions []*store.Document) (*Set, error) {
	set := newSet()
	var err error
	if set.Hierarchy, err = ReadHierarchy(tx); err != nil {
		return nil, err
	}
	r := &reading{compiler: newCompiler(x.aliases), tx: supposed{tx, byKey(definitions)}, shape: set.Hierarchy.shape()}
	a, err := r.assignment(assignment)
	if err != nil {
		return nil, err
	}
	set.put(a)
	return set, nil
}

func byKey(docs []*store.Document) map[string]*store.Document {
	m := map[string]*store.Document{}
	for _, d := range docs {
		m[strings.ToLower(d.ID)] = d
	}
	return m
}

// supposed is a state in which some definitions are different, or there at all.
type supposed struct {
	store.ReadTx
	docs map[string]*store.Document
}

func (s supposed) Get(key string) (*store.Document, error) {
	if d, ok := s.docs[strings.ToLower(key)]; ok {
		return d, nil
	}
	return s.ReadTx.Get(key)
}

// List knows one question that a reading asks about definitions: their kept versions,
// of which supposed ones have none.
func (s supposed) List(q store.Query) ([]*store.Document, error) {
	if of, isVersions := strings.CutSuffix(q.Prefix, "/versions/"); isVersions && s.docs[strings.ToLower(of)] != nil {
		return nil, nil
	}
	return s.ReadTx.List(q)
}
