package build

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// newCgroups makes a control group for one container in the hierarchies that
// systemd uses, below our own: two booted images must not share one. Hosts
// without them do without.
func newCgroups(name string) []string {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	var made []string
	for line := range strings.Lines(string(own)) {
		parent := cgroupDirectory(strings.TrimSpace(line))
		if parent == "" {
			continue
		}
		dir := filepath.Join(parent, name)
		if err := os.Mkdir(dir, 0o755); err == nil {
			made = append(made, dir)
		}
	}
	return made
}

// cgroupDirectory maps a line of /proc/self/cgroup (cgroups(7)) to a directory.
func cgroupDirectory(line string) string {
	fields := strings.SplitN(line, ":", 3)
	if len(fields) != 3 {
		return ""
	}
	switch fields[1] {
	case "":
		if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
			return filepath.Join("/sys/fs/cgroup", fields[2])
		}
		return filepath.Join("/sys/fs/cgroup/unified", fields[2])
	case "name=systemd":
		return filepath.Join("/sys/fs/cgroup/systemd", fields[2])
	}
	return ""
}

// removeCgroups takes empty control groups away, the inmost first.
func removeCgroups(dirs []string) error {
	var errs []error
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		var below []string
		for _, e := range entries {
			if e.IsDir() {
				below = append(below, filepath.Join(dir, e.Name()))
			}
		}
		errs = append(errs, err, removeCgroups(below), os.Remove(dir))
	}
	return errors.Join(errs...)
}

// releaseCgroups removes the groups of a container that has ended; its last
// processes may still be on their way out. Sweep takes what stays.
func releaseCgroups(dirs []string) {
	for range 250 {
		if removeCgroups(dirs) == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// cgroupPrefix starts the names of the control groups of one data directory.
func cgroupPrefix(dataDir string) string { return "hallmark-" + sum([]byte(dataDir))[:8] + "-" }

// sweepCgroups removes the control groups of mounts that are gone.
func sweepCgroups(prefix, mounts string) error {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	var errs []error
	for line := range strings.Lines(string(own)) {
		parent := cgroupDirectory(strings.TrimSpace(line))
		if parent == "" {
			continue
		}
		dirs, err := filepath.Glob(filepath.Join(parent, prefix+"*"))
		errs = append(errs, err)
		for _, dir := range dirs {
			mount := filepath.Join(mounts, strings.TrimPrefix(filepath.Base(dir), prefix))
			if _, err := os.Stat(mount); errors.Is(err, os.ErrNotExist) {
				errs = append(errs, removeCgroups([]string{dir}))
			}
		}
	}
	return errors.Join(errs...)
}
