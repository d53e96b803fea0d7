package vm

import (
	"os"
	"path/filepath"
	"testing"
)

// TestProbe runs the real firmware. Translated it always works; whatever is
// found about KVM must come with a reason and be remembered.
func TestProbe(t *testing.T) {
	if os.Getenv("HALLMARK_SYSTEM_TESTS") != "1" {
		t.Skip("runs QEMU: set HALLMARK_SYSTEM_TESTS=1")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: QEMU drops to a user of its own")
	}
	root := t.TempDir()
	if err := probe(t.Context(), root, TCG); err != nil {
		t.Errorf("TCG does not work: %v", err)
	}
	cache := filepath.Join(root, "accelerator.json")
	first, err := Choose(t.Context(), "", cache)
	if err != nil || first.Reason == "" {
		t.Fatalf("%+v, %v", first, err)
	}
	t.Logf("%+v", first)
	boot, err := BootID()
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := remembered(cache, boot); !ok || c != first {
		t.Errorf("remembered %+v, %v", c, ok)
	}
	if left, err := filepath.Glob(filepath.Join(root, "*.part")); err != nil || len(left) > 0 {
		t.Errorf("left %v", left)
	}
	if running, err := emulators(root); err != nil || len(running) > 0 {
		t.Errorf("still running: %v, %v", running, err)
	}
}
