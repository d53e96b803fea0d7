package base

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// ErrDigest means that fetched bytes are not the ones that were promised.
var ErrDigest = errors.New("the digest is wrong")

// ErrFetch means that a URL did not give what it should.
var ErrFetch = errors.New("cannot be fetched")

// getSmall performs a request whose answer fits in memory. 304 gives nil.
func (s *Store) getSmall(req *http.Request) ([]byte, http.Header, error) {
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, http.Header{}, fmt.Errorf("%w: %w", ErrFetch, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotModified {
		return nil, resp.Header, nil
	}
	if resp.StatusCode != http.StatusOK {
		return nil, http.Header{}, fmt.Errorf("%s %w: the server says %s", req.URL.Redacted(), ErrFetch, resp.Status)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxSmall+1))
	if err == nil && len(text) > maxSmall {
		err = fmt.Errorf("more than %d bytes", maxSmall)
	}
	if err != nil {
		return nil, http.Header{}, fmt.Errorf("%s %w: %w", req.URL.Redacted(), ErrFetch, err)
	}
	return text, resp.Header, nil
}

// resolveFile finds an entry's digest, and its version where a checksum file's
// date makes it.
func (s *Store) resolveFile(ctx context.Context, f FileSource) (Resolved, error) {
	r := Resolved{Version: f.Version, Digest: f.Digest}
	if f.Checksums == "" {
		return r, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.Checksums, nil)
	if err != nil {
		return Resolved{}, err
	}
	text, header, err := s.getSmall(req)
	if err != nil {
		return Resolved{}, err
	}
	if r.Digest, err = findChecksum(text, fileName(f.URL)); err != nil {
		return Resolved{}, fmt.Errorf("%s: %w", f.Checksums, err)
	}
	r.Released, err = http.ParseTime(header.Get("Last-Modified"))
	if r.Version == "" && err != nil {
		return Resolved{}, fmt.Errorf("%s has no date to make a version of; set `version` in the catalogue", f.Checksums)
	}
	if r.Version == "" {
		r.Version = versionOf("0", r.Released)
	}
	return r, nil
}

func fileName(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return path.Base(u.Path)
}

// findChecksum reads both forms of checksum file: coreutils' "digest  name"
// and BSD's "SHA256 (name) = digest".
func findChecksum(text []byte, name string) (string, error) {
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		var sum, file string
		switch {
		case len(fields) == 2:
			sum, file = fields[0], strings.TrimPrefix(fields[1], "*")
		case len(fields) == 4 && fields[2] == "=":
			sum, file = fields[3], strings.Trim(fields[1], "()")
		}
		if path.Base(file) != name {
			continue
		}
		kind := map[int]string{64: "sha256:", 128: "sha512:"}[len(sum)]
		if digest := kind + strings.ToLower(sum); digestPattern.MatchString(digest) {
			return digest, nil
		}
	}
	return "", fmt.Errorf("no SHA-256 or SHA-512 digest of %q in it", name)
}

// download fetches a URL into file and verifies it. What an earlier, broken
// attempt has left is gone on from. On return the file is complete and on disk.
func (s *Store) download(ctx context.Context, source, digest, file string, report func(done, total int64)) error {
	part := file + partSuffix
	f, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := s.transfer(ctx, source, f, report); err != nil {
		return fmt.Errorf("%s: %w; what has arrived is kept, and the next attempt goes on from there", source, err)
	}
	if err := checkDigest(ctx, f, digest); err != nil {
		return errors.Join(fmt.Errorf("%s: %w; the file has changed or was damaged on its way: correct the catalogue, or try again", source, err), os.Remove(part))
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(part, file)
}

func (s *Store) transfer(ctx context.Context, source string, f *os.File, report func(done, total int64)) error {
	have, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, source, nil)
	if err != nil {
		return err
	}
	if have > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFetch, err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusPartialContent && have > 0:
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && have > 0:
		return nil // it was complete; the digest says whether it is right
	case resp.StatusCode == http.StatusOK:
		// The server sends everything, whatever was asked.
		if have, err = 0, restart(f); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%w: the server says %s", ErrFetch, resp.Status)
	}
	progress := &counter{done: have, total: have + resp.ContentLength, report: report}
	if _, err := io.Copy(io.MultiWriter(f, progress), resp.Body); err != nil {
		return fmt.Errorf("%w: broken off after %d bytes: %w", ErrFetch, progress.done, err)
	}
	return nil
}

func restart(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.Seek(0, io.SeekStart)
	return err
}

// counter reports progress at most some times a second: a report may be an event.
type counter struct {
	done, total int64
	last        time.Time
	report      func(done, total int64)
}

func (c *counter) Write(p []byte) (int, error) {
	c.done += int64(len(p))
	if now := time.Now(); now.Sub(c.last) > 250*time.Millisecond {
		c.last = now
		c.report(c.done, c.total)
	}
	return len(p), nil
}

func checkDigest(ctx context.Context, f *os.File, want string) error {
	kind, _, _ := strings.Cut(want, ":")
	h := map[string]func() hash.Hash{"sha256": sha256.New, "sha512": sha512.New}[kind]
	if h == nil {
		return fmt.Errorf("%w: %q is of no known kind", ErrDigest, want)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	sum := h()
	if _, err := io.Copy(sum, contextReader{ctx, f}); err != nil {
		return err
	}
	if got := kind + ":" + hex.EncodeToString(sum.Sum(nil)); got != want {
		return fmt.Errorf("%w: %s, not %s", ErrDigest, got, want)
	}
	return nil
}

// contextReader lets a long local read be cancelled.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

// writeFile replaces file; the new content is on disk when it returns.
func writeFile(file string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), "*"+partSuffix)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return err
	}
	return syncDir(filepath.Dir(file))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
