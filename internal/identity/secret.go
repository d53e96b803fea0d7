package identity

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// pepperFile holds the key of secrets, 0600.
const pepperFile = "secrets.key"

// Secret is the trace of a secret: enough to recognise it, not to know it.
//
// Hash is HMAC-SHA-256 under a key in a file of its own. A slow password hash would
// add nothing: a secret is 256 random bits, made here and never chosen by
// people, so guessing is hopeless at any speed, and every token request would
// pay for it. The key makes a copied database worthless by itself.
type Secret struct {
	KeyID       string    `json:"keyId"`
	DisplayName string    `json:"displayName,omitempty"`
	Hint        string    `json:"hint,omitempty"` // the first three characters, to tell secrets apart
	Hash        string    `json:"hash"`           // hex
	Created     time.Time `json:"created"`
	Expires     time.Time `json:"expires,omitzero"` // zero: never
}

// Hasher makes secrets and recognises them.
type Hasher struct{ pepper []byte }

// OpenHasher reads the key of secrets in a folder, and makes it at the first start.
func OpenHasher(dir string) (*Hasher, error) {
	pepper, err := readOrCreate(filepath.Join(dir, pepperFile), func() ([]byte, error) { return randomBytes(32), nil })
	if err != nil {
		return nil, fmt.Errorf("reading the key of secrets: %w", err)
	}
	return &Hasher{pepper}, nil
}

// New makes a secret and its trace. The text is shown once and stored nowhere; zero
// expires means never.
func (h *Hasher) New(now, expires time.Time) (string, Secret) {
	text := base64.RawURLEncoding.EncodeToString(randomBytes(32))
	return text, Secret{KeyID: NewID(), Hint: text[:3], Hash: h.hash(text), Created: now.UTC(), Expires: expires}
}

// Matches reports whether a text is one of the secrets that are valid at a time.
func (h *Hasher) Matches(secrets []Secret, text string, now time.Time) bool {
	hash := []byte(h.hash(text))
	for _, s := range secrets {
		if hmac.Equal([]byte(s.Hash), hash) && (s.Expires.IsZero() || now.Before(s.Expires)) {
			return true
		}
	}
	return false
}

func (h *Hasher) hash(text string) string {
	m := hmac.New(sha256.New, h.pepper)
	m.Write([]byte(text))
	return hex.EncodeToString(m.Sum(nil))
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// NewID is a random UUID.
func NewID() string {
	b := randomBytes(16)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func clip(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}
