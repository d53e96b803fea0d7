package base

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// The disk: 4 GiB, which a machine's larger disk lets grow on its first boot;
// an EFI system partition of 64 MiB, and the rest for the root. Sectors of 512.
const (
	diskSize    = 4 << 30
	sectorSize  = 512
	espStart    = 2048
	espSectors  = 64 << 20 / sectorSize
	rootStart   = espStart + espSectors
	rootSectors = diskSize/sectorSize - rootStart - 2048 // the end is the second GPT's
)

const rawFile = "disk.raw"

// GPT partition types (UEFI specification 5.3.3; Discoverable Partitions Specification).
const (
	typeESP  = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
	typeRoot = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
)

// grubConfig never changes: it boots what the two links in the root point to,
// and the package of a kernel keeps those. The second entry is for a kernel
// that cannot be loaded. Debian's signed GRUB looks for it in EFI/debian.
const grubConfig = `set timeout=0
set default=0
set fallback=1
search --no-floppy --label root --hint hd0,gpt2 --set=root
menuentry 'Linux' {
	linux /vmlinuz root=LABEL=root ro console=tty0 console=ttyS0,115200
	initrd /initrd.img
}
menuentry 'Linux, previous kernel' {
	linux /vmlinuz.old root=LABEL=root ro console=tty0 console=ttyS0,115200
	initrd /initrd.img.old
}
`

// bootFiles go to the EFI system partition: Debian's shim and GRUB, both signed
// for UEFI Secure Boot, at the path that firmware looks at without a boot entry.
var bootFiles = [][2]string{
	{"boot/usr/lib/shim/shimx64.efi.signed", "::EFI/BOOT/BOOTX64.EFI"},
	{"boot/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed", "::EFI/BOOT/grubx64.efi"},
	{"grub.cfg", "::EFI/debian/grub.cfg"},
}

// makeDisk writes work/root and work/boot into work/disk.raw. Everything that
// would be random comes from seed.
func makeDisk(ctx context.Context, work, seed string) error {
	if err := os.WriteFile(filepath.Join(work, "grub.cfg"), []byte(grubConfig), 0o644); err != nil {
		return err
	}
	raw, err := os.Create(filepath.Join(work, rawFile))
	if err != nil {
		return err
	}
	defer raw.Close()
	if err := raw.Truncate(diskSize); err != nil {
		return err
	}
	if err := runInput(ctx, work, partitions(seed), "sfdisk", "--quiet", rawFile); err != nil {
		return err
	}
	for _, args := range planFileSystems(seed) {
		// mtools would refuse a file system that does not fill its device.
		if err := run(ctx, work, []string{"MTOOLS_SKIP_CHECK=1"}, args...); err != nil {
			return err
		}
	}
	return nil
}

// partitions is sfdisk's input.
func partitions(seed string) string {
	return fmt.Sprintf("label: gpt\nlabel-id: %s\n"+
		"start=%d, size=%d, type=%s, name=EFI, uuid=%s\n"+
		"start=%d, size=%d, type=%s, name=root, uuid=%s\n",
		uuid(seed, "disk"), espStart, espSectors, typeESP, uuid(seed, "esp"),
		rootStart, rootSectors, typeRoot, uuid(seed, "root"))
}

// planFileSystems lists the commands that fill both partitions, in the image
// itself and without the kernel's help, which may have no vfat and no loop.
func planFileSystems(seed string) [][]string {
	esp := rawFile + "@@" + strconv.Itoa(espStart*sectorSize)
	plan := [][]string{
		{"mkfs.vfat", "-F", "16", "-n", "EFI", "-i", uuid(seed, "vfat")[:8], "--offset", strconv.Itoa(espStart), rawFile, strconv.Itoa(espSectors * sectorSize / 1024)},
		{"mmd", "-i", esp, "::EFI", "::EFI/BOOT", "::EFI/debian"},
	}
	for _, f := range bootFiles {
		plan = append(plan, []string{"mcopy", "-i", esp, f[0], f[1]})
	}
	return append(plan, []string{"mke2fs", "-q", "-F", "-t", "ext4", "-L", "root", "-m", "1", "-d", "root",
		"-U", uuid(seed, "ext4"), "-E", fmt.Sprintf("offset=%d,hash_seed=%s,root_owner=0:0,nodiscard", rootStart*sectorSize, uuid(seed, "hash")),
		rawFile, strconv.Itoa(rootSectors*sectorSize/1024) + "k"})
}

// uuid derives a UUID (version 8, RFC 9562) for one purpose.
func uuid(seed, purpose string) string {
	u := sha256.Sum256([]byte(seed + "\n" + purpose))
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}
