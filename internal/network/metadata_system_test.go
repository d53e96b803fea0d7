package network

import (
	"net"
	"net/netip"
	"strconv"
	"testing"
)

// The metadata service believes the address that a request comes from.
func TestOnlyAMachineGetsToTheMetadataServiceAndOnlyAsItself(t *testing.T) {
	n := open(t)
	service := netip.AddrPortFrom(n.cfg.Gateway(), MetadataPort).String()
	l, err := net.Listen("tcp4", service)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	from := make(chan string, 16)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			c.Close()
			from <- host
		}
	}()
	const asked = "169.254.169.254:80"
	one, two := n.cfg.Gateway().Next(), n.cfg.Gateway().Next().Next()
	ns := pretendMachine(t, n, "one", one.String())
	pretendMachine(t, n, "two", two.String())
	if !dials(t, ns, asked) {
		t.Fatal("a machine does not reach the service")
	}
	if got := <-from; got != one.String() {
		t.Errorf("it came from %s, not from %s", got, one)
	}
	for _, addr := range []string{service, "169.254.169.254:" + strconv.Itoa(MetadataPort), "169.254.169.253:80", n.cfg.Gateway().String() + ":80"} {
		if dials(t, ns, addr) {
			t.Errorf("a machine reached %s", addr)
		}
	}
	step, err := n.Namespace(t.Context(), "build")
	if err != nil {
		t.Fatal(err)
	}
	defer step.Close()
	for _, addr := range []string{asked, service} {
		if dials(t, n.namespaceName("build"), addr) {
			t.Errorf("a build step reached %s", addr)
		}
	}
	// As the other machine: its address, its MAC, or both.
	spoof := func(args ...string) {
		t.Helper()
		if err := ip(t.Context(), append([]string{"-n", ns}, args...)...); err != nil {
			t.Fatal(err)
		}
	}
	spoof("address", "flush", "dev", "eth0")
	spoof("address", "add", netip.PrefixFrom(two, n.cfg.Machines.Bits()).String(), "dev", "eth0")
	spoof("route", "replace", "default", "via", n.cfg.Gateway().String())
	if dials(t, ns, asked) {
		t.Error("a machine reached the service with another's address")
	}
	spoof("link", "set", "dev", "eth0", "address", MAC("two"))
	if dials(t, ns, asked) {
		t.Error("a machine reached the service with another's address and MAC")
	}
	select {
	case got := <-from:
		t.Errorf("something came from %s", got)
	default:
	}
}
