package outside

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Process is one process of the host.
type Process struct {
	PID, Parent int
	Zombie      bool
	Cwd         string
	Arguments   []string
}

func (p Process) String() string { return fmt.Sprintf("process %d: %.200q", p.PID, p.Arguments) }

// Is reports whether the process runs a program whose name begins so.
func (p Process) Is(program string) bool {
	return len(p.Arguments) > 0 && strings.HasPrefix(filepath.Base(p.Arguments[0]), program)
}

// Processes reads proc(5).
func Processes(t testing.TB) []Process {
	t.Helper()
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var all []Process
	for _, folder := range folders {
		stat, err := os.ReadFile(folder + "/stat")
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		line, _ := os.ReadFile(folder + "/cmdline")
		cwd, _ := os.Readlink(folder + "/cwd")
		p := Process{Cwd: cwd, Zombie: fields[0] == "Z", Arguments: strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")}
		p.PID, _ = strconv.Atoi(filepath.Base(folder))
		p.Parent, _ = strconv.Atoi(fields[1])
		all = append(all, p)
	}
	return all
}

// Descendants are a process's children, theirs, and so on.
func Descendants(all []Process, of int) (found []int) {
	for _, p := range all {
		if p.Parent == of {
			found = append(append(found, p.PID), Descendants(all, p.PID)...)
		}
	}
	return found
}

// Own are the instance's processes: those that name its folder or work in it.
func (i *Instance) Own(t testing.TB) (own []Process) {
	t.Helper()
	for _, p := range Processes(t) {
		if !p.Zombie && p.PID != os.Getpid() && (strings.HasPrefix(p.Cwd, i.Dir) || strings.Contains(strings.Join(p.Arguments, " "), i.Dir)) {
			own = append(own, p)
		}
	}
	return own
}

// Emulators are the process ids of the instance's machines.
func (i *Instance) Emulators(t testing.TB) (pids []int) {
	t.Helper()
	for _, p := range i.Own(t) {
		if p.Is("qemu-system-") {
			pids = append(pids, p.PID)
		}
	}
	return pids
}

// Mark begins the names of the instance's network devices, tables and
// namespaces; the alias of its bridge says whose it is.
func (i *Instance) Mark(t testing.TB) string {
	t.Helper()
	for _, l := range links(t) {
		if mark, ok := strings.CutSuffix(l.Name, "br"); ok && l.Alias == "hallmark "+i.Dir {
			return mark
		}
	}
	return ""
}

type link struct {
	Name  string `json:"ifname"`
	Alias string `json:"ifalias"`
}

func links(t testing.TB) (all []link) {
	t.Helper()
	if err := json.Unmarshal([]byte(Tool(t, "ip", "-json", "link")), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// Leftovers is what the instance has on the host beside its server, the given
// number of machines, and what is meant to stay.
func (i *Instance) Leftovers(t testing.TB, machines int) []string {
	t.Helper()
	left := append(append(i.mounts(t), i.loops(t)...), i.temporaryFiles(t)...)
	left = append(left, i.strays(t, machines)...)
	return append(left, i.network(t, machines)...)
}

func (i *Instance) mounts(t testing.TB) (left []string) {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		if strings.Contains(line, i.Dir) {
			left = append(left, "mount "+line)
		}
	}
	return left
}

func (i *Instance) loops(t testing.TB) (left []string) {
	t.Helper()
	for line := range strings.Lines(Tool(t, "losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE")) {
		if strings.Contains(line, i.Dir) {
			left = append(left, "loop device "+line)
		}
	}
	return left
}

func (i *Instance) strays(t testing.TB, machines int) (left []string) {
	t.Helper()
	running := 0
	for _, p := range i.Own(t) {
		switch {
		case p.Is("hallmark") && len(p.Arguments) > 1 && p.Arguments[1] == "serve":
		case p.Is("qemu-system-"):
			running++
		default:
			left = append(left, p.String())
		}
	}
	if running != machines {
		left = append(left, fmt.Sprintf("%d machines run, not %d", running, machines))
	}
	return left
}

func (i *Instance) network(t testing.TB, machines int) (left []string) {
	t.Helper()
	mark := i.Mark(t)
	if mark == "" {
		return []string{"the instance has no bridge"}
	}
	taps := 0
	for _, l := range links(t) {
		if strings.HasPrefix(l.Name, mark+"t") {
			taps++
		} else if strings.HasPrefix(l.Name, mark) && l.Name != mark+"br" {
			left = append(left, "network device "+l.Name)
		}
	}
	if taps != machines {
		left = append(left, fmt.Sprintf("%d taps, not %d", taps, machines))
	}
	for line := range strings.Lines(Tool(t, "ip", "netns", "list")) {
		if strings.HasPrefix(line, mark) {
			left = append(left, "network namespace "+line)
		}
	}
	if known := strings.Count(Tool(t, "nft", "list", "set", "bridge", mark, "ports"), `"`+mark+"t"); known != machines {
		left = append(left, fmt.Sprintf("%d machines in the rules, not %d", known, machines))
	}
	return left
}

// temporaryFiles are files of unfinished writes, wherever docs/on-disk.md says
// that such may be.
func (i *Instance) temporaryFiles(t testing.TB) (left []string) {
	t.Helper()
	for _, folder := range []string{i.Dir, i.Temporary()} {
		err := filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
			if err != nil || path == folder {
				return err
			}
			parent := filepath.Base(filepath.Dir(path))
			switch name := e.Name(); {
			case strings.HasSuffix(name, ".part"), strings.HasSuffix(name, ".new"), strings.HasSuffix(name, ".tmp"), strings.HasPrefix(name, ".work-"),
				parent == "tmp", parent == "scratch", parent == "mounts", parent == "work":
				left = append(left, "file "+path)
			}
			return nil
		})
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	return left
}

// Clear removes from the host whatever a test, even one that failed, has left.
func (i *Instance) Clear(t testing.TB) {
	t.Helper()
	if mark := i.Mark(t); mark != "" {
		defer removeNetwork(t, mark)
		defer i.releaseSteps(t)
	}
	for _, p := range i.Own(t) {
		_ = syscall.Kill(p.PID, syscall.SIGKILL)
	}
	Until(t, "the instance's Processes end", func() bool { return len(i.Own(t)) == 0 })
	for range i.mounts(t) {
		Tool(t, "umount", "--recursive", "--lazy", filepath.Join(i.Dir, "builds", "mounts"))
	}
}

// releaseSteps gives back the addresses that the instance keeps for its build
// steps, which outlive it as its bridge does.
func (i *Instance) releaseSteps(t testing.TB) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(i.Dir, "network.json"))
	if os.IsNotExist(err) {
		return
	}
	var config struct{ Steps string }
	if err == nil {
		err = json.Unmarshal(text, &config)
	}
	if err != nil {
		t.Fatal(err)
	}
	if routes := Tool(t, "ip", "route", "show", "type", "blackhole"); strings.Contains(routes, config.Steps) {
		Tool(t, "ip", "route", "delete", "blackhole", config.Steps)
	}
}

func removeNetwork(t testing.TB, mark string) {
	t.Helper()
	for _, l := range links(t) {
		if strings.HasPrefix(l.Name, mark) {
			Tool(t, "ip", "link", "delete", l.Name)
		}
	}
	Tool(t, "nft", "delete", "table", "inet", mark)
	Tool(t, "nft", "delete", "table", "bridge", mark)
}
