package build

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"

	"hallmark.dev/hallmark/internal/disk"
)

func keysOf[V any](m map[string]V) iter.Seq[string] { return maps.Keys(m) }

// action is what a cache key is the digest of. Whatever can change a layer's
// content is in it; a step's name, its time limit, the proxy and the mirror are
// not. Secrets enter as keyed hashes: a key reveals nothing, not even whether two
// data directories use the same secret.
type action struct {
	Format     int
	Engine     string
	Parent     string
	Kind       Kind
	Script     string            `json:",omitempty"`
	Inline     []string          `json:",omitempty"`
	Content    string            `json:",omitempty"`
	Dest       string            `json:",omitempty"`
	Mode       fs.FileMode       `json:",omitempty"`
	Owner      string            `json:",omitempty"`
	Trust      string            `json:",omitempty"`
	Tattoo     []string          `json:",omitempty"`
	ExitCodes  []int             `json:",omitempty"`
	Offline    bool              `json:",omitempty"`
	Isolation  Isolation         `json:",omitempty"`
	Boot       bool              `json:",omitempty"`
	Env        map[string]string `json:",omitempty"`
	Secrets    map[string]string `json:",omitempty"`
	DiskSizeGB int               `json:",omitempty"`
}

// keyFormat changes when the meaning of a layer does.
const keyFormat = 1

// actionKey digests a step on a parent. content is the digest of a File step's
// content.
func actionKey(plan Plan, parent string, s Step, content string, secretKey []byte) (string, error) {
	a := action{Format: keyFormat, Engine: plan.EngineVersion, Parent: parent, Kind: s.Kind}
	switch s.Kind {
	case Shell:
		a.Inline, a.ExitCodes, a.Offline, a.Boot = s.Inline, s.ValidExitCodes, s.Offline, s.Boot
		if len(s.Script) > 0 {
			a.Script = sum(s.Script)
		}
		a.Env, a.Secrets = environment(plan, s), secretHashes(plan.Secrets, secretKey)
	case File:
		a.Content, a.Dest, a.Mode, a.Owner = content, s.Dest, s.Mode, s.Owner
	case CACertificate:
		a.Trust = sum(s.Certificates)
	case Tattoo:
		a.Tattoo = []string{sum(s.TattooText), sum(s.Signature)}
	case grow:
		a.DiskSizeGB = plan.OSDiskSizeGB
	}
	if s.Isolation == InVM {
		a.Isolation = InVM
	}
	text, err := json.Marshal(a)
	if err != nil {
		return "", err
	}
	return sum(text), nil
}

// environment is what a recipe says; what this host adds is not part of a key.
func environment(plan Plan, s Step) map[string]string {
	env := maps.Clone(plan.Variables)
	if env == nil {
		env = map[string]string{}
	}
	maps.Copy(env, s.Env)
	return env
}

func secretHashes(secrets []Secret, key []byte) map[string]string {
	out := map[string]string{}
	for _, s := range secrets {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(s.Name + "\x00"))
		h.Write(s.Value)
		out[s.Name] = hex.EncodeToString(h.Sum(nil))
	}
	return out
}

// loadSecretKey reads the data directory's key, made at first use.
func loadSecretKey(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeSecretKey(path); err != nil {
			return nil, err
		}
		key, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, err
	}
	if len(key) != sha256.Size {
		return nil, fmt.Errorf("%s holds %d bytes, not %d; delete it and the cache with it", path, len(key), sha256.Size)
	}
	return key, nil
}

// makeSecretKey lets the first of several processes win.
func makeSecretKey(path string) error {
	key := make([]byte, sha256.Size)
	rand.Read(key)
	temp := filepath.Join(filepath.Dir(path), workPrefix+randomName())
	f, err := createLocked(temp)
	if err != nil {
		return err
	}
	defer f.Close()
	defer os.Remove(temp)
	if _, err := f.Write(key); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Link(temp, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return disk.SyncFile(filepath.Dir(path))
}
