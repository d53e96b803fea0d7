package assignment

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/store"
)

// policyGroupType is the name that policies have for resource groups.
const policyGroupType = "Microsoft.Resources/subscriptions/resourceGroups"

// Facts answers for the read-only aliases of a document: an object from alias
// (Hallmark.Image/state) to value, Undefined if there are none.
type Facts interface {
	Facts(w *World, d *store.Document) (value.Value, error)
}

// World is where subjects are looked at: one consistent state and one time. It
// caches; it is not safe for concurrent use.
type World struct {
	Tx    store.ReadTx
	Now   time.Time
	Facts Facts // may be nil
	// From and To are the first and the last key of a run of documents that will be
	// evaluated one after the other; what hangs on them is then read at once. Empty
	// for single documents.
	From, To string
	// OneByOne says that a subject, and what was found of it, is done with when the next
	// is asked for: their memory is used again.
	OneByOne bool
	// Memo is for what Facts found in this state.
	Memo map[string]any

	contexts map[string]value.Value // resource groups and subscriptions by key
	around   around                 // what the rules' functions are told in one group
	utcNow   value.Value
	lists    map[store.Query]*found
	runs     map[arm.Type][]*looked // behind From and To
	near     near                   // what hangs on the resource that was asked about last
	parsed   map[string]*policy.Resource

	subjects, hung value.Parser // where OneByOne
}

// looked is what is kept of a document that was looked up, of which there may be many.
type looked struct {
	id, key, body string
	typ           arm.Type
}

func look(h *store.Head) *looked {
	id := string(h.ID)
	return &looked{id: id, key: strings.ToLower(id), typ: h.Type, body: string(h.Body)}
}

// found are documents that were looked up, to be asked for by name again and again.
type found struct {
	docs   []*looked
	byName map[string][]*looked // last segments of keys
}

// named are those that may have a name, which may be with its parents' or without; all
// for no name.
func (f *found) named(name string) []*looked {
	if name == "" || len(f.docs) < 4 {
		return f.docs
	}
	if f.byName == nil {
		f.byName = make(map[string][]*looked, len(f.docs))
		for _, d := range f.docs {
			last := d.key[strings.LastIndexByte(d.key, '/')+1:]
			f.byName[last] = append(f.byName[last], d)
		}
	}
	return f.byName[strings.ToLower(name[strings.LastIndexByte(name, '/')+1:])]
}

// around is what the functions of units are told for any resource in a group.
type around struct {
	key   string
	units map[*Unit]value.Value
}

// Subject is a document made ready for evaluation.
type Subject struct {
	ID       arm.ID
	Type     arm.Type
	Location string
	Resource *policy.Resource

	world   *World
	doc     *store.Document
	facts   bool // looked up
	request value.Value
	asked   bool // a rule held and looked for related resources
}

// Subject prepares a document; apiVersion is that of the request, "" if unknown.
func (w *World) Subject(d *store.Document, apiVersion string) (*Subject, error) {
	if !w.OneByOne {
		return w.subject(d, apiVersion, &value.Parser{Folded: true})
	}
	w.subjects.Folded = true
	w.subjects.Reset()
	return w.subject(d, apiVersion, &w.subjects)
}

func (w *World) subject(d *store.Document, apiVersion string, parser *value.Parser) (*Subject, error) {
	resource, err := w.resource(&looked{id: d.ID, typ: d.Type, body: string(d.Body)}, apiVersion, parser)
	if err != nil {
		return nil, err
	}
	s := &Subject{ID: d.ARMID(), Type: d.Type, Location: d.Location, world: w, doc: d, Resource: resource}
	if apiVersion != "" {
		s.request = value.FromFields([]value.Field{{Key: "apiVersion", Value: value.FromString(apiVersion)}})
	}
	return s, nil
}

func (w *World) resource(d *looked, apiVersion string, parser *value.Parser) (*policy.Resource, error) {
	root, err := parser.Parse(d.body)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", d.id, err)
	}
	return policy.NewResource(identified(root, d), apiVersion), nil
}

