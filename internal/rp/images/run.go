package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/oklog/ulid/v2"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/controller"
	"hallmark.dev/hallmark/internal/pipeline"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// runState is a run's Private: what it was started with. The recipe is frozen
// here, so that a pipeline can be edited while it runs.
type runState struct {
	Recipe  json.RawMessage
	Target  string
	Place   pipeline.Place
	Secrets []byte // sealed; gone when the run ends
	Cancel  bool
}

// order is what a client asks of a run, in properties of the run.
type order struct {
	Properties struct {
		pipeline.Order
		Secrets map[string]string
	}
}

// startRun is POST …/pipelines/P/run: it starts a run under a new id.
func (p *images) startRun(ctx context.Context, w *provider.Write) (any, error) {
	request := w.Request
	if len(request) == 0 {
		request = json.RawMessage("{}")
	}
	id := w.ID.Child("runs", ulid.Make().String())
	body, err := w.Client.Create(ctx, id, map[string]json.RawMessage{"properties": request})
	return body, err
}

// loadRun reads the pipeline that the run is of, as it is now.
func loadRun(ctx context.Context, w *provider.Write) error {
	if !w.Create() {
		return arm.Conflict(arm.CodeConflict, "", "Run '%s' exists already; a run is never written again. Start another one.", w.ID.Name())
	}
	body, err := w.Client.Get(ctx, w.ID.Parent())
	w.Loaded = body
	return err
}

// defaultRun freezes the recipe and moves the secrets out of the document.
func (p *images) defaultRun(w *provider.Write) error {
	pipelineBody, _ := w.Loaded.(json.RawMessage)
	d, err := readDefinition(pipelineBody)
	if err != nil {
		return err
	}
	var asked order
	if err := json.Unmarshal(w.Doc.Body, &asked); err != nil {
		return arm.BadRequest(arm.CodeInvalidRequestContent, "properties", "The run cannot be read: %v.", err)
	}
	state := runState{Recipe: d.Properties.Recipe, Target: d.Properties.Target, Place: p.place(w.ID, d)}
	if len(asked.Properties.Secrets) > 0 {
		if state.Secrets, err = p.sealSecrets(asked.Properties.Secrets); err != nil {
			return err
		}
	}
	run := pipeline.NewRun(w.ID.Name(), asked.Properties.Order)
	if w.Doc.Private, err = json.Marshal(state); err != nil {
		return err
	}
	w.Doc.Body = arm.Remove(w.Doc.Body, "properties")
	w.Doc.Body, err = arm.Set(w.Doc.Body, "properties", map[string]any{"run": run})
	return err
}

func (p *images) place(id arm.ID, d definition) pipeline.Place {
	place := pipeline.Place{
		Subscription: id.Subscription(), Group: id.ResourceGroup(),
		BuildGroup: id.ResourceGroup() + "-build", Location: p.Location,
	}
	for _, choice := range []struct {
		to   *string
		from string
	}{
		{&place.Subscription, d.Properties.Subscription}, {&place.Group, d.Properties.GalleryResourceGroup},
		{&place.BuildGroup, d.Properties.BuildResourceGroup}, {&place.Location, d.Location},
	} {
		if choice.from != "" {
			*choice.to = choice.from
		}
	}
	return place
}

func validateRun(w *provider.Write) []*arm.Error {
	run, err := readRun(w.Doc.Body)
	if err != nil {
		return []*arm.Error{arm.AsError(err)}
	}
	if err := run.Order.Check(); err != nil {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, "properties.version", "%v", err)}
	}
	return nil
}

func readRun(body json.RawMessage) (*pipeline.Run, error) {
	var document struct {
		Properties struct{ Run *pipeline.Run }
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return nil, fmt.Errorf("read the run: %w", err)
	}
	if document.Properties.Run == nil {
		return nil, errors.New("the document has no run")
	}
	return document.Properties.Run, nil
}

// reconcile takes a run as far as it goes without waiting.
func (p *images) reconcile(ctx context.Context, w *provider.Work) (time.Duration, error) {
	run, state, err := load(w.Doc)
	if err != nil {
		return 0, err
	}
	key := logName(w.ID)
	if w.Doc.Deleting {
		return p.remove(ctx, w, run, state)
	}
	if run.Status.Final() {
		return 0, nil
	}
	if waiting, err := p.waitsForAnother(ctx, w, run, state); waiting || err != nil {
		return 5 * time.Second, err
	}
	driver, err := p.driver(ctx, state, w.Now, key)
	if err != nil {
		return 0, err
	}
	for {
		run.Cancel = state.Cancel
		again, stepErr := driver.Step(ctx, run)
		if err := p.save(ctx, w, run); err != nil {
			return 0, err
		}
		if again == 0 {
			return 0, stepErr
		}
		if stepErr != nil {
			err = p.rest(ctx, w, pipeline.RetryAfter(run))
		} else {
			err = pause(ctx, again)
		}
		if err != nil {
			return 0, err
		}
		if err := w.Refresh(ctx); err != nil {
			return 0, err
		}
		if _, state, err = load(w.Doc); err != nil || w.Doc.Deleting {
			return time.Nanosecond, err
		}
	}
}

