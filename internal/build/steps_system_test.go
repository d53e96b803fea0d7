package build

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	origin "hallmark.dev/hallmark/internal/base"
)

func shell(name string, lines ...string) Step { return Step{Name: name, Kind: Shell, Inline: lines} }

func logOf(t *testing.T, b *Builder, run string) string {
	t.Helper()
	files, err := filepath.Glob(b.cache.path(runsDir, run, "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s can be read by others: %v, %v", f, info.Mode(), err)
		}
		all.Write(text)
	}
	return all.String()
}

func TestStepCannotReachTheHost(t *testing.T) {
	base := debian(t)
	b := open(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	everywhere, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer everywhere.Close()
	secretFile := filepath.Join(t.TempDir(), "host-file")
	if err := os.WriteFile(secretFile, []byte("host"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	_, openPort, _ := net.SplitHostPort(everywhere.Addr().String())
	plan := Plan{ID: "i", Base: base, Steps: []Step{{Name: "escape", Kind: Shell, Script: []byte(`#!/bin/bash
try() { name=$1; shift; if timeout 5 "$@" >/dev/null 2>&1; then echo "REACHED $name"; else echo "kept from $name"; fi; }
gateway=$(awk '$2 == "00000000" {g = $3} END {printf "%d.%d.%d.%d", strtonum("0x" substr(g,7,2)), strtonum("0x" substr(g,5,2)), strtonum("0x" substr(g,3,2)), strtonum("0x" substr(g,1,2))}' /proc/net/route 2>/dev/null)
gateway=${gateway:-10.213.0.1}
try loopback bash -c 'echo > /dev/tcp/127.0.0.1/` + port + `'
try gateway bash -c "echo > /dev/tcp/$gateway/` + openPort + `"
try hostfile cat ` + secretFile + `
try loopdevice sh -c 'mknod /tmp/l b 7 0 && head -c1 /tmp/l'
try memory sh -c 'mknod /tmp/m c 1 1 && head -c1 /tmp/m'
try mount mount -t tmpfs tmpfs /mnt
try sysctl sh -c 'echo 1 > /proc/sys/kernel/panic'
try sysfs sh -c 'echo 1 > /sys/kernel/uevent_helper'
try module sh -c 'echo b > /proc/sysrq-trigger'
try initroot ls /proc/1/root/` + filepath.Dir(secretFile) + `
grep -q '^ *0 *0 ' /proc/self/uid_map && echo "REACHED root id"
exit 0
`)}}}
	r, err := b.Build(t.Context(), "escape", plan, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Release()
	said := logOf(t, b, "escape")
	if strings.Contains(said, "REACHED") || strings.Count(said, "kept from") != 10 {
		t.Errorf("a step got out:\n%s", said)
	}
}

func TestOrdinaryPackageWorkInAStep(t *testing.T) {
	base := debian(t)
	b := open(t)
	plan := Plan{ID: "p", Base: base, OSDiskSizeGB: 3, AptMirror: origin.HostMirror().Main + "/", Variables: map[string]string{"WHO": "you"}, Steps: []Step{
		shell("install", "apt-get -q update", "apt-get -qy install --no-install-recommends openssh-server linux-image-cloud-amd64 nginx-light libcap2-bin sudo iputils-ping",
			"systemctl enable nginx", "test -e /boot/vmlinuz-*", "test -e /boot/initrd.img-*", "cp /bin/true /usr/local/bin/capped && setcap cap_net_bind_service+ep /usr/local/bin/capped",
			"ping -c1 -W1 127.0.0.1", "useradd -m worker", "sudo -u worker id -un", `test "$WHO" = you`, "df --output=size -m / | tail -1"),
		{Name: "services", Kind: Shell, Boot: true, Inline: []string{"systemctl is-system-running || true", "systemctl is-active nginx || { journalctl -n 20 -u nginx; nginx -t; exit 1; }", "echo booted > /etc/booted"}},
	}}
	r, err := b.Build(t.Context(), "packages", plan, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	said := logOf(t, b, "packages")
	for _, want := range []string{"worker\n", "active\n"} {
		if !strings.Contains(said, want) {
			t.Errorf("the log lacks %q:\n%s", want, said)
		}
	}
	if r.VirtualSize != 3<<30 {
		t.Errorf("virtual size %d, want 3 GiB", r.VirtualSize)
	}
	for name, want := range map[string]string{"etc/booted": "booted\n", "etc/machine-id": ""} {
		if got := readFrom(t, r.Path, name); got != want {
			t.Errorf("%s holds %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"usr/sbin/policy-rc.d", "etc/ssh/ssh_host_rsa_key", "var/lib/apt/lists/" + strings.ReplaceAll(strings.TrimPrefix(origin.HostMirror().Main, "http://"), "/", "_") + "_dists_bookworm_InRelease"} {
		if got := readFrom(t, r.Path, name); !strings.HasPrefix(got, "error: ") {
			t.Errorf("%s is in the image", name)
		}
	}
	if got := readFrom(t, r.Path, "etc/apt/sources.list"); !strings.Contains(got, origin.HostMirror().Main+" bookworm") {
		t.Errorf("sources.list is %q", got)
	}
	// linux/capability.h: revision 2 belongs to the machine's root; revision 3 to
	// the root of a user namespace, and to the machine's if its last word is 0.
	got := strings.Fields(fileCapability(t, r.Path, "usr/local/bin/capped"))
	if len(got) < 20 || (got[3] != "02" && !(got[3] == "03" && len(got) == 24 && strings.Join(got[20:], "") == "00000000")) {
		t.Errorf("the file's capability %q would not hold on a machine", got)
	}
}

// fileCapability answers a file's capability in hexadecimal, as debugfs, which is
// not ours, reads it from the file system.
func fileCapability(t *testing.T, image, name string) string {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "raw")
	tool(t, "qemu-img", "convert", "-O", "raw", image, raw)
	out := tool(t, "debugfs", "-R", "ea_get -x /"+name+" security.capability", raw+"?offset=34603008")
	return out[strings.LastIndex(out, "=")+1:]
}

func TestSecretsStayOutOfEverything(t *testing.T) {
	const canary = "CANARY-s3cr3t/0a9f+x"
	base := debian(t)
	b := open(t)
	plan := Plan{ID: "s", Base: base, Secrets: []Secret{{Name: "token", Value: []byte(canary)}}, Steps: []Step{shell("use",
		`test "$(stat -c '%a %u' /run/secrets/token)" = "400 0"`,
		"cat /run/secrets/token", "base64 /run/secrets/token", `printf 'x:%s' "$(cat /run/secrets/token)" | base64 -w0; echo`,
		"cp /run/secrets/token /etc/leak; cp /run/secrets/token /var/tmp/leak", "for i in $(seq 50); do (cat /run/secrets/token; echo) > /etc/leak-$i; done",
		"sync", "rm /etc/leak*",
	)}}
	var events []Event
	r, err := b.Build(t.Context(), "secrets", plan, collect(&events))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	raw := filepath.Join(t.TempDir(), "raw")
	tool(t, "qemu-img", "convert", "-O", "raw", r.Path, raw)
	if out, err := exec.Command("grep", "-c", "-a", "-F", canary, raw, r.Path).CombinedOutput(); err == nil {
		t.Errorf("the canary is in the image: %s", out)
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(canary))
	said := logOf(t, b, "secrets")
	for _, e := range events {
		said += e.Message + "\n"
	}
	for _, form := range []string{canary, encoded[:16]} {
		if strings.Contains(said, form) {
			t.Errorf("%q is in a log or an event", form)
		}
	}
	filepath.WalkDir(b.cache.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && filepath.Ext(path) != ".qcow2" {
			if text, _ := os.ReadFile(path); bytes.Contains(text, []byte(canary)) {
				t.Errorf("the canary is in %s", path)
			}
		}
		return err
	})
	plan.Secrets[0].Value = []byte("another one")
	plan.Steps[0].Inline = append(plan.Steps[0].Inline[:1:1], "cat /run/secrets/token")
	other := plan
	if r, err := b.Build(t.Context(), "secrets-2", plan, nil); err != nil {
		t.Fatal(err)
	} else {
		r.Release()
	}
	other.Secrets = []Secret{{Name: "token", Value: []byte("a third")}}
	if r, err := b.Build(t.Context(), "secrets-3", other, nil); err != nil || r.Layers[0].Cached {
		t.Errorf("a step was reused with another secret: %v", err)
	} else {
		r.Release()
	}
}

func TestFailedStepIsExplainedKeptAndRepaired(t *testing.T) {
	base := debian(t)
	b := open(t)
	good := shell("good", "echo good > /etc/good")
	plan := Plan{ID: "f", Base: base, ShellOnFailure: true, Steps: []Step{good, shell("bad", "echo half > /etc/half", "echo the reason >&2", "exit 7")}}
	var inside bytes.Buffer
	b.OnFailure = func(ctx context.Context, run string, failure *StepError) {
		code, err := b.Shell(ctx, run, strings.NewReader("cat /etc/good /etc/half; exit 3\n"), &inside, &inside)
		if err != nil || code != 3 {
			t.Errorf("shell in the failed state: %d, %v", code, err)
		}
	}
	_, err := b.Build(t.Context(), "fail-1", plan, nil)
	var failure *StepError
	if !errors.As(err, &failure) {
		t.Fatalf("got %v, want a StepError", err)
	}
	if failure.Step != "bad" || failure.Index != 1 || failure.ExitCode != 7 || !strings.Contains(failure.Output, "the reason") || !strings.Contains(failure.Command, "exit 7") || failure.Hint == "" {
		t.Errorf("the error tells too little: %+v", failure)
	}
	if !strings.Contains(inside.String(), "good\nhalf\n") {
		t.Errorf("the failed state holds %q", inside.String())
	}
	if code, err := b.Shell(t.Context(), "fail-1", strings.NewReader("true\n"), &inside, &inside); err != nil || code != 0 {
		t.Errorf("the failed state is not kept: %d, %v", code, err)
	}
	plan.Steps[1] = shell("bad", "test ! -e /etc/half")
	r, err := b.Build(t.Context(), "fail-2", plan, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Release()
	if !r.Layers[0].Cached || r.Layers[1].Cached {
		t.Errorf("the repaired build did not go on after the last good step: %+v", r.Layers)
	}
	if _, err := b.Shell(t.Context(), "fail-1", nil, nil, nil); !errors.Is(err, ErrNoFailedState) {
		t.Errorf("the failed state outlives the next build: %v", err)
	}
}

func TestHangingStepIsKilledWithAllItStarted(t *testing.T) {
	base := debian(t)
	b := open(t)
	slow := shell("hang", "echo waiting", "(setsid sleep 98765 &)", "sleep 98765")
	slow.Timeout = 2 * time.Second
	_, err := b.Build(t.Context(), "hang", Plan{ID: "h", Base: base, Steps: []Step{slow}}, nil)
	var failure *StepError
	if !errors.As(err, &failure) || !errors.Is(err, ErrTimeout) || !strings.Contains(failure.Output, "waiting") {
		t.Errorf("got %v, want a timeout with the output", err)
	}
	if out, _ := exec.Command("pgrep", "-f", "^sleep 98765$").Output(); len(out) > 0 {
		t.Errorf("processes survive: %s", out)
	}
}

func TestCancelledBuildLeavesNothing(t *testing.T) {
	base := debian(t)
	b := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := b.Build(ctx, "cancel", Plan{ID: "c", Base: base, Steps: []Step{shell("wait", "echo here", "sleep 4321")}}, func(e Event) {
		if e.Kind == Log {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if entries, err := b.Cache(t.Context()); err != nil || len(entries) != 1 || entries[0].Kind != "base" {
		t.Errorf("the cache holds %+v, %v", entries, err)
	}
}

func TestFullDiskSaysSo(t *testing.T) {
	base := debian(t)
	b := open(t)
	_, err := b.Build(t.Context(), "full", Plan{ID: "d", Base: base, Steps: []Step{shell("fill", "dd if=/dev/zero of=/big bs=1M; rm -f /big; exit 1")}}, nil)
	if !errors.Is(err, ErrDiskFull) || !strings.Contains(err.Error(), "osDiskSizeGB") {
		t.Errorf("got %v, want ErrDiskFull with a hint", err)
	}
}

// Buffered writes fail long after the program that made them has succeeded.
func TestFullHostNeverMakesALayer(t *testing.T) {
	base := debian(t)
	dir := t.TempDir()
	tool(t, "mount", "-t", "tmpfs", "-o", "size=420m", "tmpfs", dir)
	t.Cleanup(func() { tool(t, "umount", dir) })
	b, err := Open(filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	fill := Step{Name: "fill", Kind: Shell, Offline: true, Inline: []string{"dd if=/dev/urandom of=/big bs=1M count=300 status=none || true", "sync || true", "exit 0"}}
	r, err := b.Build(t.Context(), "full-host", Plan{ID: "d", Base: base, Steps: []Step{fill}}, nil)
	r.Release()
	if !errors.Is(err, ErrHostFull) {
		t.Errorf("got %v, want ErrHostFull", err)
	}
	t.Log(err)
	if entries, err := b.Cache(t.Context()); err != nil || len(entries) != 1 {
		t.Errorf("the cache holds %s, %v", mustJSON(entries), err)
	}
	nothingLeft(t, b)
}

func TestBuildsAtTheSameTime(t *testing.T) {
	base := debian(t)
	b := open(t)
	plan := Plan{ID: "same", Base: base, Steps: []Step{{Name: "boot", Kind: Shell, Boot: true, Offline: true, Inline: []string{"sleep 1; echo x > /etc/x"}}}}
	results := make(chan error)
	for _, run := range []string{"a", "b"} {
		go func() {
			r, err := b.Build(t.Context(), run, plan, nil)
			r.Release()
			results <- err
		}()
	}
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

func TestWrongBaseDigest(t *testing.T) {
	base := debian(t)
	b := open(t)
	base.Digest = "sha256:" + strings.Repeat("0", 64)
	if _, err := b.Build(t.Context(), "wrong", Plan{ID: "w", Base: base}, nil); !errors.Is(err, ErrBaseDigest) {
		t.Errorf("got %v, want ErrBaseDigest", err)
	}
}

func TestForeignImageKeepsItsBootLoader(t *testing.T) {
	base := debian(t)
	base.Foreign = true
	b := open(t)
	_, err := b.Build(t.Context(), "boot", Plan{ID: "b", Base: base, Steps: []Step{shell("kernel", "echo k > /boot/vmlinuz-x")}}, nil)
	if !errors.Is(err, ErrNeedsVM) {
		t.Errorf("got %v, want ErrNeedsVM", err)
	}
}

func TestCertificatesAreTrusted(t *testing.T) {
	base := debian(t)
	b := open(t)
	root := newCA(t, "Ex ample & Söhne Root")
	r, err := b.Build(t.Context(), "ca", Plan{ID: "ca", Base: base, Steps: []Step{
		{Name: "roots", Kind: CACertificate, Certificates: root},
		{Name: "tattoo", Kind: Tattoo, TattooText: []byte("RUN=1\n"), Signature: []byte("sig\n")},
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	bundle := readFrom(t, r.Path, "etc/ssl/certs/ca-certificates.crt")
	if !strings.Contains(bundle, strings.TrimSpace(string(root))) {
		t.Error("the certificate is not in the bundle that programs read")
	}
	if got := readFrom(t, r.Path, "etc/hallmark/tattoo"); got != "RUN=1\n" {
		t.Errorf("the tattoo is %q", got)
	}
}

func newCA(t *testing.T, name string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
