package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
)

// Network is one instance's network on this host. Its methods are safe for
// concurrent use within one process; one process at a time owns an instance.
type Network struct {
	cfg Config
	mu  sync.Mutex // two steps must not pick the same addresses
}

// Open makes a Network of a valid configuration. It touches nothing.
func Open(cfg Config) (*Network, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("network settings: %w", err)
	}
	return &Network{cfg: cfg}, nil
}

// Config is what the network was opened with.
func (n *Network) Config() Config { return n.cfg }

// Ensure makes the bridge and the rules, or makes them again after somebody
// removed them. It turns the host's IPv4 forwarding on, and leaves it on.
func (n *Network) Ensure(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	// Rules first: at no time does a device exist that nothing guards.
	if err := nft(ctx, n.cfg.Rules()); err != nil {
		return fmt.Errorf("setting the rules that keep machines away from the host: %w", err)
	}
	if err := n.ensureBridge(ctx); err != nil {
		return fmt.Errorf("making the bridge %s: %w", n.cfg.Bridge(), err)
	}
	if err := n.claimSteps(ctx); err != nil {
		return fmt.Errorf("claiming %s for build steps: %w", n.cfg.Steps, err)
	}
	return forwardIPv4()
}

// claimSteps makes the steps' prefix visible on the host while no step runs:
// otherwise another instance would take it for free. Each step's own network is
// more specific, and wins.
func (n *Network) claimSteps(ctx context.Context) error {
	return ip(ctx, "route", "replace", "blackhole", n.cfg.Steps.Masked().String())
}

// unclaimSteps gives the prefix back; that it is free already is no error.
func (n *Network) unclaimSteps(ctx context.Context) error {
	if err := n.claimSteps(ctx); err != nil {
		return err
	}
	return ip(ctx, "route", "delete", "blackhole", n.cfg.Steps.Masked().String())
}

func (n *Network) ensureBridge(ctx context.Context) error {
	bridge := n.cfg.Bridge()
	present, err := links(ctx, bridge)
	if err != nil {
		return err
	}
	if _, ok := findLink(present, bridge); !ok {
		if err := ip(ctx, "link", "add", bridge, "type", "bridge"); err != nil {
			return err
		}
	}
	noIPv6(bridge)
	address := netip.PrefixFrom(n.cfg.Gateway(), n.cfg.Machines.Bits())
	return errors.Join(
		ip(ctx, "link", "set", "dev", bridge, "alias", "hallmark "+n.cfg.Instance),
		ip(ctx, "address", "replace", address.String(), "dev", bridge),
		ip(ctx, "link", "set", "dev", bridge, "up"))
}

// Port is a machine's place on the bridge: it can send from no other address.
type Port struct {
	Machine string // its identity; names the tap
	MAC     string
	Address netip.Addr
	Owner   int // numeric user id that may open the tap; 0 is root only
}

func (p Port) validate(within netip.Prefix) error {
	var errs []error
	if p.Machine == "" {
		errs = append(errs, errors.New("machine: must not be empty"))
	}
	if mac, err := net.ParseMAC(p.MAC); err != nil || len(mac) != 6 {
		errs = append(errs, fmt.Errorf("mac: %q is not an Ethernet address", p.MAC))
	}
	if !within.Contains(p.Address) {
		errs = append(errs, fmt.Errorf("address: %s is not within %s", p.Address, within))
	}
	return errors.Join(errs...)
}

// Attach makes a machine's tap, or brings an existing one up to date, and
// returns its name. Ensure has run before.
func (n *Network) Attach(ctx context.Context, p Port) (string, error) {
	if err := p.validate(n.cfg.Machines); err != nil {
		return "", fmt.Errorf("attaching machine %q to the network: %w", p.Machine, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	tap := n.cfg.Tap(p.Machine)
	if err := n.ensureTap(ctx, tap, p); err != nil {
		return "", fmt.Errorf("attaching machine %q to the network: %w", p.Machine, err)
	}
	return tap, nil
}

func (n *Network) ensureTap(ctx context.Context, tap string, p Port) error {
	present, err := links(ctx, tap)
	if err != nil {
		return err
	}
	l, ok := findLink(present, tap)
	if ok && l.Alias != "" && l.Alias != alias(p.Machine) {
		return fmt.Errorf("device %s belongs to %q; rename the machine", tap, l.Alias)
	}
	if !ok {
		if err := ip(ctx, "tuntap", "add", "dev", tap, "mode", "tap", "user", strconv.Itoa(p.Owner)); err != nil {
			return err
		}
	}
	noIPv6(tap)
	if err := errors.Join(
		ip(ctx, "link", "set", "dev", tap, "alias", alias(p.Machine)),
		n.forget(ctx, tap),
		nft(ctx, "add element bridge "+n.cfg.mark()+" ports "+p.element(tap)),
		ip(ctx, "link", "set", "dev", tap, "master", n.cfg.Bridge()),
	); err != nil {
		return err
	}
	return errors.Join(
		ip(ctx, "link", "set", "dev", tap, "type", "bridge_slave", "isolated", onOff(n.cfg.Isolate)),
		ip(ctx, "link", "set", "dev", tap, "up"))
}

// alias marks a device with whose it is. The kernel keeps 255 bytes.
func alias(machine string) string {
	text := "hallmark machine " + machine
	return text[:min(len(text), 255)]
}

// Detach removes a machine's tap; one that is not there is fine.
func (n *Network) Detach(ctx context.Context, machine string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.removeTap(ctx, n.cfg.Tap(machine))
}

func (n *Network) removeTap(ctx context.Context, tap string) error {
	return errors.Join(n.forget(ctx, tap), removeLink(ctx, tap))
}

// forget takes a tap's addresses out of the set of known machines.
func (n *Network) forget(ctx context.Context, tap string) error {
	elements, err := n.ports(ctx, tap)
	if err != nil || len(elements) == 0 {
		return err
	}
	return nft(ctx, "delete element bridge "+n.cfg.mark()+" ports { "+strings.Join(elements, ", ")+" }")
}

func removeLink(ctx context.Context, name string) error {
	present, err := links(ctx, name)
	if err != nil {
		return err
	}
	if _, ok := findLink(present, name); !ok {
		return nil
	}
	return ip(ctx, "link", "delete", "dev", name)
}

// forwardIPv4 writes only when it must: where the setting cannot be written
// (a container) it is often on already.
func forwardIPv4() error {
	const file = "/proc/sys/net/ipv4/ip_forward"
	now, err := os.ReadFile(file)
	if err == nil && strings.TrimSpace(string(now)) == "1" {
		return nil
	}
	if err := os.WriteFile(file, []byte("1\n"), 0); err != nil {
		return fmt.Errorf("turning IPv4 forwarding on: %w; run `sysctl net.ipv4.ip_forward=1` as root", err)
	}
	return nil
}

// noIPv6 keeps the kernel from giving a device a link-local address. It is
// tidiness (the rules drop IPv6 in any case), so a failure does not matter.
func noIPv6(dev string) {
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+dev+"/disable_ipv6", []byte("1\n"), 0)
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}
