package cli

import (
	"strings"
	"testing"
)

func TestUnseen(t *testing.T) {
	long := strings.Repeat("0123456789\n", 200)
	for name, c := range map[string]struct{ seen, now, want string }{
		"nothing new":             {"boot\n", "boot\n", ""},
		"more":                    {"boot\n", "boot\nlogin:", "login:"},
		"the first look was void": {"", "boot\n", "boot\n"},
		"the window moved on":     {"first\n" + long + "end\n", long + "end\nnew\n", "new\n"},
		"the machine restarted":   {long + "bye\n", "boot\n", "boot\n"},
		"nothing in common":       {"aaa", "bbb", "bbb"},
	} {
		if got := string(unseen([]byte(c.seen), []byte(c.now))); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
