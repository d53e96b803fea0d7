package build

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// inRoot runs a machine's step with this host's sh and coreutils, in a directory
// as its root, whose programs are the host's.
func inRoot(t *testing.T, root string, v VMStep) (string, error) {
	t.Helper()
	files := t.TempDir()
	for name, content := range v.Files {
		if err := os.WriteFile(filepath.Join(files, name), content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	enter := `set -e
root=$1 files=$2; shift 2
mount --make-rprivate /
for dir in bin sbin lib lib64; do cp -PT "/$dir" "$root/$dir"; done # links into usr
mkdir -p "$root/usr" "$root/dev" "$root/tmp"
mount --bind /usr "$root/usr"; mount -o remount,bind,ro "$root/usr"; mount -t tmpfs tmpfs "$root/usr/local"
mount --rbind /dev "$root/dev"
mkdir -p "$root/run/hallmark"; mount --bind "$files" "$root/run/hallmark"
exec chroot "$root" "$@"`
	out, err := exec.Command("unshare", append([]string{"--mount", "sh", "-c", enter, "enter", root, files}, v.Command...)...).CombinedOutput()
	return string(out), err
}

// newRoot is a root with two accounts.
func newRoot(t *testing.T) string {
	t.Helper()
	if os.Getenv("HALLMARK_SYSTEM_TESTS") != "1" || os.Geteuid() != 0 {
		t.Skip("mounts in a namespace of its own, as root: set HALLMARK_SYSTEM_TESTS=1")
	}
	root := t.TempDir()
	for name, text := range map[string]string{"passwd": "root:x:0:0::/root:/bin/sh\nweb:x:777:888::/:/bin/sh\n", "group": "root:x:0:\nwww:x:888:\nadm:x:999:\n"} {
		if err := os.MkdirAll(root+"/etc", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(root+"/etc/"+name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// TestFilesInAMachineAreAsInAContainer places the same files both ways.
func TestFilesInAMachineAreAsInAContainer(t *testing.T) {
	for name, s := range map[string]Step{
		"plain":         {Dest: "/etc/app.conf", Content: []byte("a\x00b\n")},
		"at the top":    {Dest: "/top", Content: []byte("x")},
		"parents":       {Dest: "/srv/a b/it's/$HOME", Content: []byte("x"), Mode: 0o600},
		"user":          {Dest: "/etc/u", Owner: "web"},
		"user, group":   {Dest: "/etc/ug", Owner: "web:adm"},
		"numbers":       {Dest: "/etc/n", Owner: "123", Mode: 0o755 | fs.ModeSetuid | fs.ModeSetgid},
		"number, group": {Dest: "/etc/ng", Owner: "5:6", Mode: 0o1640 & 0o777},
		"over a link":   {Dest: "/etc/link", Content: []byte("new")},
	} {
		t.Run(name, func(t *testing.T) {
			s.Kind, s.Name = File, name
			found := map[string]string{}
			for _, way := range []string{"container", "machine"} {
				root := newRoot(t)
				if err := os.Symlink("/etc/passwd", root+"/etc/link"); err != nil {
					t.Fatal(err)
				}
				if way == "container" {
					if err := placeFile(t.Context(), tree{root}, s, sum(s.Content)); err != nil {
						t.Fatal(err)
					}
				} else if out, err := inRoot(t, root, machineStep(t, s)); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				stat, err := exec.Command("stat", "-c", "%F %a %u %g", root+s.Dest).Output()
				if err != nil {
					t.Fatal(err)
				}
				content, err := os.ReadFile(root + s.Dest)
				if err != nil || string(content) != string(s.Content) {
					t.Errorf("%s: content %q, %v", way, content, err)
				}
				found[way] = string(stat)
				if left, _ := filepath.Glob(filepath.Dir(root+s.Dest) + "/.hallmark*"); len(left) > 0 {
					t.Errorf("%s: left %v", way, left)
				}
			}
			if found["container"] != found["machine"] {
				t.Errorf("in a container %s, in a machine %s", found["container"], found["machine"])
			}
		})
	}
}

func machineStep(t *testing.T, s Step) VMStep {
	t.Helper()
	r := (&Builder{now: time.Now}).newRunner("run", Plan{}, nil)
	v, err := r.vmStep(s, "image", sum(s.Content))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestTattooAndTrustInAMachine(t *testing.T) {
	root := newRoot(t)
	if out, err := inRoot(t, root, machineStep(t, Step{Kind: Tattoo, TattooText: []byte("A=1\n"), Signature: []byte("signed\n")})); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, want := range map[string]string{"tattoo": "A=1\n", "tattoo.sig": "signed\n"} {
		if got, err := os.ReadFile(root + "/etc/hallmark/" + name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := os.Stat(trustStores[0].tool); err != nil {
		t.Skip("the rest needs the Debian package ca-certificates")
	}
	if err := os.MkdirAll(root+"/etc/ssl/certs", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root+"/etc/ca-certificates.conf", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	authority := newCA(t, "It's a CA")
	if out, err := inRoot(t, root, machineStep(t, Step{Kind: CACertificate, Certificates: authority})); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got, err := os.ReadFile(root + "/etc/ssl/certs/ca-certificates.crt"); err != nil || strings.TrimSpace(string(got)) != strings.TrimSpace(string(authority)) {
		t.Errorf("update-ca-certificates trusts %q, %v", got, err)
	}
}
