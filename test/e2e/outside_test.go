package e2e_test

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

// process is one process of the host.
type process struct {
	pid, parent int
	zombie      bool
	cwd         string
	arguments   []string
}

func (p process) String() string { return fmt.Sprintf("process %d: %.200q", p.pid, p.arguments) }

func (p process) is(program string) bool {
	return len(p.arguments) > 0 && strings.HasPrefix(filepath.Base(p.arguments[0]), program)
}

// processes reads proc(5).
func processes(t *testing.T) []process {
	t.Helper()
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var all []process
	for _, folder := range folders {
		stat, err := os.ReadFile(folder + "/stat")
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		line, _ := os.ReadFile(folder + "/cmdline")
		cwd, _ := os.Readlink(folder + "/cwd")
		p := process{cwd: cwd, zombie: fields[0] == "Z", arguments: strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")}
		p.pid, _ = strconv.Atoi(filepath.Base(folder))
		p.parent, _ = strconv.Atoi(fields[1])
		all = append(all, p)
	}
	return all
}

// descendants are a process's children, theirs, and so on.
func descendants(all []process, of int) (found []int) {
	for _, p := range all {
		if p.parent == of {
			found = append(append(found, p.pid), descendants(all, p.pid)...)
		}
	}
	return found
}

// own are the instance's processes: those that name its folder or work in it.
func (i *instance) own(t *testing.T) (own []process) {
	t.Helper()
	for _, p := range processes(t) {
		if !p.zombie && p.pid != os.Getpid() && (strings.HasPrefix(p.cwd, i.dir) || strings.Contains(strings.Join(p.arguments, " "), i.dir)) {
			own = append(own, p)
		}
	}
	return own
}

// emulators are the process ids of the instance's machines.
func (i *instance) emulators(t *testing.T) (pids []int) {
	t.Helper()
	for _, p := range i.own(t) {
		if p.is("qemu-system-") {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

// mark begins the names of the instance's network devices, tables and
// namespaces; the alias of its bridge says whose it is.
func (i *instance) mark(t *testing.T) string {
	t.Helper()
	for _, l := range links(t) {
		if mark, ok := strings.CutSuffix(l.Name, "br"); ok && l.Alias == "hallmark "+i.dir {
			return mark
		}
	}
	return ""
}

type link struct {
	Name  string `json:"ifname"`
	Alias string `json:"ifalias"`
}

func links(t *testing.T) (all []link) {
	t.Helper()
	if err := json.Unmarshal([]byte(tool(t, "ip", "-json", "link")), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// leftovers is what the instance has on the host beside its server, the given
// number of machines, and what is meant to stay.
func (i *instance) leftovers(t *testing.T, machines int) []string {
	t.Helper()
	left := append(append(i.mounts(t), i.loops(t)...), i.temporaryFiles(t)...)
	left = append(left, i.strays(t, machines)...)
	return append(left, i.network(t, machines)...)
}

func (i *instance) mounts(t *testing.T) (left []string) {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		if strings.Contains(line, i.dir) {
			left = append(left, "mount "+line)
		}
	}
	return left
}

func (i *instance) loops(t *testing.T) (left []string) {
	t.Helper()
	for line := range strings.Lines(tool(t, "losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE")) {
		if strings.Contains(line, i.dir) {
			left = append(left, "loop device "+line)
		}
	}
	return left
}

func (i *instance) strays(t *testing.T, machines int) (left []string) {
	t.Helper()
	running := 0
	for _, p := range i.own(t) {
		switch {
		case p.is("hallmark") && len(p.arguments) > 1 && p.arguments[1] == "serve":
		case p.is("qemu-system-"):
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

func (i *instance) network(t *testing.T, machines int) (left []string) {
	t.Helper()
	mark := i.mark(t)
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
	for line := range strings.Lines(tool(t, "ip", "netns", "list")) {
		if strings.HasPrefix(line, mark) {
			left = append(left, "network namespace "+line)
		}
	}
	if known := strings.Count(tool(t, "nft", "list", "set", "bridge", mark, "ports"), `"`+mark+"t"); known != machines {
		left = append(left, fmt.Sprintf("%d machines in the rules, not %d", known, machines))
	}
	return left
}

// temporaryFiles are files of unfinished writes, wherever docs/on-disk.md says
// that such may be.
func (i *instance) temporaryFiles(t *testing.T) (left []string) {
	t.Helper()
	for _, folder := range []string{i.dir, i.temporary()} {
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

// clear removes from the host whatever a test, even one that failed, has left.
func (i *instance) clear(t *testing.T) {
	t.Helper()
	if mark := i.mark(t); mark != "" {
		defer removeNetwork(t, mark)
		defer i.releaseSteps(t)
	}
	for _, p := range i.own(t) {
		_ = syscall.Kill(p.pid, syscall.SIGKILL)
	}
	until(t, "the instance's processes end", func() bool { return len(i.own(t)) == 0 })
	for range i.mounts(t) {
		tool(t, "umount", "--recursive", "--lazy", filepath.Join(i.dir, "builds", "mounts"))
	}
}

// releaseSteps gives back the addresses that the instance keeps for its build
// steps, which outlive it as its bridge does.
func (i *instance) releaseSteps(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(i.dir, "network.json"))
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
	if routes := tool(t, "ip", "route", "show", "type", "blackhole"); strings.Contains(routes, config.Steps) {
		tool(t, "ip", "route", "delete", "blackhole", config.Steps)
	}
}

func removeNetwork(t *testing.T, mark string) {
	t.Helper()
	for _, l := range links(t) {
		if strings.HasPrefix(l.Name, mark) {
			tool(t, "ip", "link", "delete", l.Name)
		}
	}
	tool(t, "nft", "delete", "table", "inet", mark)
	tool(t, "nft", "delete", "table", "bridge", mark)
}
