package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// namespaceDir is where ip(8) keeps named network namespaces.
const namespaceDir = "/run/netns"

var stepName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}$`)

// Namespace is a network namespace for one build step, joined to the outside.
type Namespace struct {
	Path    string     // for setns(2), `ip netns exec`, `systemd-nspawn --network-namespace-path`
	Address netip.Addr // the step's own
	Gateway netip.Addr // the host's end of the veth pair

	network *Network
	step    string
}

// Namespace makes a namespace for a step; one of that name that is left over
// is replaced. Ensure has run before. Close it when the step is over; what a
// killed process leaves, Sweep removes.
func (n *Network) Namespace(ctx context.Context, step string) (*Namespace, error) {
	if !stepName.MatchString(step) {
		return nil, fmt.Errorf("network namespace %q: a name has letters, digits, dots, dashes and underscores, at most 100", step)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	release, err := lockHost()
	if err != nil {
		return nil, err
	}
	defer release()
	if err := n.removeNamespace(ctx, step); err != nil {
		return nil, fmt.Errorf("removing the network namespace that an earlier %q left: %w", step, err)
	}
	taken, err := HostPrefixes()
	if err != nil {
		return nil, err
	}
	// What is as large as the whole range is our own claim to it, or a network
	// that a step's more specific one goes before.
	taken = slices.DeleteFunc(taken, func(p netip.Prefix) bool { return p.Bits() <= n.cfg.Steps.Bits() })
	pair, err := freePrefix(n.cfg.Steps, linkBits, taken)
	if err != nil {
		return nil, fmt.Errorf("network for step %q: %w", step, err)
	}
	ns := &Namespace{Path: filepath.Join(namespaceDir, n.namespaceName(step)), network: n, step: step,
		Gateway: pair.Addr().Next(), Address: pair.Addr().Next().Next()}
	if err := ns.make(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("network for step %q: %w", step, err), n.removeNamespace(context.WithoutCancel(ctx), step))
	}
	return ns, nil
}

func (s *Namespace) make(ctx context.Context) error {
	name, veth := s.network.namespaceName(s.step), s.network.cfg.veth(s.step)
	host := netip.PrefixFrom(s.Gateway, linkBits).String()
	inside := netip.PrefixFrom(s.Address, linkBits).String()
	for _, args := range [][]string{
		{"netns", "add", name},
		{"link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", name},
		{"link", "set", "dev", veth, "alias", "hallmark step " + s.step},
		{"address", "add", host, "dev", veth},
		{"link", "set", "dev", veth, "up"},
		{"-n", name, "link", "set", "dev", "lo", "up"},
		{"-n", name, "address", "add", inside, "dev", "eth0"},
		{"-n", name, "link", "set", "dev", "eth0", "up"},
		{"-n", name, "route", "add", "default", "via", s.Gateway.String()},
	} {
		if err := ip(ctx, args...); err != nil {
			return err
		}
	}
	noIPv6(veth)
	return nil
}

// Close removes the namespace's name and its way out. Processes that still run
// inside keep the namespace, without any network.
func (s *Namespace) Close() error {
	s.network.mu.Lock()
	defer s.network.mu.Unlock()
	return s.network.removeNamespace(context.Background(), s.step)
}

func (n *Network) namespaceName(step string) string { return n.cfg.mark() + "-" + step }

// removeNamespace takes the veth first: it ends the step's way out even where
// a process holds the namespace open.
func (n *Network) removeNamespace(ctx context.Context, step string) error {
	if err := removeLink(ctx, n.cfg.veth(step)); err != nil {
		return err
	}
	names, err := n.steps()
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == step {
			return ip(ctx, "netns", "delete", n.namespaceName(step))
		}
	}
	return nil
}

// steps lists the steps that have a namespace.
func (n *Network) steps() ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(namespaceDir, n.namespaceName("")+"*"))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, p := range paths {
		out = append(out, strings.TrimPrefix(filepath.Base(p), n.namespaceName("")))
	}
	return out, nil
}
