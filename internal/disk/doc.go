// Package disk reads, makes, converts and mounts disk images on this host.
//
// Images are qcow2, raw or fixed VHD files. Whatever concerns their format is
// asked of qemu-img; partitions (GPT) are read here; an image is mounted by
// exporting it as one big file through qemu-storage-daemon's FUSE export and
// putting a loop device with an offset and a size limit on it, because kernels
// without nbd and without loop partition nodes are common.
//
// What it is not: it knows nothing about builds, layers, machines or caches.
//
// Everything that a mount leaves in the kernel or in the process table lies
// under one directory of one Host and is found again by Sweep after a crash.
//
// Importable by build, vm and whoever handles image bytes; imports nothing of
// this module.
package disk
