package imagebuilder

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/artifact"
	"hallmark.dev/hallmark/internal/image"
	"hallmark.dev/hallmark/internal/operation"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/shellword"
	"hallmark.dev/hallmark/internal/store"
)

const stageValidate = "validate"

// validationSize is what a machine for validations is unless vmProfile says otherwise.
const validationSize = "Standard_B1ms"

// validationError says which in-VM validation failed, and how.
type validationError struct {
	Index                   int
	Name, Type, Output, Why string
	ExitCode                int
	Kept                    string // id of the machine, if it was kept for a look
}

func (e *validationError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "In-VM validation %d ('%s', %s) failed: %s.", e.Index+1, e.Name, e.Type, e.Why)
	if out := strings.TrimSpace(e.Output); out != "" {
		fmt.Fprintf(&b, "\nEnd of its output:\n%s", out)
	}
	if e.Kept != "" {
		fmt.Fprintf(&b, "\nThe machine was kept, as errorHandling.onValidationError asks: %s. Delete it, and the managed image of the same name, when you have looked.", e.Kept)
	}
	return b.String()
}

// validate runs the template's validations in a machine that is booted from the finished
// image, and is gone afterwards. A nil failure means that all passed.
func (r *runner) validate(ctx context.Context, recipe *image.Recipe) (failure *validationError, err error) {
	if err := r.status(ctx, subValidating, "Booting a machine from the image."); err != nil {
		return nil, err
	}
	if err := r.update(ctx, func(_ *provider.Draft, run *run) { run.Machine = true }); err != nil {
		return nil, err
	}
	if err := r.bootMachine(ctx, recipe); err != nil {
		return nil, fmt.Errorf("the machine for the in-VM validations did not start: %w", err)
	}
	inputs, err := r.inputs(ctx, recipe)
	if err != nil {
		return nil, err
	}
	for i, v := range recipe.Validate.InVMValidations {
		if failure, err = r.validateOne(ctx, i, v, inputs); failure != nil || err != nil {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	if keep := recipe.ErrorHandling; failure != nil && keep != nil && keep.OnValidationError == "abort" {
		failure.Kept = r.machineID().String()
		return failure, r.update(ctx, func(_ *provider.Draft, run *run) { run.Machine = false })
	}
	return failure, r.removeMachine(ctx)
}

// machineID and validationImageID are found again by the run's id after a kill.
func (r *runner) machineID() arm.ID {
	return r.w.ID.Scope().Resource(typeVM, "validate-"+r.run.ID)
}

func (r *runner) validationImageID() arm.ID {
	return r.w.ID.Scope().Resource(typeImage, "validate-"+r.run.ID)
}

func (r *runner) bootMachine(ctx context.Context, recipe *image.Recipe) error {
	client := r.w.Client.As(r.run.Principal)
	size := validationSize
	if recipe.VMProfile != nil && recipe.VMProfile.VMSize != "" {
		size = recipe.VMProfile.VMSize
	}
	key, err := throwAwayKey()
	if err != nil {
		return err
	}
	location := r.w.Doc.Location
	for _, step := range []struct {
		id   arm.ID
		body any
	}{
		{r.validationImageID(), managedImage(location, nil, r.run.Artifact)},
		{r.machineID(), validationMachine(location, size, r.validationImageID(), r.machineID().Name(), key)},
	} {
		if _, err := client.Create(ctx, step.id, step.body); err != nil && !taken(err) { // made before a kill
			return err
		}
		if err := r.await(ctx, client, step.id); err != nil {
			return err
		}
	}
	return nil
}

func validationMachine(location, size string, source arm.ID, name, key string) any {
	const admin = "hallmark"
	return map[string]any{"location": location, "properties": map[string]any{
		"hardwareProfile": map[string]any{"vmSize": size},
		"storageProfile": map[string]any{"imageReference": map[string]any{"id": source.String()},
			"osDisk": map[string]any{"createOption": "FromImage", "deleteOption": "Delete"}},
		"osProfile": map[string]any{"computerName": name, "adminUsername": admin, "linuxConfiguration": map[string]any{
			"disablePasswordAuthentication": true,
			"ssh":                           map[string]any{"publicKeys": []any{map[string]any{"path": "/home/" + admin + "/.ssh/authorized_keys", "keyData": key}}}}},
	}}
}

// throwAwayKey is a public key whose private half nobody has: the machine is reached
// through its agent only, but a Linux machine needs a key or a password.
func throwAwayKey() (string, error) {
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))), nil
}

