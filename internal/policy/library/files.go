package library

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
)

// Limits on what is read: several times what Azure/azure-policy has, and what ARM takes
// as one document.
const (
	maxFile  = 4 << 20
	maxTotal = 512 << 20
	maxFiles = 50_000
)

// budget is what may still be read.
type budget struct{ files, bytes int64 }

func newBudget() *budget { return &budget{maxFiles, maxTotal} }

// read takes one file into memory.
func (b *budget) read(name string, from io.Reader) (File, error) {
	if b.files--; b.files < 0 {
		return File{}, fmt.Errorf("%s: there are more than %d files", name, int64(maxFiles))
	}
	text, err := io.ReadAll(io.LimitReader(from, maxFile+1))
	if err != nil {
		return File{}, fmt.Errorf("%s: %w", name, err)
	}
	if len(text) > maxFile {
		return File{}, fmt.Errorf("%s: the file is larger than %d MiB", name, maxFile>>20)
	}
	if b.bytes -= int64(len(text)); b.bytes < 0 {
		return File{}, fmt.Errorf("%s: the files are larger than %d MiB together", name, maxTotal>>20)
	}
	return File{name, string(text)}, nil
}

// Folder reads the JSON files of a tree. Links and what begins with a dot are passed over.
func Folder(tree fs.FS) (files []File, err error) {
	b := newBudget()
	err = fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		hidden := name != "." && strings.HasPrefix(entry.Name(), ".")
		switch {
		case err != nil:
			return err
		case entry.IsDir() && hidden:
			return fs.SkipDir
		case !entry.Type().IsRegular() || hidden || !isJSON(name):
			return nil
		}
		f, err := tree.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		one, err := b.read(name, f)
		files = append(files, one)
		return err
	})
	return files, err
}

func isJSON(name string) bool { return strings.EqualFold(path.Ext(name), ".json") }

// Archive reads the JSON files of a tar archive, compressed with gzip or not. Every name
// has to stay inside the archive; links are passed over.
func Archive(from io.Reader) ([]File, error) {
	buffered := bufio.NewReader(from)
	if magic, err := buffered.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, fmt.Errorf("the archive: %w", err)
		}
		defer z.Close()
		// What is passed over counts too: a small archive can unpack to anything.
		return members(tar.NewReader(&bounded{z, maxTotal}))
	}
	return members(tar.NewReader(&bounded{buffered, maxTotal}))
}

func members(t *tar.Reader) (files []File, err error) {
	b := newBudget()
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, fmt.Errorf("the archive: %w", err)
		}
		name := path.Clean(h.Name)
		if !filepath.IsLocal(name) || strings.Contains(name, `\`) {
			return nil, fmt.Errorf("the archive names %q, which leads out of it; nothing was taken from it", h.Name)
		}
		if h.Typeflag != tar.TypeReg || !isJSON(name) {
			continue
		}
		one, err := b.read(name, t)
		if err != nil {
			return nil, err
		}
		files = append(files, one)
	}
}

// bounded ends in an error, not in silence, when more is read than allowed.
type bounded struct {
	from io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("it is larger than %d MiB", maxTotal>>20)
	}
	n, err := b.from.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
