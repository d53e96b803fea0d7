package attest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Files of a key folder. The name of the file says which private key signs;
// public keys, own and foreign, are kept for ever.
const (
	currentFile  = "signing.pem"
	publicSuffix = ".pub.pem"
)

// Keys is a folder with the key that signs and every key that is trusted.
type Keys struct{ dir string }

// OpenKeys opens a key folder and makes it, and a first key, where there is
// none. Two processes that do so at the same moment end up with the same key.
func OpenKeys(dir string) (*Keys, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the signing keys: %w", err)
	}
	k := &Keys{dir: dir}
	_, err := os.Lstat(filepath.Join(dir, currentFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		_, err = k.install(os.Link) // fails if another process was faster
		if errors.Is(err, fs.ErrExist) {
			err = nil
		}
	case err != nil:
		return nil, fmt.Errorf("open the signing keys: %w", err)
	}
	return k, err
}

// Signer is the key that signs now. A key file that others can read is
// refused: whoever could read it can sign in our name.
func (k *Keys) Signer() (PrivateKey, error) {
	path := filepath.Join(k.dir, currentFile)
	info, err := os.Stat(path)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("read the signing key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return PrivateKey{}, fmt.Errorf("read the signing key: %s can be read by others (mode %04o): chmod 600 it, and rotate the key if anybody else could have copied it", path, info.Mode().Perm())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("read the signing key: %w", err)
	}
	key, err := ParsePrivateKey(data)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("read the signing key %s: %w", path, err)
	}
	return key, nil
}

// Rotate makes a new key sign from now on. The old private key is gone
// afterwards; its public half stays trusted.
func (k *Keys) Rotate() (PrivateKey, error) { return k.install(os.Rename) }

// install writes the public half first: a crash in between leaves a key that is
// trusted and never signs, which is harmless, never a signature that nobody can
// verify.
func (k *Keys) install(place func(from, to string) error) (PrivateKey, error) {
	key, err := GenerateKey()
	if err != nil {
		return PrivateKey{}, err
	}
	if err := k.Trust(key.PublicKey); err != nil {
		return PrivateKey{}, err
	}
	data, err := key.MarshalPEM()
	if err != nil {
		return PrivateKey{}, err
	}
	if err := k.write(currentFile, data, 0o600, place); err != nil {
		return PrivateKey{}, fmt.Errorf("store the signing key: %w", err)
	}
	return key, nil
}

// Trust keeps a public key for verification; to trust it again is no error.
func (k *Keys) Trust(key PublicKey) error {
	data, err := key.MarshalPEM()
	if err != nil {
		return err
	}
	if err := k.write(key.ID+publicSuffix, data, 0o644, os.Rename); err != nil {
		return fmt.Errorf("store the public key %s: %w", key.ID, err)
	}
	return nil
}

// Trusted reads every key that is trusted. One that cannot be read, or whose
// file's name is not its id, is an error: to leave it out silently would turn
// good signatures into bad ones.
func (k *Keys) Trusted() (Trusted, error) {
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		return nil, fmt.Errorf("read the trusted keys: %w", err)
	}
	trusted := Trusted{}
	for _, entry := range entries {
		id, ok := strings.CutSuffix(entry.Name(), publicSuffix)
		if !ok || strings.HasPrefix(id, ".") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(k.dir, entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("read the trusted keys: %w", err)
		}
		key, err := ParsePublicKey(data)
		if err != nil {
			return nil, fmt.Errorf("read the trusted key %s: %w", entry.Name(), err)
		}
		if key.ID != id {
			return nil, fmt.Errorf("read the trusted key %s: %w: its id is %s", entry.Name(), ErrKey, key.ID)
		}
		trusted[id] = key
	}
	return trusted, nil
}

// write puts a file in place whole, or not at all, and is durable on return.
func (k *Keys) write(name string, data []byte, mode fs.FileMode, place func(from, to string) error) (err error) {
	temp, err := os.CreateTemp(k.dir, ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) // gone already after a rename
	defer func() {
		if err != nil {
			temp.Close()
		}
	}()
	if err := temp.Chmod(mode); err != nil {
		return err
	}
	if _, err := temp.Write(data); err != nil {
		return err
	}
	if err := temp.Sync(); err != nil {
		return err
	}
	if err := temp.Close(); err != nil {
		return err
	}
	if err := place(temp.Name(), filepath.Join(k.dir, name)); err != nil {
		return err
	}
	return syncDir(k.dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
