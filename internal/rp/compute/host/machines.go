package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/disk"
	"hallmark.dev/hallmark/internal/rp/compute"
	"hallmark.dev/hallmark/internal/vm"
)

// Machines are QEMU machines, each in a folder of Root that is named like the machine.
type Machines struct {
	Root  string
	Accel vm.Accel
}

func (m Machines) dir(name string) string { return filepath.Join(m.Root, name) }

// find opens a machine; nil if there is none.
func (m Machines) find(name string) (*vm.Machine, error) {
	if !volumeName.MatchString(name) {
		return nil, fmt.Errorf("%q is not a machine's id", name)
	}
	found, err := vm.Open(m.dir(name))
	if errors.Is(err, vm.ErrNotFound) {
		return nil, nil
	}
	return found, err
}

// Start makes the folder at the first start, and again when the guest is to take
// itself for new.
func (m Machines) Start(ctx context.Context, c compute.Machine) error {
	config, seed := m.config(c), seedOf(c)
	found, err := m.find(c.Name)
	if err != nil {
		return err
	}
	if found != nil && found.Config().ID != config.ID {
		if err := found.Destroy(ctx); err != nil {
			return err
		}
		found = nil
	}
	if found == nil {
		return m.create(ctx, c, config, seed)
	}
	if m.Running(c.Name) {
		return nil
	}
	if err := found.Reconfigure(config); err != nil {
		return err
	}
	return found.Start(ctx)
}

func (m Machines) create(ctx context.Context, c compute.Machine, config vm.Config, seed vm.Seed) error {
	if err := os.MkdirAll(m.Root, 0o700); err != nil {
		return err
	}
	// The folder gets a system disk of its own, which nothing uses: the machine's disks
	// are volumes, because they may outlive it.
	made, err := vm.Create(ctx, m.dir(c.Name), config, vm.Image{Path: c.Disks[0].Path, Format: disk.QCOW2}, &seed)
	if err != nil {
		return err
	}
	return made.Start(ctx)
}

func (m Machines) config(c compute.Machine) vm.Config {
	config := vm.Config{ID: c.Guest.InstanceID, UUID: c.Name, Name: c.Label, CPUs: c.VCPUs, MemoryMiB: c.MemoryMiB, Seed: vm.SeedFile, Accel: m.Accel}
	if c.Interface.Tap != "" {
		config.NIC = &vm.NIC{Tap: c.Interface.Tap, MAC: c.Interface.MAC}
	}
	for _, d := range c.Disks {
		config.Disks = append(config.Disks, vm.Disk{Path: d.Path, Format: disk.QCOW2, LUN: d.LUN})
	}
	return config
}

func seedOf(c compute.Machine) vm.Seed {
	g := c.Guest
	seed := vm.Seed{InstanceID: g.InstanceID, Hostname: g.Hostname}
	if !g.Specialized {
		seed.AdminUser, seed.SSHKeys, seed.CustomData = g.AdminUser, g.SSHKeys, g.CustomData
		if g.PasswordLogin {
			seed.PasswordHash = g.PasswordHash
		}
	}
	if i := c.Interface; i.Tap != "" {
		seed.Network = &vm.SeedNetwork{MAC: i.MAC, Address: i.Address, Gateway: i.Gateway, DNS: i.Nameservers}
	}
	return seed
}

// Stop presses the power button and, when grace is over, pulls the plug.
func (m Machines) Stop(ctx context.Context, name string, grace time.Duration) error {
	found, err := m.find(name)
	if err != nil || found == nil {
		return err
	}
	if grace > 0 && found.Powerdown(ctx) == nil {
		limited, cancel := context.WithTimeout(ctx, grace)
		err := found.Wait(limited)
		cancel()
		if err == nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
	}
	return found.Kill(ctx)
}

// statusPatience is for a QEMU that is busy; it answers within a millisecond otherwise.
const statusPatience = 300 * time.Millisecond

// Running looks at the machine's process.
func (m Machines) Running(name string) bool {
	found, err := m.find(name)
	if err != nil || found == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), statusPatience)
	defer cancel()
	status, err := found.Status(ctx)
	return err == nil && status.PID != 0
}

// Accelerator is what all machines of this host run with.
func (m Machines) Accelerator() string { return string(m.Accel) }

// Agent only finds out whether the agent answers.
func (m Machines) Agent(ctx context.Context, name string) (compute.AgentInfo, error) {
	found, err := m.find(name)
	if err == nil && found == nil {
		err = fs.ErrNotExist
	}
	if err == nil {
		err = found.Agent().Ping(ctx)
	}
	if err != nil {
		return compute.AgentInfo{}, fmt.Errorf("%w: %w", compute.ErrAgent, err)
	}
	return compute.AgentInfo{}, nil
}

