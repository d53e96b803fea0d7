package cas_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"hallmark.dev/hallmark/internal/cas"
)

const hexID = "c93eee2d0db02f10acc7460d9576e122dcf8cd53c4bf8dfcae1b3e74ebcfff5a"

func TestParseManifestRefuses(t *testing.T) {
	const head = "hallmark image 1\nsize 16384\n"
	for name, text := range map[string]string{
		"nothing":             "",
		"another format":      "hallmark image 2\nsize 16384\n",
		"no size":             "hallmark image 1\n",
		"size without end":    "hallmark image 1\nsize 16384",
		"size of no sector":   "hallmark image 1\nsize 16385\n",
		"no bytes at all":     "hallmark image 1\nsize 0\n",
		"size beyond limits":  "hallmark image 1\nsize 70368744178176512\n",
		"size with a zero":    "hallmark image 1\nsize 016384\n",
		"negative size":       "hallmark image 1\nsize -16384\n",
		"two fields":          head + "0 4096\n",
		"four fields":         head + "0 4096 " + hexID + " x\n",
		"no line feed":        head + "0 4096 " + hexID,
		"carriage return":     head + "0 4096 " + hexID + "\r\n",
		"empty line":          head + "\n",
		"upper case":          head + "0 4096 " + strings.ToUpper(hexID) + "\n",
		"short id":            head + "0 4096 " + hexID[1:] + "\n",
		"plus sign":           head + "+0 4096 " + hexID + "\n",
		"negative offset":     head + "-1 4096 " + hexID + "\n",
		"no length":           head + "0 0 " + hexID + "\n",
		"longer than a chunk": "hallmark image 1\nsize 1048576\n0 131073 " + hexID + "\n",
		"behind the end":      head + "12289 4096 " + hexID + "\n",
		"overflowing the end": head + "9223372036854775807 4096 " + hexID + "\n",
		"overlapping":         head + "0 4096 " + hexID + "\n4095 4096 " + hexID + "\n",
		"descending":          head + "8192 4096 " + hexID + "\n0 4096 " + hexID + "\n",
	} {
		if _, err := cas.ParseManifest([]byte(text)); !errors.Is(err, cas.ErrManifest) {
			t.Errorf("%s: got error %v, want %v", name, err, cas.ErrManifest)
		}
	}
}

// FuzzParseManifest: what is accepted has one spelling, and no extent leaves
// the image or overlaps another.
func FuzzParseManifest(f *testing.F) {
	f.Add([]byte("hallmark image 1\nsize 16384\n8192 4096 " + hexID + "\n"))
	f.Add([]byte("hallmark image 1\nsize 512\n"))
	f.Add([]byte("hallmark image 1\nsize 8192\n0 1 " + hexID + "\n1 4096 " + hexID + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := cas.ParseManifest(text)
		if err != nil {
			return
		}
		if !bytes.Equal(m.Encode(), text) {
			t.Errorf("%q is encoded again as %q", text, m.Encode())
		}
		var end int64
		for _, e := range m.Extents {
			if e.Offset < end || e.Length < 1 || e.Offset+e.Length > m.Size {
				t.Errorf("extent %+v after %d in %d", e, end, m.Size)
			}
			end = e.Offset + e.Length
		}
	})
}

func TestDigestText(t *testing.T) {
	var d cas.Digest
	if err := json.Unmarshal([]byte(`"sha256:`+hexID+`"`), &d); err != nil || d.Hex() != hexID {
		t.Errorf("read %s: %v", d, err)
	}
	if text, err := json.Marshal(d); err != nil || string(text) != `"sha256:`+hexID+`"` {
		t.Errorf("wrote %s: %v", text, err)
	}
	for _, text := range []string{"", hexID, "sha512:" + hexID, "sha256:" + hexID + "0", "sha256:" + strings.ToUpper(hexID), "sha256:" + strings.Repeat("g", 64)} {
		if _, err := cas.ParseDigest(text); err == nil {
			t.Errorf("%q is taken for a digest", text)
		}
	}
}
