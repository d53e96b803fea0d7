package attest

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
)

// Errors that a caller may tell apart.
var (
	ErrKey       = errors.New("not a usable key")
	ErrUntrusted = errors.New("signed with a key that is not trusted here")
	ErrSignature = errors.New("the signature does not fit")
	ErrFormat    = errors.New("not in the expected form")
)

// PublicKey verifies. ID is [KeyID] of it.
type PublicKey struct {
	ID  string
	key ed25519.PublicKey
}

// PrivateKey signs.
type PrivateKey struct {
	PublicKey
	key ed25519.PrivateKey
}

var keyIDPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// KeyID is the SHA-256, in lower-case hexadecimal digits, of the key's DER
// SubjectPublicKeyInfo: what `openssl pkey -pubin -outform DER | sha256sum`
// prints.
func KeyID(key ed25519.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrKey, err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}

// GenerateKey makes a key from the operating system's randomness.
func GenerateKey() (PrivateKey, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("generate a signing key: %w", err)
	}
	return newPrivateKey(private)
}

func newPrivateKey(private ed25519.PrivateKey) (PrivateKey, error) {
	public, ok := private.Public().(ed25519.PublicKey)
	if !ok {
		return PrivateKey{}, ErrKey
	}
	id, err := KeyID(public)
	return PrivateKey{PublicKey: PublicKey{ID: id, key: public}, key: private}, err
}

// MarshalPEM writes the private key as PKCS #8. The bytes are a secret.
func (k PrivateKey) MarshalPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// MarshalPEM writes the public key as PKIX.
func (k PublicKey) MarshalPEM() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(k.key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// ParsePrivateKey reads what MarshalPEM wrote. Its errors never hold key bytes.
func ParsePrivateKey(data []byte) (PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" {
		return PrivateKey{}, fmt.Errorf("%w: PEM text with a PRIVATE KEY is expected", ErrKey)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("%w: it cannot be read as PKCS #8", ErrKey)
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return PrivateKey{}, fmt.Errorf("%w: it is a %T, and only ed25519 is used", ErrKey, key)
	}
	return newPrivateKey(private)
}

// ParsePublicKey reads a PKIX public key in PEM.
func ParsePublicKey(data []byte) (PublicKey, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PUBLIC KEY" {
		return PublicKey{}, fmt.Errorf("%w: PEM text with a PUBLIC KEY is expected", ErrKey)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return PublicKey{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	public, ok := key.(ed25519.PublicKey)
	if !ok {
		return PublicKey{}, fmt.Errorf("%w: it is a %T, and only ed25519 is used", ErrKey, key)
	}
	id, err := KeyID(public)
	return PublicKey{ID: id, key: public}, err
}

// Trusted are the keys whose signatures count, by id. Keys that have been
// rotated out stay in it: what they signed then is still true.
type Trusted map[string]PublicKey

// Trust collects keys.
func Trust(keys ...PublicKey) Trusted {
	t := Trusted{}
	for _, k := range keys {
		t[k.ID] = k
	}
	return t
}

func (t Trusted) verify(keyID string, message, signature []byte) error {
	key, ok := t[keyID]
	if !ok {
		return fmt.Errorf("%w: key %s: import it with hallmark key trust if you know whose it is", ErrUntrusted, short(keyID))
	}
	if len(signature) != ed25519.SignatureSize || !ed25519.Verify(key.key, message, signature) {
		return fmt.Errorf("%w: key %s", ErrSignature, short(keyID))
	}
	return nil
}

// short is enough of an id for a message, whatever was given as one.
func short(id string) string {
	if !keyIDPattern.MatchString(id) {
		return "of no valid id"
	}
	return id[:16]
}
