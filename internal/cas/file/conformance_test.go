package file_test

import (
	"testing"

	"hallmark.dev/hallmark/internal/cas"
	"hallmark.dev/hallmark/internal/cas/castest"
	"hallmark.dev/hallmark/internal/cas/file"
)

func TestStore(t *testing.T) {
	castest.Stores(t, func(t *testing.T, dir string) cas.Store { return open(t, dir) })
}

func TestPointers(t *testing.T) {
	castest.Pointers(t, func(t *testing.T, dir string) cas.Pointers {
		p, err := file.OpenPointers(dir)
		if err != nil {
			t.Fatal(err)
		}
		return p
	})
}

func open(t *testing.T, dir string) *file.Store {
	t.Helper()
	s, err := file.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
