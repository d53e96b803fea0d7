package cas

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// ID names a chunk: the SHA-256 of its bytes, before compression.
type ID [sha256.Size]byte

// Sum returns the name of data.
func Sum(data []byte) ID { return sha256.Sum256(data) }

// String returns 64 lower-case hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// ParseID reads what String wrote, and nothing else: one name has one spelling.
func ParseID(text string) (ID, error) {
	var id ID
	if len(text) != hex.EncodedLen(len(id)) || strings.ToLower(text) != text {
		return ID{}, fmt.Errorf("%q is not a chunk id: want %d lower-case hexadecimal digits", clip(text), hex.EncodedLen(len(id)))
	}
	if _, err := hex.Decode(id[:], []byte(text)); err != nil {
		return ID{}, fmt.Errorf("%q is not a chunk id: %w", clip(text), err)
	}
	return id, nil
}

// Digest names an image: the SHA-256 of its manifest's canonical text. Two
// equal digests mean equal guest-visible bytes and equal virtual size.
type Digest ID

const digestPrefix = "sha256:"

// String returns "sha256:" and 64 lower-case hexadecimal digits.
func (d Digest) String() string { return digestPrefix + ID(d).String() }

// Hex returns the digits alone, as used in file names.
func (d Digest) Hex() string { return ID(d).String() }

// IsZero reports whether d was never set.
func (d Digest) IsZero() bool { return d == Digest{} }

// ParseDigest reads what String wrote.
func ParseDigest(text string) (Digest, error) {
	digits, ok := strings.CutPrefix(text, digestPrefix)
	if !ok {
		return Digest{}, fmt.Errorf("%q is not an image digest: want %q and 64 hexadecimal digits", clip(text), digestPrefix)
	}
	id, err := ParseID(digits)
	if err != nil {
		return Digest{}, fmt.Errorf("%q is not an image digest: %w", clip(text), err)
	}
	return Digest(id), nil
}

// MarshalText makes a Digest a string in JSON and YAML.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (d *Digest) UnmarshalText(text []byte) error {
	parsed, err := ParseDigest(string(text))
	*d = parsed
	return err
}

// clip keeps hostile input from filling an error message.
func clip(text string) string {
	const most = 100
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}
