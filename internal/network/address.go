package network

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// ErrExhausted means that no address or prefix is free.
var ErrExhausted = errors.New("all addresses are in use")

// NextFree returns the lowest address of prefix that used lacks. The network's
// own address, the first (the gateway) and the last (broadcast) are never given.
func NextFree(prefix netip.Prefix, used []netip.Addr) (netip.Addr, error) {
	taken := make(map[netip.Addr]bool, len(used))
	for _, a := range used {
		taken[a] = true
	}
	last := lastAddr(prefix)
	for a := prefix.Masked().Addr().Next().Next(); a.Less(last); a = a.Next() {
		if !taken[a] {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%w in %s (%d)", ErrExhausted, prefix, len(used))
}

// MAC derives a locally administered address from a machine's identity, so that
// a machine keeps its address whenever it is made again.
func MAC(machine string) string {
	s := []byte(short(machine))
	sum := binary.BigEndian.Uint32(s[:4]) ^ uint32(s[4])<<8 ^ uint32(s[5])
	return fmt.Sprintf("52:54:%02x:%02x:%02x:%02x", byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum))
}

func freePrefix(pool netip.Prefix, size int, taken []netip.Prefix) (netip.Prefix, error) {
	for p := netip.PrefixFrom(pool.Addr(), size); pool.Contains(p.Addr()); p = netip.PrefixFrom(lastAddr(p).Next(), size) {
		if !slices.ContainsFunc(taken, p.Overlaps) {
			return p, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("%w: no free /%d in %s; set one in the network settings", ErrExhausted, size, pool)
}

func lastAddr(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().As4()
	n := binary.BigEndian.Uint32(a[:]) | (1<<(32-p.Bits()) - 1)
	binary.BigEndian.PutUint32(a[:], n)
	return netip.AddrFrom4(a)
}

// HostPrefixes lists the IPv4 networks that the host's addresses and routes
// occupy, the default route aside.
func HostPrefixes() ([]netip.Prefix, error) {
	var taken []netip.Prefix
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("listing the host's addresses: %w", err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			taken = append(taken, p.Masked())
		}
	}
	f, err := os.Open("/proc/net/route")
	if err != nil {
		return nil, fmt.Errorf("reading the host's routes: %w", err)
	}
	defer f.Close()
	return append(taken, parseRoutes(f)...), nil
}

// parseRoutes reads the kernel's table (proc(5)): addresses are hexadecimal in
// the machine's byte order. Lines it does not understand say nothing.
func parseRoutes(r io.Reader) []netip.Prefix {
	var out []netip.Prefix
	for lines := bufio.NewScanner(r); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 8 {
			continue
		}
		dest, err1 := strconv.ParseUint(fields[1], 16, 32)
		mask, err2 := strconv.ParseUint(fields[7], 16, 32)
		if err1 != nil || err2 != nil || mask == 0 {
			continue
		}
		var a [4]byte
		binary.NativeEndian.PutUint32(a[:], uint32(dest))
		out = append(out, netip.PrefixFrom(netip.AddrFrom4(a), bits.OnesCount32(uint32(mask))).Masked())
	}
	return out
}
