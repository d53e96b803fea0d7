package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"hallmark.dev/hallmark/internal/disk"
)

// fakeImages are images whose whole content is a text file: the name of the
// backing file, then a line a change. They obey the contract of images.
type fakeImages struct {
	dir   string
	count *int
}

func (f fakeImages) overlay(_ context.Context, path, backing string, _ disk.Format, size int64) error {
	if _, err := os.Stat(filepath.Join(filepath.Dir(path), backing)); err != nil {
		return err // a relative backing file is beside the overlay
	}
	return os.WriteFile(path, fmt.Appendf(nil, "on %s\n", backing), 0o600)
}

func (f fakeImages) mount(_ context.Context, path string) (mounted, error) {
	dir, err := os.MkdirTemp(f.dir, "m")
	if err != nil {
		return nil, err
	}
	m := &fakeMount{dir: dir, path: path, count: f.count}
	return m, errors.Join(os.MkdirAll(m.Root()+"/etc", 0o700), os.MkdirAll(m.Root()+"/usr/sbin", 0o700))
}

func (fakeImages) check(_ context.Context, path string) error { _, err := os.Stat(path); return err }
func (fakeImages) grow(context.Context, string) error         { return nil }
func (f fakeImages) flatten(_ context.Context, from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, append([]byte("flat "), text...), 0o600)
}

func (fakeImages) inspect(context.Context, string, disk.Format) (disk.Info, error) {
	return disk.Info{Format: disk.QCOW2, VirtualSize: 1 << 30}, nil
}

func (f fakeImages) sweep() ([]string, error) {
	left, err := filepath.Glob(filepath.Join(f.dir, "m*"))
	for _, l := range left {
		err = errors.Join(err, os.RemoveAll(l))
	}
	return left, err
}

type fakeMount struct {
	dir, path string
	count     *int
}

func (m *fakeMount) Root() string { return filepath.Join(m.dir, "root") }
func (m *fakeMount) Dir() string  { return m.dir }
func (m *fakeMount) Private() (string, error) {
	p := filepath.Join(m.dir, "private")
	return p, os.MkdirAll(p, 0o700)
}
func (m *fakeMount) Free() (int64, error)       { return 1 << 30, nil }
func (m *fakeMount) Trim(context.Context) error { return nil }
func (m *fakeMount) Close() error {
	*m.count++ // as timestamps do, two runs of a step leave different bytes
	f, err := os.OpenFile(m.path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	fmt.Fprintf(f, "change %d of process %d\n", *m.count, os.Getpid())
	return errors.Join(f.Close(), m.Discard())
}
func (m *fakeMount) CloseSealed(context.Context) error { return m.Close() }
func (m *fakeMount) Discard() error                    { return os.RemoveAll(m.dir) }

// fakeContainer notes what it is asked to run and fails what says so.
type fakeContainer struct{ ran *[]string }

func (f fakeContainer) run(_ context.Context, j job) (int, error) {
	text, err := os.ReadFile(filepath.Join(j.root, "../private/hallmark/step"))
	if err != nil {
		return -1, err
	}
	lines := strings.TrimPrefix(strings.TrimSpace(string(text)), "#!/bin/sh -e\n")
	*f.ran = append(*f.ran, lines)
	if strings.Contains(lines, "FAIL") {
		fmt.Fprintln(j.out, "no luck")
		return 1, nil
	}
	return 0, nil
}

// world is a builder on fakes and a clock of its own.
type world struct {
	*Builder
	t    *testing.T
	ran  []string
	now  time.Time
	runs int
	base Base
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("build steps own files of the image, which needs root")
	}
	return openWorld(t, t.TempDir())
}

func openWorld(t *testing.T, dir string) *world {
	t.Helper()
	b, err := Open(filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Builder: b, t: t, now: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
	b.images, b.container = fakeImages{b.cache.path(mountsDir), new(int)}, fakeContainer{&w.ran}
	b.now = func() time.Time { return w.now }
	path := filepath.Join(dir, "base.qcow2")
	if _, err := os.Stat(path); err != nil {
		if err := os.WriteFile(path, []byte("base"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// printf base | sha256sum
	w.base = Base{Path: path, Format: disk.QCOW2, Digest: "sha256:cae662172fd450bb0cd710a769079c05bfc5d8e35efa6576edc7d0377afdd4a2"}
	return w
}

func (w *world) plan(steps ...Step) Plan {
	return Plan{ID: "r", Base: w.base, Steps: steps, EngineVersion: "1"}
}

// build runs a plan and answers which steps ran, by their lines.
func (w *world) build(p Plan) (Result, []string, error) {
	w.t.Helper()
	w.runs++
	w.ran = nil
	r, err := w.Build(w.t.Context(), fmt.Sprintf("run-%d", w.runs), p, nil)
	r.Release()
	return r, w.ran, err
}

// consistent checks what must hold after any crash and a Sweep.
func (w *world) consistent() {
	w.t.Helper()
	for _, dir := range []string{layersDir, imagesDir, actionsDir, failedDir, "."} {
		entries, err := os.ReadDir(w.cache.path(dir))
		if err != nil {
			w.t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), workPrefix) {
				w.t.Errorf("unfinished file %s/%s is left", dir, e.Name())
			}
			if e.Type().IsRegular() && w.isLitter(w.cache.path(dir), e.Name()) {
				w.t.Errorf("unrecorded file %s/%s is left", dir, e.Name())
			}
		}
	}
	entries, err := w.Cache(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range entries {
		if e.Kind == "failed" {
			continue
		}
		if got, err := disk.Digest(w.t.Context(), e.file); err != nil || got != e.Digest {
			w.t.Errorf("%s %s is recorded but holds %s, %v", e.Kind, e.Digest, got, err)
		}
		if e.InUse && staysLocked(e.file) {
			w.t.Errorf("%s %s is still locked", e.Kind, e.Digest)
		}
	}
	if left, _ := os.ReadDir(w.cache.path(mountsDir)); len(left) > 0 {
		w.t.Errorf("mounts are left: %v", left)
	}
}

func mustJSON(v any) string {
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// staysLocked: a child that another test is just starting has copies of our open
// files, and so of their locks, until the kernel has closed them for it.
func staysLocked(path string) bool {
	for range 100_000 {
		if !isLocked(path) {
			return false
		}
		runtime.Gosched()
	}
	return true
}
