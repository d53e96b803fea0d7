package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// maxDocument bounds one document, so that a broken file cannot fill the
// memory. ARM's own limit for a request is 4 MiB.
const maxDocument = 16 << 20

// ErrInput is wrapped by every error about a file that is not what the Azure
// CLI prints.
var ErrInput = errors.New("not a JSON document as az prints it")

// ReadDocuments calls each for every ARM document in a stream: of an array, a
// single object, a page with value or data, or several of these one after the
// other. It holds one document at a time. The text may be UTF-16, which is what
// a Windows shell makes of `az vm list > vms.json`.
//
// An error of each ends the reading and is returned as it is.
func ReadDocuments(r io.Reader, each func(document json.RawMessage) error) error {
	bounded := &boundedReader{r: transform.NewReader(r, unicode.BOMOverride(transform.Nop))}
	reader := documentReader{dec: json.NewDecoder(bounded), bound: bounded, each: each}
	for {
		switch err := reader.value(); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

type documentReader struct {
	dec   *json.Decoder
	bound *boundedReader
	each  func(json.RawMessage) error
}

// value reads one top-level value. io.EOF says that there is none left.
func (d *documentReader) value() error {
	d.bound.left = maxDocument
	token, err := d.dec.Token()
	switch {
	case errors.Is(err, io.EOF):
		return io.EOF
	case err != nil:
		return d.broken(err)
	case token == json.Delim('['):
		return d.array()
	case token == json.Delim('{'):
		return d.object()
	}
	return d.broken(fmt.Errorf("a list or an object is expected, not %v", token))
}

// array hands over the elements of a list that has been entered.
func (d *documentReader) array() error {
	for d.dec.More() {
		d.bound.left = maxDocument
		var document json.RawMessage
		if err := d.dec.Decode(&document); err != nil {
			return d.broken(err)
		}
		if err := d.each(document); err != nil {
			return err
		}
	}
	_, err := d.dec.Token()
	return d.broken(err)
}

// object reads an object that has been entered: a page, whose list is streamed,
// or a document, which is put together again.
func (d *documentReader) object() error {
	fields := map[string]json.RawMessage{}
	page := false
	for d.dec.More() {
		name, err := d.dec.Token()
		if err != nil {
			return d.broken(err)
		}
		var value json.RawMessage
		if isList(name) {
			token, err := d.dec.Token()
			if err != nil {
				return d.broken(err)
			}
			if token == json.Delim('[') {
				page = true
				if err := d.array(); err != nil {
					return err
				}
				continue
			}
			if _, nested := token.(json.Delim); nested {
				return d.broken(fmt.Errorf("%v is an object, not a list", name))
			}
			continue // a scalar of that name says nothing about images
		}
		if err := d.dec.Decode(&value); err != nil {
			return d.broken(err)
		}
		fields[fmt.Sprint(name)] = value
	}
	if _, err := d.dec.Token(); err != nil {
		return d.broken(err)
	}
	if page {
		return nil
	}
	return d.each(assemble(fields))
}

func isList(name json.Token) bool { return name == "value" || name == "data" }

func assemble(fields map[string]json.RawMessage) json.RawMessage {
	var b strings.Builder
	b.WriteByte('{')
	for i, name := range slices.Sorted(maps.Keys(fields)) {
		if i > 0 {
			b.WriteByte(',')
		}
		quoted, _ := json.Marshal(name) // a string always has a JSON form
		b.Write(quoted)
		b.WriteByte(':')
		b.Write(fields[name])
	}
	b.WriteByte('}')
	return json.RawMessage(b.String())
}

// broken explains an error of the decoder with the place that it is at.
func (d *documentReader) broken(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errTooLarge):
		return fmt.Errorf("%w: %w", ErrInput, err)
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w: at byte %d: %w", ErrInput, d.dec.InputOffset(), err)
}

var errTooLarge = fmt.Errorf("one document has more than %d bytes", maxDocument)

// boundedReader fails when a single document asks for too much.
type boundedReader struct {
	r    io.Reader
	left int
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLarge
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
