package network

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"hallmark.dev/hallmark/internal/base"
)

// dialEnv makes this test's binary, run inside a namespace, one attempt to
// connect; listenEnv makes it a server that greets.
const (
	dialEnv   = "HALLMARK_TEST_DIAL"
	listenEnv = "HALLMARK_TEST_LISTEN"
	greeting  = "hello from inside"
)

func TestMain(m *testing.M) {
	if addr := os.Getenv(dialEnv); addr != "" {
		c, err := net.DialTimeout("tcp", addr, 3*time.Second)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		c.Close()
		os.Exit(0)
	}
	if addr := os.Getenv(listenEnv); addr != "" {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("listening")
		if c, err := l.Accept(); err == nil {
			_, _ = io.WriteString(c, greeting)
			c.Close()
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func systemTest(t *testing.T) {
	t.Helper()
	if os.Getenv("HALLMARK_SYSTEM_TESTS") != "1" {
		t.Skip("makes bridges, namespaces and firewall rules as root: set HALLMARK_SYSTEM_TESTS=1")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes bridges, namespaces and firewall rules")
	}
}

func open(t *testing.T) *Network {
	t.Helper()
	systemTest(t)
	cfg, err := Load(t.TempDir()+"/network.json", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	n, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Teardown(context.Background()); err != nil {
			t.Error(err)
		}
		if left, err := links(context.Background(), cfg.mark()); err != nil || len(left) > 0 {
			t.Errorf("Teardown left %v, %v", left, err)
		}
	})
	for range 2 { // the second time changes nothing
		if err := n.Ensure(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func inside(t *testing.T, namespace, env string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "ip", "netns", "exec", namespace, self)
	cmd.Env = append(os.Environ(), env)
	return cmd
}

func dials(t *testing.T, namespace, addr string) bool {
	t.Helper()
	out, err := inside(t, namespace, dialEnv+"="+addr).CombinedOutput()
	t.Logf("%s -> %s: %v %s", namespace, addr, err, strings.TrimSpace(string(out)))
	return err == nil
}

func hostAddresses(t *testing.T) []string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			out = append(out, p.Addr().String())
		}
	}
	return out
}

// outsideAddress is the package mirror, the one place outside that every build
// needs in any case.
func outsideAddress(t *testing.T) string {
	t.Helper()
	mirror, err := url.Parse(base.HostMirror().Main)
	if err != nil {
		t.Fatal(err)
	}
	ips, err := net.DefaultResolver.LookupNetIP(t.Context(), "ip4", mirror.Hostname())
	if err != nil {
		t.Fatal(err)
	}
	return netip.AddrPortFrom(ips[0].Unmap(), 80).String()
}

func listenOnHost(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// expectWalled checks what every inhabitant may and may not do.
func expectWalled(t *testing.T, namespace, own string) {
	t.Helper()
	port := listenOnHost(t)
	for _, addr := range hostAddresses(t) {
		if dials(t, namespace, net.JoinHostPort(addr, port)) {
			t.Errorf("reached the host at %s", addr)
		}
	}
	if out := outsideAddress(t); !dials(t, namespace, out) {
		t.Errorf("cannot reach the outside at %s", out)
	}
	expectServes(t, namespace, own)
}

// expectServes checks that the host reaches in.
func expectServes(t *testing.T, namespace, own string) {
	t.Helper()
	addr := net.JoinHostPort(own, "8080")
	server := inside(t, namespace, listenEnv+"="+addr)
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Process.Kill(); _ = server.Wait() }()
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatalf("the host cannot reach in: %v", err)
	}
	defer c.Close()
	if text, err := io.ReadAll(c); err != nil || string(text) != greeting {
		t.Errorf("got %q, %v", text, err)
	}
}

func TestStepIsWalledOffFromTheHost(t *testing.T) {
	n := open(t)
	ns, err := n.Namespace(t.Context(), "build-1")
	if err != nil {
		t.Fatal(err)
	}
	expectWalled(t, n.namespaceName("build-1"), ns.Address.String())
	if err := ns.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(ns.Path); !os.IsNotExist(err) {
		t.Errorf("Close left %s", ns.Path)
	}
}

