package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// needSystem skips a test that needs root, loop devices, FUSE and QEMU's tools.
func needSystem(t *testing.T) {
	t.Helper()
	if os.Getenv("HALLMARK_SYSTEM_TESTS") != "1" {
		t.Skip("needs root, loop devices and FUSE; set HALLMARK_SYSTEM_TESTS=1")
	}
}

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

const rootStart = 1 << 20

// newImage makes a GPT disk with one ext4 root, with tools that are not ours.
func newImage(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	raw, image, tree := filepath.Join(dir, "raw"), filepath.Join(dir, "base.qcow2"), filepath.Join(dir, "tree")
	if err := os.MkdirAll(filepath.Join(tree, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tree, "etc/hostname"), []byte("base\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	tool(t, "qemu-img", "create", "-q", "-f", "raw", raw, "128M")
	tool(t, "sgdisk", "-og", raw)
	tool(t, "sgdisk", "-n1:2048:0", "-t1:8304", raw)
	tool(t, "mke2fs", "-q", "-t", "ext4", "-d", tree, "-E", "offset="+strconv.Itoa(rootStart), raw, "120M")
	tool(t, "qemu-img", "convert", "-O", "qcow2", raw, image)
	return image
}

func overlay(t *testing.T, base string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "layer.qcow2")
	if err := CreateOverlay(t.Context(), path, base, QCOW2, 0); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMountWritesReachTheOverlayOnly(t *testing.T) {
	needSystem(t)
	base := newImage(t)
	before := tool(t, "sha256sum", base)
	layer := overlay(t, base)
	host := Host{Dir: t.TempDir()}
	m, err := host.Mount(t.Context(), layer, QCOW2, false)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(m.Root(), "etc/hostname")); err != nil || string(got) != "base\n" {
		t.Errorf("base content: %q, %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(m.Root(), "new"), []byte("written"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	tool(t, "qemu-img", "check", layer)
	if after := tool(t, "sha256sum", base); after != before {
		t.Error("the base changed")
	}
	nothingLeft(t, host.Dir)

	m, err = host.Mount(t.Context(), layer, QCOW2, true)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(m.Root(), "new")); err != nil || string(got) != "written" {
		t.Errorf("layer content: %q, %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(m.Root(), "more"), nil, 0o644); err == nil {
		t.Error("a read-only mount took a file")
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, host.Dir)
}

// Small deleted files share a cluster with living ones; trim cannot reach those.
func TestDeletedBytesLeaveASealedImage(t *testing.T) {
	needSystem(t)
	const canary = "CANARY-6f1d0c"
	layer := overlay(t, newImage(t))
	m, err := Host{Dir: t.TempDir()}.Mount(t.Context(), layer, QCOW2, false)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		name := filepath.Join(m.Root(), fmt.Sprintf("f%d", i))
		content := strings.Repeat("living ", 500)
		if i%2 == 0 {
			content = strings.Repeat(canary, 300)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tool(t, "sync", "-f", m.Root())
	for i := 0; i < 200; i += 2 {
		if err := os.Remove(filepath.Join(m.Root(), fmt.Sprintf("f%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Trim(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.CloseSealed(t.Context()); err != nil {
		t.Fatal(err)
	}
	flat := filepath.Join(t.TempDir(), "flat.raw")
	if err := Convert(t.Context(), layer, QCOW2, flat, Raw); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(flat)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(content, []byte(canary)); n != 0 {
		t.Errorf("%d deleted canaries are still in the image", n)
	}
	if !bytes.Contains(content, []byte("living living")) {
		t.Error("living files are gone")
	}
	part := filepath.Join(t.TempDir(), "part")
	tool(t, "dd", "if="+flat, "of="+part, "bs=1M", "skip=1", "count=120", "status=none")
	tool(t, "e2fsck", "-fn", part)
}

func TestConvertVHDIsFixedAndAligned(t *testing.T) {
	needSystem(t)
	raw, vhd := filepath.Join(t.TempDir(), "odd.raw"), filepath.Join(t.TempDir(), "odd.vhd")
	if err := os.WriteFile(raw, bytes.Repeat([]byte("x"), 3*MiB+512), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Convert(t.Context(), raw, Raw, vhd, VHD); err != nil {
		t.Fatal(err)
	}
	// Azure: the file is the content and a 512-byte footer, the content whole MiBs.
	info, err := os.Stat(vhd)
	if err != nil {
		t.Fatal(err)
	}
	if want := int64(4*MiB + 512); info.Size() != want {
		t.Errorf("file of %d bytes, want %d", info.Size(), want)
	}
	footer := make([]byte, 8)
	f, err := os.Open(vhd)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.ReadAt(footer, 4*MiB); err != nil || string(footer) != "conectix" {
		t.Errorf("footer %q, %v", footer, err)
	}
	if got := tool(t, "qemu-img", "info", "-f", "vpc", vhd); !strings.Contains(got, "(4194304 bytes)") {
		t.Errorf("qemu-img sees\n%s", got)
	}
}

func TestInspectForeignRefusesALinkedImage(t *testing.T) {
	needSystem(t)
	if _, err := InspectForeign(t.Context(), overlay(t, newImage(t))); !errors.Is(err, ErrLinked) {
		t.Errorf("got %v, want ErrLinked", err)
	}
}

func TestMountSaysWhyAnImageIsUnsupported(t *testing.T) {
	needSystem(t)
	image := filepath.Join(t.TempDir(), "empty.qcow2")
	if err := Create(t.Context(), image, QCOW2, 8*MiB); err != nil {
		t.Fatal(err)
	}
	host := Host{Dir: t.TempDir()}
	if _, err := host.Mount(t.Context(), image, QCOW2, false); !errors.Is(err, ErrUnsupportedRoot) || !errors.Is(err, ErrNoGPT) {
		t.Errorf("got %v, want ErrUnsupportedRoot and ErrNoGPT", err)
	}
	nothingLeft(t, host.Dir)
}

// TestMain lets TestSweepAfterKill start this binary as the process that dies.
func TestMain(m *testing.M) {
	if dir := os.Getenv("DISK_TEST_DIR"); dir != "" {
		mountAndDie(dir, os.Getenv("DISK_TEST_IMAGE"))
	}
	os.Exit(m.Run())
}

func mountAndDie(dir, image string) {
	m, err := Host{Dir: dir}.Mount(context.Background(), image, QCOW2, false)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	if _, err := m.Private(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	if err := os.WriteFile(filepath.Join(m.Root(), "dirty"), bytes.Repeat([]byte("d"), 8*MiB), 0o600); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("mounted")
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		fmt.Println(err)
	}
	select {}
}

func TestSweepAfterKill(t *testing.T) {
	needSystem(t)
	host := Host{Dir: t.TempDir()}
	layer := overlay(t, newImage(t))
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "DISK_TEST_DIR="+host.Dir, "DISK_TEST_IMAGE="+layer)
	out, _ := child.CombinedOutput()
	if !strings.Contains(string(out), "mounted") {
		t.Fatalf("the child did not mount:\n%s", out)
	}
	living, err := host.Mount(t.Context(), overlay(t, newImage(t)), QCOW2, false)
	if err != nil {
		t.Fatal(err)
	}
	done, err := Sweep(host.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(done) == 0 {
		t.Error("Sweep found nothing after a kill")
	}
	if _, err := os.Stat(filepath.Join(living.Root(), "etc/hostname")); err != nil {
		t.Errorf("Sweep took a living mount away: %v", err)
	}
	if err := living.Close(); err != nil {
		t.Error(err)
	}
	nothingLeft(t, host.Dir)
	if again, err := Sweep(host.Dir); err != nil || len(again) != 0 {
		t.Errorf("a second Sweep did %v, %v", again, err)
	}
}

func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	for _, command := range [][]string{{"losetup", "-l", "-n", "-O", "BACK-FILE"}, {"cat", "/proc/self/mountinfo"}, {"ps", "-eo", "args"}} {
		if out := tool(t, command[0], command[1:]...); strings.Contains(out, dir) {
			t.Errorf("%s still shows %s", command[0], dir)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("%s still holds %v, %v", dir, entries, err)
	}
}

// Any program on the host may make a mount namespace while an image is mounted;
// it must not keep the image from being released.
func TestAnotherMountNamespaceHoldsNothing(t *testing.T) {
	needSystem(t)
	layer := overlay(t, newImage(t))
	m, err := Host{Dir: t.TempDir()}.Mount(t.Context(), layer, QCOW2, false)
	if err != nil {
		t.Fatal(err)
	}
	other := exec.Command("unshare", "--mount", "--propagation", "unchanged", "sh", "-c", "echo ready; exec sleep 300")
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		other.Process.Kill()
		other.Wait()
	}()
	if _, err := out.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	tool(t, "qemu-img", "check", layer)
}
