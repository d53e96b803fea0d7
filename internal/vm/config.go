package vm

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"hallmark.dev/hallmark/internal/disk"
)

// Config is a machine: everything that Plan needs. Paths are absolute, or
// relative to the machine's folder.
type Config struct {
	// ID tells machines apart, for good; an ARM resource id, say.
	ID string `json:"id"`
	// Name is for people who look at the process list.
	Name string `json:"name"`
	// UUID is what the firmware reports (SMBIOS); Azure's vmId. Default: derived from ID.
	UUID      string `json:"uuid"`
	CPUs      int    `json:"cpus"`
	MemoryMiB int    `json:"memoryMiB"`
	// Disks: the first is the system disk.
	Disks []Disk `json:"disks"`
	// Seed is cloud-init's NoCloud ISO; empty for none.
	Seed string `json:"seed,omitempty"`
	// NIC is nil for a machine without a network.
	NIC      *NIC     `json:"nic,omitempty"`
	Firmware Firmware `json:"firmware"`
	Accel    Accel    `json:"accel"`
	// CPUModel is QEMU's name. Default: host under KVM, max under TCG.
	CPUModel string `json:"cpuModel"`
	// UserID is the numeric user and group that QEMU drops to once its files
	// are open. Default: one that no other machine has and no account uses.
	// A negative number keeps the user who starts it.
	UserID int `json:"userId"`
}

// Disk is a disk of a machine.
type Disk struct {
	Path     string      `json:"path"`
	Format   disk.Format `json:"format"`
	ReadOnly bool        `json:"readOnly,omitempty"`
	// LUN is a data disk's number, 0 to 63, Azure's; the system disk has none.
	LUN int `json:"lun"`
}

// NIC is a machine's network interface. The tap exists before Start and may be
// opened by root or by the machine's user.
type NIC struct {
	Tap string `json:"tap"`
	MAC string `json:"mac"`
}

// Firmware is UEFI: code that machines share, and a template of variables that
// each machine copies (VarsFile).
type Firmware struct {
	Code string `json:"code"`
	Vars string `json:"vars"`
}

// OVMF is Debian's firmware (package ovmf).
var OVMF = Firmware{Code: "/usr/share/OVMF/OVMF_CODE_4M.fd", Vars: "/usr/share/OVMF/OVMF_VARS_4M.fd"}

// systemd keeps user ids from here up unassigned (UIDS-GIDS.md, "unused").
const firstUserID = 0x70000000

// Default fills in what is left out.
func (c Config) Default() Config {
	sum := sha256.Sum256([]byte(c.ID))
	if c.UUID == "" {
		c.UUID = deriveUUID(sum)
	}
	if c.Name == "" {
		c.Name = "machine-" + c.UUID[:8]
	}
	if c.CPUs == 0 {
		c.CPUs = 1
	}
	if c.MemoryMiB == 0 {
		c.MemoryMiB = 1024
	}
	if len(c.Disks) == 0 {
		c.Disks = []Disk{{Path: OSDiskFile, Format: disk.QCOW2}}
	}
	if c.Firmware == (Firmware{}) {
		c.Firmware = OVMF
	}
	if c.Accel == "" {
		c.Accel = TCG
	}
	if c.CPUModel == "" {
		c.CPUModel = map[Accel]string{KVM: "host", TCG: "max"}[c.Accel]
	}
	if c.UserID == 0 {
		c.UserID = firstUserID + int(binary.BigEndian.Uint32(sum[16:20])&0x07ffffff)
	}
	return c
}

// deriveUUID makes a version 8 UUID (RFC 9562, 5.8: content is the maker's own).
func deriveUUID(sum [sha256.Size]byte) string {
	sum[6] = sum[6]&0x0f | 0x80
	sum[8] = sum[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

var (
	namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	uuidPattern = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	tapPattern  = regexp.MustCompile(`^[A-Za-z0-9._-]{1,15}$`)
	cpuPattern  = regexp.MustCompile(`^[A-Za-z0-9._+=,-]{1,200}$`)
)

// maxLUN is the highest of Azure's data disk numbers.
const maxLUN = 63

// Validate reports everything that is wrong with a defaulted Config, at once.
func (c Config) Validate() error {
	var errs []error
	wrong := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	wrong(c.ID != "", "id: must not be empty")
	wrong(namePattern.MatchString(c.Name), "name: %q: letters, digits, dots, dashes and underscores, at most 64", c.Name)
	wrong(uuidPattern.MatchString(c.UUID), "uuid: %q is not a UUID in lower case", c.UUID)
	wrong(c.CPUs >= 1 && c.CPUs <= 255, "cpus: %d is not within 1 to 255", c.CPUs)
	wrong(c.MemoryMiB >= 128, "memoryMiB: %d is less than the 128 that the firmware needs", c.MemoryMiB)
	wrong(c.Accel == KVM || c.Accel == TCG, "accel: %q is neither %q nor %q", c.Accel, KVM, TCG)
	wrong(cpuPattern.MatchString(c.CPUModel), "cpuModel: %q is not a QEMU CPU model", c.CPUModel)
	wrong(c.Firmware.Code != "" && c.Firmware.Vars != "", "firmware: code and vars must both be set")
	return errors.Join(append(errs, c.validateDisks(), c.validateNIC())...)
}

func (c Config) validateDisks() error {
	var errs []error
	luns := map[int]bool{}
	for i, d := range c.Disks {
		if d.Path == "" || strings.ContainsRune(d.Path, 0) {
			errs = append(errs, fmt.Errorf("disks[%d].path: %q is not a path", i, d.Path))
		}
		if d.Format != disk.QCOW2 && d.Format != disk.Raw {
			errs = append(errs, fmt.Errorf("disks[%d].format: %q is neither qcow2 nor raw; convert it", i, d.Format))
		}
		if i == 0 {
			continue
		}
		if d.LUN < 0 || d.LUN > maxLUN || luns[d.LUN] {
			errs = append(errs, fmt.Errorf("disks[%d].lun: %d is used twice, or not within 0 to %d", i, d.LUN, maxLUN))
		}
		luns[d.LUN] = true
	}
	return errors.Join(errs...)
}

func (c Config) validateNIC() error {
	if c.NIC == nil {
		return nil
	}
	var errs []error
	if !tapPattern.MatchString(c.NIC.Tap) {
		errs = append(errs, fmt.Errorf("nic.tap: %q is not a device name", c.NIC.Tap))
	}
	if mac, err := net.ParseMAC(c.NIC.MAC); err != nil || len(mac) != 6 {
		errs = append(errs, fmt.Errorf("nic.mac: %q is not an Ethernet address", c.NIC.MAC))
	}
	return errors.Join(errs...)
}

// load reads a machine folder's configuration.
func load(dir string) (Config, error) {
	file := filepath.Join(dir, ConfigFile)
	text, err := os.ReadFile(file)
	if err != nil {
		return Config{}, fmt.Errorf("reading the machine in %s: %w", dir, err)
	}
	var c Config
	if err := json.Unmarshal(text, &c); err != nil {
		return Config{}, fmt.Errorf("reading the machine's %s: %w; delete the machine and create it again", file, err)
	}
	return c, nil
}

func (c Config) save(dir string) error {
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, ConfigFile), append(text, '\n'))
}
