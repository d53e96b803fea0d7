// Package machine runs a build's steps in booted machines: what a container
// cannot do (a boot loader's tools, LVM, a file system that this host does not
// mount). Runner is the VMRunner of package build.
//
// The machine's disk is the step's overlay itself. cloud-init, told by a seed to
// do nothing else, starts an SSH server of our own beside the image's: its
// configuration, its host key, which is known beforehand, and the one key that
// it lets in lie in memory and go with the machine. Before the machine is shut
// down, what cloud-init wrote on this boot is removed; identity and logs of a
// boot are what sealing the image removes in any case.
//
// What it is not: it decides nothing about steps, layers or caches.
//
// Only the wiring and tests import it; it imports build, disk, network and vm.
package machine
