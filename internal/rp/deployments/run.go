package deployments

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/correlation"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/template"
)

// How often a provider that works on a resource is looked at, and how many resources
// are asked for at the same time.
const (
	soonest  = 50 * time.Millisecond
	latest   = time.Second
	parallel = 16
)

// run is one deployment being driven.
type run struct {
	s       *service
	w       *provider.Work
	st      *state
	plan    *template.Plan
	secrets []string
	client  provider.Client // acts as who asked for the deployment
}

// planned is a plan that was made before: a running deployment is looked at often.
type planned struct {
	sealed string
	plan   *template.Plan
}

// reconcile takes a deployment as far as it goes without waiting.
func (s *service) reconcile(ctx context.Context, w *provider.Work) (time.Duration, error) {
	if w.Doc.Deleting {
		s.plans.Delete(w.Doc.Key)
		return 0, w.Remove(ctx)
	}
	if w.Doc.State().Terminal() {
		return 0, nil
	}
	st, err := readState(w.Doc)
	if err != nil {
		return 0, err
	}
	ctx = correlation.With(ctx, st.Correlation)
	r := &run{s: s, w: w, st: st, client: w.Client.As(st.Principal)}
	if r.plan, err = s.planOf(ctx, w, st); err != nil {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		return 0, r.fail(ctx, arm.AsError(err))
	}
	r.secrets = r.plan.Secrets()
	return r.drive(ctx)
}

// planOf expands the recorded inputs once more: the same inputs give the same plan.
func (s *service) planOf(ctx context.Context, w *provider.Work, st *state) (*template.Plan, error) {
	if known, ok := s.plans.Load(w.Doc.Key); ok && known.(*planned).sealed == string(st.Sealed) {
		return known.(*planned).plan, nil
	}
	in, err := s.open(st)
	if err != nil {
		return nil, arm.Errorf(500, "DeploymentFailed", "What the deployment was started with cannot be read: %v. Start it again.", err)
	}
	parameters, err := value.Parse(string(in.Parameters))
	if err != nil {
		return nil, err
	}
	plan, err := s.expand(ctx, w.ID, in, parameters, w.Client.As(st.Principal))
	if err != nil {
		return nil, err
	}
	if len(plan.Resources) != len(st.Steps) {
		return nil, arm.Errorf(500, "DeploymentFailed", "The template expands to other resources than when the deployment was accepted. Start it again.")
	}
	s.plans.Store(w.Doc.Key, &planned{string(st.Sealed), plan})
	return plan, nil
}

// drive starts what is free and looks at what runs, until nothing moves.
func (r *run) drive(ctx context.Context) (time.Duration, error) {
	for {
		if r.st.Cancel {
			return 0, r.canceled(ctx)
		}
		r.begin()
		if !slices.ContainsFunc(r.st.Steps, func(s step) bool { return s.State == asked || s.State == running }) {
			return 0, r.finish(ctx)
		}
		// What is about to be asked for is recorded first.
		if err := r.save(ctx, nil); err != nil {
			return 0, err
		}
		moved := r.advance(ctx)
		if ctx.Err() != nil {
			return 0, ctx.Err() // what was cut short is asked for again after the start
		}
		if err := r.save(ctx, nil); err != nil {
			return 0, err
		}
		if !moved {
			return r.pause(), nil
		}
	}
}

// begin marks the steps whose dependencies are done.
func (r *run) begin() {
	now := r.w.Now()
	for i := range r.st.Steps {
		s := &r.st.Steps[i]
		ready := s.State == waiting && !slices.ContainsFunc(r.plan.Resources[i].DependsOn, func(d int) bool { return !r.st.Steps[d].done() })
		if ready {
			s.State, s.Start = asked, &now
		}
	}
}

// advance takes one step further on everything that is on its way, and reports
// whether anything moved.
func (r *run) advance(ctx context.Context) bool {
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallel)
	before := make([]step, len(r.st.Steps))
	copy(before, r.st.Steps)
	for i := range r.st.Steps {
		s := &r.st.Steps[i]
		if s.State != asked && s.State != running {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if s.State == asked {
				r.ask(ctx, r.plan.Resources[i], s)
			} else {
				r.look(ctx, s)
			}
		})
	}
	wg.Wait()
	for i := range before {
		if before[i].State != r.st.Steps[i].State {
			return true
		}
	}
	return false
}

// maxTries is how often a resource is asked for whose provider is out of order;
// busyPatience is how long one may be busy with something else.
const (
	maxTries     = 5
	busyPatience = 30 * time.Minute
)

