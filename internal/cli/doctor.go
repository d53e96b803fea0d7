package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// check is one thing that the local control plane needs.
type check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"`
}

func (a *App) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Check that this machine has what the local control plane needs", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.doctor() },
	}
}

// doctor reports everything at once: a user who fixes one thing after another
// has to come back for each.
func (a *App) doctor() error {
	checks := []check{checkRoot()}
	for _, tool := range requiredTools {
		checks = append(checks, checkTool(tool))
	}
	for _, device := range []string{"/dev/fuse", "/dev/loop-control", "/dev/net/tun"} {
		checks = append(checks, checkDevice(device))
	}
	checks = append(checks, checkFirmware(), a.checkSpace())
	if err := a.print(checks, column{"Check", "name"}, column{"OK", "ok"}, column{"Detail", "detail"}, column{"Fix", "fix"}); err != nil {
		return err
	}
	failed := 0
	for _, c := range checks {
		if !c.OK {
			failed++
		}
	}
	if failed > 0 {
		return &Error{Code: ExitFailed, Err: fmt.Errorf("%d of %d checks failed", failed, len(checks)), Hint: "scripts/setup installs every missing package"}
	}
	return nil
}

type tool struct{ command, pkg string }

var requiredTools = []tool{
	{"qemu-system-x86_64", "qemu-system-x86"}, {"qemu-img", "qemu-utils"}, {"qemu-storage-daemon", "qemu-utils"},
	{"systemd-nspawn", "systemd-container"}, {"mmdebstrap", "mmdebstrap"}, {"mke2fs", "e2fsprogs"}, {"sgdisk", "gdisk"},
	{"mcopy", "mtools"}, {"mkfs.vfat", "dosfstools"}, {"nft", "nftables"}, {"ip", "iproute2"}, {"ssh", "openssh-client"}, {"gpgv", "gpgv"},
}

func checkRoot() check {
	c := check{Name: "runs as root", OK: os.Geteuid() == 0, Detail: fmt.Sprintf("user id %d", os.Geteuid())}
	if !c.OK {
		c.Fix = "sudo hallmark doctor"
	}
	return c
}

func checkTool(t tool) check {
	path, err := exec.LookPath(t.command)
	if err != nil {
		return check{Name: t.command, Detail: "not found", Fix: "apt-get install " + t.pkg}
	}
	return check{Name: t.command, OK: true, Detail: path}
}

func checkDevice(device string) check {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return check{Name: device, Detail: err.Error(), Fix: "load the kernel module " + strings.TrimSuffix(strings.TrimPrefix(device, "/dev/"), "-control")}
	}
	f.Close()
	return check{Name: device, OK: true, Detail: "opens"}
}

const firmware = "/usr/share/OVMF/OVMF_CODE_4M.fd"

func checkFirmware() check {
	if _, err := os.Stat(firmware); err != nil {
		return check{Name: "UEFI firmware", Detail: err.Error(), Fix: "apt-get install ovmf"}
	}
	return check{Name: "UEFI firmware", OK: true, Detail: firmware}
}

// neededSpace is what the tour takes, in bytes, with room for a second image.
const neededSpace = 12 << 30

func (a *App) checkSpace() check {
	dir, err := a.Dir()
	if err != nil {
		return check{Name: "free space", Detail: err.Error()}
	}
	free, where, err := freeSpace(string(dir))
	if err != nil {
		return check{Name: "free space", Detail: err.Error(), Fix: "choose another place with --data"}
	}
	c := check{Name: "free space", OK: free >= neededSpace, Detail: fmt.Sprintf("%d GiB at %s, %d GiB wanted", free>>30, where, uint64(neededSpace)>>30)}
	if !c.OK {
		c.Fix = "choose another place with --data, or: hallmark cache prune"
	}
	return c
}

// freeSpace asks the nearest directory above that exists.
func freeSpace(dir string) (free uint64, where string, err error) {
	for {
		var s unix.Statfs_t
		err := unix.Statfs(dir, &s)
		if err == nil {
			return s.Bavail * uint64(s.Bsize), dir, nil
		}
		parent := dir[:max(1, strings.LastIndexByte(dir, '/'))]
		if !errors.Is(err, unix.ENOENT) || parent == dir {
			return 0, dir, fmt.Errorf("%s: %w", dir, err)
		}
		dir = parent
	}
}
