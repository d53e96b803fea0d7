package expr

import (
	"errors"
	"math/big"
	"net/netip"

	"hallmark.dev/hallmark/internal/expr/value"
)

var addressTable = []Function{
	{Name: "ipRangeContains", In: Policy, Min: 2, Max: 2, call: ipRangeContains},
	{Name: "parseCidr", In: template, Min: 1, Max: 1, call: parseCIDR},
	{Name: "cidrSubnet", In: template, Min: 3, Max: 3, call: cidrSubnet},
	{Name: "cidrHost", In: template, Min: 2, Max: 2, call: cidrHost},
}

// ipRangeContains is false for text that is no range or address, for mixed
// families, and for a target wider than the range.
func ipRangeContains(args []Value) (Value, error) {
	no := value.FromBool(false)
	if args[0].Kind() != value.String || args[1].Kind() != value.String {
		return no, nil
	}
	r, err := netip.ParsePrefix(args[0].Str())
	if err != nil {
		return no, nil
	}
	r = r.Masked()
	if ip, err := netip.ParseAddr(args[1].Str()); err == nil {
		return value.FromBool(r.Contains(ip)), nil
	}
	target, err := netip.ParsePrefix(args[1].Str())
	if err != nil {
		return no, nil
	}
	return value.FromBool(target.Bits() >= r.Bits() && r.Contains(target.Addr())), nil
}

func prefixArgument(args []Value) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(args[0].Str())
	if err != nil {
		return p, wrong(args, 0, "a range such as 10.0.0.0/16")
	}
	return p.Masked(), nil
}

func parseCIDR(args []Value) (Value, error) {
	p, err := prefixArgument(args)
	if err != nil {
		return Value{}, err
	}
	width := p.Addr().BitLen()
	last := offset(p.Addr(), new(big.Int).Sub(size(width-p.Bits()), big.NewInt(1)))
	first, usable := p.Addr(), last
	fields := []value.Field{
		{Key: "network", Value: addrValue(p.Addr())},
		{Key: "netmask", Value: addrValue(mask(p))},
	}
	if p.Addr().Is4() {
		fields = append(fields, value.Field{Key: "broadcast", Value: addrValue(last)})
		if width-p.Bits() > 1 {
			first, usable = first.Next(), last.Prev()
		}
	}
	return value.FromFields(append(fields,
		value.Field{Key: "firstUsable", Value: addrValue(first)},
		value.Field{Key: "lastUsable", Value: addrValue(usable)},
		value.Field{Key: "cidr", Value: value.FromInt(int64(p.Bits()))},
	)), nil
}

func addrValue(a netip.Addr) Value { return value.FromString(a.String()) }

func mask(p netip.Prefix) netip.Addr {
	ones := make([]byte, p.Addr().BitLen()/8)
	for i := range ones {
		ones[i] = 0xff
	}
	all, _ := netip.AddrFromSlice(ones)
	return netip.PrefixFrom(all, p.Bits()).Masked().Addr()
}

func size(bits int) *big.Int { return new(big.Int).Lsh(big.NewInt(1), uint(bits)) }

// offset returns the address n after a; the zero Addr when that does not exist.
func offset(a netip.Addr, n *big.Int) netip.Addr {
	sum := new(big.Int).Add(new(big.Int).SetBytes(a.AsSlice()), n)
	b := make([]byte, a.BitLen()/8)
	if sum.BitLen() > len(b)*8 {
		return netip.Addr{}
	}
	result, _ := netip.AddrFromSlice(sum.FillBytes(b))
	return result
}

func cidrSubnet(args []Value) (Value, error) {
	p, err := prefixArgument(args)
	if err != nil {
		return Value{}, err
	}
	bits, ok1 := wholeNumber(args[1])
	i, ok2 := wholeNumber(args[2])
	width := p.Addr().BitLen()
	switch {
	case !ok1 || bits < int64(p.Bits()) || bits > int64(width):
		return Value{}, wrong(args, 1, "a prefix length within the range")
	case !ok2 || i < 0:
		return Value{}, wrong(args, 2, "a whole number from 0")
	case big.NewInt(i).Cmp(size(int(bits)-p.Bits())) >= 0:
		return Value{}, errors.New("the range has fewer subnets of that size")
	}
	at := offset(p.Addr(), new(big.Int).Mul(big.NewInt(i), size(width-int(bits))))
	return value.FromString(netip.PrefixFrom(at, int(bits)).String()), nil
}

// cidrHost returns the usable address at an index from 0.
func cidrHost(args []Value) (Value, error) {
	p, err := prefixArgument(args)
	if err != nil {
		return Value{}, err
	}
	i, ok := wholeNumber(args[1])
	if !ok || i < 0 {
		return Value{}, wrong(args, 1, "a whole number from 0")
	}
	host := offset(p.Addr(), new(big.Int).Add(big.NewInt(i), big.NewInt(1)))
	if !host.IsValid() || !p.Contains(host) {
		return Value{}, errors.New("the range has fewer addresses")
	}
	return addrValue(host), nil
}
