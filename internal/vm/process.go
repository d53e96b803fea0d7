package vm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// process names one process for good: a PID alone is given to another process
// later, a PID with its start time in one boot of the host is not.
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot: proc_pid_stat(5), field 22
	Boot  string `json:"boot"`
}

var errNoProcess = errors.New("no such process")

// observe reads the process that has pid now. A dead one that nobody has waited
// for yet counts as gone.
func observe(pid int) (process, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, errNoProcess
	}
	state, start, err := parseStat(stat)
	if err != nil {
		return process{}, err
	}
	if state == "Z" || state == "X" {
		return process{}, errNoProcess
	}
	boot, err := BootID()
	return process{PID: pid, Start: start, Boot: boot}, err
}

// parseStat skips the program's name, which may hold spaces and parentheses.
func parseStat(stat []byte) (state string, start uint64, err error) {
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return "", 0, fmt.Errorf("%d fields in a process's stat", len(fields))
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	return fields[0], start, err
}

func (p process) alive() bool {
	now, err := observe(p.PID)
	return err == nil && now == p
}

// signal reaches p or nobody: the handle is taken before the identity is
// checked, so the PID cannot change hands in between.
func (p process) signal(s os.Signal) error {
	handle, err := os.FindProcess(p.PID)
	if err != nil {
		return errNoProcess
	}
	defer handle.Release()
	if !p.alive() {
		return errNoProcess
	}
	if err := handle.Signal(s); errors.Is(err, os.ErrProcessDone) {
		return errNoProcess
	} else if err != nil {
		return fmt.Errorf("signalling process %d: %w", p.PID, err)
	}
	return nil
}

// BootID is the kernel's name for this boot of the host.
func BootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading the host's boot id: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// find returns the process that runs the machine in dir. Where the record is
// missing (its writer was killed), QEMU is known by its working directory.
func find(dir string) (process, error) {
	var p process
	text, err := os.ReadFile(filepath.Join(dir, ProcessFile))
	if err == nil && json.Unmarshal(text, &p) == nil && p.alive() {
		return p, nil
	}
	running, err := emulators(dir)
	if err != nil {
		return process{}, err
	}
	if p, ok := running[dir]; ok {
		return p, nil
	}
	return process{}, errNoProcess
}

// deleted is what the kernel adds to the name of a directory that is gone.
const deleted = " (deleted)"

// emulators lists the QEMU processes that run in root or in a folder under it,
// by that folder, whether it still exists or not.
func emulators(root string) (map[string]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	found := map[string]process{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		dir, ok := emulatorDir(pid)
		if !ok || dir != root && !strings.HasPrefix(dir, root+"/") {
			continue
		}
		if p, err := observe(pid); err == nil {
			found[dir] = p
		}
	}
	return found, nil
}

// emulatorDir is a process's working directory, if it is a QEMU of ours.
func emulatorDir(pid int) (string, bool) {
	dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil {
		return "", false
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return "", false
	}
	argv := strings.Split(string(line), "\x00")
	return strings.TrimSuffix(dir, deleted), filepath.Base(argv[0]) == Program && slices.Contains(argv, PIDFile)
}
