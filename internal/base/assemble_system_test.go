package base

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hallmark.dev/hallmark/internal/disk"
)

// testStore is kept between runs: assembling takes a minute.
func testStore(t *testing.T) *Store {
	t.Helper()
	if os.Getenv("HALLMARK_SYSTEM_TESTS") != "1" {
		t.Skip("assembles a Debian base from the package mirror as root: set HALLMARK_SYSTEM_TESTS=1")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: mmdebstrap keeps owners and device nodes")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(filepath.Join(cache, "hallmark-test", "base"), NewCatalogue(nil), Mirror{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestAssembledDisk has other people's tools look at the disk.
func TestAssembledDisk(t *testing.T) {
	s := testStore(t)
	for _, e := range Builtin() {
		t.Run(e.Debian.Codename, func(t *testing.T) {
			r, err := s.Resolve(t.Context(), Ref{e.Publisher, e.Offer, e.SKU, Latest})
			if err != nil {
				t.Fatal(err)
			}
			t.Log(r.Version, r.Digest)
			image, err := s.Get(t.Context(), r, func(e Event) { t.Log(e) })
			if err != nil {
				t.Fatal(err)
			}
			checkDisk(t, image)
			again, err := s.Get(t.Context(), r, func(e Event) { t.Errorf("made again: %v", e) })
			if err != nil || again != image {
				t.Errorf("second Get: %+v, %v", again, err)
			}
		})
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, workDir, "*")); len(left) > 0 {
		t.Errorf("work is left: %v", left)
	}
}

func checkDisk(t *testing.T, image Image) {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "disk.raw")
	if err := disk.Convert(context.Background(), image.Path, disk.QCOW2, raw, disk.Raw); err != nil {
		t.Fatal(err)
	}
	var table struct {
		Table struct {
			Label      string
			Partitions []struct {
				Start, Size int64
				Type, Name  string
			}
		} `json:"partitiontable"`
	}
	if err := json.Unmarshal(tool(t, "sfdisk", "--json", raw), &table); err != nil {
		t.Fatal(err)
	}
	p := table.Table.Partitions
	if len(p) != 2 || p[0].Type != typeESP || p[1].Type != typeRoot || p[1].Name != "root" {
		t.Fatalf("partitions %+v", table)
	}
	tool(t, "sgdisk", "--verify", raw)
	root := extract(t, raw, p[1].Start, p[1].Size)
	tool(t, "e2fsck", "-f", "-n", root)
	esp := extract(t, raw, p[0].Start, p[0].Size)
	tool(t, "fsck.fat", "-n", esp)
	listing := string(tool(t, "mdir", "-/", "-b", "-i", esp))
	for _, want := range []string{"EFI/BOOT/BOOTX64.EFI", "EFI/BOOT/grubx64.efi", "EFI/debian/grub.cfg"} {
		if !strings.Contains(strings.ToLower(listing), strings.ToLower(want)) {
			t.Errorf("the EFI system partition lacks %s:\n%s", want, listing)
		}
	}
	for path, want := range map[string]string{
		"/vmlinuz": "Type: symlink", "/initrd.img": "Type: symlink", "/etc/machine-id": "Size: 0",
		"/etc/systemd/system/multi-user.target.wants/systemd-networkd.service": "Type: symlink",
		"/etc/ssh/ssh_host_ed25519_key":                                        "File not found",
		"/etc":                                                                 "Mode:  0755",
		"/usr/bin/sudo":                                                        "Mode:  04755",
	} {
		out, _ := exec.Command("debugfs", "-R", "stat "+path, root).CombinedOutput()
		if !strings.Contains(string(out), want) {
			t.Errorf("%s: want %q in\n%s", path, want, out)
		}
	}
}

func extract(t *testing.T, raw string, start, size int64) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "partition")
	tool(t, "qemu-img", "dd", "-f", "raw", "-O", "raw", "bs=1M",
		"if="+raw, "of="+out, "skip="+itoa(start*sectorSize>>20), "count="+itoa((start+size)*sectorSize>>20))
	return out
}

func itoa(n int64) string { b, _ := json.Marshal(n); return string(b) }

func tool(t *testing.T, args ...string) []byte {
	t.Helper()
	var said strings.Builder
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s%s", args, err, out, said.String())
	}
	return out
}
