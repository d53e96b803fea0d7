package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// execute does what a step says to a mounted root and answers its exit code.
func (r *runner) execute(ctx context.Context, s Step, m mounted, out io.Writer, content string) (int, error) {
	if s.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.Timeout, fmt.Errorf("the step %w of %v", ErrTimeout, s.Timeout))
		defer cancel()
	}
	t := tree{m.Root()}
	switch s.Kind {
	case File:
		return 0, placeFile(ctx, t, s, content)
	case Tattoo:
		return 0, placeTattoo(t, s)
	case CACertificate:
		command, err := addCertificates(t, s.Certificates)
		if err != nil {
			return -1, err
		}
		return r.inContainer(ctx, Step{Name: s.Name, Kind: Shell, Inline: []string{command}, Offline: true}, m, out)
	case Shell:
		return r.inContainer(ctx, s, m, out)
	}
	return -1, fmt.Errorf("a step of kind %q cannot run here", s.Kind)
}

func placeFile(ctx context.Context, t tree, s Step, digest string) error {
	content, err := fileContent(s, digest)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	uid, gid, err := t.owner(s.Owner)
	if err != nil {
		return err
	}
	mode := s.Mode
	if mode == 0 {
		mode = 0o644
	}
	return diskFull(t.write(s.Dest, content, mode, uid, gid))
}

func placeTattoo(t tree, s Step) error {
	if err := t.write("/etc/hallmark/tattoo", s.TattooText, 0o644, 0, 0); err != nil {
		return diskFull(err)
	}
	if len(s.Signature) == 0 {
		return nil
	}
	return diskFull(t.write("/etc/hallmark/tattoo.sig", s.Signature, 0o644, 0, 0))
}

func diskFull(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("%w: %w", ErrDiskFull, err)
	}
	return err
}

// inContainer runs a Shell step in the mounted root, and takes away again what
// was put there for it.
func (r *runner) inContainer(ctx context.Context, s Step, m mounted, out io.Writer) (int, error) {
	t := tree{m.Root()}
	restore, err := prepare(t, r.plan, s.Boot)
	if err != nil {
		return -1, err
	}
	code, err := r.contain(ctx, s, m, out)
	return code, errors.Join(err, restore())
}

func (r *runner) contain(ctx context.Context, s Step, m mounted, out io.Writer) (int, error) {
	j, err := r.newJob(ctx, s, m)
	if err != nil {
		return -1, err
	}
	defer releaseCgroups(j.cgroups)
	if s.Boot {
		return r.bootStep(ctx, j, s, m, out)
	}
	j.out, j.err = out, out
	return r.container.run(ctx, j)
}

// newJob lays out, in memory, what the step sees of the host: its script, its
// secrets, resolv.conf and apt's configuration.
func (r *runner) newJob(ctx context.Context, s Step, m mounted) (job, error) {
	private, err := m.Private()
	if err != nil {
		return job{}, err
	}
	j := job{root: m.Root(), env: r.stepEnv(s)}
	if j.uidBase, err = pickUIDs(); err != nil {
		return job{}, err
	}
	if s.UsesNetwork() {
		if j.namespace, err = r.network(ctx); err != nil {
			return job{}, err
		}
	}
	files := map[string][]byte{"apt.conf": aptConf(r.plan), "step": script(s), "resolv.conf": r.resolvConf()}
	if err := layOut(filepath.Join(private, "hallmark"), files, 0o755, j.uidBase); err != nil {
		return job{}, err
	}
	secrets := map[string][]byte{}
	for _, secret := range r.plan.Secrets {
		secrets[secret.Name] = secret.Value
	}
	if err := layOut(filepath.Join(private, "secrets"), secrets, 0o400, j.uidBase); err != nil {
		return job{}, err
	}
	j.binds = []bind{
		{host: filepath.Join(private, "hallmark"), guest: runDir},
		{host: filepath.Join(private, "secrets"), guest: "/run/secrets"},
		{host: filepath.Join(private, "hallmark", "resolv.conf"), guest: "/etc/resolv.conf"},
	}
	j.command = interpreter(s)
	j.cgroups = newCgroups(r.cgroupName(m))
	return j, nil
}

