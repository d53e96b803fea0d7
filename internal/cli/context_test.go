package cli

import (
	"testing"

	"hallmark.dev/hallmark/internal/instance"
)

// Starting a second instance must not make the first one unreachable.
func TestASecondInstanceGetsAContextOfItsOwn(t *testing.T) {
	var f contextFile
	for _, c := range []struct{ dir, want string }{
		{"/var/lib/hallmark", "local"}, {"/srv/second", "second"}, {"/opt/second", "second-2"}, {"/srv/second", "second"}, {"/var/lib/hallmark", "local"},
	} {
		dir := instance.Dir(c.dir)
		got := f.nameOf(dir)
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.dir, got, c.want)
		}
		f.put(Context{Name: got, SecretFile: dir.AdminSecret()})
	}
}
