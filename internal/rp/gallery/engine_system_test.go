package gallery

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/region"
)

// TestRealEngines publishes real disk images through the real content store and
// regions, and compares every export with qemu-img.
func TestRealEngines(t *testing.T) {
	if os.Getenv("HALLMARK_SYSTEM_TESTS") != "1" {
		t.Skip("needs qemu-img; set HALLMARK_SYSTEM_TESTS=1")
	}
	dir := t.TempDir()
	var regions []*region.Region
	for _, name := range []string{"eastus", "westeurope"} {
		r, err := region.Open(name, filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		regions = append(regions, r)
	}
	raw := filepath.Join(dir, "disk.raw")
	tool(t, "sh", "-c", "head -c 3145728 /dev/urandom > "+raw+" && truncate -s 9M "+raw)
	qcow2, vhd := filepath.Join(dir, "disk.qcow2"), filepath.Join(dir, "disk.vhd")
	tool(t, "qemu-img", "convert", "-O", "qcow2", "-c", raw, qcow2)
	tool(t, "qemu-img", "convert", "-O", "vpc", "-o", "subformat=fixed,force_size", raw, vhd)

	w := newWorld(t)
	real := NewEngine(regions...)
	w.startWith(t, real, real)
	digests := map[string]bool{}
	for i, file := range []string{qcow2, vhd, copyOf(t, raw)} {
		f, err := w.artifacts.Put(t.Context(), file)
		if err != nil {
			t.Fatal(err)
		}
		id := versionID([]string{"1.0.0", "1.1.0", "1.2.0"}[i])
		w.must(t, "PUT", id, versionText(w.artifacts.URI(f.Digest), "eastus", "westeurope"), 201)
		w.settle(t, id)
		body := w.get(t, id, "$expand=ReplicationStatus")
		if arm.GetString(body, "properties.provisioningState") != "Succeeded" {
			t.Fatalf("%s", body)
		}
		digests[arm.GetString(body, "properties.hallmark.imageDigest")] = true
		if got, _ := arm.Get(body, "properties.hallmark.virtualSizeBytes"); string(got) != "9437184" {
			t.Errorf("virtual size %s", got)
		}
	}
	if len(digests) != 1 {
		t.Errorf("the same disk in three formats has the digests %v", digests)
	}
	w.exportAll(t, versionID("1.0.0"), raw)
	for _, v := range []string{"1.0.0", "1.1.0", "1.2.0"} {
		w.must(t, "DELETE", versionID(v), "", 202)
		w.settle(t, versionID(v))
		w.must(t, "GET", versionID(v), "", 404)
	}
	for _, r := range regions {
		if left, err := r.Replicas(); err != nil || len(left) > 0 {
			t.Errorf("region %s: replicas %v, %v", r.Name(), left, err)
		}
	}
}

func (w *world) exportAll(t *testing.T, id arm.ID, raw string) {
	t.Helper()
	for _, format := range []string{"vhd", "qcow2", "raw"} {
		if got := w.doPath("POST", id.String()+"/export", "", `{"format":"`+format+`"}`).Status; got != 202 {
			t.Fatalf("export %s: %d", format, got)
		}
		w.settle(t, id)
		var st state
		if err := json.Unmarshal(w.document(t, id).Private, &st); err != nil {
			t.Fatal(err)
		}
		path, _, err := w.artifacts.Resolve(st.Exported[format].URI)
		if err != nil {
			t.Fatalf("export %s: %v", format, err)
		}
		word := map[string]string{"vhd": "vpc"}[format]
		if word == "" {
			word = format
		}
		tool(t, "qemu-img", "compare", "-f", word, "-F", "raw", path, raw)
	}
}

func copyOf(t *testing.T, file string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	tool(t, "cp", file, to)
	return to
}

func tool(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}
