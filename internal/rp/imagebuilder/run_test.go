package imagebuilder

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"context"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/build"
	"hallmark.dev/hallmark/internal/operation"
	"hallmark.dev/hallmark/internal/store"
)

func TestRunDistributes(t *testing.T) {
	w := newWorld(t)
	image := group.Resource(typeImage, "web-base")
	w.create(t, templateText(toGallery+`,{"type":"ManagedImage","runOutputName":"image","imageId":"`+image.String()+`","location":"eastus"},{"type":"VHD","runOutputName":"vhd"}`))
	s := w.runIt(t, "")
	if s.RunState != "Succeeded" || s.RunSubState != "" || s.EndTime == nil || s.Message != "" {
		t.Fatalf("%+v", s)
	}
	blob := w.artifacts.URI(artifactDigest(t, sumOf("the image")))

	version := definition.Child("versions", "0.0.1")
	body := w.must(t, "GET", version, "", 200)
	properties, _ := arm.Get(body, "properties")
	want := `{"publishingProfile":{"excludeFromLatest":true,"targetRegions":[{"name":"eastus","regionalReplicaCount":1},{"name":"westeurope","regionalReplicaCount":2,"storageAccountType":"Standard_ZRS"}]},"storageProfile":{"osDiskImage":{"source":{"uri":"` + blob + `"}}},"provisioningState":"Succeeded"}`
	if diff := cmp.Diff(asTree(t, []byte(want)), asTree(t, properties)); diff != "" {
		t.Error(diff)
	}
	if got := w.document(t, version).Tags; got["team"] != "web" || got[tagBoot] != tagBootFixed {
		t.Errorf("tags %v", got)
	}
	if got := arm.GetString(w.must(t, "GET", image, "", 200), "properties.storageProfile.osDisk.blobUri"); got != blob {
		t.Errorf("managed image from %q", got)
	}

	outputs := string(w.mustPath(t, "GET", template.String()+"/runOutputs", "", 200))
	vhd := arm.GetString(w.mustPath(t, "GET", template.String()+"/runOutputs/vhd", "", 200), "properties.artifactUri")
	for _, part := range []string{`"artifactId":"` + version.String() + `"`, `"artifactId":"` + image.String() + `"`, `"artifactUri":"` + vhd + `"`, template.String() + "/runOutputs/gallery"} {
		if !strings.Contains(outputs, part) {
			t.Errorf("%s is not in %s", part, outputs)
		}
	}
	if _, _, err := w.artifacts.Resolve(vhd); err != nil {
		t.Error(err)
	}
	if got := arm.GetString(w.must(t, "GET", template, "", 200), "properties.source.exactVersion"); got != "12.20261101.0" {
		t.Errorf("exactVersion %q", got)
	}
	plan := w.engines.plans[0]
	if len(plan.Steps) != 1 || string(plan.Steps[0].Script) != "#!/bin/sh -e\napt-get install -y nginx\n" || plan.Steps[0].Kind != build.Shell || plan.EngineVersion != "1" {
		t.Errorf("%+v", plan)
	}
}

