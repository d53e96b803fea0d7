package build

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"hallmark.dev/hallmark/internal/disk"
)

// realPlan has a step long enough to be killed in, and one that leaves processes.
func realPlan(base Base) Plan {
	return Plan{ID: "k", Base: base, Steps: []Step{
		{Name: "one", Kind: Shell, Offline: true, Inline: []string{"echo one > /etc/one"}},
		{Name: "two", Kind: Shell, Offline: true, Inline: []string{"dd if=/dev/urandom of=/var/blob bs=1M count=8 status=none; sync; setsid sleep 5 & echo busy; sleep 1"}},
	}}
}

// TestDyingForReal is the process that TestKillsOfTheRealThing kills; alone it
// only builds.
func TestDyingForReal(t *testing.T) {
	needSystem(t)
	where := os.Getenv("BUILD_TEST_REAL")
	if where == "" {
		r, err := open(t).Build(t.Context(), "alone", realPlan(debian(t)), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Release()
		return
	}
	var base Base
	if err := json.Unmarshal([]byte(os.Getenv("BUILD_TEST_BASE")), &base); err != nil {
		t.Fatal(err)
	}
	b, err := Open(os.Getenv("BUILD_TEST_DIR"))
	if err != nil {
		t.Fatal(err)
	}
	b.Hook = dieAt(where)
	_, err = b.Build(t.Context(), "dying", realPlan(base), func(e Event) {
		switch {
		case e.Kind == Log && where == "inside the step":
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		case e.Kind == Log && where == "the storage daemon":
			killOwnDaemon()
		}
	})
	t.Logf("the build ended with %v", err)
}

// killOwnDaemon kills the storage daemon that this process started; that it is
// gone already is what a second line of the log finds. It runs on a goroutine of
// the build's: to end that with t.Fatal would leave the build waiting for ever.
func killOwnDaemon() {
	pids, _ := exec.Command("pgrep", "-P", strconv.Itoa(os.Getpid()), "qemu-storage").Output()
	for _, text := range strings.Fields(string(pids)) {
		if pid, err := strconv.Atoi(text); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

func TestKillsOfTheRealThing(t *testing.T) {
	base := debian(t)
	encoded, err := json.Marshal(base)
	if err != nil {
		t.Fatal(err)
	}
	for _, where := range []string{"inside the step", "the storage daemon", "layer.create:after", "layer.mount:before", "layer.mount:after", "step.run:after",
		"layer.close:before", "layer.close:after", "layer.rename:after", "layer.record:after", "image.flatten:before", "image.flatten:after", "image.rename:after"} {
		t.Run(where, func(t *testing.T) {
			dir := t.TempDir()
			child := exec.Command(os.Args[0], "-test.run=^TestDyingForReal$", "-test.v")
			child.Env = append(os.Environ(), "BUILD_TEST_REAL="+where, "BUILD_TEST_BASE="+string(encoded), "BUILD_TEST_DIR="+dir)
			out, err := child.CombinedOutput()
			if killed := err != nil && strings.Contains(err.Error(), "killed"); killed == (where == "the storage daemon") {
				t.Fatalf("the child ended with %v:\n%s", err, out)
			}
			if where == "the storage daemon" && !strings.Contains(string(out), "failed") {
				t.Errorf("a build whose disk went away did not fail:\n%s", out)
			}
			afterKill(t, dir, base)
		})
	}
}

func afterKill(t *testing.T, dir string, base Base) {
	t.Helper()
	b, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	done, err := b.Sweep(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("swept %d things", len(done))
	nothingLeft(t, b)
	layers, err := filepath.Glob(b.cache.path(layersDir, "*.qcow2"))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		if err := disk.Check(t.Context(), l, disk.QCOW2); err != nil {
			t.Error(err)
		}
	}
	r, err := b.Build(t.Context(), "again", realPlan(base), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	if got := readFrom(t, r.Path, "etc/one"); got != "one\n" {
		t.Errorf("after the kill, a build holds %q", got)
	}
	nothingLeft(t, b)
}
