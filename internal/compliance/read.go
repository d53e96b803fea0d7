package compliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/store"
)

// Row is one resource to one policy.
type Row struct {
	Resource   string
	Type       arm.Type
	Location   string
	Time       time.Time // when the verdict was reached
	Unit       *assignment.Unit
	State      State
	Exemption  *assignment.Exemption // why it is Exempt; nil if it is not
	Attestedby string                // the attestation that decided; "" without one
}

// Effect is the policy's effect, as written.
func (r Row) Effect() string { return r.Unit.Effect(r.Type, r.Location) }

// Reader answers from what is evaluated.
type Reader struct {
	engine   *Engine
	Set      *assignment.Set
	Progress Progress
	Current  bool // whether evaluation had reached what was newest when the reader arrived
	now      time.Time
	attested map[string][]attestation // by assignment and reference
}

// MaxWait is how long a reader waits for evaluation.
const MaxWait = 5 * time.Second

// Read waits for evaluation to reach what is newest now, up to MaxWait.
func (e *Engine) Read(ctx context.Context) (*Reader, error) {
	p, current, err := e.Wait(ctx, MaxWait)
	if err != nil {
		return nil, err
	}
	set, err := e.cfg.Index.Current(ctx)
	if err != nil {
		return nil, err
	}
	r := &Reader{engine: e, Set: set, Progress: p, Current: current, now: e.now()}
	r.attested, err = e.attestations(ctx)
	return r, err
}

// Rows calls f with what is known of every resource at or below a scope, in the order
// of their ids, until f returns false. What is known to be stale is left out. Memory
// stays bounded, whatever the estate.
func (r *Reader) Rows(ctx context.Context, scope arm.ID, f func(Row) bool) error {
	keys := []string{recordKey(scope.Key())}
	switch scope.Kind() {
	case arm.KindTenant:
		keys = []string{recordKey("/")}
	case arm.KindManagementGroup:
		subs, err := r.engine.subscriptions(ctx)
		if err != nil {
			return err
		}
		keys = nil
		for _, s := range r.Set.Hierarchy.Subscriptions(scope, subs) {
			keys = append(keys, recordKey(arm.SubscriptionID(s).Key()))
		}
	}
	for _, k := range keys {
		if more, err := r.below(ctx, k, f); err != nil || !more {
			return err
		}
	}
	return nil
}

func (r *Reader) below(ctx context.Context, prefix string, f func(Row) bool) (more bool, err error) {
	for after := ""; ; {
		var docs []*store.Document
		stale := map[string]bool{}
		err := r.engine.cfg.Store.View(ctx, func(tx store.ReadTx) error {
			if docs, err = tx.List(store.Query{Prefix: prefix, After: after, Limit: page}); err != nil {
				return err
			}
			return r.findStale(tx, docs, stale)
		})
		if err != nil {
			return false, fmt.Errorf("reading compliance states: %w", err)
		}
		for _, d := range docs {
			if inside(d.Key, prefix) && !stale[d.Key] && !r.row(d, f) {
				return false, nil
			}
		}
		if len(docs) < page {
			return true, nil
		}
		after = docs[page-1].Key
	}
}

func inside(key, prefix string) bool {
	return strings.HasSuffix(prefix, "/") || len(key) == len(prefix) || key[len(prefix)] == '/'
}

// findStale marks records whose resources have changed since, or are gone. There are
// none once evaluation has caught up.
func (r *Reader) findStale(tx store.ReadTx, docs []*store.Document, stale map[string]bool) error {
	if r.Current {
		return nil
	}
	for _, d := range docs {
		now, err := tx.Get(d.Key[len(recordPrefix):])
		if errors.Is(err, store.ErrNotFound) {
			stale[d.Key] = true
			continue
		}
		if err != nil {
			return err
		}
		stale[d.Key] = now.Revision > r.Progress.Evaluated
	}
	return nil
}

// row calls f for each verdict of a record that still means something.
func (r *Reader) row(d *store.Document, f func(Row) bool) bool {
	rec, err := readRecord(d)
	if err != nil {
		return true
	}
	id, err := arm.ParseID(rec.ID)
	if err != nil {
		return true
	}
	for _, p := range rec.Parts {
		a := r.Set.Named(p.Key)
		if a == nil || a.Generation != p.Generation {
			continue
		}
		for _, i := range p.indices() {
			if i.unit >= len(a.Units) {
				continue
			}
			row := Row{Resource: rec.ID, Type: rec.Type, Location: rec.Location, Time: rec.At, Unit: a.Units[i.unit], State: i.state}
			r.overlay(&row, id)
			if !f(row) {
				return false
			}
		}
	}
	return true
}

