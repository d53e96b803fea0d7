// Package attest signs what Hallmark claims and verifies what others show: the
// tattoo inside an image with a detached signature, and what is learned later
// (tests passed, promoted) with a DSSE envelope around an in-toto statement
// that names the image's digest.
//
// Keys are ed25519; a key is known by its id, the SHA-256 of its public half.
// [Sign], [Verify] and their like are pure; [Keys] alone touches files. Formats
// are public ones (PEM PKCS #8 and PKIX, DSSE 1.0, in-toto Statement v1), so
// that openssl or any in-toto tool can check our work without us.
//
// It knows nothing of images or ARM and imports nothing of ours.
package attest
