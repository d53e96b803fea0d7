package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"hallmark.dev/hallmark/internal/build"
	"hallmark.dev/hallmark/internal/shellword"
	"hallmark.dev/hallmark/internal/vm"
)

const (
	filesDir   = "/run/hallmark"
	secretsDir = "/run/secrets"
	wrapper    = "enter" // name in filesDir of what runs the step's command
)

// guest is a machine that has been logged in to.
type guest struct {
	client *ssh.Client
	files  *sftp.Client
}

func (g *guest) close() {
	if g.files != nil {
		g.files.Close()
	}
	g.client.Close()
}

// await logs in as soon as the machine lets us, and returns when it has booted.
func await(ctx context.Context, m *vm.Machine, a access, address netip.Addr) (*guest, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, bootTimeout,
		fmt.Errorf("the machine did not answer over SSH within %v: isolation: vm needs cloud-init, systemd and an SSH server in the image, and its firewall must let TCP port %s in", bootTimeout, port))
	defer cancel()
	for {
		client, err := dial(ctx, a, net.JoinHostPort(address.String(), port))
		if err == nil {
			return enter(ctx, client)
		}
		if s, statusErr := m.Status(ctx); statusErr == nil && s.State != vm.Running {
			return nil, fmt.Errorf("the machine ended while it booted: it is %s (%s)", s.State, s.Detail)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w (last: %w)", context.Cause(ctx), err)
		case <-time.After(250 * time.Millisecond):
		}
	}
}

func dial(ctx context.Context, a access, to string) (*ssh.Client, error) {
	connection, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", to)
	if err != nil {
		return nil, err
	}
	return handshake(connection, a, to)
}

func handshake(connection net.Conn, a access, to string) (*ssh.Client, error) {
	// A handshake takes seconds where instructions are translated.
	if err := connection.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return nil, errors.Join(err, connection.Close())
	}
	conn, channels, requests, err := ssh.NewClientConn(connection, to, &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(a.client)},
		HostKeyCallback: ssh.FixedHostKey(a.host), HostKeyAlgorithms: []string{a.host.Type()},
	})
	if err != nil {
		return nil, errors.Join(err, connection.Close())
	}
	return ssh.NewClient(conn, channels, requests), connection.SetDeadline(time.Time{})
}

// prepare waits until the boot is over, however it went (a unit of the image that
// fails is not the step's affair), and makes room in memory: secrets on ramfs,
// which unlike tmpfs is never swapped to the disk.
const prepare = `systemctl is-system-running --wait >/dev/null 2>&1
set -e
mkdir -p ` + filesDir + ` ` + secretsDir + `
mount -t tmpfs -o mode=0755,nosuid,nodev tmpfs ` + filesDir + `
mount -t ramfs -o mode=0700,nosuid,nodev,noexec ramfs ` + secretsDir + `
chmod 0700 ` + secretsDir + `
`

func enter(ctx context.Context, client *ssh.Client) (*guest, error) {
	g := &guest{client: client}
	if err := g.script(ctx, prepare); err != nil {
		g.close()
		return nil, fmt.Errorf("preparing the machine: %w", err)
	}
	files, err := sftp.NewClient(client)
	if err != nil {
		g.close()
		return nil, fmt.Errorf("the machine's file transfer: %w", err)
	}
	g.files = files
	return g, nil
}

// step places what the step needs, runs it and answers its exit code.
func (g *guest) step(ctx context.Context, s build.VMStep) (int, error) {
	for name, content := range s.Files {
		if err := g.upload(path.Join(filesDir, name), content, 0o755); err != nil {
			return -1, err
		}
	}
	for _, secret := range s.Secrets {
		if err := g.upload(path.Join(secretsDir, secret.Name), secret.Value, 0o400); err != nil {
			return -1, err
		}
	}
	enterFile := path.Join(filesDir, wrapper)
	if err := g.upload(enterFile, enterScript(s.Command, s.Env), 0o700); err != nil {
		return -1, err
	}
	if s.Step.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.Step.Timeout, fmt.Errorf("the step %w of %v", build.ErrTimeout, s.Step.Timeout))
		defer cancel()
	}
	command := "/bin/sh " + enterFile
	if s.Step.Offline {
		// The machine is reached through its network; the step is not to have it.
		command = "unshare --net " + command
	}
	return g.run(ctx, command, nil, s.Output)
}