type unitState struct {
	unit  int
	state State
}

// indices are the units of a part in order.
func (p part) indices() (out []unitState) {
	for s, r := range p.States {
		for _, i := range r {
			out = append(out, unitState{i, s})
		}
	}
	slices.SortFunc(out, func(a, b unitState) int { return a.unit - b.unit })
	return out
}

// overlay applies what people have decided: exemptions, then attestations.
func (r *Reader) overlay(row *Row, id arm.ID) {
	if x := r.Set.Exempt(row.Unit, id, row.Type, row.Location, r.now); x != nil {
		row.State, row.Exemption = Exempt, x
		return
	}
	if !strings.EqualFold(row.Effect(), string(policy.Manual)) {
		return
	}
	for _, at := range r.attested[attestationKey(row.Unit.Assignment.ID.String(), row.Unit.ReferenceID)] {
		if at.scope.Contains(id) && (at.expires.IsZero() || r.now.Before(at.expires)) {
			row.State, row.Attestedby = at.state, at.id
		}
	}
}

// attestation is somebody's word on a manual policy.
type attestation struct {
	id      string
	scope   arm.ID
	state   State
	expires time.Time
}

// TypeAttestation is the type of attestations.
const TypeAttestation arm.Type = "Microsoft.PolicyInsights/attestations"

func attestationKey(assignment, reference string) string {
	return strings.ToLower(assignment + "\x00" + reference)
}

func (e *Engine) attestations(ctx context.Context) (map[string][]attestation, error) {
	docs, err := store.List(ctx, e.cfg.Store, store.Query{Type: TypeAttestation})
	if err != nil {
		return nil, fmt.Errorf("reading attestations: %w", err)
	}
	all := map[string][]attestation{}
	for _, d := range docs {
		var body struct {
			Properties struct {
				PolicyAssignmentID, PolicyDefinitionReferenceID string
				ComplianceState                                 State
				ExpiresOn                                       time.Time
			}
		}
		if err := json.Unmarshal(d.Body, &body); err != nil {
			continue
		}
		p := body.Properties
		k := attestationKey(p.PolicyAssignmentID, p.PolicyDefinitionReferenceID)
		all[k] = append(all[k], attestation{id: d.ID, scope: d.ARMID().Scope(), state: p.ComplianceState, expires: p.ExpiresOn})
	}
	return all, nil
}

// Reason is why a resource is in its state.
type Reason struct {
	Verdict     policy.Verdict
	Explanation *policy.Explanation
	Expressions []assignment.Expression
	Message     string // one sentence for a reader
}

// Explain evaluates one policy on one resource once more, with its reasons.
func (r *Reader) Explain(ctx context.Context, resource string, u *assignment.Unit) (why Reason, err error) {
	if u.Problem != nil {
		return Reason{Message: u.Problem.Error(), Expressions: []assignment.Expression{}}, nil
	}
	err = r.engine.cfg.Store.View(ctx, func(tx store.ReadTx) error {
		d, err := tx.Get(strings.ToLower(resource))
		if err != nil {
			return err
		}
		s, err := r.engine.world(tx).Subject(d, "")
		if err != nil {
			return err
		}
		why.Verdict, why.Explanation, err = u.Explain(s)
		return err
	})
	if err != nil {
		return why, fmt.Errorf("explaining the compliance of %s: %w", resource, err)
	}
	why.Expressions = assignment.Expressions(why.Explanation)
	why.Message = u.Message()
	if p := why.Verdict.Problem; p != nil {
		why.Message = p.Error()
	}
	return why, nil
}

// Transitions are the changes of verdicts at or below a scope in a span of time, the
// oldest first. Like events, they are kept for 90 days.
func (e *Engine) Transitions(ctx context.Context, scope arm.ID, from, to time.Time) (out []Transition, err error) {
	docs, err := store.List(ctx, e.cfg.Store, store.Query{Type: typeTransition, SubscriptionID: scope.Subscription()})
	if err != nil {
		return nil, fmt.Errorf("reading changes of compliance: %w", err)
	}
	for _, d := range docs {
		var t Transition
		if d.CreatedAt.Before(from) || d.CreatedAt.After(to) || json.Unmarshal(d.Private, &t) != nil {
			continue
		}
		if id, err := arm.ParseID(t.Resource); err == nil && scope.Contains(id) {
			out = append(out, t)
		}
	}
	return out, nil
}
