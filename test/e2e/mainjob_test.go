package e2e_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"hallmark.dev/hallmark/test/outside"
)

// recipe is small: what takes long is to boot the machines that prove it.
const recipe = `name: small
gallery: golden
definition: {name: small, identifier: {publisher: contoso, offer: base, sku: debian-12}}
versioning: {scheme: Latest, major: 1}
source: {type: PlatformImage, publisher: Debian, offer: debian-12, sku: 12-gen2, version: latest}
regions: [eastus, westeurope]
secrets:
  canary: {env: E2E_CANARY}
customize:
  - type: Shell
    name: use the secret
    network: none
    secrets: [canary]
    inline:
      - cp /run/secrets/canary /root/canary
      - echo "the secret is $(cat /run/secrets/canary)"
      - sync
      - rm /root/canary
  - type: File
    name: motd
    content: made of gold
    destination: /etc/motd
tests:
  - name: the message of the day
    file: {path: /etc/motd, contains: made of gold}
# Fresh package lists take an emulated machine a minute.
standardTests: {skip: [no-pending-security-updates]}
`

// job is the main job, from a recipe to machines whose image is known. Its
// parts build on each other.
type job struct {
	*outside.Instance
	arm     *outside.Endpoint
	canary  string
	recipe  string // the file
	address string // web-1's
}

func TestMainJob(t *testing.T) {
	// Listening everywhere is what would let a machine in, were it not kept out.
	j := &job{Instance: outside.New(t, "0.0.0.0"), canary: fmt.Sprintf("canary-%x", time.Now().UnixNano())}
	j.Env = append(j.Env, "E2E_CANARY="+j.canary)
	j.Up(t)
	j.arm = j.Endpoint(t)
	j.recipe = j.Write(t, "recipe.yaml", recipe)
	for _, part := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"a recipe with mistakes", j.mistakes},
		{"a step that fails", j.failingStep},
		{"a file with another digest", j.wrongDigest},
		{"a test that fails", j.failingTest},
		{"the repaired recipe is published", j.repaired},
		{"an unchanged recipe builds nothing", j.unchanged},
		{"a machine answers", j.machine},
		{"the canary is nowhere", j.canaryIsNowhere},
		{"machine and image verify", j.verified},
		{"the machine cannot reach the host", j.isolated},
		{"audit", j.audited},
		{"policies about golden images", j.governed},
		{"the machine outlives the server", j.outlives},
		{"a region without its storage", j.lostRegion},
		{"revoke", j.revoked},
		{"another instance's pipeline publishes here", j.published},
		{"nothing is left", j.nothingLeft},
	} {
		if !t.Run(part.name, part.do) {
			t.FailNow()
		}
	}
}

// contains wants every text in what a command said.
func contains(t *testing.T, r outside.Result, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(r.String(), text) {
			t.Errorf("%q is not said:\n%s", text, r)
		}
	}
}

func (j *job) mistakes(t *testing.T) {
	wrong := strings.Replace(strings.Replace(recipe, "inline:", "inlin:", 1), "regions:", "region:", 1)
	r := j.Run(t, 2, "image", "build", j.Write(t, "wrong.yaml", wrong))
	contains(t, r, "wrong.yaml:6:1: region: there is no such field (did you mean regions?)", "customize[0].inlin: there is no such field (did you mean inline?)")
}

func (j *job) failingStep(t *testing.T) {
	failing := strings.Replace(recipe, "      - sync\n", "      - echo the last words >&2\n      - (exit 41)\n", 1)
	r := j.Run(t, 1, "image", "build", j.Write(t, "failing.yaml", failing))
	contains(t, r, "use the secret", "41", "the last words", "the secret is ***")
	if strings.Contains(r.String(), j.canary) {
		t.Error("the secret is said")
	}
	j.noVersions(t)
}

func (j *job) wrongDigest(t *testing.T) {
	digest := strings.Repeat("ab", 32)
	j.Write(t, "motd", "made of lead")
	r := j.Run(t, 1, "image", "build", j.Write(t, "digest.yaml", strings.Replace(recipe, "    content: made of gold\n", "    sourceUri: motd\n    sha256Checksum: "+digest+"\n", 1)))
	contains(t, r, "motd", digest)
	j.noVersions(t)
}

