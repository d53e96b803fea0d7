// Package build runs an image plan: base image, layers, seal. It ends with one
// flattened, trimmed qcow2 file and the digest of its bytes.
//
// Each step becomes a layer, a qcow2 overlay whose identity is the digest of its
// bytes; the overlay's header names its parent by digest, so that a digest
// stands for the whole chain. An action cache maps (parent's digest, step, every
// input's digest, engine version) to a layer. A layer counts only after it was
// unmounted, its daemon left cleanly, its bytes were flushed and checked, and it
// was renamed and recorded, in that order; anything else is swept away.
//
// Steps run in systemd-nspawn on the mounted root, in a user namespace and a
// network namespace that cannot reach the host. What needs a booted machine is
// handed to a VMRunner.
//
// What it is not: it reads no recipes, resolves no sources and publishes
// nothing; a Plan is plain data that somebody else made.
//
// Importable by the image builder's resource provider, the CLI's wiring and
// tests; imports disk.
package build
