package attest

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"strings"
)

// maxSignature bounds what is read as a detached signature.
const maxSignature = 1024

// Sign makes a detached signature of a file, as text: two lines,
//
//	KEYID=<64 hexadecimal digits>
//	SIGNATURE=<base64 of the 64-byte ed25519 signature of the file's bytes>
//
// so that `openssl pkeyutl -verify -rawin` can check it with the decoded
// second line. Only text that no other signer of ours could be made to sign is
// safe to sign like this: a tattoo begins with SOURCE_PUBLISHER=, a DSSE
// message with "DSSEv1 ".
func Sign(k PrivateKey, file []byte) []byte {
	signature := ed25519.Sign(k.key, file)
	return []byte("KEYID=" + k.ID + "\nSIGNATURE=" + base64.StdEncoding.EncodeToString(signature) + "\n")
}

// Verify checks a detached signature and returns the id of the key that made
// it. The error is [ErrFormat], [ErrUntrusted] or [ErrSignature].
func Verify(trusted Trusted, file, signature []byte) (keyID string, err error) {
	keyID, raw, err := parseSignature(signature)
	if err != nil {
		return "", err
	}
	return keyID, trusted.verify(keyID, file, raw)
}

func parseSignature(text []byte) (keyID string, signature []byte, err error) {
	if len(text) > maxSignature {
		return "", nil, fmt.Errorf("%w: a signature has at most %d bytes", ErrFormat, maxSignature)
	}
	first, rest, _ := strings.Cut(string(text), "\n")
	second, tail, _ := strings.Cut(rest, "\n")
	keyID, ok1 := strings.CutPrefix(first, "KEYID=")
	encoded, ok2 := strings.CutPrefix(second, "SIGNATURE=")
	signature, decodeErr := base64.StdEncoding.Strict().DecodeString(encoded)
	if !ok1 || !ok2 || tail != "" || decodeErr != nil || base64.StdEncoding.EncodeToString(signature) != encoded || !keyIDPattern.MatchString(keyID) {
		return "", nil, fmt.Errorf("%w: a signature has the lines KEYID= and SIGNATURE=", ErrFormat)
	}
	return keyID, signature, nil
}
