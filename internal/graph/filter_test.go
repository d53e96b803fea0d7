package graph

import (
	"strings"
	"testing"
)

func FuzzParseFilter(f *testing.F) {
	for _, s := range []string{"", "a eq 'b'", "a/any(c:c eq 'x')", "startswith(a,'b') and c eq true", "a eq 'x and y'", "a eq 'it''s'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseFilter(text)
		if err == nil && len(got) == 0 && strings.TrimSpace(text) != "" {
			t.Errorf("%q restricts nothing and is no error", text)
		}
		got.matches(object{"a": "b", "c": true, "d": []string{"e"}, "f": nil})
	})
}