// cgroupName lets Sweep tell from the name whether the mount still stands.
func (r *runner) cgroupName(m mounted) string {
	return cgroupPrefix(r.cache.dir) + filepath.Base(m.Dir())
}

// layOut fills a directory that belongs to the container's root. A directory of
// secrets is as closed as its files.
func layOut(dir string, files map[string][]byte, mode fs.FileMode, uid int) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	dirMode := mode | mode>>2&0o111 | 0o100
	if err := os.Mkdir(dir, dirMode); err != nil {
		return err
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, mode); err != nil {
			return err
		}
		if err := errors.Join(os.Chmod(path, mode), os.Chown(path, uid, uid)); err != nil {
			return err
		}
	}
	return errors.Join(os.Chmod(dir, dirMode), os.Chown(dir, uid, uid))
}

// script is what is run: lines stop at the first failure, as Image Builder's
// inline commands do.
func script(s Step) []byte {
	if len(s.Script) > 0 {
		return s.Script
	}
	return []byte("#!/bin/sh -e\n" + strings.Join(s.Inline, "\n") + "\n")
}

// interpreter runs a script without a first line that names one with sh.
func interpreter(s Step) []string {
	if strings.HasPrefix(string(script(s)), "#!") {
		return []string{runDir + "/step"}
	}
	return []string{"/bin/sh", runDir + "/step"}
}

// stepEnv is the recipe's environment over what this host adds.
func (r *runner) stepEnv(s Step) map[string]string {
	env := hostEnv(r.plan)
	maps.Copy(env, environment(r.plan, s))
	return env
}

func hostEnv(p Plan) map[string]string {
	env := map[string]string{
		"PATH":            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"DEBIAN_FRONTEND": "noninteractive",
		"LANG":            "C.UTF-8",
		"APT_CONFIG":      runDir + "/apt.conf",
	}
	if p.Proxy == "" {
		return env
	}
	for _, name := range []string{"http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"} {
		env[name] = p.Proxy
	}
	if p.NoProxy != "" {
		env["no_proxy"], env["NO_PROXY"] = p.NoProxy, p.NoProxy
	}
	return env
}

// network makes the run's network namespace when the first step asks for it.
func (r *runner) network(ctx context.Context) (string, error) {
	if r.Network == nil {
		return "", nil
	}
	if r.net == nil {
		net, err := r.Network(ctx, r.run)
		if err != nil {
			return "", fmt.Errorf("making a network for the steps: %w", err)
		}
		r.net = net
	}
	return r.net.Path(), nil
}

// resolvConf is the network's own, or the host's. A host that resolves through
// its own loopback keeps the real servers elsewhere.
func (r *runner) resolvConf() []byte {
	if own, ok := r.net.(Resolver); ok {
		return own.ResolvConf()
	}
	text, _ := os.ReadFile("/etc/resolv.conf")
	if real, err := os.ReadFile("/run/systemd/resolve/resolv.conf"); err == nil && strings.Contains(string(text), "nameserver 127.0.0.53") {
		return real
	}
	return text
}

// aptConf configures apt for the build alone; APT_CONFIG points at it.
func aptConf(p Plan) []byte {
	lines := []string{`Dpkg::Use-Pty "0";`, `Acquire::Retries "3";`, `APT::Color "0";`}
	if p.Proxy != "" {
		lines = append(lines, "Acquire::http::Proxy "+strconv.Quote(p.Proxy)+";", "Acquire::https::Proxy "+strconv.Quote(p.Proxy)+";")
	}
	return []byte(strings.Join(lines, "\n") + "\n")
}

