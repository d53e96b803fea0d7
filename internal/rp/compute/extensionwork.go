package compute

import (
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

// extensionTimeout is Azure's.
const extensionTimeout = 90 * time.Minute

// extensionWork is one pass over one extension.
type extensionWork struct {
	*service
	*provider.Work
	body    extensionBody
	state   extensionState
	handler handler
	guest   guest
}

func (s *service) reconcileExtension(ctx context.Context, w *provider.Work) (time.Duration, error) {
	e := &extensionWork{service: s, Work: w}
	e.body, e.state = readExtension(w.Doc)
	e.handler, _ = handlerOf(e.body.Properties.Publisher, e.body.Properties.Type)
	var err error
	if e.guest, err = guestOf(ctx, w); errors.Is(err, errNoGuest) {
		return 0, nil // it goes with its machine
	} else if err != nil {
		return 0, err
	}
	switch {
	case w.Doc.Deleting:
		return 0, e.remove(ctx)
	case w.Doc.State().Terminal():
		return 0, nil
	case e.state.Applied == e.state.Wanted: // nothing that the guest has to hear of
		return 0, w.Update(ctx, func(d *provider.Draft) { d.Succeed() })
	}
	again, err := e.run(ctx)
	if err == nil {
		return again, nil
	}
	if failure := asFailure(ctx, err, "VMExtensionProvisioningError"); failure != nil {
		return 0, e.fail(ctx, failure)
	}
	return 0, err
}

// run has the job begun when it is its turn, and looks at it until it has ended.
func (e *extensionWork) run(ctx context.Context) (time.Duration, error) {
	if e.state.Job.ID == "" {
		turn, err := e.takeTurn(ctx)
		if err != nil || !turn {
			return turnPoll, err
		}
	}
	job, err := e.job()
	if err != nil {
		return 0, err
	}
	state, again, err := e.step(ctx, e.guest, job, e.state.Job, e.Now())
	switch {
	case err != nil:
		return 0, err
	case state.Lost:
		return 0, e.failed("Enable failed: the script was begun and did not end: the machine was restarted, or something has ended it.\n" + state.output())
	case state.Done:
		return 0, e.end(ctx, state)
	case e.Now().Sub(e.state.Job.Since) > extensionTimeout:
		if err := e.Jobs.Forget(ctx, e.guest.state.Machine, job); err != nil {
			return 0, err
		}
		return 0, arm.Conflict("VMExtensionProvisioningTimeout", e.Doc.ID, "Provisioning of VM extension %s has timed out. Extension provisioning has taken too long to complete: more than %s.", e.ID.Name(), extensionTimeout)
	}
	if state.Known && !e.state.Job.Seen {
		e.state.Job.Seen = true
		return again, e.Update(ctx, func(d *provider.Draft) { d.SetPrivate(e.state) })
	}
	return again, nil
}

// takeTurn decides the job, if none of the machine's other extensions has one under way and
// those that go first are done: a guest runs one extension at a time, as in Azure.
func (e *extensionWork) takeTurn(ctx context.Context) (bool, error) {
	e.queueing.Lock()
	defer e.queueing.Unlock()
	var others []*store.Document
	err := e.Store.View(ctx, func(tx store.ReadTx) (err error) {
		others, err = siblings(tx, e.ID)
		return err
	})
	if err != nil {
		return false, err
	}
	for _, d := range others {
		_, p := readExtension(d)
		first := slices.ContainsFunc(e.body.Properties.ProvisionAfterExtensions, func(name string) bool { return strings.EqualFold(name, d.ARMID().Name()) })
		switch {
		case d.Key == e.Doc.Key:
		case first && d.State() == arm.StateFailed:
			return false, arm.Conflict("VMExtensionProvisioningError", e.Doc.ID, "The extension %s comes after %s, which has failed.", e.ID.Name(), d.ARMID().Name())
		case first && d.State() != arm.StateSucceeded, p.Job.ID != "" && !d.State().Terminal():
			return false, nil
		}
	}
	e.state.Job, e.state.Last = begun(e.Now()), nil
	return true, e.Update(ctx, func(d *provider.Draft) { d.SetPrivate(e.state) })
}

func (e *extensionWork) job() (Job, error) {
	protected, err := e.open(e.state.Sealed)
	if err != nil {
		return Job{}, fmt.Errorf("opening the protected settings of %s: %w", e.Doc.ID, err)
	}
	script, errs := e.handler.compose(e.body.Properties.Settings, protected)
	return Job{ID: e.state.Job.ID, Dir: e.handler.folder(e.state.Wanted), Script: script}, arm.Join(errs)
}

// end records how the script ended.
func (e *extensionWork) end(ctx context.Context, state JobState) error {
	if state.ExitCode != 0 {
		return e.failed(fmt.Sprintf("Enable failed: failed to execute command: command terminated with exit status=%d\n%s", state.ExitCode, state.output()))
	}
	e.state.Applied, e.state.Instance, e.state.Job = e.state.Wanted, e.guest.state.Instance, jobProgress{}
	e.state.Last = &outcome{true, "Enable succeeded: \n" + state.output(), state.Ended}
	return e.Update(ctx, func(d *provider.Draft) {
		d.SetPrivate(e.state)
		d.Succeed()
	})
}

// failed is Azure's answer for a handler that has reported a failure.
func (e *extensionWork) failed(message string) *arm.Error {
	e.state.Last = &outcome{false, message, e.Now()}
	return arm.Conflict("VMExtensionProvisioningError", e.Doc.ID, "VM has reported a failure when processing extension '%s' (publisher '%s' and type '%s'). Error message: '%s'. The output is in %s of the machine.",
		e.ID.Name(), e.body.Properties.Publisher, e.body.Properties.Type, message, e.handler.folder(e.state.Wanted))
}

func (e *extensionWork) fail(ctx context.Context, failure *arm.Error) error {
	if e.state.Last == nil {
		e.state.Last = &outcome{false, failure.Message, e.Now()}
	}
	e.state.Job = jobProgress{}
	return e.Update(ctx, func(d *provider.Draft) {
		if e.body.Properties.SuppressFailures {
			e.state.Applied, e.state.Instance = e.state.Wanted, e.guest.state.Instance
			d.SetPrivate(e.state)
			d.Succeed()
			return
		}
		d.SetPrivate(e.state)
		d.Fail(failure)
	})
}

// remove ends what runs, as far as the guest answers: a machine that is off, or that has lost its
// agent, must not keep the extension.
func (e *extensionWork) remove(ctx context.Context) error {
	if e.state.Job.ID != "" && e.Machines.Running(e.guest.state.Machine) {
		limited, cancel := context.WithTimeout(ctx, removePatience)
		defer cancel()
		job := Job{ID: e.state.Job.ID, Dir: e.handler.folder(e.state.Wanted)}
		if err := e.Jobs.Forget(limited, e.guest.state.Machine, job); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			e.Log.Warn("an extension's script may go on in the machine", "extension", e.Doc.ID, "error", err)
		}
	}
	return e.Remove(ctx)
}

// removePatience bounds how long a delete waits for a guest.
const removePatience = 30 * time.Second
