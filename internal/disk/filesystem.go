package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrUnsupportedRoot means that an image has no root partition that can be
// mounted here: it is not GPT, or its root is not ext4.
var ErrUnsupportedRoot = errors.New("no GPT partition with an ext4 root file system")

// Signatures at fixed places, from the kernel's headers and util-linux' list.
var signatures = []struct {
	name   string
	offset int64
	magic  string
}{
	{"xfs", 0, "XFSB"},
	{"btrfs", 0x10040, "_BHRfS_M"},
	{"ntfs", 3, "NTFS    "},
	{"LVM", 0x218, "LVM2 001"},
	{"LUKS", 0, "LUKS\xba\xbe"},
	{"squashfs", 0, "hsqs"},
	{"vfat", 0x52, "FAT32"},
	{"vfat", 0x36, "FAT1"},
}

// Filesystem names what a partition holds by its signature, "" if unknown.
func Filesystem(disk io.ReaderAt, start int64) string {
	if name := extName(disk, start); name != "" {
		return name
	}
	for _, s := range signatures {
		got := make([]byte, len(s.magic))
		if _, err := disk.ReadAt(got, start+s.offset); err == nil && string(got) == s.magic {
			return s.name
		}
	}
	return ""
}

// extName tells ext4 from its elders by the "extents" feature bit.
func extName(disk io.ReaderAt, start int64) string {
	super := make([]byte, 1024)
	if _, err := disk.ReadAt(super, start+1024); err != nil || binary.LittleEndian.Uint16(super[56:]) != 0xEF53 {
		return ""
	}
	if binary.LittleEndian.Uint32(super[96:])&0x40 != 0 {
		return "ext4"
	}
	return "ext2"
}

// RootPartition picks the partition that holds the root: the ext4 one of type
// "Linux root (x86-64)", else the largest ext4 one.
func RootPartition(disk io.ReaderAt, parts []Partition) (Partition, error) {
	var best Partition
	var found []string
	for _, p := range parts {
		fs := Filesystem(disk, p.Start)
		found = append(found, fmt.Sprintf("%d: %s", p.Number, orUnknown(fs)))
		if fs != "ext4" {
			continue
		}
		if p.Type == LinuxRootX8664 {
			return p, nil
		}
		if p.Size > best.Size {
			best = p
		}
	}
	if best.Size == 0 {
		return Partition{}, fmt.Errorf("%w (partitions found: %s)", ErrUnsupportedRoot, strings.Join(found, ", "))
	}
	return best, nil
}

func orUnknown(fs string) string {
	if fs == "" {
		return "unknown"
	}
	return fs
}
