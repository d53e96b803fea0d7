package region

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"

	"hallmark.dev/hallmark/internal/cas"
)

// Image is a disk image in a file.
type Image struct {
	Path string
	// Format is qemu-img's word: qcow2, raw, vpc, vhdx, vmdk. It is never guessed: a
	// guest that writes another format's header into a raw disk would otherwise
	// choose what its disk is taken for.
	Format string
}

// guest is a cas.Source: what a guest would see in an image and all that it is
// backed by, read straight from the files at the places that qemu-img names.
type guest struct {
	size   int64
	layers []*os.File // by depth
	data   []mapped   // ascending, without gaps of meaning: what is not here is zero
	temp   string     // removed by Close
}

// mapped is one entry of `qemu-img map`.
type mapped struct {
	Start  int64  `json:"start"`
	Length int64  `json:"length"`
	Depth  int    `json:"depth"`
	Zero   bool   `json:"zero"`
	Data   bool   `json:"data"`
	Offset *int64 `json:"offset"`
}

// info is what is needed of `qemu-img info --backing-chain`.
type info struct {
	Path     string `json:"filename"`
	Format   string `json:"format"`
	Size     int64  `json:"virtual-size"`
	Specific struct {
		Data struct {
			DataFile string `json:"data-file"`
		} `json:"data"`
	} `json:"format-specific"`
}

// errIndirect says that some bytes are not in the files as the guest sees them:
// they are compressed or encrypted, or in a file that is not the layer's own.
var errIndirect = errors.New("image cannot be read in place")

// openGuest opens an image that nothing is writing (qemu-img refuses one that is
// open in a machine). It and its backing files are read with this process's
// rights: whoever takes images from outside has to refuse backing files first.
// A compressed image is unpacked into a sparse file in tempDir.
func openGuest(ctx context.Context, image Image, tempDir string) (*guest, error) {
	// qemu-img takes a path whose first element has a colon for a protocol; an
	// absolute path has no such element.
	absolute, err := filepath.Abs(image.Path)
	if err != nil {
		return nil, err
	}
	image.Path = absolute
	g, err := openInPlace(ctx, image)
	if errors.Is(err, errIndirect) {
		g, err = openUnpacked(ctx, image, tempDir)
	}
	if err != nil {
		return nil, fmt.Errorf("read image %s: %w", image.Path, err)
	}
	return g, nil
}

func openInPlace(ctx context.Context, image Image) (*guest, error) {
	chain, err := inspect(ctx, image)
	if err != nil {
		return nil, err
	}
	out, err := qemuImg(ctx, "map", "-f", image.Format, "--output=json", "--", image.Path)
	if err != nil {
		return nil, err
	}
	g := &guest{size: chain[0].Size}
	if g.data, err = parseMap(out, len(chain)); err != nil {
		return nil, err
	}
	for _, layer := range chain {
		f, err := openLayer(layer)
		if err != nil {
			return nil, errors.Join(err, g.Close())
		}
		g.layers = append(g.layers, f)
	}
	return g, nil
}

func inspect(ctx context.Context, image Image) ([]info, error) {
	if image.Format == "" {
		return nil, errors.New("the image's format is not given, and never guessed")
	}
	out, err := qemuImg(ctx, "info", "-f", image.Format, "--backing-chain", "--output=json", "--", image.Path)
	if err != nil {
		return nil, err
	}
	var chain []info
	if err := json.Unmarshal(out, &chain); err != nil || len(chain) == 0 {
		return nil, fmt.Errorf("qemu-img info answers %.200q: %w", out, err)
	}
	return chain, nil
}

func openLayer(layer info) (*os.File, error) {
	if layer.Specific.Data.DataFile != "" {
		return nil, fmt.Errorf("%w: %s keeps its data in %s", errIndirect, layer.Path, layer.Specific.Data.DataFile)
	}
	stat, err := os.Stat(layer.Path)
	if err != nil {
		return nil, err
	}
	if !stat.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", layer.Path)
	}
	return os.Open(layer.Path)
}