// identified is a document with what a request's body does not have yet, and under
// the type's name that policies have. What is stored is complete: it stays as it is.
func identified(root value.Value, d *looked) value.Value {
	changed := false
	set := func(name, v string) { root, changed = root.With(name, value.FromString(v)), true }
	if typ := policyType(d.typ); !strings.EqualFold(root.Find(keyType).Str(), typ) {
		set("type", typ)
	}
	if root.Find(keyID).IsNothing() {
		set("id", d.id)
	}
	if root.Find(keyName).IsNothing() {
		set("name", d.id[strings.LastIndexByte(d.id, '/')+1:])
	}
	if changed {
		return root.AsResource()
	}
	return root
}

var keyType, keyID, keyName = value.NewKey("type"), value.NewKey("id"), value.NewKey("name")

func policyType(t arm.Type) string {
	if t.Equal(arm.TypeResourceGroup) {
		return policyGroupType
	}
	return string(t)
}

// Evaluate evaluates the unit's rule over a subject. Whether the rule held although
// there is no hit (a related resource satisfied it) is told by asked.
func (u *Unit) Evaluate(s *Subject) (v policy.Verdict, asked bool, err error) {
	in, err := u.input(s)
	if err != nil {
		return v, false, err
	}
	s.asked = false
	v = u.Program(s.Type, s.Location).Evaluate(in)
	return v, s.asked, nil
}

// Explain is Evaluate with the tree of conditions.
func (u *Unit) Explain(s *Subject) (policy.Verdict, *policy.Explanation, error) {
	in, err := u.input(s)
	if err != nil {
		return policy.Verdict{}, nil, err
	}
	v, tree := u.Program(s.Type, s.Location).Explain(in)
	return v, tree, nil
}

func (u *Unit) input(s *Subject) (in policy.Input, err error) {
	r := u.ruleFor(target{location: s.Location, typ: s.Type, ref: u.ReferenceID})
	if r.needsFacts && !s.facts && s.world.Facts != nil {
		facts, err := s.world.Facts.Facts(s.world, s.doc)
		if err != nil {
			return in, err
		}
		if s.facts = true; facts.Kind() == value.Object {
			s.Resource = s.Resource.WithFacts(facts)
		}
	}
	in = policy.Input{Resource: s.Resource, Related: related{s}}
	if r.needsContext {
		in.Context, err = u.context(s)
	}
	return in, err
}

// context is what the rule's functions may ask, which is the same for all resources of
// a group that no request is about.
func (u *Unit) context(s *Subject) (value.Value, error) {
	w := s.world
	if !s.request.IsUndefined() {
		return u.lookAround(s)
	}
	group := ""
	if sub := s.ID.Subscription(); sub != "" {
		group = sub + "/" + s.ID.ResourceGroup()
	}
	if w.around.units == nil || w.around.key != group {
		w.around = around{group, map[*Unit]value.Value{}}
	}
	if v, ok := w.around.units[u]; ok {
		return v, nil
	}
	v, err := u.lookAround(s)
	if err == nil {
		w.around.units[u] = v
	}
	return v, err
}

func (u *Unit) lookAround(s *Subject) (value.Value, error) {
	fields := []value.Field{{Key: "policy", Value: u.PolicyContext()}, {Key: "utcNow", Value: s.world.now()}}
	fields = append(fields, value.Field{Key: "requestContext", Value: s.requestContext()})
	if sub := s.ID.Subscription(); sub != "" {
		v, err := s.world.scope(arm.SubscriptionID(sub))
		if err != nil {
			return v, err
		}
		fields = append(fields, value.Field{Key: "subscription", Value: v})
		if g := s.ID.ResourceGroup(); g != "" {
			if v, err = s.world.scope(arm.ResourceGroupID(sub, g)); err != nil {
				return v, err
			}
			fields = append(fields, value.Field{Key: "resourceGroup", Value: v})
		}
	}
	return value.FromFields(fields), nil
}

