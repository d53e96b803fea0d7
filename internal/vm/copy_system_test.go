package vm

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hallmark.dev/hallmark/internal/disk"
)

const copyMiB = 1 << 20

// writes changes a disk from inside QEMU, through its device, as a guest would.
func writes(t *testing.T, m *Machine, path, what string) {
	t.Helper()
	var devices []struct {
		Path     string `json:"qdev"`
		Inserted struct{ File string }
	}
	var said string
	err := m.monitor(t.Context(), func(s *session) error { return s.execute("query-block", nil, &devices) })
	for _, d := range devices {
		if err == nil && d.Inserted.File == path {
			err = qmp(t.Context(), m.dir, "human-monitor-command", map[string]string{"command-line": "qemu-io -d " + d.Path + ` "` + what + `"`}, &said)
		}
	}
	if err != nil || said != "" { // it prints elsewhere unless it fails
		t.Fatalf("%s: %v %s %v", what, err, said, devices)
	}
}

// holds looks with qemu-io whether a file has a byte throughout a range.
func holds(t *testing.T, file, what string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "qemu-io", "-r", "-f", "qcow2", "-c", "read "+what, file).CombinedOutput()
	if err != nil || strings.Contains(string(out), "verification failed") {
		t.Errorf("%s is not %s: %v %s", filepath.Base(file), what, err, out)
	}
}

// writer is a machine without a guest that has a system disk on a base, and a data disk.
func writer(t *testing.T) (m *Machine, system, data string, fresh func(name string) string) {
	t.Helper()
	needsQEMU(t)
	ctx, dir := t.Context(), t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name+".qcow2") }
	fresh = func(name string) string {
		_ = os.Remove(file(name))
		if err := errors.Join(disk.Create(ctx, file(name), disk.QCOW2, 64*copyMiB), os.Chmod(file(name), 0o600)); err != nil {
			t.Fatal(err)
		}
		return file(name)
	}
	fresh("base")
	if err := disk.CreateOverlay(ctx, file("os"), file("base"), disk.QCOW2, 64*copyMiB); err != nil {
		t.Fatal(err)
	}
	data = fresh("data")
	disks := []Disk{{Path: file("os"), Format: disk.QCOW2}, {Path: data, Format: disk.QCOW2, LUN: 0}}
	m, err := Create(ctx, filepath.Join(dir, "machine"), Config{ID: "m", MemoryMiB: 256, Disks: disks}, Image{Path: file("os"), Format: disk.QCOW2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Kill(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return m, m.cfg.Disks[0].Path, data, fresh
}

// slowly makes copies take seconds, so that something can happen meanwhile.
func slowly(t *testing.T) {
	copySpeed = 24 * copyMiB
	t.Cleanup(func() { copySpeed = 0 })
}

// nothingLeft wants QEMU to hold no copy any more.
func nothingLeft(t *testing.T, m *Machine) {
	t.Helper()
	var nodes []struct {
		Name string `json:"node-name"`
	}
	err := m.monitor(t.Context(), func(s *session) error {
		jobs, err := s.copies()
		if err == nil && len(jobs) > 0 {
			t.Errorf("jobs are left: %v", jobs)
		}
		return errors.Join(err, s.execute("query-named-block-nodes", map[string]bool{"flat": true}, &nodes))
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if strings.HasPrefix(n.Name, copyPrefix) {
			t.Errorf("node %s is left", n.Name)
		}
	}
}

// A copy is of one moment: what is written after it has begun is not in it, wherever
// the copy is by then.
func TestCopyDiskIsOfOneMoment(t *testing.T) {
	m, system, data, fresh := writer(t)
	for _, path := range []string{system, data} {
		writes(t, m, path, "write -P 0xaa 0 48M")
		slowly(t)
		target := fresh(filepath.Base(path) + "-copy")
		done := make(chan error, 1)
		go func() { done <- m.CopyDisk(t.Context(), path, target) }()
		begun(t, m)
		writes(t, m, path, "write -P 0xbb 40M 16M")      // where the copy has not come yet
		if err := m.SyncDisks(t.Context()); err != nil { // changes nothing
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		holds(t, target, "-P 0xaa 0 48M")
		holds(t, target, "-P 0 48M 16M")
		if err := disk.Check(t.Context(), target, disk.QCOW2); err != nil {
			t.Error(err)
		}
		copySpeed = 0
		again := fresh(filepath.Base(path) + "-again")
		if err := m.CopyDisk(t.Context(), path, again); err != nil {
			t.Fatal(err)
		}
		holds(t, again, "-P 0xbb 40M 16M")
	}
	nothingLeft(t, m)
}

// begun waits until a copy runs.
func begun(t *testing.T, m *Machine) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(poll) {
		var jobs []blockJob
		err := m.monitor(t.Context(), func(s *session) (err error) {
			jobs, err = s.copies()
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(jobs) == 1 && jobs[0].Status == "running" {
			return
		}
	}
	t.Fatal("no copy has begun")
}

// However a copy ends before its time, QEMU lets go of its file, and the next one works.
func TestCopyDiskThatIsCutShort(t *testing.T) {
	m, system, data, fresh := writer(t)
	writes(t, m, system, "write -P 0xaa 0 48M")
	writes(t, m, data, "write -P 0xaa 0 48M")
	slowly(t)
	run := func(ctx context.Context, path, target string) chan error {
		done := make(chan error, 1)
		go func() { done <- m.CopyDisk(ctx, path, target) }()
		begun(t, m)
		return done
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := run(ctx, system, fresh("canceled"))
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	nothingLeft(t, m)

	target := fresh("killed") // by a process that is killed: nobody waits for it
	if err := m.monitor(t.Context(), func(s *session) error {
		return s.beginCopy(t.Context(), m.dir, "disk0", copyOf(system, target), target)
	}); err != nil {
		t.Fatal(err)
	}
	copySpeed = 0
	if err := m.CopyDisk(t.Context(), system, fresh("killed")); err != nil {
		t.Errorf("again, after a crash: %v", err)
	}
	holds(t, target, "-P 0xaa 0 48M")
	slowly(t)
	if err := m.monitor(t.Context(), func(s *session) error {
		return s.beginCopy(t.Context(), m.dir, "disk0", copyOf(system, target), fresh("killed"))
	}); err != nil {
		t.Fatal(err)
	}
	if err := m.EndCopies(t.Context(), nil); err != nil {
		t.Error(err)
	}
	nothingLeft(t, m)

	done = run(t.Context(), data, fresh("unplugged"))
	cfg := m.Config()
	cfg.Disks = cfg.Disks[:1]
	if err := errors.Join(m.Reconfigure(cfg), m.SyncDisks(t.Context())); err != nil {
		t.Errorf("a copy is in a detach's way: %v", err)
	}
	if err := <-done; err == nil {
		t.Error("the copy of a disk that went has succeeded")
	}
	nothingLeft(t, m)

	done = run(t.Context(), system, fresh("stopped"))
	if err := m.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil {
		t.Error("the copy of a machine that was stopped has succeeded")
	}
}
