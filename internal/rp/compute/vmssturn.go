package compute

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
)

// turn asks the next members of a round, all that are left unless the upgrade is a rolling
// one. A member that is asked twice, because the process ended in between, does the
// same twice or nothing.
func (v *setWork) turn(ctx context.Context) error {
	r := v.state.Round
	if r == nil {
		return nil
	}
	if len(r.Left) == 0 || r.Rolling != nil && r.Rolling.Canceled {
		return v.finishRound(ctx)
	}
	batch := len(r.Left)
	if r.Rolling != nil {
		if err := v.rollOn(ctx); err != nil {
			return err
		}
		batch = min(batch, r.Rolling.Batch)
	}
	var err error
	for i := 0; i < batch && err == nil; i++ {
		err = v.askNext(ctx, r)
	}
	if saved := v.save(ctx); saved != nil || err != nil {
		return cmp.Or(saved, err)
	}
	v.again = 1 // members that had nothing to do wake nobody
	return errWaiting
}

// askNext asks one member; a refusal is kept for the end of the round.
func (v *setWork) askNext(ctx context.Context, r *round) error {
	name := r.Left[0]
	if d := v.member(name); d != nil {
		err := v.ask(ctx, d, r)
		var e *arm.Error
		switch {
		case errors.As(err, &e) && e.Code == arm.CodeAnotherOperation:
			return errWaiting // its end wakes the set
		case errors.As(err, &e) && e.Status < 500:
			refused := *e
			refused.Target = d.ID
			r.Refused = append(r.Refused, &refused)
		case err != nil:
			return err
		}
	}
	r.Left, r.Asked = r.Left[1:], append(r.Asked, name)
	return nil
}

func (v *setWork) ask(ctx context.Context, d *store.Document, r *round) error {
	id := d.ARMID()
	if r.Ask != askUpgrade && r.Ask != askReimage {
		_, err := v.Client.Post(ctx, id, r.Ask, map[string]bool{"skipShutdown": r.SkipShutdown})
		return err
	}
	if !madeBySet(d) {
		if r.Named {
			return arm.Conflict("OperationNotAllowed", d.ID, "The machine %s was not made from the model of the scale set '%s': somebody has put it there. It is not changed to be like the model.", id.Name(), v.ID.Name())
		}
		return nil
	}
	properties, err := memberProperties(v.ID, v.body, 0)
	if err != nil {
		return err
	}
	told := tell(v.body, v.state)
	_, err = v.Client.Post(ctx, id, actionFollow, map[string]any{"model": told.Model, "passwordHash": told.PasswordHash, "customData": told.CustomData,
		"sku": told.SKU, "reimage": r.Ask == askReimage, "properties": properties})
	return err
}

// rollOn waits between batches and stops an upgrade that does harm.
func (v *setWork) rollOn(ctx context.Context) error {
	r := v.state.Round.Rolling
	sick := v.unhealthy(nil)
	if e := r.mayGoOn(len(v.members), len(sick), len(v.state.Round.Asked), len(v.unhealthy(v.state.Round.Asked))); e != nil {
		v.state.Last = v.state.Round.record("Faulted", v.Now(), v.unhealthy(v.state.Round.Asked))
		v.state.Last.Error = e
		return e.At(v.Doc.ID)
	}
	if r.NotBefore.IsZero() && len(v.state.Round.Asked) > 0 {
		r.NotBefore = v.Now().Add(r.Pause)
		if err := v.save(ctx); err != nil {
			return err
		}
	}
	if wait := r.NotBefore.Sub(v.Now()); wait > 0 {
		v.again = wait
		return errWaiting
	}
	r.NotBefore = time.Time{}
	return nil
}

// unhealthy are the members, of those named or (nil) of all, that have failed or should run
// and do not.
func (v *setWork) unhealthy(names []string) (sick []string) {
	for _, d := range v.members {
		name := d.ARMID().Name()
		if names != nil && !containsFold(names, name) {
			continue
		}
		_, p := readVM(d)
		if d.State() != arm.StateSucceeded || p.Want == running && !v.Machines.Running(p.Machine) {
			sick = append(sick, name)
		}
	}
	return sick
}

func containsFold(list []string, s string) bool {
	for _, x := range list {
		if strings.EqualFold(x, s) {
			return true
		}
	}
	return false
}

// finishRound ends a round: with an error if somebody refused or failed.
func (v *setWork) finishRound(ctx context.Context) error {
	r := v.state.Round
	errs := r.Refused
	for _, name := range r.Asked {
		if d := v.member(name); d != nil && d.State() == arm.StateFailed {
			errs = append(errs, failureOf(d))
		}
	}
	if r.Rolling != nil {
		code := "Completed"
		if r.Rolling.Canceled {
			code = "Cancelled"
		} else if len(errs) > 0 {
			code = "Faulted"
		}
		v.state.Last = r.record(code, v.Now(), v.unhealthy(append([]string{}, r.Asked...)))
	}
	if err := v.together(errs, "did not do what they were asked"); err != nil {
		return err
	}
	v.state.Round = nil
	return v.save(ctx)
}

// keySet are keys of scale sets, each with the key of what it looks at. It is only in
// memory: every set is looked at when the process starts.
type keySet struct {
	mu   sync.Mutex
	keys map[string]string
}

func (k *keySet) remember(set, of string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.keys == nil {
		k.keys = map[string]string{}
	}
	k.keys[set] = of
}

func (k *keySet) forget(set string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.keys, set)
}

// of are the sets that look at the key.
func (k *keySet) of(key string) (sets []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for set, looksAt := range k.keys {
		if looksAt == key {
			sets = append(sets, set)
		}
	}
	return sets
}

// removedMember wakes the sets of the group that wait, when a machine has gone: it does not
// say any more which set it was in.
func (s *service) removedMember(key string) (sets []string) {
	id, err := arm.ParseID(key)
	if err != nil || !id.Type().Equal(TypeVM) {
		return nil
	}
	return s.waiting.of(id.Scope().Key())
}
