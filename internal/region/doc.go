// Package region keeps images in a region: a storage root of its own, with the
// chunks of its images and, for each image that machines may be made from here,
// a read-only qcow2 replica.
//
// Regions share nothing. An image is brought into a region by ingesting a disk
// image there, or by copying the chunks that it lacks from another region; after
// that the other may be lost. A replica is an ordinary file: a machine's disk is
// an overlay on it, and needs no server, nor this process, to run.
//
// What it is not: it knows no gallery, version or machine. Who decides that an
// image is replicated, removed or in use tells it by digest.
//
// Crash safety: everything is written under tmp and renamed when it is complete
// and durable, and Open empties tmp. There is no other state, no server and no
// mount: qcow2 and VHD are written here directly, chunk by chunk. The only child
// processes are qemu-img, which only reads images, and dies with this process.
//
// Resource providers and cmd may import it. docs/on-disk.md specifies the files.
package region
