package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"hallmark.dev/hallmark/internal/disk"
)

// State is what a machine is doing.
type State string

const (
	Stopped State = "stopped" // no process
	Running State = "running"
	Paused  State = "paused"
	Failed  State = "failed" // QEMU gave up on the guest, or does not answer
)

// Status is a machine's state at one moment.
type Status struct {
	State  State
	Detail string // QEMU's own word for it, or why there is none
	PID    int    // 0 when stopped
	Accel  Accel
}

// startTimeout bounds how long QEMU takes until it answers. It opens files and
// allocates; the guest's boot is not part of it.
const startTimeout = 30 * time.Second

// poll is how often a process is looked at that is not our child.
const poll = 10 * time.Millisecond

// Start runs the machine and returns when QEMU answers; the guest has only
// begun to boot. A machine that runs already is fine. QEMU is detached: it
// outlives the caller.
func (m *Machine) Start(ctx context.Context) error {
	if _, err := find(m.dir); err == nil {
		return nil
	}
	if err := errors.Join(m.clear(), m.Rotate()); err != nil {
		return fmt.Errorf("starting machine %q: %w", m.cfg.Name, err)
	}
	argv := m.cfg.Plan()
	exited, err := m.launch(argv)
	if err == nil {
		err = m.awaitAnswer(ctx, exited)
	}
	if err == nil {
		return nil
	}
	text, _ := readEnd(filepath.Join(m.dir, LogFile), 2000)
	err = &disk.ToolError{Args: argv, Output: strings.TrimSpace(string(text)), Err: err}
	return errors.Join(fmt.Errorf("starting machine %q: %w", m.cfg.Name, err), m.Kill(context.WithoutCancel(ctx)))
}

// clear removes what the last run left; QEMU, having dropped its rights, cannot.
func (m *Machine) clear() error {
	var errs []error
	for _, name := range []string{ProcessFile, PIDFile, QMPSocket, ConsoleSocket, AgentSocket} {
		if err := os.Remove(filepath.Join(m.dir, name)); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// launch starts QEMU in a session of its own and records which process it is.
// The channel says how it ended.
func (m *Machine) launch(argv []string) (exited <-chan error, err error) {
	log, err := os.OpenFile(filepath.Join(m.dir, LogFile), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = m.dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	return done, m.record(cmd.Process.Pid)
}

func (m *Machine) record(pid int) error {
	p, err := observe(pid)
	if errors.Is(err, errNoProcess) {
		return nil // over already: awaitAnswer says so
	}
	if err != nil {
		return err
	}
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(m.dir, ProcessFile), text)
}

var errExited = errors.New("QEMU ended while starting")

func (m *Machine) awaitAnswer(ctx context.Context, exited <-chan error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("QEMU did not answer within %s", startTimeout))
	defer cancel()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		if err := qmp(ctx, m.dir, "query-status", nil, nil); err == nil {
			return nil
		}
		select {
		case err := <-exited:
			return fmt.Errorf("%w (%v)", errExited, err)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// Status looks at the machine. It finds a machine that another process started.
func (m *Machine) Status(ctx context.Context) (Status, error) {
	p, err := find(m.dir)
	if errors.Is(err, errNoProcess) {
		return Status{State: Stopped, Detail: "not running", Accel: m.cfg.Accel}, nil
	}
	if err != nil {
		return Status{}, err
	}
	var answer struct {
		Status string `json:"status"`
	}
	if err := qmp(ctx, m.dir, "query-status", nil, &answer); err != nil {
		if !p.alive() {
			return Status{State: Stopped, Detail: "not running", Accel: m.cfg.Accel}, nil
		}
		return Status{State: Failed, Detail: "QEMU does not answer: " + err.Error(), PID: p.PID, Accel: m.cfg.Accel}, nil
	}
	return Status{State: stateOf(answer.Status), Detail: answer.Status, PID: p.PID, Accel: m.cfg.Accel}, nil
}

// stateOf maps QEMU's RunState (qapi/run-state.json).
func stateOf(status string) State {
	switch status {
	case "running":
		return Running
	case "paused", "suspended", "prelaunch", "save-vm", "restore-vm", "inmigrate", "finish-migrate", "postmigrate", "debug":
		return Paused
	case "shutdown":
		return Stopped
	}
	return Failed // internal-error, io-error, guest-panicked, watchdog, …
}

// Pause stops the guest's processors; Resume lets them go on.
func (m *Machine) Pause(ctx context.Context) error { return m.command(ctx, "stop") }

// Resume undoes Pause.
func (m *Machine) Resume(ctx context.Context) error { return m.command(ctx, "cont") }

// Reset is the reset button: the guest is not asked.
func (m *Machine) Reset(ctx context.Context) error { return m.command(ctx, "system_reset") }

// Powerdown presses the power button and returns; the guest may ignore it.
// Wait for the end, then Kill.
func (m *Machine) Powerdown(ctx context.Context) error { return m.command(ctx, "system_powerdown") }

func (m *Machine) command(ctx context.Context, name string) error {
	if err := qmp(ctx, m.dir, name, nil, nil); err != nil {
		return fmt.Errorf("machine %q: %w", m.cfg.Name, err)
	}
	return nil
}

// Wait returns when the machine's process has ended, or with ctx's cause.
func (m *Machine) Wait(ctx context.Context) error {
	p, err := find(m.dir)
	if errors.Is(err, errNoProcess) {
		return nil
	}
	if err != nil {
		return err
	}
	return p.wait(ctx)
}

func (p process) wait(ctx context.Context) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for p.alive() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}

// killTimeout bounds how long a killed process may take to go: it does so once
// the kernel has freed its memory.
const killTimeout = 30 * time.Second

// Kill pulls the plug and returns when the process is gone. A machine that does
// not run is fine. What the guest had not flushed is lost.
func (m *Machine) Kill(ctx context.Context) error {
	p, err := find(m.dir)
	if errors.Is(err, errNoProcess) {
		return nil
	}
	if err == nil {
		err = p.kill(ctx)
	}
	if err != nil {
		return fmt.Errorf("killing machine %q: %w", m.cfg.Name, err)
	}
	return nil
}

func (p process) kill(ctx context.Context) error {
	if err := p.signal(syscall.SIGKILL); err != nil && !errors.Is(err, errNoProcess) {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, killTimeout, fmt.Errorf("process %d is still there %s after SIGKILL", p.PID, killTimeout))
	defer cancel()
	return p.wait(ctx)
}
