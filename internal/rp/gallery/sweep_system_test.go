package gallery

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/region"
)

// TestSweepLeavesWhatIsNamed: a version's bytes stay, those of a deleted one go, and
// so does a blob that was taken in.
func TestSweepLeavesWhatIsNamed(t *testing.T) {
	if os.Getenv("HALLMARK_SYSTEM_TESTS") != "1" {
		t.Skip("needs qemu-img; set HALLMARK_SYSTEM_TESTS=1")
	}
	dir := t.TempDir()
	r, err := region.Open("eastus", filepath.Join(dir, "eastus"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	engine := NewEngine(r)
	w := newWorld(t)
	w.startWith(t, engine, engine)
	for _, v := range []string{"1.0.0", "2.0.0"} {
		raw := filepath.Join(dir, v)
		tool(t, "sh", "-c", "head -c 2097152 /dev/urandom > "+raw)
		f, err := w.artifacts.Put(t.Context(), raw)
		if err != nil {
			t.Fatal(err)
		}
		w.must(t, "PUT", versionID(v), versionText(w.artifacts.URI(f.Digest), "eastus"), 201)
		w.settle(t, versionID(v))
	}
	w.must(t, "DELETE", versionID("1.0.0"), "", 202)
	w.settle(t, versionID("1.0.0"))

	late := func() time.Time { return time.Now().Add(48 * time.Hour) }
	swept, err := Sweeper{Store: w.store, Artifacts: w.artifacts, Regions: []*region.Region{r}, Now: late}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if swept.Blobs != 2 || swept.Chunks == 0 || swept.Replicas != 0 || swept.Bytes < 2*2097152 {
		t.Errorf("%+v", swept)
	}
	digest := arm.GetString(w.get(t, versionID("2.0.0"), ""), "properties.hallmark.imageDigest")
	if err := engine.Export(t.Context(), "eastus", digest, "raw", filepath.Join(dir, "out")); err != nil {
		t.Errorf("the bytes of a published version are gone: %v", err)
	}
}
