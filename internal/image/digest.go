package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// digestOf is the SHA-256 of bytes in lower-case hexadecimal digits.
func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// canonicalDigest is the digest of a value's JSON with sorted keys and without
// absent fields: a field that is added to a type later does not change the
// digest of a value that does not use it.
func canonicalDigest(value any) (string, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("write canonical JSON: %w", err)
	}
	var tree any
	if err := json.Unmarshal(data, &tree); err != nil {
		return "", fmt.Errorf("write canonical JSON: %w", err)
	}
	if data, err = json.Marshal(tree); err != nil {
		return "", fmt.Errorf("write canonical JSON: %w", err)
	}
	return digestOf(data), nil
}

// Digest identifies what the recipe says: "sha256:" and 64 digits, the same
// whatever the layout, order of fields and comments of its document. Contents
// of local files count once they are embedded. Variables count by the values
// they were given, secrets only by where they come from.
func (r *Recipe) Digest() (string, error) {
	copied := *r
	copied.Variables = nil
	copied.Description = ""
	digest, err := canonicalDigest(copied)
	return "sha256:" + digest, err
}
