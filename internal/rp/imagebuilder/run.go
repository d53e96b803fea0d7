package imagebuilder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/artifact"
	"hallmark.dev/hallmark/internal/build"
	"hallmark.dev/hallmark/internal/controller"
	"hallmark.dev/hallmark/internal/image"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// Why a run's work is cut short.
var (
	errCanceled = errors.New("the run was canceled")
	errDeleting = errors.New("the image template is being deleted")
	errTimeout  = errors.New("the run took longer than buildTimeoutInMinutes")
)

// runner is one call of Reconcile on one template.
type runner struct {
	*service
	mu     sync.Mutex // the builder reports from goroutines of its own
	w      *provider.Work
	run    run // as it is now; update keeps it in step with the document
	recipe *image.Recipe
	log    *runLog
}

// reconcile makes new templates Succeeded and drives runs. A run holds its worker
// until it ends; killed, it is taken up again from what is recorded.
func (s *service) reconcile(ctx context.Context, w *provider.Work) (time.Duration, error) {
	if w.Doc.Deleting {
		return 0, s.remove(ctx, w)
	}
	st, err := readState(w.Doc)
	if err != nil {
		return 0, err
	}
	if !w.Doc.State().Terminal() {
		return 0, w.Update(ctx, func(d *provider.Draft) { created(d, w, st) })
	}
	if !st.active() {
		return 0, nil
	}
	r := &runner{service: s, w: w, run: *st.Run}
	return 0, r.drive(ctx)
}

// created ends the write, and starts the first run if autoRun asks for it.
func created(d *provider.Draft, w *provider.Work, st state) {
	d.Succeed()
	if st.Run != nil || !strings.EqualFold(arm.GetString(d.Doc.Body, "properties.autoRun.state"), "Enabled") {
		return
	}
	// Nobody pressed run: it has the rights of whoever wrote the template.
	d.SetPrivate(state{Run: &run{ID: strings.ToLower(ulid.Make().String()), Principal: creator(d.Doc), Start: w.Now()}})
	d.Set("properties.lastRunStatus", runStatus{StartTime: w.Now(), RunState: runRunning, RunSubState: subQueued})
}

// drive takes the run to its end, whatever that is, or returns when the process stops.
func (r *runner) drive(ctx context.Context) error {
	log, err := r.openLog(r.w.Doc.Key, r.run.ID)
	if err != nil {
		return err
	}
	r.log = log
	defer func() {
		if err := log.Close(); err != nil {
			r.Log.ErrorContext(ctx, "a run's log is not complete", "template", r.w.Doc.ID, "run", r.run.ID, "error", err)
		}
	}()
	work, done := r.watch(ctx)
	err = r.all(work)
	cause := context.Cause(work)
	done()
	switch {
	case ctx.Err() != nil, errors.Is(cause, errDeleting), errors.Is(err, errDeleting):
		return nil // the next start, or the next call, goes on
	case err == nil:
		return r.finished(ctx)
	case errors.Is(cause, errCanceled):
		return r.canceled(ctx)
	case errors.Is(cause, errTimeout):
		return r.failed(ctx, r.timedOut(err))
	case errors.Is(err, errLost):
		return err
	}
	return r.failed(ctx, r.explain(err))
}

// errLost: the store did not take a record; the next call decides anew.
var errLost = errors.New("the state of the run could not be recorded")

// watch is a context that ends when the run is canceled, out of time, or its template
// deleted.
func (r *runner) watch(ctx context.Context) (context.Context, func()) {
	work, cancel := context.WithCancelCause(ctx)
	timed, stop := context.WithDeadlineCause(work, r.deadline(), errTimeout)
	key, id, changed := r.w.Doc.Key, r.run.ID, controller.Changed(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			if why := r.asked(timed, key, id); why != nil {
				cancel(why)
			}
			select {
			case <-timed.Done():
				return
			case <-changed:
			}
		}
	})
	return timed, func() { stop(); cancel(nil); watching.Wait() }
}

// asked is what has been asked of the run since: nothing, to be canceled, or to go.
func (r *runner) asked(ctx context.Context, key, id string) error {
	d, err := store.Get(ctx, r.w.Store, key)
	if errors.Is(err, store.ErrNotFound) || (err == nil && d.Deleting) {
		return errDeleting
	}
	if err != nil {
		return nil // seen at the next change
	}
	if st, err := readState(d); err == nil && st.active() && st.Run.ID == id && st.Run.Cancel {
		return errCanceled
	}
	return nil
}

func (r *runner) deadline() time.Time {
	minutes := 240
	if recipe, errs := readRecipe(r.w.Doc.Body); errs == nil && recipe.BuildTimeoutInMinutes > 0 {
		minutes = recipe.BuildTimeoutInMinutes
	}
	return r.run.Start.Add(time.Duration(minutes) * time.Minute)
}