// requestContext is the request's, or, where none caused the evaluation, one in the
// newest api-version, as Azure's compliance scans have it. Versions are dates that rules
// compare, and today's is no older than any that there is.
func (s *Subject) requestContext() value.Value {
	if !s.request.IsUndefined() {
		return s.request
	}
	return value.FromFields([]value.Field{{Key: "apiVersion", Value: value.FromString(s.world.Now.UTC().Format(time.DateOnly))}})
}

// PolicyContext is what policy() returns in the unit's rule.
func (u *Unit) PolicyContext() value.Value {
	fields := []value.Field{{Key: "assignmentId", Value: value.FromString(u.Assignment.ID.String())},
		{Key: "definitionId", Value: value.FromString(u.DefinitionID)}}
	if u.Assignment.Initiative {
		fields = append(fields, value.Field{Key: "setDefinitionId", Value: value.FromString(u.Assignment.Definition.String())},
			value.Field{Key: "definitionReferenceId", Value: value.FromString(u.ReferenceID)})
	}
	return value.FromFields(fields)
}

func (w *World) now() value.Value {
	if w.utcNow.IsUndefined() {
		w.utcNow = value.FromString(w.Now.UTC().Format("2006-01-02T15:04:05.0000000Z"))
	}
	return w.utcNow
}

// scope is the document of a resource group or subscription.
func (w *World) scope(id arm.ID) (value.Value, error) {
	if v, ok := w.contexts[id.Key()]; ok {
		return v, nil
	}
	d, err := w.Tx.Get(id.Key())
	if errors.Is(err, store.ErrNotFound) {
		d, err = &store.Document{Body: []byte("{}")}, nil
	}
	if err != nil {
		return value.Value{}, err
	}
	v, err := value.Parse(string(d.Body))
	if err != nil {
		return v, fmt.Errorf("reading %s: %w", id, err)
	}
	if v.Get("tags").IsNothing() {
		v = v.With("tags", value.FromFields(nil))
	}
	if w.contexts == nil {
		w.contexts = map[string]value.Value{}
	}
	w.contexts[id.Key()] = v
	return v, nil
}

// related finds related resources in the store.
type related struct{ s *Subject }

// Repeat lets an explanation ask again.
func (r related) Repeat() policy.Related { return r }

