package arm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// errJSON is the cause when text that should have been checked is not JSON.
var errJSON = errors.New("malformed JSON")

// members splits an object into its properties without looking inside the values: a
// write touches a document a dozen times, and decoding it each time costs
// more than everything else. It bounds values by quotes and brackets only; CheckJSON
// has seen the whole before.
func members(doc json.RawMessage) ([]member, error) {
	s := splitter{text: doc}
	if !s.take('{') {
		return nil, fmt.Errorf("reading a JSON object: %w", errJSON)
	}
	var ms []member
	if s.take('}') {
		return ms, s.end()
	}
	for {
		m, err := s.member()
		if err != nil {
			return nil, err
		}
		ms = append(ms, m)
		switch {
		case s.take(','):
		case s.take('}'):
			return ms, s.end()
		default:
			return nil, s.malformed()
		}
	}
}

type splitter struct {
	text []byte
	at   int
}

func (s *splitter) space() {
	for s.at < len(s.text) && (s.text[s.at] == ' ' || s.text[s.at] == '\n' || s.text[s.at] == '\t' || s.text[s.at] == '\r') {
		s.at++
	}
}

// take steps over a character if it comes next.
func (s *splitter) take(c byte) bool {
	s.space()
	if s.at < len(s.text) && s.text[s.at] == c {
		s.at++
		return true
	}
	return false
}

func (s *splitter) end() error {
	if s.space(); s.at != len(s.text) {
		return s.malformed()
	}
	return nil
}

func (s *splitter) member() (m member, err error) {
	s.space()
	start := s.at
	if !s.quoted() {
		return m, s.malformed()
	}
	if m.name, err = unquote(s.text[start:s.at]); err != nil {
		return m, fmt.Errorf("reading a property name: %w", err)
	}
	if !s.take(':') {
		return m, s.malformed()
	}
	s.space()
	start = s.at
	if !s.value() {
		return m, s.malformed()
	}
	m.value = json.RawMessage(s.text[start:s.at:s.at])
	return m, nil
}

// unquote decodes a name; few have anything to decode.
func unquote(quoted []byte) (name string, err error) {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1]), nil
	}
	err = json.Unmarshal(quoted, &name)
	return name, err
}

// quoted steps over a string.
func (s *splitter) quoted() bool {
	if s.at >= len(s.text) || s.text[s.at] != '"' {
		return false
	}
	for s.at++; s.at < len(s.text); s.at++ {
		switch s.text[s.at] {
		case '\\':
			s.at++
		case '"':
			s.at++
			return true
		}
	}
	return false
}

// value steps over a value: a string, what brackets enclose, or a word up to what ends it.
func (s *splitter) value() bool {
	if s.at >= len(s.text) {
		return false
	}
	switch s.text[s.at] {
	case '"':
		return s.quoted()
	case '{', '[':
		return s.enclosed()
	}
	start := s.at
	for s.at < len(s.text) && !delimits(s.text[s.at]) {
		s.at++
	}
	return s.at > start
}

func delimits(c byte) bool {
	switch c {
	case ',', '}', ']', ':', '{', '[', '"', ' ', '\n', '\t', '\r':
		return true
	}
	return false
}

func (s *splitter) enclosed() bool {
	depth := 0
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case '"':
			if !s.quoted() {
				return false
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		if s.at++; depth == 0 {
			return true
		}
	}
	return false
}

func (s *splitter) malformed() error {
	return fmt.Errorf("reading a JSON object at byte %d: %w", s.at, errJSON)
}
