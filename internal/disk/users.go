package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// killUsers ends the processes that a dead owner left behind: those whose root
// lies in the mount, and the helpers that name the directory in their arguments.
// Nothing that merely looks into the directory is touched.
func killUsers(dir string) ([]string, error) {
	var killed []string
	for deadline := time.Now().Add(releasePatience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		found, err := signalUsers(dir)
		if err != nil {
			return killed, err
		}
		if len(found) == 0 {
			return killed, nil
		}
		for _, f := range found {
			if !slices.Contains(killed, f) {
				killed = append(killed, f)
			}
		}
	}
	return killed, fmt.Errorf("processes below %s do not die: %s", dir, strings.Join(killed, ", "))
}

func signalUsers(dir string) ([]string, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	device, mounted := rootDevice(dir)
	var found []string
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if name, ok := killIfUser(pid, dir, device, mounted); ok {
			found = append(found, name)
		}
	}
	return found, nil
}

// killIfUser opens a handle on the process first, so that it cannot be exchanged
// for another one between looking and killing.
func killIfUser(pid int, dir string, device uint64, mounted bool) (string, bool) {
	handle, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return "", false
	}
	defer unix.Close(handle)
	args := arguments(pid)
	if len(args) == 0 { // a zombie, or a kernel thread
		return "", false
	}
	helper := isHelper(args, dir)
	if !helper && !(mounted && deviceOf(fmt.Sprintf("/proc/%d/root/.", pid)) == device) {
		return "", false
	}
	unix.PidfdSendSignal(handle, unix.SIGKILL, nil, 0)
	return fmt.Sprintf("%d (%s)", pid, filepath.Base(args[0])), true
}

// helpers are the programs that this package and a build start on a mount.
var helpers = []string{"qemu-storage-daemon", "systemd-nspawn", "unshare", "nsenter", "fstrim"}

func isHelper(args []string, dir string) bool {
	if !slices.Contains(helpers, filepath.Base(args[0])) {
		return false
	}
	return slices.ContainsFunc(args, func(a string) bool { return strings.Contains(a, dir+"/") })
}

func arguments(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(text) == 0 {
		return nil
	}
	return strings.Split(strings.TrimRight(string(text), "\x00"), "\x00")
}

// rootDevice is the device number of the mounted root, if one is mounted.
func rootDevice(dir string) (uint64, bool) {
	inner, outer := deviceOf(filepath.Join(dir, rootName)), deviceOf(dir)
	return inner, inner != 0 && inner != outer
}

func deviceOf(path string) uint64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return stat.Dev
}
