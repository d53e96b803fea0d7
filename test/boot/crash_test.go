package boot

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"hallmark.dev/hallmark/internal/disk"
	"hallmark.dev/hallmark/internal/vm"
)

// startEnv makes this test's binary start the machine in a folder and then kill
// itself, as a crash would.
const startEnv = "HALLMARK_TEST_START"

func startAndDie(dir string) int {
	m, err := vm.Open(dir)
	if err == nil {
		err = m.Start(context.Background())
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	return 1
}

// TestMachineOutlivesItsStarter: the guest is the firmware only.
func TestMachineOutlivesItsStarter(t *testing.T) {
	systemTest(t)
	root := filepath.Join(t.TempDir(), strings.Repeat("long", 30)) // longer than a socket's name may be
	if err := os.MkdirAll(root, 0o700); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "image.qcow2")
	if err := disk.Create(t.Context(), image, disk.QCOW2, 1<<30); err != nil {
		t.Fatal(err)
	}
	create := func(id string) *vm.Machine {
		m, err := vm.Create(t.Context(), filepath.Join(root, id), vm.Config{ID: id, MemoryMiB: 256}, vm.Image{Path: image, Format: disk.QCOW2}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	kept, stray, orphan := create("kept"), create("stray"), create("orphan")
	for _, m := range []*vm.Machine{kept, stray, orphan} {
		startAndCrash(t, m)
	}
	// A crash half-way through removal, and one half-way through creation.
	if err := os.RemoveAll(orphan.Dir()); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "half.part"), 0o700); err != nil {
		t.Fatal(err)
	}
	removed, err := vm.Sweep(t.Context(), root, func(c vm.Config) bool { return c.ID == "kept" })
	if err != nil || len(removed) != 3 {
		t.Errorf("Sweep removed %q, %v", removed, err)
	}
	s, err := kept.Status(t.Context())
	if err != nil || s.State != vm.Running {
		t.Errorf("the owned machine is %+v, %v", s, err)
	}
	if err := kept.Destroy(t.Context()); err != nil {
		t.Error(err)
	}
	if err := kept.Destroy(t.Context()); err != nil {
		t.Errorf("a second time: %v", err)
	}
	if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	if out, _ := exec.Command("sh", "-c", `ls -l /proc/[0-9]*/cwd 2>/dev/null | grep -c -F "$1"`, "sh", root).Output(); strings.TrimSpace(string(out)) != "0" {
		t.Errorf("%s processes are left in %s", out, root)
	}
}

func startAndCrash(t *testing.T, m *vm.Machine) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), startEnv+"="+m.Dir())
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("%v\n%s", err, out)
	}
	s, err := m.Status(t.Context())
	if err != nil || s.State != vm.Running {
		t.Fatalf("after its starter's death the machine is %+v, %v", s, err)
	}
}
