package compute

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// setWork is one pass over one scale set. It acts while an operation runs and when the set
// goes; at other times its members are left alone.
type setWork struct {
	*service
	*provider.Work
	body    setBody
	state   setState
	members []*store.Document // in the order of their making
	leaving int               // members that are being deleted
	again   time.Duration     // when to look again at the latest
}

func (s *service) reconcileSet(ctx context.Context, w *provider.Work) (time.Duration, error) {
	v := &setWork{service: s, Work: w, again: lookAgain}
	v.body, v.state = readSet(w.Doc)
	follows, atRest := v.followsImages(), w.Doc.State().Terminal() && !w.Doc.Deleting
	if atRest && !follows {
		return 0, nil
	}
	s.waiting.remember(w.Doc.Key, w.ID.Scope().Key()) // before it looks: who goes meanwhile must wake it
	err := v.look(ctx)
	switch {
	case err != nil:
		return 0, err
	case atRest:
		err = v.upgradeByItself(ctx)
	default:
		err = v.pass(ctx)
	}
	if errors.Is(err, errWaiting) {
		return v.again, nil
	}
	s.waiting.forget(w.Doc.Key)
	if err != nil && !w.Doc.Deleting {
		return 0, v.fail(ctx, err)
	}
	return 0, err
}

// look finds the members.
func (v *setWork) look(ctx context.Context) error {
	q := store.Query{Type: TypeInstance, Prefix: v.Doc.Key + "/"}
	keep := func(*store.Document) bool { return true }
	if elsewhere, member, ok := collectionOf(v.Doc); ok {
		q, keep = elsewhere, member
	}
	all, err := store.List(ctx, v.Store, q)
	if err != nil {
		return fmt.Errorf("looking for the members of %s: %w", v.Doc.ID, err)
	}
	for _, d := range all {
		switch {
		case !keep(d):
		case d.Deleting:
			v.leaving++
		default:
			v.members = append(v.members, d)
		}
	}
	slices.SortFunc(v.members, func(a, b *store.Document) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(len(a.Key), len(b.Key)), cmp.Compare(a.Key, b.Key)) // 10 after 9
	})
	return nil
}

