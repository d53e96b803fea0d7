package vm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrUnknownSize means that a VM size is not in the table.
var ErrUnknownSize = errors.New("unknown VM size")

// Size is what an Azure VM size has.
type Size struct {
	Name            string
	VCPUs           int
	MemoryMiB       int
	MaxDataDisks    int
	ResourceDiskMiB int // the temporary disk; none is attached here
}

// Caps bounds what a machine gets on this host, whatever its size says. Zero
// means unbounded.
type Caps struct {
	VCPUs     int
	MemoryMiB int
}

// DefaultCaps lets ten machines run on an ordinary workstation.
var DefaultCaps = Caps{VCPUs: 2, MemoryMiB: 1024}

// The facts are those of Azure's "Sizes for virtual machines" pages.
var sizes = []Size{
	{"Standard_B1ls", 1, 512, 2, 4096},
	{"Standard_B1s", 1, 1024, 2, 4096},
	{"Standard_B1ms", 1, 2048, 2, 4096},
	{"Standard_B2s", 2, 4096, 4, 8192},
	{"Standard_B2ms", 2, 8192, 4, 16384},
	{"Standard_B4ms", 4, 16384, 8, 32768},
	{"Standard_B2ts_v2", 2, 1024, 4, 0},
	{"Standard_B2ls_v2", 2, 4096, 4, 0},
	{"Standard_B2s_v2", 2, 8192, 4, 0},
	{"Standard_DS1_v2", 1, 3584, 4, 7168},
	{"Standard_DS2_v2", 2, 7168, 8, 14336},
	{"Standard_DS3_v2", 4, 14336, 16, 28672},
	{"Standard_D2s_v3", 2, 8192, 4, 16384},
	{"Standard_D4s_v3", 4, 16384, 8, 32768},
	{"Standard_D8s_v3", 8, 32768, 16, 65536},
	{"Standard_D2s_v4", 2, 8192, 4, 0},
	{"Standard_D4s_v4", 4, 16384, 8, 0},
	{"Standard_D2ds_v4", 2, 8192, 4, 76800},
	{"Standard_D4ds_v4", 4, 16384, 8, 153600},
	{"Standard_D2as_v4", 2, 8192, 4, 16384},
	{"Standard_D4as_v4", 4, 16384, 8, 32768},
	{"Standard_D2s_v5", 2, 8192, 4, 0},
	{"Standard_D4s_v5", 4, 16384, 8, 0},
	{"Standard_D8s_v5", 8, 32768, 16, 0},
	{"Standard_D2ds_v5", 2, 8192, 4, 76800},
	{"Standard_D4ds_v5", 4, 16384, 8, 153600},
	{"Standard_D2as_v5", 2, 8192, 4, 0},
	{"Standard_D4as_v5", 4, 16384, 8, 0},
	{"Standard_E2s_v3", 2, 16384, 4, 32768},
	{"Standard_E4s_v3", 4, 32768, 8, 65536},
	{"Standard_E2s_v5", 2, 16384, 4, 0},
	{"Standard_E4s_v5", 4, 32768, 8, 0},
	{"Standard_F2s_v2", 2, 4096, 4, 16384},
	{"Standard_F4s_v2", 4, 8192, 8, 32768},
}

// Sizes lists every known size.
func Sizes() []Size { return slices.Clone(sizes) }

// FindSize looks a size up by name; case does not matter, as in Azure.
func FindSize(name string) (Size, error) {
	for _, s := range sizes {
		if strings.EqualFold(s.Name, name) {
			return s, nil
		}
	}
	return Size{}, fmt.Errorf("%w %q; this host knows %s and %d others", ErrUnknownSize, name, sizes[1].Name, len(sizes)-1)
}

// Within is what a machine of the size gets under caps.
func (s Size) Within(c Caps) Size {
	if c.VCPUs > 0 {
		s.VCPUs = min(s.VCPUs, c.VCPUs)
	}
	if c.MemoryMiB > 0 {
		s.MemoryMiB = min(s.MemoryMiB, c.MemoryMiB)
	}
	return s
}