// pause waits, or less if the run's document changes meanwhile.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
	case <-controller.Changed(ctx):
	}
	return nil
}

// rest waits before a stage tries again what the endpoint has refused. That this
// was recorded is a change of the document, too, which must not cut the wait
// short: only a cancel or a delete does. The controller's own backoff would be
// cut short, so an outage of a second would use up all attempts.
func (p *images) rest(ctx context.Context, w *provider.Work, d time.Duration) error {
	over := time.After(d)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-over:
			return nil
		case <-controller.Changed(ctx):
		}
		if err := w.Refresh(ctx); err != nil {
			return err
		}
		if _, state, err := load(w.Doc); err != nil || state.Cancel || w.Doc.Deleting {
			return err
		}
	}
}

func load(doc *store.Document) (*pipeline.Run, *runState, error) {
	run, err := readRun(doc.Body)
	if err != nil {
		return nil, nil, err
	}
	var state runState
	if err := json.Unmarshal(doc.Private, &state); err != nil {
		return nil, nil, fmt.Errorf("read the run's state: %w", err)
	}
	return run, &state, nil
}

// save stores a run; one that has ended ends its operation and forgets its
// secrets.
func (p *images) save(ctx context.Context, w *provider.Work, run *pipeline.Run) error {
	return w.Update(ctx, func(d *provider.Draft) {
		d.Set("properties.run", run)
		if !run.Status.Final() {
			return
		}
		var state runState
		if json.Unmarshal(d.Doc.Private, &state) == nil && state.Secrets != nil {
			state.Secrets = nil
			d.SetPrivate(state)
		}
		switch run.Status {
		case pipeline.Succeeded, pipeline.UpToDate:
			d.Succeed()
		case pipeline.Canceled:
			d.Cancel()
		default:
			d.Fail(arm.Errorf(0, run.Error.Code, "%s", run.Error.Message).At(run.Error.Target))
		}
	})
}

// waitsForAnother keeps two runs from reserving the same version: of all runs
// that publish to one definition, only the oldest goes on.
func (p *images) waitsForAnother(ctx context.Context, w *provider.Work, run *pipeline.Run, state *runState) (bool, error) {
	if run.Version != "" {
		return false, nil
	}
	siblings, err := w.Client.List(ctx, w.ID.Parent(), TypeRun)
	if err != nil {
		return false, err
	}
	for _, raw := range siblings {
		other, err := readRun(raw)
		if err == nil && !other.Status.Final() && other.ID < run.ID {
			return true, nil
		}
	}
	return false, nil
}

// remove stops a run that is deleted and cleans up after it.
func (p *images) remove(ctx context.Context, w *provider.Work, run *pipeline.Run, state *runState) (time.Duration, error) {
	if !run.Status.Final() {
		driver, err := p.driver(ctx, state, w.Now, logName(w.ID))
		if err != nil {
			return 0, err
		}
		run.Cancel = true
		again, err := driver.Step(ctx, run)
		if err := p.save(ctx, w, run); err != nil {
			return 0, err
		}
		if err != nil || again > 0 {
			return again, err
		}
	}
	if err := os.Remove(logPath(p.LogDir, logName(w.ID))); err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("remove the run's log: %w", err)
	}
	return 0, w.Remove(ctx)
}

func cancelRun(_ context.Context, w *provider.Write) (any, error) {
	run, state, err := load(w.Doc)
	if err != nil {
		return nil, err
	}
	if run.Status.Final() {
		return nil, arm.Conflict("OperationNotAllowed", "", "Run '%s' has ended as %s; there is nothing to cancel.", run.ID, run.Status)
	}
	state.Cancel = true
	w.Doc.Private, err = json.Marshal(state)
	return nil, err
}

func (p *images) sealSecrets(secrets map[string]string) ([]byte, error) {
	plain, err := json.Marshal(secrets)
	if err != nil {
		return nil, err
	}
	return p.Sealer.Seal(plain)
}

func (p *images) openSecrets(sealed []byte) (map[string]string, error) {
	if len(sealed) == 0 {
		return nil, nil
	}
	plain, err := p.Sealer.Open(sealed)
	if err != nil {
		return nil, fmt.Errorf("open the run's secrets: %w", err)
	}
	var secrets map[string]string
	return secrets, json.Unmarshal(plain, &secrets)
}
