package imagebuilder_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/artifact"
	"hallmark.dev/hallmark/internal/base"
	"hallmark.dev/hallmark/internal/build"
	"hallmark.dev/hallmark/internal/cas"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/region"
	"hallmark.dev/hallmark/internal/rp/gallery"
	"hallmark.dev/hallmark/internal/rp/imagebuilder"
)

// plant is the whole chain with its real engines: base, build, gallery, regions.
type plant struct {
	*providertest.Server
	dir       string
	regions   []*region.Region
	artifacts *artifact.Store
}

func newPlant(t *testing.T) *plant {
	t.Helper()
	if os.Getenv("HALLMARK_SYSTEM_TESTS") != "1" || os.Geteuid() != 0 {
		t.Skip("needs root, loop devices, FUSE, systemd-nspawn and a Debian mirror; set HALLMARK_SYSTEM_TESTS=1")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	p := &plant{dir: t.TempDir()}
	for _, name := range []string{providertest.Location, providertest.Location2} {
		r, err := region.Open(name, filepath.Join(p.dir, "regions", name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		p.regions = append(p.regions, r)
	}
	builder, err := build.Open(filepath.Join(p.dir, "build"))
	if err != nil {
		t.Fatal(err)
	}
	if p.artifacts, err = artifact.Open(filepath.Join(p.dir, "artifacts"), "https://localhost:8443"); err != nil {
		t.Fatal(err)
	}
	engine := gallery.NewEngine(p.regions...)
	p.Server = providertest.Start(t, providertest.With(
		gallery.New(gallery.Config{Bytes: engine, Regions: engine, Artifacts: p.artifacts, Locations: []string{providertest.Location, providertest.Location2}}),
		imagebuilder.New(imagebuilder.Config{Builder: builder, Artifacts: p.artifacts, Logs: filepath.Join(p.dir, "logs"), EngineVersion: "test",
			Sources: &imagebuilder.Library{Dir: filepath.Join(cache, "hallmark-test", "base"), Catalogue: base.NewCatalogue(nil), Regions: p.regions}}),
	))
	for _, put := range []struct {
		id   arm.ID
		body string
	}{
		{definition.Parent(), `{"location":"local"}`},
		{definition, `{"location":"local","properties":{"osType":"Linux","osState":"Generalized","hyperVGeneration":"V2","identifier":{"publisher":"p","offer":"o","sku":"s"}}}`},
	} {
		p.put(t, put.id, put.body)
	}
	return p
}

func (p *plant) put(t *testing.T, id arm.ID, body string) {
	t.Helper()
	if status, _, answer := p.Do(t, "PUT", id.String()+"?api-version=2024-03-03", body); status != 201 {
		t.Fatalf("%d %s", status, answer)
	}
}

const debian = `{"type":"PlatformImage","publisher":"Debian","offer":"debian-12","sku":"12-gen2","version":"latest"}`

// offline makes a template of Shell steps that need no network and may read the secret.
func offline(source string, distribute []string, steps ...string) string {
	var customize, extra []string
	for i, s := range steps {
		customize = append(customize, fmt.Sprintf(`{"type":"Shell","name":"step %d","inline":[%q]}`, i+1, s))
		extra = append(extra, fmt.Sprintf(`"%d":{"network":"none","secrets":["token"]}`, i))
	}
	return `{"location":"local","properties":{"source":` + source + `,"customize":[` + strings.Join(customize, ",") + `],"distribute":[` + strings.Join(distribute, ",") +
		`],"hallmark":{"secrets":{"token":{"env":"TOKEN"}},"customize":{` + strings.Join(extra, ",") + `}}}}`
}

var toGallery = `{"type":"SharedImage","runOutputName":"gallery","galleryImageId":"` + definition.String() + `","targetRegions":[{"name":"local"},{"name":"north"}]}`

const canary = "c4n4ry-5f1d"

// run runs a new template and returns its last run's state and message.
func (p *plant) run(t *testing.T, name, template string) (state, message string) {
	t.Helper()
	id := providertest.Group().Resource(imagebuilder.TypeTemplate, name)
	p.put(t, id, template)
	p.Settle(t)
	if status, _, answer := p.Do(t, "POST", id.String()+"/run?api-version=2024-02-01", `{"secrets":{"token":"`+canary+`"}}`); status != 202 {
		t.Fatalf("%d %s", status, answer)
	}
	for range 600 { // a build takes longer than Settle waits
		body, err := p.Client.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if state = arm.GetString(body, "properties.lastRunStatus.runState"); state != "Running" {
			return state, arm.GetString(body, "properties.lastRunStatus.message")
		}
		time.Sleep(time.Second)
	}
	t.Fatal("the run does not end")
	return "", ""
}

func TestRealEngines(t *testing.T) {
	p := newPlant(t)
	vhd := `{"type":"VHD","runOutputName":"vhd"}`
	if state, message := p.run(t, "one", offline(debian, []string{toGallery, vhd}, "echo first > /etc/hallmark-test", "cat /run/secrets/token > /tmp/x; echo second >> /etc/hallmark-test")); state != "Succeeded" {
		t.Fatalf("%s: %s", state, message)
	}
	first := definition.Child("versions", "0.0.1")
	if diff := cmp.Diff("first\nsecond\n", p.fileIn(t, p.replica(t, first, 1), "/etc/hallmark-test")); diff != "" {
		t.Error(diff)
	}
	output, err := p.Client.Get(t.Context(), providertest.Group().Resource(imagebuilder.TypeTemplate, "one").Child("runOutputs", "vhd"))
	if err != nil {
		t.Fatal(err)
	}
	path, _, err := p.artifacts.Resolve(arm.GetString(output, "properties.artifactUri"))
	if err != nil {
		t.Fatal(err)
	}
	tool(t, "qemu-img", "compare", "-f", "vpc", "-F", "qcow2", path, p.replica(t, first, 0))

	// On top of what was published; a step fails; nothing of it is published.
	latest := `{"type":"SharedImageVersion","imageVersionId":"` + definition.String() + `/versions/latest"}`
	state, message := p.run(t, "two", offline(latest, []string{toGallery}, "echo third >> /etc/hallmark-test", "echo oops >&2; exit 7"))
	for _, want := range []string{"Customizer 2 ('step 2', Shell)", "Exit code: 7", "oops", "/readLog"} {
		if state != "Failed" || !strings.Contains(message, want) {
			t.Errorf("%s: %q is not in %q", state, want, message)
		}
	}
	if _, err := p.Client.Get(t.Context(), definition.Child("versions", "0.0.2")); !arm.IsNotFound(err) {
		t.Errorf("a failed run has published: %v", err)
	}
	if state, message := p.run(t, "three", offline(latest, []string{toGallery}, "echo third >> /etc/hallmark-test")); state != "Succeeded" {
		t.Fatalf("%s: %s", state, message)
	}
	if diff := cmp.Diff("first\nsecond\nthird\n", p.fileIn(t, p.replica(t, definition.Child("versions", "0.0.2"), 0), "/etc/hallmark-test")); diff != "" {
		t.Error(diff)
	}
	p.canaryIsNowhere(t)
}

// replica is the file of a version in a region.
func (p *plant) replica(t *testing.T, version arm.ID, region int) string {
	t.Helper()
	body, err := p.Client.Get(t.Context(), version)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := cas.ParseDigest(arm.GetString(body, "properties.hallmark.imageDigest"))
	if err != nil {
		t.Fatal(err)
	}
	replica, err := p.regions[region].Replica(digest)
	if err != nil {
		t.Fatal(err)
	}
	return replica.Path
}

// fileIn reads a file of the image's root with e2fsprogs.
func (p *plant) fileIn(t *testing.T, image, name string) string {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "raw")
	tool(t, "qemu-img", "convert", "-O", "raw", image, raw)
	out := tool(t, "sh", "-c", `sfdisk -J "$1" | jq '[.partitiontable.partitions[]|select(.type=="4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709")][0].start'`, "sh", raw)
	var sector int64
	if _, err := fmt.Sscan(out, &sector); err != nil {
		t.Fatalf("no root partition: %s", out)
	}
	cmd := exec.Command("debugfs", "-R", "cat "+name, fmt.Sprintf("%s?offset=%d", raw, sector*512))
	text, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
	return string(out)
}

// canaryIsNowhere looks for the secret in all that is on disk, images read as a guest
// would.
func (p *plant) canaryIsNowhere(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(p.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		file := path
		if strings.HasSuffix(path, ".qcow2") {
			file = filepath.Join(t.TempDir(), "raw")
			tool(t, "qemu-img", "convert", "-O", "raw", path, file)
		}
		if exec.Command("grep", "-q", "-a", canary, file).Run() == nil {
			t.Errorf("the secret is in %s", strings.TrimPrefix(path, p.dir))
		}
		if file != path {
			return os.Remove(file)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
