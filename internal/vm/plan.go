package vm

import (
	"encoding/json"
	"fmt"
	"strconv"

	"hallmark.dev/hallmark/internal/disk"
)

// Program is the emulator.
const Program = "qemu-system-x86_64"

// Plan returns QEMU's command line for a defaulted and valid Config. QEMU runs
// in the machine's folder: relative names keep sockets within the 107 bytes
// that the kernel allows, wherever the folder is.
func (c Config) Plan() []string {
	argv := []string{Program,
		"-name", "guest=" + c.Name + ",debug-threads=on",
		"-uuid", c.UUID,
		"-no-user-config", "-nodefaults",
		"-display", "none",
		"-pidfile", PIDFile,
	}
	argv = append(argv, c.confine()...)
	argv = append(argv, c.processor()...)
	argv = append(argv, c.firmware()...)
	argv = append(argv, c.storage()...)
	argv = append(argv, c.network()...)
	return append(argv, channels()...)
}

// confine limits what a guest that broke out of its device model could do. The
// sandbox is set before the user is dropped, so it can deny elevating only
// where there is nothing to drop; afterwards QEMU has nothing left to elevate
// with, and can start no other program.
func (c Config) confine() []string {
	sandbox := "on,obsolete=deny,spawn=deny,resourcecontrol=deny"
	if c.UserID <= 0 {
		return []string{"-sandbox", sandbox + ",elevateprivileges=deny"}
	}
	return []string{"-sandbox", sandbox, "-runas", fmt.Sprintf("%d:%d", c.UserID, c.UserID)}
}

func (c Config) processor() []string {
	accel := string(c.Accel)
	if c.Accel == TCG {
		accel += ",thread=multi"
	}
	return []string{
		"-machine", "q35,usb=off,vmport=off,dump-guest-core=off,pflash0=code,pflash1=vars",
		"-accel", accel,
		"-cpu", c.CPUModel,
		"-smp", strconv.Itoa(c.CPUs),
		"-m", strconv.Itoa(c.MemoryMiB) + "M",
		"-rtc", "base=utc",
	}
}

func (c Config) firmware() []string {
	return []string{
		"-blockdev", blockdev("code", Disk{Path: c.Firmware.Code, Format: disk.Raw, ReadOnly: true}),
		"-blockdev", blockdev("vars", Disk{Path: VarsFile, Format: disk.Raw}),
	}
}

// storage: the system disk and the seed on virtio-blk, which every image boots
// from; data disks on virtio-scsi, which has LUNs as Azure has. Its controller is
// always there: data disks come and go while the machine runs (hotplug.go).
func (c Config) storage() []string {
	var args []string
	for i, d := range c.Disks {
		if i == 0 {
			args = append(args, "-blockdev", blockdev("disk0", d), "-device", "virtio-blk-pci,drive=disk0,serial=os,bootindex=1",
				"-device", "virtio-scsi-pci,id=data")
			continue
		}
		node := dataNode(d.Path)
		args = append(args, "-blockdev", blockdev(node, d),
			"-device", fmt.Sprintf("scsi-hd,bus=data.0,scsi-id=0,lun=%d,drive=%s,id=%s,serial=%s", d.LUN, node, dataDevice(d.LUN), dataDevice(d.LUN)))
	}
	if c.Seed != "" {
		args = append(args, "-blockdev", blockdev("seed", Disk{Path: c.Seed, Format: disk.Raw, ReadOnly: true}),
			"-device", "virtio-blk-pci,drive=seed,serial=seed")
	}
	return args
}

// blockdev is JSON, in which no character of a path has a meaning.
func blockdev(node string, d Disk) string {
	options := blockOptions(d)
	options["node-name"] = node
	text, err := json.Marshal(options)
	if err != nil {
		return "" // cannot be: strings and booleans only
	}
	return string(text)
}

// blockOptions describe a disk to QEMU (qapi/block-core.json, BlockdevOptions).
func blockOptions(d Disk) map[string]any {
	file := map[string]any{"driver": "file", "filename": d.Path, "read-only": d.ReadOnly}
	options := map[string]any{"driver": d.Format, "read-only": d.ReadOnly, "file": file}
	if !d.ReadOnly {
		options["discard"], file["discard"] = "unmap", "unmap" // what the guest deletes leaves the overlay
	}
	return options
}

// network: without an option ROM the firmware has nothing to wait for.
func (c Config) network() []string {
	if c.NIC == nil {
		return nil
	}
	return []string{
		"-netdev", "tap,id=net,ifname=" + c.NIC.Tap + ",script=no,downscript=no",
		"-device", "virtio-net-pci,netdev=net,mac=" + c.NIC.MAC + ",romfile=",
	}
}

func channels() []string {
	socket := func(id, path string) string {
		return "socket,id=" + id + ",path=" + path + ",server=on,wait=off"
	}
	return []string{
		"-device", "virtio-rng-pci",
		"-chardev", socket("console", ConsoleSocket) + ",logfile=" + ConsoleFile + ",logappend=on",
		"-serial", "chardev:console",
		"-chardev", socket("qmp", QMPSocket),
		"-mon", "chardev=qmp,mode=control",
		"-device", "virtio-serial-pci",
		"-chardev", socket("agent", AgentSocket),
		"-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
	}
}
