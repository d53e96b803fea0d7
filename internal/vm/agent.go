package vm

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Agent speaks with the QEMU guest agent inside a machine. What it answers
// comes from the guest and is as trustworthy as the guest. Every call needs a
// context that ends: a guest without an agent never answers.
type Agent struct{ dir string }

// Agent of the machine; it makes no connection yet.
func (m *Machine) Agent() Agent { return Agent{m.dir} }

// Command is a program to run inside; no shell is involved.
type Command struct {
	Path  string
	Args  []string
	Env   []string // NAME=value; empty: the agent's own
	Input []byte
}

// CommandResult is how a program ended. Truncated: the agent keeps 16 MiB of
// each output.
type CommandResult struct {
	ExitCode  int
	Signal    int // 0 unless a signal ended it
	Stdout    []byte
	Stderr    []byte
	Truncated bool
}

// Interface is a network interface as the guest sees it.
type Interface struct {
	Name      string   `json:"name"`
	MAC       string   `json:"hardware-address"`
	Addresses []string `json:"-"`
}

// Ping succeeds once the agent answers.
func (a Agent) Ping(ctx context.Context) error { return a.call(ctx, "guest-ping", nil, nil) }

// Run runs a program inside and waits for its end. When ctx ends first, the
// program goes on inside: the agent cannot stop it.
func (a Agent) Run(ctx context.Context, c Command) (CommandResult, error) {
	arguments := map[string]any{"path": c.Path, "arg": c.Args, "capture-output": true}
	if len(c.Env) > 0 {
		arguments["env"] = c.Env
	}
	if len(c.Input) > 0 {
		arguments["input-data"] = base64.StdEncoding.EncodeToString(c.Input)
	}
	if c.Args == nil {
		arguments["arg"] = []string{}
	}
	var started struct {
		PID int `json:"pid"`
	}
	if err := a.call(ctx, "guest-exec", arguments, &started); err != nil {
		return CommandResult{}, fmt.Errorf("running %s in the machine: %w", c.Path, err)
	}
	result, err := a.await(ctx, started.PID)
	if err != nil {
		return result, fmt.Errorf("waiting for %s in the machine: %w", c.Path, err)
	}
	return result, nil
}

// await asks at growing intervals; the agent sends no events.
func (a Agent) await(ctx context.Context, pid int) (CommandResult, error) {
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		var s execStatus
		if err := a.call(ctx, "guest-exec-status", map[string]int{"pid": pid}, &s); err != nil {
			return CommandResult{}, err
		}
		if s.Exited {
			return s.result(), nil
		}
		select {
		case <-ctx.Done():
			return CommandResult{}, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

type execStatus struct {
	Exited       bool   `json:"exited"`
	ExitCode     int    `json:"exitcode"`
	Signal       int    `json:"signal"`
	Out          []byte `json:"out-data"` // encoding/json decodes base64
	Err          []byte `json:"err-data"`
	OutTruncated bool   `json:"out-truncated"`
	ErrTruncated bool   `json:"err-truncated"`
}

func (s execStatus) result() CommandResult {
	return CommandResult{ExitCode: s.ExitCode, Signal: s.Signal, Stdout: s.Out, Stderr: s.Err, Truncated: s.OutTruncated || s.ErrTruncated}
}

// writeChunk keeps a message well under what the agent's channel buffers.
const writeChunk = 48 << 10

// WriteFile writes a file inside, replacing one that is there. Its mode and
// owner are the agent's (root, 0666 less its umask).
func (a Agent) WriteFile(ctx context.Context, path string, content []byte) error {
	var handle int64
	if err := a.call(ctx, "guest-file-open", map[string]any{"path": path, "mode": "w"}, &handle); err != nil {
		return fmt.Errorf("writing %s in the machine: %w", path, err)
	}
	err := a.writeChunks(ctx, handle, content)
	if err := errors.Join(err, a.call(ctx, "guest-file-close", map[string]any{"handle": handle}, nil)); err != nil {
		return fmt.Errorf("writing %s in the machine: %w", path, err)
	}
	return nil
}

func (a Agent) writeChunks(ctx context.Context, handle int64, content []byte) error {
	for len(content) > 0 {
		n := min(len(content), writeChunk)
		var wrote struct {
			Count int `json:"count"`
		}
		arguments := map[string]any{"handle": handle, "buf-b64": base64.StdEncoding.EncodeToString(content[:n])}
		if err := a.call(ctx, "guest-file-write", arguments, &wrote); err != nil {
			return err
		}
		if wrote.Count < 1 || wrote.Count > n {
			return fmt.Errorf("the agent wrote %d of %d bytes", wrote.Count, n)
		}
		content = content[wrote.Count:]
	}
	return nil
}

// Interfaces lists the guest's network interfaces.
func (a Agent) Interfaces(ctx context.Context) ([]Interface, error) {
	var found []struct {
		Interface
		IPs []struct {
			Address string `json:"ip-address"`
			Prefix  int    `json:"prefix"`
		} `json:"ip-addresses"`
	}
	if err := a.call(ctx, "guest-network-get-interfaces", nil, &found); err != nil {
		return nil, err
	}
	var out []Interface
	for _, f := range found {
		for _, ip := range f.IPs {
			f.Addresses = append(f.Addresses, fmt.Sprintf("%s/%d", ip.Address, ip.Prefix))
		}
		out = append(out, f.Interface)
	}
	return out, nil
}

// call makes a connection, finds the stream's beginning, and runs one command.
func (a Agent) call(ctx context.Context, command string, arguments, result any) error {
	conn, err := dial(ctx, a.dir, AgentSocket)
	if err != nil {
		return err
	}
	s := newSession(ctx, conn)
	defer s.close()
	if err := s.synchronise(); err != nil {
		return causeOf(ctx, fmt.Errorf("the guest agent does not answer: %w", err))
	}
	return causeOf(ctx, s.execute(command, arguments, result))
}

// synchronise skips what an earlier, broken conversation left in the channel:
// the agent answers guest-sync-delimited with a byte 0xff and our number.
func (s *session) synchronise() error {
	var random [4]byte
	rand.Read(random[:])
	want := int64(binary.BigEndian.Uint32(random[:]))
	if _, err := s.conn.Write([]byte{0xff}); err != nil {
		return err
	}
	if err := s.send("guest-sync-delimited", map[string]int64{"id": want}); err != nil {
		return err
	}
	for {
		line, err := readLine(s.in, maxReply)
		if err != nil {
			return err
		}
		if matchesSync(line, want) {
			return nil
		}
	}
}

func matchesSync(line []byte, want int64) bool {
	i := bytes.LastIndexByte(line, 0xff)
	if i < 0 {
		return false
	}
	r, err := parseReply(line[i+1:])
	return err == nil && string(r.Return) == fmt.Sprint(want)
}