// bootStep boots the image's services and runs the step as one of them. The
// step's output comes through a pipe: a booted image owns its console.
func (r *runner) bootStep(ctx context.Context, j job, s Step, m mounted, out io.Writer) (int, error) {
	private, err := m.Private()
	if err != nil {
		return -1, err
	}
	units, pipes := filepath.Join(private, "units"), filepath.Join(private, "io")
	if err := layOut(units, bootUnits(j), 0o644, j.uidBase); err != nil {
		return -1, err
	}
	if err := layOut(pipes, nil, 0o755, j.uidBase); err != nil {
		return -1, err
	}
	wait, err := copyFIFO(filepath.Join(pipes, "output"), j.uidBase, out)
	if err != nil {
		return -1, err
	}
	// Not below /run/systemd: nspawn would make that directory for the mount, and
	// the container's own root could not write to it.
	j.binds = append(j.binds, bind{host: units, guest: "/run/hallmark-units"}, bind{host: pipes, guest: "/run/hallmark-io", writable: true})
	j.env["SYSTEMD_UNIT_PATH"] = "/run/hallmark-units:" // and the usual ones
	j.env["SYSTEMD_COLORS"] = "0"
	console := &lastOutput{}
	j.boot, j.out, j.err = true, console, console
	// cloud-init would wait for a data source that a container does not have.
	j.command = []string{"--unit=" + stepTarget, "cloud-init=disabled"}
	code, err := r.container.run(ctx, j)
	if said := wait(); said == 0 && (err != nil || !validExit(s, code)) {
		fmt.Fprintf(out, "\nthe end of the boot's console:\n%s\n", console)
	}
	return code, err
}

const (
	stepUnit   = "hallmark-step.service"
	stepTarget = "hallmark-step.target"
)

// bootUnits run the step once the image's default services are up; whatever its
// exit code, the container ends with it (systemd.unit(5), SuccessAction=).
func bootUnits(j job) map[string][]byte {
	names := make([]string, 0, len(j.env))
	for name := range j.env {
		names = append(names, name)
	}
	return map[string][]byte{
		stepTarget: []byte("[Unit]\nRequires=multi-user.target\nAfter=multi-user.target\nWants=" + stepUnit + "\nAllowIsolate=yes\n"),
		stepUnit: []byte("[Unit]\nAfter=multi-user.target\nSuccessAction=exit-force\nFailureAction=exit-force\n" +
			"[Service]\nType=oneshot\nExecStart=" + strings.Join(j.command, " ") + "\nTimeoutStartSec=infinity\n" +
			"PassEnvironment=" + strings.Join(names, " ") + "\nEnvironment=HOME=/root\n" +
			"StandardOutput=file:/run/hallmark-io/output\nStandardError=inherit\n"),
	}
}

// copyFIFO makes a pipe with a name and copies it to out until wait is called,
// which answers how many bytes came.
func copyFIFO(path string, uid int, out io.Writer) (wait func() int64, err error) {
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		return nil, err
	}
	if err := os.Chown(path, uid, uid); err != nil {
		return nil, err
	}
	reader, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	// Our own writer keeps the pipe open between the writers in the container.
	writer, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		reader.Close()
		return nil, err
	}
	done := make(chan int64)
	go func() {
		n, _ := io.Copy(out, reader) // what cannot be written shows when the log is closed
		done <- n
	}()
	return func() int64 {
		writer.Close()
		// A killed container's last process may need a moment to go.
		reader.SetReadDeadline(time.Now().Add(10 * time.Second))
		defer reader.Close()
		return <-done
	}, nil
}

// lastOutput keeps the end of a console.
type lastOutput struct{ data []byte }

func (l *lastOutput) Write(p []byte) (int, error) {
	l.data = append(l.data, p...)
	if extra := len(l.data) - tailBytes; extra > 0 {
		l.data = append([]byte(nil), l.data[extra:]...)
	}
	return len(p), nil
}

func (l *lastOutput) String() string { return strings.TrimSpace(string(l.data)) }