func asTree(t *testing.T, text []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

// The example of Azure's template reference.
func TestAutomaticVersionsAreAzures(t *testing.T) {
	for major, want := range map[string]string{"": "2.1.1", `"major":-1`: "2.1.1", `"major":2`: "2.1.1", `"major":1`: "1.2.1", `"major":0`: "0.1.3"} {
		t.Run(major, func(t *testing.T) {
			w := newWorld(t)
			for _, v := range strings.Fields("0.1.1 0.1.2 1.0.0 1.0.1 1.1.0 1.1.1 1.2.0 2.0.0 2.0.1 2.1.0") {
				w.must(t, "PUT", definition.Child("versions", v), `{"location":"eastus"}`, 201)
			}
			scheme := `{"scheme":"Latest"}`
			if major != "" {
				scheme = `{"scheme":"Latest",` + major + `}`
			}
			w.create(t, templateText(strings.TrimSuffix(toGallery, "}")+`,"versioning":`+scheme+`}`))
			if s := w.runIt(t, ""); s.RunState != "Succeeded" {
				t.Fatalf("%+v", s)
			}
			w.must(t, "GET", definition.Child("versions", want), "", 200)
		})
	}
}

func TestNamedVersionThatExistsIsNotReplaced(t *testing.T) {
	w := newWorld(t)
	version := definition.Child("versions", "1.0.0")
	w.must(t, "PUT", version, `{"location":"eastus","properties":{"a":"b"}}`, 201)
	w.create(t, templateText(strings.Replace(toGallery, definition.String(), version.String(), 1)))
	s := w.runIt(t, "")
	if s.RunState != "Failed" || !strings.Contains(s.Message, "SharedImage 'gallery'") || !strings.Contains(s.Message, "exists already") {
		t.Errorf("%+v", s)
	}
	if got := arm.GetString(w.must(t, "GET", version, "", 200), "properties.a"); got != "b" {
		t.Error("somebody else's version was replaced or taken back")
	}
}

func TestOneDistributionFailsAndTheOthersGoOn(t *testing.T) {
	w := newWorld(t)
	w.create(t, templateText(strings.Replace(toGallery, "/golden/", "/nothing/", 1)+`,{"type":"VHD","runOutputName":"vhd"}`))
	s := w.runIt(t, "")
	if s.RunState != "PartiallySucceeded" || !strings.Contains(s.Message, "SharedImage 'gallery'") || strings.Contains(s.Message, "VHD") {
		t.Errorf("%+v", s)
	}
	w.mustPath(t, "GET", template.String()+"/runOutputs/vhd", "", 200)
	w.mustPath(t, "GET", template.String()+"/runOutputs/gallery", "", 404)
}

func TestManagedImageIsReplaced(t *testing.T) {
	w := newWorld(t)
	image := group.Resource(typeImage, "web-base")
	w.must(t, "PUT", image, `{"location":"eastus","properties":{"storageProfile":{"osDisk":{"blobUri":"other"}}}}`, 201)
	w.create(t, templateText(`{"type":"ManagedImage","runOutputName":"image","imageId":"`+image.String()+`","location":"eastus"}`))
	if s := w.runIt(t, ""); s.RunState != "Succeeded" {
		t.Fatalf("%+v", s)
	}
	if got := arm.GetString(w.must(t, "GET", image, "", 200), "properties.storageProfile.osDisk.blobUri"); got == "other" {
		t.Error("the old image is still there")
	}
}

func TestFailedStepIsExplained(t *testing.T) {
	w := newWorld(t)
	w.create(t, templateText())
	w.engines.during = func(_ context.Context, call string) error {
		if call != "build" {
			return nil
		}
		return &build.StepError{Step: "install", Index: 0, Command: "apt-get install -y nginx", ExitCode: 100, Output: "E: Unable to locate package nginx", Err: errors.New("it exited with 100"), Hint: "mend it"}
	}
	s := w.runIt(t, "")
	for _, want := range []string{"Customizer 1 ('install', Shell)", "Command: apt-get install -y nginx", "Exit code: 100", "E: Unable to locate package nginx", template.String() + "/readLog", s.RunID, "Next: mend it"} {
		if !strings.Contains(s.Message, want) {
			t.Errorf("%q is not in %q", want, s.Message)
		}
	}
	if s.RunState != "Failed" {
		t.Errorf("%+v", s)
	}
	if rec := w.operation(t, "run"); rec.Status != arm.StateFailed || rec.Error.Code != "CustomizationFailed" || rec.Error.Target != "properties.customize[0]" {
		t.Errorf("%+v", rec)
	}
	if got := arm.GetString(w.must(t, "GET", template, "", 200), "properties.provisioningState"); got != "Succeeded" {
		t.Errorf("the template itself is %s", got)
	}
}

// operation is the record of the last operation of an action.
func (w *world) operation(t *testing.T, action string) (last operation.Record) {
	t.Helper()
	ops, err := store.List(t.Context(), w.store, store.Query{Type: operation.Type})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range ops {
		if rec, err := operation.Read(d); err == nil && rec.Action == action {
			last = rec
		}
	}
	return last
}

func TestRunOutOfTime(t *testing.T) {
	w := newWorld(t)
	w.create(t, templateText(toGallery, `"buildTimeoutInMinutes":6`))
	w.now = func() time.Time { return time.Now().Add(-7 * time.Minute) }
	w.engines.during = func(ctx context.Context, call string) error { <-ctx.Done(); return context.Cause(ctx) }
	s := w.runIt(t, "")
	if s.RunState != "Failed" || !strings.Contains(s.Message, "buildTimeoutInMinutes (6m0s)") {
		t.Errorf("%+v", s)
	}
}

func TestSecretsStayInMemory(t *testing.T) {
	w := newWorld(t)
	w.create(t, templateText(toGallery, `"hallmark":{"secrets":{"token":{"env":"TOKEN"}},"customize":{"0":{"secrets":["token"]}}}`))
	for body, want := range map[string]string{
		``:                                      "secrets.token",
		`{"secrets":{"token":"x","other":"y"}}`: "names no secret 'other'",
	} {
		if got := w.do("POST", template.String()+"/run", body); got.Status != 400 || !strings.Contains(string(got.Body), want) {
			t.Errorf("%s: %d %s", body, got.Status, got.Body)
		}
	}
	const canary = "c4n4ry-value"
	if s := w.runIt(t, `{"secrets":{"token":"`+canary+`"}}`); s.RunState != "Succeeded" {
		t.Fatalf("%+v", s)
	}
	if got := w.engines.plans[0].Secrets; len(got) != 1 || got[0].Name != "token" || string(got[0].Value) != canary {
		t.Errorf("the builder got %v", got)
	}
	docs, err := store.List(t.Context(), w.store, store.Query{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range docs {
		if strings.Contains(string(d.Body)+string(d.Private), canary) {
			t.Errorf("the secret is in %s", d.ID)
		}
	}
	_ = filepath.WalkDir(w.logs, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			if text, _ := os.ReadFile(path); strings.Contains(string(text), canary) {
				t.Errorf("the secret is in %s", path)
			}
		}
		return err
	})
}

func TestRestartLosesSecretsAndSaysSo(t *testing.T) {
	w := newWorld(t)
	w.create(t, templateText(toGallery, `"hallmark":{"secrets":{"token":{"env":"TOKEN"}},"customize":{"0":{"secrets":["token"]}}}`))
	w.mustPath(t, "POST", template.String()+"/run", `{"secrets":{"token":"x"}}`, 202)
	w.start(t)
	w.settle(t)
	if s := w.status(t); s.RunState != "Failed" || !strings.Contains(s.Message, "secrets are kept in memory only") {
		t.Errorf("%+v", s)
	}
}

func TestReadLog(t *testing.T) {
	w := newWorld(t)
	w.create(t, templateText())
	log := template.String() + "/readLog"
	w.mustPath(t, "POST", log, "", 409) // never run
	w.mustPath(t, "POST", template.String()+"/run", "", 202)
	var page logPage
	read := func(body string) {
		page = logPage{}
		if err := json.Unmarshal(w.mustPath(t, "POST", log, body, 200), &page); err != nil {
			t.Fatal(err)
		}
	}
	if read(""); len(page.Events) != 0 || page.Done {
		t.Errorf("in the queue: %+v", page)
	}
	w.settle(t)
	read(`{"offset":0}`)
	if len(page.Events) < 4 || !page.Done || page.RunID != w.status(t).RunID {
		t.Fatalf("%+v", page)
	}
	var first build.Event
	if err := json.Unmarshal(page.Events[0], &first); err != nil || first.Stage != stageSource || first.Message != "resolving" {
		t.Errorf("%s", page.Events[0])
	}
	next := page.Next
	if read(`{"offset":` + string(mustJSON(t, next)) + `}`); len(page.Events) != 0 || page.Next != next || !page.Done {
		t.Errorf("after the end: %+v", page)
	}
	w.mustPath(t, "GET", log+"?offset=0", "", 200)
	w.mustPath(t, "POST", log, `{"runId":"../../../../etc/passwd"}`, 400)
	w.mustPath(t, "POST", log, `{"offset":-1}`, 400)
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// A line that a kill tore must not hide the lines that a restart adds.
func TestLogGoesOnAfterATornLine(t *testing.T) {
	s := &service{Config: Config{Logs: t.TempDir()}}
	l, err := s.openLog("k", "r")
	if err != nil {
		t.Fatal(err)
	}
	l.write(build.Event{Message: "one"})
	if _, err := l.f.WriteString(`{"message":"tor`); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if l, err = s.openLog("k", "r"); err != nil {
		t.Fatal(err)
	}
	l.write(build.Event{Message: "two"})
	l.Close()
	page, err := readPage(s.logFile("k", "r"), 0)
	if err != nil || len(page.Events) != 2 || !page.Done {
		t.Errorf("%+v, %v", page, err)
	}
}

func TestSourceIsTheLatestVersionInTheTemplatesLocation(t *testing.T) {
	w := newWorld(t)
	put := func(v, digest, tags string, regions ...string) {
		var targets []string
		for _, r := range regions {
			targets = append(targets, `{"name":"`+r+`"}`)
		}
		w.must(t, "PUT", definition.Child("versions", v), `{"location":"eastus","tags":{`+tags+`},"properties":{"hallmark":{"imageDigest":"`+digest+`"},"publishingProfile":{"targetRegions":[`+strings.Join(targets, ",")+`]}}}`, 201)
	}
	put("1.0.0", "sha256:one", `"hallmark-boot":"fixed"`, "eastus")
	put("2.0.0", "sha256:two", ``, "westeurope")
	text := strings.Replace(templateText(`{"type":"VHD","runOutputName":"vhd"}`), platform, `{"type":"SharedImageVersion","imageVersionId":"`+definition.String()+`/versions/latest"}`, 1)
	w.create(t, text)
	if s := w.runIt(t, ""); s.RunState != "Succeeded" {
		t.Fatalf("%+v", s)
	}
	if w.engines.calls[0] != "stored sha256:one in eastus" || w.engines.plans[0].Base.Foreign {
		t.Errorf("%v, foreign %v", w.engines.calls, w.engines.plans[0].Base.Foreign)
	}
	put("3.0.0", "sha256:three", ``, "eastus")
	w.runIt(t, "")
	if p := w.engines.plans[1]; !p.Base.Foreign {
		t.Error("nothing says how the image boots, and it was taken for one of ours")
	}
}

func TestScriptsAreFetchedAndChecked(t *testing.T) {
	w := newWorld(t)
	blob := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blob, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := w.artifacts.Put(t.Context(), blob)
	if err != nil {
		t.Fatal(err)
	}
	w.engines.fetched["https://example.com/a.sh"] = "echo a\n"
	w.create(t, strings.Replace(templateText(), shellStep, `{"type":"Shell","scriptUri":"https://example.com/a.sh","sha256Checksum":"`+sumOf("echo a\n")+`"},{"type":"File","sourceUri":"`+w.artifacts.URI(f.Digest)+`","destination":"/etc/a"}`, 1))
	if s := w.runIt(t, ""); s.RunState != "Succeeded" {
		t.Fatalf("%+v", s)
	}
	steps := w.engines.plans[0].Steps
	if string(steps[0].Script) != "#!/bin/sh -e\necho a\n" || string(steps[1].Content) != "content" || steps[1].Dest != "/etc/a" {
		t.Errorf("%+v", steps)
	}
	w.engines.fetched["https://example.com/a.sh"] = "echo changed\n"
	if s := w.runIt(t, ""); s.RunState != "Failed" || !strings.Contains(s.Message, "sha256Checksum") {
		t.Errorf("%+v", s)
	}
}

func TestDeleteLeavesWhatWasPublished(t *testing.T) {
	w := newWorld(t)
	w.create(t, templateText())
	w.runIt(t, "")
	w.must(t, "DELETE", template, "", 202)
	w.settle(t)
	w.must(t, "GET", template, "", 404)
	w.must(t, "GET", definition.Child("versions", "0.0.1"), "", 200)
	if left, _ := store.List(t.Context(), w.store, store.Query{Type: TypeRunOutput}); len(left) > 0 {
		t.Errorf("run outputs left: %v", left[0].ID)
	}
	if left, _ := os.ReadDir(w.logs); len(left) > 0 {
		t.Errorf("logs left: %v", left)
	}
}
