package pipeline

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"hallmark.dev/hallmark/internal/azure"
	"hallmark.dev/hallmark/internal/image"
)

// validate boots a fresh machine from the staged version and runs every test
// in it. The machine is reached through its agent (run-command), so the same
// requests work where no route leads to it.
func (d *Driver) validate(ctx context.Context, run *Run, stage *Stage) error {
	if err := d.ensureMachine(ctx, run); err != nil {
		return err
	}
	if stage.Message == "" {
		stage.Message = "the machine runs; waiting for its tests"
		d.log(stage, "log", stage.Message)
	}
	report, err := d.runTests(ctx, run)
	if azure.Code(err) == codeAgentSilent {
		return d.stillBooting(ctx, run, stage, err)
	}
	if err != nil {
		return err
	}
	run.Tests = &report
	d.readConsole(ctx, run)
	return d.judge(run, stage)
}

// codeAgentSilent is Azure's code for a machine whose agent does not answer,
// which one that boots does not do yet.
const codeAgentSilent = "VMAgentStatusCommunicationError"

// bootPatience is how long a machine may take until its agent answers: an
// emulated one on a busy host boots in minutes.
const bootPatience = 15 * time.Minute

func (d *Driver) stillBooting(ctx context.Context, run *Run, stage *Stage, err error) error {
	if d.Now().Sub(stage.StartTime) < bootPatience {
		return errWait
	}
	d.readConsole(ctx, run)
	run.Next = "see what the machine said while it booted: " + run.Console
	f := failure("BootFailed", d.machineID(run), "The machine's agent does not answer %s after its start: %s", bootPatience, azure.Message(err))
	f.outcome = NeedsRepair
	return f
}

// testsPerScript bounds how many tests one run-command carries out. Azure
// passes on only the end of a long output.
const testsPerScript = 64

// emulationPatience multiplies the tests' time limits where every instruction
// is emulated.
const emulationPatience = 6

func (d *Driver) runTests(ctx context.Context, run *Run) (image.TestReport, error) {
	var machine struct{ Accelerator string }
	// Only Hallmark's own control plane knows; elsewhere it stays empty.
	_ = d.post(ctx, d.machineID(run), "hallmarkIdentity", apiCompute, nil, &machine)
	input := image.TestInput{
		Nonce: run.ID, Accelerator: machine.Accelerator, Patience: 1,
		Tattoo: []byte(run.Tattoo), Signature: []byte(run.Signature),
	}
	if machine.Accelerator == "tcg" {
		input.Patience = emulationPatience
	}
	plan := image.PlanTests(d.Recipe, input)
	var outputs []string
	for _, script := range plan.Scripts(testsPerScript) {
		result, err := d.runScript(ctx, run, script)
		if err != nil {
			return image.TestReport{}, err
		}
		outputs = append(outputs, result.stdout())
	}
	return plan.Judge(outputs...), nil
}

// judge says which tests failed; a version that fails one is not published.
func (d *Driver) judge(run *Run, stage *Stage) error {
	for _, r := range run.Tests.Results {
		kind := "log"
		if r.Status == image.StatusFailed {
			kind = "failed"
		}
		d.Log(Event{Time: d.Now().UTC(), Stage: stage.Name, Step: r.Name, Kind: kind, Message: strings.TrimSpace(r.Status + "  " + r.Message)})
	}
	failed := run.Tests.Failed()
	if len(failed) == 0 {
		stage.Message = fmt.Sprintf("%d tests passed", len(run.Tests.Results))
		if boot := run.Tests.Boot.DefaultTarget.Std(); boot > 0 {
			stage.Message += fmt.Sprintf(", default target after %s", boot.Round(time.Second))
		}
		return nil
	}
	run.Next = "mend the recipe and build again: finished steps are reused. The staged version stays out of latest; see its log with: hallmark image log " + run.ID
	f := failure("ValidationFailed", failed[0].Name, "%d of %d tests failed; the first is %q: %s", len(failed), len(run.Tests.Results), failed[0].Name, failed[0].Message)
	f.outcome = NeedsRepair
	return f
}

func (d *Driver) ensureMachine(ctx context.Context, run *Run) error {
	if err := d.ensure(ctx, d.networkID(), apiNetwork, d.networkDocument()); err != nil {
		return err
	}
	if err := d.ensure(ctx, d.interfaceID(run), apiNetwork, d.interfaceDocument()); err != nil {
		return err
	}
	machine, err := d.machineDocument(run)
	if err != nil {
		return err
	}
	return d.ensure(ctx, d.machineID(run), apiCompute, machine)
}

