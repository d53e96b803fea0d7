package cli

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
)

// publicKeys are where a user's own key is looked for, best first.
var publicKeys = []string{"id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub"}

// sshPublicKey finds the key to inject into a machine: the one that was named
// (a file or the key itself), else the user's own, else one made here.
func (a *App) sshPublicKey(named string) (string, error) {
	if strings.HasPrefix(named, "ssh-") || strings.HasPrefix(named, "ecdsa-") {
		return named, nil
	}
	if named != "" {
		raw, err := os.ReadFile(named)
		return strings.TrimSpace(string(raw)), err
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the SSH key: %w; pass --ssh-key", err)
	}
	dir := filepath.Join(home, ".ssh")
	for _, name := range publicKeys {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			return strings.TrimSpace(string(raw)), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("read the SSH key: %w", err)
		}
	}
	return a.makeSSHKey(dir)
}

func (a *App) makeSSHKey(dir string) (string, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	block, err := ssh.MarshalPrivateKey(private, "hallmark")
	if err != nil {
		return "", err
	}
	authorized, err := ssh.NewPublicKey(public)
	if err != nil {
		return "", err
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(authorized))) + " hallmark"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make an SSH key: %w", err)
	}
	path := filepath.Join(dir, "id_ed25519")
	if err := writeNew(path, pem.EncodeToMemory(block)); err != nil {
		return "", fmt.Errorf("make an SSH key: %w", err)
	}
	if err := writeNew(path+".pub", []byte(line+"\n")); err != nil {
		return "", fmt.Errorf("make an SSH key: %w", err)
	}
	a.progress("Made an SSH key for you: %s", path)
	return line, nil
}

// writeNew never replaces a file: an SSH key that is gone locks its owner out.
func writeNew(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}
