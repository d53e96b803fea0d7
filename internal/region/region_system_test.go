package region_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hallmark.dev/hallmark/internal/cas"
	"hallmark.dev/hallmark/internal/region"
)

// needSystem skips what runs qemu-img and mke2fs, the outside judges of the files
// that this package writes.
func needSystem(t *testing.T) {
	t.Helper()
	if os.Getenv("HALLMARK_SYSTEM_TESTS") != "1" {
		t.Skip("runs qemu-img and mke2fs: set HALLMARK_SYSTEM_TESTS=1")
	}
}

// tool runs a program and returns what it prints.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// fileSystem makes a raw disk with a file system that holds this Go
// installation's sources of the compiler: real files of all sizes.
func fileSystem(t *testing.T, dir string) string {
	t.Helper()
	root := strings.TrimSpace(tool(t, "go", "env", "GOROOT"))
	raw := filepath.Join(dir, "disk.raw")
	tool(t, "truncate", "-s", "300001280", raw) // no whole number of MiB or clusters
	tool(t, "mke2fs", "-q", "-t", "ext4", "-d", filepath.Join(root, "src", "cmd", "compile"), raw)
	return raw
}

func open(t testing.TB, name string) *region.Region {
	t.Helper()
	r, err := region.Open(name, filepath.Join(t.TempDir(), name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func ingest(t *testing.T, r *region.Region, path, format string) cas.Digest {
	t.Helper()
	m, _, err := r.Ingest(context.Background(), region.Image{Path: path, Format: format}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m.Digest()
}

// TestSameBytesSameDigest: the digest names what the guest sees, whatever the
// file looks like around it.
func TestSameBytesSameDigest(t *testing.T) {
	needSystem(t)
	dir := t.TempDir()
	raw := fileSystem(t, dir)
	r := open(t, "west")
	want := ingest(t, r, raw, "raw")
	for name, args := range map[string][]string{
		"flat qcow2":       {"convert", "-f", "raw", "-O", "qcow2", raw},
		"small clusters":   {"convert", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=4096,compat=0.10", raw},
		"compressed qcow2": {"convert", "-f", "raw", "-O", "qcow2", "-c", raw},
		"full allocation":  {"convert", "-f", "raw", "-O", "qcow2", "-S", "0", raw},
		"subclusters":      {"convert", "-f", "raw", "-O", "qcow2", "-o", "extended_l2=on", raw},
		"overlay":          {"create", "-q", "-f", "qcow2", "-b", raw, "-F", "raw"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "image")
			tool(t, "qemu-img", append(args, path)...)
			if got := ingest(t, r, path, "qcow2"); got != want {
				t.Errorf("digest %s, the raw disk's is %s", got, want)
			}
		})
	}
}

// TestOverlaysAreReadThroughTheirChain: a layer's own bytes hide those below,
// also where it has zeros.
func TestOverlaysAreReadThroughTheirChain(t *testing.T) {
	needSystem(t)
	dir := t.TempDir()
	raw := fileSystem(t, dir)
	middle, top, flat := filepath.Join(dir, "middle"), filepath.Join(dir, "top"), filepath.Join(dir, "flat")
	tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", raw, "-F", "raw", middle)
	tool(t, "qemu-io", "-c", "write -P 7 1000k 300k", "-c", "write -z 5M 3M", middle)
	tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", middle, "-F", "qcow2", top)
	tool(t, "qemu-io", "-c", "write -P 9 1100k 4k", "-c", "write -z 1M 512", top)
	tool(t, "qemu-img", "convert", "-O", "raw", top, flat)
	r := open(t, "west")
	if got, want := ingest(t, r, top, "qcow2"), ingest(t, r, flat, "raw"); got != want {
		t.Errorf("digest through the chain %s, of the flat image %s", got, want)
	}
}

// TestReplicaIsTheImage has qemu-img judge the replica, and reads it again.
func TestReplicaIsTheImage(t *testing.T) {
	needSystem(t)
	raw := fileSystem(t, t.TempDir())
	west, east := open(t, "west"), open(t, "east")
	digest := ingest(t, west, raw, "raw")
	last := cas.Progress{Total: 1}
	replica, progress, err := east.Materialise(context.Background(), digest, west.Chunks(), func(p cas.Progress) {
		if p.Percent() < last.Percent() {
			t.Errorf("progress went from %d %% to %d %%", last.Percent(), p.Percent())
		}
		last = p
	})
	if err != nil {
		t.Fatal(err)
	}
	if last.Percent() != 100 || progress.NewChunks == 0 || progress.NewBytes == 0 {
		t.Errorf("last report %+v, result %+v", last, progress)
	}
	tool(t, "qemu-img", "check", "-f", "qcow2", replica.Path)
	tool(t, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, replica.Path)
	if info, _ := os.Stat(replica.Path); info.Mode() != 0o444 {
		t.Errorf("mode %v, want 0444", info.Mode())
	}
	if err := east.Verify(context.Background(), digest, nil); err != nil {
		t.Error(err)
	}
	if _, again, err := east.Materialise(context.Background(), digest, nil, nil); err != nil || again.NewChunks != 0 {
		t.Errorf("a second call moved %d chunks: %v", again.NewChunks, err)
	}
}

// TestRegionOutlivesAnother: with the first region's root gone, the second makes
// machines' overlays, exports and materialises.
func TestRegionOutlivesAnother(t *testing.T) {
	needSystem(t)
	ctx := context.Background()
	raw := fileSystem(t, t.TempDir())
	root := filepath.Join(t.TempDir(), "west")
	west, err := region.Open("west", root)
	if err != nil {
		t.Fatal(err)
	}
	east := open(t, "east")
	digest := ingest(t, west, raw, "raw")
	if _, _, err := east.Materialise(ctx, digest, west.Chunks(), nil); err != nil {
		t.Fatal(err)
	}
	west.Close()
	if err := os.RemoveAll(root); err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(t.TempDir(), "machine.qcow2")
	err = east.Use(digest, func(path string) error {
		tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", path, "-F", "qcow2", overlay)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	tool(t, "qemu-io", "-c", "write -P 1 64k 1M", overlay)
	tool(t, "qemu-img", "check", overlay)
	if err := east.Verify(ctx, digest, nil); err != nil {
		t.Errorf("after a machine wrote to its overlay: %v", err)
	}
	if err := east.Remove(ctx, digest, nobody); err != nil {
		t.Fatal(err)
	}
	if _, _, err := east.Materialise(ctx, digest, nil, nil); err != nil {
		t.Errorf("materialise again from the region's own chunks: %v", err)
	}
}

func nobody(context.Context, cas.Digest) ([]string, error) { return nil, nil }

// TestExport has qemu-img and the VHD specification judge each format, written as
// a file and as a stream.
func TestExport(t *testing.T) {
	needSystem(t)
	ctx := context.Background()
	raw := fileSystem(t, t.TempDir())
	r := open(t, "west")
	digest := ingest(t, r, raw, "raw")
	for format, name := range map[region.Format]string{region.Raw: "raw", region.QCOW2: "qcow2", region.FixedVHD: "vpc"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "exported")
			if err := r.ExportFile(ctx, digest, format, path, nil); err != nil {
				t.Fatal(err)
			}
			// Not strict (-s): a VHD is longer, by the zeros that align it.
			tool(t, "qemu-img", "compare", "-f", "raw", "-F", name, raw, path)
			stream, err := os.Create(path + ".stream")
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(r.Export(ctx, digest, format, stream, nil), stream.Close()); err != nil {
				t.Fatal(err)
			}
			tool(t, "cmp", path, path+".stream")
			if err := r.ExportFile(ctx, digest, format, path, nil); !errors.Is(err, fs.ErrExist) {
				t.Errorf("export over an existing file: %v", err)
			}
			if format == region.FixedVHD {
				checkVHD(t, path)
			}
		})
	}
}

func checkVHD(t *testing.T, path string) {
	t.Helper()
	var info struct {
		Format string `json:"format"`
		Size   int64  `json:"virtual-size"`
	}
	if err := json.Unmarshal([]byte(tool(t, "qemu-img", "info", "-f", "vpc", "--output=json", path)), &info); err != nil {
		t.Fatal(err)
	}
	if info.Format != "vpc" || info.Size != 287<<20 {
		t.Errorf("qemu-img sees %+v, want 287 MiB, the next whole number", info)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	footer := file[len(file)-512:]
	be := binary.BigEndian
	if !bytes.HasPrefix(footer, []byte("conectix")) || be.Uint32(footer[60:]) != 2 ||
		be.Uint64(footer[48:]) != uint64(info.Size) || int64(len(file)) != info.Size+512 {
		t.Errorf("footer % x of a file of %d bytes", footer[:84], len(file))
	}
}

// TestReplicasOfOddImages puts data where qcow2's tables begin and end, in
// images of up to 5 TiB.
func TestReplicasOfOddImages(t *testing.T) {
	needSystem(t)
	const table = 512 << 20 // what one L2 table covers
	for name, test := range map[string]struct {
		size int64
		data []int64
	}{
		"empty":             {1 << 30, nil},
		"one sector":        {512, []int64{0}},
		"last sector":       {table + 512, []int64{table}},
		"around tables":     {5 * table, []int64{0, table - 512, table, 3*table - 70000, 5*table - 512}},
		"far apart":         {5 << 40, []int64{0, 1<<40 - 512, 3<<40 + 12345*512, 5<<40 - 512}},
		"around a cluster":  {1 << 20, []int64{65536 - 512, 131072, 262144 - 1024}},
		"no whole clusters": {3*65536 + 1536, []int64{0, 3 * 65536, 3*65536 + 1024}},
	} {
		t.Run(name, func(t *testing.T) {
			raw := filepath.Join(t.TempDir(), "disk.raw")
			f, err := os.Create(raw)
			if err != nil {
				t.Fatal(err)
			}
			errs := []error{f.Truncate(test.size)}
			for _, at := range test.data {
				_, err := f.WriteAt(bytes.Repeat([]byte{0xa5}, 512), at)
				errs = append(errs, err)
			}
			if err := errors.Join(append(errs, f.Close())...); err != nil {
				t.Fatal(err)
			}
			r := open(t, "west")
			replica, _, err := r.Materialise(context.Background(), ingest(t, r, raw, "raw"), nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			tool(t, "qemu-img", "check", "-q", "-f", "qcow2", replica.Path)
			tool(t, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, replica.Path)
			if err := r.Verify(context.Background(), replica.Digest, nil); err != nil {
				t.Error(err) // compares the size too, which qemu-img does not
			}
		})
	}
}

// TestVerifyFindsWhatAMachineWrote: a replica that something wrote to, in data
// or where it had none, is no longer the image.
func TestVerifyFindsWhatAMachineWrote(t *testing.T) {
	needSystem(t)
	raw := fileSystem(t, t.TempDir())
	for name, write := range map[string]string{"in data": "write -P 1 1024 512", "in a hole": "write -P 1 280M 512"} {
		t.Run(name, func(t *testing.T) {
			r := open(t, "west")
			digest := ingest(t, r, raw, "raw")
			replica, _, err := r.Materialise(context.Background(), digest, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(replica.Path, 0o600); err != nil {
				t.Fatal(err)
			}
			tool(t, "qemu-io", "-c", write, replica.Path)
			if err := r.Verify(context.Background(), digest, nil); !errors.Is(err, cas.ErrMismatch) {
				t.Errorf("got error %v, want %v", err, cas.ErrMismatch)
			}
		})
	}
}

// TestImageInUseIsRefused: an image that a machine is writing has no digest yet.
func TestImageInUseIsRefused(t *testing.T) {
	needSystem(t)
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	tool(t, "qemu-img", "create", "-q", "-f", "qcow2", path, "64M")
	writer := exec.Command("qemu-io", path) // waits for commands, with the image open for writing
	input, err := writer.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := writer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	defer writer.Wait()
	defer input.Close()
	if _, err := output.Read(make([]byte, 1)); err != nil { // its prompt
		t.Fatal(err)
	}
	_, _, err = open(t, "west").Ingest(context.Background(), region.Image{Path: path, Format: "qcow2"}, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "lock") {
		t.Errorf("got error %v, want one about the image's lock", err)
	}
}

// TestTheDocumentsCheck runs, word for word, the commands that docs/on-disk.md
// gives to somebody who has a manifest and an image but not Hallmark.
func TestTheDocumentsCheck(t *testing.T) {
	needSystem(t)
	document, err := os.ReadFile(filepath.Join("..", "..", "docs", "on-disk.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(document), "```sh\n")
	script, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("docs/on-disk.md has no commands")
	}
	dir := t.TempDir()
	raw := fileSystem(t, dir)
	r := open(t, "west")
	digest := ingest(t, r, raw, "raw")
	m, err := r.Manifest(context.Background(), digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "manifest"), m.Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func() (string, error) {
		cmd := exec.Command("bash", "-c", script)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run(); err != nil || out != digest.Hex()+"  manifest\n" {
		t.Errorf("of the image: %v\n%s", err, out)
	}
	if out, err := run(); err != nil || !strings.Contains(out, "differs at 1024\n") && !strings.Contains(out, "differs at 0\n") {
		t.Errorf("of an image whose data the first run has cleared: %v\n%.300s", err, out)
	}
}

// TestRepair loses every chunk, and then a replica too; each is mended from
// what is left.
func TestRepair(t *testing.T) {
	needSystem(t)
	ctx := context.Background()
	raw := fileSystem(t, t.TempDir())
	west := open(t, "west")
	digest := ingest(t, west, raw, "raw")
	root := filepath.Join(t.TempDir(), "east")
	lose := func(r *region.Region) *region.Region {
		r.Close()
		packs, err := filepath.Glob(filepath.Join(root, "chunks", "packs", "*"))
		if err != nil || len(packs) == 0 {
			t.Fatalf("no packs: %v", err)
		}
		for _, pack := range packs {
			if err := os.Remove(pack); err != nil {
				t.Fatal(err)
			}
		}
		return reopen(t, root)
	}
	roots := func(context.Context) ([]cas.Digest, error) { return []cas.Digest{digest}, nil }
	problems := func(check func(found func(region.Problem)) error) (all []region.Problem) {
		if err := check(func(p region.Problem) { all = append(all, p) }); err != nil {
			t.Fatal(err)
		}
		return all
	}
	east := reopen(t, root)
	if _, _, err := east.Materialise(ctx, digest, west.Chunks(), nil); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{"its replica", "another region", "nothing"} {
		east = lose(east)
		var others []cas.Reader
		if from != "its replica" {
			if err := east.Remove(ctx, digest, nobody); err != nil {
				t.Fatal(err)
			}
		}
		if from == "another region" {
			others = []cas.Reader{west.Chunks()}
		}
		check := func(found func(region.Problem)) error { return east.Check(ctx, roots, found) }
		if found := problems(check); len(found) != 1 || found[0].Image != digest || !errors.Is(found[0], cas.ErrNotFound) {
			t.Errorf("from %s: problems before %v", from, found)
		}
		left := problems(func(found func(region.Problem)) error { return east.Repair(ctx, roots, others, found) })
		if (len(left) > 0) != (from == "nothing") || len(problems(check)) != len(left) {
			t.Errorf("from %s: left %v", from, left)
		}
	}
}

func reopen(t *testing.T, root string) *region.Region {
	t.Helper()
	r, err := region.Open("east", root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}
