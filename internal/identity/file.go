package identity

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// writeFile replaces a file so that after a crash it is the old one or the new
// one, readable by its owner only.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone after the rename
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// readOrCreate reads a key file, or makes it. A file that others can read is refused:
// the key may be known.
func readOrCreate(path string, create func() ([]byte, error)) ([]byte, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		data, err := create()
		if err != nil {
			return nil, err
		}
		return data, writeFile(path, data)
	}
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read by others (mode %v): remove it to make a new key, or chmod 600 if nobody saw it", path, info.Mode().Perm())
	}
	return os.ReadFile(path)
}
