package compute

import (
	"strings"

	"hallmark.dev/hallmark/internal/vm"
)

// Size is a machine size as Azure names it, with what Azure gives it and what a
// machine of that size gets here.
type Size struct {
	vm.Size
	Granted vm.Size
}

// SizesWithin are Azure's sizes with what this host grants them.
func SizesWithin(caps vm.Caps) []Size {
	var sizes []Size
	for _, z := range vm.Sizes() {
		sizes = append(sizes, Size{z, z.Within(caps)})
	}
	return sizes
}

func (s *service) size(name string) (Size, bool) {
	for _, z := range s.Sizes {
		if strings.EqualFold(z.Name, name) {
			return z, true
		}
	}
	return Size{}, false
}

// memory is what a machine of the size takes of the host, in MiB.
func (z Size) memory() int64 { return int64(z.Granted.MemoryMiB) + vm.Overhead.MemoryMiB }

func (s *service) sizeNames() string {
	names := make([]string, len(s.Sizes))
	for i, z := range s.Sizes {
		names[i] = z.Name
	}
	return strings.Join(names, ", ")
}
