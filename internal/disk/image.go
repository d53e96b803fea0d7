package disk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Format is a disk image's file format, in qemu-img's words.
type Format string

const (
	QCOW2 Format = "qcow2"
	Raw   Format = "raw"
	VHD   Format = "vpc" // always fixed when written here: Azure takes no other
)

// MiB is what Azure aligns a VHD's size to.
const MiB = 1 << 20

// ErrLinked means that an image from outside names other files (a backing file
// or an external data file): opening it would read those with our rights.
var ErrLinked = errors.New("image refers to other files")

// Info is what qemu-img knows about an image. Sizes are bytes.
type Info struct {
	Format        Format
	VirtualSize   int64
	AllocatedSize int64
	ClusterSize   int64
	Backing       string // as written in the header
	BackingFormat Format
	DataFile      string
}

// Inspect reads an image's header. Give its format when it is known: guessing
// lets a raw disk's content pose as another format.
func Inspect(ctx context.Context, path string, format Format) (Info, error) {
	args := []string{"info", "--output=json", "-U"}
	if format != "" {
		args = append(args, "-f", string(format))
	}
	out, err := run(ctx, "qemu-img", append(args, "--", path)...)
	if err != nil {
		return Info{}, err
	}
	info, err := parseInfo(out)
	if err != nil {
		return Info{}, fmt.Errorf("reading qemu-img info of %s: %w", path, err)
	}
	return info, nil
}

func parseInfo(text []byte) (Info, error) {
	var raw struct {
		Format        Format `json:"format"`
		VirtualSize   int64  `json:"virtual-size"`
		ActualSize    int64  `json:"actual-size"`
		ClusterSize   int64  `json:"cluster-size"`
		Backing       string `json:"backing-filename"`
		BackingFormat Format `json:"backing-filename-format"`
		Specific      struct {
			Data struct {
				DataFile string `json:"data-file"`
			} `json:"data"`
		} `json:"format-specific"`
	}
	if err := json.Unmarshal(text, &raw); err != nil {
		return Info{}, err
	}
	return Info{Format: raw.Format, VirtualSize: raw.VirtualSize, AllocatedSize: raw.ActualSize,
		ClusterSize: raw.ClusterSize, Backing: raw.Backing, BackingFormat: raw.BackingFormat,
		DataFile: raw.Specific.Data.DataFile}, nil
}

// InspectForeign is Inspect for an image of unknown origin: the format is
// guessed among those we take, and an image that refers to other files is
// refused with ErrLinked.
func InspectForeign(ctx context.Context, path string) (Info, error) {
	info, err := Inspect(ctx, path, "")
	if err != nil {
		return Info{}, err
	}
	if info.Backing != "" || info.DataFile != "" {
		return Info{}, fmt.Errorf("%s: %w (%q); flatten it first with `qemu-img convert`", path, ErrLinked, info.Backing+info.DataFile)
	}
	return info, nil
}

// Create makes an empty image of the given virtual size in bytes.
func Create(ctx context.Context, path string, format Format, size int64) error {
	_, err := run(ctx, "qemu-img", "create", "-q", "-f", string(format), "--", path, strconv.FormatInt(size, 10))
	return err
}

// CreateOverlay makes a qcow2 overlay. backing is written into the header as it
// is given; a relative one is looked up beside path. size 0 takes the backing's.
func CreateOverlay(ctx context.Context, path, backing string, backingFormat Format, size int64) error {
	args := []string{"create", "-q", "-f", "qcow2", "-F", string(backingFormat), "-b", backing, "--", path}
	if size > 0 {
		args = append(args, strconv.FormatInt(size, 10))
	}
	_, err := run(ctx, "qemu-img", args...)
	return err
}

// Check verifies an image's own metadata. Raw images have none and pass.
func Check(ctx context.Context, path string, format Format) error {
	if format == Raw {
		_, err := os.Stat(path)
		return err
	}
	_, err := run(ctx, "qemu-img", "check", "-q", "-f", string(format), "--", path)
	return err
}

// Resize changes an image's virtual size in bytes; it never shrinks.
func Resize(ctx context.Context, path string, format Format, size int64) error {
	_, err := run(ctx, "qemu-img", "resize", "-q", "-f", string(format), "--", path, strconv.FormatInt(size, 10))
	return err
}

