package cas

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
)

// Extent is one chunk's place in an image, in bytes of what the guest sees.
type Extent struct {
	Offset int64
	Length int64 // 1 to MaxChunk
	ID     ID
}

// Manifest lists the chunks of an image. Extents ascend and do not overlap;
// every byte outside of them is zero.
type Manifest struct {
	Size    int64 // the virtual size; a multiple of SectorSize
	Extents []Extent
}

const (
	// SectorSize is what a virtual size is a multiple of.
	SectorSize = 512
	// maxSize is the largest virtual size: 64 TiB, more than Azure's largest disk.
	maxSize = 64 << 40
	// manifestHeader names the format, and with it the rules by which an image
	// is cut (see Split): another rule would be another header, and so another
	// digest for the same bytes.
	manifestHeader = "hallmark image 1\n"
)

// ErrManifest says that bytes are not a manifest.
var ErrManifest = errors.New("not an image manifest")

// Encode returns the canonical text, specified in docs/on-disk.md.
func (m Manifest) Encode() []byte {
	text := make([]byte, 0, len(manifestHeader)+24+len(m.Extents)*92)
	text = append(text, manifestHeader...)
	text = append(text, "size "...)
	text = strconv.AppendInt(text, m.Size, 10)
	text = append(text, '\n')
	for _, e := range m.Extents {
		text = strconv.AppendInt(text, e.Offset, 10)
		text = append(text, ' ')
		text = strconv.AppendInt(text, e.Length, 10)
		text = append(text, ' ')
		text = append(text, e.ID.String()...)
		text = append(text, '\n')
	}
	return text
}

// Digest returns the image digest.
func (m Manifest) Digest() Digest { return Digest(Sum(m.Encode())) }

// DataBytes returns the bytes that are not left out as zeros.
func (m Manifest) DataBytes() int64 {
	var sum int64
	for _, e := range m.Extents {
		sum += e.Length
	}
	return sum
}

// Chunks returns every chunk once, in the order of first use, with its length.
func (m Manifest) Chunks() []Extent {
	seen := make(map[ID]struct{}, len(m.Extents))
	var once []Extent
	for _, e := range m.Extents {
		if _, ok := seen[e.ID]; !ok {
			seen[e.ID] = struct{}{}
			once = append(once, e)
		}
	}
	return once
}

// ParseManifest reads canonical text and refuses everything else, so that one
// image cannot have two manifests. The error wraps ErrManifest.
func ParseManifest(text []byte) (Manifest, error) {
	rest, ok := bytes.CutPrefix(text, []byte(manifestHeader))
	if !ok {
		return Manifest{}, fmt.Errorf("%w: it does not begin with %q", ErrManifest, manifestHeader)
	}
	p := lineParser{rest: rest, line: 1}
	m := Manifest{Size: p.size()}
	for p.err == nil && len(p.rest) > 0 {
		m.Extents = append(m.Extents, p.extent(m))
	}
	if p.err != nil {
		return Manifest{}, fmt.Errorf("%w: line %d: %w", ErrManifest, p.line, p.err)
	}
	return m, nil
}

type lineParser struct {
	rest []byte
	line int
	err  error
}

// next takes one line, which must end in a line feed.
func (p *lineParser) next() []byte {
	p.line++
	line, rest, ok := bytes.Cut(p.rest, []byte{'\n'})
	if !ok {
		p.err = errors.New("the line does not end")
		return nil
	}
	p.rest = rest
	return line
}

func (p *lineParser) size() int64 {
	digits, ok := bytes.CutPrefix(p.next(), []byte("size "))
	size, err := parseCount(digits)
	if p.err == nil && (!ok || err != nil || size == 0 || size > maxSize || size%SectorSize != 0) {
		p.err = fmt.Errorf("want \"size N\", N a multiple of %d up to %d", SectorSize, int64(maxSize))
	}
	return size
}

// extent reads "offset length id" and checks it against what came before.
func (p *lineParser) extent(m Manifest) Extent {
	fields := bytes.Split(p.next(), []byte{' '})
	if p.err != nil {
		return Extent{}
	}
	if len(fields) != 3 {
		p.err = errors.New("want an offset, a length and a chunk id")
		return Extent{}
	}
	var errs [3]error
	var e Extent
	e.Offset, errs[0] = parseCount(fields[0])
	e.Length, errs[1] = parseCount(fields[1])
	e.ID, errs[2] = ParseID(string(fields[2]))
	if p.err = errors.Join(errs[:]...); p.err == nil {
		p.err = e.fits(m)
	}
	return e
}

// fits prevents a hostile manifest from making a reader write outside the
// image, or over what it has written.
func (e Extent) fits(m Manifest) error {
	var end int64
	if n := len(m.Extents); n > 0 {
		end = m.Extents[n-1].Offset + m.Extents[n-1].Length
	}
	switch {
	case e.Length < 1 || e.Length > MaxChunk:
		return fmt.Errorf("length %d is not between 1 and %d", e.Length, MaxChunk)
	case e.Offset < end:
		return fmt.Errorf("offset %d lies before the end of the extent before, %d", e.Offset, end)
	case e.Offset > m.Size-e.Length:
		return fmt.Errorf("the extent ends after the image's size, %d", m.Size)
	}
	return nil
}

// parseCount reads a decimal number that has one spelling only.
func parseCount(digits []byte) (int64, error) {
	n, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != string(digits) {
		return 0, fmt.Errorf("%q is not a plain decimal number", clip(string(digits)))
	}
	return n, nil
}

// LoadManifest reads the manifest of an image from where its chunks are.
// Errors: those of Reader.Get, and ErrManifest.
func LoadManifest(ctx context.Context, from Reader, digest Digest) (Manifest, error) {
	text, err := from.Get(ctx, ID(digest))
	if err != nil {
		return Manifest{}, fmt.Errorf("manifest of image %s: %w", digest, err)
	}
	m, err := ParseManifest(text)
	if err != nil {
		return Manifest{}, fmt.Errorf("image %s: %w", digest, err)
	}
	return m, nil
}
