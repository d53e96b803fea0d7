// Package instance is the data directory of one local control plane: the names
// of what is in it, the lock that keeps a second server out, and the record by
// which other processes find the server that runs on it. It holds no resources;
// those are in the store. Only cmd/ and cli import it.
package instance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Dir is a data directory.
type Dir string

// What is in a data directory. Directories are 0700, files 0600.
func (d Dir) Database() string      { return d.path("hallmark.db") }
func (d Dir) Config() string        { return d.path("config.yaml") }
func (d Dir) TLS() string           { return d.path("tls") }
func (d Dir) CACertificate() string { return d.path("tls", "ca.crt") }
func (d Dir) Keys() string          { return d.path("keys") }
func (d Dir) AdminSecret() string   { return d.path("keys", "admin.secret") }
func (d Dir) SealingKey() string    { return d.path("keys", "sealing.key") }
func (d Dir) SigningKeys() string   { return d.path("keys", "signing") }
func (d Dir) MetricsToken() string  { return d.path("keys", "metrics.token") }
func (d Dir) Log() string           { return d.path("log", "server.log") }
func (d Dir) RunLogs() string       { return d.path("log", "runs") }
func (d Dir) Bases() string         { return d.path("bases") }
func (d Dir) Builds() string        { return d.path("builds") }
func (d Dir) Artifacts() string     { return d.path("artifacts") }
func (d Dir) Backups() string       { return d.path("backups") }
func (d Dir) Machines() string      { return d.path("machines") }
func (d Dir) Disks() string         { return d.path("disks") }
func (d Dir) Aliases() string       { return d.path("aliases.json") }
func (d Dir) Network() string       { return d.path("network.json") }
func (d Dir) Mounts() string        { return d.path("mounts") }
func (d Dir) Regions() string       { return d.path("regions") }
func (d Dir) lock() string          { return d.path("run", "lock") }
func (d Dir) record() string        { return d.path("run", "server.json") }

func (d Dir) path(parts ...string) string {
	return filepath.Join(append([]string{string(d)}, parts...)...)
}

// Make creates the directories that a server needs.
func (d Dir) Make() error {
	for _, dir := range []string{d.path("run"), d.path("log"), d.Backups(), d.Keys(), d.TLS()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make the data directory: %w", err)
		}
	}
	return os.Chmod(string(d), 0o700)
}

// ErrLocked says that a server already runs on this data directory.
var ErrLocked = errors.New("another hallmark server uses this data directory")

// Lock keeps a second server from the same data. The lock goes with the
// process, however it ends.
func (d Dir) Lock() (release func() error, err error) {
	f, err := os.OpenFile(d.lock(), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", d, ErrLocked)
	}
	return f.Close, nil
}

// Server is how other processes find the running server.
type Server struct {
	PID int `json:"pid"`
	// StartTime is the process's start in clock ticks since boot (proc(5)),
	// which tells this process from a later one with the same id.
	StartTime uint64 `json:"startTime"`
	URL       string `json:"url"`
	// Subscription, TenantID and ClientID are what a first client needs.
	Subscription string `json:"subscription"`
	TenantID     string `json:"tenantId"`
	ClientID     string `json:"clientId"`
	Location     string `json:"location"`
	Version      string `json:"version"`
}

// Announce records that this process serves, replacing what a dead one left.
func (d Dir) Announce(s Server) error {
	s.PID = os.Getpid()
	start, err := startTime(s.PID)
	if err != nil {
		return err
	}
	s.StartTime = start
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	temporary := d.record() + ".new"
	if err := os.WriteFile(temporary, raw, 0o600); err != nil {
		return fmt.Errorf("announce the server: %w", err)
	}
	return os.Rename(temporary, d.record())
}

// Withdraw removes the record; the server is about to end.
func (d Dir) Withdraw() error { return os.Remove(d.record()) }

// Running finds the server that runs on this data directory, if one does.
func (d Dir) Running() (Server, bool, error) {
	raw, err := os.ReadFile(d.record())
	if errors.Is(err, fs.ErrNotExist) {
		return Server{}, false, nil
	}
	if err != nil {
		return Server{}, false, fmt.Errorf("look for the server: %w", err)
	}
	var s Server
	if err := json.Unmarshal(raw, &s); err != nil {
		return Server{}, false, fmt.Errorf("%s: %w", d.record(), err)
	}
	start, err := startTime(s.PID)
	return s, err == nil && start == s.StartTime, nil
}

var errEnded = errors.New("has ended and is only waited for")

// startTime reads field 22 of /proc/PID/stat. The second field may hold spaces
// and parentheses, so fields are counted from its last parenthesis. A process
// that was killed but whose parent has not noticed yet runs no more.
func startTime(pid int) (uint64, error) {
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, fmt.Errorf("read the start time of process %d: %w", pid, err)
	}
	_, rest, ok := strings.Cut(string(raw[strings.LastIndexByte(string(raw), ')'):]), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return 0, fmt.Errorf("process %d: unexpected stat line", pid)
	}
	if state := fields[0]; state == "Z" || state == "X" {
		return 0, fmt.Errorf("process %d: %w", pid, errEnded)
	}
	return strconv.ParseUint(fields[19], 10, 64)
}