func (r *runner) validateOne(ctx context.Context, i int, v image.Customizer, inputs map[string][]byte) (*validationError, error) {
	name := v.Name
	if name == "" {
		name = fmt.Sprintf("%s %d", v.Type, i+1)
	}
	if err := r.status(ctx, subValidating, fmt.Sprintf("In-VM validation %d: %s.", i+1, name)); err != nil {
		return nil, err
	}
	r.say(stageValidate, "validation %d (%s) begins", i+1, name)
	script, err := validationScript(v, inputs)
	if err != nil {
		return nil, err
	}
	got, err := r.inMachine(ctx, script)
	if err != nil {
		return nil, fmt.Errorf("in-VM validation %d (%s): %w", i+1, name, err)
	}
	for line := range strings.Lines(got.Stdout + got.Stderr) {
		r.say(stageValidate, "%s", strings.TrimSpace(line))
	}
	valid := v.ValidExitCodes
	if len(valid) == 0 {
		valid = []int{0}
	}
	if slices.Contains(valid, got.ExitCode) {
		return nil, nil
	}
	return &validationError{Index: i, Name: name, Type: v.Type, ExitCode: got.ExitCode, Why: fmt.Sprintf("it exited with %d", got.ExitCode), Output: lastOf(got.Stdout + got.Stderr)}, nil
}

func lastOf(text string) string {
	const most = 2000
	if len(text) > most {
		text = strings.ToValidUTF8(text[len(text)-most:], "")
	}
	return text
}

// validationScript is a Shell or File validation as one script.
func validationScript(v image.Customizer, inputs map[string][]byte) (string, error) {
	switch v.Type {
	case image.KindShell:
		text := strings.Join(v.Inline, "\n")
		if v.ScriptURI != "" {
			text = string(inputs[v.ScriptURI])
		}
		if !strings.HasPrefix(text, "#!") {
			text = "#!/bin/sh -e\n" + text
		}
		return text, checkSum(text, v.SHA256Checksum)
	case image.KindFile:
		content := string(inputs[v.SourceURI])
		if v.Content != nil {
			content = *v.Content
		}
		return fmt.Sprintf("#!/bin/sh -e\nmkdir -p %s\nbase64 -d > %s <<'END'\n%s\nEND\n", shellword.Quote(path.Dir(v.Destination)), shellword.Quote(v.Destination),
			base64.StdEncoding.EncodeToString([]byte(content))), checkSum(content, v.SHA256Checksum)
	}
	return "", fmt.Errorf("a %s validation cannot be carried out here", v.Type)
}

// commandResult is what the machine's runCommand answers besides Azure's text.
type commandResult struct {
	ExitCode       int
	Stdout, Stderr string
}

// codeNoAgent: the machine has not booted so far.
const codeNoAgent = "VMAgentStatusCommunicationError"

// bootLimit is how long a machine may take until its agent answers; without hardware
// virtualisation it is minutes.
const bootLimit = 20 * time.Minute