const subnet = "machines"

func (d *Driver) networkDocument() any {
	return map[string]any{
		"location": d.Place.Location,
		"properties": map[string]any{
			"addressSpace": map[string]any{"addressPrefixes": []string{"10.0.0.0/16"}},
			"subnets":      []any{map[string]any{"name": subnet, "properties": map[string]any{"addressPrefix": "10.0.0.0/20"}}},
		},
	}
}

func (d *Driver) interfaceDocument() any {
	return map[string]any{
		"location": d.Place.Location,
		"properties": map[string]any{"ipConfigurations": []any{map[string]any{
			"name": "ipconfig",
			"properties": map[string]any{
				"privateIPAllocationMethod": "Dynamic",
				"subnet":                    map[string]any{"id": d.networkID() + "/subnets/" + subnet},
			},
		}}},
	}
}

// testMachineSize is what tests run on unless the recipe says otherwise.
const testMachineSize = "Standard_B1ms"

func (d *Driver) machineDocument(run *Run) (any, error) {
	key, err := throwAwayKey()
	if err != nil {
		return nil, err
	}
	size := testMachineSize
	if d.Recipe.VMProfile != nil && d.Recipe.VMProfile.VMSize != "" {
		size = d.Recipe.VMProfile.VMSize
	}
	const admin = "hallmark"
	return map[string]any{
		"location": d.Place.Location,
		"tags":     map[string]string{"hallmark-run": run.ID},
		"properties": map[string]any{
			"hardwareProfile": map[string]any{"vmSize": size},
			"storageProfile": map[string]any{
				"imageReference": map[string]any{"id": run.VersionID},
				"osDisk":         map[string]any{"createOption": "FromImage", "deleteOption": "Delete"},
			},
			"osProfile": map[string]any{
				"computerName": name(run), "adminUsername": admin,
				"linuxConfiguration": map[string]any{
					"disablePasswordAuthentication": true,
					"ssh":                           map[string]any{"publicKeys": []any{map[string]any{"path": "/home/" + admin + "/.ssh/authorized_keys", "keyData": key}}},
				},
			},
			"networkProfile":     map[string]any{"networkInterfaces": []any{map[string]any{"id": d.interfaceID(run), "properties": map[string]any{"primary": true, "deleteOption": "Delete"}}}},
			"diagnosticsProfile": map[string]any{"bootDiagnostics": map[string]any{"enabled": true}},
		},
	}, nil
}

// throwAwayKey is a public key whose private half nobody has: the machine is
// reached through its agent only, but Azure wants a key.
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

// commandResult is run-command's answer. Azure gives the output as one text;
// the embedded control plane adds it in parts.
type commandResult struct {
	Value    []struct{ Code, Message string }
	Hallmark *struct {
		ExitCode       int
		Stdout, Stderr string
	}
}

func (r commandResult) stdout() string {
	if r.Hallmark != nil {
		return r.Hallmark.Stdout
	}
	for _, v := range r.Value {
		if _, out, ok := strings.Cut(v.Message, "[stdout]\n"); ok {
			out, _, _ = strings.Cut(out, "\n[stderr]")
			return out
		}
	}
	return ""
}

func (d *Driver) runScript(ctx context.Context, run *Run, script string) (commandResult, error) {
	var result commandResult
	body := map[string]any{"commandId": "RunShellScript", "script": strings.Split(script, "\n")}
	err := d.Cloud.DoAndWait(ctx, azure.Request{
		Method: http.MethodPost, Path: d.machineID(run) + "/runCommand", APIVersion: apiCompute, Body: body,
	}, &result)
	return result, err
}

// readConsole keeps where the serial console's log is; that a machine has none
// fails no test.
func (d *Driver) readConsole(ctx context.Context, run *Run) {
	var answer struct{ SerialConsoleLogBlobURI string }
	if d.post(ctx, d.machineID(run), "retrieveBootDiagnosticsData", apiCompute, nil, &answer) == nil {
		run.Console = answer.SerialConsoleLogBlobURI
	}
}

// clean removes what the run made besides the version, one after another: an
// interface cannot go before its machine. It is the last stage of every run,
// however it went.
func (d *Driver) clean(ctx context.Context, run *Run, _ *Stage) error {
	for _, resource := range []struct{ id, apiVersion string }{
		{d.machineID(run), apiCompute}, {d.interfaceID(run), apiNetwork}, {d.templateID(run), apiBuilder},
	} {
		gone, err := d.gone(ctx, resource.id, resource.apiVersion)
		if err != nil {
			return err
		}
		if !gone {
			return errWait
		}
	}
	return nil
}