// all is the run: source, customize, validate, distribute.
func (r *runner) all(ctx context.Context) error {
	recipe, errs := readRecipe(r.w.Doc.Body)
	if errs != nil {
		return arm.Join(errs)
	}
	r.recipe = recipe
	v := recipe.Validate
	if v == nil {
		v = &image.Validate{}
	}
	if _, _, err := r.Artifacts.Resolve(r.run.Artifact); err != nil { // not built, or gone since
		make := r.build
		if v.SourceValidationOnly {
			make = r.sourceOnly
		}
		if err := make(ctx, recipe); err != nil {
			return err
		}
	}
	if err := r.validated(ctx, recipe, v); err != nil {
		return err
	}
	if !v.SourceValidationOnly && (r.run.Invalid == "" || v.ContinueDistributeOnFailure) {
		if err := r.distribute(ctx, recipe); err != nil {
			return err
		}
	}
	if r.run.Invalid != "" { // also where the image was distributed all the same, as in Azure
		return errInvalid
	}
	return nil
}

// errInvalid: an in-VM validation failed; run.Invalid says which.
var errInvalid = errors.New("an in-VM validation failed")

// validated runs the validations unless that has been done.
func (r *runner) validated(ctx context.Context, recipe *image.Recipe, v *image.Validate) error {
	if len(v.InVMValidations) == 0 || r.run.Validated {
		return nil
	}
	failure, err := r.validate(ctx, recipe)
	if err != nil {
		return err
	}
	return r.update(ctx, func(_ *provider.Draft, run *run) {
		run.Validated = true
		if failure != nil {
			run.Invalid = failure.Error()
		}
	})
}

// build ends with the image as a blob, recorded.
func (r *runner) build(ctx context.Context, recipe *image.Recipe) error {
	release, err := r.slot(ctx)
	if err != nil {
		return err
	}
	defer release()
	values, err := r.secretValues(recipe)
	if err != nil {
		return err
	}
	plan, err := r.prepare(ctx, recipe, values)
	if err != nil {
		return err
	}
	if err := r.status(ctx, subCustomizing, ""); err != nil {
		return err
	}
	result, err := r.Builder.Build(ctx, r.run.ID, plan, func(e build.Event) { r.event(ctx, e, len(plan.Steps)) })
	if err != nil {
		return err
	}
	defer result.Release()
	digest, err := artifact.ParseDigest(strings.TrimPrefix(result.Digest, "sha256:"))
	if err != nil {
		return err
	}
	file, err := r.Artifacts.Link(ctx, result.Path, digest)
	if err != nil {
		return err
	}
	return r.update(ctx, func(_ *provider.Draft, run *run) { run.Artifact = r.Artifacts.URI(file.Digest) })
}

// slot waits until the run may build.
func (r *runner) slot(ctx context.Context) (release func(), err error) {
	select {
	case r.slots <- struct{}{}:
		return func() { <-r.slots }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// secretValues: a run that was interrupted has lost them.
func (r *runner) secretValues(recipe *image.Recipe) (map[string]string, error) {
	if len(recipe.Secrets) == 0 {
		return nil, nil
	}
	values, ok := r.secrets.get(r.w.Doc.Key, r.run.ID)
	if !ok && r.run.Secrets {
		return nil, errors.New("the server was restarted while the template was run, and secrets are kept in memory only. Run the template again with its secrets: finished steps are in the cache")
	}
	if !ok {
		return nil, errors.New("the template names secrets, and the run was started without them")
	}
	return values, nil
}

// prepare brings source and inputs here and makes the plan.
func (r *runner) prepare(ctx context.Context, recipe *image.Recipe, secrets map[string]string) (build.Plan, error) {
	if err := r.status(ctx, subBuilding, "Bringing the source image here."); err != nil {
		return build.Plan{}, err
	}
	client := r.w.Client.As(r.run.Principal)
	found, err := r.findSource(ctx, client, recipe.Source, r.w.Doc.Location)
	if err != nil {
		return build.Plan{}, err
	}
	base, err := r.base(ctx, recipe.Source, found, r.w.Doc.Location, func(line string) { r.say(stageSource, "%s", line) })
	if err != nil {
		return build.Plan{}, fmt.Errorf("the source image cannot be had: %w", err)
	}
	err = r.update(ctx, func(d *provider.Draft, run *run) {
		run.SourceVersion, run.OwnBoot = base.Version, base.Foreign
		if recipe.Source.Type == "PlatformImage" && base.Version != recipe.Source.Version {
			d.Set("properties.source.exactVersion", base.Version)
		}
	})
	if err != nil {
		return build.Plan{}, err
	}
	inputs, err := r.inputs(ctx, recipe)
	if err != nil {
		return build.Plan{}, err
	}
	steps, err := image.NewPlan(recipe, resolved(recipe.Source, found, base), inputs)
	if err != nil {
		return build.Plan{}, err
	}
	plan, err := r.plan(r.w.Doc.Key, recipe, steps, base, secrets, time.Until(r.deadline()))
	plan.NoCache = r.run.NoCache
	return plan, err
}

// remove ends a delete: nothing of the template is left but what it published.
func (s *service) remove(ctx context.Context, w *provider.Work) error {
	st, err := readState(w.Doc)
	if err != nil {
		return err
	}
	if st.active() {
		r := &runner{service: s, w: w, run: *st.Run}
		if err := r.withdraw(ctx); err != nil {
			return err
		}
	}
	s.secrets.forget(w.Doc.Key)
	if err := os.RemoveAll(s.logDir(w.Doc.Key)); err != nil {
		return fmt.Errorf("removing the logs of %s: %w", w.Doc.ID, err)
	}
	if err := removeOutputs(ctx, w); err != nil {
		return err
	}
	return w.Remove(ctx)
}
