package vm

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"hallmark.dev/hallmark/internal/disk"
)

var update = flag.Bool("update", false, "rewrite golden files")

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

// plans are the machines whose command lines are kept as goldens.
var plans = map[string]Config{
	"plan-smallest": {ID: "smallest"},
	"plan-full": {ID: "full", Name: "web-1", CPUs: 2, MemoryMiB: 2048, Accel: KVM, Seed: SeedFile,
		NIC: &NIC{Tap: "hmabcdeft123456", MAC: "52:54:00:00:00:01"},
		Disks: []Disk{{Path: OSDiskFile, Format: disk.QCOW2}, {Path: "/disks/a, b=c.qcow2", Format: disk.QCOW2},
			{Path: "/disks/b.raw", Format: disk.Raw, LUN: 7, ReadOnly: true}}},
	"plan-same-user": {ID: "same user", UserID: -1},
}

func TestPlanGolden(t *testing.T) {
	for name, c := range plans {
		c = c.Default()
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		golden(t, name+".txt", strings.Join(c.Plan(), "\n")+"\n")
	}
}

// TestPathsCannotAddOptions: commas and quotes in a path stay in the path.
func TestPathsCannotAddOptions(t *testing.T) {
	const hostile = `/a",driver=nbd,server.host=evil,x="`
	var got struct {
		Driver string
		File   struct{ Driver, Filename string }
	}
	if err := json.Unmarshal([]byte(blockdev("n", Disk{Path: hostile, Format: disk.Raw})), &got); err != nil {
		t.Fatal(err)
	}
	if got.Driver != "raw" || got.File.Driver != "file" || got.File.Filename != hostile {
		t.Errorf("%+v", got)
	}
}

func TestDefaultsDifferByMachine(t *testing.T) {
	a, b := Config{ID: "a"}.Default(), Config{ID: "b"}.Default()
	if a.UUID == b.UUID || a.UserID == b.UserID {
		t.Errorf("%+v and %+v share an identity", a, b)
	}
	if diff := cmp.Diff(a, a.Default()); diff != "" {
		t.Errorf("defaulting twice changes: %s", diff)
	}
}

func TestValidateReportsEverything(t *testing.T) {
	c := Config{ID: "", Name: "-daemonize", UUID: "x", CPUs: 999, MemoryMiB: 1, Accel: "hvf", CPUModel: "max -object x",
		NIC:   &NIC{Tap: "tap0,script=/bin/sh", MAC: "nonsense"},
		Disks: []Disk{{Path: "a", Format: "vmdk"}, {Path: "", Format: disk.Raw, LUN: 64}, {Path: "c", Format: disk.Raw, LUN: 1}, {Path: "d", Format: disk.Raw, LUN: 1}}}
	err := c.Validate()
	for _, want := range []string{"id:", "name:", "uuid:", "cpus:", "memoryMiB:", "accel:", "cpuModel:", "firmware:", "nic.tap:", "nic.mac:",
		"disks[0].format:", "disks[1].path:", "disks[1].lun:", "disks[3].lun:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q: %v", want, err)
		}
	}
}

func TestConfigSurvivesItsFile(t *testing.T) {
	dir := t.TempDir()
	want := plans["plan-full"].Default()
	if err := want.save(dir); err != nil {
		t.Fatal(err)
	}
	m, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, m.Config()); diff != "" {
		t.Error(diff)
	}
	if _, err := Open(filepath.Join(dir, "none")); !errors.Is(err, ErrNotFound) {
		t.Errorf("no machine: %v", err)
	}
}

func TestSizesAreAzures(t *testing.T) {
	name := regexp.MustCompile(`^Standard_[A-Z]+\d+[a-z]*(_v\d)?$`)
	seen := map[string]bool{}
	for _, s := range Sizes() {
		if !name.MatchString(s.Name) || seen[s.Name] || s.VCPUs < 1 || s.MemoryMiB < 512 || s.MaxDataDisks < 1 {
			t.Errorf("%+v", s)
		}
		seen[s.Name] = true
	}
	got, err := FindSize("standard_d4S_V5")
	if err != nil || got.VCPUs != 4 || got.MemoryMiB != 16384 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := FindSize("Standard_Z1"); !errors.Is(err, ErrUnknownSize) {
		t.Error(err)
	}
	if w := got.Within(DefaultCaps); w.VCPUs != 2 || w.MemoryMiB != 1024 || w.Name != got.Name {
		t.Errorf("capped: %+v", w)
	}
	if w := got.Within(Caps{}); w != got {
		t.Errorf("without caps: %+v", w)
	}
}

