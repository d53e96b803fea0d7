package inventory

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"hallmark.dev/hallmark/internal/image"
)

// Schema names the form of an Inventory as JSON. Fields are only ever added.
const Schema = "hallmark.dev/inventory/v1"

// Inventory is what is in an image.
type Inventory struct {
	Schema string `json:"schema"`
	// Tattoo and OSRelease are key and value, as the image says them.
	Tattoo    map[string]string `json:"tattoo,omitempty"`
	OSRelease map[string]string `json:"osRelease,omitempty"`
	Kernels   []string          `json:"kernels,omitempty"` // versions with modules
	// Kernel is what /vmlinuz, by which our own bases boot, leads to.
	Kernel string `json:"kernel,omitempty"`
	// PackageManager is "dpkg", or "" where Packages are not known.
	PackageManager string    `json:"packageManager"`
	Packages       []Package `json:"packages,omitempty"`
	Files          []File    `json:"files"`               // under /etc, by path
	UsedBytes      int64     `json:"usedBytes,omitempty"` // of the root file system
}

// File is a file, link or directory.
type File struct {
	Path   string `json:"path"` // absolute
	Type   string `json:"type"` // file, directory, link or other
	Mode   string `json:"mode"` // octal, as chmod(1) takes it
	UID    int    `json:"uid"`
	GID    int    `json:"gid"`
	Size   int64  `json:"sizeBytes,omitempty"` // of a file
	Digest string `json:"digest,omitempty"`    // of a file's content
	Target string `json:"target,omitempty"`    // of a link
}

// maxText bounds what is read whole of an image, which may be anybody's.
const maxText = 64 << 20

// maxFiles bounds how many files under /etc are listed.
const maxFiles = 200_000

// Read looks through an image's root file system. What an image lacks is left
// out; what cannot be read is an error.
func Read(root *os.Root) (Inventory, error) {
	v := Inventory{Schema: Schema, Files: []File{}}
	steps := []func(*os.Root, *Inventory) error{readPackages, readTattoo, readOSRelease, readKernels, readFiles}
	var errs []error
	for _, step := range steps {
		errs = append(errs, step(root, &v))
	}
	return v, errors.Join(errs...)
}

func readPackages(root *os.Root, v *Inventory) error {
	const name = "var/lib/dpkg/status"
	f, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	v.PackageManager = "dpkg"
	if v.Packages, err = ParseStatus(f); err != nil {
		return fmt.Errorf("/%s: %w", name, err)
	}
	return nil
}

func readTattoo(root *os.Root, v *Inventory) error {
	text, err := readText(root, "etc/hallmark/tattoo")
	if err != nil || text == nil {
		return err
	}
	facts, err := image.ParseTattoo(text)
	if err != nil {
		return fmt.Errorf("/etc/hallmark/tattoo: %w", err)
	}
	v.Tattoo = facts.Values()
	return nil
}

func readOSRelease(root *os.Root, v *Inventory) error {
	text, err := readText(root, "etc/os-release")
	if err != nil || text == nil {
		if text, err = readText(root, "usr/lib/os-release"); err != nil || text == nil {
			return err
		}
	}
	v.OSRelease = parseOSRelease(string(text))
	return nil
}

// parseOSRelease reads os-release(5): shell assignments, quoted or not.
func parseOSRelease(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
			quote := value[0]
			value = value[1 : n-1]
			if quote == '"' {
				value = strings.NewReplacer(`\"`, `"`, `\\`, `\`, `\$`, `$`, "\\`", "`").Replace(value)
			}
		}
		out[name] = value
	}
	return out
}

func readKernels(root *os.Root, v *Inventory) error {
	for _, dir := range []string{"usr/lib/modules", "lib/modules"} {
		entries, err := fs.ReadDir(root.FS(), dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, e := range entries {
			v.Kernels = append(v.Kernels, e.Name())
		}
		break
	}
	if target, err := root.Readlink("vmlinuz"); err == nil {
		v.Kernel = strings.TrimPrefix(path.Base(target), "vmlinuz-")
	}
	return nil
}

// readText reads a small file; nil where there is none, or where a link to it
// leads out of the image.
func readText(root *os.Root, name string) ([]byte, error) {
	info, err := root.Stat(name)
	if err != nil || !info.Mode().IsRegular() {
		return nil, nil //nolint:nilerr // a link that leads nowhere in the image
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxText))
	if err != nil {
		return nil, fmt.Errorf("/%s: %w", name, err)
	}
	return text, nil
}

func readFiles(root *os.Root, v *Inventory) error {
	err := fs.WalkDir(root.FS(), "etc", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if len(v.Files) == maxFiles {
			return fmt.Errorf("more than %d files under /etc", maxFiles)
		}
		f, err := describe(root, name, e)
		if err != nil {
			return fmt.Errorf("/%s: %w", name, err)
		}
		v.Files = append(v.Files, f)
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	slices.SortFunc(v.Files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	return err
}

func describe(root *os.Root, name string, e fs.DirEntry) (File, error) {
	info, err := e.Info()
	if err != nil {
		return File{}, err
	}
	f := File{Path: "/" + name, Type: "other", Mode: octal(info.Mode())}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		f.UID, f.GID = int(s.Uid), int(s.Gid)
	}
	switch {
	case info.IsDir():
		f.Type = "directory"
	case info.Mode()&fs.ModeSymlink != 0:
		f.Type, f.Mode = "link", "" // a link's own mode means nothing
		f.Target, err = root.Readlink(name)
	case info.Mode().IsRegular():
		f.Type, f.Size = "file", info.Size()
		f.Digest, err = digest(root, name)
	}
	return f, err
}

func octal(mode fs.FileMode) string {
	bits := uint32(mode.Perm())
	for flag, bit := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if mode&flag != 0 {
			bits |= bit
		}
	}
	return fmt.Sprintf("%04o", bits)
}

func digest(root *os.Root, name string) (string, error) {
	f, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}
