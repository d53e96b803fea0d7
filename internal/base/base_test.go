package base

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

func TestPlansGolden(t *testing.T) {
	for _, e := range Builtin() {
		golden(t, "bootstrap-"+e.Debian.Codename+".txt", strings.Join(e.Debian.planBootstrap(Mirror{Main: "http://mirror.example/debian", Security: "http://mirror.example/debian-security"}.withDefaults()), "\n")+"\n")
	}
	golden(t, "partitions.txt", partitions("seed"))
	var text strings.Builder
	for _, args := range planFileSystems("seed") {
		fmt.Fprintln(&text, strings.Join(args, " "))
	}
	golden(t, "filesystems.txt", text.String())
}

// TestParseRelease reads what Debian's security archive served on 2026-11-20.
func TestParseRelease(t *testing.T) {
	text, err := os.ReadFile("testdata/bookworm-security.InRelease")
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseRelease(text)
	want := release{"bookworm-security", time.Date(2026, 11, 20, 0, 12, 41, 0, time.UTC), time.Date(2026, 11, 27, 0, 12, 41, 0, time.UTC)}
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if v := versionOf("12", got.Date); v != "12.20261120.12" || !versionPattern.MatchString(v) {
		t.Errorf("version %s", v)
	}
	if _, err := parseRelease([]byte("<html>Please log in</html>")); !errors.Is(err, errRelease) {
		t.Error(err)
	}
}

// TestSignatureDecides: the text as Debian signed it passes; one byte changed,
// another suite's, or an expired one does not.
func TestSignatureDecides(t *testing.T) {
	keyring := Mirror{}.withDefaults().Keyring
	if _, err := os.Stat(keyring); err != nil {
		t.Skip("the Debian package debian-archive-keyring is not installed")
	}
	if _, err := exec.LookPath("gpgv"); err != nil {
		t.Skip("the Debian package gpgv is not installed")
	}
	text, err := os.ReadFile("testdata/bookworm-security.InRelease")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	s := suite{"http://mirror", "bookworm-security"}
	if _, err := s.checked(t.Context(), keyring, text, now); err != nil {
		t.Error(err)
	}
	for why, err := range map[string]error{
		"mirror is wrong":       second(suite{"http://mirror", "trixie-security"}.checked(t.Context(), keyring, text, now)),
		"expired on 2026-11-27": second(s.checked(t.Context(), keyring, text, now.AddDate(0, 1, 0))),
		"signature":             second(s.checked(t.Context(), keyring, bytes.Replace(text, []byte("Version: 12"), []byte("Version: 13"), 1), now)),
	} {
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("want an error with %q: %v", why, err)
		}
	}
	// What stands outside the signature is not read.
	forged := append([]byte("Codename: trixie\n"), text...)
	if r, err := s.checked(t.Context(), keyring, forged, now); err == nil && r.Codename != "bookworm-security" {
		t.Errorf("read unsigned text: %+v", r)
	}
}

func second(_ release, err error) error { return err }

func testOpen(t *testing.T, entries []Entry, m Mirror) *Store {
	t.Helper()
	s, err := Open(t.TempDir(), NewCatalogue(entries), m)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestReleaseIsAskedForEveryTimeAndKeptForBadDays(t *testing.T) {
	content, tag, asked, down := "one", `"1"`, 0, false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if down {
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		w.Header().Set("ETag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprint(w, content)
	}))
	defer server.Close()
	s := testOpen(t, nil, Mirror{})
	expect := func(want string, wantStale bool) {
		t.Helper()
		got, stale, err := s.fetchRelease(t.Context(), suite{server.URL, "x"})
		if err != nil || string(got) != want || (stale != nil) != wantStale {
			t.Errorf("%q, %v, %v; want %q", got, stale, err, want)
		}
	}
	expect("one", false)
	expect("one", false) // 304
	content, tag = "two", `"2"`
	expect("two", false)
	down = true
	expect("two", true)
	if asked != 4 {
		t.Errorf("asked %d times", asked)
	}
	if _, _, err := s.fetchRelease(t.Context(), suite{server.URL, "never seen"}); err == nil || !strings.Contains(err.Error(), "package mirror") {
		t.Errorf("nothing known: %v", err)
	}
}

