// Package admission is the policies' word at the door: it implements
// provider.Admitter from the assignments that are effective where a request writes.
//
// In the service's order: what is disabled does nothing; append and modify change
// the document; deny refuses it, with the comparisons that led there; audit leaves
// an event. denyAction refuses deletes. An assignment that is not enforced is only
// recorded. What a controller writes about its own documents never comes here.
// It decides nothing that package policy or package assignment could decide, and
// keeps no compliance states: that is package compliance. cmd wires it.
package admission

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// Config is what an Admitter works with.
type Config struct {
	Store store.Store
	Index *assignment.Index
	Facts assignment.Facts // of image lineage; nil: there are none
	Log   *slog.Logger     // nil: silent
}

// Admitter admits writes and deletes. It is safe for concurrent use.
type Admitter struct{ cfg Config }

// New makes an Admitter.
func New(cfg Config) *Admitter {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Admitter{cfg}
}

// Admit implements provider.Admitter.
func (a *Admitter) Admit(ctx context.Context, w *provider.Write) error {
	if !assignment.Governed(w.ID.Type()) || w.Action != "write" && w.Action != "delete" {
		return nil
	}
	set, err := a.cfg.Index.Current(ctx)
	if err != nil {
		return err
	}
	var d *Decision
	if err := a.cfg.Store.View(ctx, func(tx store.ReadTx) error {
		world := &assignment.World{Tx: tx, Now: w.Now, Facts: a.cfg.Facts}
		if w.Action == "delete" {
			d, err = decideDelete(set, world, w)
		} else {
			d, err = decide(set, world, draft(w), w.APIVersion, tagsOnly(w))
		}
		return err
	}); err != nil {
		return err
	}
	return a.apply(ctx, set, w, d)
}

// draft is the document as policies see it before it is stored. A new resource does
// not have yet what its provider alone writes, such as timeCreated: in Azure policies
// look before the provider does, and rules tell new from existing by it.
func draft(w *provider.Write) *store.Document {
	d := w.Doc.Clone()
	d.ID, d.Type = w.ID.String(), w.ID.Type()
	if w.Create() {
		for _, path := range assigned(w) {
			d.Body = arm.Remove(d.Body, path)
		}
	}
	return d
}

// assigned are the properties that a resource gets from its provider.
func assigned(w *provider.Write) (paths []string) {
	for _, path := range w.Type.ReadOnly {
		if strings.HasPrefix(path, "properties.") {
			paths = append(paths, path)
		}
	}
	return paths
}

// tagsOnly reports whether a request touches nothing but tags, as a PATCH may: Azure
// then asks only the policies that look at tags.
func tagsOnly(w *provider.Write) bool {
	only := w.Old != nil && len(w.Request) > 0
	err := arm.EachMember(w.Request, func(name string, _ json.RawMessage) { only = only && strings.EqualFold(name, "tags") })
	return only && err == nil
}

// apply carries out a decision: refuse, or change the document and leave the rest to
// the transaction.
func (a *Admitter) apply(ctx context.Context, set *assignment.Set, w *provider.Write, d *Decision) error {
	for i := range d.Events {
		d.Events[i].complete(w)
	}
	if len(d.Denied) > 0 {
		a.record(ctx, d.Events)
		return refusal(w, d)
	}
	if d.Body != nil {
		body, err := restore(w, d.Body)
		if err != nil {
			return err
		}
		w.Doc.Body = body
	}
	var duties []Due
	if w.Action == "write" {
		duties = due(set, w)
	}
	guard(w, set, d.Events, duties)
	return nil
}

// restore keeps a changed document from differing in what its provider alone writes: what
// draft left out comes back, and what a policy would have written there does not stay.
func restore(w *provider.Write, body json.RawMessage) (json.RawMessage, error) {
	for _, path := range w.Type.ReadOnly {
		body = arm.Remove(body, path)
		v, ok := arm.Get(w.Doc.Body, path)
		if !ok {
			continue
		}
		var err error
		if body, err = arm.Set(body, path, v); err != nil {
			return nil, err
		}
	}
	return body, nil
}

// record keeps the events of a refused request: there is no transaction of its own
// for them. Losing them must not turn a clear refusal into a failure.
func (a *Admitter) record(ctx context.Context, events []Event) {
	err := a.cfg.Store.Update(ctx, func(tx store.Tx) error { return putEvents(tx, events) })
	if err != nil {
		a.cfg.Log.ErrorContext(ctx, "recording policy events", "error", err)
	}
}

// guard makes the write's own transaction check that the policies are still those
// that admitted it (else it is decided anew), and keep the events. Hooks of the type
// are what runs inside that transaction.
func guard(w *provider.Write, set *assignment.Set, events []Event, duties []Due) {
	t := *w.Type
	commit, checkDelete := t.Commit, t.CheckDelete
	check := func(tx store.Tx) error {
		ok, err := set.Unchanged(tx)
		if err == nil && !ok {
			err = store.ErrConflict
		}
		if err != nil {
			return err
		}
		if err := putDue(tx, duties, w.Principal.ObjectID); err != nil {
			return err
		}
		return putEvents(tx, events)
	}
	t.Commit = func(tx store.Tx, w *provider.Write) error {
		if err := check(tx); err != nil || commit == nil {
			return err
		}
		return commit(tx, w)
	}
	t.CheckDelete = func(tx store.Tx, w *provider.Write) error {
		if err := check(tx); err != nil || checkDelete == nil {
			return err
		}
		return checkDelete(tx, w)
	}
	w.Type = &t
}

// decideDelete asks the denyAction policies: of the resource itself, and, for a
// group, of what goes with it.
func decideDelete(set *assignment.Set, world *assignment.World, w *provider.Write) (*Decision, error) {
	d := &Decision{}
	if w.Principal == identity.System {
		return d, nil // asked when somebody asked for the delete that led to this one
	}
	if err := d.delete(set, world, w.Old, "resource"); err != nil {
		return d, err
	}
	if w.ID.Kind() != arm.KindResourceGroup || !hasDenyAction(set) {
		return d, nil
	}
	docs, err := world.Tx.List(store.Query{Prefix: w.ID.Key() + "/"})
	for _, doc := range docs {
		if err == nil && assignment.Governed(doc.Type) {
			err = d.delete(set, world, doc, "resourceGroup")
		}
	}
	return d, err
}

func hasDenyAction(set *assignment.Set) bool {
	for _, a := range set.Assignments {
		for _, u := range a.Units {
			if e := u.Effect(arm.Type(""), ""); e == "" || policy.EffectNamed(e) == policy.DenyAction {
				return true
			}
		}
	}
	return false
}

// now is when events happen, in the steps that documents keep.
func now(w *provider.Write) time.Time { return w.Now.UTC().Truncate(time.Millisecond) }

// sameEffect compares effects as written.
func sameEffect(a string, b policy.Effect) bool { return strings.EqualFold(a, string(b)) }