func (j *job) noVersions(t *testing.T) {
	t.Helper()
	var versions []version
	j.Ask(t, &versions, "image", "list")
	if len(versions) > 0 {
		t.Errorf("there are versions: %v", versions)
	}
	if left := j.Leftovers(t, 0); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// failingTest is the first build that reaches a machine.
func (j *job) failingTest(t *testing.T) {
	failing := strings.Replace(recipe, "contains: made of gold}", "contains: made of silver}", 1)
	r := j.Run(t, 5, "image", "build", j.Write(t, "failing.yaml", failing))
	contains(t, r, "the message of the day", "needs repair", "image log")
	v := versions(t, j.arm, "small")
	if len(v) != 1 || v[0].Name != "1.0.0" || !v[0].Properties.PublishingProfile.ExcludeFromLatest || v[0].Tags["hallmark-state"] != "staged" {
		t.Errorf("the version that failed its test: %+v", v)
	}
	if r := j.Try(t, "vm", "create", "too-soon", "--image", "golden/small", "--ssh-key", j.Key); r.Code == 0 {
		t.Error("latest finds a version that failed its test")
	}
}

func (j *job) repaired(t *testing.T) {
	r := j.Run(t, 0, "image", "build", j.recipe)
	contains(t, r, "use the secret", "(from the cache)", "version 1.0.1", "eastus, westeurope")
	for _, v := range versions(t, j.arm, "small") {
		if v.Name == "1.0.1" {
			readyEverywhere(t, j.Instance, v)
		} else if !v.Properties.PublishingProfile.ExcludeFromLatest {
			t.Errorf("%s has come into latest", v.Name)
		}
	}
}

// readyEverywhere looks for a version's bytes in every region that it names.
func readyEverywhere(t *testing.T, i *outside.Instance, v version) {
	t.Helper()
	if v.Properties.ProvisioningState != "Succeeded" || v.Properties.ReplicationStatus.AggregatedState != "Completed" {
		t.Errorf("version %s is not ready: %+v", v.Name, v.Properties)
	}
	hex, _ := strings.CutPrefix(v.Properties.Hallmark.ImageDigest, "sha256:")
	for _, region := range v.Properties.PublishingProfile.TargetRegions {
		name := strings.ToLower(strings.ReplaceAll(region.Name, " ", ""))
		outside.Tool(t, "qemu-img", "check", "-q", "-f", "qcow2", filepath.Join(i.Dir, "regions", name, "replicas", hex+".qcow2"))
	}
}

func (j *job) unchanged(t *testing.T) {
	before := j.imageFiles(t)
	r := j.Run(t, 0, "image", "build", j.recipe)
	contains(t, r, "version 1.0.1 is what a build would make")
	r = j.Run(t, 3, "image", "build", j.recipe, "--if-base-changed", "--max-age", "30d")
	contains(t, r, "nothing to do")
	if after := j.imageFiles(t); !slices.Equal(before, after) {
		t.Errorf("written:\n%q\nbefore:\n%q", after, before)
	}
}

// imageFiles are the files that hold layers, images and chunks, with when they
// were written.
func (j *job) imageFiles(t *testing.T) (files []string) {
	t.Helper()
	for _, folder := range []string{"builds/layers", "builds/images", "artifacts", "regions", "bases/images"} {
		err := filepath.WalkDir(filepath.Join(j.Dir, folder), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			info, err := e.Info()
			if err == nil {
				files = append(files, fmt.Sprint(path, info.Size(), info.ModTime().UnixNano()))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func (j *job) machine(t *testing.T) {
	var machine struct{ Address, Image string }
	j.Ask(t, &machine, "vm", "create", "web-1", "--image", "golden/small", "--ssh-key", j.Key, "--tags", "team=web", "--await-ssh")
	j.address = machine.Address
	if net.ParseIP(j.address) == nil {
		t.Fatalf("the machine's address is %q", j.address)
	}
	r := j.Run(t, 0, "vm", "ssh", "web-1", "--", "hostname; cat /etc/motd /etc/hallmark/tattoo")
	contains(t, r, "web-1\n", "made of gold", "IMAGE_VERSION=1.0.1", "SOURCE_PUBLISHER=Debian", "OS_ID=debian", "OS_VERSION=12", "SOURCE_DIGEST=sha256:")
}

// canaryIsNowhere reads every byte that was published, logged or stored.
// Layers of the build cache are left out: they are never published, and the
// one with the deleted file shows that the search finds it.
func (j *job) canaryIsNowhere(t *testing.T) {
	var found []string
	inLayers := false
	err := filepath.WalkDir(j.Dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || strings.HasPrefix(path, filepath.Join(j.Dir, "bases")) {
			return err
		}
		has, err := holds(path, []byte(j.canary))
		switch {
		case has && strings.HasPrefix(path, filepath.Join(j.Dir, "builds", "layers")):
			inLayers = true
		case has:
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !inLayers {
		t.Error("the search does not even find the canary where it was written; it proves nothing")
	}
	if len(found) > 0 {
		t.Errorf("the canary is in %q", found)
	}
	if packs, _ := filepath.Glob(filepath.Join(j.Dir, "regions", "*", "chunks", "packs", "*.pack")); len(packs) < 2 {
		t.Errorf("only these packs were searched: %q", packs)
	}
}

// holds says whether a file holds a text; chunks are looked at unpacked.
func holds(path string, text []byte) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if filepath.Ext(path) != ".pack" {
		return streamHolds(f, text)
	}
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	// docs/on-disk.md: magic, zstd frames, index, and in the last 48 bytes where the index begins.
	var trailer [48]byte
	if _, err := f.ReadAt(trailer[:], info.Size()-48); err != nil {
		return false, err
	}
	end := int64(binary.LittleEndian.Uint32(trailer[:4]))
	unpacked, err := zstd.NewReader(io.NewSectionReader(f, 8, end-8))
	if err != nil {
		return false, err
	}
	defer unpacked.Close()
	has, err := streamHolds(unpacked, text)
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return has, err
}

func streamHolds(r io.Reader, text []byte) (bool, error) {
	buffer, kept := make([]byte, 1<<20), 0
	for {
		n, err := io.ReadFull(r, buffer[kept:])
		if bytes.Contains(buffer[:kept+n], text) {
			return true, nil
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		kept = copy(buffer, buffer[len(buffer)-len(text):]) // it may lie across
	}
}

func (j *job) verified(t *testing.T) {
	j.Run(t, 0, "image", "verify", "golden/small/1.0.1")
	j.Run(t, 0, "vm", "verify", "web-1")
}

// isolated has the machine knock at the control plane's port, which answers
// the host itself at the same addresses.
func (j *job) isolated(t *testing.T) {
	_, port, _ := net.SplitHostPort(j.Listen)
	knock := func(address string) string {
		return fmt.Sprintf("timeout 10 bash -c 'exec 3<>/dev/tcp/%s'", strings.Join(strings.Split(address, ":"), "/"))
	}
	j.Run(t, 0, "vm", "ssh", "web-1", "--", knock("127.0.0.1:22")) // knocking works
	addresses := j.hostAddresses(t)
	if len(addresses) != 2 {
		t.Fatalf("the host's addresses: %q", addresses)
	}
	for _, address := range addresses {
		host := net.JoinHostPort(address, port)
		c, err := net.DialTimeout("tcp", host, 5*time.Second)
		if err != nil {
			t.Fatalf("the control plane does not even answer the host: %v", err)
		}
		c.Close()
		if r := j.Try(t, "vm", "ssh", "web-1", "--", knock(host)); r.Code == 0 {
			t.Errorf("the machine reaches %s", host)
		}
	}
}

// hostAddresses are the machine's gateway and the host's own way out.
func (j *job) hostAddresses(t *testing.T) (all []string) {
	t.Helper()
	var devices []struct {
		Addresses []struct{ Local string } `json:"addr_info"`
	}
	var routes []struct{ PrefSrc string }
	for text, into := range map[string]any{
		outside.Tool(t, "ip", "-json", "-4", "address", "show", "dev", j.Mark(t)+"br"): &devices,
		outside.Tool(t, "ip", "-json", "route", "get", "198.51.100.1"):                 &routes, // TEST-NET-1: nothing is there
	} {
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range devices {
		for _, a := range d.Addresses {
			all = append(all, a.Local)
		}
	}
	for _, r := range routes {
		all = append(all, r.PrefSrc)
	}
	return all
}

// report is what the tests look at of an audit.
type report struct {
	Findings []struct{ Name, State, Verdict, Version, Reason string }
}

func (r report) state(name string) string {
	for _, f := range r.Findings {
		if f.Name == name {
			return f.State
		}
	}
	return ""
}

func (j *job) audited(t *testing.T) {
	var r report
	j.Ask(t, &r, "audit", "--fail-on", "non-compliant")
	if got := r.state("web-1"); got != "approved-current" {
		t.Errorf("web-1 is %q", got)
	}
	// What az vm list prints of a machine that was made from the marketplace.
	file := j.Write(t, "vms.json", `[{"id":"/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/rogue-1",
		"name":"rogue-1","type":"Microsoft.Compute/virtualMachines","location":"eastus","resourceGroup":"rg","provisioningState":"Succeeded",
		"storageProfile":{"imageReference":{"publisher":"Canonical","offer":"0001-com-ubuntu-server-jammy","sku":"22_04-lts-gen2","version":"latest","exactVersion":"22.04.202411010"}}}]`)
	j.Ask(t, &r, "audit", file, "--fail-on", "none")
	if got := r.state("rogue-1"); got != "unapproved-marketplace" {
		t.Errorf("rogue-1 is %q", got)
	}
	j.Run(t, 4, "audit", file)
	j.Run(t, 4, "audit", file, "--fail-on", "unapproved")
	j.Run(t, 0, "audit", file, "--fail-on", "revoked")
}

// governed puts the golden initiative in force: a rogue is refused at the door, before
// anything boots, and what comes from the gallery complies.
func (j *job) governed(t *testing.T) {
	contains(t, j.Run(t, 0, "policy", "import", "golden-images"), "policyDefinitions", "policySetDefinitions")
	j.Run(t, 0, "policy", "assign", "golden-images", "--name", "golden", "--not-scope", "hallmark-build", "--description", "Read https://wiki.example.com/golden-images")
	r := j.Run(t, 1, "vm", "create", "rogue-1", "--image", "Debian:debian-12:12-gen2:latest")
	contains(t, r, "RequestDisallowedByPolicy", "Machines come from images that the gallery publishes", "unapproved-marketplace", "https://wiki.example.com/golden-images")
	var states []struct{ Resource, ComplianceState string }
	j.Ask(t, &states, "policy", "state", "--policy", "approved-image", "--resource", "web-1", "--all")
	if len(states) != 1 || states[0].ComplianceState != "Compliant" {
		t.Errorf("web-1 is %+v", states)
	}
	contains(t, j.Run(t, 0, "policy", "explain", "web-1", "--all"), "approved-current")
	j.Run(t, 0, "policy", "unassign", "golden")
}

func (j *job) outlives(t *testing.T) {
	before := j.Emulators(t)
	j.Run(t, 0, "down")
	c, err := net.DialTimeout("tcp", net.JoinHostPort(j.address, "22"), 30*time.Second)
	if err != nil {
		t.Errorf("without the server, the machine does not answer: %v", err)
	} else {
		c.Close()
	}
	j.Up(t)
	var machine struct{ PowerState string }
	j.Ask(t, &machine, "vm", "show", "web-1")
	if after := j.Emulators(t); machine.PowerState != "running" || len(before) != 1 || !slices.Equal(before, after) {
		t.Errorf("after a restart, web-1 is %q; outside.Processes %v, before %v", machine.PowerState, after, before)
	}
	j.Run(t, 0, "vm", "ssh", "web-1", "--", "true")
}

// lostRegion takes one region's storage away, under a running server and
// before its start.
func (j *job) lostRegion(t *testing.T) {
	root := filepath.Join(j.Dir, "regions", "eastus")
	if err := os.Rename(root, root+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root, nil, 0o600); err != nil { // a folder could be made anew
		t.Fatal(err)
	}
	j.createsOnlyInWesteurope(t)
	j.Run(t, 0, "down")
	j.Up(t)
	j.createsOnlyInWesteurope(t)
	j.Run(t, 0, "down")
	if err := os.Remove(root); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(root+".away", root); err != nil {
		t.Fatal(err)
	}
	j.Up(t)
	j.Run(t, 0, "vm", "ssh", "web-1", "--", "true")
}

func (j *job) createsOnlyInWesteurope(t *testing.T) {
	t.Helper()
	j.Run(t, 0, "vm", "create", "west", "--image", "golden/small", "--ssh-key", j.Key, "--location", "westeurope")
	j.Run(t, 0, "vm", "delete", "west")
	r := j.Try(t, "vm", "create", "east", "--image", "golden/small", "--ssh-key", j.Key, "--location", "eastus")
	if r.Code == 0 {
		t.Error("a machine is made where the storage is gone")
	}
	contains(t, r, "GalleryImageNotFound", "is not available in eastus region")
}

func (j *job) revoked(t *testing.T) {
	j.Run(t, 0, "image", "revoke", "golden/small/1.0.1", "--reason", "CVE-2026-0001")
	r := j.Run(t, 4, "audit", "--fail-on", "revoked", "--output", "json")
	var all report
	if err := json.Unmarshal([]byte(r.Out), &all); err != nil || all.state("web-1") != "revoked" || !strings.Contains(r.Out, "CVE-2026-0001") {
		t.Errorf("%v: %s", err, r)
	}
	j.Run(t, 0, "vm", "delete", "web-1")
}

// published has the pipeline of another control plane work here, as it would
// work in Azure.
func (j *job) published(t *testing.T) {
	a := outside.New(t, "127.0.0.1")
	a.Write(t, filepath.Join("data", "config.yaml"), fmt.Sprintf(`subscription: 00000000-0000-0000-0000-00000000000a
locations: [{name: eastus, displayName: Here}]
targets:
  there: {url: %q, clientId: %q, secretFile: %q, caFile: %q}
`, j.arm.Endpoint, j.arm.ClientID, j.arm.SecretFile, j.arm.CAFile))
	a.Up(t)
	arm := a.Endpoint(t)
	text := strings.NewReplacer("small", "remote", "sku: debian-12}", "sku: remote}", "secrets:\n  canary: {env: E2E_CANARY}\n", "", "    secrets: [canary]\n", "",
		"/run/secrets/canary", "/etc/hostname", "regions: [eastus, westeurope]", "regions: [westeurope]").Replace(recipe)
	arm.Must(t, "PUT", arm.Group(""), "2021-04-01", map[string]any{"location": "eastus"}, nil)
	pipeline := arm.Group("/providers/Hallmark.Images/pipelines/remote")
	arm.Must(t, "PUT", pipeline, apiHallmark, map[string]any{"properties": map[string]any{
		"recipe": text, "target": "there", "subscription": j.arm.Subscription, "galleryResourceGroup": "hallmark"}}, nil)
	var run struct{ Name string }
	arm.Must(t, "POST", pipeline+"/run", apiHallmark, nil, &run)
	a.Run(t, 0, "image", "log", run.Name)

	v := versions(t, j.arm, "remote")
	if len(v) != 1 || v[0].Name != "1.0.0" || v[0].Properties.PublishingProfile.ExcludeFromLatest {
		t.Fatalf("published there: %+v", v)
	}
	readyEverywhere(t, j.Instance, v[0])
	for _, folder := range []string{"machines", "regions", "builds/layers", "builds/images"} {
		if files, _ := filepath.Glob(filepath.Join(a.Dir, folder, "*", "*.qcow2")); len(files) > 0 {
			t.Errorf("the pipeline's own instance has built or run something: %q", files)
		}
	}
	a.Run(t, 0, "down")
}

func (j *job) nothingLeft(t *testing.T) {
	if left := j.Leftovers(t, 0); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}
