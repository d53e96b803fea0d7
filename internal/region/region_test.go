package region

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/cas"
	"hallmark.dev/hallmark/internal/cas/castest"
	"hallmark.dev/hallmark/internal/cas/file"
)

var ctx = context.Background()

func openRegion(t *testing.T, root string) *Region {
	t.Helper()
	r, err := Open("west", root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// fill stores an image's chunks in a region without qemu-img.
func fill(t *testing.T, r *Region, image castest.Image) cas.Digest {
	t.Helper()
	b, err := r.store.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	m, _, err := cas.Ingest(ctx, b, image, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m.Digest()
}

// left lists the files in a region's root outside of its chunk store.
func left(t *testing.T, r *Region) []string {
	t.Helper()
	var found []string
	for _, dir := range []string{replicasDir, tempDir} {
		entries, err := os.ReadDir(r.path(dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			found = append(found, filepath.Join(dir, e.Name()))
		}
	}
	return found
}

func nobody(context.Context, cas.Digest) ([]string, error) { return nil, nil }

// TestNoReplicaWithoutEveryByte: a copy that breaks off, a damaged chunk, a
// missing image or a cancelled call leaves no file at all.
func TestNoReplicaWithoutEveryByte(t *testing.T) {
	source := &castest.Memory{}
	image := castest.Random(1, 4<<20)
	b, _ := source.Begin(ctx)
	m, _, err := cas.Ingest(ctx, b, image, nil)
	if err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	damaged := &castest.Memory{}
	b, _ = damaged.Begin(ctx)
	if _, _, err := cas.Copy(ctx, b, source, m.Digest(), nil); err != nil {
		t.Fatal(err)
	}
	damaged.Damage(m.Extents[len(m.Extents)-1].ID)
	for name, test := range map[string]struct {
		ctx  context.Context
		from cas.Reader
		want error
	}{
		"copy breaks off": {ctx, &castest.Faulty{Store: source, At: 20, Fault: castest.NotApplied}, castest.ErrInjected},
		"damaged chunk":   {ctx, damaged, cas.ErrCorrupt},
		"missing image":   {ctx, nil, cas.ErrNotFound},
		"cancelled":       {cancelled, source, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			r := openRegion(t, t.TempDir())
			if _, _, err := r.Materialise(test.ctx, m.Digest(), test.from, nil); !errors.Is(err, test.want) {
				t.Errorf("got error %v, want %v", err, test.want)
			}
			if found := left(t, r); found != nil {
				t.Errorf("%v is left", found)
			}
			if _, err := r.Replica(m.Digest()); !errors.Is(err, ErrNoReplica) {
				t.Errorf("got error %v, want %v", err, ErrNoReplica)
			}
			if _, _, err := r.Materialise(ctx, m.Digest(), source, nil); err != nil {
				t.Errorf("again, without the fault: %v", err)
			}
		})
	}
}

func TestManyMaterialiseOneReplica(t *testing.T) {
	source := openRegion(t, t.TempDir())
	digest := fill(t, source, castest.Random(2, 4<<20))
	r := openRegion(t, t.TempDir())
	var group sync.WaitGroup
	var mu sync.Mutex
	var moved int
	for range 8 {
		group.Go(func() {
			_, p, err := r.Materialise(ctx, digest, source.Chunks(), nil)
			mu.Lock()
			defer mu.Unlock()
			moved += p.NewChunks
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	m, _ := r.Manifest(ctx, digest)
	if want := len(m.Chunks()); moved != want {
		t.Errorf("%d chunks moved, the image has %d", moved, want)
	}
	if found := left(t, r); len(found) != 1 {
		t.Errorf("left are %v, want one replica", found)
	}
}

// TestRegionsWriteTheSameFile: a replica's bytes depend on the image alone.
func TestRegionsWriteTheSameFile(t *testing.T) {
	image := castest.Random(3, 4<<20)
	var files [2][]byte
	for i := range files {
		r := openRegion(t, t.TempDir())
		replica, _, err := r.Materialise(ctx, fill(t, r, image), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if files[i], err = os.ReadFile(replica.Path); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("two regions' replicas of one image differ")
	}
}

func TestOpenRemovesWhatACrashLeft(t *testing.T) {
	root := t.TempDir()
	r := openRegion(t, root)
	half := filepath.Join(root, tempDir, "half.qcow2.123")
	if err := os.WriteFile(half, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open("west", root); !errors.Is(err, file.ErrInUse) {
		t.Errorf("a second opener: got error %v, want %v", err, file.ErrInUse)
	}
	if _, err := os.Stat(half); err != nil {
		t.Error("a second opener removed what the first is writing")
	}
	r.Close()
	if r = openRegion(t, root); left(t, r) != nil {
		t.Errorf("%v is left", left(t, r))
	}
}

func TestRemove(t *testing.T) {
	r := openRegion(t, t.TempDir())
	digest := fill(t, r, castest.Random(4, 1<<20))
	if _, _, err := r.Materialise(ctx, digest, nil, nil); err != nil {
		t.Fatal(err)
	}
	users := func(context.Context, cas.Digest) ([]string, error) { return []string{"web-1", "web-2"}, nil }
	err := r.Remove(ctx, digest, users)
	if !errors.Is(err, ErrReplicaInUse) || !strings.Contains(err.Error(), "web-1, web-2") {
		t.Errorf("got error %v, want one that names the users", err)
	}
	unknown := func(context.Context, cas.Digest) ([]string, error) { return nil, castest.ErrInjected }
	if err := r.Remove(ctx, digest, unknown); !errors.Is(err, castest.ErrInjected) {
		t.Errorf("got error %v, want %v", err, castest.ErrInjected)
	}
	if _, err := r.Replica(digest); err != nil {
		t.Errorf("after refused removals: %v", err)
	}
	for range 2 {
		if err := r.Remove(ctx, digest, nobody); err != nil {
			t.Error(err)
		}
	}
	if err := r.Use(digest, func(string) error { return nil }); !errors.Is(err, ErrNoReplica) {
		t.Errorf("got error %v, want %v", err, ErrNoReplica)
	}
}

// TestRemoveSeesWhoCameInBetween: a machine is being made from the replica while
// it is to be removed; the removal waits, and then sees the machine.
func TestRemoveSeesWhoCameInBetween(t *testing.T) {
	r := openRegion(t, t.TempDir())
	digest := fill(t, r, castest.Random(5, 1<<20))
	if _, _, err := r.Materialise(ctx, digest, nil, nil); err != nil {
		t.Fatal(err)
	}
	var machines []string // guarded by Use and Remove themselves: the race detector would tell
	removed := make(chan error)
	err := r.Use(digest, func(path string) error {
		go func() {
			removed <- r.Remove(ctx, digest, func(context.Context, cas.Digest) ([]string, error) { return machines, nil })
		}()
		_, err := os.Stat(path)
		machines = append(machines, "web-1")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-removed; !errors.Is(err, ErrReplicaInUse) {
		t.Errorf("got error %v, want %v", err, ErrReplicaInUse)
	}
}

// TestCollectKeepsReplicas: an image stays whole as long as a replica is here,
// also when no root names it.
func TestCollectKeepsReplicas(t *testing.T) {
	r := openRegion(t, t.TempDir())
	replicated, named, unused := fill(t, r, castest.Random(6, 1<<20)), fill(t, r, castest.Random(7, 1<<20)), fill(t, r, castest.Random(8, 1<<20))
	if _, _, err := r.Materialise(ctx, replicated, nil, nil); err != nil {
		t.Fatal(err)
	}
	roots := func(context.Context) ([]cas.Digest, error) { return []cas.Digest{named}, nil }
	if _, err := r.Collect(ctx, roots, cas.Retention{}); err != nil {
		t.Fatal(err)
	}
	for digest, want := range map[cas.Digest]error{replicated: nil, named: nil, unused: cas.ErrNotFound} {
		if _, err := r.Manifest(ctx, digest); !errors.Is(err, want) {
			t.Errorf("image %s: got error %v, want %v", digest, err, want)
		}
	}
	u, err := r.Usage()
	if err != nil || u.Replicas != 1 || u.ReplicaBytes == 0 || u.Chunks.Chunks == 0 || u.Free == 0 {
		t.Errorf("usage %+v: %v", u, err)
	}
}

func TestNoSpaceSaysTheNumbers(t *testing.T) {
	err := checkSpace(t.TempDir(), 1<<60, 3<<20)
	var full *NoSpaceError
	if !errors.As(err, &full) || full.Replica != 1<<60 || full.Free == 0 {
		t.Fatalf("got error %v", err)
	}
	for _, want := range []string{"1073741824.0 GiB for the file", "3.0 MiB for chunks", "free;"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

func TestExportFileKeepsWhatIsThere(t *testing.T) {
	r := openRegion(t, t.TempDir())
	digest := fill(t, r, castest.Random(9, 1<<20))
	path := filepath.Join(t.TempDir(), "mine")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.ExportFile(ctx, digest, Raw, path, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got error %v, want %v", err, fs.ErrExist)
	}
	if got, _ := os.ReadFile(path); string(got) != "mine" {
		t.Errorf("the file is now %q", got)
	}
	if err := r.Export(ctx, digest, "vmdk", nil, nil); err == nil || !strings.Contains(err.Error(), "qcow2, vhd or raw") {
		t.Errorf("an unknown format: %v", err)
	}
}

// TestExportRaw: raw has an outside judge that is always there, the image itself.
func TestExportRaw(t *testing.T) {
	r := openRegion(t, t.TempDir())
	image := castest.Random(10, 5<<20)
	digest := fill(t, r, image)
	var stream bytes.Buffer
	var last cas.Progress
	if err := r.Export(ctx, digest, Raw, &stream, func(p cas.Progress) { last = p }); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "exported")
	if err := r.ExportFile(ctx, digest, Raw, path, nil); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(stream.Bytes(), image) || !bytes.Equal(written, image) {
		t.Errorf("exported image differs: %v", err)
	}
	if last.Percent() != 100 {
		t.Errorf("last report %+v", last)
	}
}

func TestDigestOf(t *testing.T) {
	digest := cas.Digest(cas.Sum(nil))
	for path, want := range map[string]bool{
		"/regions/west/replicas/" + digest.Hex() + ".qcow2": true,
		digest.Hex() + ".qcow2":                             true,
		digest.Hex():                                        false,
		"web-1.qcow2":                                       false,
		strings.ToUpper(digest.Hex()) + ".qcow2":            false,
	} {
		got, ok := DigestOf(path)
		if ok != want || ok && got != digest {
			t.Errorf("%s: %s, %v", path, got, ok)
		}
	}
}

func TestParseMap(t *testing.T) {
	offset := func(n int64) *int64 { return &n }
	got, err := parseMap([]byte(`[
		{"start": 0, "length": 512, "depth": 1, "present": false, "zero": true, "data": false},
		{"start": 512, "length": 1024, "depth": 1, "present": true, "zero": false, "data": true, "offset": 327680},
		{"start": 1536, "length": 512, "depth": 0, "present": true, "zero": true, "data": false, "offset": 99}]`), 2)
	want := []mapped{{Start: 512, Length: 1024, Depth: 1, Data: true, Offset: offset(327680)}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("map differs (-want +got): %v\n%s", err, diff)
	}
	for text, indirect := range map[string]bool{
		``:   false,
		`{}`: false,
		`[{"start": 0, "length": 0, "depth": 0, "data": true, "offset": 0}]`:                                                             false,
		`[{"start": 9223372036854775807, "length": 1, "depth": 0, "data": true, "offset": 0}]`:                                           false,
		`[{"start": 512, "length": 512, "depth": 0, "data": false}, {"start": 0, "length": 512, "depth": 0, "data": true, "offset": 0}]`: false,
		`[{"start": 0, "length": 512, "depth": 0, "data": true}]`:                                                                        true,
		`[{"start": 0, "length": 512, "depth": 0, "data": true, "offset": -1}]`:                                                          true,
		`[{"start": 0, "length": 512, "depth": 2, "data": true, "offset": 0}]`:                                                           true,
	} {
		if _, err := parseMap([]byte(text), 2); err == nil || errors.Is(err, errIndirect) != indirect {
			t.Errorf("%s: got error %v", text, err)
		}
	}
}

// FuzzParseMap: what is accepted ascends, and can be read without overflow.
func FuzzParseMap(f *testing.F) {
	f.Add([]byte(`[{"start": 512, "length": 1024, "depth": 1, "present": true, "zero": false, "data": true, "offset": 327680}]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		data, err := parseMap(text, 2)
		if err != nil {
			return
		}
		var end int64
		for _, m := range data {
			if m.Start < end || m.Length <= 0 || m.Start+m.Length < 0 || m.Depth < 0 || m.Depth > 1 {
				t.Errorf("%+v after %d", m, end)
			}
			end = m.Start + m.Length
		}
	})
}
