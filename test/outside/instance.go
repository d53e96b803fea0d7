package outside

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

// Instance is one control plane and the user in front of it.
type Instance struct {
	Dir    string // the data directory
	Home   string // the user's contexts, SSH key and temporary files
	Listen string
	Key    string // the user's public SSH key
	Env    []string
}

// New prepares an instance without starting it. host is the address
// that it will listen on; its port stays the same when it is started again.
func New(t testing.TB, host string) *Instance {
	t.Helper()
	return prepare(t, host, (*Instance).seedBases)
}

// NewWithoutBases is New for what makes no machine: nothing is copied.
func NewWithoutBases(t testing.TB, host string) *Instance {
	t.Helper()
	return prepare(t, host, func(*Instance, testing.TB) {})
}

func prepare(t testing.TB, host string, seed func(*Instance, testing.TB)) *Instance {
	t.Helper()
	NeedSystem(t)
	home := t.TempDir()
	i := &Instance{Dir: filepath.Join(home, "data"), Home: home, Listen: freeAddress(t, host)}
	for _, folder := range []string{i.Temporary(), i.Dir} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	i.Key = i.serveKey(t)
	i.Env = append(os.Environ(), "HALLMARK_CONFIG="+filepath.Join(home, "contexts.yaml"), "HALLMARK_DATA="+i.Dir,
		"TMPDIR="+i.Temporary(), "SSH_AUTH_SOCK="+i.agentSocket())
	seed(i, t)
	t.Cleanup(func() { i.Clear(t) }) // before what seeding has registered
	return i
}

// Temporary is the TMPDIR of the instance's processes.
func (i *Instance) Temporary() string   { return filepath.Join(i.Home, "tmp") }
func (i *Instance) agentSocket() string { return filepath.Join(i.Home, "agent") }

func freeAddress(t testing.TB, host string) string {
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
func (i *Instance) serveKey(t testing.TB) (public string) {
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

// Result is how a command ended.
type Result struct {
	Code     int
	Out, Err string
}

func (r Result) String() string { return r.Out + r.Err }

// Command prepares the command line.
func (i *Instance) Command(ctx context.Context, t testing.TB, arguments ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	t.Helper()
	path, err := Binary()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(ctx, path, arguments...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr, c.Env = &out, &errs, i.Env
	return c, &out, &errs
}

// Try runs the command line to its end, whatever that is.
func (i *Instance) Try(t testing.TB, arguments ...string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	c, out, errs := i.Command(ctx, t, arguments...)
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("hallmark %q: %v", arguments, err)
	}
	return Result{c.ProcessState.ExitCode(), out.String(), errs.String()}
}

// Run wants the command line to end with a code.
func (i *Instance) Run(t testing.TB, code int, arguments ...string) Result {
	t.Helper()
	r := i.Try(t, arguments...)
	if r.Code != code {
		t.Fatalf("hallmark %q ended with %d, not %d:\n%s\nthe server's log ends with\n%s", arguments, r.Code, code, r, i.LogEnd())
	}
	return r
}

// Ask decodes the JSON that the command line prints.
func (i *Instance) Ask(t testing.TB, into any, arguments ...string) {
	t.Helper()
	r := i.Run(t, 0, append(arguments, "--output", "json")...)
	if err := json.Unmarshal([]byte(r.Out), into); err != nil {
		t.Fatalf("hallmark %q: %v: %s", arguments, err, r.Out)
	}
}

// Up starts the control plane in the background and waits until it answers.
func (i *Instance) Up(t testing.TB) {
	t.Helper()
	i.Run(t, 0, "up", "--listen", i.Listen)
}

// PID is the control plane's process id.
func (i *Instance) PID(t testing.TB) int {
	t.Helper()
	var status struct{ PID int }
	i.Ask(t, &status, "status")
	return status.PID
}

// LogEnd is the end of the control plane's log, without requests.
func (i *Instance) LogEnd() string {
	raw, err := os.ReadFile(filepath.Join(i.Dir, "log", "server.log"))
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

// Write puts a file into the user's home and returns its path.
func (i *Instance) Write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(i.Home, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// cachedBases is where this and other packages' tests keep assembled bases.
func cachedBases(t testing.TB) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(cache, "hallmark-test", "base")
}

// seedBases gives the instance the bases that are there: assembling one takes
// minutes. Those that it assembles itself are kept for the next run.
func (i *Instance) seedBases(t testing.TB) {
	t.Helper()
	own := filepath.Join(i.Dir, "bases")
	copyImages(t, cachedBases(t), own)
	t.Cleanup(func() { copyImages(t, own, cachedBases(t)) })
}

func copyImages(t testing.TB, from, to string) {
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
		Tool(t, "cp", "-a", "--reflink=auto", image, part)
		if err := os.Rename(part, target); err != nil {
			t.Errorf("keep a base: %v", err)
		}
	}
}
