package artifact

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// PathPrefix is where Handler is mounted.
const PathPrefix = "/hallmark-blobs/"

const algorithm = "sha256"

// Digest is the SHA-256 of a file, as 64 lower-case hexadecimal digits.
type Digest string

// What callers of ParseURI, Resolve and Open must handle.
var (
	// ErrNotBlob: the URI is not one of ours, so its bytes cannot be had here.
	ErrNotBlob = errors.New("not the URI of a blob of this control plane")
	// ErrNotFound: it is one of ours, but there is no such file (any more).
	ErrNotFound = errors.New("no such blob")
)

// ParseDigest accepts one spelling only, so that a digest is safe in a file name.
func ParseDigest(text string) (Digest, error) {
	if raw, err := hex.DecodeString(text); err != nil || len(raw) != 32 || strings.ToLower(text) != text {
		return "", fmt.Errorf("%w: a blob is named by 64 lower-case hexadecimal digits", ErrNotBlob)
	}
	return Digest(text), nil
}

// ParseURI finds the digest in a blob's URI. Host and query are not looked at:
// the digest alone says which bytes are meant.
func ParseURI(text string) (Digest, error) {
	u, err := url.Parse(text)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNotBlob, err)
	}
	hexadecimal, ok := strings.CutPrefix(u.Path, PathPrefix+algorithm+"/")
	if !ok || (u.Scheme != "https" && u.Scheme != "") {
		return "", fmt.Errorf("%w: it has to look like https://HOST%s%s/DIGEST", ErrNotBlob, PathPrefix, algorithm)
	}
	return ParseDigest(hexadecimal)
}

var mention = regexp.MustCompile(`(?i:` + regexp.QuoteMeta(PathPrefix+algorithm) + `)/([0-9a-f]{64})`)

// Mentioned adds to found every digest whose URI occurs in the text of a document.
// It errs on the side of finding too many.
func Mentioned(text []byte, found map[Digest]bool) {
	for _, m := range mention.FindAllSubmatch(text, -1) {
		found[Digest(m[1])] = true
	}
}
