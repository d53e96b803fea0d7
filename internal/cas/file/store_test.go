package file_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hallmark.dev/hallmark/internal/cas"
	"hallmark.dev/hallmark/internal/cas/castest"
	"hallmark.dev/hallmark/internal/cas/file"
)

var ctx = context.Background()

// put stores data in a committed, closed batch.
func put(t *testing.T, s *file.Store, all ...[]byte) {
	t.Helper()
	b, err := s.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, data := range all {
		if _, err := b.Put(ctx, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Commit(ctx); err != nil {
		t.Fatal(err)
	}
}

// files lists what lies in a store, by extension.
func files(t *testing.T, dir, ext string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && filepath.Ext(path) == ext {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := file.Open(dir); !errors.Is(err, file.ErrInUse) {
		t.Errorf("got error %v, want %v", err, file.ErrInUse)
	}
	s.Close()
	open(t, dir).Close()
}

// TestNothingForOthers: chunks may hold what an image's owner keeps from the
// host's other users.
func TestNothingForOthers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir)
	defer s.Close()
	put(t, s, []byte("private"))
	p, err := file.OpenPointers(filepath.Join(dir, "pointers"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.CompareAndSwap(ctx, "a", nil, []byte("b")); err != nil {
		t.Fatal(err)
	}
	filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if info, _ := e.Info(); err != nil || info.Mode()&0o077 != 0 {
			t.Errorf("%s has mode %v: %v", path, info.Mode(), err)
		}
		return nil
	})
}

// TestInterruptedWritesVanish: what a killed process left is gone after Open,
// and what it committed is not.
func TestInterruptedWritesVanish(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, []byte("committed"))
	b, _ := s.Begin(ctx)
	if _, err := b.Put(ctx, []byte("not committed")); err != nil {
		t.Fatal(err)
	}
	if n := len(files(t, filepath.Join(dir, "tmp"), ".pack")); n != 1 {
		t.Fatalf("%d packs are being written, want 1", n)
	}
	s.Close() // as a kill would: the batch is neither committed nor closed
	s = open(t, dir)
	defer s.Close()
	if left := files(t, filepath.Join(dir, "tmp"), ".pack"); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
	if _, err := s.Get(ctx, cas.Sum([]byte("committed"))); err != nil {
		t.Error(err)
	}
	if has, _ := s.Has(ctx, cas.Sum([]byte("not committed"))); has {
		t.Error("a chunk is there that was never made durable")
	}
}

// noise returns bytes that do not compress.
func noise(seed byte, size int) []byte {
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{seed}).Read(data)
	return data
}

// TestNoFlippedByteGoesUnnoticed damages each part of a pack. Either every chunk
// still comes back as it was put (zstd has bits without a meaning), or Check says so.
func TestNoFlippedByteGoesUnnoticed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	chunks := [][]byte{noise(1, 300), bytes.Repeat([]byte("text "), 100), {}}
	put(t, s, chunks...)
	s.Close()
	pack := files(t, dir, ".pack")[0]
	good, err := os.ReadFile(pack)
	if err != nil {
		t.Fatal(err)
	}
	for at := range good {
		bad := bytes.Clone(good)
		bad[at] ^= 0x10
		if err := os.WriteFile(pack, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if found, lost := judge(t, dir, chunks); (found > 0) != (lost > 0) {
			t.Errorf("byte %d of %d changed: %d chunks lost, %d damages found", at, len(good), lost, found)
		}
	}
}

// judge counts the damages that Check finds and the chunks that Get does not
// give, and fails the test when Get gives other bytes than were put.
func judge(t *testing.T, dir string, chunks [][]byte) (found, lost int) {
	s := open(t, dir)
	defer s.Close()
	if err := s.Check(ctx, func(file.Damage) { found++ }); err != nil {
		t.Fatal(err)
	}
	for _, data := range chunks {
		got, err := s.Get(ctx, cas.Sum(data))
		switch {
		case err == nil && !bytes.Equal(got, data):
			t.Error("a chunk comes back changed")
		case errors.Is(err, cas.ErrCorrupt) || errors.Is(err, cas.ErrNotFound):
			lost++
		case err != nil:
			t.Errorf("got error %v", err)
		}
	}
	return found, lost
}

// TestDamageHeals: a damaged chunk is dropped and put again; a cut-off pack
// counts as missing, and is put again.
func TestDamageHeals(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	data := noise(1, 100_000)
	put(t, s, data)
	pack := files(t, dir, ".pack")[0]
	f, err := os.OpenFile(pack, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt([]byte("damage"), 5000)
	f.Close()
	_, err = s.Get(ctx, cas.Sum(data))
	if !errors.Is(err, cas.ErrCorrupt) || !strings.Contains(err.Error(), pack) {
		t.Errorf("got error %v, want one that names the pack", err)
	}
	if err := s.Check(ctx, s.Drop); err != nil {
		t.Fatal(err)
	}
	put(t, s, data)
	if _, err := s.Get(ctx, cas.Sum(data)); err != nil {
		t.Error(err)
	}
	s.Close()
	for _, pack := range files(t, dir, ".pack") {
		if err := os.Truncate(pack, 100); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, dir)
	defer s.Close()
	if n := len(s.Damaged()); n != 2 {
		t.Errorf("%d packs are damaged, want 2", n)
	}
	put(t, s, data)
	if _, err := s.Get(ctx, cas.Sum(data)); err != nil {
		t.Error(err)
	}
}

// TestUsage counts after collection what is left, and no more.
func TestUsage(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	defer s.Close()
	b, _ := s.Begin(ctx)
	m, _, err := cas.Ingest(ctx, b, castest.Random(1, 4<<20), nil)
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	before := s.Usage()
	put(t, s, noise(2, 1<<20), noise(3, 1<<20))
	roots := func(context.Context) ([]cas.Digest, error) { return []cas.Digest{m.Digest()}, nil }
	done, err := s.Collect(ctx, roots, cas.Retention{})
	if err != nil {
		t.Fatal(err)
	}
	if after := s.Usage(); after != before || done.RemovedChunks != 2 || done.FreedBytes < 1<<20 {
		t.Errorf("collected %+v; usage %+v, before the unused chunks %+v", done, after, before)
	}
	var onDisk int64
	for _, pack := range files(t, dir, ".pack") {
		info, _ := os.Stat(pack)
		onDisk += info.Size()
	}
	if onDisk != before.Stored {
		t.Errorf("%d bytes on disk, usage says %d", onDisk, before.Stored)
	}
}

// TestWaste: a pack with little unused is left alone until the rule says otherwise.
func TestWaste(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	b, _ := s.Begin(ctx)
	b.Put(ctx, noise(1, 1000)) // nothing uses this, in the image's pack
	m, _, err := cas.Ingest(ctx, b, castest.Random(2, 4<<20), nil)
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	roots := func(context.Context) ([]cas.Digest, error) { return []cas.Digest{m.Digest()}, nil }
	done, err := s.Collect(ctx, roots, cas.Retention{Waste: 0.2})
	if err != nil || done.RemovedChunks != 0 || done.WastedBytes == 0 {
		t.Errorf("collected %+v: %v", done, err)
	}
	done, err = s.Collect(ctx, roots, cas.Retention{})
	if err != nil || done.RemovedChunks != 1 || done.WastedBytes != 0 {
		t.Errorf("collected %+v: %v", done, err)
	}
}
