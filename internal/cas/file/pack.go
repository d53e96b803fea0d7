package file

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"hallmark.dev/hallmark/internal/cas"
)

// The format of packs; docs/on-disk.md has the table.
const (
	packMagic   = "HMPACK1\n"
	recordSize  = 32 + 4 + 4 + 4
	trailerSize = 4 + 4 + sha256.Size + 8 // the magic
	// packTarget is where a pack is closed: large enough that fsync costs little a
	// chunk, small enough that an interrupted ingest loses little.
	packTarget = 64 << 20
)

// record says where a chunk is in its pack.
type record struct {
	id                    cas.ID
	offset, stored, plain uint32
}

// packWriter writes one pack under a temporary name.
type packWriter struct {
	file    *os.File
	size    int64
	records []record
}

func createPack(dir string) (*packWriter, error) {
	f, err := os.OpenFile(filepath.Join(dir, tempDir, randomName()), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	w := &packWriter{file: f}
	if err := w.write([]byte(packMagic)); err != nil {
		w.discard()
		return nil, err
	}
	return w, nil
}

// randomName makes a pack's name new for ever, so that no reader or collector
// takes it for one that was there before.
func randomName() string {
	var name [16]byte
	rand.Read(name[:]) // never fails
	return hex.EncodeToString(name[:]) + packExt
}

func (w *packWriter) write(data []byte) error {
	n, err := w.file.WriteAt(data, w.size)
	if err == nil {
		w.size += int64(n)
	}
	return err // on error the next write goes to the same place
}

// append adds one frame and returns its record.
func (w *packWriter) append(id cas.ID, frame []byte, plain int) (record, error) {
	if w.size+int64(len(frame)) > math.MaxUint32 {
		return record{}, fmt.Errorf("pack %s would exceed 4 GiB", w.file.Name())
	}
	r := record{id: id, offset: uint32(w.size), stored: uint32(len(frame)), plain: uint32(plain)}
	if err := w.write(frame); err != nil {
		return record{}, err
	}
	w.records = append(w.records, r)
	return r, nil
}

// seal makes the pack complete and durable under its name in packs.
func (w *packWriter) seal(dir string) (pack, error) {
	if err := w.finish(); err != nil {
		w.discard()
		return pack{}, fmt.Errorf("write pack: %w", err)
	}
	name := filepath.Base(w.file.Name())
	if err := os.Rename(w.file.Name(), filepath.Join(dir, packsDir, name)); err != nil {
		w.discard()
		return pack{}, fmt.Errorf("write pack: %w", err)
	}
	// The pack is in place; should this fail, it may be lost in a power cut.
	return pack{name, w.size}, syncDir(filepath.Join(dir, packsDir))
}

func (w *packWriter) finish() error {
	return errors.Join(w.write(encodeIndex(w.records, uint32(w.size))), w.file.Sync(), w.file.Close())
}

func (w *packWriter) discard() {
	w.file.Close()
	os.Remove(w.file.Name())
}

// encodeIndex returns the index and the trailer that follow the frames, which
// end at offset.
func encodeIndex(records []record, offset uint32) []byte {
	out := make([]byte, 0, len(records)*recordSize+trailerSize)
	for _, r := range records {
		out = append(out, r.id[:]...)
		out = binary.LittleEndian.AppendUint32(out, r.offset)
		out = binary.LittleEndian.AppendUint32(out, r.stored)
		out = binary.LittleEndian.AppendUint32(out, r.plain)
	}
	sum := sha256.Sum256(out)
	out = binary.LittleEndian.AppendUint32(out, offset)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(records)))
	out = append(out, sum[:]...)
	return append(out, packMagic...)
}

// readIndex reads a pack's index without its frames.
func readIndex(path string) ([]record, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	tail := make([]byte, trailerSize)
	if _, err := f.ReadAt(tail, max(0, info.Size()-trailerSize)); err != nil {
		return nil, 0, fmt.Errorf("trailer: %w: %w", cas.ErrCorrupt, err)
	}
	start, err := indexStart(tail, info.Size())
	if err != nil {
		return nil, 0, err
	}
	index := make([]byte, info.Size()-start)
	if _, err := f.ReadAt(index, start); err != nil {
		return nil, 0, fmt.Errorf("index: %w: %w", cas.ErrCorrupt, err)
	}
	records, err := decodeIndex(index, start)
	return records, info.Size(), err
}

// indexStart finds the index by the trailer of a file of a size.
func indexStart(tail []byte, size int64) (int64, error) {
	if string(tail[len(tail)-len(packMagic):]) != packMagic {
		return 0, fmt.Errorf("no trailer: %w", cas.ErrCorrupt)
	}
	start := int64(binary.LittleEndian.Uint32(tail))
	count := int64(binary.LittleEndian.Uint32(tail[4:]))
	if start < int64(len(packMagic)) || start+count*recordSize+trailerSize != size {
		return 0, fmt.Errorf("the trailer does not fit the pack's size: %w", cas.ErrCorrupt)
	}
	return start, nil
}

// decodeIndex reads what encodeIndex wrote; frames lie before start.
func decodeIndex(index []byte, start int64) ([]record, error) {
	if len(index) < trailerSize || (len(index)-trailerSize)%recordSize != 0 {
		return nil, fmt.Errorf("index of %d bytes: %w", len(index), cas.ErrCorrupt)
	}
	body, tail := index[:len(index)-trailerSize], index[len(index)-trailerSize:]
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:], tail[8:8+sha256.Size]) {
		return nil, fmt.Errorf("the index does not match its checksum: %w", cas.ErrCorrupt)
	}
	records := make([]record, 0, len(body)/recordSize)
	for ; len(body) > 0; body = body[recordSize:] {
		r := record{
			id:     cas.ID(body[:32]),
			offset: binary.LittleEndian.Uint32(body[32:]),
			stored: binary.LittleEndian.Uint32(body[36:]),
			plain:  binary.LittleEndian.Uint32(body[40:]),
		}
		if int64(r.offset)+int64(r.stored) > start || r.plain > cas.MaxBlob {
			return nil, fmt.Errorf("chunk %s lies outside of the pack: %w", r.id, cas.ErrCorrupt)
		}
		records = append(records, r)
	}
	return records, nil
}
