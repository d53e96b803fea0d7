package imagebuilder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/build"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// Stages of the log besides those of internal/build.
const (
	stageSource     = "source"
	stageDistribute = "distribute"
	stageRun        = "run"
)

// update changes run and document in one transaction, on whatever others have
// written meanwhile: a cancel must not be lost, and must not lose the run.
func (r *runner) update(ctx context.Context, change func(d *provider.Draft, run *run)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	for range 8 {
		var now *run
		err = r.w.Update(ctx, func(d *provider.Draft) {
			st, rerr := readState(d.Doc)
			if rerr != nil || !st.active() || st.Run.ID != r.run.ID {
				return // not ours any more
			}
			change(d, st.Run)
			d.SetPrivate(st)
			now = st.Run
		})
		if err == nil && now != nil {
			r.run = *now
		}
		if !errors.Is(err, store.ErrConflict) {
			break
		}
		if err = r.w.Refresh(ctx); err != nil {
			break
		}
		if r.w.Doc.Deleting {
			return errDeleting
		}
		err = store.ErrConflict
	}
	if err != nil {
		return errors.Join(errLost, err)
	}
	return nil
}

// status shows where the run is.
func (r *runner) status(ctx context.Context, sub, message string) error {
	return r.update(ctx, func(d *provider.Draft, run *run) {
		state := runRunning
		if run.Cancel {
			state = runCanceling
		}
		d.Set("properties.lastRunStatus", runStatus{StartTime: run.Start, RunState: state, RunSubState: sub, Message: message, RunID: run.ID})
	})
}

// event logs what the builder reports, and shows which step runs.
func (r *runner) event(ctx context.Context, e build.Event, steps int) {
	r.log.write(e)
	if e.Kind != build.Started && e.Kind != build.Cached {
		return
	}
	message := fmt.Sprintf("%s: %s (%d %%).", map[build.EventKind]string{build.Started: "Running", build.Cached: "From the cache"}[e.Kind], cmp.Or(e.Step, e.Stage), e.Percent)
	// A failure to show this is found by the next record that matters.
	_ = r.status(ctx, subCustomizing, message)
}

// say adds a line of our own to the log.
func (r *runner) say(stage, format string, args ...any) {
	r.log.write(build.Event{Time: time.Now().UTC(), Run: r.run.ID, Stage: stage, Kind: build.Log, Message: fmt.Sprintf(format, args...)})
}

// explain is a failure as the template shows it: what failed, why, and what to do.
func (r *runner) explain(err error) *arm.Error {
	var refused *arm.Error
	var step *build.StepError
	var many *distributionError
	switch {
	case errors.As(err, &step):
		target := r.w.Doc.ID
		if i, ok := r.customizer(step); ok {
			target = fmt.Sprintf("properties.customize[%d]", i)
		}
		return arm.Errorf(500, "CustomizationFailed", "%s", r.explainStep(step)).At(target).Because(err)
	case errors.As(err, &many):
		return arm.Errorf(500, "DistributionFailed", "%s", many.Error()).At("properties.distribute").Because(err)
	case errors.Is(err, errInvalid):
		return arm.Errorf(500, "ValidationFailed", "%s\n%s", r.run.Invalid, r.whereTheLogIs()).At("properties.validate")
	case errors.As(err, &refused):
		return refused
	}
	return arm.Errorf(500, "RunFailed", "The run failed: %v. %s", err, r.whereTheLogIs()).At(r.w.Doc.ID).Because(err)
}

