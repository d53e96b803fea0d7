package build

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("files of an image have owners, which needs root")
	}
}

// hostileTree is an image whose links point out of it.
func hostileTree(t *testing.T) (tree, string) {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	root, outside := filepath.Join(dir, "root"), filepath.Join(dir, "outside")
	for _, d := range []string{root + "/etc", root + "/var", outside} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"abs": outside, "rel": "../outside", "var/run": "/run", "etc/link": outside + "/file", "proc": "/proc/self/root" + outside} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(outside+"/file", []byte("host"), 0o600); err != nil {
		t.Fatal(err)
	}
	return tree{root}, outside
}

func TestTreeNeverLeavesTheImage(t *testing.T) {
	tr, outside := hostileTree(t)
	for _, name := range []string{"/abs/x", "/rel/x", "/../outside/x", "/proc/x", "/etc/link", "/abs/../../outside/x", "/var/run/x"} {
		err := tr.write(name, []byte("bad"), 0o644, 0, 0)
		t.Logf("%s: %v", name, err)
	}
	entries, err := os.ReadDir(outside)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("the tree wrote outside: %v", entries)
	}
	if text, err := os.ReadFile(outside + "/file"); err != nil || string(text) != "host" {
		t.Errorf("the tree changed a file outside: %q, %v", text, err)
	}
	if text, err := tr.read("/abs/file"); err == nil && string(text) == "host" {
		t.Error("the tree read a file outside")
	}
	if err := tr.remove("/rel/file"); err != nil {
		t.Logf("remove: %v", err)
	}
	if err := tr.remove("/abs"); err != nil {
		t.Errorf("removing a link: %v", err)
	}
	if _, err := os.Stat(outside + "/file"); err != nil {
		t.Errorf("the tree removed a file outside: %v", err)
	}
}

func TestTreeWrite(t *testing.T) {
	tr, _ := hostileTree(t)
	if err := tr.write("/opt/a/b", []byte("x"), fs.ModeSetuid|0o750, 1234, 5678); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(tr.root, "opt/a/b"))
	if err != nil {
		t.Fatal(err)
	}
	s := info.Sys().(*syscall.Stat_t)
	if s.Mode&0o7777 != 0o4750 || s.Uid != 1234 || s.Gid != 5678 {
		t.Errorf("mode %o, owner %d:%d", s.Mode&0o7777, s.Uid, s.Gid)
	}
	entries, _ := os.ReadDir(filepath.Join(tr.root, "opt/a"))
	if len(entries) != 1 {
		t.Errorf("temporary files are left: %v", entries)
	}
}

func TestTreeOwner(t *testing.T) {
	tr, _ := hostileTree(t)
	write(t, tr, "etc/passwd", "root:x:0:0::/root:/bin/sh\nweb:x:33:44::/:/bin/false\nbroken\n")
	write(t, tr, "etc/group", "root:x:0:\nops:x:77:web\n")
	for spec, want := range map[string][2]int{"": {0, 0}, "web": {33, 44}, "web:ops": {33, 77}, "5:6": {5, 6}, "web:9": {33, 9}} {
		uid, gid, err := tr.owner(spec)
		if err != nil || [2]int{uid, gid} != want {
			t.Errorf("%q: got %d:%d, %v; want %v", spec, uid, gid, err, want)
		}
	}
	if _, _, err := tr.owner("nobody-here"); err == nil || !strings.Contains(err.Error(), "nobody-here") {
		t.Errorf("an unknown owner: %v", err)
	}
}

