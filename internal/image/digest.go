package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// digestOf is the SHA-256 of bytes in lower-case hexadecimal digits.
func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// canonicalDigest is the digest of a value's JSON with sorted keys and without
// absent fields: a field that is added to a type later does not change the
// digest of a value that does not use it. It is for our own plain types, which
// JSON can always hold; anything else is a mistake in this package and digests
// as such.
func canonicalDigest(value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		return digestOf([]byte(err.Error()))
	}
	var tree any
	if err := json.Unmarshal(data, &tree); err != nil {
		return digestOf([]byte(err.Error()))
	}
	data, _ = json.Marshal(tree) // what was just read can be written
	return digestOf(data)
}

// Digest identifies what the recipe says: "sha256:" and 64 digits, the same
// whatever the layout, order of fields and comments of its document. Contents
// of local files count once they are embedded. Variables count by the values
// they were given, secrets only by where they come from.
func (r *Recipe) Digest() string {
	copied := *r
	copied.Variables = nil
	copied.Description = ""
	return "sha256:" + canonicalDigest(copied)
}
