package secret

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestWhatIsSealedOpensWithTheSameKeyOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys", "secret.key")
	key, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := key.Seal([]byte("canary"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("canary")) {
		t.Error("the plain text stands in what was sealed")
	}
	again, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := again.Open(sealed); err != nil || string(plain) != "canary" {
		t.Errorf("got %q, %v", plain, err)
	}
	other, err := Open(filepath.Join(t.TempDir(), "other.key"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Open(sealed); !errors.Is(err, ErrSealed) {
		t.Errorf("another key: got %v", err)
	}
	sealed[len(sealed)-1] ^= 1
	if _, err := key.Open(sealed); !errors.Is(err, ErrSealed) {
		t.Errorf("a changed byte: got %v", err)
	}
}

func TestTheKeyFileIsItsOwnersOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k")
	if _, err := Open(path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode().Perm())
	}
}