func write(t *testing.T, tr tree, name, content string) {
	t.Helper()
	path := filepath.Join(tr.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// contents lists a tree's regular files with what they hold.
func contents(t *testing.T, tr tree) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := fs.WalkDir(os.DirFS(tr.root), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(tr.root, path))
		out[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCleanMakesARootAnonymous(t *testing.T) {
	needRoot(t)
	tr := tree{t.TempDir()}
	for _, name := range []string{"etc/ssh/ssh_host_rsa_key", "etc/ssh/ssh_host_rsa_key.pub", "var/lib/cloud/instance/x", "var/lib/cloud/data/y", "root/.bash_history",
		"home/a/.python_history", "var/lib/apt/lists/x_InRelease", "var/cache/apt/archives/a.deb", "var/log/journal/id/system.journal", "var/log/syslog.1",
		"tmp/.hidden", "tmp/x/y", "var/tmp/z", "var/lib/systemd/random-seed", "var/log/nginx/access.log.2.gz"} {
		write(t, tr, name, "trace")
	}
	for _, name := range []string{"etc/machine-id", "var/log/syslog", "var/log/nginx/access.log", "var/lib/dbus/machine-id"} {
		write(t, tr, name, "trace")
	}
	kept := map[string]string{"etc/ssh/sshd_config": "Port 22", "etc/hallmark/tattoo": "RUN=1", "root/.bashrc": "x", "var/lib/dpkg/status": "s"}
	for name, text := range kept {
		write(t, tr, name, text)
	}
	if err := clean(tr); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"etc/machine-id": "", "var/log/syslog": "", "var/log/nginx/access.log": ""}
	for name, text := range kept {
		want[name] = text
	}
	if diff := cmp.Diff(want, contents(t, tr)); diff != "" {
		t.Errorf("-want +left:\n%s", diff)
	}
	if target, err := os.Readlink(filepath.Join(tr.root, "var/lib/dbus/machine-id")); err != nil || target != "/etc/machine-id" {
		t.Errorf("dbus' machine-id points to %q, %v", target, err)
	}
	if _, err := os.Stat(filepath.Join(tr.root, "var/log/nginx")); err != nil {
		t.Errorf("a log directory is gone: %v", err)
	}
	if err := clean(tree{t.TempDir()}); err != nil {
		t.Errorf("an empty root: %v", err)
	}
}

func TestPrepareLeavesNothing(t *testing.T) {
	needRoot(t)
	const domain = ".debian.org"
	const sources = "deb http://deb" + domain + "/debian bookworm main\ndeb http://security" + domain + "/debian-security bookworm-security main\n"
	const deb822 = "Types: deb\nURIs: https://deb" + domain + "/debian/\nSuites: bookworm\n"
	p := Plan{AptMirror: "http://mirror.example/deb$1/"}
	for name, tc := range map[string]struct {
		step func(tr tree)
		want map[string]string
	}{
		"nothing done": {func(tree) {}, map[string]string{"etc/apt/sources.list": sources, "etc/apt/sources.list.d/a.sources": deb822}},
		"the step adds a source": {func(tr tree) {
			write(t, tr, "etc/apt/sources.list.d/b.list", "deb http://mirror.example/deb$1 sid main\n")
		}, map[string]string{"etc/apt/sources.list": sources, "etc/apt/sources.list.d/a.sources": deb822,
			"etc/apt/sources.list.d/b.list": "deb http://deb" + domain + "/debian sid main\n"}},
		"the step brings a policy": {func(tr tree) { write(t, tr, "usr/sbin/policy-rc.d", "mine") },
			map[string]string{"etc/apt/sources.list": sources, "etc/apt/sources.list.d/a.sources": deb822, "usr/sbin/policy-rc.d": "mine"}},
		"a resolv.conf is made for the mount": {func(tr tree) { write(t, tr, "etc/resolv.conf", "") },
			map[string]string{"etc/apt/sources.list": sources, "etc/apt/sources.list.d/a.sources": deb822}},
	} {
		t.Run(name, func(t *testing.T) {
			tr := tree{t.TempDir()}
			write(t, tr, "etc/apt/sources.list", sources)
			write(t, tr, "etc/apt/sources.list.d/a.sources", deb822)
			if err := os.MkdirAll(filepath.Join(tr.root, "usr/sbin"), 0o755); err != nil {
				t.Fatal(err)
			}
			restore, err := prepare(tr, p, false)
			if err != nil {
				t.Fatal(err)
			}
			during := contents(t, tr)
			if got, want := during["etc/apt/sources.list"], "deb http://mirror.example/deb$1 bookworm main\n"; !strings.HasPrefix(got, want) || !strings.Contains(got, "http://security"+domain+"/debian-security") {
				t.Errorf("while the step runs, sources.list holds %q", got)
			}
			if !strings.Contains(during["etc/apt/sources.list.d/a.sources"], "URIs: http://mirror.example/deb$1/\n") || during["usr/sbin/policy-rc.d"] == "" {
				t.Errorf("while the step runs: %q", during)
			}
			tc.step(tr)
			if err := restore(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, contents(t, tr)); diff != "" {
				t.Errorf("-want +left:\n%s", diff)
			}
		})
	}
}

func TestAddCertificatesNeedsATrustStore(t *testing.T) {
	needRoot(t)
	tr := tree{t.TempDir()}
	if _, err := addCertificates(tr, newCA(t, "x")); err == nil || !strings.Contains(err.Error(), "ca-certificates") {
		t.Errorf("got %v", err)
	}
	write(t, tr, "usr/bin/update-ca-trust", "")
	command, err := addCertificates(tr, append(newCA(t, "One"), newCA(t, "../Two")...))
	if err != nil || command != "update-ca-trust" {
		t.Fatalf("got %q, %v", command, err)
	}
	entries, err := os.ReadDir(filepath.Join(tr.root, "etc/pki/ca-trust/source/anchors"))
	if err != nil || len(entries) != 2 {
		t.Errorf("got %v, %v", entries, err)
	}
}

func FuzzParseCertificates(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := parseCertificates(text)
		if err == nil && len(got) == 0 {
			t.Error("no certificate and no error")
		}
		for _, c := range got {
			if strings.ContainsAny(c.name, "/\\\x00") {
				t.Errorf("name %q", c.name)
			}
		}
	})
}