// pretendMachine puts a namespace where QEMU would be: a veth pair whose host
// end has the name that the machine's tap will have.
func pretendMachine(t *testing.T, n *Network, machine, address string) (namespace string) {
	t.Helper()
	namespace = n.cfg.mark() + "-machine-" + machine // Teardown removes it as it removes a step's
	mac := MAC(machine)
	for _, args := range [][]string{
		{"netns", "add", namespace},
		{"link", "add", n.cfg.Tap(machine), "type", "veth", "peer", "name", "eth0", "address", mac, "netns", namespace},
		{"-n", namespace, "address", "add", netip.PrefixFrom(netip.MustParseAddr(address), n.cfg.Machines.Bits()).String(), "dev", "eth0"},
		{"-n", namespace, "link", "set", "dev", "lo", "up"},
		{"-n", namespace, "link", "set", "dev", "eth0", "up"},
		{"-n", namespace, "route", "add", "default", "via", n.cfg.Gateway().String()},
	} {
		if err := ip(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if _, err := n.Attach(t.Context(), Port{Machine: machine, MAC: mac, Address: netip.MustParseAddr(address)}); err != nil {
			t.Fatal(err)
		}
	}
	return namespace
}

func TestMachineIsWalledOffFromTheHost(t *testing.T) {
	n := open(t)
	first, err := NextFree(n.cfg.Machines, nil)
	if err != nil {
		t.Fatal(err)
	}
	ns := pretendMachine(t, n, "web-1", first.String())
	expectWalled(t, ns, first.String())

	t.Run("nor from other instances", func(t *testing.T) {
		other := open(t)
		first, err := NextFree(other.cfg.Machines, nil)
		if err != nil {
			t.Fatal(err)
		}
		there := pretendMachine(t, other, "web-2", first.String())
		addr := first.String() + ":8080"
		server := inside(t, there, listenEnv+"="+addr)
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = server.Process.Kill(); _ = server.Wait() }()
		if dials(t, ns, addr) {
			t.Error("reached another instance's machine")
		}
	})

	t.Run("nor can it take another's address", func(t *testing.T) {
		if err := ip(t.Context(), "-n", ns, "link", "set", "dev", "eth0", "address", "52:54:00:00:00:99"); err != nil {
			t.Fatal(err)
		}
		if dials(t, ns, outsideAddress(t)) {
			t.Error("a machine with a false MAC address reached the outside")
		}
	})
}

func TestSweepRemovesWhatNobodyOwns(t *testing.T) {
	n := open(t)
	for _, m := range []string{"kept", "stray"} {
		a := netip.MustParseAddr(map[string]string{"kept": n.cfg.Gateway().Next().String(), "stray": n.cfg.Gateway().Next().Next().String()}[m])
		if _, err := n.Attach(t.Context(), Port{Machine: m, MAC: MAC(m), Address: a, Owner: 65534}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.Namespace(t.Context(), "left-over"); err != nil {
		t.Fatal(err)
	}
	removed, err := n.Sweep(t.Context(), []string{"kept"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(removed) != 2 { // the namespace, with its veth, and the stray tap
		t.Errorf("removed %v", removed)
	}
	left, err := links(t.Context(), n.cfg.mark())
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := findLink(left, n.cfg.Tap("kept")); !ok || len(left) != 2 {
		t.Errorf("left %v, want the bridge and the kept tap", left)
	}
	if known, err := n.ports(t.Context(), n.cfg.Tap("stray")); err != nil || len(known) != 0 {
		t.Errorf("the stray machine is still known: %v, %v", known, err)
	}
}

// An instance that runs no step and no machine still keeps its networks.
func TestAnotherInstanceTakesNothingThatIsClaimed(t *testing.T) {
	n := open(t)
	taken, err := HostPrefixes()
	if err != nil {
		t.Fatal(err)
	}
	other, err := Default("another", taken)
	if err != nil {
		t.Fatal(err)
	}
	for _, mine := range []netip.Prefix{n.cfg.Machines, n.cfg.Steps} {
		for _, theirs := range []netip.Prefix{other.Machines, other.Steps} {
			if mine.Overlaps(theirs) {
				t.Errorf("%s of the first and %s of the second instance overlap", mine, theirs)
			}
		}
	}
}
