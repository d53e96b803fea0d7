package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// parseJSON builds the tree of a JSON document, with positions and with
// repeated keys kept (encoding/json would silently take the last one).
func parseJSON(data []byte) (*node, Problems) {
	if len(data) > maxJSONBytes {
		return nil, Problems{{Message: fmt.Sprintf("the document has %d bytes; %d are allowed", len(data), maxJSONBytes)}}
	}
	r := &jsonReader{data: data, dec: json.NewDecoder(bytes.NewReader(data))}
	r.dec.UseNumber()
	root, err := r.value(0)
	if err == nil {
		_, err = r.dec.Token()
		switch {
		case errors.Is(err, io.EOF):
			return root, nil
		case err == nil:
			err = errors.New("there is something after the end of the document")
		}
	}
	offset := r.dec.InputOffset()
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		offset = max(syntax.Offset-1, 0)
	}
	return nil, Problems{{Position: r.position(offset), Message: "not valid JSON: " + err.Error()}}
}

type jsonReader struct {
	data   []byte
	dec    *json.Decoder
	budget budget

	// The last position asked for, so that finding all of them takes one pass.
	offset int64
	at     Position
}

// next is where the coming token starts: the decoder's offset is the end of
// the last one, with the separators still ahead.
func (r *jsonReader) next() Position {
	offset := r.dec.InputOffset()
	for offset < int64(len(r.data)) && strings.IndexByte(" \t\r\n,:", r.data[offset]) >= 0 {
		offset++
	}
	return r.position(offset)
}

func (r *jsonReader) position(offset int64) Position {
	if r.at.Line == 0 || offset < r.offset {
		r.offset, r.at = 0, Position{Line: 1, Column: 1}
	}
	for r.offset < min(offset, int64(len(r.data))) {
		c, size := utf8.DecodeRune(r.data[r.offset:])
		r.offset += int64(size)
		r.at.Column++
		if c == '\n' {
			r.at = Position{Line: r.at.Line + 1, Column: 1}
		}
	}
	return r.at
}

func (r *jsonReader) value(depth int) (*node, error) {
	if err := r.budget.spend(depth); err != nil {
		return nil, err
	}
	n := &node{pos: r.next()}
	token, err := r.dec.Token()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	switch t := token.(type) {
	case nil:
		n.kind = kindNull
	case bool:
		n.kind, n.text = kindBool, fmt.Sprint(t)
	case json.Number:
		n.kind, n.text = kindNumber, t.String()
	case string:
		n.kind, n.text = kindString, t
	case json.Delim:
		return n, r.collection(n, t, depth)
	}
	return n, nil
}

func (r *jsonReader) collection(n *node, open json.Delim, depth int) error {
	n.kind = kindList
	if open == '{' {
		n.kind = kindMap
	}
	for r.dec.More() {
		var f field
		if n.kind == kindMap {
			f.pos = r.next()
			key, err := r.dec.Token()
			if err != nil {
				return err
			}
			f.key, _ = key.(string)
		}
		value, err := r.value(depth + 1)
		if err != nil {
			return err
		}
		if n.kind == kindMap {
			f.value = value
			n.fields = append(n.fields, f)
		} else {
			n.items = append(n.items, value)
		}
	}
	_, err := r.dec.Token()
	return err
}
