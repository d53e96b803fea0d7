package compliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	ledger   *ledger
	readings map[alike]*reading
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
	e.seen.Lock()
	l := e.ledger
	e.seen.Unlock()
	r := &Reader{engine: e, Set: set, Progress: p, Current: current, now: e.now(), ledger: l}
	r.attested, err = e.attestations(ctx)
	return r, err
}

// Rows calls f with what is known of every resource at or below a scope, in the order
// of their ids, until f returns false. What is known to be stale is left out. Memory
// stays bounded, whatever the estate.
func (r *Reader) Rows(ctx context.Context, scope arm.ID, f func(Row) bool) error {
	return r.records(ctx, scope, func(rec *record) bool { return r.row(rec, f) })
}

// records calls f with what is kept of every resource at or below a scope, without what
// is known to be stale.
func (r *Reader) records(ctx context.Context, scope arm.ID, f func(*record) bool) error {
	keys := []string{scope.Key()}
	switch scope.Kind() {
	case arm.KindTenant:
		keys = []string{"/"}
	case arm.KindManagementGroup:
		subs, err := r.engine.subscriptions(ctx)
		if err != nil {
			return err
		}
		keys = nil
		for _, s := range r.Set.Hierarchy.Subscriptions(scope, subs) {
			keys = append(keys, arm.SubscriptionID(s).Key())
		}
	}
	for _, k := range keys {
		if more, err := r.below(ctx, k, f); err != nil || !more {
			return err
		}
	}
	return nil
}

// blocksAtOnce is how many blocks are read in one state.
const blocksAtOnce = 16

// below reads the records whose keys start with a prefix, some blocks at a time. Blocks
// may be cut anew in between: what was told already is not told again.
func (r *Reader) below(ctx context.Context, prefix string, f func(*record) bool) (more bool, err error) {
	last := ""
	for block := ""; ; {
		var docs []*store.Document
		var records []record
		stale := map[string]bool{}
		err := r.engine.cfg.Store.View(ctx, func(tx store.ReadTx) (err error) {
			if docs, err = r.blocks(ctx, tx, block, prefix); err != nil {
				return err
			}
			records = r.inside(docs, prefix, last)
			return r.findStale(tx, records, stale)
		})
		if err != nil {
			return false, fmt.Errorf("reading compliance states: %w", err)
		}
		for i := range records {
			if last = records[i].Key; !stale[last] && !f(&records[i]) {
				return false, nil
			}
		}
		if len(docs) < blocksAtOnce {
			return true, nil
		}
		if block = docs[len(docs)-1].Key; beyond(fenceOf(block), prefix) {
			return true, nil
		}
	}
}

// beyond reports whether a key lies behind everything that starts with a prefix.
func beyond(key, prefix string) bool { return key > prefix && !strings.HasPrefix(key, prefix) }

// blocks are the next ones behind one, or those from the one on that a prefix may be in.
func (r *Reader) blocks(ctx context.Context, tx store.ReadTx, after, prefix string) ([]*store.Document, error) {
	if after != "" {
		return tx.List(store.Query{Type: typeBlock, After: after, Limit: blocksAtOnce})
	}
	fences := r.engine.shelf.fences.Load()
	if fences == nil {
		return tx.List(store.Query{Type: typeBlock})
	}
	for i := floor(*fences, prefix); i >= 0; i-- {
		d, err := tx.Get(blockKey((*fences)[i]))
		if errors.Is(err, store.ErrNotFound) {
			continue // it was emptied meanwhile: the one before goes on
		}
		if err != nil {
			return nil, err
		}
		more, err := tx.List(store.Query{Type: typeBlock, After: d.Key, Limit: blocksAtOnce - 1})
		return append([]*store.Document{d}, more...), err
	}
	return tx.List(store.Query{Type: typeBlock, Limit: blocksAtOnce})
}

// inside are the records at or below a prefix, behind the last one.
func (r *Reader) inside(docs []*store.Document, prefix, last string) (out []record) {
	for _, d := range docs {
		if beyond(fenceOf(d.Key), prefix) {
			break
		}
		all, err := readBlock(d)
		if err != nil {
			r.engine.mend(err)
			continue
		}
		for _, rec := range all {
			if rec.Key > last && inside(rec.Key, prefix) {
				out = append(out, rec)
			}
		}
	}
	return out
}