// inMachine runs a script. It waits for the machine's agent, and for a command that a
// killed process left running.
func (r *runner) inMachine(ctx context.Context, script string) (commandResult, error) {
	body := map[string]any{"commandId": "RunShellScript", "script": strings.Split(script, "\n")}
	for begin := time.Now(); ; {
		result, err := r.command(ctx, body)
		var e *arm.Error
		if !errors.As(err, &e) || (e.Code != codeNoAgent && e.Code != arm.CodeAnotherOperation) {
			return result, err
		}
		if time.Since(begin) > bootLimit {
			return result, fmt.Errorf("the machine did not boot within %v: %w", bootLimit, err)
		}
		if err := r.sleep(ctx); err != nil {
			return result, err
		}
	}
}

// command runs one script and waits for its operation.
func (r *runner) command(ctx context.Context, body any) (result commandResult, err error) {
	id := r.machineID()
	before, err := r.commands(ctx, id)
	if err != nil {
		return result, err
	}
	if _, err := r.w.Client.As(r.run.Principal).Post(ctx, id, "runCommand", body); err != nil {
		return result, err
	}
	for {
		machine, err := store.Get(ctx, r.w.Store, id.Key())
		if err != nil {
			return result, fmt.Errorf("looking at the machine: %w", err)
		}
		if len(machine.Operations) == 0 {
			break
		}
		if err := r.sleep(ctx); err != nil {
			return result, err
		}
	}
	after, err := r.commands(ctx, id)
	if err != nil {
		return result, err
	}
	for name, rec := range after {
		if _, old := before[name]; old {
			continue
		}
		if rec.Error != nil {
			return result, rec.Error
		}
		answer := struct{ Hallmark *commandResult }{&result}
		return result, json.Unmarshal(rec.Result, &answer)
	}
	return result, errors.New("the machine has no record of the command")
}

// commands are the runCommand operations of a machine by name: in process nobody is told
// the one that a POST started.
func (r *runner) commands(ctx context.Context, machine arm.ID) (map[string]operation.Record, error) {
	ops, err := store.List(ctx, r.w.Store, store.Query{Type: operation.Type, SubscriptionID: machine.Subscription()})
	if err != nil {
		return nil, err
	}
	found := map[string]operation.Record{}
	for _, d := range ops {
		if rec, err := operation.Read(d); err == nil && rec.Action == "runCommand" && strings.EqualFold(rec.Resource, machine.String()) {
			found[rec.Name] = rec
		}
	}
	return found, nil
}

// removeMachine removes what was made for the validations; it may be repeated. The control
// plane does it itself: whoever asked for the run may have lost his rights meanwhile.
func (r *runner) removeMachine(ctx context.Context) error {
	if !r.run.Machine {
		return nil
	}
	for _, id := range []arm.ID{r.machineID(), r.validationImageID()} {
		if err := r.w.Client.Delete(ctx, id); err != nil {
			return fmt.Errorf("removing what the validations used: %w", err)
		}
		if err := r.awaitGone(ctx, r.w.Client, id); err != nil {
			return err
		}
	}
	return r.update(ctx, func(_ *provider.Draft, run *run) { run.Machine = false })
}

// sourceOnly makes the source itself the image that is validated.
func (r *runner) sourceOnly(ctx context.Context, recipe *image.Recipe) error {
	if err := r.status(ctx, subBuilding, "Bringing the source image here."); err != nil {
		return err
	}
	found, err := r.findSource(ctx, r.w.Client.As(r.run.Principal), recipe.Source, r.w.Doc.Location)
	if err != nil {
		return err
	}
	b, err := r.base(ctx, recipe.Source, found, r.w.Doc.Location, func(line string) { r.say(stageSource, "%s", line) })
	if err != nil {
		return fmt.Errorf("the source image cannot be had: %w", err)
	}
	digest, err := artifact.ParseDigest(strings.TrimPrefix(b.Digest, "sha256:"))
	if err != nil {
		return err
	}
	file, err := r.Artifacts.Link(ctx, b.Path, digest)
	if err != nil {
		return err
	}
	return r.update(ctx, func(_ *provider.Draft, run *run) { run.Artifact = r.Artifacts.URI(file.Digest) })
}
