package artifact

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/arm"
)

// The digest of "abc" is FIPS 180's own example.
const abc = Digest("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "artifacts"), "https://localhost:8443/")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *Store, text string) File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := s.Put(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Put the file is still at its old place: %v", err)
	}
	return f
}

func TestPutNamesTheBytes(t *testing.T) {
	s := open(t)
	want := File{Digest: abc, Size: 3}
	for range 2 { // repeating is harmless
		if diff := cmp.Diff(want, put(t, s, "abc")); diff != "" {
			t.Error(diff)
		}
	}
	path, file, err := s.Resolve(s.URI(abc))
	if err != nil || file != want {
		t.Fatalf("Resolve = %+v, %v", file, err)
	}
	if raw, _ := os.ReadFile(path); string(raw) != "abc" {
		t.Errorf("content %q", raw)
	}
	if _, _, err := s.Resolve("https://elsewhere:1" + PathPrefix + "sha256/" + string(abc)); err != nil {
		t.Errorf("the same blob under another address: %v", err)
	}
}

func TestPutRefusesADirectory(t *testing.T) {
	if _, err := open(t).Put(t.Context(), t.TempDir()); err == nil {
		t.Error("no error")
	}
}

func TestResolveRefusesWhatIsNotABlob(t *testing.T) {
	s := open(t)
	for uri, want := range map[string]error{
		"https://localhost:8443/hallmark-blobs/sha256/" + string(abc): ErrNotFound,
		"": ErrNotBlob,
		"https://localhost:8443/hallmark-blobs/sha256/../../etc/passwd":           ErrNotBlob,
		"https://localhost:8443/hallmark-blobs/sha256/" + string(abc) + "/x":      ErrNotBlob,
		"https://localhost:8443/hallmark-blobs/sha256/BA7816BF" + string(abc[8:]): ErrNotBlob,
		"http://localhost:8443/hallmark-blobs/sha256/" + string(abc):              ErrNotBlob,
		"https://account.blob.core.windows.net/vhds/disk.vhd":                     ErrNotBlob,
		"file:///hallmark-blobs/sha256/" + string(abc):                            ErrNotBlob,
	} {
		if _, _, err := s.Resolve(uri); !errors.Is(err, want) {
			t.Errorf("Resolve(%q) = %v, want %v", uri, err, want)
		}
	}
}

func TestOpenRemovesScratchOfAKilledProcess(t *testing.T) {
	s := open(t)
	dir, err := s.Scratch()
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "abc")
	if s, err = Open(s.dir, "https://localhost"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("scratch is still there: %v", err)
	}
	if _, _, err := s.Resolve(s.URI(abc)); err != nil {
		t.Errorf("the file has gone with the scratch: %v", err)
	}
}

func TestSweepKeepsWhatIsNamedOrYoung(t *testing.T) {
	s := open(t)
	old, named, young := put(t, s, "old"), put(t, s, "named"), put(t, s, "young")
	start := time.Now()
	s.since = func(info fs.FileInfo) time.Time {
		if info.Name() == string(young.Digest) {
			return start.Add(time.Minute)
		}
		return start.Add(-time.Minute)
	}
	text := []byte(`{"artifactUri":"https://old-address` + PathPrefix + `sha256/` + string(named.Digest) + `"}`)
	swept, err := s.Sweep(t.Context(), start, func(context.Context) (map[Digest]bool, error) {
		found := map[Digest]bool{}
		Mentioned(text, found)
		return found, nil
	})
	if err != nil || swept.Files != 1 || swept.Bytes != 3 {
		t.Errorf("Sweep = %+v, %v", swept, err)
	}
	for _, f := range []File{named, young} {
		if _, _, err := s.Resolve(s.URI(f.Digest)); err != nil {
			t.Errorf("%+v: %v", f, err)
		}
	}
	if _, _, err := s.Resolve(s.URI(old.Digest)); !errors.Is(err, ErrNotFound) {
		t.Errorf("the unnamed file is still there: %v", err)
	}
}

// Bytes that were given long ago and are given again must not be swept before their new
// owner has named them.
func TestGivingAgainMakesYoung(t *testing.T) {
	s := open(t)
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, give := range []func() (File, error){
		func() (File, error) { return s.Link(t.Context(), path, abc) },
		func() (File, error) { return s.Link(t.Context(), path, abc) }, // the same inode
		func() (File, error) { return s.Put(t.Context(), path) },
	} {
		before := time.Now().Add(-time.Second) // clocks of file systems are coarse
		f, err := give()
		if err != nil || f != (File{Digest: abc, Size: 3}) {
			t.Fatalf("%+v, %v", f, err)
		}
		info, err := os.Stat(s.path(abc))
		if err != nil || s.since(info).Before(before) {
			t.Errorf("given now, and counts as of %v, %v", s.since(info), err)
		}
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Put the file is still at its old place: %v", err)
	}
	if left, err := os.ReadDir(s.scratch()); err != nil || len(left) > 0 {
		t.Errorf("scratch holds %v, %v", left, err)
	}
}

func TestSweepRemovesNothingWhenItCannotAsk(t *testing.T) {
	s := open(t)
	put(t, s, "abc")
	broken := errors.New("the store is away")
	_, err := s.Sweep(t.Context(), time.Now().Add(time.Hour), func(context.Context) (map[Digest]bool, error) { return nil, broken })
	if !errors.Is(err, broken) {
		t.Errorf("err = %v", err)
	}
	if _, _, err := s.Resolve(s.URI(abc)); err != nil {
		t.Error(err)
	}
}

func TestHandler(t *testing.T) {
	s := open(t)
	put(t, s, "abc")
	denied := arm.Errorf(http.StatusForbidden, arm.CodeAuthorizationFailed, "no")
	for _, c := range []struct {
		name, method, path, header string
		allow                      error
		status                     int
		body                       string
	}{
		{name: "whole", path: s.URI(abc), status: 200, body: "abc"},
		{name: "range", path: s.URI(abc), header: "bytes=1-", status: 206, body: "bc"},
		{name: "denied", path: s.URI(abc), allow: denied, status: 403},
		{name: "denied before it is said whether it exists", path: s.URI(abc[1:] + "0"), allow: denied, status: 403},
		{name: "missing", path: s.URI(abc[1:] + "0"), status: 404},
		{name: "not a digest", path: "/hallmark-blobs/sha256/%2e%2e%2fscratch", status: 404},
		{name: "write", method: "PUT", path: s.URI(abc), status: 405},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(c.method, c.path, nil)
			if c.header != "" {
				r.Header.Set("Range", c.header)
			}
			w := httptest.NewRecorder()
			s.Handler(func(*http.Request) error { return c.allow }).ServeHTTP(w, r)
			if w.Code != c.status || (c.body != "" && w.Body.String() != c.body) {
				t.Errorf("%d %q, want %d %q", w.Code, w.Body, c.status, c.body)
			}
		})
	}
}

func FuzzParseURI(f *testing.F) {
	f.Add("https://h" + PathPrefix + "sha256/" + string(abc))
	f.Add("https://h/hallmark-blobs/sha256/../x")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseURI(text)
		if err == nil && filepath.Base(string(d)) != string(d) {
			t.Errorf("%q is not a file name", d)
		}
	})
}