// ask puts a resource.
func (r *run) ask(ctx context.Context, res *template.Resource, s *step) {
	if res.ID.IsRoot() {
		r.end(s, 400, arm.BadRequest(template.CodeInvalidTemplate, res.Path, "The id of the resource '%s' is not known.", res.Name))
		return
	}
	body, err := r.plan.Body(res, states{ctx, r.client})
	if err == nil && res.Type.Equal(Type) {
		body = template.Hide(body, r.secrets)
	}
	if err != nil {
		if ctx.Err() == nil {
			r.end(s, 400, invalid(err))
		}
		return
	}
	c := r.client
	c.APIVersion = res.APIVersion
	answer, err := c.Put(ctx, res.ID, json.RawMessage(body.JSON()))
	switch {
	case ctx.Err() != nil:
	case err != nil:
		r.refused(s, arm.AsError(err))
	default:
		r.accepted(ctx, res.ID, s, answer)
	}
}

// refused decides whether to ask again.
func (r *run) refused(s *step, e *arm.Error) {
	busy := e.Status == 409 && (e.Code == arm.CodeAnotherOperation || e.Code == "DeploymentActive")
	if busy && r.w.Now().Sub(*s.Start) < busyPatience {
		return
	}
	if s.Tries++; (e.Status >= 500 || e.Status == 429 || e.Code == arm.CodeConflict) && s.Tries < maxTries {
		return
	}
	r.end(s, e.Status, about(s.ID, e))
}

// accepted reads from the answer whether the provider still works on the resource.
func (r *run) accepted(ctx context.Context, id arm.ID, s *step, answer json.RawMessage) {
	s.Status = 201
	if state := arm.ProvisioningState(arm.GetString(answer, "properties.provisioningState")); state == "" || state.Terminal() {
		r.end(s, 200, nil)
		return
	}
	s.State = running
	d, err := store.Get(ctx, r.w.Store, id.Key())
	if err == nil && len(d.Operations) > 0 {
		s.Operation = d.Operations[len(d.Operations)-1]
	}
}

// end notes how a step ended.
func (r *run) end(s *step, status int, e *arm.Error) {
	now := r.w.Now()
	s.End, s.Status, s.State = &now, status, succeeded
	if e != nil {
		s.State, s.Error = failed, r.masked(e)
	}
}

func (r *run) masked(e *arm.Error) *arm.Error { return masked(e, r.secrets) }

// masked keeps secrets out of an error that repeats them.
func masked(e *arm.Error, secrets []string) *arm.Error {
	raw, err := json.Marshal(e)
	if err != nil {
		return e
	}
	text := string(raw)
	for _, secret := range secrets {
		if len(secret) >= shortestSecret {
			quoted := value.AppendQuoted(nil, secret)
			text = strings.ReplaceAll(text, string(quoted[1:len(quoted)-1]), "*****")
		}
	}
	var out arm.Error
	if text == string(raw) || json.Unmarshal([]byte(text), &out) != nil {
		return e
	}
	out.Status = e.Status
	return &out
}

// shortestSecret is the shortest text that is worth looking for in others.
const shortestSecret = 4

// pause is how long to wait for providers: short at first, for what is quick.
func (r *run) pause() time.Duration {
	var since time.Time
	for _, s := range r.st.Steps {
		for _, t := range []*time.Time{s.Start, s.End} {
			if t != nil && t.After(since) {
				since = *t
			}
		}
	}
	return min(max(r.w.Now().Sub(since)/8, soonest), latest)
}

// save records the steps. Somebody may have asked for a cancel meanwhile: that stays.
func (r *run) save(ctx context.Context, change func(*provider.Draft)) error {
	for range 8 {
		err := r.w.Update(ctx, func(d *provider.Draft) {
			d.SetPrivate(r.st)
			if d.Doc.State() != arm.StateRunning {
				d.Set("properties.provisioningState", arm.StateRunning)
			}
			if change != nil {
				change(d)
			}
		})
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
		if err := r.w.Refresh(ctx); err != nil {
			return err
		}
		fresh, err := readState(r.w.Doc)
		if err != nil {
			return err
		}
		if r.w.Doc.Deleting || string(fresh.Sealed) != string(r.st.Sealed) {
			return fmt.Errorf("%s is not what it was: %w", r.w.Doc.ID, store.ErrConflict)
		}
		r.st.Cancel = fresh.Cancel
	}
	return fmt.Errorf("recording the progress of %s: %w", r.w.Doc.ID, store.ErrConflict)
}
