package vm

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Resources are what machines use up. Processors are not among them: they are
// shared in time.
type Resources struct {
	MemoryMiB int64
	DiskBytes int64
}

func (r Resources) minus(o Resources) Resources {
	return Resources{r.MemoryMiB - o.MemoryMiB, r.DiskBytes - o.DiskBytes}
}

// Plus adds two amounts.
func (r Resources) Plus(o Resources) Resources {
	return Resources{r.MemoryMiB + o.MemoryMiB, r.DiskBytes + o.DiskBytes}
}

// Overhead is what QEMU itself takes for a machine beside the guest's memory.
var Overhead = Resources{MemoryMiB: 96}

// Capacity is what a host has for machines.
type Capacity struct {
	Total    Resources // what the host has
	Keep     Resources // what stays with the host itself
	Reserved Resources // what existing machines have been promised
}

// Free is what is left to promise; never negative.
func (c Capacity) Free() Resources {
	f := c.Total.minus(c.Keep).minus(c.Reserved)
	return Resources{max(f.MemoryMiB, 0), max(f.DiskBytes, 0)}
}

// AllocationError says that a machine does not fit, with the numbers. ARM's
// code for it is AllocationFailed.
type AllocationError struct {
	Want     Resources
	Capacity Capacity
}

func (e *AllocationError) Error() string {
	free := e.Capacity.Free()
	var short []string
	if e.Want.MemoryMiB > free.MemoryMiB {
		short = append(short, fmt.Sprintf("it needs %d MiB of memory and %d MiB are free (%d in all, %d kept for the host, %d promised to other machines)",
			e.Want.MemoryMiB, free.MemoryMiB, e.Capacity.Total.MemoryMiB, e.Capacity.Keep.MemoryMiB, e.Capacity.Reserved.MemoryMiB))
	}
	if e.Want.DiskBytes > free.DiskBytes {
		const mib = 1 << 20
		short = append(short, fmt.Sprintf("it needs %d MiB of disk and %d MiB are free (%d in all, %d kept for the host, %d promised to other machines)",
			e.Want.DiskBytes/mib, free.DiskBytes/mib, e.Capacity.Total.DiskBytes/mib, e.Capacity.Keep.DiskBytes/mib, e.Capacity.Reserved.DiskBytes/mib))
	}
	return "the machine does not fit on this host: " + strings.Join(short, "; ") + "; delete or stop machines, or choose a smaller size"
}

// Admit decides whether want can be promised; else it returns an
// *AllocationError.
func (c Capacity) Admit(want Resources) error {
	free := c.Free()
	if want.MemoryMiB > free.MemoryMiB || want.DiskBytes > free.DiskBytes {
		return &AllocationError{Want: want, Capacity: c}
	}
	return nil
}

// HostTotal is the host's memory and the free space of dir's file system. Disk
// space is what is free now: add what machines have written already when their
// promises are subtracted.
func HostTotal(dir string) (Resources, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return Resources{}, fmt.Errorf("reading the host's memory: %w", err)
	}
	defer f.Close()
	memory, err := parseMemTotal(f)
	if err != nil {
		return Resources{}, err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return Resources{}, fmt.Errorf("reading the free space of %s: %w", dir, err)
	}
	return Resources{MemoryMiB: memory, DiskBytes: int64(fs.Bavail) * fs.Bsize}, nil
}

func parseMemTotal(r io.Reader) (int64, error) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) == 3 && fields[0] == "MemTotal:" && fields[2] == "kB" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			return kib / 1024, err
		}
	}
	return 0, errors.New("/proc/meminfo has no MemTotal")
}
