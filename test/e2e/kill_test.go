package e2e_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hallmark.dev/hallmark/test/outside"
)

// killSeed makes the moments the same in every run, as far as the host allows.
const killSeed = 20261122

// leastKills is how often the real process tree has to be killed.
const leastKills = 20

// killer kills a control plane while it works, starts it again, and looks at
// what becomes of the work.
type killer struct {
	*outside.Instance
	arm    *outside.Endpoint
	random *rand.Rand
	kills  int
	// How long the work takes when nobody disturbs it: what moments are drawn from.
	customizing, building, creating, deleting time.Duration
}

func TestKills(t *testing.T) {
	k := &killer{Instance: outside.New(t, "127.0.0.1"), random: rand.New(rand.NewPCG(killSeed, 0))}
	k.Up(t)
	k.arm = k.Endpoint(t)
	k.prepare(t)
	k.undisturbed(t)
	for _, round := range []struct {
		name  string
		times int
		do    func(*testing.T, int)
	}{
		{"build and publish", 6, k.build}, {"pipeline", 3, k.pipeline}, {"create and delete", 8, k.machine},
	} {
		for n := range round.times {
			if !t.Run(fmt.Sprintf("%s %d", round.name, n+1), func(t *testing.T) { round.do(t, n+1) }) {
				t.FailNow()
			}
		}
	}
	if t.Logf("%d kills", k.kills); k.kills < leastKills {
		t.Errorf("that is less than %d", leastKills)
	}
	k.everythingEnded(t)
	k.allPublishedWhole(t)
	k.noFilesLeft(t)
}

func (k *killer) prepare(t *testing.T) {
	t.Helper()
	here := map[string]any{"location": "eastus"}
	k.arm.Must(t, http.MethodPut, k.arm.Group(""), "2021-04-01", here, nil)
	k.arm.Must(t, http.MethodPut, k.gallery(), apiGallery, map[string]any{"location": "eastus", "properties": map[string]any{}}, nil)
	k.settled(t, k.gallery(), apiGallery)
	k.arm.Must(t, http.MethodPut, k.definition(), apiGallery, map[string]any{"location": "eastus", "properties": map[string]any{
		"osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V2", "identifier": map[string]any{"publisher": "contoso", "offer": "base", "sku": "killed"}}}, nil)
	k.settled(t, k.definition(), apiGallery)
}

func (k *killer) gallery() string {
	return k.arm.Group("/providers/Microsoft.Compute/galleries/golden")
}
func (k *killer) definition() string { return k.gallery() + "/images/killed" }

func (k *killer) template(n int) string {
	return k.arm.Group(fmt.Sprintf("/providers/Microsoft.VirtualMachineImages/imageTemplates/killed-%d", n))
}

// undisturbed does everything once without a kill, to know how long it takes.
func (k *killer) undisturbed(t *testing.T) {
	t.Helper()
	begun := time.Now()
	k.startBuild(t, 0)
	outside.Until(t, "the image is made", func() bool {
		s := k.status(t, 0)
		return s.RunSubState == "Distributing" || s.RunState != "Running"
	})
	k.customizing = time.Since(begun)
	if state, message := k.built(t, 0); state != "Succeeded" {
		t.Fatalf("a build that nobody killed is %s: %s", state, message)
	}
	k.building, begun = time.Since(begun), time.Now()
	k.Run(t, 0, k.creation("undisturbed")...)
	k.creating, begun = time.Since(begun), time.Now()
	k.Run(t, 0, "vm", "delete", "undisturbed")
	k.deleting = time.Since(begun)
	t.Logf("undisturbed: build %s, with publishing %s, create %s, delete %s", k.customizing, k.building, k.creating, k.deleting)
	if left := k.Leftovers(t, 0); len(left) > 0 {
		t.Fatalf("without any kill, left: %q", left)
	}
}