func TestSetDigestIgnoresOrder(t *testing.T) {
	a, b := []byte("a"), []byte("b")
	if setDigest([][]byte{a, b}) != setDigest([][]byte{b, a}) || setDigest([][]byte{a, b}) == setDigest([][]byte{a, a}) {
		t.Error("the digest of a set depends on its order, or not on its content")
	}
}

func TestFindChecksum(t *testing.T) {
	const sha256sum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for _, text := range []string{
		sha256sum + "  image.qcow2\n",
		"x\n" + sha256sum + " *image.qcow2\n",
		"SHA256 (image.qcow2) = " + sha256sum + "\n",
		sha256sum + "  ./dir/image.qcow2\n",
	} {
		got, err := findChecksum([]byte(text), "image.qcow2")
		if err != nil || got != "sha256:"+sha256sum {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"", sha256sum + "  other.qcow2\n", "d41d8cd98f00b204e9800998ecf8427e  image.qcow2\n"} {
		if got, err := findChecksum([]byte(text), "image.qcow2"); err == nil {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func TestParseCatalogue(t *testing.T) {
	const good = `images:
- publisher: Example
  offer: cloud
  sku: "9"
  url: https://images.example/cloud-9.qcow2
  checksums: https://images.example/SHA256SUMS
- publisher: Example
  offer: cloud
  sku: "8"
  url: file:///srv/cloud-8.raw.xz
  digest: sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
  version: 8.1.0
  format: raw
`
	entries, err := ParseCatalogue("catalogue.yaml", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	c := NewCatalogue(entries)
	if e, err := c.Find("example", "CLOUD", "8"); err != nil || e.File == nil || e.File.Format != disk.Raw || e.File.Version != "8.1.0" {
		t.Errorf("%+v, %v", e, err)
	}
	if e, err := c.Find("Debian", "debian-12", "12-gen2"); err != nil || e.Debian == nil {
		t.Errorf("the built-in entry: %+v, %v", e, err)
	}
	if _, err := c.Find("Canonical", "x", "y"); !errors.Is(err, ErrNotOffered) || !strings.Contains(err.Error(), "Debian:debian-12:12-gen2") {
		t.Error(err)
	}
}

func TestCatalogueMistakesComeAllAtOnce(t *testing.T) {
	const bad = `images:
- publisher: "a b"
  offer: o
  sku: s
  url: ftp://x/y
  digest: md5:1
  format: vmdk
- {publisher: P, offer: o, sku: s, url: "http://h/f", checksums: "http://h/S"}
- {publisher: p, offer: O, sku: S, url: "http://h/f", checksums: "http://h/S", version: "1"}
`
	_, err := ParseCatalogue("c.yaml", []byte(bad))
	for _, want := range []string{"images[0].publisher", "images[0].url", "images[0].digest", "images[0].version", "images[0].format", "images[2].version", "images[2]: p:O:S is there twice"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q: %v", want, err)
		}
	}
	if _, err := ParseCatalogue("c.yaml", []byte("images:\n- publisher: P\n  url: x\n  colour: red\n")); err == nil || !strings.Contains(err.Error(), "colour") {
		t.Errorf("an unknown field: %v", err)
	}
}

// TestImageFromURL goes through fetching with a break, verifying, decompressing
// and converting.
func TestImageFromURL(t *testing.T) {
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("qemu-img (Debian package qemu-utils) is not installed")
	}
	dir := t.TempDir()
	raw := filepath.Join(dir, "cloud.raw")
	if err := os.WriteFile(raw, bytes.Repeat([]byte("content."), 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("xz", "-0", raw).CombinedOutput(); err != nil {
		t.Skipf("xz (Debian package xz-utils): %v %s", err, out)
	}
	body, err := os.ReadFile(raw + ".xz")
	if err != nil {
		t.Fatal(err)
	}
	sums, err := exec.Command("sha256sum", raw+".xz").Output()
	if err != nil {
		t.Fatal(err)
	}
	var ranges []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/SHA256SUMS":
			w.Header().Set("Last-Modified", "Sat, 21 Nov 2026 15:30:00 GMT")
			w.Write(sums)
		case r.Header.Get("Range") == "":
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			w.Write(body[:len(body)/2]) // and breaks off
		default:
			ranges = append(ranges, r.Header.Get("Range"))
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
		}
	}))
	defer server.Close()
	s := testOpen(t, []Entry{{Publisher: "Example", Offer: "cloud", SKU: "9", File: &FileSource{URL: server.URL + "/cloud.raw.xz", Checksums: server.URL + "/SHA256SUMS", Format: disk.Raw}}}, Mirror{})
	r, err := s.Resolve(t.Context(), Ref{"example", "cloud", "9", "LATEST"})
	if err != nil || r.Version != "0.20261121.1530" || r.Publisher != "Example" {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := s.Get(t.Context(), r, nil); !errors.Is(err, ErrFetch) {
		t.Fatalf("a transfer that breaks off: %v", err)
	}
	image, err := s.Get(t.Context(), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("bytes=%d-", len(body)/2); len(ranges) != 1 || ranges[0] != want {
		t.Errorf("ranges %v, want %s", ranges, want)
	}
	if image.VirtualSize != 8<<20 {
		t.Errorf("%+v", image)
	}
	checkKept(t, s, image)
}

func checkKept(t *testing.T, s *Store, image Image) {
	t.Helper()
	r, err := s.Resolve(t.Context(), image.Ref())
	if diff := cmp.Diff(image.Resolved, r); err != nil || diff != "" {
		t.Errorf("the exact version: %v %s", err, diff)
	}
	ref := image.Ref()
	ref.Version = "0.0.1"
	if _, err := s.Resolve(t.Context(), ref); !errors.Is(err, ErrNoSuchVersion) {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, "[wd]*", "*")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	if err := s.Remove("../" + image.Key); err == nil {
		t.Error("removed outside the store")
	}
	if err := s.Remove(image.Key); err != nil {
		t.Fatal(err)
	}
	if all, err := s.List(); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
}

func TestWrongBytesAreRefused(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "evil") }))
	defer server.Close()
	const empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	s := testOpen(t, []Entry{{Publisher: "P", Offer: "o", SKU: "s", File: &FileSource{URL: server.URL + "/f", Digest: empty, Version: "1.0.0"}}}, Mirror{})
	r, err := s.Resolve(t.Context(), Ref{"P", "o", "s", Latest})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), r, nil); !errors.Is(err, ErrDigest) {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, "[wdi]*", "*")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

