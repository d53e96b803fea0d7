package compute_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/compute"
	"hallmark.dev/hallmark/internal/store"
)

func (r *rig) extensions() *armcompute.VirtualMachineExtensionsClient {
	r.t.Helper()
	c, err := armcompute.NewVirtualMachineExtensionsClient(providertest.Subscription, r.Credential, r.Options)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func customScript(settings, protected map[string]any) armcompute.VirtualMachineExtension {
	e := armcompute.VirtualMachineExtension{Location: to.Ptr("local"), Properties: &armcompute.VirtualMachineExtensionProperties{
		Publisher: to.Ptr("Microsoft.Azure.Extensions"), Type: to.Ptr("CustomScript"), TypeHandlerVersion: to.Ptr("2.1"), Settings: settings}}
	if protected != nil {
		e.Properties.ProtectedSettings = protected
	}
	return e
}

func command(text string) map[string]any { return map[string]any{"commandToExecute": text} }

func (r *rig) extend(e armcompute.VirtualMachineExtension) (armcompute.VirtualMachineExtension, error) {
	r.t.Helper()
	p, err := r.extensions().BeginCreateOrUpdate(r.t.Context(), providertest.ResourceGroup, "web-1", "setup", e, nil)
	done, err := wait(r.t, p, err)
	return done.VirtualMachineExtension, err
}

func (r *rig) ran() []string {
	var scripts []string
	r.w.locked(func() { scripts = slices.Clone(r.w.scripts) })
	return scripts
}

// An extension runs once for each change of its configuration, and shows what it said.
func TestExtensionRunsOnceForEachChange(t *testing.T) {
	r := fresh(t)
	r.mustCreate("web-1", machine(r.publish("1.0.0", "").String()))
	r.w.output = compute.Output{Stdout: "out\n", Stderr: "err\n"}
	first := customScript(command("echo one"), nil)
	for i, step := range []struct {
		change func(*armcompute.VirtualMachineExtension)
		runs   int
	}{
		{func(*armcompute.VirtualMachineExtension) {}, 1},
		{func(*armcompute.VirtualMachineExtension) {}, 1}, // what a repeated deployment sends
		{func(e *armcompute.VirtualMachineExtension) { e.Tags = map[string]*string{"a": to.Ptr("b")} }, 1},
		{func(e *armcompute.VirtualMachineExtension) { e.Properties.ForceUpdateTag = to.Ptr("2") }, 2},
		{func(e *armcompute.VirtualMachineExtension) { e.Properties.Settings = command("echo ONE") }, 3},
		{func(e *armcompute.VirtualMachineExtension) {
			e.Properties.Settings = map[string]any{"commandToExecute": "echo ONE", "timestamp": 1}
		}, 4},
		{func(e *armcompute.VirtualMachineExtension) {
			e.Properties.ProtectedSettings = map[string]any{"fileUris": []string{"https://x.example/f.sh"}}
		}, 5},
	} {
		step.change(&first)
		if _, err := r.extend(first); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		if got := r.ran(); len(got) != step.runs {
			t.Errorf("step %d: it has run %d times, want %d", i, len(got), step.runs)
		}
	}
	shown, err := r.extensions().Get(t.Context(), providertest.ResourceGroup, "web-1", "setup", &armcompute.VirtualMachineExtensionsClientGetOptions{Expand: to.Ptr("instanceView")})
	if err != nil {
		t.Fatal(err)
	}
	view := shown.Properties.InstanceView
	if *view.Statuses[0].Code != "ProvisioningState/succeeded" || *view.Statuses[0].Message != "Enable succeeded: \n[stdout]\nout\n[stderr]\nerr" || *view.Type != "Microsoft.Azure.Extensions.CustomScript" {
		t.Errorf("instance view %+v", view.Statuses[0])
	}
	vm, err := r.vms().Get(t.Context(), providertest.ResourceGroup, "web-1", &armcompute.VirtualMachinesClientGetOptions{Expand: to.Ptr(armcompute.InstanceViewTypesInstanceView)})
	if err != nil || len(vm.Resources) != 1 || *vm.Resources[0].Name != "setup" || len(vm.Properties.InstanceView.Extensions) != 1 {
		t.Errorf("on the machine: %v %+v", err, vm.Resources)
	}
}

// Protected settings reach the script and nobody else.
func TestProtectedSettings(t *testing.T) {
	r := fresh(t)
	r.mustCreate("web-1", machine(r.publish("1.0.0", "").String()))
	made, err := r.extend(customScript(nil, command("use canary-secret")))
	if err != nil || made.Properties.ProtectedSettings != nil {
		t.Fatalf("%v: %+v", err, made.Properties)
	}
	if got := r.ran(); len(got) != 1 || !strings.Contains(got[0], "use canary-secret") {
		t.Errorf("ran %q", got)
	}
	all, err := store.List(t.Context(), r.Store, store.Query{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		if text := string(d.Body) + string(d.Private); strings.Contains(text, "canary") || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte("canary"))) {
			t.Errorf("%s holds the secret", d.ID)
		}
	}
	// A PATCH keeps them, and a failure does not show them.
	r.w.output = compute.Output{ExitCode: 2}
	p, err := r.extensions().BeginUpdate(t.Context(), providertest.ResourceGroup, "web-1", "setup", armcompute.VirtualMachineExtensionUpdate{
		Properties: &armcompute.VirtualMachineExtensionUpdateProperties{ForceUpdateTag: to.Ptr("again")}}, nil)
	if _, err = wait(t, p, err); code(err) != "VMExtensionProvisioningError" || strings.Contains(err.Error(), "canary") {
		t.Errorf("%v", err)
	}
	if got := r.ran(); len(got) != 2 || !strings.Contains(got[1], "use canary-secret") {
		t.Errorf("after the change it ran %q", got)
	}
}