func (r *runner) explainStep(e *build.StepError) string {
	var b strings.Builder
	what := fmt.Sprintf("The builder's own step '%s'", e.Step)
	if i, ok := r.customizer(e); ok {
		what = fmt.Sprintf("Customizer %d ('%s', %s)", i+1, e.Step, r.recipe.Customize[i].Type)
	}
	fmt.Fprintf(&b, "%s failed: %v.", what, e.Err)
	if e.Command != "" {
		fmt.Fprintf(&b, "\nCommand: %s", e.Command)
	}
	if e.ExitCode >= 0 {
		fmt.Fprintf(&b, "\nExit code: %d", e.ExitCode)
	}
	if out := strings.TrimSpace(e.Output); out != "" {
		fmt.Fprintf(&b, "\nEnd of its output:\n%s", out)
	}
	b.WriteString("\n" + r.whereTheLogIs())
	if e.Hint != "" {
		b.WriteString("\nNext: " + e.Hint + ".")
	}
	return b.String()
}

// customizer is the index of a failed step in the template: the plan has steps of its
// own before those (see image.NewPlan).
func (r *runner) customizer(e *build.StepError) (int, bool) {
	i := e.Index
	if r.recipe == nil {
		return 0, false
	}
	if len(r.recipe.CACertificates) > 0 {
		i--
	}
	if r.recipe.AptMirror != "" {
		i--
	}
	return i, i >= 0 && i < len(r.recipe.Customize)
}

func (r *runner) whereTheLogIs() string {
	return fmt.Sprintf("The whole log: POST %s/readLog (run %s).", r.w.Doc.ID, r.run.ID)
}

func (r *runner) timedOut(err error) *arm.Error {
	doing := ""
	var step *build.StepError
	if errors.As(err, &step) {
		doing = "\n" + r.explainStep(step)
	}
	return arm.Errorf(500, "RunTimedOut", "The run was ended after properties.buildTimeoutInMinutes (%s). Raise it, or find out what hangs.%s\n%s",
		r.deadline().Sub(r.run.Start), doing, r.whereTheLogIs()).At("properties.buildTimeoutInMinutes")
}

// end writes how the run ended, for whoever reads the template and whoever polls.
func (r *runner) end(ctx context.Context, state, message string, how func(*provider.Draft)) error {
	r.say(stageRun, "%s %s", state, message)
	err := r.update(ctx, func(d *provider.Draft, run *run) {
		now := r.w.Now()
		run.Ended = true
		d.Set("properties.lastRunStatus", runStatus{StartTime: run.Start, EndTime: &now, RunState: state, Message: message, RunID: run.ID})
		how(d)
	})
	if err == nil {
		r.secrets.forget(r.w.Doc.Key)
	}
	return err
}

func (r *runner) failed(ctx context.Context, reason *arm.Error) error {
	if err := r.withdraw(ctx); err != nil {
		return err
	}
	state := runFailed
	if slices.ContainsFunc(outputs(r.run), func(o *output) bool { return o.Done }) && r.run.Invalid == "" {
		state = runPartiallySucceeded
	}
	return r.end(ctx, state, reason.Message, func(d *provider.Draft) {
		d.End(actionCancel, nil, arm.Errorf(409, arm.CodeConflict, "The run ended before it could be canceled."))
		d.End(actionRun, nil, reason)
	})
}

func outputs(r run) (all []*output) {
	for _, o := range r.Outputs {
		all = append(all, o)
	}
	return all
}

func (r *runner) canceled(ctx context.Context) error {
	if err := r.withdraw(ctx); err != nil {
		return err
	}
	return r.end(ctx, runCanceled, "The run was canceled. Finished steps are in the cache.", func(d *provider.Draft) {
		d.End(actionCancel, nil, nil)
		d.Cancel() // ends the run's operation; the template itself is as good as before
		d.Set("properties.provisioningState", arm.StateSucceeded)
	})
}

func (r *runner) finished(ctx context.Context) error {
	return r.end(ctx, runSucceeded, "", func(d *provider.Draft) {
		d.End(actionCancel, nil, arm.Errorf(409, arm.CodeConflict, "The run ended before it could be canceled."))
		d.End(actionRun, nil, nil)
	})
}

// creator is who made a template, as far as its document knows.
func creator(d *store.Document) identity.Principal {
	return identity.Principal{ObjectID: cmp.Or(d.UpdatedBy, d.CreatedBy)}
}
