package assignment

import (
	"errors"
	"fmt"
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
	// Memo is for what Facts found in this state.
	Memo map[string]any

	contexts map[string]value.Value // resource groups and subscriptions by key
	utcNow   value.Value
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
	root, err := value.ParseResource(string(d.Body))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", d.ID, err)
	}
	s := &Subject{ID: d.ARMID(), Type: d.Type, Location: d.Location, world: w, doc: d}
	root = root.With("type", value.FromString(policyType(d.Type)))
	root = root.With("id", value.FromString(d.ID))
	if root.Get("name").IsNothing() {
		root = root.With("name", value.FromString(s.ID.Name()))
	}
	s.Resource = policy.NewResource(root.AsResource(), apiVersion)
	if apiVersion != "" {
		s.request = value.FromFields([]value.Field{{Key: "apiVersion", Value: value.FromString(apiVersion)}})
	}
	return s, nil
}

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

// context is what the rule's functions may ask.
func (u *Unit) context(s *Subject) (value.Value, error) {
	fields := []value.Field{{Key: "policy", Value: u.policyContext()}, {Key: "utcNow", Value: s.world.now()}}
	if !s.request.IsUndefined() {
		fields = append(fields, value.Field{Key: "requestContext", Value: s.request})
	}
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

func (u *Unit) policyContext() value.Value {
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
	typ := arm.Type(canonicalType(q.Type))
	docs, err := r.list(typ, q)
	if err != nil {
		return nil, err
	}
	var out []*policy.Resource
	for _, d := range docs {
		if !named(d, q) {
			continue
		}
		s, err := r.s.world.Subject(d, "")
		if err != nil {
			return nil, err
		}
		out = append(out, s.Resource)
	}
	return out, nil
}

func (r related) list(typ arm.Type, q policy.Query) ([]*store.Document, error) {
	id, tx := r.s.ID, r.s.world.Tx
	if parent, child := typ.Parent(); child && parent.Equal(r.s.Type) {
		return tx.List(store.Query{Type: typ, Prefix: id.Key() + "/" + strings.ToLower(typ.Name()) + "/"})
	}
	on, err := tx.List(store.Query{Type: typ, Prefix: id.Key() + "/providers/"})
	if err != nil || len(on) > 0 {
		return on, err
	}
	sq := store.Query{Type: typ, SubscriptionID: id.Subscription()}
	switch {
	case q.ResourceGroupName != "":
		sq.ResourceGroup = q.ResourceGroupName
	case !strings.EqualFold(q.ExistenceScope, "subscription"):
		sq.ResourceGroup = id.ResourceGroup()
	}
	return tx.List(sq)
}

// named reports whether a document has the name and kind that a query asks for; a
// child may be named with its parents or without.
func named(d *store.Document, q policy.Query) bool {
	if q.Kind != "" && !strings.EqualFold(arm.GetString(d.Body, "kind"), q.Kind) {
		return false
	}
	id := d.ARMID()
	return q.Name == "" || strings.EqualFold(q.Name, id.Name()) || strings.EqualFold(q.Name, strings.Join(id.Names(), "/"))
}
