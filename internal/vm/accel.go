package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Accel is how QEMU runs a guest's instructions.
type Accel string

const (
	KVM Accel = "kvm" // on the processor
	TCG Accel = "tcg" // translated: works everywhere, about ten times slower
)

// AccelEnv names the environment variable with which a user chooses.
const AccelEnv = "HALLMARK_ACCEL"

// Choice is an accelerator and why it was taken, in words for the user.
type Choice struct {
	Accel  Accel  `json:"accel"`
	Reason string `json:"reason"`
}

// Choose takes wanted ("kvm", "tcg"), or, where that is empty, KVM if it works
// on this host. It finds out by running the real firmware, once in a boot of
// the host: cache is the file that remembers.
func Choose(ctx context.Context, wanted, cache string) (Choice, error) {
	switch Accel(wanted) {
	case KVM, TCG:
		return Choice{Accel(wanted), "set by the user"}, nil
	case "":
	default:
		return Choice{}, fmt.Errorf("accelerator %q: must be %q or %q, or left out", wanted, KVM, TCG)
	}
	boot, err := BootID()
	if err != nil {
		return Choice{}, err
	}
	if c, ok := remembered(cache, boot); ok {
		return c, nil
	}
	return probeOnce(ctx, cache, boot)
}

// probeOnce keeps two processes from probing at once, and begins by removing
// what a killed one has left.
func probeOnce(ctx context.Context, cache, boot string) (Choice, error) {
	root := cache + ".d"
	if err := os.MkdirAll(root, 0o700); err != nil {
		return Choice{}, err
	}
	lock, err := os.Open(root)
	if err != nil {
		return Choice{}, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return Choice{}, fmt.Errorf("locking %s: %w", root, err)
	}
	if c, ok := remembered(cache, boot); ok {
		return c, nil
	}
	if _, err := Sweep(ctx, root, func(Config) bool { return false }); err != nil {
		return Choice{}, err
	}
	c := choose(ctx, root)
	if ctx.Err() != nil {
		return Choice{}, context.Cause(ctx) // not an answer: do not remember it
	}
	text, err := json.Marshal(probeRecord{boot, c})
	if err != nil {
		return Choice{}, err
	}
	return c, writeFile(cache, text)
}

type probeRecord struct {
	Boot   string `json:"boot"`
	Choice Choice `json:"choice"`
}

func remembered(cache, boot string) (Choice, bool) {
	text, err := os.ReadFile(cache)
	var r probeRecord
	if err != nil || json.Unmarshal(text, &r) != nil || r.Boot != boot {
		return Choice{}, false
	}
	return r.Choice, true
}

func choose(ctx context.Context, root string) Choice {
	if err := probe(ctx, root, KVM); err != nil {
		return Choice{TCG, "KVM does not work here: " + err.Error()}
	}
	return Choice{KVM, "KVM ran the firmware"}
}

// probeTimeout is far beyond what the firmware takes under KVM, a second or two.
const probeTimeout = 15 * time.Second

// probe starts a throw-away machine without a disk. That /dev/kvm opens says
// little: nested and emulated KVMs fail at the guest's first unusual
// instruction. The firmware writes to the console only after it has gone
// through every processor mode, so one byte of it is proof.
func probe(ctx context.Context, root string, accel Accel) error {
	if accel == KVM {
		f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
		if err != nil {
			return err
		}
		f.Close()
	}
	dir, err := os.MkdirTemp(root, "*"+partSuffix)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	m := &Machine{dir, Config{ID: dir, Name: "probe", Accel: accel, MemoryMiB: 256}.Default()}
	m.cfg.Disks = nil
	if err := copyFile(m.cfg.Firmware.Vars, filepath.Join(dir, VarsFile)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, probeTimeout, fmt.Errorf("the firmware showed no sign of life within %s", probeTimeout))
	defer cancel()
	if err := m.Start(ctx); err != nil {
		return fmt.Errorf("QEMU did not start: %s", m.lastWords()) // without the command line: it goes to the user as a reason
	}
	return errors.Join(m.awaitFirmware(ctx), m.Kill(context.WithoutCancel(ctx)))
}

func (m *Machine) awaitFirmware(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if text, err := m.ReadConsole(1); err == nil && len(text) > 0 {
			return nil
		}
		if s, err := m.Status(ctx); err == nil && s.State != Running {
			return fmt.Errorf("the firmware stopped (%s): %s", s.Detail, m.lastWords())
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// lastWords is the first line of what QEMU said that is not a warning.
func (m *Machine) lastWords() string {
	text, _ := readEnd(filepath.Join(m.dir, LogFile), 4000)
	return firstComplaint(string(text))
}

func firstComplaint(text string) string {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.Contains(line, "warning:") {
			return line
		}
	}
	return "QEMU did not say why"
}
