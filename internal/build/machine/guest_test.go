package machine

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/build"
)

func TestAddressesAreTheHighest(t *testing.T) {
	got := Addresses(netip.MustParsePrefix("10.64.0.0/20"), 3)
	want := []netip.Addr{netip.MustParseAddr("10.64.15.254"), netip.MustParseAddr("10.64.15.253"), netip.MustParseAddr("10.64.15.252")}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestEachStepHasAnAddressOfItsOwn(t *testing.T) {
	r := &Runner{Addresses: Addresses(netip.MustParsePrefix("10.64.0.0/20"), 2)}
	one, release, err := r.claim()
	if err != nil {
		t.Fatal(err)
	}
	two, _, err := r.claim()
	if err != nil || one == two {
		t.Fatalf("%v twice, %v", one, err)
	}
	if _, _, err := r.claim(); err == nil {
		t.Error("a third machine got an address")
	}
	release()
	if again, _, err := r.claim(); err != nil || again != one {
		t.Errorf("%v, %v; want %v again", again, err, one)
	}
}

// TestEnterScript has sh(1) read what we quote.
func TestEnterScript(t *testing.T) {
	odd := "it's \"$HOME\" `id` \\ *\n second line"
	text := enterScript([]string{"/usr/bin/printenv", "ODD"}, map[string]string{"ODD": odd, "PATH": os.Getenv("PATH")})
	file := filepath.Join(t.TempDir(), "enter")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := exec.Command("sh", file).Output(); err != nil || string(got) != odd+"\n" {
		t.Errorf("%q, %v; want %q", got, err, odd)
	}
}

// TestScriptsAreValid has sh and sshd read what a machine is told.
func TestScriptsAreValid(t *testing.T) {
	for name, text := range map[string]string{"start": start, "prepare": prepare, "forget": forget} {
		cmd := exec.Command("sh", "-n")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// sshd runs the real server with our configuration on one connection, in a mount
// namespace whose /run is its own.
func sshd(t *testing.T, a access) *guest {
	t.Helper()
	if os.Getenv("HALLMARK_SYSTEM_TESTS") != "1" || os.Geteuid() != 0 {
		t.Skip("runs an SSH server as root: set HALLMARK_SYSTEM_TESTS=1")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"host_key": string(a.hostKey), "authorized_keys": a.authorized + "\n",
		// No PAM: this host's own is not to be tested, nor asked.
		"sshd_config": strings.Replace(sshdConfig, "UsePAM yes", "UsePAM no", 1)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ours, theirs := socketPair(t)
	cmd := exec.Command("unshare", "--mount", "sh", "-c",
		`mount -t tmpfs -o mode=0755 tmpfs /run && mkdir -p /run/sshd && cp -a "$1" /run/hallmark-ssh && exec /usr/sbin/sshd -i -e -f /run/hallmark-ssh/sshd_config`, "sshd", dir)
	cmd.Stdin, cmd.Stdout = theirs, theirs
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	t.Cleanup(func() {
		ours.Close()
		_ = cmd.Wait() // whatever it says about the connection that ended
		if t.Failed() {
			t.Logf("sshd:\n%s", said.String())
		}
	})
	client, err := handshake(ours, a, "machine:"+port)
	if err != nil {
		t.Fatal(err)
	}
	g, err := enter(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.close)
	return g
}

func socketPair(t *testing.T) (net.Conn, *os.File) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	mine := os.NewFile(uintptr(fds[0]), "client")
	defer mine.Close()
	ours, err := net.FileConn(mine)
	if err != nil {
		t.Fatal(err)
	}
	return ours, os.NewFile(uintptr(fds[1]), "server")
}

func TestStepThroughSSHD(t *testing.T) {
	a, err := newAccess()
	if err != nil {
		t.Fatal(err)
	}
	g := sshd(t, a)
	var out bytes.Buffer
	step := build.VMStep{Command: []string{"/run/hallmark/step"}, Env: map[string]string{"PATH": "/usr/bin:/bin", "ODD": "it's"},
		Files:   map[string][]byte{"step": []byte("#!/bin/sh\necho \"$ODD $HOME $(pwd) $(wc -c) $(cat /run/secrets/token) $(stat -c %a /run/secrets/token) $(stat -f -c %T /run/secrets)\"\necho err >&2\nenv | grep -c SSH_\nexit 9\n")},
		Secrets: []build.Secret{{Name: "token", Value: []byte("hush")}}, Output: &out}
	code, err := g.step(t.Context(), step)
	if want := "it's /root / 0 hush 400 ramfs\nerr\n0\n"; code != 9 || err != nil || out.String() != want {
		t.Errorf("exit %d, %v, output %q; want 9 and %q", code, err, out.String(), want)
	}
	out.Reset()
	step.Step.Offline = true
	step.Files["step"] = []byte("#!/bin/sh\nip -br link | awk '{print $1}'\n")
	step.Env["PATH"] += ":/usr/sbin:/sbin"
	if code, err := g.step(t.Context(), step); code != 0 || err != nil || out.String() != "lo\n" {
		t.Errorf("without a network: exit %d, %v, devices %q", code, err, out.String())
	}
	step.Step.Offline = false
	step.Files["step"] = []byte("#!/bin/sh\nkill -9 $$\n")
	if code, err := g.step(t.Context(), step); err == nil {
		t.Errorf("a killed step: exit %d, no error", code)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	step.Files["step"] = []byte("#!/bin/sh\necho begun\nsleep 1000\n")
	step.Output = writerFunc(func(p []byte) (int, error) { cancel(stop); return len(p), nil })
	if _, err := g.step(ctx, step); !errors.Is(err, stop) {
		t.Errorf("a step that was stopped: %v", err)
	}
	step.Files["step"], step.Step.Timeout, step.Output = []byte("#!/bin/sh\nsleep 1000\n"), time.Nanosecond, &out
	if _, err := g.step(t.Context(), step); !errors.Is(err, build.ErrTimeout) {
		t.Errorf("a step that takes too long: %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestAnotherMachineIsNotEntered: the address may be somebody else's by now.
func TestAnotherMachineIsNotEntered(t *testing.T) {
	a, err := newAccess()
	if err != nil {
		t.Fatal(err)
	}
	other, err := newAccess()
	if err != nil {
		t.Fatal(err)
	}
	sshd(t, a) // skips where it must
	ours, theirs := socketPair(t)
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, other.hostKey, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "--mount", "sh", "-c", `mount -t tmpfs -o mode=0755 tmpfs /run && mkdir -p /run/sshd && exec /usr/sbin/sshd -i -f /dev/null -h "$1"`, "sshd", key)
	cmd.Stdin, cmd.Stdout = theirs, theirs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	if client, err := handshake(ours, a, "machine:"+port); err == nil {
		client.Close()
		t.Error("a machine with another host key was entered")
	}
	ours.Close()
	_ = cmd.Wait()
}
