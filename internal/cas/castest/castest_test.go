package castest

import (
	"testing"

	"hallmark.dev/hallmark/internal/cas"
)

// TestMemory holds the fake to the contract that it stands in for.
func TestMemory(t *testing.T) {
	byDir := map[string]*Memory{}
	at := func(dir string) *Memory {
		if byDir[dir] == nil {
			byDir[dir] = &Memory{}
		}
		return byDir[dir]
	}
	t.Run("store", func(t *testing.T) {
		Stores(t, func(_ *testing.T, dir string) cas.Store { return at(dir) })
	})
	t.Run("pointers", func(t *testing.T) {
		Pointers(t, func(_ *testing.T, dir string) cas.Pointers { return at(dir).Pointers() })
	})
}
