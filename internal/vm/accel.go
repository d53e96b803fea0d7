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
	c := choose(ctx)
	if ctx.Err() != nil {
		return Choice{}, context.Cause(ctx) // not an answer: do not remember it
	}
	text, err := json.Marshal(probeRecord{boot, c})
	if err == nil {
		err = os.MkdirAll(filepath.Dir(cache), 0o700)
	}
	if err == nil {
		err = writeFile(cache, text)
	}
	return c, err
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

func choose(ctx context.Context) Choice {
	if err := probe(ctx, KVM); err != nil {
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
func probe(ctx context.Context, accel Accel) error {
	if accel == KVM {
		f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
		if err != nil {
			return err
		}
		f.Close()
	}
	dir, err := os.MkdirTemp("", "hallmark-probe-")
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