// agentPatience is for a guest that is emulated and busy.
const agentPatience = 20 * time.Second

// wrapper runs the script that comes on its standard input with the interpreter that follows. The
// script lies in a file that only root reads, not in an argument that everybody sees.
const wrapper = `umask 077
d=$(mktemp -d /run/hallmark-command.XXXXXX) || exit 125
cat >"$d/script" && "$@" "$d/script" </dev/null
code=$?
rm -rf "$d"
exit "$code"`

// Exec runs a script in the guest as root, with the interpreter of its first line, sh without one.
func (m Machines) Exec(ctx context.Context, name, script string) (compute.Output, error) {
	limited, cancel := context.WithTimeout(ctx, agentPatience)
	_, err := m.Agent(limited, name)
	cancel()
	if err != nil {
		return compute.Output{}, err
	}
	found, err := m.find(name)
	if err != nil || found == nil {
		return compute.Output{}, errors.Join(err, compute.ErrAgent)
	}
	result, err := found.Agent().Run(ctx, vm.Command{Path: "/bin/sh", Args: append([]string{"-c", wrapper, "sh"}, interpreter(script)...), Input: []byte(script)})
	if err != nil {
		return compute.Output{}, err
	}
	out := compute.Output{ExitCode: result.ExitCode, Truncated: result.Truncated}
	if result.Signal != 0 {
		out.ExitCode = 128 + result.Signal // as a shell says it
	}
	out.Stdout, out.Stderr = keepEnd(result.Stdout, &out.Truncated), keepEnd(result.Stderr, &out.Truncated)
	return out, nil
}

func interpreter(script string) []string {
	line, _, _ := strings.Cut(script, "\n")
	if rest, ok := strings.CutPrefix(line, "#!"); ok {
		if words := strings.Fields(rest); len(words) > 0 {
			return words
		}
	}
	return []string{"/bin/sh"}
}

// maxOutput bounds what is kept of each stream: it goes into a document.
const maxOutput = 1 << 20

func keepEnd(text []byte, cut *bool) string {
	if len(text) > maxOutput {
		text, *cut = text[len(text)-maxOutput:], true
	}
	return strings.ToValidUTF8(string(text), "\uFFFD")
}

// SetDisks changes the configuration first: the next start has these disks whatever happens.
func (m Machines) SetDisks(ctx context.Context, c compute.Machine) error {
	found, err := m.find(c.Name)
	if err != nil || found == nil {
		return err
	}
	config := found.Config()
	config.Disks = m.config(c).Disks
	if err := found.Reconfigure(config); err != nil {
		return err
	}
	return found.SyncDisks(ctx)
}

// GrowDisk asks QEMU, which has the file open.
func (m Machines) GrowDisk(ctx context.Context, name, path string, size int64) error {
	found, err := m.there(name)
	if err != nil {
		return err
	}
	return found.GrowDisk(ctx, path, size)
}

// there is find for a machine that there has to be.
func (m Machines) there(name string) (*vm.Machine, error) {
	found, err := m.find(name)
	if err == nil && found == nil {
		err = fmt.Errorf("machine %s: %w", name, fs.ErrNotExist)
	}
	return found, err
}

// CopyDisk asks QEMU, which knows what the guest writes meanwhile.
func (m Machines) CopyDisk(ctx context.Context, name, path, target string) error {
	found, err := m.there(name)
	if err != nil {
		return err
	}
	return found.CopyDisk(ctx, path, target)
}

// Console reads the log's end.
func (m Machines) Console(name string, limit int64) ([]byte, error) {
	found, err := m.find(name)
	if err != nil || found == nil {
		return nil, err
	}
	return found.ReadConsole(limit)
}

// Remove destroys the machine; its volumes stay.
func (m Machines) Remove(ctx context.Context, name string) error {
	found, err := m.find(name)
	if err != nil || found == nil {
		return err
	}
	return found.Destroy(ctx)
}

// Sweep also ends processes without a folder, and copies of disks that nobody waits for.
func (m Machines) Sweep(ctx context.Context, keep func(name string) bool) error {
	_, err := vm.Sweep(ctx, m.Root, func(c vm.Config) bool { return keep(c.UUID) })
	if err != nil {
		return err
	}
	kept, err := vm.List(m.Root)
	for _, one := range kept {
		if one.EndCopies(ctx, nil) != nil {
			continue // one that does not answer keeps a file without a name until it stops
		}
	}
	return err
}
