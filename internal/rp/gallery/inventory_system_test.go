package gallery

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/cas"
	"hallmark.dev/hallmark/internal/disk"
	"hallmark.dev/hallmark/internal/inventory"
	"hallmark.dev/hallmark/internal/region"
)

// TestInventoryOfARealImage makes a disk with sgdisk and mke2fs, and asks dpkg-query
// what is on it.
func TestInventoryOfARealImage(t *testing.T) {
	if os.Getenv("HALLMARK_SYSTEM_TESTS") != "1" || os.Geteuid() != 0 {
		t.Skip("mounts an image as root; set HALLMARK_SYSTEM_TESTS=1")
	}
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	tool(t, "sh", "-c", `set -e; mkdir -p "$1/etc/app" "$1/var/lib/dpkg/info" "$1/var/lib/dpkg/updates"
cp /var/lib/dpkg/status "$1/var/lib/dpkg/status"; cp /etc/os-release "$1/etc/os-release"
echo secret > "$1/etc/app/key"; chmod 0640 "$1/etc/app/key"; chown 12:34 "$1/etc/app/key"; ln -s /etc/shadow "$1/etc/app/link"`, "sh", tree)
	raw, image := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "disk.qcow2")
	tool(t, "truncate", "-s", "64M", raw)
	tool(t, "sgdisk", "-n", "1:2048:0", "-t", "1:8304", raw) // Linux x86-64 root
	tool(t, "mke2fs", "-q", "-t", "ext4", "-E", "offset=1048576", "-d", tree, raw, "62M")
	tool(t, "qemu-img", "convert", "-O", "qcow2", raw, image)

	r, err := region.Open("eastus", filepath.Join(dir, "region"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	v := Inventories{Engine: NewEngine(r), Host: disk.Host{Dir: filepath.Join(dir, "mounts")}}
	var digest string
	m, _, err := r.Ingest(t.Context(), region.Image{Path: image, Format: "qcow2"}, nil, nil)
	if err == nil {
		digest = m.Digest().String()
		_, _, err = r.Materialise(t.Context(), m.Digest(), cas.Reader(nil), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "inventory.json")
	if err := v.Export(t.Context(), "eastus", digest, FormatInventory, file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got inventory.Inventory
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, p := range got.Packages {
		lines = append(lines, p.Name+" "+p.Version+" "+p.Architecture)
	}
	show := exec.Command("sh", "-c", `dpkg-query --admindir="$1" --show --showformat '${db:Status-Status} ${Package} ${Version} ${Architecture}\n' | sed -n 's/^installed //p' | LC_ALL=C sort`, "sh", filepath.Join(tree, "var/lib/dpkg"))
	want, err := show.Output()
	if err != nil {
		t.Fatal(err)
	}
	sorted := exec.Command("sort")
	sorted.Env, sorted.Stdin = append(os.Environ(), "LC_ALL=C"), strings.NewReader(strings.Join(lines, "\n")+"\n")
	have, err := sorted.Output()
	if err != nil || len(lines) == 0 {
		t.Fatal(err, len(lines))
	}
	if diff := cmp.Diff(string(want), string(have)); diff != "" {
		t.Error(diff)
	}
	files := map[string]inventory.File{}
	for _, f := range got.Files {
		files[f.Path] = f
	}
	sum, err := exec.Command("sha256sum", filepath.Join(tree, "etc/app/key")).Output()
	if err != nil {
		t.Fatal(err)
	}
	wantFiles := map[string]inventory.File{
		"/etc/app/key":  {Path: "/etc/app/key", Type: "file", Mode: "0640", UID: 12, GID: 34, Size: 7, Digest: "sha256:" + strings.Fields(string(sum))[0]},
		"/etc/app/link": {Path: "/etc/app/link", Type: "link", Target: "/etc/shadow"},
	}
	for path, f := range wantFiles {
		if diff := cmp.Diff(f, files[path]); diff != "" {
			t.Error(diff)
		}
	}
	if got.UsedBytes == 0 || got.OSRelease["ID"] == "" {
		t.Errorf("used %d bytes, os-release %v", got.UsedBytes, got.OSRelease)
	}
	if left, _ := os.ReadDir(v.Host.Dir); len(left) > 0 {
		t.Errorf("still mounted: %v", left)
	}
}
