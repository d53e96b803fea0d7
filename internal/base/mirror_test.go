package base

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTheHostsOwnMirrorIsTaken(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"one line": {"sources.list": "# deb http://old.example/debian bookworm main\ndeb [arch=amd64] https://m.example/debian/ bookworm main\ndeb https://m.example/debian-security bookworm-security main\n"},
		"deb822": {"sources.list.d/debian.sources": "Types: deb\nURIs: https://m.example/debian\nSuites: bookworm bookworm-updates\n\nTypes: deb\n# commented\nURIs: https://m.example/debian-security\nSuites: bookworm-security\n",
			"sources.list.d/other.list": "deb https://vendor.example/apt stable main\n"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range files {
				path := filepath.Join(dir, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got := mirrorIn(dir)
			if got.Main != "https://m.example/debian" || got.Security != "https://m.example/debian-security" {
				t.Errorf("got %+v", got)
			}
		})
	}
	if got := mirrorIn(t.TempDir()); got.Main != "" {
		t.Errorf("a host without sources: %+v", got)
	}
}