// pass takes the next step; errWaiting says that members have to get somewhere first. Each
// step finds out by itself what is left of it to do.
func (v *setWork) pass(ctx context.Context) error {
	if v.Doc.Deleting {
		return v.tearDown(ctx)
	}
	for _, step := range []func(context.Context) error{
		v.removeNamed, v.removeUnborn, v.departed, v.grow, v.shrink, v.atRest, v.allBorn, v.planUpgrade, v.turn,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return v.Update(ctx, func(d *provider.Draft) { d.Succeed() })
}

func (v *setWork) save(ctx context.Context) error {
	return v.Update(ctx, func(d *provider.Draft) { d.SetPrivate(v.state) })
}

func (v *setWork) tearDown(ctx context.Context) error {
	if err := v.remove(ctx, v.members...); err != nil {
		return err
	}
	if len(v.members)+v.leaving > 0 {
		return errWaiting
	}
	return v.Remove(ctx)
}

func (v *setWork) remove(ctx context.Context, members ...*store.Document) error {
	for _, d := range members {
		if err := v.Client.Delete(ctx, d.ARMID()); err != nil {
			return fmt.Errorf("deleting %s: %w", d.ID, err)
		}
	}
	return nil
}

// removeNamed deletes the instances that a client has named; the capacity has been
// lowered with the request.
func (v *setWork) removeNamed(ctx context.Context) error {
	r := v.state.Round
	if r == nil || r.Ask != askDelete {
		return nil
	}
	named := func(d *store.Document) bool { return slices.Contains(r.Left, d.ARMID().Name()) }
	for _, d := range v.members {
		if !named(d) {
			continue
		}
		if err := v.remove(ctx, d); err != nil {
			return err
		}
		v.leaving++
	}
	v.members = slices.DeleteFunc(v.members, named)
	v.state.Round = nil
	return v.save(ctx)
}

// removeUnborn deletes members whose creation failed before; they are made anew.
func (v *setWork) removeUnborn(ctx context.Context) error {
	if !v.state.Replace {
		return nil
	}
	for _, d := range v.members {
		if _, p := readVM(d); d.State() != arm.StateFailed || p.Born {
			continue
		}
		if err := v.remove(ctx, d); err != nil {
			return err
		}
		v.leaving++
	}
	v.state.Replace = false
	return v.save(ctx)
}

// departed waits for those that are on their way out: what they have is needed.
func (v *setWork) departed(context.Context) error {
	if v.leaving > 0 {
		return errWaiting
	}
	return nil
}

// grow makes the members that are missing. Their names are recorded first.
func (v *setWork) grow(ctx context.Context) error {
	v.state.Planned = slices.DeleteFunc(v.state.Planned, func(p planned) bool { return v.member(p.Name) != nil })
	missing := max(0, v.body.SKU.Capacity-len(v.members))
	if !v.body.hasProfile() {
		missing = 0
	}
	v.state.Planned = v.state.Planned[:min(len(v.state.Planned), missing)]
	for len(v.state.Planned) < missing {
		v.state.Planned = append(v.state.Planned, v.plan())
	}
	if err := v.save(ctx); err != nil || missing == 0 {
		return err
	}
	for _, p := range v.state.Planned {
		if err := v.make(ctx, p); err != nil {
			return err
		}
	}
	return errWaiting
}

func (v *setWork) plan() planned {
	p := planned{Number: v.state.Next, Name: fmt.Sprint(v.state.Next)}
	v.state.Next++
	if v.body.flexible() {
		p.Name = v.ID.Name()[:min(len(v.ID.Name()), 55)] + "_" + hex32()[:8]
	}
	return p
}

func (v *setWork) make(ctx context.Context, p planned) error {
	b := v.body
	b.Location = v.Doc.Location
	body, err := member(v.ID, b, v.state, v.Doc.Tags, p.Number)
	if err != nil {
		return err
	}
	if id, ok := arm.Get(v.Doc.Body, "identity"); ok && b.flexible() && strings.EqualFold(arm.GetString(id, "type"), "UserAssigned") {
		body["identity"] = id
	}
	_, err = v.Client.Create(ctx, v.memberID(p.Name), body)
	var e *arm.Error
	if errors.As(err, &e) && e.Status == 412 {
		return nil // made in a pass that was cut short
	}
	return err
}

func (v *setWork) memberID(name string) arm.ID {
	if v.body.flexible() {
		return v.ID.Scope().Resource(TypeVM, name)
	}
	return v.ID.Child("virtualMachines", name)
}

func (v *setWork) member(name string) *store.Document {
	i := slices.IndexFunc(v.members, func(d *store.Document) bool { return strings.EqualFold(d.ARMID().Name(), name) })
	if i < 0 {
		return nil
	}
	return v.members[i]
}

// shrink deletes the members that are too many.
func (v *setWork) shrink(ctx context.Context) error {
	surplus := len(v.members) - v.body.SKU.Capacity
	if surplus <= 0 || v.body.SKU.Name == "" {
		return nil
	}
	victims := victims(v.members, surplus, v.body.Properties.ScaleInPolicy.Rules)
	if err := v.remove(ctx, victims...); err != nil {
		return err
	}
	if len(victims) < surplus {
		return arm.Conflict("OperationNotAllowed", pathCapacity, "The capacity cannot be %d: %d instances are protected from scale-in. Lift their protection first.", v.body.SKU.Capacity, len(v.members)-len(victims))
	}
	v.leaving += len(victims)
	return v.departed(ctx)
}

// victims are the members that go first, of those that nobody protects: the newest, or
// the oldest where the policy says so, and machines that somebody put into the set last.
func victims(members []*store.Document, n int, rules []string) []*store.Document {
	var out []*store.Document
	candidates := slices.Clone(members)
	if !slices.ContainsFunc(rules, func(r string) bool { return strings.EqualFold(r, "OldestVM") }) {
		slices.Reverse(candidates)
	}
	slices.SortStableFunc(candidates, func(a, b *store.Document) int {
		switch madeA, madeB := madeBySet(a), madeBySet(b); {
		case madeA == madeB:
			return 0
		case madeA:
			return -1
		}
		return 1
	})
	for _, d := range candidates {
		protected, _ := arm.Get(d.Body, "properties.protectionPolicy.protectFromScaleIn")
		if len(out) < n && string(protected) != "true" {
			out = append(out, d)
		}
	}
	return out
}

// atRest waits until nothing is under way on any member.
func (v *setWork) atRest(context.Context) error {
	if slices.ContainsFunc(v.members, func(d *store.Document) bool { return !d.State().Terminal() }) {
		return errWaiting
	}
	return nil
}

// allBorn fails the operation if a member could not be made. An action on those that are
// there is not concerned.
func (v *setWork) allBorn(context.Context) error {
	if v.state.Round != nil {
		return nil
	}
	var errs []*arm.Error
	for _, d := range v.members {
		if _, p := readVM(d); !p.Born && d.State() == arm.StateFailed {
			errs = append(errs, failureOf(d))
		}
	}
	return v.together(errs, "could not be made")
}

// failureOf is why a member has failed.
func failureOf(d *store.Document) *arm.Error {
	_, p := readVM(d)
	if p.Error == nil {
		return arm.Errorf(500, "InternalExecutionError", "The instance %s is in provisioning state %s.", d.ARMID().Name(), d.State()).At(d.ID)
	}
	e := *p.Error
	e.Target, e.Status = d.ID, 409
	return &e
}

// together is one error of those of several members, with the first one's code and all
// of them as details.
func (v *setWork) together(errs []*arm.Error, what string) error {
	if len(errs) == 0 {
		return nil
	}
	e := arm.Conflict(errs[0].Code, v.Doc.ID, "%d of %d instances of the scale set '%s' %s. The first: %s", len(errs), len(v.members), v.ID.Name(), what, errs[0].Message)
	e.Details = errs
	return e
}

// planUpgrade begins to bring members to a model that has changed.
func (v *setWork) planUpgrade(ctx context.Context) error {
	if !v.state.Upgrade {
		return nil
	}
	var outdated []string
	for _, d := range v.members {
		if _, p := readVM(d); madeBySet(d) && p.Model != v.state.Model {
			outdated = append(outdated, d.ARMID().Name())
		}
	}
	v.state.Upgrade, v.state.Round = false, &round{Ask: askUpgrade, Left: outdated}
	if v.body.upgrades(rolling) {
		v.state.Round = rollingOver(outdated, v.body, v.Now())
	}
	return v.save(ctx)
}

// fail ends an operation that cannot succeed. Members stay as they are.
func (v *setWork) fail(ctx context.Context, err error) error {
	e := asFailure(ctx, err, "InternalExecutionError")
	if e == nil {
		return err
	}
	v.Log.Warn("a scale set could not be brought to what is wanted", "scaleSet", v.Doc.ID, "error", err)
	v.state.Planned, v.state.Round, v.state.Upgrade, v.state.Replace = nil, nil, false, false
	return v.Update(ctx, func(d *provider.Draft) {
		d.SetPrivate(v.state)
		d.Fail(e)
	})
}
