package compute

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// Managed run commands: documents whose script runs once for each change, and goes on
// whatever becomes of the client.

type commandBody struct {
	Properties struct {
		Source struct {
			Script, ScriptURI, CommandID string
			GalleryScriptReferenceID     string
		}
		Parameters, ProtectedParameters []commandParameter
		AsyncExecution                  bool
		RunAsUser                       string
		TimeoutInSeconds                int
		OutputBlobURI, ErrorBlobURI     string
		TreatFailureAsDeploymentFailure bool
	}
}

type commandParameter struct{ Name, Value string }

// commandState is a managed run command's Private.
type commandState struct {
	// Sealed are the protected parameters, encrypted, until the script has been begun.
	Sealed []byte      `json:"sealed,omitempty"`
	Wanted int         `json:"wanted"` // counts the configurations
	Job    jobProgress `json:"job,omitzero"`

	Execution string    `json:"execution,omitempty"` // Azure's ExecutionState
	Message   string    `json:"message,omitempty"`
	ExitCode  int       `json:"exitCode"`
	Output    string    `json:"output,omitempty"`
	Error     string    `json:"error,omitempty"`
	Start     time.Time `json:"start,omitzero"`
	End       time.Time `json:"end,omitzero"`
}

func readCommand(d *store.Document) (b commandBody, p commandState) {
	_ = json.Unmarshal(d.Body, &b) // Validate reports what cannot be read
	_ = json.Unmarshal(d.Private, &p)
	return b, p
}

const atParameters = "properties.protectedParameters"

func (s *service) defaultCommand(w *provider.Write) error {
	b, p := readCommand(w.Doc)
	hidden, _ := arm.Get(w.Doc.Body, atParameters)
	w.Doc.Body = arm.Remove(arm.Remove(w.Doc.Body, atParameters), "properties.runAsPassword")
	w.Loaded = b
	if err := apply(w.Doc, edit{"properties.asyncExecution", false, true}, edit{"properties.timeoutInSeconds", int(commandTimeout.Seconds()), true}); err != nil {
		return err
	}
	if w.Create() || len(b.Properties.ProtectedParameters) > 0 || !w.Old.State().Terminal() || commandChanged(w) {
		sealed, err := s.seal(hidden)
		if err != nil {
			return err
		}
		p = commandState{Sealed: sealed, Wanted: p.Wanted + 1, Execution: "Pending"}
	}
	return setPrivate(w.Doc, p)
}

func commandChanged(w *provider.Write) bool {
	for _, path := range []string{"source", "parameters", "runAsUser", "timeoutInSeconds", "asyncExecution"} {
		was, _ := arm.Get(w.Old.Body, "properties."+path)
		is, _ := arm.Get(w.Doc.Body, "properties."+path)
		if !sameDocument(was, is) {
			return true
		}
	}
	return false
}

func (s *service) validateCommand(w *provider.Write) (errs []*arm.Error) {
	var read commandBody
	if err := json.Unmarshal(w.Doc.Body, &read); err != nil {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidRequestContent, "properties", "The run command cannot be read: %v.", hideValues(err))}
	}
	b, _ := w.Loaded.(commandBody)
	wrong := func(at, format string, arguments ...any) {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, at, format, arguments...))
	}
	if t := read.Properties.TimeoutInSeconds; t < 1 || t > int(commandTimeout.Seconds()) {
		wrong("properties.timeoutInSeconds", "The timeout is %d seconds; it must be 1 to %d.", t, int(commandTimeout.Seconds()))
	}
	if u := b.Properties.RunAsUser; u != "" && !adminName.MatchString(u) {
		wrong("properties.runAsUser", "'%s' is not a user's name.", u)
	}
	if b.Properties.OutputBlobURI+b.Properties.ErrorBlobURI != "" {
		wrong("properties.outputBlobUri", "There are no storage accounts here: read the output in the instance view.")
	}
	_, more := b.compose()
	return append(errs, more...)
}

func (b commandBody) compose() (string, []*arm.Error) {
	source := b.Properties.Source
	var fetch string
	var errs []*arm.Error
	switch {
	case source.GalleryScriptReferenceID != "":
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, "properties.source.galleryScriptReferenceId", "Scripts of galleries are not supported; give the script."))
	case source.ScriptURI != "":
		if fetch, errs = download(source.ScriptURI, 0); len(errs) == 0 {
			fetch += `chmod 700 "$n" && exec "./$n"` + "\n"
		}
	case source.Script == "" && source.CommandID != "" && !strings.EqualFold(source.CommandID, "RunShellScript"):
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, "properties.source.commandId", "The command id '%s' is not supported; it must be RunShellScript.", source.CommandID))
	case source.Script == "":
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, "properties.source", "The command has no script: give source.script or source.scriptUri."))
	}
	in := commandInput{CommandID: "RunShellScript", Script: strings.Split(cmp.Or(fetch, source.Script, "-"), "\n")}
	for _, p := range append(b.Properties.Parameters, b.Properties.ProtectedParameters...) {
		in.Parameters = append(in.Parameters, struct{ Name, Value string }(p))
	}
	script, more := in.compose()
	return script, append(errs, more...)
}

func (s *service) commitCommand(tx store.Tx, w *provider.Write) error {
	if _, p := readCommand(w.Doc); p.Execution != "Pending" {
		return nil
	}
	return wantsToRun(tx, w, "run commands")
}

// commandWork is one pass over one run command.
type commandWork struct {
	*service
	*provider.Work
	body  commandBody
	state commandState
	guest guest
}

