package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/storetest"
)

func open(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, filepath.Join(t.TempDir(), "a dir?#%.db")) })
}

func putDoc(t testing.TB, s *Store, name string) *store.Document {
	t.Helper()
	d := storetest.Doc(name)
	if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Put(d, store.Any) }); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestRevisionsRiseOverRestarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	s := open(t, path)
	a := putDoc(t, s, "a")
	if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Delete(a.Key, store.Any) }); err != nil {
		t.Fatal(err)
	}
	if err := s.Prune(t.Context(), 100); err != nil { // the newest revision is nowhere but in the counter
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	if b := putDoc(t, s, "b"); b.Revision <= a.Revision+1 {
		t.Errorf("revision %d was given before", b.Revision)
	}
}

func TestASecondProcessIsKeptAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	s := open(t, path)
	if _, err := Open(t.Context(), path); !errors.Is(err, ErrLocked) {
		t.Errorf("got %v, want ErrLocked", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}

func TestFilesAreOurs(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "s.db"))
	putDoc(t, s, "a")
	if err := s.Backup(t.Context(), filepath.Join(dir, "copy.db")); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(files) < 4 { // database, WAL, shared memory, lock, copy
		t.Errorf("files: %v", files)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, info.Mode(), err)
		}
	}
}

func TestABackupOpens(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "s.db"))
	want := putDoc(t, s, "a")
	path := filepath.Join(dir, "copy.db")
	if err := s.Backup(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	putDoc(t, s, "later")
	c := open(t, path)
	ds, err := store.List(t.Context(), c, store.Query{})
	if err != nil || len(ds) != 1 || ds[0].Revision != want.Revision {
		t.Errorf("the copy has %v, %v", ds, err)
	}
}

func TestMigrationTakesACopyFirst(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s.db")
	s := open(t, path)
	putDoc(t, s, "a")
	known, err := filepath.Glob("migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	next := fstest.MapFS{"99999_more.sql": {Data: []byte("-- +goose Up\nALTER TABLE documents ADD COLUMN more TEXT;\n")}}
	for _, file := range known {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		next[filepath.Base(file)] = &fstest.MapFile{Data: data}
	}
	d, err := connector(path, readCache)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(d)
	defer db.Close()
	if err := migrateWith(t.Context(), db, path, next); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), path); !errors.Is(err, ErrNewer) {
		t.Errorf("a newer schema: %v, want ErrNewer", err)
	}
	old := open(t, fmt.Sprintf("%s.schema%d", path, len(known)))
	if _, err := store.Get(t.Context(), old, storetest.Doc("a").ID); err != nil {
		t.Errorf("the copy: %v", err)
	}
}

func TestAPanicInAnUpdateIsAnError(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "s.db"))
	if err := s.Update(t.Context(), func(store.Tx) error { panic("boom") }); err == nil {
		t.Error("no error")
	}
	putDoc(t, s, "a") // the writer lives
}
