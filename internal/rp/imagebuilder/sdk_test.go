package imagebuilder_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	aib "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/virtualmachineimagebuilder/armvirtualmachineimagebuilder/v2"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/artifact"
	"hallmark.dev/hallmark/internal/build"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/imagebuilder"
	"hallmark.dev/hallmark/internal/store"
)

// engine builds nothing, but takes as long as the test likes.
type engine struct {
	dir     string
	started chan struct{} // gets a value when a build begins
	hold    bool          // builds until its context ends
	answer  func(script string) (exitCode int, err *arm.Error)
}

// machine is the fake of a machine: commands answer what the test says.
func (e *engine) machine(ctx context.Context, w *provider.Work) (time.Duration, error) {
	if w.Doc.Deleting {
		return 0, w.Remove(ctx)
	}
	if len(w.Doc.Private) == 0 {
		if w.Doc.State().Terminal() {
			return 0, nil
		}
		return 0, w.Update(ctx, func(d *provider.Draft) { d.Succeed() })
	}
	var in struct{ Script []string }
	if err := json.Unmarshal(w.Doc.Private, &in); err != nil {
		return 0, err
	}
	code, refused := e.answer(strings.Join(in.Script, "\n"))
	return 0, w.Update(ctx, func(d *provider.Draft) {
		d.Doc.Private = nil
		d.End("runCommand", map[string]any{"hallmark": map[string]any{"exitCode": code, "stderr": "that is wrong\n"}}, refused)
	})
}

func (e *engine) Build(ctx context.Context, run string, plan build.Plan, sink func(build.Event)) (build.Result, error) {
	for _, s := range plan.Steps {
		sink(build.Event{Run: run, Stage: build.StageCustomize, Step: s.Name, Kind: build.Started})
	}
	e.started <- struct{}{}
	if e.hold {
		<-ctx.Done()
		return build.Result{}, context.Cause(ctx)
	}
	path := filepath.Join(e.dir, "image")
	return build.Result{Path: path, Digest: "sha256:" + sumOf("image")}, os.WriteFile(path, []byte("image"), 0o600)
}

func (e *engine) Platform(context.Context, string, string, string, string, func(string)) (imagebuilder.Base, error) {
	return imagebuilder.Base{Base: build.Base{Path: e.base(), Digest: "sha256:" + sumOf("base")}, Version: "12.20261101.0"}, nil
}

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func (e *engine) base() string {
	path := filepath.Join(e.dir, "base")
	_ = os.WriteFile(path, []byte("base"), 0o600)
	return path
}

func (e *engine) Fetched(context.Context, imagebuilder.URL, func(string)) (imagebuilder.Base, error) {
	return imagebuilder.Base{}, nil
}

func (e *engine) Stored(context.Context, string, string) (imagebuilder.Base, error) {
	return imagebuilder.Base{}, nil
}

var poll = &runtime.PollUntilDoneOptions{Frequency: time.Millisecond}

func start(t *testing.T, hold bool) (*providertest.Server, *engine, *aib.VirtualMachineImageTemplatesClient) {
	t.Helper()
	store, err := artifact.Open(filepath.Join(t.TempDir(), "artifacts"), "https://localhost:8443")
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{dir: t.TempDir(), started: make(chan struct{}, 10), hold: hold}
	plain := func(typ arm.Type, scopes provider.Scopes) provider.ResourceType {
		return provider.ResourceType{Type: typ, Scopes: scopes, APIVersions: []string{"2024-03-03"}, Location: provider.LocationRequired, Tags: true}
	}
	vm := plain("Microsoft.Compute/virtualMachines", provider.AtResourceGroup)
	vm.Reconcile, vm.Actions = e.machine, []provider.Action{{Name: "runCommand", Async: true, KeepState: true, Apply: func(_ context.Context, w *provider.Write) (any, error) {
		w.Doc.Private = w.Request
		return nil, nil
	}}}
	others := provider.Provider{Types: []provider.ResourceType{vm, plain("Microsoft.Compute/images", provider.AtResourceGroup), plain("Microsoft.Compute/galleries", provider.AtResourceGroup),
		plain("Microsoft.Compute/galleries/images", 0), plain("Microsoft.Compute/galleries/images/versions", 0)}}
	s := providertest.Start(t, providertest.With(others, imagebuilder.New(imagebuilder.Config{Builder: e, Sources: e, Artifacts: store, Logs: t.TempDir(), PollEvery: time.Millisecond})))
	for _, id := range []arm.ID{definition.Parent(), definition} {
		if _, err := s.Client.Put(t.Context(), id, map[string]string{"location": providertest.Location}); err != nil {
			t.Fatal(err)
		}
	}
	client, err := aib.NewVirtualMachineImageTemplatesClient(providertest.Subscription, s.Credential, s.Options)
	if err != nil {
		t.Fatal(err)
	}
	return s, e, client
}