func TestCapacityAdmits(t *testing.T) {
	const gib = 1 << 30
	c := Capacity{Total: Resources{16384, 100 * gib}, Keep: Resources{2048, 10 * gib}, Reserved: Resources{12288, 60 * gib}}
	tests := []struct {
		want  Resources
		short []string
	}{
		{Resources{2048, 30 * gib}, nil},
		{Resources{2049, 1}, []string{"needs 2049 MiB of memory and 2048 MiB are free", "16384 in all", "12288 promised"}},
		{Resources{4096, 40 * gib}, []string{"4096 MiB of memory", "40960 MiB of disk and 30720 MiB are free"}},
	}
	for _, tt := range tests {
		err := c.Admit(tt.want)
		var full *AllocationError
		if errors.As(err, &full) != (tt.short != nil) {
			t.Errorf("%+v: %v", tt.want, err)
		}
		for _, s := range tt.short {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%+v: the error lacks %q: %v", tt.want, s, err)
			}
		}
	}
	if f := (Capacity{Reserved: Resources{1, 1}}).Free(); f != (Resources{}) {
		t.Errorf("free is negative: %+v", f)
	}
}

func TestParseMemTotal(t *testing.T) {
	got, err := parseMemTotal(strings.NewReader("MemTotal:       24689100 kB\nMemFree:         1000 kB\n"))
	if err != nil || got != 24110 {
		t.Errorf("%d, %v", got, err)
	}
	if _, err := parseMemTotal(strings.NewReader("")); err == nil {
		t.Error("no error for an empty file")
	}
}

func testSeed() Seed {
	return Seed{InstanceID: "web-1", Hostname: "web-1", AdminUser: "azureuser",
		SSHKeys:      []string{"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ8z2yXw5tS0bV0z9gJ1cWQF3yK0c0mJ7qv4pJYw0hX me@example"},
		PasswordHash: "$6$salt$hash",
		Network: &SeedNetwork{MAC: "52:54:00:AA:BB:01", Address: netip.MustParsePrefix("10.64.0.2/20"), Gateway: netip.MustParseAddr("10.64.0.1"),
			DNS: []netip.Addr{netip.MustParseAddr("10.0.0.53")}}}
}

// TestSeedGolden: the boot test has cloud-init itself read the same files.
func TestSeedGolden(t *testing.T) {
	plain, custom, nested := testSeed(), testSeed(), testSeed()
	custom.CustomData = []byte("#!/bin/sh\ntouch /done\n")
	nested.CustomData = []byte("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"b\"\n\n--b\nContent-Type: text/x-shellscript\n\n#!/bin/sh\n--b--\n")
	for name, s := range map[string]Seed{"seed": plain, "seed-script": custom, "seed-mime": nested} {
		files, err := s.Files()
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{"meta-data", "network-config", "user-data"} {
			if name == "seed" || file == "user-data" {
				golden(t, name+"-"+file, string(files[file]))
			}
		}
	}
}

