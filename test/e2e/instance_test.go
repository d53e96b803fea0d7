package e2e_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// instance is one control plane and the user in front of it.
type instance struct {
	dir    string // the data directory
	home   string // the user's contexts, SSH key and temporary files
	listen string
	key    string // the user's public SSH key
	env    []string
}

// newInstance prepares an instance without starting it. host is the address
// that it will listen on; its port stays the same when it is started again.
func newInstance(t *testing.T, host string) *instance {
	t.Helper()
	needSystem(t)
	home := t.TempDir()
	i := &instance{dir: filepath.Join(home, "data"), home: home, listen: freeAddress(t, host)}
	for _, folder := range []string{i.temporary(), i.dir} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	i.key = i.serveKey(t)
	i.env = append(os.Environ(), "HALLMARK_CONFIG="+filepath.Join(home, "contexts.yaml"), "HALLMARK_DATA="+i.dir,
		"TMPDIR="+i.temporary(), "SSH_AUTH_SOCK="+i.agentSocket())
	i.seedBases(t)
	t.Cleanup(func() { i.clear(t) })
	return i
}

func (i *instance) temporary() string   { return filepath.Join(i.home, "tmp") }
func (i *instance) agentSocket() string { return filepath.Join(i.home, "agent") }

func freeAddress(t *testing.T, host string) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// serveKey is an ssh-agent(1) with one key, so that ssh logs in without a file
// in anybody's home.
func (i *instance) serveKey(t *testing.T) (public string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: private}); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", i.agentSocket())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(ring, c) }()
		}
	}()
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
}

// result is how a command ended.
type result struct {
	code     int
	out, err string
}

func (r result) String() string { return r.out + r.err }

// command prepares the command line.
func (i *instance) command(ctx context.Context, t *testing.T, arguments ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	t.Helper()
	path, err := product()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(ctx, path, arguments...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr, c.Env = &out, &errs, i.env
	return c, &out, &errs
}

// try runs the command line to its end, whatever that is.
func (i *instance) try(t *testing.T, arguments ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, out, errs := i.command(ctx, t, arguments...)
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("hallmark %q: %v", arguments, err)
	}
	return result{c.ProcessState.ExitCode(), out.String(), errs.String()}
}

// run wants the command line to end with a code.
func (i *instance) run(t *testing.T, code int, arguments ...string) result {
	t.Helper()
	r := i.try(t, arguments...)
	if r.code != code {
		t.Fatalf("hallmark %q ended with %d, not %d:\n%s\nthe server's log ends with\n%s", arguments, r.code, code, r, i.logEnd())
	}
	return r
}

// ask decodes the JSON that the command line prints.
func (i *instance) ask(t *testing.T, into any, arguments ...string) {
	t.Helper()
	r := i.run(t, 0, append(arguments, "--output", "json")...)
	if err := json.Unmarshal([]byte(r.out), into); err != nil {
		t.Fatalf("hallmark %q: %v: %s", arguments, err, r.out)
	}
}

func (i *instance) up(t *testing.T) {
	t.Helper()
	i.run(t, 0, "up", "--listen", i.listen)
}

func (i *instance) pid(t *testing.T) int {
	t.Helper()
	var status struct{ PID int }
	i.ask(t, &status, "status")
	return status.PID
}

func (i *instance) logEnd() string {
	raw, err := os.ReadFile(filepath.Join(i.dir, "log", "server.log"))
	if err != nil {
		return err.Error()
	}
	var said []string
	for line := range strings.Lines(string(raw)) {
		if !strings.Contains(line, `"msg":"request"`) {
			said = append(said, line)
		}
	}
	return strings.Join(said[max(0, len(said)-20):], "")
}

// write puts a file into the user's home and returns its path.
func (i *instance) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(i.home, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// cachedBases is where this and other packages' tests keep assembled bases.
func cachedBases(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(cache, "hallmark-test", "base")
}

// seedBases gives the instance the bases that are there: assembling one takes
// minutes. Those that it assembles itself are kept for the next run.
func (i *instance) seedBases(t *testing.T) {
	t.Helper()
	own := filepath.Join(i.dir, "bases")
	copyImages(t, cachedBases(t), own)
	t.Cleanup(func() { copyImages(t, own, cachedBases(t)) })
}

func copyImages(t *testing.T, from, to string) {
	t.Helper()
	images, err := filepath.Glob(filepath.Join(from, "images", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, image := range images {
		if about, err := os.ReadFile(filepath.Join(image, "image.json")); err != nil || !strings.Contains(string(about), `"12-gen2"`) {
			continue // not what these tests use
		}
		target := filepath.Join(to, "images", filepath.Base(image))
		if _, err := os.Stat(target); err == nil {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
			t.Fatal(err)
		}
		part := target + ".copy"
		tool(t, "cp", "-a", "--reflink=auto", image, part)
		if err := os.Rename(part, target); err != nil {
			t.Errorf("keep a base: %v", err)
		}
	}
}