var definition = providertest.Group().Resource("Microsoft.Compute/galleries", "golden").Child("images", "web-base")

func template() aib.ImageTemplate {
	return aib.ImageTemplate{
		Location: to.Ptr(providertest.Location),
		Identity: &aib.ImageTemplateIdentity{Type: to.Ptr(aib.ResourceIdentityTypeNone)},
		Properties: &aib.ImageTemplateProperties{
			Source:    &aib.ImageTemplatePlatformImageSource{Type: to.Ptr("PlatformImage"), Publisher: to.Ptr("Debian"), Offer: to.Ptr("debian-12"), SKU: to.Ptr("12-gen2"), Version: to.Ptr("latest")},
			Customize: []aib.ImageTemplateCustomizerClassification{&aib.ImageTemplateShellCustomizer{Type: to.Ptr("Shell"), Name: to.Ptr("hello"), Inline: []*string{to.Ptr("echo hello")}}},
			Distribute: []aib.ImageTemplateDistributorClassification{&aib.ImageTemplateSharedImageDistributor{Type: to.Ptr("SharedImage"), RunOutputName: to.Ptr("gallery"),
				GalleryImageID: to.Ptr(definition.String()), TargetRegions: []*aib.TargetRegion{{Name: to.Ptr(providertest.Location)}}, Versioning: &aib.DistributeVersionerLatest{Scheme: to.Ptr("Latest"), Major: to.Ptr[int32](1)}}},
			VMProfile: &aib.ImageTemplateVMProfile{OSDiskSizeGB: to.Ptr[int32](10)},
		},
	}
}