// TestSeedISO has another program read the label and the names.
func TestSeedISO(t *testing.T) {
	file := filepath.Join(t.TempDir(), "seed.iso")
	s := testSeed()
	if err := s.Write(file); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	blkid, err := exec.LookPath("blkid")
	if err != nil {
		t.Skip("blkid (Debian package util-linux) is not installed")
	}
	out, err := exec.Command(blkid, "-p", "-o", "export", file).Output()
	if err != nil || !strings.Contains(string(out), "LABEL=cidata\n") || !strings.Contains(string(out), "TYPE=iso9660\n") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestSeedValidation(t *testing.T) {
	s := Seed{Hostname: "web_1\nroot:", AdminUser: "root", SSHKeys: []string{"ssh-rsa nonsense", "ssh-ed25519 AAAA\nusers: []"},
		PasswordHash: "hunter2", CustomData: make([]byte, maxCustomData+1),
		Network: &SeedNetwork{Address: netip.MustParsePrefix("10.0.0.2/24"), Gateway: netip.MustParseAddr("10.0.1.1")}}
	err := s.Validate()
	for _, want := range []string{"instanceId:", "hostname:", "adminUser:", "sshKeys[0]:", "sshKeys[1]:", "passwordHash:", "customData:", "network:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Error("the error shows the password")
	}
	if err := testSeed().Validate(); err != nil {
		t.Error(err)
	}
}

func TestStates(t *testing.T) {
	for status, want := range map[string]State{"running": Running, "paused": Paused, "shutdown": Stopped, "internal-error": Failed, "io-error": Failed, "news": Failed} {
		if got := stateOf(status); got != want {
			t.Errorf("%s: %s, want %s", status, got, want)
		}
	}
}

func TestObserveFindsThisProcess(t *testing.T) {
	p, err := observe(os.Getpid())
	if err != nil || !p.alive() {
		t.Fatalf("%+v, %v", p, err)
	}
	p.Start++
	if p.alive() {
		t.Error("a process with another start time is alive")
	}
	if err := p.signal(os.Kill); !errors.Is(err, errNoProcess) { // this process, were it not for the start time
		t.Error(err)
	}
}

func TestParseStatWithHostileName(t *testing.T) {
	const stat = "42 (a) R 1 (b)) Z 1 42 42 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 12345 0 0"
	state, start, err := parseStat([]byte(stat))
	if err != nil || state != "Z" || start != 12345 {
		t.Errorf("%q, %d, %v", state, start, err)
	}
}

func TestConsoleIsBounded(t *testing.T) {
	dir := t.TempDir()
	m := &Machine{dir: dir}
	if text, err := m.ReadConsole(10); err != nil || len(text) != 0 {
		t.Errorf("no console yet: %q, %v", text, err)
	}
	file := filepath.Join(dir, ConsoleFile)
	if err := os.WriteFile(file, append(make([]byte, MaxConsole+100), "the end"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.Rotate(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(" and on"); err != nil {
		t.Fatal(err)
	}
	if text, err := m.ReadConsole(14); err != nil || string(text) != "the end and on" {
		t.Errorf("%q, %v", text, err)
	}
	old, err := os.Stat(filepath.Join(dir, OldConsoleFile))
	if err != nil || old.Size() != MaxConsole {
		t.Errorf("%v, %v", old, err)
	}
}

func TestChooseObeysAndRemembers(t *testing.T) {
	cache := filepath.Join(t.TempDir(), "state", "accelerator.json")
	if c, err := Choose(context.Background(), "kvm", cache); err != nil || c.Accel != KVM {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := Choose(context.Background(), "hvf", cache); err == nil {
		t.Error("an unknown accelerator was taken")
	}
	boot, err := BootID()
	if err != nil {
		t.Fatal(err)
	}
	want := Choice{KVM, "remembered"}
	text, _ := json.Marshal(probeRecord{boot, want})
	if err := os.MkdirAll(filepath.Dir(cache), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cache, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := Choose(context.Background(), "", cache); err != nil || c != want {
		t.Errorf("%+v, %v", c, err)
	}
	if _, ok := remembered(cache, "another boot"); ok {
		t.Error("an answer of an earlier boot was taken")
	}
}

func TestFirstComplaint(t *testing.T) {
	const said = "qemu-system-x86_64: warning: host doesn't support requested feature\nKVM internal error. Suberror: 1\nextra data[0]: 1\n"
	if got := firstComplaint(said); got != "KVM internal error. Suberror: 1" {
		t.Error(got)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("1 (init) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 5 0"))
	f.Add([]byte(")"))
	f.Fuzz(func(t *testing.T, stat []byte) { _, _, _ = parseStat(stat) })
}

// FuzzReply covers what a hostile guest's agent can send.
func FuzzReply(f *testing.F) {
	f.Add([]byte("{\"return\": {}}\n"))
	f.Add([]byte("\xff{\"return\": 7}\n"))
	f.Add([]byte("{\"error\": {\"class\": \"GenericError\", \"desc\": \"x\"}}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		line, err := readLine(bufio.NewReader(bytes.NewReader(text)), 1<<16)
		if err != nil {
			return
		}
		_, _ = parseReply(line)
		if matchesSync(line, 7) && !bytes.Contains(line, []byte{0xff}) {
			t.Errorf("matched without the mark: %q", line)
		}
	})
}

func FuzzCustomData(f *testing.F) {
	f.Add([]byte("#cloud-config\n"))
	f.Add([]byte("Content-Type: multipart/mixed; boundary=b\n\n--b--"))
	f.Add([]byte{0x1f, 0x8b, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		s := testSeed()
		s.CustomData = data
		if _, err := s.Files(); err != nil {
			t.Error(err)
		}
	})
}
