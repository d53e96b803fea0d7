package network

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
)

// Files that name the host's DNS servers. The first names 127.0.0.53 where
// systemd-resolved serves the host; the second then has the real ones.
var resolverFiles = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}

// ErrNoResolver means that the host has no DNS server that a machine could reach.
var ErrNoResolver = errors.New("the host has no DNS server that machines can reach")

// Resolvers returns the host's DNS servers for machines and steps. Servers that
// run on the host itself are left out: nothing in here may reach the host.
func Resolvers() ([]netip.Addr, error) {
	own, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("listing the host's addresses: %w", err)
	}
	for _, file := range resolverFiles {
		f, err := os.Open(file)
		if err != nil {
			continue
		}
		servers := outside(ParseResolvers(f), own)
		f.Close()
		if len(servers) > 0 {
			return servers, nil
		}
	}
	return nil, fmt.Errorf("%w: %s name none, or only servers on this host; configure one", ErrNoResolver, strings.Join(resolverFiles, " and "))
}

// ParseResolvers reads the nameserver lines of resolv.conf(5), at most the
// three that the format allows, IPv4 only: machines have no IPv6.
func ParseResolvers(r io.Reader) []netip.Addr {
	var out []netip.Addr
	for lines := bufio.NewScanner(r); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" || len(out) == 3 {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil && a.Is4() {
			out = append(out, a)
		}
	}
	return out
}

func outside(servers []netip.Addr, own []net.Addr) []netip.Addr {
	local := map[netip.Addr]bool{}
	for _, a := range own {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			local[p.Addr()] = true
		}
	}
	var out []netip.Addr
	for _, s := range servers {
		if !s.IsLoopback() && !s.IsUnspecified() && !local[s] {
			out = append(out, s)
		}
	}
	return out
}
