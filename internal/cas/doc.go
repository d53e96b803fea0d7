// Package cas keeps bytes under the name of their content, and tiny pointers
// that change.
//
// The two are different contracts, because they fail differently:
//
//   - A [Store] holds immutable chunks. A chunk's [ID] is the SHA-256 of its
//     bytes, so writing twice is harmless, copying is safe to repeat, and a
//     reader can tell whether what it got is what it asked for.
//   - [Pointers] hold a few bytes under a chosen name and change only by
//     compare-and-swap, so that two writers cannot both believe they won.
//
// Words used here:
//
//   - chunk: up to [MaxChunk] bytes of an image, cut where the content says so
//     (FastCDC), so that bytes that move keep their names.
//   - source: a disk image as the guest sees it: a size, bytes, and which
//     ranges may hold anything but zeros.
//   - manifest: the list of an image's chunks; ranges of zeros are left out.
//   - image digest: the SHA-256 of the manifest's canonical text. It is the one
//     name of an image's bytes, whatever file format or region they are in.
//   - batch: the writes of one ingest or copy, durable after Commit and safe
//     from collection until Close.
//   - collect: removal of chunks that no named image uses.
//
// The package knows no file format of disks, runs no process and opens no file:
// package cas/file stores chunks in files, package region reads and writes disk
// images. The bytes of chunk and manifest are specified in docs/on-disk.md.
// Anything may import it; it imports nothing of this module.
package cas