// Rebase makes a qcow2 overlay stand on another backing file, copying what
// differs; backing "" flattens it in place.
func Rebase(ctx context.Context, path, backing string, backingFormat Format) error {
	args := []string{"rebase", "-q", "-f", "qcow2", "-b", backing}
	if backing != "" {
		args = append(args, "-F", string(backingFormat))
	}
	_, err := run(ctx, "qemu-img", append(args, "--", path)...)
	return err
}

// Measure answers how many bytes a conversion of src to format would need.
func Measure(ctx context.Context, src string, srcFormat, format Format) (int64, error) {
	out, err := run(ctx, "qemu-img", "measure", "--output=json", "-f", string(srcFormat), "-O", string(format), src)
	if err != nil {
		return 0, err
	}
	var m struct {
		Required int64 `json:"required"`
	}
	if err := json.Unmarshal(out, &m); err != nil {
		return 0, fmt.Errorf("reading qemu-img measure of %s: %w", src, err)
	}
	return m.Required, nil
}

// Convert writes src, its backing chain included, as one standalone image.
// dst appears only when it is complete and on disk. A VHD comes out fixed and
// with a size rounded up to a whole MiB, as Azure demands.
func Convert(ctx context.Context, src string, srcFormat Format, dst string, dstFormat Format) error {
	temp := dst + ".part"
	defer os.Remove(temp)
	if err := ConvertInto(ctx, src, srcFormat, temp, dstFormat); err != nil {
		return err
	}
	return publish(temp, dst)
}

// ConvertInto is Convert for a caller that moves dst into place itself; when it
// fails, part of dst may be there.
func ConvertInto(ctx context.Context, src string, srcFormat Format, dst string, dstFormat Format) error {
	if dstFormat == VHD {
		return convertVHD(ctx, src, srcFormat, dst)
	}
	_, err := run(ctx, "qemu-img", "convert", "-q", "-f", string(srcFormat), "-O", string(dstFormat), "--", src, dst)
	return err
}

// Copy copies a file's bytes, keeping holes and sharing blocks where the file
// system can, and flushes them.
func Copy(ctx context.Context, src, dst string) error {
	if _, err := run(ctx, "cp", "--sparse=always", "--reflink=auto", "--", src, dst); err != nil {
		return err
	}
	return SyncFile(dst)
}

// convertVHD goes through an overlay when the size must grow to a whole MiB, so
// that the source stays as it is.
func convertVHD(ctx context.Context, src string, srcFormat Format, temp string) error {
	info, err := Inspect(ctx, src, srcFormat)
	if err != nil {
		return err
	}
	if aligned := (info.VirtualSize + MiB - 1) / MiB * MiB; aligned != info.VirtualSize {
		absolute, err := filepath.Abs(src)
		if err != nil {
			return err
		}
		overlay := temp + ".overlay"
		defer os.Remove(overlay)
		if err := CreateOverlay(ctx, overlay, absolute, srcFormat, aligned); err != nil {
			return err
		}
		src, srcFormat = overlay, QCOW2
	}
	_, err = run(ctx, "qemu-img", "convert", "-q", "-f", string(srcFormat), "-O", "vpc",
		"-o", "subformat=fixed,force_size", "--", src, temp)
	return err
}

func publish(temp, dst string) error {
	if err := SyncFile(temp); err != nil {
		return err
	}
	if err := os.Rename(temp, dst); err != nil {
		return err
	}
	return SyncFile(filepath.Dir(dst))
}

// SyncFile flushes a file's or a directory's content to its disk.
func SyncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// Digest is "sha256:" and the hexadecimal SHA-256 of a file's bytes.
func Digest(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyBuffer(h, contextReader{ctx, f}, make([]byte, 1<<20)); err != nil {
		return "", fmt.Errorf("digesting %s: %w", path, err)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}

// ValidDigest tells whether d has Digest's shape.
func ValidDigest(d string) bool {
	text, ok := strings.CutPrefix(d, "sha256:")
	raw, err := hex.DecodeString(text)
	return ok && err == nil && len(raw) == sha256.Size && text == strings.ToLower(text)
}

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
