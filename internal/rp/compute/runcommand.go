package compute

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/shellword"
)

// command is a script on its way into a guest. Begun is recorded before the guest
// hears of it: a script is never run twice, and one whose end nobody saw is reported so.
type command struct {
	Script string `json:"script,omitempty"`
	Begun  bool   `json:"begun,omitempty"`
}

type commandInput struct {
	CommandID  string
	Script     []string
	Parameters []struct{ Name, Value string }
}

var (
	parameterName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	actionCommand = "runCommand"
)

// maxMessage is how much of each stream Azure puts into the message; all that there is
// goes into the hallmark part.
const maxMessage = 4096

func (s *service) applyCommand(_ context.Context, w *provider.Write) (any, error) {
	_, p := readVM(w.Doc)
	var in commandInput
	if err := json.Unmarshal(w.Request, &in); err != nil {
		return nil, arm.BadRequest(arm.CodeInvalidRequestContent, "body", "The command cannot be read: %v.", err)
	}
	script, errs := in.compose()
	if err := arm.Join(errs); err != nil {
		return nil, err
	}
	if p.Want != running || !s.Machines.Running(p.Machine) {
		return nil, notAllowed(w, "since the VM is not running. Start it")
	}
	p.Command = &command{Script: script}
	return nil, setPrivate(w.Doc, p)
}

// compose makes one script; parameters become its variables, as in Azure.
func (in commandInput) compose() (string, []*arm.Error) {
	var errs []*arm.Error
	if !strings.EqualFold(in.CommandID, "RunShellScript") {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, "commandId", "The command id '%s' is not supported; it must be RunShellScript.", in.CommandID))
	}
	if len(in.Script) == 0 {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, "script", "The command has no script."))
	}
	var b strings.Builder
	script := in.Script
	if len(script) > 0 && strings.HasPrefix(script[0], "#!") { // says who reads it, and stays the first line
		b.WriteString(script[0] + "\n")
		script = script[1:]
	}
	for i, p := range in.Parameters {
		if !parameterName.MatchString(p.Name) {
			errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, fmt.Sprintf("parameters[%d].name", i), "The parameter name '%s' is not the name of a shell variable.", p.Name))
			continue
		}
		fmt.Fprintf(&b, "export %s=%s\n", p.Name, shellword.Quote(p.Value))
	}
	for _, line := range script {
		b.WriteString(line + "\n")
	}
	return b.String(), errs
}

// runCommand runs what has been asked for and ends the operation.
func (v *vmWork) runCommand(ctx context.Context) error {
	if v.state.Command.Begun {
		return v.endCommand(ctx, nil, arm.Errorf(500, "VMExtensionProvisioningError",
			"The script was begun, and the control plane was restarted before it ended: whether and how it ended is not known. Look in the machine, and run it again if that does no harm."))
	}
	script := v.state.Command.Script
	v.state.Command = &command{Begun: true} // scripts may hold secrets: not kept longer than needed
	if err := v.save(ctx); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	out, err := v.Machines.Exec(limited, v.state.Machine, script)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx) // the process stops, or the machine goes: the next pass says so
	case errors.Is(err, ErrAgent):
		return v.endCommand(ctx, nil, arm.Errorf(409, "VMAgentStatusCommunicationError",
			"VM '%s' has not reported status for VM agent: %v. Wait until it has booted, and make sure that its image has qemu-guest-agent.", v.ID.Name(), err))
	case err != nil:
		return v.endCommand(ctx, nil, arm.Errorf(500, "VMExtensionProvisioningError", "The script could not be run: %v.", err))
	}
	return v.endCommand(ctx, commandResult(out), nil)
}

func (v *vmWork) endCommand(ctx context.Context, result any, failure *arm.Error) error {
	v.state.Command = nil
	return v.Update(ctx, func(d *provider.Draft) {
		d.SetPrivate(v.state)
		d.End(actionCommand, result, failure)
	})
}

type commandStatus struct {
	Code          string `json:"code"`
	Level         string `json:"level"`
	DisplayStatus string `json:"displayStatus"`
	Message       string `json:"message"`
}

// commandResult is Azure's shape, in which a script that fails has succeeded in being
// run; the exit code is in the part that is ours.
func commandResult(out Output) any {
	message := fmt.Sprintf("Enable succeeded: \n[stdout]\n%s\n[stderr]\n%s", end(out.Stdout), end(out.Stderr))
	return map[string]any{
		"value":    []commandStatus{{"ProvisioningState/succeeded", "Info", "Provisioning succeeded", message}},
		"hallmark": map[string]any{"exitCode": out.ExitCode, "stdout": out.Stdout, "stderr": out.Stderr, "truncated": out.Truncated},
	}
}

func end(s string) string {
	if len(s) > maxMessage {
		s = strings.ToValidUTF8(s[len(s)-maxMessage:], "")
	}
	return cmp.Or(s, "")
}
