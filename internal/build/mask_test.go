package build

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
	"testing"
)

func TestMaskHidesEveryForm(t *testing.T) {
	const value = "p@ss/word+1 x"
	secrets := []Secret{{Name: "a", Value: []byte(value)}}
	for name, text := range map[string]string{
		"plain":          "x" + value + "y",
		"base64":         base64.StdEncoding.EncodeToString([]byte(value)),
		"base64 of pair": base64.StdEncoding.EncodeToString([]byte("me:" + value + "!")),
		"base64, off 1":  base64.StdEncoding.EncodeToString([]byte("u" + value)),
		"base64, off 2":  base64.URLEncoding.EncodeToString([]byte("us" + value + "tail")),
		"query":          "?token=" + url.QueryEscape(value),
		"path":           url.PathEscape(value),
		"hex":            hex.EncodeToString([]byte(value)),
	} {
		got := maskString(text, secrets)
		if !strings.Contains(got, masked) {
			t.Errorf("%s: %q is shown as %q", name, text, got)
		}
		if strings.Contains(got, value) || len(got) > len(text)-len(value)/2 {
			t.Errorf("%s: too much is left: %q", name, got)
		}
	}
}

func TestMaskHidesLinesOfAKey(t *testing.T) {
	key := "-----BEGIN KEY-----\nAAAABBBBCCCCDDDD\nEEEEFFFFGGGG\n-----END KEY-----\n"
	got := maskString("grep: EEEEFFFFGGGG\n", []Secret{{Name: "k", Value: []byte(key)}})
	if strings.Contains(got, "EEEEFFFF") {
		t.Errorf("a line of a key is shown: %q", got)
	}
}

// Where the writes are cut must not matter, and nothing else may change.
func FuzzMaskAnySplit(f *testing.F) {
	f.Add("a secret b secr", "secret", uint8(4))
	f.Add("aabaabaac", "aabaac", uint8(1))
	f.Add("", "x", uint8(0))
	f.Fuzz(func(t *testing.T, text, secret string, step uint8) {
		if secret == "" || strings.Contains(masked, secret) || len(text) > 1<<10 || len(secret) > 1<<8 {
			return
		}
		secrets := []Secret{{Name: "s", Value: []byte(secret)}}
		want := maskString(text, secrets)
		var got bytes.Buffer
		m := newMasker(&got, secrets)
		n := int(step)%7 + 1
		for rest := text; rest != ""; {
			n := min(n, len(rest))
			m.Write([]byte(rest[:n]))
			rest = rest[n:]
		}
		m.Close()
		if got.String() != want {
			t.Errorf("split by %d: %q, whole: %q", n, got.String(), want)
		}
	})
}
