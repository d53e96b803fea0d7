package build

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"hallmark.dev/hallmark/internal/disk"
)

func needSystem(t *testing.T) {
	t.Helper()
	if os.Getenv("HALLMARK_SYSTEM_TESTS") != "1" {
		t.Skip("needs root, loop devices, FUSE, systemd-nspawn and a Debian mirror; set HALLMARK_SYSTEM_TESTS=1")
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

// debian makes a small Debian base once a machine: GPT, an ext4 root of 2 GiB,
// made with tools that are not ours. It boots in a container, not on a machine.
func debian(t *testing.T) Base {
	t.Helper()
	needSystem(t)
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "hallmark-test")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "build-base-1.qcow2")
	if _, err := os.Stat(path); err != nil {
		assemble(t, dir, path)
	}
	digest := "sha256:" + strings.Fields(tool(t, "sha256sum", path))[0]
	return Base{Path: path, Format: disk.QCOW2, Digest: digest}
}

func assemble(t *testing.T, dir, path string) {
	t.Helper()
	tree, raw := filepath.Join(t.TempDir(), "tree"), filepath.Join(t.TempDir(), "raw")
	tar := filepath.Join(dir, "bookworm-1.tar")
	if _, err := os.Stat(tar); err != nil {
		tool(t, "mmdebstrap", "--variant=minbase", "--format=tar", "--include=systemd,systemd-sysv,dbus,ca-certificates", "bookworm", tar+".new")
		if err := os.Rename(tar+".new", tar); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	tool(t, "tar", "-xf", tar, "-C", tree, "--exclude=./dev/*", "--numeric-owner")
	tool(t, "qemu-img", "create", "-q", "-f", "raw", raw, "2G")
	if out, err := sfdisk(raw, "label: gpt\nsize=32MiB, type=uefi\ntype=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=root\n"); err != nil {
		t.Fatalf("sfdisk: %v\n%s", err, out)
	}
	const start = 33 << 20
	tool(t, "mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", tree, "-E", "offset="+strconv.Itoa(start), raw, strconv.Itoa((2<<30-start-1<<20)>>10)+"k")
	tool(t, "qemu-img", "convert", "-O", "qcow2", raw, path+".new")
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func sfdisk(path, script string) (string, error) {
	cmd := exec.Command("sfdisk", "-q", path)
	cmd.Stdin = strings.NewReader(script)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// testNet is the smallest network namespace with a way out and none to the host.
type testNet struct{ name string }

var netCount atomic.Int32

func newTestNet(ctx context.Context, run string) (NetworkNamespace, error) {
	n := netCount.Add(1)
	// The limit of an interface's name is 15 characters.
	name := fmt.Sprintf("hmb%d-%d", os.Getpid()%1000000, n)
	subnet := netip.AddrFrom4([4]byte{10, 213, byte(os.Getpid()), byte(n * 4)})
	host, guest := subnet.Next().String(), subnet.Next().Next().String()
	for _, args := range [][]string{
		{"ip", "netns", "add", name},
		{"ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name},
		{"ip", "addr", "add", host + "/30", "dev", name},
		{"ip", "link", "set", name, "up"},
		{"ip", "-n", name, "link", "set", "lo", "up"},
		{"ip", "-n", name, "addr", "add", guest + "/30", "dev", "eth0"},
		{"ip", "-n", name, "link", "set", "eth0", "up"},
		{"ip", "-n", name, "route", "add", "default", "via", host},
		{"nft", fmt.Sprintf("table ip %s {\n chain out {\n type nat hook postrouting priority 100\n ip saddr %s/30 masquerade\n }\n"+
			" chain in {\n type filter hook input priority 0\n iifname %q drop\n }\n}\n", name, subnet, name)},
	} {
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%v: %w: %s", args, err, out)
		}
	}
	return testNet{name}, nil
}

func (n testNet) Path() string { return "/run/netns/" + n.name }

func (n testNet) Close() error {
	if err := exec.Command("nft", "delete", "table", "ip", n.name).Run(); err != nil {
		return err
	}
	return exec.Command("ip", "netns", "del", n.name).Run()
}

// open makes a builder in a directory of its own, on the file system of the
// cached base, so that the base is linked and not copied.
func open(t *testing.T) *Builder {
	t.Helper()
	b, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b.Network = newTestNet
	t.Cleanup(func() { nothingLeft(t, b) })
	return b
}

func nothingLeft(t *testing.T, b *Builder) {
	t.Helper()
	for _, command := range [][]string{{"losetup", "-l", "-n", "-O", "BACK-FILE"}, {"cat", "/proc/self/mountinfo"}, {"ps", "-eo", "args"}} {
		if out := tool(t, command[0], command[1:]...); strings.Contains(out, b.cache.dir) {
			t.Errorf("%s still shows %s", command[0], b.cache.dir)
		}
	}
	for _, pattern := range []string{mountsDir + "/*", layersDir + "/" + workPrefix + "*", imagesDir + "/" + workPrefix + "*"} {
		if found, _ := filepath.Glob(b.cache.path(pattern)); len(found) > 0 {
			t.Errorf("left behind: %v", found)
		}
	}
	if found, _ := filepath.Glob("/sys/fs/cgroup/*/" + cgroupPrefix(b.cache.dir) + "*"); len(found) > 0 {
		t.Errorf("control groups left behind: %v", found)
	}
}

// read mounts an image read-only and answers a file's content.
func readFrom(t *testing.T, image, name string) string {
	t.Helper()
	m, err := disk.Host{Dir: t.TempDir()}.Mount(t.Context(), image, disk.QCOW2, true)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Discard()
	text, err := os.ReadFile(filepath.Join(m.Root(), name))
	if err != nil {
		return "error: " + err.Error()
	}
	return string(text)
}