// enterScript runs a command as a build step: nothing to read, one stream of
// output, and the environment that it was given.
func enterScript(command []string, env map[string]string) []byte {
	all := maps.Clone(env)
	if all == nil {
		all = map[string]string{}
	}
	for name, value := range map[string]string{"HOME": "/root", "USER": "root", "LOGNAME": "root"} {
		if _, ok := all[name]; !ok {
			all[name] = value
		}
	}
	var b strings.Builder
	// In a network namespace of its own, a step still has its loopback device.
	b.WriteString("cd /\nexec </dev/null 2>&1\nip link set lo up >/dev/null 2>&1 || true\nexec env -i")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		b.WriteString(" " + shellword.Quote(name+"="+all[name]))
	}
	for _, word := range command {
		b.WriteString(" " + shellword.Quote(word))
	}
	return []byte(b.String() + "\n")
}

func (g *guest) upload(name string, content []byte, mode os.FileMode) error {
	f, err := g.files.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return fmt.Errorf("uploading %s: %w", name, err)
	}
	// The mode first: a secret is never readable for longer than it is empty.
	err = f.Chmod(mode)
	if err == nil {
		_, err = f.ReadFrom(bytes.NewReader(content))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("uploading %s: %w", name, err)
	}
	return nil
}

// forget removes what cloud-init wrote about this boot, and what is in memory
// where a later program could look. Networks of the image's own stay.
const forget = `umount ` + secretsDir + ` 2>/dev/null
rmdir ` + secretsDir + ` 2>/dev/null
umount -l ` + filesDir + ` 2>/dev/null
[ ! -e /run/hallmark-ssh/made-host-key ] || rm -f ` + hostKey + ` ` + hostKey + `.pub
rm -rf /run/hallmark-ssh
rm -f /etc/netplan/50-cloud-init.yaml /etc/network/interfaces.d/50-cloud-init /etc/network/interfaces.d/50-cloud-init.cfg \
  /etc/systemd/network/10-cloud-init-*.network /etc/systemd/network/10-cloud-init-*.link \
  /etc/NetworkManager/system-connections/cloud-init-*.nmconnection /etc/udev/rules.d/70-persistent-net.rules
rm -rf /var/lib/cloud/* /var/log/cloud-init.log /var/log/cloud-init-output.log
sync
systemctl --no-block poweroff
`

// leave ends the guest. The connection may break before the answer is here.
func (g *guest) leave(ctx context.Context) error {
	err := g.script(ctx, forget)
	var missing *ssh.ExitMissingError
	if errors.As(err, &missing) || errors.Is(err, io.EOF) {
		return nil // the machine went down with it; whoever waits for it sees
	}
	if err != nil {
		return fmt.Errorf("shutting the machine down: %w", err)
	}
	return nil
}

// script runs lines of our own with sh, from its input.
func (g *guest) script(ctx context.Context, lines string) error {
	var out bytes.Buffer
	code, err := g.run(ctx, "/bin/sh", strings.NewReader(lines), &out)
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d: %s", code, strings.TrimSpace(out.String()))
	}
	return err
}

// run runs a command to its end, or cuts the connection when ctx ends: what the
// command was doing then, only the end of the machine ends.
func (g *guest) run(ctx context.Context, command string, in io.Reader, out io.Writer) (int, error) {
	session, err := g.client.NewSession()
	if err != nil {
		return -1, fmt.Errorf("opening a session in the machine: %w", err)
	}
	defer session.Close()
	gated := &gate{to: out}
	defer gated.close()
	session.Stdin, session.Stdout = in, gated // one stream: commands send errors there, too
	if err := session.Start(command); err != nil {
		return -1, fmt.Errorf("starting %q in the machine: %w", command, err)
	}
	done := make(chan error, 1)
	go func() { done <- session.Wait() }()
	select {
	case err = <-done:
	case <-ctx.Done():
		return -1, context.Cause(ctx)
	}
	return exitCode(err)
}

// gate lets nothing through once whoever reads the output has gone.
type gate struct {
	mu sync.Mutex
	to io.Writer
}

func (g *gate) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.to == nil {
		return 0, io.ErrClosedPipe
	}
	return g.to.Write(p)
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.to = nil
}

func exitCode(err error) (int, error) {
	var exit *ssh.ExitError
	var missing *ssh.ExitMissingError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit) && exit.Signal() == "":
		return exit.ExitStatus(), nil
	case errors.As(err, &exit):
		return -1, fmt.Errorf("ended by signal %s", exit.Signal())
	case errors.As(err, &missing):
		return -1, fmt.Errorf("the connection to the machine broke: a step may neither restart nor stop its machine, nor its network: %w", err)
	}
	return -1, err
}