func TestExtensionFailures(t *testing.T) {
	r := fresh(t)
	r.mustCreate("web-1", machine(r.publish("1.0.0", "").String()))
	for name, c := range map[string]struct {
		change func(p *armcompute.VirtualMachineExtensionProperties)
		want   string
	}{
		"unknown":        {func(p *armcompute.VirtualMachineExtensionProperties) { p.Type = to.Ptr("AzureMonitorLinuxAgent") }, "ArtifactNotFound"},
		"nothing to run": {func(p *armcompute.VirtualMachineExtensionProperties) { p.Settings = nil }, "InvalidParameter"},
		"both":           {func(p *armcompute.VirtualMachineExtensionProperties) { p.ProtectedSettings = command("x") }, "InvalidParameter"},
		"bad script":     {func(p *armcompute.VirtualMachineExtensionProperties) { p.Settings = map[string]any{"script": "%"} }, "InvalidParameter"},
		"bad file": {func(p *armcompute.VirtualMachineExtensionProperties) {
			p.Settings = map[string]any{"commandToExecute": "x", "fileUris": []string{"file:///etc/passwd"}}
		}, "InvalidParameter"},
		"storage account": {func(p *armcompute.VirtualMachineExtensionProperties) {
			p.ProtectedSettings = map[string]any{"storageAccountName": "a"}
		}, "InvalidParameter"},
	} {
		e := customScript(command("echo"), nil)
		c.change(e.Properties)
		if _, err := r.extend(e); code(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.w.output = compute.Output{ExitCode: 7, Stderr: "no such package\n"}
	_, err := r.extend(customScript(command("false"), nil))
	if code(err) != "VMExtensionProvisioningError" || !strings.Contains(err.Error(), "exit status=7") || !strings.Contains(err.Error(), "no such package") {
		t.Errorf("a script that fails: %v", err)
	}
	r.w.output = compute.Output{}
	if _, err := r.extend(customScript(command("false"), nil)); err != nil || len(r.ran()) != 2 { // a failed one runs again
		t.Errorf("the second attempt: %v, %d runs", err, len(r.ran()))
	}
	p, err := r.extensions().BeginCreateOrUpdate(t.Context(), providertest.ResourceGroup, "web-1", "other", customScript(command("x"), nil), nil)
	if _, err := wait(t, p, err); code(err) != "BadRequest" {
		t.Errorf("a second extension of the same handler: %v", err)
	}
	off, err := r.vms().BeginDeallocate(t.Context(), providertest.ResourceGroup, "web-1", nil)
	if _, err := wait(t, off, err); err != nil {
		t.Fatal(err)
	}
	if _, err := r.extend(customScript(command("echo"), nil)); code(err) != "OperationNotAllowed" {
		t.Errorf("on a machine that is off: %v", err)
	}
	gone, err := r.extensions().BeginDelete(t.Context(), providertest.ResourceGroup, "web-1", "setup", nil)
	if _, err := wait(t, gone, err); err != nil {
		t.Errorf("deleting from a machine that is off: %v", err)
	}
}

// A reimaged machine has lost what its extensions did, and they with their protected settings run again.
func TestExtensionsRunAgainAfterAReimage(t *testing.T) {
	r := fresh(t)
	r.mustCreate("web-1", machine(r.publish("1.0.0", "").String()))
	if _, err := r.extend(customScript(nil, command("install"))); err != nil {
		t.Fatal(err)
	}
	p, err := r.vms().BeginReimage(t.Context(), providertest.ResourceGroup, "web-1", nil)
	if _, err := wait(t, p, err); err != nil {
		t.Fatal(err)
	}
	r.settled(vmID("web-1").Child("extensions", "setup"))
	if got := r.ran(); len(got) != 2 || got[0] != got[1] {
		t.Errorf("ran %q", got)
	}
}

// settled waits until a document is where it should be.
func (r *rig) settled(id arm.ID) json.RawMessage {
	r.t.Helper()
	for {
		r.Settle(r.t)
		d, err := store.Get(r.t.Context(), r.Store, id.Key())
		if err != nil {
			r.t.Fatal(err)
		}
		if d.State().Terminal() {
			return d.Body
		}
	}
}

func TestExtensionGoesWithItsMachine(t *testing.T) {
	r := fresh(t)
	r.mustCreate("web-1", machine(r.publish("1.0.0", "").String()))
	r.w.locked(func() { r.w.endless = true })
	if _, err := r.extensions().BeginCreateOrUpdate(t.Context(), providertest.ResourceGroup, "web-1", "setup", customScript(command("sleep inf"), nil), nil); err != nil {
		t.Fatal(err)
	}
	p, err := r.vms().BeginDelete(t.Context(), providertest.ResourceGroup, "web-1", nil)
	if _, err := wait(t, p, err); err != nil {
		t.Fatal(err)
	}
	if left, err := store.List(t.Context(), r.Store, store.Query{Type: compute.TypeExtension}); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}

// The other extensions that act.
func TestOtherHandlers(t *testing.T) {
	r := fresh(t)
	r.mustCreate("web-1", machine(r.publish("1.0.0", "").String()))
	for i, c := range []struct {
		publisher, name     string
		settings, protected any
		want                string
	}{
		{"Microsoft.CPlat.Core", "RunCommandLinux", map[string]any{"script": []string{"echo a", "echo b"}}, nil, "echo a\necho b"},
		{"microsoft.ostcextensions", "vmaccessforlinux", nil, map[string]any{"username": "joe", "ssh_key": sshKey}, "k='" + sshKey + "'"},
		{"Microsoft.OSTCExtensions", "CustomScriptForLinux", command("old"), nil, "'old'"},
	} {
		e := customScript(nil, nil)
		e.Properties.Publisher, e.Properties.Type, e.Properties.Settings, e.Properties.ProtectedSettings = &c.publisher, &c.name, c.settings, c.protected
		p, err := r.extensions().BeginCreateOrUpdate(t.Context(), providertest.ResourceGroup, "web-1", fmt.Sprint("e", i), e, nil)
		if _, err := wait(t, p, err); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if got := r.ran(); len(got) != i+1 || !strings.Contains(got[i], c.want) {
			t.Errorf("%s ran %q", c.name, got)
		}
	}
}

func (r *rig) commands() *armcompute.VirtualMachineRunCommandsClient {
	r.t.Helper()
	c, err := armcompute.NewVirtualMachineRunCommandsClient(providertest.Subscription, r.Credential, r.Options)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func TestManagedRunCommand(t *testing.T) {
	r := fresh(t)
	r.mustCreate("web-1", machine(r.publish("1.0.0", "").String()))
	r.w.output = compute.Output{ExitCode: 3, Stdout: "out\n", Stderr: "err\n"}
	c := armcompute.VirtualMachineRunCommand{Location: to.Ptr("local"), Properties: &armcompute.VirtualMachineRunCommandProperties{
		Source:              &armcompute.VirtualMachineRunCommandScriptSource{Script: to.Ptr("echo $who $token")},
		Parameters:          []*armcompute.RunCommandInputParameter{{Name: to.Ptr("who"), Value: to.Ptr("me")}},
		ProtectedParameters: []*armcompute.RunCommandInputParameter{{Name: to.Ptr("token"), Value: to.Ptr("canary")}}}}
	create := func() (armcompute.VirtualMachineRunCommandsClientCreateOrUpdateResponse, error) {
		p, err := r.commands().BeginCreateOrUpdate(t.Context(), providertest.ResourceGroup, "web-1", "job", c, nil)
		return wait(t, p, err)
	}
	made, err := create()
	if err != nil || made.Properties.ProtectedParameters != nil || *made.Properties.ProvisioningState != "Succeeded" {
		t.Fatalf("%v: %+v", err, made.Properties)
	}
	got, err := r.commands().GetByVirtualMachine(t.Context(), providertest.ResourceGroup, "web-1", "job", &armcompute.VirtualMachineRunCommandsClientGetByVirtualMachineOptions{Expand: to.Ptr("instanceView")})
	if err != nil {
		t.Fatal(err)
	}
	if v := got.Properties.InstanceView; *v.ExecutionState != armcompute.ExecutionStateFailed || *v.ExitCode != 3 || *v.Output != "out\n" || *v.Error != "err\n" || v.StartTime == nil || v.EndTime == nil {
		t.Errorf("instance view %+v", v)
	}
	if ran := r.ran(); len(ran) != 1 || !strings.Contains(ran[0], "export token='canary'") {
		t.Errorf("ran %q", ran)
	}
	d, err := store.Get(t.Context(), r.Store, vmID("web-1").Child("runCommands", "job").Key())
	if err != nil || strings.Contains(string(d.Body)+string(d.Private), "canary") || strings.Contains(string(d.Private), "sealed") {
		t.Errorf("%v: the secret is kept: %s", err, d.Private)
	}
	c.Properties.ProtectedParameters, c.Properties.TreatFailureAsDeploymentFailure = nil, to.Ptr(true)
	c.Properties.Source.Script = to.Ptr("false")
	if _, err := create(); code(err) != "VMRunCommandProvisioningError" || len(r.ran()) != 2 {
		t.Errorf("%v, %d runs", err, len(r.ran()))
	}
	page, err := r.commands().NewListByVirtualMachinePager(providertest.ResourceGroup, "web-1", nil).NextPage(t.Context())
	if err != nil || len(page.Value) != 1 || page.Value[0].Properties.InstanceView != nil {
		t.Errorf("%v: %+v", err, page.Value)
	}
	p, err := r.commands().BeginDelete(t.Context(), providertest.ResourceGroup, "web-1", "job", nil)
	if _, err := wait(t, p, err); err != nil || len(r.w.jobs) != 1 {
		t.Errorf("%v, the guest has %d jobs", err, len(r.w.jobs))
	}
}

// A command that nobody waits for succeeds when it has begun, and can be deleted while it runs.
func TestAsynchronousRunCommand(t *testing.T) {
	r := fresh(t)
	r.mustCreate("web-1", machine(r.publish("1.0.0", "").String()))
	r.w.locked(func() { r.w.endless = true })
	p, err := r.commands().BeginCreateOrUpdate(t.Context(), providertest.ResourceGroup, "web-1", "job", armcompute.VirtualMachineRunCommand{Location: to.Ptr("local"),
		Properties: &armcompute.VirtualMachineRunCommandProperties{AsyncExecution: to.Ptr(true), Source: &armcompute.VirtualMachineRunCommandScriptSource{Script: to.Ptr("sleep inf")}}}, nil)
	if _, err := wait(t, p, err); err != nil {
		t.Fatal(err)
	}
	got, err := r.commands().GetByVirtualMachine(t.Context(), providertest.ResourceGroup, "web-1", "job", &armcompute.VirtualMachineRunCommandsClientGetByVirtualMachineOptions{Expand: to.Ptr("instanceView")})
	if err != nil || *got.Properties.InstanceView.ExecutionState != armcompute.ExecutionStateRunning {
		t.Fatalf("%v: %+v", err, got.Properties.InstanceView)
	}
	gone, err := r.commands().BeginDelete(t.Context(), providertest.ResourceGroup, "web-1", "job", nil)
	if _, err := wait(t, gone, err); err != nil || len(r.w.jobs) != 0 {
		t.Errorf("%v, the guest has %d jobs", err, len(r.w.jobs))
	}
}
