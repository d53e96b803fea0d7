package network

import (
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files")

func testConfig() Config {
	return Config{Instance: "/var/lib/example", Machines: netip.MustParsePrefix("10.64.16.0/20"), Steps: netip.MustParsePrefix("10.64.1.0/24")}
}

func TestRulesGolden(t *testing.T) {
	isolated := testConfig()
	isolated.Isolate = true
	for name, c := range map[string]Config{"rules.nft": testConfig(), "rules-isolated.nft": isolated} {
		golden(t, name, c.Rules())
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got), -update rewrites it:\n%s", name, diff)
	}
}

// TestDeviceNamesFit: the kernel takes 15 characters (IFNAMSIZ - 1).
func TestDeviceNamesFit(t *testing.T) {
	c := testConfig()
	for _, name := range []string{c.Bridge(), c.Tap(strings.Repeat("machine", 50)), c.veth("step-1")} {
		if len(name) > 15 || !strings.HasPrefix(name, "hm") {
			t.Errorf("device name %q", name)
		}
	}
}

func TestDefaultAvoidsWhatIsTaken(t *testing.T) {
	p := netip.MustParsePrefix
	tests := []struct {
		taken           []netip.Prefix
		machines, steps string
	}{
		{nil, "10.64.0.0/20", "10.64.16.0/24"},
		{[]netip.Prefix{p("10.64.0.0/24"), p("192.168.0.0/16")}, "10.64.16.0/20", "10.64.1.0/24"},
		{[]netip.Prefix{p("10.64.0.0/11")}, "10.96.0.0/20", "10.96.16.0/24"},
	}
	for _, tt := range tests {
		c, err := Default("x", tt.taken)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Validate(); err != nil {
			t.Error(err)
		}
		if c.Machines != p(tt.machines) || c.Steps != p(tt.steps) {
			t.Errorf("taken %v: got %s and %s, want %s and %s", tt.taken, c.Machines, c.Steps, tt.machines, tt.steps)
		}
	}
	if _, err := Default("x", []netip.Prefix{p("10.0.0.0/8")}); !errors.Is(err, ErrExhausted) {
		t.Errorf("a full pool: %v", err)
	}
}

func TestLoadKeepsAddresses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state", "network.json")
	first, err := Load(file, "a")
	if err != nil {
		t.Fatal(err)
	}
	again, err := Load(file, "a")
	if err != nil || again != first {
		t.Errorf("second Load: %+v, %v; want %+v", again, err, first)
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(file, "a"); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a damaged file: %v", err)
	}
}

func TestValidateReportsEverything(t *testing.T) {
	err := Config{Machines: netip.MustParsePrefix("10.0.0.1/20"), Steps: netip.MustParsePrefix("10.0.0.0/31")}.Validate()
	for _, want := range []string{"instance:", "machines: 10.0.0.1/20 has bits set", "steps: 10.0.0.0/31 is too small", "overlaps"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q: %v", want, err)
		}
	}
}

func TestNextFree(t *testing.T) {
	a := netip.MustParseAddr
	tests := []struct {
		prefix string
		used   []netip.Addr
		want   string
	}{
		{"10.0.0.0/24", nil, "10.0.0.2"},
		{"10.0.0.0/24", []netip.Addr{a("10.0.0.2"), a("10.0.0.4")}, "10.0.0.3"},
		{"10.0.0.0/30", nil, "10.0.0.2"},
		{"10.0.0.0/30", []netip.Addr{a("10.0.0.2")}, ""},
	}
	for _, tt := range tests {
		got, err := NextFree(netip.MustParsePrefix(tt.prefix), tt.used)
		if tt.want == "" {
			if !errors.Is(err, ErrExhausted) {
				t.Errorf("%s: %v, %v", tt.prefix, got, err)
			}
			continue
		}
		if err != nil || got.String() != tt.want {
			t.Errorf("%s with %v: %v, %v; want %s", tt.prefix, tt.used, got, err, tt.want)
		}
	}
}

func TestPortValidation(t *testing.T) {
	err := Port{MAC: `52:54" } ; flush ruleset`, Address: netip.MustParseAddr("192.0.2.1")}.validate(testConfig().Machines)
	for _, want := range []string{"machine:", "mac:", "address: 192.0.2.1 is not within"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q: %v", want, err)
		}
	}
}

// TestParseRoutes reads a table as the kernel of a little-endian machine prints
// it: a default route and 192.0.2.0/24.
func TestParseRoutes(t *testing.T) {
	const table = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010200C0	0003	0	0	0	00000000	0	0	0
eth0	000200C0	00000000	0001	0	0	0	00FFFFFF	0	0	0
junk
`
	got := parseRoutes(strings.NewReader(table))
	if len(got) != 1 || got[0] != netip.MustParsePrefix("192.0.2.0/24") {
		t.Errorf("got %v", got)
	}
}

func TestParsePorts(t *testing.T) {
	text, err := os.ReadFile("testdata/ports.json") // what nft 1.0.6 prints
	if err != nil {
		t.Fatal(err)
	}
	got, err := parsePorts(text, "hmvmt0")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{`"hmvmt0" . 52:54:00:aa:bb:01 . 10.99.0.2`}, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseLinks(t *testing.T) {
	got, err := parseLinks([]byte(`[{"ifname":"lo"},{"ifname":"hmabcdefbr","ifalias":"hallmark x"},{}]`), "hmabcdef")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]link{{"hmabcdefbr", "hallmark x"}}, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzParseResolvers(f *testing.F) {
	f.Add("nameserver 10.255.255.53\noptions edns0\n")
	f.Add("# x\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\nnameserver")
	f.Fuzz(func(t *testing.T, text string) {
		got := ParseResolvers(strings.NewReader(text))
		if len(got) > 3 {
			t.Errorf("%d servers", len(got))
		}
		for _, a := range got {
			if !a.Is4() {
				t.Errorf("%s is not IPv4", a)
			}
		}
	})
}

func FuzzParseRoutes(f *testing.F) {
	f.Add("eth0\t000200C0\t0\t1\t0\t0\t0\t00FFFFFF\t0\t0\t0")
	f.Fuzz(func(t *testing.T, text string) {
		for _, p := range parseRoutes(strings.NewReader(text)) {
			if !p.IsValid() {
				t.Errorf("invalid prefix of %q", text)
			}
		}
	})
}