func inside(key, prefix string) bool {
	return strings.HasPrefix(key, prefix) && (strings.HasSuffix(prefix, "/") || len(key) == len(prefix) || key[len(prefix)] == '/')
}

// findStale marks records whose resources have changed since, or are gone. There are
// none once evaluation has caught up.
func (r *Reader) findStale(tx store.ReadTx, records []record, stale map[string]bool) error {
	if r.Current {
		return nil
	}
	for i := range records {
		key := records[i].Key
		now, err := tx.Get(key)
		if errors.Is(err, store.ErrNotFound) {
			stale[key] = true
			continue
		}
		if err != nil {
			return err
		}
		stale[key] = now.Revision > r.Progress.Evaluated
	}
	return nil
}

// row calls f for each verdict of a record that still means something.
func (r *Reader) row(rec *record, f func(Row) bool) bool {
	what := r.read(rec)
	if len(what.all) == 0 {
		return true
	}
	id, err := arm.ParseID(rec.ID)
	if err != nil {
		return true
	}
	for i := range what.all {
		v := &what.all[i]
		row := Row{Resource: rec.ID, Type: rec.Type, Location: rec.Location, Time: rec.At, Unit: v.unit, State: v.state}
		if v.decided {
			r.overlay(&row, id)
		}
		if !f(row) {
			return false
		}
	}
	return true
}

// alike is what verdicts are read by: resources that have it in common fare alike, but for
// what people have decided.
type alike struct {
	verdicts verdicts
	typ      arm.Type
	location string
}

// reading is what verdicts say.
type reading struct {
	all     []verdict
	decided bool // of any
}

type verdict struct {
	unit    *assignment.Unit
	state   State
	decided bool // people may have decided otherwise for some resources
}

// readingsKept bounds how many a reader keeps: a fleet has few, an estate may have many.
const readingsKept = 1000

// read is what a record's verdicts say.
func (r *Reader) read(rec *record) *reading {
	of := alike{rec.Verdicts, rec.Type, rec.Location}
	if known, ok := r.readings[of]; ok {
		return known
	}
	byAssignment := map[*assignment.Assignment]runs{}
	rec.Verdicts.each(func(p part) {
		if a := r.ledger.current(r.Set, p.number); a != nil {
			byAssignment[a] = p.states
		}
	})
	what := &reading{}
	for _, a := range r.Set.Assignments { // outer scopes first, whatever was evaluated first
		states := byAssignment[a]
		if states == "" {
			continue
		}
		exempt := len(r.Set.Exemptions(a)) > 0
		states.each(func(unit int, s State) {
			if unit >= len(a.Units) {
				return
			}
			u := a.Units[unit]
			decided := exempt || strings.EqualFold(u.Effect(rec.Type, rec.Location), string(policy.Manual))
			what.all = append(what.all, verdict{u, s, decided})
			what.decided = what.decided || decided
		})
	}
	if r.readings == nil || len(r.readings) >= readingsKept {
		r.readings = map[alike]*reading{}
	}
	r.readings[of] = what
	return what
}

// Counts is Rows for those who only count: f gets the rows of one resource, and how many
// resources fare like it, itself included. Which one it is, and when it was evaluated, means
// nothing. The rows are valid until f returns.
func (r *Reader) Counts(ctx context.Context, scope arm.ID, f func(rows []Row, resources int)) error {
	counted := map[alike]int{}
	examples := map[alike]record{}
	var rows []Row
	tell := func(rec *record, n int) {
		rows = rows[:0]
		r.row(rec, func(row Row) bool { rows = append(rows, row); return true })
		if len(rows) > 0 {
			f(rows, n)
		}
	}
	flush := func() {
		for of, n := range counted {
			rec := examples[of]
			tell(&rec, n)
		}
		clear(counted)
		clear(examples)
	}
	err := r.records(ctx, scope, func(rec *record) bool {
		if r.read(rec).decided {
			tell(rec, 1)
			return true
		}
		of := alike{rec.Verdicts, rec.Type, rec.Location}
		if counted[of]++; counted[of] == 1 {
			examples[of] = *rec
		}
		if len(counted) >= readingsKept {
			flush()
		}
		return true
	})
	flush()
	return err
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
