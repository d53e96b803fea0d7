// Package secret encrypts what must not stand on a disk as it is: a build's
// secrets while their run lasts. One random key a data directory, in a file
// that only its owner can read.
//
// It protects a copy of the database, not against whoever can read the data
// directory as a whole. The wiring imports it.
package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// keySize makes it AES-256.
const keySize = 32

// Key seals and opens. It is safe for concurrent use.
type Key struct{ aead cipher.AEAD }

// Open reads a key file, or makes a new one (mode 0600, durable on return)
// where there is none.
func Open(path string) (*Key, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		raw, err = create(path)
	}
	if err != nil {
		return nil, fmt.Errorf("open the key %s: %w", path, err)
	}
	if len(raw) != keySize {
		return nil, fmt.Errorf("the key %s has %d bytes, want %d: restore it from a backup", path, len(raw), keySize)
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &Key{aead}, nil
}

// create writes the whole key under another name first: half a key would lock
// its owner out.
func create(path string) ([]byte, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	raw := make([]byte, keySize)
	rand.Read(raw)
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(raw)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	// A link, not a rename: of two that start at once, one key must win.
	if err := os.Link(f.Name(), path); err != nil {
		return nil, err
	}
	return raw, nil
}

// Seal encrypts and authenticates.
func (k *Key) Seal(plain []byte) ([]byte, error) {
	return k.aead.Seal(nil, nil, plain, nil), nil
}

// ErrSealed says that something was not sealed with this key, or was changed.
var ErrSealed = errors.New("not sealed with this data directory's key")

// Open decrypts what Seal returned.
func (k *Key) Open(sealed []byte) ([]byte, error) {
	plain, err := k.aead.Open(nil, nil, sealed, nil)
	if err != nil {
		return nil, ErrSealed
	}
	return plain, nil
}
