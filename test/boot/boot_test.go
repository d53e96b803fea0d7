// Package boot boots real machines from assembled bases, from firmware to SSH,
// with the packages base, network and vm put together as the product does.
package boot

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"hallmark.dev/hallmark/internal/base"
	"hallmark.dev/hallmark/internal/disk"
	"hallmark.dev/hallmark/internal/network"
	"hallmark.dev/hallmark/internal/vm"
)

// bootTimeout is generous: translated instructions on a busy host are slow.
const bootTimeout = 8 * time.Minute

func TestMain(m *testing.M) {
	if dir := os.Getenv(startEnv); dir != "" {
		os.Exit(startAndDie(dir))
	}
	os.Exit(m.Run())
}

func systemTest(t *testing.T) {
	t.Helper()
	if os.Getenv("HALLMARK_SYSTEM_TESTS") != "1" {
		t.Skip("boots machines as root: set HALLMARK_SYSTEM_TESTS=1")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: machines hang on a bridge")
	}
}

func cacheDir(t *testing.T) string {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "hallmark-test")
}

func baseImage(t *testing.T, offer, sku string) base.Image {
	t.Helper()
	store, err := base.Open(filepath.Join(cacheDir(t), "base"), base.NewCatalogue(nil), base.Mirror{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := store.Resolve(t.Context(), base.Ref{Publisher: "Debian", Offer: offer, SKU: sku, Version: base.Latest})
	if err != nil {
		t.Fatal(err)
	}
	image, err := store.Get(t.Context(), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// rig is a machine with its network and the key to it.
type rig struct {
	machine *vm.Machine
	address netip.Addr
	signer  ssh.Signer
}

func newRig(t *testing.T, image base.Image, customData string) rig {
	t.Helper()
	dir := t.TempDir()
	net := newNetwork(t, dir)
	address, err := network.NextFree(net.Config().Machines, nil)
	if err != nil {
		t.Fatal(err)
	}
	resolvers, err := network.Resolvers()
	if err != nil {
		t.Fatal(err)
	}
	choice, err := vm.Choose(t.Context(), os.Getenv(vm.AccelEnv), filepath.Join(cacheDir(t), "accelerator.json"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("accelerator %s: %s", choice.Accel, choice.Reason)
	const id = "web-1"
	cfg := vm.Config{ID: id, Name: id, CPUs: 2, MemoryMiB: 1024, Accel: choice.Accel}.Default()
	tap, err := net.Attach(t.Context(), network.Port{Machine: id, MAC: network.MAC(id), Address: address, Owner: cfg.UserID})
	if err != nil {
		t.Fatal(err)
	}
	cfg.NIC = &vm.NIC{Tap: tap, MAC: network.MAC(id)}
	cfg.Disks = []vm.Disk{{Path: vm.OSDiskFile, Format: disk.QCOW2}, {Path: filepath.Join(dir, "data.raw"), Format: disk.Raw, LUN: 3}}
	if err := disk.Create(t.Context(), cfg.Disks[1].Path, disk.Raw, 64<<20); err != nil {
		t.Fatal(err)
	}
	signer, public := newKey(t)
	seed := &vm.Seed{InstanceID: id, Hostname: "web-1", AdminUser: "azureuser", SSHKeys: []string{public}, CustomData: []byte(customData),
		Network: &vm.SeedNetwork{MAC: network.MAC(id), Address: netip.PrefixFrom(address, net.Config().Machines.Bits()), Gateway: net.Config().Gateway(), DNS: resolvers}}
	machine, err := vm.Create(t.Context(), filepath.Join(dir, "machines", "web-1"), cfg,
		vm.Image{Path: image.Path, Format: disk.QCOW2, DiskSize: 8 << 30}, seed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := machine.ReadConsole(6000)
			t.Logf("the end of the console:\n%s", text)
		}
		if err := machine.Destroy(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return rig{machine, address, signer}
}

func newNetwork(t *testing.T, dir string) *network.Network {
	t.Helper()
	cfg, err := network.Load(filepath.Join(dir, "network.json"), dir)
	if err != nil {
		t.Fatal(err)
	}
	n, err := network.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Teardown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := n.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

func newKey(t *testing.T) (ssh.Signer, string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
}

// awaitSSH tries until the machine lets the key in.
func (r rig) awaitSSH(t *testing.T) *ssh.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootTimeout)
	defer cancel()
	config := &ssh.ClientConfig{User: "azureuser", Auth: []ssh.AuthMethod{ssh.PublicKeys(r.signer)},
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: 20 * time.Second}
	addr := net.JoinHostPort(r.address.String(), "22")
	for {
		client, err := ssh.Dial("tcp", addr, config)
		if err == nil {
			return client
		}
		if s, e := r.machine.Status(ctx); e != nil || s.State != vm.Running {
			t.Fatalf("the machine is %+v, %v", s, e)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no SSH within %s: %v", bootTimeout, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func shell(t *testing.T, c *ssh.Client, command string) string {
	t.Helper()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out, err := s.CombinedOutput(command)
	if err != nil {
		t.Errorf("%s: %v\n%s", command, err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestBoot boots each built-in release once and asks everything of that boot.
// mirrorHost is a name that any machine has to resolve: its package mirror's.
func mirrorHost(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(base.HostMirror().Main)
	if err != nil || u.Hostname() == "" {
		t.Fatalf("the host's package mirror: %v", err)
	}
	return u.Hostname()
}

func TestBoot(t *testing.T) {
	systemTest(t)
	for _, e := range base.Builtin() {
		t.Run(e.Debian.Codename, func(t *testing.T) { boot(t, baseImage(t, e.Offer, e.SKU), e.Debian.Codename) })
	}
}

// customData has users of its own, which must not cost the administrator's.
const customData = "#cloud-config\nusers:\n  - name: extra\nwrite_files:\n  - path: /etc/from-custom-data\n    content: hello\n"

func boot(t *testing.T, image base.Image, codename string) {
	r := newRig(t, image, customData)
	start := time.Now()
	if err := r.machine.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("QEMU answers after %s", time.Since(start).Round(time.Millisecond))
	c := r.awaitSSH(t)
	defer c.Close()
	t.Logf("SSH after %s", time.Since(start).Round(100*time.Millisecond))
	if got := shell(t, c, "cloud-init status --wait >/dev/null; systemctl is-system-running --wait; systemctl --failed --no-legend --plain"); got != "running" {
		t.Errorf("the system is %q", got)
	}
	t.Logf("complete after %s", time.Since(start).Round(100*time.Millisecond))
	t.Log(shell(t, c, "systemd-analyze; systemd-analyze blame | head -12"))
	for command, want := range map[string]string{
		"hostname":      "web-1",
		"whoami":        "azureuser",
		"sudo -n id -u": "0",
		". /etc/os-release; echo $VERSION_CODENAME":                   codename,
		"cat /etc/from-custom-data":                                   "hello",
		"id -un extra":                                                "extra",
		"lsblk -bdno SIZE /dev/vda":                                   fmt.Sprint(8 << 30),
		"df --output=size -B1G / | tail -1 | tr -d ' '":               "8",
		"ls /dev/disk/by-path | grep -c 'lun-0:0:0:3\\|scsi-0:0:0:3'": "1",
		"test -e /vmlinuz.old || uname -r | xargs -I{} readlink -f /vmlinuz | grep -c \"$(uname -r)\"": "1",
		"getent hosts " + mirrorHost(t) + " >/dev/null && echo resolves":                               "resolves",
		"sudo apt-get -qq update && echo updated":                                                      "updated",
	} {
		if got := shell(t, c, command); got != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
	t.Run("the host is out of reach", func(t *testing.T) { expectWalled(t, c) })
	t.Run("the guest agent", func(t *testing.T) { expectAgent(t, r) })
	t.Run("QEMU has no rights left", func(t *testing.T) { expectConfined(t, r) })
	t.Run("found again and paused", func(t *testing.T) { expectAdopted(t, r) })
	t.Run("powered down", func(t *testing.T) { expectPowerdown(t, r) })
}

func expectWalled(t *testing.T, c *ssh.Client) {
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || !p.Addr().Is4() || p.Addr().IsLoopback() {
			continue
		}
		command := fmt.Sprintf("timeout 3 bash -c 'echo > /dev/tcp/%s/%s' 2>/dev/null && echo reached || echo walled", p.Addr(), port)
		if got := shell(t, c, command); got != "walled" {
			t.Errorf("%s: %s", p.Addr(), got)
		}
	}
}

func expectAgent(t *testing.T, r rig) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	agent := r.machine.Agent()
	if err := agent.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	content := []byte(strings.Repeat("0123456789abcdef", 10_000)) // more than one message
	if err := agent.WriteFile(ctx, "/root/file", content); err != nil {
		t.Fatal(err)
	}
	got, err := agent.Run(ctx, vm.Command{Path: "/bin/sh", Args: []string{"-c", "cat /root/file; cat >&2; exit 3"}, Input: []byte("to stderr")})
	if err != nil || string(got.Stdout) != string(content) || string(got.Stderr) != "to stderr" || got.ExitCode != 3 {
		t.Errorf("%d bytes, %q, %d, %v", len(got.Stdout), got.Stderr, got.ExitCode, err)
	}
	var failed *vm.QMPError
	if _, err := agent.Run(ctx, vm.Command{Path: "/no/such/program"}); !errors.As(err, &failed) {
		t.Errorf("a program that is not there: %v", err)
	}
	interfaces, err := agent.Interfaces(ctx)
	if err != nil || !strings.Contains(fmt.Sprint(interfaces), r.address.String()) {
		t.Errorf("interfaces %v, %v", interfaces, err)
	}
}

func expectConfined(t *testing.T, r rig) {
	s, err := r.machine.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID))
	if err != nil {
		t.Fatal(err)
	}
	uid := fmt.Sprint(r.machine.Config().UserID)
	for _, want := range []string{"Uid:\t" + uid + "\t" + uid + "\t" + uid, "CapEff:\t0000000000000000", "Seccomp:\t2"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the process's status lacks %q", want)
		}
	}
}

// expectAdopted opens the machine anew, with and without the record of its
// process, as after a crash of whoever started it.
func expectAdopted(t *testing.T, r rig) {
	before, err := r.machine.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(r.machine.Dir(), vm.ProcessFile)); err != nil {
		t.Fatal(err)
	}
	again, err := vm.Open(r.machine.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Start(t.Context()); err != nil { // runs already
		t.Fatal(err)
	}
	if err := again.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	paused, err := again.Status(t.Context())
	if err != nil || paused.State != vm.Paused || paused.PID != before.PID {
		t.Errorf("%+v, %v; want paused, process %d", paused, err, before.PID)
	}
	if err := again.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func expectPowerdown(t *testing.T, r rig) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := r.machine.Powerdown(ctx); err != nil {
		t.Fatal(err)
	}
	if err := r.machine.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	s, err := r.machine.Status(ctx)
	if err != nil || s.State != vm.Stopped {
		t.Errorf("%+v, %v", s, err)
	}
	if err := exec.Command("qemu-img", "check", "-q", filepath.Join(r.machine.Dir(), vm.OSDiskFile)).Run(); err != nil {
		t.Error(err)
	}
}
