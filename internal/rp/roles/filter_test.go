package roles

import (
	"strings"
	"testing"
)

func FuzzParseFilter(f *testing.F) {
	for _, s := range []string{"", "atScope()", "atScope() and assignedTo('x')", "principalId eq 'a''b'", "roleName eq 'a and b'", "' and '", "principalId eq 'a' and"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseFilter(text, "principalId")
		if err != nil || strings.TrimSpace(text) == "" {
			return
		}
		if !got.atScope && !got.andBelow && got.assignedTo == "" && len(got.equals) == 0 {
			t.Errorf("%q restricts nothing and is no error", text)
		}
	})
}

func TestQuotesAndAnds(t *testing.T) {
	f, err := parseFilter("ATSCOPE( ) and principalId eq 'it''s and that'", "principalId")
	if err != nil || !f.atScope || f.equals["principalid"] != "it's and that" {
		t.Errorf("%+v, %v", f, err)
	}
}
