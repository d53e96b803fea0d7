package build

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hallmark.dev/hallmark/internal/disk"
)

// Names below a builder's data directory. docs/on-disk.md describes them.
const (
	layersDir  = "layers"  // HEX.qcow2 or HEX.raw beside HEX.json
	actionsDir = "actions" // KEY.json
	imagesDir  = "images"  // HEX.qcow2 beside HEX.json
	failedDir  = "failed"  // RUN.json; the state itself is a file in layers
	runsDir    = "runs"    // RUN/NN-step.log
	mountsDir  = "mounts"  // disk.Host
	keyFile    = "secret.key"

	workPrefix   = ".work-"   // an unfinished file; its owner holds its lock
	failedPrefix = ".failed-" // a kept failed state
)

// layer is one link of a chain: a base image or an overlay. Its record is the
// last thing written; a file without one does not count.
type layer struct {
	Digest  string      `json:"digest"` // of the file's bytes
	File    string      `json:"file"`   // name in layersDir
	Format  disk.Format `json:"format"`
	Parent  string      `json:"parent,omitempty"` // digest
	Virtual int64       `json:"virtualSize"`      // bytes
	Created time.Time   `json:"created"`
	Step    string      `json:"step,omitempty"` // for people

	// Of a base: what it was digested from, so that an unchanged file is not
	// read again.
	Source *fileStamp `json:"source,omitempty"`
}

// fileStamp tells cheaply whether a file is still the same.
type fileStamp struct {
	Inode    uint64    `json:"inode"`
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
}

func stampOf(info os.FileInfo) fileStamp {
	stamp := fileStamp{Size: info.Size(), Modified: info.ModTime().UTC()}
	if s, ok := info.Sys().(*unixStat); ok {
		stamp.Inode = s.Ino
	}
	return stamp
}

// actionRecord maps a key to what the step produced.
type actionRecord struct {
	Key     string    `json:"key"`
	Result  string    `json:"result"` // a layer's digest, for a seal an image's
	Step    string    `json:"step"`
	Network bool      `json:"network"`
	Started time.Time `json:"started"` // its packages are at least as new as this
}

// image is a sealed result.
type image struct {
	Digest  string    `json:"digest"`
	File    string    `json:"file"`
	Layer   string    `json:"layer"` // digest of the layer it was made from
	Size    int64     `json:"size"`
	Virtual int64     `json:"virtualSize"`
	Created time.Time `json:"created"`
}

// cache is the store of layers, actions and images below one directory.
type cache struct {
	dir string
}

func openCache(dir string) (cache, error) {
	for _, d := range []string{layersDir, actionsDir, imagesDir, failedDir, runsDir, mountsDir} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return cache{}, err
		}
	}
	return cache{dir}, nil
}

func (c cache) path(parts ...string) string {
	return filepath.Join(append([]string{c.dir}, parts...)...)
}

func hexOf(digest string) string { return strings.TrimPrefix(digest, "sha256:") }

// pin is a shared lock on a file that must not be pruned meanwhile.
type pin struct{ f *os.File }

func (p pin) release() {
	if p.f != nil {
		p.f.Close()
	}
}

// pinFile locks a file for use and makes sure that it is still the one at path.
func pinFile(path string) (pin, error) {
	f, err := os.Open(path)
	if err != nil {
		return pin{}, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		f.Close()
		return pin{}, fmt.Errorf("%s: %w", path, ErrInUse)
	}
	if !isStill(f, path) {
		f.Close()
		return pin{}, &fs.PathError{Op: "pin", Path: path, Err: fs.ErrNotExist}
	}
	return pin{f}, nil
}

// layer loads a layer's record and pins it with all its parents; a chain with a
// missing link is fs.ErrNotExist.
func (c cache) layer(digest string) (layer, []pin, error) {
	var top layer
	var pins []pin
	for d := digest; d != ""; {
		l, p, err := c.oneLayer(d)
		if err != nil {
			releaseAll(pins)
			return layer{}, nil, err
		}
		if pins = append(pins, p); d == digest {
			top = l
		}
		d = l.Parent
	}
	return top, pins, nil
}

func (c cache) oneLayer(digest string) (layer, pin, error) {
	var l layer
	record := c.path(layersDir, hexOf(digest)+".json")
	if err := readJSON(record, &l); err != nil {
		return layer{}, pin{}, err
	}
	p, err := pinFile(c.path(layersDir, l.File))
	if err != nil {
		return layer{}, pin{}, err
	}
	touch(record)
	return l, p, nil
}

func releaseAll(pins []pin) {
	for _, p := range pins {
		p.release()
	}
}

// action finds a step's earlier result, if it may still be used.
func (c cache) action(key string, maxAge time.Duration, now time.Time) (actionRecord, bool) {
	var a actionRecord
	path := c.path(actionsDir, key+".json")
	if err := readJSON(path, &a); err != nil {
		return actionRecord{}, false // missing or unreadable: run the step
	}
	if age := now.Sub(a.Started); a.Network && (age > maxAge || age < 0) {
		return actionRecord{}, false
	}
	touch(path)
	return a, true
}

func (c cache) image(digest string) (image, pin, error) {
	var i image
	record := c.path(imagesDir, hexOf(digest)+".json")
	if err := readJSON(record, &i); err != nil {
		return image{}, pin{}, err
	}
	p, err := pinFile(c.path(imagesDir, i.File))
	if err != nil {
		return image{}, pin{}, err
	}
	touch(record)
	return i, p, nil
}

// touch notes a use; a cache that cannot note it merely prunes it earlier.
func touch(path string) {
	now := time.Now()
	_ = os.Chtimes(path, now, now)
}

func readJSON(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// writeRecord puts a JSON file in place in one move and flushes it.
func writeRecord(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	temp := filepath.Join(filepath.Dir(path), workPrefix+randomName())
	f, err := createLocked(temp)
	if err != nil {
		return err
	}
	defer f.Close() // after the move: Sweep takes what nobody holds
	if _, err = f.Write(append(text, '\n')); err == nil {
		err = f.Sync()
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return moveDurably(temp, path)
}

// createLocked makes a file that Sweep leaves alone while it is open.
func createLocked(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil && isStill(f, path) {
			return f, nil
		}
		f.Close() // Sweep met it before it was locked, and removes it
	}
}

func isStill(f *os.File, path string) bool {
	held, err := f.Stat()
	if err != nil {
		return false
	}
	current, err := os.Stat(path)
	return err == nil && os.SameFile(held, current)
}

func moveDurably(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return disk.SyncFile(filepath.Dir(to))
}
