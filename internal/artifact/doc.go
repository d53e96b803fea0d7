// Package artifact keeps finished files that one part of the control plane hands
// to another, or to a client: the image that a build made, a disk that was
// exported. A file is named by the SHA-256 of its bytes, so a name can neither
// point at something else later nor be guessed, and the same bytes are kept once.
//
// A file is known to others by its URI,
//
//	https://ENDPOINT/hallmark-blobs/sha256/DIGEST
//
// of which only the path counts: the same document stays right when the server
// moves to another address. A file lives as long as some document names it;
// Sweep removes the others.
//
// It does not keep images at rest (that is cas), reads no disk format, and does not
// decide who may download (Handler is given that). Resource providers and cmd
// import it.
package artifact