// parseMap reads what `qemu-img map` prints of a chain of so many files and
// keeps what may be other than zero.
func parseMap(out []byte, depth int) ([]mapped, error) {
	var all, data []mapped
	if err := json.NewDecoder(bytes.NewReader(out)).Decode(&all); err != nil {
		return nil, fmt.Errorf("qemu-img map answers %.200q: %w", out, err)
	}
	var end int64
	for _, m := range all {
		if m.Start < end || m.Length <= 0 || m.Start > 1<<62-m.Length || m.Depth < 0 {
			return nil, fmt.Errorf("qemu-img map names %d bytes at %d after %d", m.Length, m.Start, end)
		}
		end = m.Start + m.Length
		if m.Zero || !m.Data {
			continue
		}
		if m.Offset == nil || *m.Offset < 0 || m.Depth >= depth {
			return nil, fmt.Errorf("%w: %d bytes at %d", errIndirect, m.Length, m.Start)
		}
		data = append(data, m)
	}
	return data, nil
}

// openUnpacked has qemu-img write the guest's bytes into a sparse file.
func openUnpacked(ctx context.Context, image Image, tempDir string) (*guest, error) {
	f, err := os.CreateTemp(tempDir, "unpacked-*.raw")
	if err != nil {
		return nil, err
	}
	f.Close()
	_, err = qemuImg(ctx, "convert", "-f", image.Format, "-O", "raw", "-S", "64k", "--", image.Path, f.Name())
	if err == nil {
		var g *guest
		if g, err = openInPlace(ctx, Image{f.Name(), "raw"}); err == nil {
			g.temp = f.Name()
			return g, nil
		}
	}
	return nil, errors.Join(err, os.Remove(f.Name()))
}

// Close releases the files.
func (g *guest) Close() error {
	var errs []error
	for _, f := range g.layers {
		errs = append(errs, f.Close())
	}
	if g.temp != "" {
		errs = append(errs, os.Remove(g.temp))
	}
	return errors.Join(errs...)
}

// Size implements cas.Source.
func (g *guest) Size() int64 { return g.size }

// after returns the first entry that ends after offset.
func (g *guest) after(offset int64) int {
	return sort.Search(len(g.data), func(i int) bool { return g.data[i].Start+g.data[i].Length > offset })
}

// NextData implements cas.Source.
func (g *guest) NextData(offset int64) (start, end int64, err error) {
	i := g.after(offset)
	if i == len(g.data) || g.data[i].Start >= g.size {
		return 0, 0, io.EOF
	}
	return g.data[i].Start, min(g.data[i].Start+g.data[i].Length, g.size), nil
}

// ReadAt implements cas.Source.
func (g *guest) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 || offset > g.size {
		return 0, fmt.Errorf("offset %d lies outside of the image", offset)
	}
	var eof error
	if int64(len(p)) > g.size-offset {
		p, eof = p[:g.size-offset], io.EOF
	}
	clear(p)
	end := offset + int64(len(p))
	for i := g.after(offset); i < len(g.data) && g.data[i].Start < end; i++ {
		m := g.data[i]
		from, to := max(m.Start, offset), min(m.Start+m.Length, end)
		if err := readFull(g.layers[m.Depth], p[from-offset:to-offset], *m.Offset+from-m.Start); err != nil {
			return 0, err
		}
	}
	return len(p), eof
}

// readFull reads what the file has; what lies behind its end is zero, as when a
// qcow2 file ends inside of its last cluster.
func readFull(f *os.File, p []byte, offset int64) error {
	n, err := f.ReadAt(p, offset)
	if n < len(p) && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s at %d: %w", f.Name(), offset, err)
	}
	clear(p[n:])
	return nil
}

var _ cas.Source = (*guest)(nil)