// FindRelated implements policy.Related. Types below the primary's, and extension
// resources, are looked for on the primary first; others in its resource group, in
// the one that is named, or in the subscription.
func (r related) FindRelated(q policy.Query) ([]*policy.Resource, error) {
	r.s.asked = true
	docs, err := r.list(arm.Type(canonicalType(q.Type)), q)
	if err != nil {
		return nil, err
	}
	var out []*policy.Resource
	for _, d := range docs.named(q.Name) {
		if !named(d, q) {
			continue
		}
		p, err := r.s.world.parse(d)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func (r related) list(typ arm.Type, q policy.Query) (*found, error) {
	id, w := r.s.ID, r.s.world
	on, err := w.hanging(typ, id.Key())
	if err != nil || len(on.docs) > 0 {
		return on, err
	}
	if parent, child := typ.Parent(); child && parent.Equal(r.s.Type) {
		return on, nil
	}
	scope := arm.SubscriptionID(id.Subscription())
	switch {
	case q.ResourceGroupName != "":
		scope = arm.ResourceGroupID(id.Subscription(), q.ResourceGroupName)
	case !strings.EqualFold(q.ExistenceScope, "subscription") && id.ResourceGroup() != "":
		scope = arm.ResourceGroupID(id.Subscription(), id.ResourceGroup())
	}
	return w.list(store.Query{Type: arm.Type(typ.Key()), SubscriptionID: scope.Subscription(), Prefix: scope.Key() + "/"})
}

// parse prepares a related resource, once for each state, or once for each resource
// that it hangs on.
func (w *World) parse(d *looked) (*policy.Resource, error) {
	if w.parsed == nil {
		w.parsed = map[string]*policy.Resource{}
	}
	known, parser := w.parsed, &value.Parser{Folded: true}
	if w.near.key != "" && strings.HasPrefix(d.key, w.near.key) {
		if known = w.near.parsed; w.OneByOne {
			parser = &w.hung
		}
	}
	if p, ok := known[d.key]; ok {
		return p, nil
	}
	p, err := w.resource(d, "", parser)
	if err != nil {
		return nil, err
	}
	known[d.key] = p
	return p, nil
}

// list asks the store once for each query.
func (w *World) list(q store.Query) (*found, error) {
	if f, ok := w.lists[q]; ok {
		return f, nil
	}
	docs, err := w.scan(q)
	if err != nil {
		return nil, err
	}
	if w.lists == nil {
		w.lists = map[store.Query]*found{}
	}
	f := &found{docs: docs}
	w.lists[q] = f
	return f, nil
}

func (w *World) scan(q store.Query) (docs []*looked, err error) {
	err = store.Scan(w.Tx, q, true, func(h *store.Head) error {
		docs = append(docs, look(h))
		return nil
	})
	return docs, err
}

// near is what hangs on one resource, by type as it was asked for.
type near struct {
	key    string
	docs   map[arm.Type]*found
	parsed map[string]*policy.Resource // of these; those of a whole page would be many
}

// hanging are the documents of a type on or below a resource. Policies ask for the same
// few types of one resource again and again.
func (w *World) hanging(typ arm.Type, key string) (*found, error) {
	if w.near.key != key {
		w.near = near{key, map[arm.Type]*found{}, map[string]*policy.Resource{}}
		w.hung.Folded = true
		w.hung.Reset()
	}
	if f, ok := w.near.docs[typ]; ok {
		return f, nil
	}
	docs, err := w.lookHanging(typ, key)
	f := &found{docs: docs}
	if err == nil {
		w.near.docs[typ] = f
	}
	return f, err
}

func (w *World) lookHanging(typ arm.Type, key string) ([]*looked, error) {
	typ = arm.Type(typ.Key())
	if key < w.From || key > w.To {
		return w.scan(store.Query{Type: typ, Prefix: key + "/"})
	}
	run, err := w.run(typ)
	if err != nil {
		return nil, err
	}
	from, _ := slices.BinarySearchFunc(run, key+"/", func(d *looked, k string) int { return strings.Compare(d.key, k) })
	to := from
	for to < len(run) && strings.HasPrefix(run[to].key, key+"/") {
		to++
	}
	return run[from:to], nil
}

// run are the documents of a type on or below any of the run's documents: keys sort
// what hangs on a resource right behind it.
func (w *World) run(typ arm.Type) ([]*looked, error) {
	if docs, ok := w.runs[typ]; ok {
		return docs, nil
	}
	// The first text behind everything that starts with To and a slash has a 0 there.
	all, err := w.scan(store.Query{Type: typ, After: w.From, Before: w.To + "0"})
	if err != nil {
		return nil, err
	}
	if w.runs == nil {
		w.runs = map[arm.Type][]*looked{}
	}
	w.runs[typ] = all
	return all, nil
}

// named reports whether a document has the name and kind that a query asks for; a
// child may be named with its parents or without. An estate's scan asks this for every
// policy and everything that hangs on a resource: the id is parsed only if it must be.
func named(d *looked, q policy.Query) bool {
	switch {
	case q.Name == "":
	case strings.Contains(q.Name, "/"):
		if id, err := arm.ParseID(d.id); err != nil || !strings.EqualFold(q.Name, strings.Join(id.Names(), "/")) {
			return false
		}
	case !strings.EqualFold(q.Name, d.key[strings.LastIndexByte(d.key, '/')+1:]):
		return false
	}
	return q.Kind == "" || strings.EqualFold(arm.GetString([]byte(d.body), "kind"), q.Kind)
}
