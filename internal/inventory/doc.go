// Package inventory says what is in an image, and what differs between two: the
// packages that dpkg knows, the files under /etc with owner, mode and digest, the
// kernels, what the tattoo and os-release say, the space in use.
//
// Reading goes through an *os.Root: links of an image never lead out of it.
// Comparing is pure.
//
// What it is not: it mounts nothing, and knows no gallery. Of package managers it
// knows dpkg only; an image without it has no packages here, and says so.
//
// Importable by the gallery's resource provider and the command line; imports
// image.
package inventory