// kill waits for a moment within a time, kills, and starts the server again.
// Mostly all that it has started goes with it: the storage daemon, the step's
// container, the machines.
func (k *killer) kill(t *testing.T, within time.Duration) {
	t.Helper()
	server := k.PID(t)
	moment := time.Duration(k.random.Float64() * float64(within))
	time.Sleep(moment)
	victims := []int{server}
	if k.takesAll() {
		victims = append(append(victims, outside.Descendants(outside.Processes(t), server)...), k.Emulators(t)...)
	}
	for _, pid := range victims {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	k.kills++
	outside.Until(t, "the killed server is gone", func() bool {
		for _, p := range outside.Processes(t) {
			if p.PID == server && !p.Zombie {
				return false
			}
		}
		return true
	})
	t.Logf("killed %d outside.Processes after %s", len(victims), moment.Round(time.Millisecond))
	k.Up(t)
}

// takesAll says whether the next kill is of the whole tree.
func (k *killer) takesAll() bool { return k.kills%3 != 0 }

// settled waits for a resource's end of the story: its provisioning state, or
// empty if the resource is not there.
func (k *killer) settled(t *testing.T, id, apiVersion string) (state string) {
	t.Helper()
	outside.Until(t, id+" settles", func() bool {
		var resource struct {
			Properties struct{ ProvisioningState string }
		}
		if !k.found(t, id, apiVersion, &resource) {
			state = ""
			return true
		}
		state = resource.Properties.ProvisioningState
		return state == "Succeeded" || state == "Failed" || state == "Canceled"
	})
	return state
}

func (k *killer) found(t *testing.T, id, apiVersion string, into any) bool {
	t.Helper()
	status, err := k.arm.Call(context.Background(), http.MethodGet, id, apiVersion, nil, into)
	if err != nil && status != http.StatusNotFound {
		t.Fatal(err)
	}
	return err == nil
}

const apiBuilder = "2024-02-01"

func (k *killer) startBuild(t *testing.T, n int) {
	t.Helper()
	k.arm.Must(t, http.MethodPut, k.template(n), apiBuilder, map[string]any{"location": "eastus", "properties": map[string]any{
		"source": map[string]any{"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12-gen2", "version": "latest"},
		"customize": []any{map[string]any{"type": "Shell", "name": "work", "inline": []string{
			fmt.Sprintf("echo %d > /etc/round", n), "dd if=/dev/urandom of=/var/blob bs=1M count=16 status=none", "sync", "setsid sleep 60 & sleep 1"}}},
		"distribute": []any{map[string]any{"type": "SharedImage", "runOutputName": "out", "galleryImageId": fmt.Sprintf("%s/versions/1.0.%d", k.definition(), n),
			"targetRegions": []any{map[string]any{"name": "eastus"}, map[string]any{"name": "westeurope"}}}},
	}}, nil)
	if state := k.settled(t, k.template(n), apiBuilder); state != "Succeeded" {
		t.Fatalf("the template is %s", state)
	}
	k.arm.Must(t, http.MethodPost, k.template(n)+"/run", apiBuilder, nil, nil)
}

type runStatus struct{ RunState, RunSubState, Message string }

func (k *killer) status(t *testing.T, n int) runStatus {
	t.Helper()
	var template struct {
		Properties struct{ LastRunStatus runStatus }
	}
	k.arm.Must(t, http.MethodGet, k.template(n), apiBuilder, nil, &template)
	return template.Properties.LastRunStatus
}

// built waits for the end of a template's run.
func (k *killer) built(t *testing.T, n int) (state, message string) {
	t.Helper()
	var s runStatus
	outside.Until(t, "the build ends", func() bool {
		s = k.status(t, n)
		return s.RunState != "Running" && s.RunState != "Canceling"
	})
	return s.RunState, s.Message
}

func (k *killer) build(t *testing.T, n int) {
	k.startBuild(t, n)
	within := k.building
	if n%2 == 0 { // most of that is publishing: hit the steps as often
		within = k.customizing
	}
	k.kill(t, within)
	state, message := k.built(t, n)
	t.Logf("the build is %s %s", state, message)
	var v version
	there := k.found(t, fmt.Sprintf("%s/versions/1.0.%d?$expand=ReplicationStatus", k.definition(), n), apiGallery, &v)
	switch {
	case state == "Succeeded":
		readyEverywhere(t, k.Instance, v)
	case message == "":
		t.Errorf("the build is %s without a reason", state)
	case there:
		t.Errorf("the build failed, but its version is there: %+v", v)
	}
	if left := k.Leftovers(t, 0); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// pipeline kills a pipeline's run before it tests a machine, sees it get there
// all the same, and cancels it.
func (k *killer) pipeline(t *testing.T, n int) {
	text := strings.NewReplacer("small", "piped", "secrets:\n  canary: {env: E2E_CANARY}\n", "", "    secrets: [canary]\n", "",
		"/run/secrets/canary", "/etc/hostname", "made of gold", fmt.Sprint("round ", n)).Replace(recipe)
	var started struct{ ID string }
	k.Ask(t, &started, "image", "build", k.Write(t, "piped.yaml", text), "--no-wait")
	k.kill(t, k.customizing)
	var document struct {
		Properties struct {
			Run struct {
				Status string
				Error  struct{ Code, Message string }
				Stages []struct{ Name, Status string }
			}
		}
	}
	run := &document.Properties.Run
	look := func() { k.arm.Must(t, http.MethodGet, started.ID, apiHallmark, nil, &document) }
	outside.Until(t, "the run tests a machine, or ends", func() bool {
		look()
		for _, s := range run.Stages {
			if s.Name == "Validate" && s.Status != "" {
				return true
			}
		}
		return run.Status != "Running"
	})
	if run.Status == "Running" {
		k.arm.Must(t, http.MethodPost, started.ID+"/cancel", apiHallmark, nil, nil)
		outside.Until(t, "the run ends", func() bool { look(); return run.Status != "Running" })
	}
	t.Logf("the run is %s %s", run.Status, run.Error.Message)
	if run.Status != "Canceled" && run.Error.Message == "" {
		t.Errorf("the run is %s without a reason", run.Status)
	}
	if left := k.Leftovers(t, 0); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func (k *killer) creation(name string) []string {
	return []string{"vm", "create", name, "--image", "golden/killed/1.0.0", "--ssh-key", k.Key}
}

// during starts a command that a kill will hit, and returns how to wait for it.
func (k *killer) during(t *testing.T, arguments ...string) (wait func()) {
	t.Helper()
	c, out, errs := k.Command(t.Context(), t, arguments...)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		err := c.Wait()
		t.Logf("hallmark %q: %v %s%.300s", arguments[:2], err, out, errs)
	}
}

func (k *killer) machine(t *testing.T, n int) {
	name := fmt.Sprint("vm-", n)
	id := k.arm.Group("/providers/Microsoft.Compute/virtualMachines/" + name)
	wait := k.during(t, k.creation(name)...)
	k.kill(t, k.creating)
	wait()
	state := k.settled(t, id, apiCompute)
	if state == "" { // the kill came before the request
		k.Run(t, 0, k.creation(name)...)
	}
	if state == "Failed" {
		k.failedWithReason(t, id)
	}
	wait = k.during(t, "vm", "delete", name)
	k.kill(t, k.deleting)
	wait()
	if k.settled(t, id, apiCompute) != "" {
		k.Run(t, 0, "vm", "delete", name)
	}
	if left := k.Leftovers(t, 0); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// operation is one, as `hallmark operation list` prints it.
type operation struct {
	Name, Action, Status, Resource string
	Error                          struct{ Code, Message string }
}

func (k *killer) operations(t *testing.T) (all []operation) {
	t.Helper()
	k.Ask(t, &all, "operation", "list")
	return all
}

func (k *killer) failedWithReason(t *testing.T, id string) {
	t.Helper()
	for _, o := range k.operations(t) {
		if strings.EqualFold(o.Resource, id) && o.Status == "Failed" && o.Error.Message != "" {
			t.Logf("%s failed: %s", id, o.Error.Message)
			return
		}
	}
	t.Errorf("%s has failed, and no operation says why", id)
}

// everythingEnded wants every operation to have come to an end, and every
// failure to have a reason.
func (k *killer) everythingEnded(t *testing.T) {
	t.Helper()
	for _, o := range k.operations(t) {
		switch {
		case o.Status == "Failed" && o.Error.Message == "":
			t.Errorf("failed without a reason: %+v", o)
		case o.Status != "Succeeded" && o.Status != "Failed" && o.Status != "Canceled":
			t.Errorf("goes on for ever: %+v", o)
		}
	}
}

func (k *killer) allPublishedWhole(t *testing.T) {
	t.Helper()
	for _, definition := range []string{"killed", "piped"} {
		for _, v := range versions(t, k.arm, definition) {
			readyEverywhere(t, k.Instance, v)
		}
	}
}

// noFilesLeft deletes the disks that machines have left, which az would leave,
// too; then no file of a machine or a disk may be there.
func (k *killer) noFilesLeft(t *testing.T) {
	t.Helper()
	var disks struct{ Value []struct{ ID string } }
	k.arm.Must(t, http.MethodGet, k.arm.Group("/providers/Microsoft.Compute/disks"), apiCompute, nil, &disks)
	for _, d := range disks.Value {
		k.arm.Must(t, http.MethodDelete, d.ID, apiCompute, nil, nil)
		outside.Until(t, "the disk is deleted", func() bool { return !k.found(t, d.ID, apiCompute, nil) })
	}
	for _, folder := range []string{"disks", "machines", "builds/mounts"} {
		entries, err := os.ReadDir(filepath.Join(k.Dir, folder))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), "accelerator") {
				t.Errorf("left in %s: %s", folder, e.Name())
			}
		}
	}
}
