package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf16"
)

// Sector is the logical block size of every image that QEMU serves us.
const Sector = 512

// LinuxRootX8664 is the GPT type of an x86-64 root file system, from the UAPI
// group's Discoverable Partitions Specification.
const LinuxRootX8664 = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"

// ErrNoGPT means that a disk carries no readable GUID partition table.
var ErrNoGPT = errors.New("no GUID partition table")

// Limits on what a partition table may ask us to read. UEFI's minimum is 128
// entries of 128 bytes; nobody writes anything else.
const (
	maxEntries   = 1024
	maxEntrySize = 4096
)

// Partition is one used entry of a partition table. Start and Size are bytes.
type Partition struct {
	Number int // as Linux and sfdisk count: from 1
	Type   string
	UUID   string
	Name   string
	Start  int64
	Size   int64
}

// ReadGPT reads a partition table (UEFI specification 2.10, section 5.3) from a
// disk of the given size in bytes. It falls back to the copy at the disk's end.
func ReadGPT(disk io.ReaderAt, size int64) ([]Partition, error) {
	parts, err := readGPTAt(disk, size, 1)
	if err == nil {
		return parts, nil
	}
	if backup, backupErr := readGPTAt(disk, size, size/Sector-1); backupErr == nil {
		return backup, nil
	}
	return nil, err
}

func readGPTAt(disk io.ReaderAt, size, lba int64) ([]Partition, error) {
	header := make([]byte, Sector)
	if lba < 1 || (lba+1)*Sector > size {
		return nil, fmt.Errorf("%w: disk of %d bytes is too small", ErrNoGPT, size)
	}
	if _, err := disk.ReadAt(header, lba*Sector); err != nil {
		return nil, fmt.Errorf("%w: reading its header: %w", ErrNoGPT, err)
	}
	table, err := parseHeader(header, size)
	if err != nil {
		return nil, err
	}
	entries := make([]byte, table.count*table.entrySize)
	if _, err := disk.ReadAt(entries, table.start); err != nil {
		return nil, fmt.Errorf("%w: reading its entries: %w", ErrNoGPT, err)
	}
	if sum := crc32.ChecksumIEEE(entries); sum != table.sum {
		return nil, fmt.Errorf("%w: checksum of its entries is %08x, header says %08x", ErrNoGPT, sum, table.sum)
	}
	return parseEntries(entries, table.entrySize, size)
}

type gptTable struct {
	start            int64
	count, entrySize int
	sum              uint32
}

func parseHeader(h []byte, size int64) (gptTable, error) {
	le := binary.LittleEndian
	if string(h[:8]) != "EFI PART" {
		return gptTable{}, fmt.Errorf("%w: no signature", ErrNoGPT)
	}
	length := le.Uint32(h[12:])
	if length < 92 || length > Sector {
		return gptTable{}, fmt.Errorf("%w: header of %d bytes", ErrNoGPT, length)
	}
	blank := append([]byte(nil), h[:length]...)
	clear(blank[16:20])
	if sum := crc32.ChecksumIEEE(blank); sum != le.Uint32(h[16:]) {
		return gptTable{}, fmt.Errorf("%w: checksum of its header is %08x, header says %08x", ErrNoGPT, sum, le.Uint32(h[16:]))
	}
	lba, count, entry := le.Uint64(h[72:]), le.Uint32(h[80:]), le.Uint32(h[84:])
	if count > maxEntries || entry < 128 || entry > maxEntrySize || entry%128 != 0 {
		return gptTable{}, fmt.Errorf("%w: %d entries of %d bytes", ErrNoGPT, count, entry)
	}
	bytes := int64(count) * int64(entry)
	if lba < 2 || lba > uint64(size/Sector) || int64(lba)*Sector+bytes > size {
		return gptTable{}, fmt.Errorf("%w: entries at sector %d lie outside the disk", ErrNoGPT, lba)
	}
	return gptTable{start: int64(lba) * Sector, count: int(count), entrySize: int(entry), sum: le.Uint32(h[88:])}, nil
}

func parseEntries(entries []byte, entrySize int, size int64) ([]Partition, error) {
	var parts []Partition
	for i := 0; i*entrySize < len(entries); i++ {
		e := entries[i*entrySize : (i+1)*entrySize]
		if [16]byte(e[:16]) == ([16]byte{}) {
			continue
		}
		first, last := binary.LittleEndian.Uint64(e[32:]), binary.LittleEndian.Uint64(e[40:])
		if first > last || last >= uint64(size/Sector) {
			return nil, fmt.Errorf("%w: partition %d (sectors %d to %d) lies outside the disk", ErrNoGPT, i+1, first, last)
		}
		parts = append(parts, Partition{Number: i + 1, Type: guid(e[:16]), UUID: guid(e[16:32]), Name: name16(e[56:128]),
			Start: int64(first) * Sector, Size: int64(last-first+1) * Sector})
	}
	return parts, nil
}

// guid prints a GUID, whose first three fields are stored little-endian.
func guid(b []byte) string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), b[8:10], b[10:16])
}

func name16(b []byte) string {
	var units []uint16
	for i := 0; i+1 < len(b); i += 2 {
		u := binary.LittleEndian.Uint16(b[i:])
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}
