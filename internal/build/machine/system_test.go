package machine_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/base"
	"hallmark.dev/hallmark/internal/build"
	"hallmark.dev/hallmark/internal/build/machine"
	"hallmark.dev/hallmark/internal/disk"
	"hallmark.dev/hallmark/internal/network"
	"hallmark.dev/hallmark/internal/vm"
)

func systemTest(t *testing.T) {
	t.Helper()
	if os.Getenv("HALLMARK_SYSTEM_TESTS") != "1" {
		t.Skip("runs an SSH server or boots a machine, as root: set HALLMARK_SYSTEM_TESTS=1")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: machines hang on a bridge, and images are mounted")
	}
}

// debian is assembled once, and kept between runs.
func debian(t *testing.T) build.Base {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	store, err := base.Open(filepath.Join(cache, "hallmark-test", "base"), base.NewCatalogue(nil), base.Mirror{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := store.Resolve(t.Context(), base.Ref{Publisher: "Debian", Offer: "debian-12", SKU: "12-gen2", Version: base.Latest})
	if err != nil {
		t.Fatal(err)
	}
	image, err := store.Get(t.Context(), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := disk.Digest(t.Context(), image.Path)
	if err != nil {
		t.Fatal(err)
	}
	return build.Base{Path: image.Path, Format: disk.QCOW2, Digest: digest}
}

func newRunner(t *testing.T, dir string) *machine.Runner {
	t.Helper()
	cfg, err := network.Load(filepath.Join(dir, "network.json"), dir)
	if err != nil {
		t.Fatal(err)
	}
	net, err := network.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := net.Teardown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := net.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	choice, err := vm.Choose(t.Context(), os.Getenv(vm.AccelEnv), filepath.Join(dir, "accelerator.json"))
	if err != nil {
		t.Fatal(err)
	}
	resolvers, _ := network.Resolvers() // the step needs no names
	return &machine.Runner{Dir: filepath.Join(dir, "machines"), Network: net, Subnet: cfg.Machines, Gateway: cfg.Gateway(),
		Addresses: machine.Addresses(cfg.Machines, 2), Nameservers: resolvers, Accel: choice.Accel, CPUs: 2}
}

// inside is what a step finds in its machine, told by programs of the image.
const inside = `set -e
echo "system $(systemctl is-system-running)"
echo "init $(cat /proc/1/comm)"
echo "secret $(cat /run/secrets/token) $(stat -c %a /run/secrets/token) on $(stat -f -c %T /run/secrets)"
echo "variable $ODD"
echo "user $(id -un) $HOME $(pwd)"
echo "input $(wc -c)"
test -z "$SSH_CONNECTION"
grub-probe --target=fs / || echo "no grub here"
echo made > /etc/made
`

// wanted is what a step in a machine leaves: its own file, and what systemd makes
// of empty state directories whenever a machine boots.
var wanted = []string{"+ /etc/made", "+ /var/lib/cloud", "+ /var/lib/dbus/machine-id", "+ /var/lib/systemd/linger",
	"+ /var/lib/systemd/timers", "+ /var/lib/systemd/timesync", "+ /var/lib/systemd/timesync/clock"}

// TestStepInAMachine boots one machine, in the middle of a build, and looks at
// what the build's image has that its base has not.
func TestStepInAMachine(t *testing.T) {
	systemTest(t)
	dir := t.TempDir()
	b, err := build.Open(filepath.Join(dir, "builds"))
	if err != nil {
		t.Fatal(err)
	}
	runner := newRunner(t, dir)
	b.VM = runner
	plan := build.Plan{ID: "p", Base: debian(t), Variables: map[string]string{"ODD": `it's "$HOME" \ and a` + "\nline"},
		Secrets: []build.Secret{{Name: "token", Value: []byte("not-to-be-seen")}},
		Steps:   []build.Step{{Name: "kernel", Kind: build.Shell, Script: []byte(inside), Isolation: build.InVM}}}
	var out strings.Builder
	begin := time.Now()
	result, err := b.Build(t.Context(), "run-1", plan, func(e build.Event) {
		if e.Kind == build.Log {
			out.WriteString(e.Message + "\n")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer result.Release()
	t.Logf("built in %s", time.Since(begin).Round(time.Second))
	want := "system running\ninit systemd\nsecret *** 400 on ramfs\nvariable it's \"$HOME\" \\ and a\nline\nuser root /root /\ninput 0\n"
	if got := out.String(); !strings.HasPrefix(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	plan.Steps = nil
	plain, err := b.Build(t.Context(), "run-2", plan, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Release()
	if diff := cmp.Diff(wanted, changes(t, dir, plain.Path, result.Path)); diff != "" {
		t.Errorf("the machine left in the image:\n%s", diff)
	}
	if left, _ := os.ReadDir(runner.Dir); len(left) > 0 {
		t.Errorf("left of the machine: %v", left)
	}
	links, err := exec.Command("ip", "-o", "link", "show").Output()
	if name := runner.Network.(*network.Network).Config().Tap(""); err != nil || strings.Contains(string(links), name[:len(name)-6]) {
		t.Errorf("a device is left: %v\n%s", err, links)
	}
}

// changes compares two images with diff(1) and find(1).
func changes(t *testing.T, dir, from, to string) []string {
	t.Helper()
	lists := make([]string, 2)
	for i, path := range []string{from, to} {
		m, err := disk.Host{Dir: filepath.Join(dir, "mounts")}.Mount(t.Context(), path, disk.QCOW2, true)
		if err != nil {
			t.Fatal(err)
		}
		find := exec.Command("sh", "-c", `
skip='-path ./var/log -o -path ./var/cache -o -path ./tmp -o -path ./run'
{ find . -xdev \( $skip \) -prune -o -printf '/%P %y %m %u %g %l\n'
  find . -xdev \( $skip \) -prune -o -type f -print0 | xargs -0 sha256sum | sed 's|^\([0-9a-f]*\)  \.\(.*\)|\2 \1|'; } | sort`)
		find.Dir = m.Root()
		text, err := find.Output()
		if err != nil {
			t.Fatal(err)
		}
		lists[i] = filepath.Join(dir, []string{"before", "after"}[i])
		if err := os.WriteFile(lists[i], text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	text, _ := exec.Command("diff", lists[0], lists[1]).Output() // 1 when they differ
	seen := map[string]bool{}
	var out []string
	for line := range strings.Lines(string(text)) {
		if sign := map[byte]string{'<': "- ", '>': "+ "}[line[0]]; sign != "" {
			if change := sign + strings.Fields(line)[1]; !seen[change] {
				seen[change] = true
				out = append(out, change)
			}
		}
	}
	slices.Sort(out)
	return out
}
