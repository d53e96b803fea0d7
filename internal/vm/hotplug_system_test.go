package vm

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"hallmark.dev/hallmark/internal/disk"
)

// needsQEMU skips where no QEMU may be run.
func needsQEMU(t *testing.T) {
	t.Helper()
	if os.Getenv("HALLMARK_SYSTEM_TESTS") != "1" {
		t.Skip("runs QEMU: set HALLMARK_SYSTEM_TESTS=1")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: QEMU drops to a user of its own")
	}
}

// TestSyncDisks plugs disks into a real QEMU, without a guest: one that was dropped to a
// user who cannot open their files.
func TestSyncDisks(t *testing.T) {
	needsQEMU(t)
	ctx, dir := t.Context(), t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name+".qcow2") }
	const mib = 1 << 20
	for _, name := range []string{"os", "one", "two", "base"} {
		if err := disk.Create(ctx, file(name), disk.QCOW2, 8*mib); err != nil {
			t.Fatal(err)
		}
	}
	if err := disk.CreateOverlay(ctx, file("overlay"), file("base"), disk.QCOW2, 9*mib); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one", "two", "base", "overlay"} {
		if err := os.Chmod(file(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	data := func(name string, lun int) Disk { return Disk{Path: file(name), Format: disk.QCOW2, LUN: lun} }
	system := Disk{Path: file("os"), Format: disk.QCOW2}
	m, err := Create(ctx, filepath.Join(dir, "machine"), Config{ID: "m", MemoryMiB: 256, Disks: []Disk{system, data("one", 0)}}, Image{Path: file("os"), Format: disk.QCOW2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.SyncDisks(ctx); err != nil { // it does not run
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
	for i, disks := range [][]Disk{
		{data("one", 0)},
		{data("one", 0), data("two", 5)},                      // attach
		{data("one", 0), data("two", 5), data("overlay", 63)}, // one that stands on another file
		{data("two", 5), data("overlay", 63)},                 // detach what was there at the start
		{data("two", 0), data("overlay", 63)},                 // another LUN
		{data("one", 0)},
		{},
	} {
		cfg := m.Config()
		cfg.Disks = append([]Disk{system}, disks...)
		if err := m.Reconfigure(cfg); err != nil {
			t.Fatal(err)
		}
		for range 2 { // it may be repeated
			if err := m.SyncDisks(ctx); err != nil {
				t.Fatalf("step %d: %v", i, err)
			}
		}
		want := map[string]string{}
		for _, d := range disks {
			want[dataDevice(d.LUN)] = dataNode(d.Path)
		}
		if got := pluggedInto(t, m); !maps.Equal(got, want) {
			t.Errorf("step %d: plugged in are %v, want %v", i, got, want)
		}
	}
	strayNode(t, m, data("one", 1))
	if err := m.SyncDisks(ctx); err != nil {
		t.Fatal(err)
	}
	if err := m.monitor(ctx, func(s *session) error { return s.addNode(ctx, dir, data("one", 1)) }); err != nil {
		t.Errorf("what a crash left between node and device is in the way: %v", err)
	}
	growing(t, m, file("one"))
}

func pluggedInto(t *testing.T, m *Machine) (found map[string]string) {
	t.Helper()
	err := m.monitor(t.Context(), func(s *session) (err error) {
		found, err = s.dataDisks()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// strayNode is what a process that is killed between the two commands leaves.
func strayNode(t *testing.T, m *Machine, d Disk) {
	t.Helper()
	if err := m.monitor(t.Context(), func(s *session) error { return s.addNode(t.Context(), m.dir, d) }); err != nil {
		t.Fatal(err)
	}
}

func growing(t *testing.T, m *Machine, path string) {
	t.Helper()
	const size = 32 << 20
	if err := m.GrowDisk(t.Context(), path, size); err != nil {
		t.Fatal(err)
	}
	if info, err := disk.Inspect(t.Context(), path, disk.QCOW2); err != nil || info.VirtualSize != size {
		t.Errorf("after growing: %+v, %v", info, err)
	}
	var refused *QMPError
	if err := m.GrowDisk(t.Context(), path+"x", size); !errors.As(err, &refused) {
		t.Errorf("a disk that is not there has grown: %v", err)
	}
}
