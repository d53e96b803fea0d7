package disk

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseInfo(t *testing.T) {
	// Printed by qemu-img 7.2 for an overlay.
	const said = `{"virtual-size": 3221225472, "filename": "l.qcow2", "cluster-size": 65536, "format": "qcow2",
	 "actual-size": 200704, "format-specific": {"type": "qcow2", "data": {"compat": "1.1"}},
	 "full-backing-filename": "/x/base.qcow2", "backing-filename": "base.qcow2", "backing-filename-format": "qcow2"}`
	got, err := parseInfo([]byte(said))
	if err != nil {
		t.Fatal(err)
	}
	want := Info{Format: QCOW2, VirtualSize: 3221225472, AllocatedSize: 200704, ClusterSize: 65536,
		Backing: "base.qcow2", BackingFormat: QCOW2}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestExportArgumentsEscapeCommas(t *testing.T) {
	got := exportArgs("/a,driver=raw/i", QCOW2, "/p,writable=on/d", true)
	if !strings.HasSuffix(got[1], "filename=/a,,driver=raw/i") || !strings.HasSuffix(got[5], "mountpoint=/p,,writable=on/d") {
		t.Errorf("a path's comma starts an option: %q", got)
	}
	if !strings.Contains(got[5], "writable=off") {
		t.Errorf("a read-only export can be written: %q", got[5])
	}
}

func TestDigestIsSHA256(t *testing.T) {
	path := filepath.Join(t.TempDir(), "abc")
	if err := os.WriteFile(path, []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	// FIPS 180-2, appendix B.1.
	const want = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if got, err := Digest(t.Context(), path); err != nil || got != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
	if !ValidDigest(want) || ValidDigest(want[:70]) || ValidDigest(strings.ToUpper(want)) {
		t.Error("ValidDigest disagrees with Digest")
	}
}

func TestParseFree(t *testing.T) {
	text, err := os.ReadFile("testdata/dumpe2fs.txt") // of a fresh 4 MiB file system with 1 KiB blocks
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseFree(text)
	if err != nil {
		t.Fatal(err)
	}
	want := []extent{{1330 << 10, 4096 << 10}} // "Free blocks: 1330-4095"
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(extent{})); diff != "" {
		t.Error(diff)
	}
	if err := stateOf(text); err != nil {
		t.Errorf("a fresh file system is not clean: %v", err)
	}
	if err := stateOf([]byte("Filesystem state:         clean with errors\n")); err == nil {
		t.Error("a file system with errors passes")
	}
}

func FuzzParseFree(f *testing.F) {
	f.Add([]byte("Block size:  4096\n  Free blocks: 1, 3-9, \n"))
	f.Add([]byte("Block size:  4096\n  Free blocks: 9-3\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := parseFree(text)
		if err != nil {
			return
		}
		for _, e := range got {
			if e.start < 0 || e.end <= e.start {
				t.Errorf("%q: %+v", text, e)
			}
		}
	})
}

func TestMountPointUnescapes(t *testing.T) {
	line := `36 35 98:0 / /data\040dir/root rw,noatime shared:1 - ext4 /dev/loop0 rw`
	if got, want := mountPoint(line), "/data dir/root"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := mountPoint("short"); got != "" {
		t.Errorf("got %q from a short line", got)
	}
}