func done[T any](t *testing.T, p *runtime.Poller[T], err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.PollUntilDone(t.Context(), poll)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestSDK creates, runs and deletes a template with Azure's own client.
func TestSDK(t *testing.T) {
	_, _, client := start(t, false)
	ctx := t.Context()
	c, err := client.BeginCreateOrUpdate(ctx, "rg", "web", template(), nil)
	if got := done(t, c, err); *got.Properties.ProvisioningState != aib.ProvisioningStateSucceeded || *got.Properties.BuildTimeoutInMinutes != 240 {
		t.Errorf("%+v", got.Properties)
	}
	again, err := client.BeginCreateOrUpdate(ctx, "rg", "web", template(), nil)
	done(t, again, err)
	u, err := client.BeginUpdate(ctx, "rg", "web", aib.ImageTemplateUpdateParameters{Tags: map[string]*string{"a": to.Ptr("b")}}, nil)
	if got := done(t, u, err); *got.Tags["a"] != "b" {
		t.Errorf("%+v", got)
	}
	r, err := client.BeginRun(ctx, "rg", "web", nil)
	done(t, r, err)
	got, err := client.Get(ctx, "rg", "web", nil)
	if err != nil {
		t.Fatal(err)
	}
	s := got.Properties.LastRunStatus
	if *s.RunState != aib.RunStateSucceeded || s.StartTime == nil || s.EndTime == nil || *got.Properties.Source.(*aib.ImageTemplatePlatformImageSource).ExactVersion != "12.20261101.0" {
		t.Errorf("%+v", got.Properties)
	}
	out, err := client.GetRunOutput(ctx, "rg", "web", "gallery", nil)
	if err != nil || *out.Properties.ArtifactID != definition.Child("versions", "1.0.0").String() || *out.Properties.ProvisioningState != aib.ProvisioningStateSucceeded {
		t.Errorf("%+v %v", out.Properties, err)
	}
	page, err := client.NewListRunOutputsPager("rg", "web", nil).NextPage(ctx)
	if err != nil || len(page.Value) != 1 {
		t.Errorf("%+v %v", page, err)
	}
	d, err := client.BeginDelete(ctx, "rg", "web", nil)
	done(t, d, err)
}

// TestCancel: the run's poller ends as canceled, the template can be run again.
func TestCancel(t *testing.T) {
	s, e, client := start(t, true)
	ctx := t.Context()
	c, err := client.BeginCreateOrUpdate(ctx, "rg", "web", template(), nil)
	done(t, c, err)
	run, err := client.BeginRun(ctx, "rg", "web", nil)
	if err != nil {
		t.Fatal(err)
	}
	<-e.started
	if _, err := client.BeginRun(ctx, "rg", "web", nil); err == nil {
		t.Error("a second run at the same time")
	}
	got, err := client.Get(ctx, "rg", "web", nil)
	if err != nil || *got.Properties.LastRunStatus.RunState != aib.RunStateRunning || *got.Properties.LastRunStatus.RunSubState != aib.RunSubStateCustomizing {
		t.Errorf("%+v %v", got.Properties.LastRunStatus, err)
	}
	cancel, err := client.BeginCancel(ctx, "rg", "web", nil)
	done(t, cancel, err)
	if _, err := run.PollUntilDone(ctx, poll); err == nil || !strings.Contains(err.Error(), "Canceled") {
		t.Errorf("the run's poller says %v", err)
	}
	s.Settle(t)
	if got, err = client.Get(ctx, "rg", "web", nil); err != nil || *got.Properties.LastRunStatus.RunState != aib.RunStateCanceled || *got.Properties.ProvisioningState != aib.ProvisioningStateSucceeded {
		t.Errorf("%+v %v", got.Properties, err)
	}
	e.hold = false
	again, err := client.BeginRun(ctx, "rg", "web", nil)
	done(t, again, err)
}

// TestInVMValidations: they run in a machine of the finished image, which is gone afterwards,
// and what fails is not published.
func TestInVMValidations(t *testing.T) {
	booting := 2
	for _, c := range []struct {
		name     string
		change   func(*aib.ImageTemplateProperties)
		answer   func(script string) (int, *arm.Error)
		state    aib.RunState
		says     string
		versions int
		machines int
	}{
		{name: "pass, once the machine has booted", state: aib.RunStateSucceeded, versions: 1, answer: func(string) (int, *arm.Error) {
			if booting--; booting >= 0 {
				return 0, arm.Errorf(409, "VMAgentStatusCommunicationError", "not yet")
			}
			return 0, nil
		}},
		{name: "fail", state: aib.RunStateFailed, says: "In-VM validation 2 ('check', Shell) failed: it exited with 3", answer: failCheck},
		{name: "fail, and distribute all the same", state: aib.RunStateFailed, says: "that is wrong", versions: 1, answer: failCheck,
			change: func(p *aib.ImageTemplateProperties) { p.Validate.ContinueDistributeOnFailure = to.Ptr(true) }},
		{name: "fail, and keep the machine", state: aib.RunStateFailed, says: "The machine was kept", machines: 1, answer: failCheck,
			change: func(p *aib.ImageTemplateProperties) {
				p.ErrorHandling = &aib.ImageTemplatePropertiesErrorHandling{OnValidationError: to.Ptr(aib.OnBuildErrorAbort)}
			}},
		{name: "the source only", state: aib.RunStateSucceeded, answer: func(string) (int, *arm.Error) { return 0, nil },
			change: func(p *aib.ImageTemplateProperties) {
				p.Validate.SourceValidationOnly, p.Customize = to.Ptr(true), nil
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, e, client := start(t, false)
			e.answer = c.answer
			in := template()
			in.Properties.Validate = &aib.ImageTemplatePropertiesValidate{InVMValidations: []aib.ImageTemplateInVMValidatorClassification{
				&aib.ImageTemplateShellValidator{Type: to.Ptr("Shell"), Inline: []*string{to.Ptr("true")}},
				&aib.ImageTemplateShellValidator{Type: to.Ptr("Shell"), Name: to.Ptr("check"), Inline: []*string{to.Ptr("check-it")}},
			}}
			if c.change != nil {
				c.change(in.Properties)
			}
			made, err := client.BeginCreateOrUpdate(t.Context(), "rg", "web", in, nil)
			done(t, made, err)
			if _, err := client.BeginRun(t.Context(), "rg", "web", nil); err != nil {
				t.Fatal(err)
			}
			s.Settle(t)
			got, err := client.Get(t.Context(), "rg", "web", nil)
			if err != nil {
				t.Fatal(err)
			}
			if st := got.Properties.LastRunStatus; *st.RunState != c.state || !strings.Contains(*st.Message, c.says) {
				t.Errorf("%s: %s", *st.RunState, *st.Message)
			}
			for typ, want := range map[arm.Type]int{"Microsoft.Compute/galleries/images/versions": c.versions, "Microsoft.Compute/virtualMachines": c.machines, "Microsoft.Compute/images": c.machines} {
				if docs, err := store.List(t.Context(), s.Store, store.Query{Type: typ}); err != nil || len(docs) != want {
					t.Errorf("%d %s, want %d (%v)", len(docs), typ.Name(), want, err)
				}
			}
		})
	}
}

func failCheck(script string) (int, *arm.Error) {
	if strings.Contains(script, "check-it") {
		return 3, nil
	}
	return 0, nil
}

// TestDeleteWhileRunning: the build is cut short and nothing is left.
func TestDeleteWhileRunning(t *testing.T) {
	s, e, client := start(t, true)
	ctx := t.Context()
	c, err := client.BeginCreateOrUpdate(ctx, "rg", "web", template(), nil)
	done(t, c, err)
	if _, err := client.BeginRun(ctx, "rg", "web", nil); err != nil {
		t.Fatal(err)
	}
	<-e.started
	d, err := client.BeginDelete(ctx, "rg", "web", nil)
	done(t, d, err)
	s.Settle(t)
	if _, err := s.Client.Get(ctx, providertest.Group().Resource(imagebuilder.TypeTemplate, "web")); !arm.IsNotFound(err) {
		t.Errorf("still there: %v", err)
	}
}

// TestRunNeedsTheRightToPublish: a run has the rights of whoever asked for it.
func TestRunNeedsTheRightToPublish(t *testing.T) {
	s, _, client := start(t, false)
	ctx := t.Context()
	c, err := client.BeginCreateOrUpdate(ctx, "rg", "web", template(), nil)
	done(t, c, err)
	id := providertest.Group().Resource(imagebuilder.TypeTemplate, "web")
	token, _ := s.TokenFor(t, "Owner", id) // of the template, not of the gallery
	if status, _, body := s.DoAs(t, token, "POST", id.String()+"/run?api-version=2024-02-01", nil); status != 202 {
		t.Fatalf("%d %s", status, body)
	}
	s.Settle(t)
	got, err := client.Get(ctx, "rg", "web", nil)
	if err != nil || *got.Properties.LastRunStatus.RunState != aib.RunStateFailed || !strings.Contains(*got.Properties.LastRunStatus.Message, arm.CodeAuthorizationFailed) {
		t.Errorf("%+v %v", got.Properties.LastRunStatus, err)
	}
}
