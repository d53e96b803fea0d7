package disk

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestOverlayResizeRebaseMeasure(t *testing.T) {
	needSystem(t)
	ctx, base := t.Context(), newImage(t)
	top := overlay(t, base)
	if err := Resize(ctx, top, QCOW2, 256*MiB); err != nil {
		t.Fatal(err)
	}
	info, err := Inspect(ctx, top, QCOW2)
	if err != nil || info.VirtualSize != 256*MiB || info.Backing != base || info.BackingFormat != QCOW2 {
		t.Errorf("got %+v, %v", info, err)
	}
	before := tool(t, "qemu-img", "measure", "-f", "qcow2", "-O", "raw", top)
	if n, err := Measure(ctx, top, QCOW2, Raw); err != nil || !strings.Contains(before, "required size: ") || n == 0 {
		t.Errorf("measure: %d, %v; qemu-img says %s", n, err, before)
	}
	if err := Rebase(ctx, top, "", ""); err != nil {
		t.Fatal(err)
	}
	if info, err := Inspect(ctx, top, QCOW2); err != nil || info.Backing != "" {
		t.Errorf("after flattening: %+v, %v", info, err)
	}
	if out := tool(t, "qemu-img", "compare", top, base); !strings.Contains(out, "identical") {
		t.Errorf("flattening changed the content: %s", out)
	}
}

func TestGrowReachesTheEnd(t *testing.T) {
	needSystem(t)
	ctx, top := t.Context(), filepath.Join(t.TempDir(), "big.qcow2")
	if err := CreateOverlay(ctx, top, newImage(t), QCOW2, 512*MiB); err != nil {
		t.Fatal(err)
	}
	host := Host{Dir: t.TempDir()}
	if err := host.Grow(ctx, top, QCOW2); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, host.Dir)
	m, err := host.Mount(ctx, top, QCOW2, true)
	if err != nil {
		t.Fatal(err)
	}
	free, err := m.Free()
	if err != nil || free < 400*MiB {
		t.Errorf("%d bytes are free, %v", free, err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	raw := filepath.Join(t.TempDir(), "raw")
	tool(t, "qemu-img", "convert", "-O", "raw", top, raw)
	if out := tool(t, "sgdisk", "-v", raw); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk: %s", out)
	}
}
