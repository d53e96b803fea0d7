package cli

import (
	"archive/tar"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	"hallmark.dev/hallmark/internal/instance"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestABackupComesBack(t *testing.T) {
	from, to := instance.Dir(t.TempDir()), instance.Dir(filepath.Join(t.TempDir(), "new"))
	write(t, from.Config(), "subscription: s\n")
	write(t, from.AdminSecret(), "secret\n")
	write(t, from.Aliases(), "[]\n")
	write(t, from.Network(), "{}\n")
	write(t, from.CACertificate(), "certificate\n")
	write(t, string(from)+"/copy.db", "database")
	write(t, string(from)+"/regions/eastus/huge", "not in a backup")
	file := filepath.Join(t.TempDir(), "hallmark.backup")
	if err := writeBackup(file, from, string(from)+"/copy.db"); err != nil {
		t.Fatal(err)
	}
	if err := to.Make(); err != nil {
		t.Fatal(err)
	}
	if err := readBackup(file, to); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{to.Config(): "subscription: s\n", to.AdminSecret(): "secret\n",
		to.Aliases(): "[]\n", to.Network(): "{}\n", to.CACertificate(): "certificate\n", to.Database(): "database"} {
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	if _, err := os.Stat(string(to) + "/regions"); err == nil {
		t.Error("the bytes of images were in the backup")
	}
}

func TestAHostileBackupWritesNothingElsewhere(t *testing.T) {
	for _, name := range []string{"../escaped", "keys/../../escaped", "/etc/escaped", "bin/hallmark"} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "hostile")
			f, err := os.Create(file)
			if err != nil {
				t.Fatal(err)
			}
			z, _ := zstd.NewWriter(f)
			w := tar.NewWriter(z)
			if err := w.WriteHeader(&tar.Header{Name: name, Size: 1, Mode: 0o600, Typeflag: tar.TypeReg}); err != nil {
				t.Fatal(err)
			}
			w.Write([]byte("x"))
			w.Close()
			z.Close()
			f.Close()
			parent := t.TempDir()
			dir := instance.Dir(filepath.Join(parent, "data"))
			if err := dir.Make(); err != nil {
				t.Fatal(err)
			}
			if err := readBackup(file, dir); err == nil {
				t.Error("a hostile backup was taken")
			}
			if _, err := os.Stat(filepath.Join(parent, "escaped")); err == nil {
				t.Error("it wrote outside the data directory")
			}
		})
	}
}
