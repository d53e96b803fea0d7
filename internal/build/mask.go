package build

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// masked replaces a secret.
const masked = "***"

// Lengths below which a derived pattern would mask ordinary text. A secret
// itself is masked whatever its length.
const (
	minEncoded = 6
	minLine    = 8
)

// patterns lists what must not be shown for a set of secrets: the values, their
// longer lines (a key is often printed line by line), and both in the encodings
// in which values leak. Longest first.
func patterns(secrets []Secret) [][]byte {
	seen := map[string]bool{}
	for _, s := range secrets {
		value := string(s.Value)
		forms := []string{value, strings.TrimSpace(value)}
		for line := range strings.Lines(value) {
			if line = strings.TrimSpace(line); len(line) >= minLine {
				forms = append(forms, line)
			}
		}
		for _, f := range forms {
			seen[f] = true
			for _, e := range encodings(f) {
				seen[e] = seen[e] || len(e) >= minEncoded
			}
		}
	}
	var out [][]byte
	for p, wanted := range seen {
		if wanted && p != "" {
			out = append(out, []byte(p))
		}
	}
	slices.SortFunc(out, func(a, b []byte) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return bytes.Compare(a, b)
	})
	return out
}

func encodings(s string) []string {
	quoted, _ := json.Marshal(s)
	out := []string{url.QueryEscape(s), url.PathEscape(s), strings.Trim(string(quoted), `"`), hex.EncodeToString([]byte(s))}
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		for offset := range 3 {
			out = append(out, inner(e, s, offset))
		}
	}
	return out
}

// inner is the part of a base64 text that depends only on s when s stands at an
// offset (modulo 3) in a longer text, so that "user:secret" is found too.
func inner(e *base64.Encoding, s string, offset int) string {
	if len(s)+offset < 3 {
		return ""
	}
	text := e.WithPadding(base64.NoPadding).EncodeToString([]byte(strings.Repeat("\x00", offset) + s))
	start := []int{0, 2, 3}[offset]
	end := (len(s) + offset) / 3 * 4 // the last, partial group depends on what follows
	if end <= start {
		return ""
	}
	return text[start:end]
}

// masker hides patterns in a stream, also across writes. Close flushes it.
type masker struct {
	mu      sync.Mutex
	to      io.Writer
	starts  [256][][]byte // patterns by their first byte, each list longest first
	pending []byte
}

func newMasker(to io.Writer, secrets []Secret) *masker {
	m := &masker{to: to}
	for _, p := range patterns(secrets) {
		m.starts[p[0]] = append(m.starts[p[0]], p)
	}
	return m
}

func (m *masker) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pending = append(m.pending, p...)
	if err := m.flush(false); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close writes what was held back. It does not close the writer below.
func (m *masker) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.flush(true)
}

func (m *masker) flush(last bool) error {
	var out []byte
	at := 0
	for at < len(m.pending) {
		rest := m.pending[at:]
		if !last && m.mayBecome(rest) {
			break
		}
		if n := m.match(rest); n > 0 {
			out, at = append(out, masked...), at+n
			continue
		}
		out, at = append(out, rest[0]), at+1
	}
	m.pending = append([]byte(nil), m.pending[at:]...)
	if len(out) == 0 {
		return nil
	}
	_, err := m.to.Write(out)
	return err
}

// mayBecome tells whether more bytes could make a longer pattern of the rest.
func (m *masker) mayBecome(rest []byte) bool {
	for _, p := range m.starts[rest[0]] {
		if len(rest) < len(p) && bytes.HasPrefix(p, rest) {
			return true
		}
	}
	return false
}

func (m *masker) match(rest []byte) int {
	for _, p := range m.starts[rest[0]] {
		if bytes.HasPrefix(rest, p) {
			return len(p)
		}
	}
	return 0
}

// maskString hides patterns in a finished text.
func maskString(s string, secrets []Secret) string {
	var b bytes.Buffer
	m := newMasker(&b, secrets)
	m.Write([]byte(s)) // a bytes.Buffer takes everything
	m.Close()
	return b.String()
}