func (s *service) reconcileCommand(ctx context.Context, w *provider.Work) (time.Duration, error) {
	c := &commandWork{service: s, Work: w}
	c.body, c.state = readCommand(w.Doc)
	var err error
	if c.guest, err = guestOf(ctx, w); errors.Is(err, errNoGuest) {
		return 0, nil // it goes with its machine
	} else if err != nil {
		return 0, err
	}
	switch {
	case w.Doc.Deleting:
		return 0, c.remove(ctx)
	case c.state.Execution != "Pending" && c.state.Execution != "Running":
		return 0, c.settle(ctx)
	}
	again, err := c.run(ctx)
	if err == nil {
		return again, nil
	}
	if failure := asFailure(ctx, err, "VMRunCommandProvisioningError"); failure != nil {
		c.state.Execution, c.state.Message, c.state.End = "Failed", failure.Message, c.Now()
		return 0, c.settle(ctx)
	}
	return 0, err
}

func (c *commandWork) job() (Job, error) {
	raw, err := c.open(c.state.Sealed)
	if err != nil {
		return Job{}, fmt.Errorf("opening the protected parameters of %s: %w", c.Doc.ID, err)
	}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &c.body.Properties.ProtectedParameters); err != nil {
			return Job{}, errors.New("the protected parameters cannot be read")
		}
	}
	script, errs := c.body.compose()
	dir := fmt.Sprintf("/var/lib/waagent/run-command-handler/download/%s/%d", c.ID.Name(), c.state.Wanted-1)
	return Job{ID: c.state.Job.ID, Dir: dir, Script: script, User: c.body.Properties.RunAsUser}, arm.Join(errs)
}

func (c *commandWork) run(ctx context.Context) (time.Duration, error) {
	if c.state.Job.ID == "" {
		c.state.Job = begun(c.Now())
		if err := c.save(ctx); err != nil {
			return 0, err
		}
	}
	job, err := c.job()
	if err != nil {
		return 0, err
	}
	state, again, err := c.step(ctx, c.guest, job, c.state.Job, c.Now())
	if err != nil {
		return 0, err
	}
	c.note(state)
	switch limit := time.Duration(c.body.Properties.TimeoutInSeconds) * time.Second; {
	case state.Done || state.Lost:
		return 0, c.settle(ctx)
	case state.Known && c.Now().Sub(c.state.Job.Since) > limit:
		if err := c.Jobs.Forget(ctx, c.guest.state.Machine, job); err != nil {
			return 0, err
		}
		c.state.Execution, c.state.Message, c.state.End = "TimedOut", fmt.Sprintf("The script ran longer than %s and was ended.", limit), c.Now()
		return 0, c.settle(ctx)
	case state.Known && c.body.Properties.AsyncExecution:
		return again, c.Update(ctx, func(d *provider.Draft) {
			d.SetPrivate(c.state)
			d.Succeed() // the script goes on
		})
	}
	return again, c.save(ctx)
}

// note takes over what the guest says.
func (c *commandWork) note(j JobState) {
	if !j.Known {
		return
	}
	p := &c.state
	p.Execution, p.Message, p.Start, p.End = "Running", "Execution in progress", j.Began, j.Ended
	p.Job.Begun, p.Job.Seen = true, true
	p.ExitCode, p.Output, p.Error, p.Sealed = j.ExitCode, j.Stdout, j.Stderr, nil
	switch {
	case j.Lost:
		p.Execution, p.Message = "Failed", "The script was begun and did not end: the machine was restarted, or something has ended it."
	case j.Done && j.ExitCode == 0:
		p.Execution, p.Message = "Succeeded", "Execution completed"
	case j.Done:
		p.Execution, p.Message = "Failed", fmt.Sprintf("failed to execute command: command terminated with exit status=%d", j.ExitCode)
	}
}

func (c *commandWork) save(ctx context.Context) error {
	return c.Update(ctx, func(d *provider.Draft) { d.SetPrivate(c.state) })
}

// settle ends the operation. A script that fails has been run: only who asks for it gets a
// failed resource.
func (c *commandWork) settle(ctx context.Context) error {
	c.state.Sealed = nil
	return c.Update(ctx, func(d *provider.Draft) {
		d.SetPrivate(c.state)
		switch {
		case d.Doc.State().Terminal():
		case c.state.Execution == "Succeeded", c.state.Job.Begun && !c.body.Properties.TreatFailureAsDeploymentFailure:
			d.Succeed()
		default:
			d.Fail(arm.Conflict("VMRunCommandProvisioningError", c.Doc.ID, "The run command '%s' has failed: %s\n%s", c.ID.Name(), c.state.Message, c.state.Error))
		}
	})
}

// remove ends a script that runs, as far as the guest answers.
func (c *commandWork) remove(ctx context.Context) error {
	if c.state.Job.ID != "" && c.Machines.Running(c.guest.state.Machine) {
		limited, cancel := context.WithTimeout(ctx, removePatience)
		defer cancel()
		job, err := c.job()
		if err == nil {
			err = c.Jobs.Forget(limited, c.guest.state.Machine, job)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			c.Log.Warn("a run command's script may go on in the machine", "command", c.Doc.ID, "error", err)
		}
	}
	return c.Remove(ctx)
}

func viewCommand(_ context.Context, v *provider.View) (json.RawMessage, error) {
	for _, e := range v.Expand {
		if e == "instanceview" {
			_, p := readCommand(v.Doc)
			return arm.Set(v.Doc.Body, "properties.instanceView", p.view())
		}
	}
	return v.Doc.Body, nil
}

func (p commandState) view() map[string]any {
	view := map[string]any{"executionState": cmp.Or(p.Execution, "Unknown"), "executionMessage": p.Message, "exitCode": p.ExitCode,
		"output": p.Output, "error": p.Error, "statuses": []any{}}
	for name, t := range map[string]time.Time{"startTime": p.Start, "endTime": p.End} {
		if !t.IsZero() {
			view[name] = t.UTC()
		}
	}
	return view
}
