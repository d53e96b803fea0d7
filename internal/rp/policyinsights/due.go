package policyinsights

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/admission"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/controller"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// dueAgain is how soon a resource that is still being made, or deployed for, is looked
// at again.
const dueAgain = time.Second

// deployer deploys what deployIfNotExists asks for after a resource was written.
// Azure does so some ten minutes later; here it is as soon as the resource is there.
func (cfg Config) deployer(rt provider.Runtime) controller.Controller {
	return controller.Controller{Name: "deployIfNotExists", Types: []arm.Type{admission.TypeDue}, Workers: 4,
		Reconcile: func(ctx context.Context, key string) (time.Duration, error) {
			d, err := store.Get(ctx, rt.Store, key)
			if errors.Is(err, store.ErrNotFound) {
				return 0, nil
			}
			if err != nil {
				return 0, err
			}
			var due admission.Due
			if err := json.Unmarshal(d.Private, &due); err != nil {
				return 0, fmt.Errorf("reading %s: %w", key, err)
			}
			again, err := cfg.settle(ctx, rt, d, due)
			if err != nil || again > 0 {
				return again, err
			}
			return 0, rt.Store.Update(ctx, func(tx store.Tx) error { return tx.Delete(d.Key, d.Revision) })
		}}
}

// settle deploys, unless there is nothing to do (any more). A duration asks to look
// again.
func (cfg Config) settle(ctx context.Context, rt provider.Runtime, d *store.Document, due admission.Due) (time.Duration, error) {
	u, doc, err := cfg.dueUnit(ctx, rt, due)
	if err != nil || u == nil {
		return 0, err
	}
	wait, drop := until(u.Delay(doc.Type, doc.Location), due.Time, rt.Now(), doc.State())
	if wait > 0 || drop {
		return wait, nil
	}
	rem, err := cfg.remedy(ctx, rt.Store, rt.Now(), u, due.Resource, "")
	var client provider.Client
	if err == nil && rem != nil {
		client, err = cfg.actor(ctx, rt.Client, u.Assignment)
	}
	if err == nil && rem != nil {
		if due.Deployment == "" {
			return 0, cfg.note(ctx, rt, d, due, rem)
		}
		_, err = client.Put(ctx, rem.id, rem.body)
	}
	var refused *arm.Error
	switch {
	case isActive(err):
		return dueAgain, nil
	case errors.As(err, &refused) && refused.Status < 500:
		cfg.log().WarnContext(ctx, "a policy could not deploy", "assignment", due.Assignment, "resource", due.Resource, "error", err)
		return 0, nil
	}
	return 0, err
}

// until is how long a resource is left alone that was written; drop says that it is not
// looked at at all. Without an evaluationDelay it is looked at as soon as it has been
// made (in Azure: ten minutes after the request).
func until(d policy.Delay, written, now time.Time, state arm.ProvisioningState) (wait time.Duration, drop bool) {
	if d.After == policy.Timed {
		if left := written.Add(d.For).Sub(now); left > 0 {
			return left, false
		}
	}
	failed := state == arm.StateFailed || state == arm.StateCanceled
	if state != "" && !state.Terminal() {
		if d.After == policy.Unstated || d.After == policy.Timed || now.Sub(written) < policy.MaxDelay {
			return dueAgain, false
		}
		failed = true
	}
	switch d.After {
	case policy.Unstated, policy.Success:
		return 0, failed
	case policy.Failure:
		return 0, !failed
	}
	return 0, false
}

// errNoted brings the controller back: what it was called with is out of date.
var errNoted = fmt.Errorf("a deployment was noted: %w", store.ErrConflict)

func (cfg Config) note(ctx context.Context, rt provider.Runtime, d *store.Document, due admission.Due, rem *remedy) error {
	due.Deployment = rem.id.String()
	raw, err := json.Marshal(due)
	if err != nil {
		return err
	}
	next := d.Clone()
	next.Private, next.UpdatedAt = raw, rt.Now()
	if err := rt.Store.Update(ctx, func(tx store.Tx) error { return tx.Put(next, d.Revision) }); err != nil {
		return err
	}
	return errNoted
}

// dueUnit is the policy and the resource, nil if either is gone or the policy does
// not hold for the resource.
func (cfg Config) dueUnit(ctx context.Context, rt provider.Runtime, due admission.Due) (*assignment.Unit, *store.Document, error) {
	set, err := cfg.Index.Current(ctx)
	if err != nil {
		return nil, nil, err
	}
	doc, err := store.Get(ctx, rt.Store, strings.ToLower(due.Resource))
	if errors.Is(err, store.ErrNotFound) || err == nil && doc.Deleting {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	a := set.Assignment(due.Assignment)
	if a == nil || a.Problem != nil || !a.Enforced {
		return nil, nil, nil
	}
	for _, u := range a.Units {
		if strings.EqualFold(u.ReferenceID, due.Reference) && u.Problem == nil && set.Covers(a, doc.ARMID()) &&
			set.Exempt(u, doc.ARMID(), doc.Type, doc.Location, rt.Now()) == nil {
			return u, doc, nil
		}
	}
	return nil, nil, nil
}

func (cfg Config) log() *slog.Logger {
	if cfg.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return cfg.Log
}
