package inventory

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestParseStatusAgreesWithDpkg reads this host's own status file.
func TestParseStatusAgreesWithDpkg(t *testing.T) {
	const status = "/var/lib/dpkg/status"
	if _, err := exec.LookPath("dpkg-query"); err != nil {
		t.Skip("needs dpkg-query")
	}
	text, err := os.ReadFile(status)
	if err != nil {
		t.Skip("needs a host that dpkg looks after: ", err)
	}
	got, err := ParseStatus(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package} ${Version} ${Architecture}\n")
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	want := map[Package]bool{}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); f[0] == "installed" {
			want[Package{f[1], f[2], f[3]}] = true
		}
	}
	have := map[Package]bool{}
	for _, p := range got {
		have[p] = true
	}
	if diff := cmp.Diff(want, have); diff != "" || len(got) == 0 {
		t.Errorf("%d packages; dpkg-query differs:\n%s", len(got), diff)
	}
}

const sampleStatus = `Package: gone
Status: deinstall ok config-files
Version: 1.0
Architecture: amd64

Package: libc6
Status: install ok installed
Multi-Arch: same
Architecture: i386
Version: 2.36-9
Description: GNU C Library
 Version: 9 is no field here

Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u9
`

func TestParseStatus(t *testing.T) {
	got, err := ParseStatus(strings.NewReader(sampleStatus))
	want := []Package{{"libc6", "2.36-9+deb12u9", "amd64"}, {"libc6", "2.36-9", "i386"}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
}

func FuzzParseStatus(f *testing.F) {
	f.Add([]byte(sampleStatus))
	f.Add([]byte("Package:\n\n:\n x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := ParseStatus(bytes.NewReader(text))
		for _, p := range all {
			if err == nil && p.Name == "" {
				t.Error("a package without a name")
			}
		}
	})
}

func FuzzOSRelease(f *testing.F) {
	f.Add("ID=debian\nPRETTY_NAME=\"Debian \\\"12\\\"\"\n#x=y\nA='\n")
	f.Fuzz(func(_ *testing.T, text string) { parseOSRelease(text) })
}

// TestOSReleaseAgreesWithTheShell has sh read the same assignments.
func TestOSReleaseAgreesWithTheShell(t *testing.T) {
	text := "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (\\\"x\\\" \\$HOME)\"\nVERSION_ID='12'\nEMPTY=\n"
	file := filepath.Join(t.TempDir(), "os-release")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, got := range parseOSRelease(text) {
		want, err := exec.Command("sh", "-c", `. "$1"; eval "printf %s \"\$$2\""`, "sh", file, name).Output()
		if err != nil || got != string(want) {
			t.Errorf("%s is %q, to sh %q, %v", name, got, want, err)
		}
	}
}

// tree makes a root of files; a name that ends in @ is a link to its text.
func tree(t *testing.T, files map[string]string) *os.Root {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, strings.TrimSuffix(name, "@"))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if strings.HasSuffix(name, "@") {
			err = os.Symlink(text, path)
		} else {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func read(t *testing.T, root *os.Root) Inventory {
	t.Helper()
	v, err := Read(root)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestCompare(t *testing.T) {
	before := map[string]string{
		"etc/os-release@": "../usr/lib/os-release", "usr/lib/os-release": "ID=debian\nVERSION_ID=12\n",
		"etc/same": "same", "etc/content": "old", "etc/gone": "x", "etc/link@": "same", "etc/turns": "file", "etc/mode": "m",
		"var/lib/dpkg/status":         "Package: curl\nStatus: install ok installed\nVersion: 7.88.1\nArchitecture: amd64\n\nPackage: telnet\nStatus: install ok installed\nVersion: 0.17\nArchitecture: all\n",
		"usr/lib/modules/6.1.0-40/x":  "",
		"vmlinuz@":                    "boot/vmlinuz-6.1.0-40",
		"usr/lib/outside-of-etc":      "not looked at",
		"etc/ssl/private/key.d/a b/c": "deep",
	}
	after := map[string]string{}
	for name, text := range before {
		after[name] = text
	}
	delete(after, "etc/gone")
	delete(after, "etc/turns")
	delete(after, "usr/lib/modules/6.1.0-40/x")
	after["etc/turns@"], after["etc/content"], after["etc/link@"], after["etc/new"] = "same", "new", "content", "n"
	after["usr/lib/modules/6.1.0-41/x"], after["vmlinuz@"], after["usr/lib/outside-of-etc"] = "", "boot/vmlinuz-6.1.0-41", "changed"
	after["var/lib/dpkg/status"] = "Package: curl\nStatus: install ok installed\nVersion: 7.88.2\nArchitecture: amd64\n\nPackage: nginx\nStatus: install ok installed\nVersion: 1.22\nArchitecture: amd64\n"
	a, b := tree(t, before), tree(t, after)
	if err := b.Chmod("etc/mode", 0o600); err != nil {
		t.Fatal(err)
	}
	type short struct {
		Kind, Name, Change, What string
	}
	var got []short
	for _, c := range Compare(read(t, a), read(t, b)) {
		got = append(got, short{c.Kind, c.Name, c.Change, strings.Join(c.What, " ")})
	}
	want := []short{
		{"fact", "kernel", "changed", ""},
		{"kernel", "6.1.0-40", "removed", ""}, {"kernel", "6.1.0-41", "added", ""},
		{"package", "curl:amd64", "changed", ""}, {"package", "nginx:amd64", "added", ""}, {"package", "telnet", "removed", ""},
		{"file", "/etc/content", "changed", "content"}, {"file", "/etc/gone", "removed", ""}, {"file", "/etc/link", "changed", "target"},
		{"file", "/etc/mode", "changed", "mode"}, {"file", "/etc/new", "added", ""}, {"file", "/etc/turns", "changed", "type"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if same := Compare(read(t, a), read(t, a)); len(same) > 0 {
		t.Errorf("an image differs from itself: %v", same)
	}
}

// TestLinksStayInTheImage: an image must not show the host's files.
func TestLinksStayInTheImage(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("ID=host\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	v := read(t, tree(t, map[string]string{"etc/os-release@": outside, "etc/shadow@": "/etc/shadow", "etc/up@": "../../../../etc/passwd"}))
	if v.OSRelease["ID"] != "" {
		t.Errorf("read through a link out of the image: %v", v.OSRelease)
	}
	for _, f := range v.Files {
		if f.Type == "link" && f.Digest != "" {
			t.Errorf("followed %+v", f)
		}
	}
}
