package expr

import (
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"strings"

	"hallmark.dev/hallmark/internal/expr/value"
)

// guidNamespace is the namespace of ARM's guid(): 11fb06fb-712d-4ddd-98c7-e71bbd588830.
var guidNamespace = []byte{0x11, 0xfb, 0x06, 0xfb, 0x71, 0x2d, 0x4d, 0xdd, 0x98, 0xc7, 0xe7, 0x1b, 0xbd, 0x58, 0x88, 0x30}

func joined(args []Value) (string, error) {
	if err := texts(args); err != nil {
		return "", err
	}
	parts := make([]string, len(args))
	for i := range args {
		parts[i] = args[i].Str()
	}
	return strings.Join(parts, "-"), nil
}

// guid is the name-based UUID (RFC 4122, version 5) of the arguments joined by
// hyphens.
func guid(args []Value) (Value, error) {
	name, err := joined(args)
	if err != nil {
		return Value{}, err
	}
	sum := sha1.Sum(append(guidNamespace[:len(guidNamespace):len(guidNamespace)], name...))
	sum[6] = sum[6]&0x0f | 0x50
	sum[8] = sum[8]&0x3f | 0x80
	s := hex.EncodeToString(sum[:16])
	return value.FromString(s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]), nil
}

// uniqueString is thirteen characters of base 32 over a 64-bit hash of the
// arguments joined by hyphens.
func uniqueString(args []Value) (Value, error) {
	name, err := joined(args)
	if err != nil {
		return Value{}, err
	}
	const alphabet = "abcdefghijklmnopqrstuvwxyz234567"
	hash := murmur64([]byte(name))
	var out [13]byte
	for i := range out {
		out[i] = alphabet[hash>>59]
		hash <<= 5
	}
	return value.FromString(string(out[:])), nil
}

// murmur64 is the variant of MurmurHash3 (32-bit x86 family, two lanes of 32
// bits, seed 0) that ARM uses. The constants are the algorithm's own.
func murmur64(data []byte) uint64 {
	const c1, c2 = 0x239b961b, 0xab0e9789
	var h1, h2 uint32
	n := uint32(len(data))
	mix1 := func(k uint32) uint32 { return bits.RotateLeft32(k*c1, 15) * c2 }
	mix2 := func(k uint32) uint32 { return bits.RotateLeft32(k*c2, 17) * c1 }
	for ; len(data) >= 8; data = data[8:] {
		h1 ^= mix1(binary.LittleEndian.Uint32(data))
		h1 = (bits.RotateLeft32(h1, 19)+h2)*5 + 0x561ccd1b
		h2 ^= mix2(binary.LittleEndian.Uint32(data[4:]))
		h2 = (bits.RotateLeft32(h2, 13)+h1)*5 + 0x0bcaa747
	}
	var tail [8]byte
	copy(tail[:], data)
	h1 ^= mix1(binary.LittleEndian.Uint32(tail[:]))
	h2 ^= mix2(binary.LittleEndian.Uint32(tail[4:]))
	h1 ^= n
	h2 ^= n
	h1 += h2
	h2 += h1
	h1, h2 = avalanche(h1), avalanche(h2)
	h1 += h2
	h2 += h1
	return uint64(h2)<<32 | uint64(h1)
}

func avalanche(h uint32) uint32 {
	h = (h ^ h>>16) * 0x85ebca6b
	h = (h ^ h>>13) * 0xc2b2ae35
	return h ^ h>>16
}
