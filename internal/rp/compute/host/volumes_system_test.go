package host

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"hallmark.dev/hallmark/internal/disk"
)

// TestVolumes looks at what is made with qemu-img's own eyes.
func TestVolumes(t *testing.T) {
	if os.Getenv("HALLMARK_SYSTEM_TESTS") != "1" {
		t.Skip("runs qemu-img: set HALLMARK_SYSTEM_TESTS=1")
	}
	ctx, v := t.Context(), Volumes{Dir: filepath.Join(t.TempDir(), "disks")}
	const mib = 1 << 20
	for range 2 { // every call may be repeated
		if err := v.Empty(ctx, one, 3*mib); err != nil {
			t.Fatal(err)
		}
		if err := v.Overlay(ctx, two, v.File(one), 5*mib); err != nil {
			t.Fatal(err)
		}
	}
	info, err := disk.Inspect(ctx, v.File(two), disk.QCOW2)
	if err != nil || info.VirtualSize != 5*mib || info.Backing != v.File(one) {
		t.Errorf("%v, %+v", err, info)
	}
	if size, err := v.Size(ctx, v.File(two)); err != nil || size != 5*mib {
		t.Errorf("Size: %d, %v", size, err)
	}
	if on, err := v.Backing(ctx, two); err != nil || on != v.File(one) {
		t.Errorf("Backing: %s, %v", on, err)
	}
	if err := v.Grow(ctx, two, 7*mib); err != nil {
		t.Fatal(err)
	}
	if err := v.Grow(ctx, two, mib); err != nil { // never smaller
		t.Fatal(err)
	}
	third := "33333333-3333-4333-8333-333333333333"
	if err := v.Copy(ctx, third, v.File(two), 9*mib); err != nil {
		t.Fatal(err)
	}
	info, err = disk.Inspect(ctx, v.File(third), disk.QCOW2)
	if err != nil || info.VirtualSize != 9*mib || info.Backing != "" {
		t.Errorf("the copy: %v, %+v", err, info)
	}
	if err := disk.Check(ctx, v.File(third), disk.QCOW2); err != nil {
		t.Error(err)
	}
	if mode, err := os.Stat(v.File(third)); err != nil || mode.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", mode.Mode(), err)
	}
	filled, refused := "44444444-4444-4444-8444-444444444444", errors.New("no")
	if err := v.Fill(ctx, filled, 3*mib, func(string) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("Fill: %v", err)
	}
	if left, err := filepath.Glob(v.File(filled) + "*"); err != nil || len(left) != 0 {
		t.Errorf("what could not be filled has left %v, %v", left, err)
	}
	if err := v.Fill(ctx, filled, 3*mib, func(file string) error { return disk.Check(ctx, file, disk.QCOW2) }); err != nil {
		t.Error(err)
	}
	if size, err := v.Size(ctx, v.File(filled)); err != nil || size != 3*mib {
		t.Errorf("the filled one: %d, %v", size, err)
	}
	if a := v.Allocated(one); a == 0 || a > mib {
		t.Errorf("an empty volume takes %d bytes", a)
	}
}