func TestSweepLeavesWorkInProgress(t *testing.T) {
	s := testOpen(t, nil, Mirror{})
	busy, err := s.workspace()
	if err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(s.dir, workDir, "base-dead")
	if err := os.MkdirAll(filepath.Join(dead, "root"), 0o755); err != nil {
		t.Fatal(err)
	}
	removed, err := s.Sweep()
	if diff := cmp.Diff([]string{dead}, removed); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	busy.close()
}

// TestFinishStaysInside: a link in the tree does not lead to the host's files.
func TestFinishStaysInside(t *testing.T) {
	outside, root := t.TempDir(), t.TempDir()
	victim := filepath.Join(outside, "machine-id")
	if err := os.WriteFile(victim, []byte("host"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(root, "etc")); err != nil {
		t.Fatal(err)
	}
	if err := finish(root); err == nil {
		t.Error("a tree that leads outside was finished")
	}
	if text, _ := os.ReadFile(victim); string(text) != "host" {
		t.Error("a file outside was changed")
	}
}

func FuzzParseRelease(f *testing.F) {
	f.Add([]byte("Codename: x\nDate: Fri, 20 Nov 2026 00:12:41 UTC\n"))
	f.Add([]byte("Date: never\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if r, err := parseRelease(text); err == nil && (r.Codename == "" || r.Date.IsZero()) {
			t.Errorf("%+v", r)
		}
	})
}

func FuzzFindChecksum(f *testing.F) {
	f.Add([]byte("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  a"))
	f.Add([]byte("SHA512 (a) = x"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if d, err := findChecksum(text, "a"); err == nil && !digestPattern.MatchString(d) {
			t.Errorf("%q", d)
		}
	})
}

func FuzzParseCatalogue(f *testing.F) {
	f.Add([]byte("images:\n- publisher: P\n"))
	f.Add([]byte("images: [{}]"))
	f.Fuzz(func(_ *testing.T, text []byte) { _, _ = ParseCatalogue("f", text) })
}
