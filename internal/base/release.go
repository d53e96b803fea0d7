package base

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/disk"
)

// suite is one of the package collections that make up a release.
type suite struct{ uri, name string }

func (d Debian) suites(m Mirror) []suite {
	return []suite{{m.Main, d.Codename}, {m.Main, d.Codename + "-updates"}, {m.Security, d.Codename + "-security"}}
}

// errNoMirror is said where neither the user nor the host names one.
var errNoMirror = errors.New("no package mirror is known: this host's apt sources name none, so set mirror and securityMirror in config.yaml")

func (s suite) inRelease() string { return s.uri + "/dists/" + s.name + "/InRelease" }

// release is what matters of an InRelease file (wiki.debian.org/DebianRepository/Format).
type release struct {
	Codename   string
	Date       time.Time
	ValidUntil time.Time // zero: forever
}

var errRelease = errors.New("not an InRelease file")

// parseRelease reads the text that the signature covers.
func parseRelease(text []byte) (release, error) {
	var r release
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ": ")
		if !ok {
			continue
		}
		var err error
		switch key {
		case "Codename":
			r.Codename = value
		case "Date":
			r.Date, err = parseDate(value)
		case "Valid-Until":
			r.ValidUntil, err = parseDate(value)
		}
		if err != nil {
			return release{}, fmt.Errorf("%w: %s: %w", errRelease, key, err)
		}
	}
	if r.Date.IsZero() || r.Codename == "" {
		return release{}, fmt.Errorf("%w: it has no Date or no Codename", errRelease)
	}
	return r, nil
}

// parseDate takes RFC 1123 with UTC or an offset, the two forms in use.
func parseDate(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC1123, text)
	if err != nil {
		t, err = time.Parse(time.RFC1123Z, text)
	}
	return t.UTC(), err
}

// versionOf makes a marketplace version of a date: 12.20261121.1530, in UTC.
func versionOf(major string, t time.Time) string {
	t = t.UTC()
	return fmt.Sprintf("%s.%s.%d", major, t.Format("20060102"), t.Hour()*100+t.Minute())
}

// setDigest names a set of files by their content, in whatever order they come.
func setDigest(files [][]byte) string {
	var sums []string
	for _, f := range files {
		sum := sha256.Sum256(f)
		sums = append(sums, hex.EncodeToString(sum[:]))
	}
	slices.Sort(sums)
	sum := sha256.Sum256([]byte(strings.Join(sums, "\n") + "\n"))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// verify returns the text that a trusted key has signed.
func verify(ctx context.Context, keyring string, inRelease []byte) ([]byte, error) {
	args := []string{"gpgv", "--keyring", keyring, "--output", "-", "-"}
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(inRelease), &out, &said
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("the signature is not by a key in %s: %w", keyring, &disk.ToolError{Args: args, Output: strings.TrimSpace(said.String()), Err: err})
	}
	return out.Bytes(), nil
}

// checked verifies and reads one suite's file. An expired one is refused: it
// may be an old one, replayed to hold security updates back.
func (s suite) checked(ctx context.Context, keyring string, inRelease []byte, now time.Time) (release, error) {
	text, err := verify(ctx, keyring, inRelease)
	if err != nil {
		return release{}, fmt.Errorf("%s: %w", s.inRelease(), err)
	}
	r, err := parseRelease(text)
	if err != nil {
		return release{}, fmt.Errorf("%s: %w", s.inRelease(), err)
	}
	if r.Codename != s.name && r.Codename != strings.TrimSuffix(s.name, "-updates") {
		return release{}, fmt.Errorf("%s is for %q, not for %q; the mirror is wrong", s.inRelease(), r.Codename, s.name)
	}
	if !r.ValidUntil.IsZero() && now.After(r.ValidUntil) {
		return release{}, fmt.Errorf("%s expired on %s; the mirror no longer follows Debian (or this host's clock is wrong): choose another mirror", s.inRelease(), r.ValidUntil.Format(time.DateOnly))
	}
	return r, nil
}

// resolveDebian asks the mirror, every time, what its suites are now.
func (s *Store) resolveDebian(ctx context.Context, d Debian) (Resolved, error) {
	if s.mirror.Main == "" || s.mirror.Security == "" {
		return Resolved{}, errNoMirror
	}
	var files [][]byte
	var newest time.Time
	var warning string
	for _, suite := range d.suites(s.mirror) {
		text, stale, err := s.fetchRelease(ctx, suite)
		if err != nil {
			return Resolved{}, err
		}
		r, err := suite.checked(ctx, s.mirror.Keyring, text, s.now(stale))
		if err != nil {
			return Resolved{}, err
		}
		if r.Date.After(newest) {
			newest = r.Date
		}
		if stale != nil {
			warning = fmt.Sprintf("the package mirror cannot be reached (%v); this is the newest version that was seen before", stale)
		}
		files = append(files, text)
	}
	return Resolved{Version: versionOf(d.Release, newest), Digest: setDigest(files), Released: newest, Warning: warning}, nil
}

// now is the time for a file's expiry; one that is known to be old may be expired.
func (s *Store) now(stale error) time.Time {
	if stale != nil {
		return time.Time{}
	}
	return s.clock()
}

// fetchRelease gets a suite's InRelease, sparing the mirror the bytes it has
// sent before. stale is why the last one known is returned instead.
func (s *Store) fetchRelease(ctx context.Context, u suite) (text []byte, stale, err error) {
	sum := sha256.Sum256([]byte(u.inRelease()))
	file := filepath.Join(s.dir, releaseDir, hex.EncodeToString(sum[:8]))
	known, _ := os.ReadFile(file)
	tag, body, _ := bytes.Cut(known, []byte("\n")) // the entity tag, or an empty line, before the text
	text, newTag, err := s.getConditional(ctx, u.inRelease(), string(tag))
	switch {
	case err == nil && text == nil:
		return body, nil, nil
	case err == nil:
		return text, nil, writeFile(file, slices.Concat([]byte(newTag), []byte("\n"), text))
	case len(body) > 0 && ctx.Err() == nil:
		return body, err, nil
	}
	return nil, nil, fmt.Errorf("asking the package mirror: %w; check the network, or set another mirror", err)
}

// maxSmall bounds what is read into memory: InRelease and checksum files.
const maxSmall = 16 << 20

// getConditional fetches a small file; nil text means that it is as tag says.
func (s *Store) getConditional(ctx context.Context, url, tag string) (text []byte, newTag string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, "", err
	}
	if tag != "" {
		req.Header.Set("If-None-Match", tag)
	}
	text, header, err := s.getSmall(req)
	return text, header.Get("ETag"), err
}
