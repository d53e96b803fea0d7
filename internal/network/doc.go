// Package network gives machines and build steps a network on this host.
//
// Machines hang with taps on one bridge per instance; a build step gets a
// network namespace of its own, joined to the host by one veth pair. Both reach
// the outside through masquerading, and neither can reach the host, whatever
// address of it they try, another instance, or each other. The host can reach
// a machine's private address, because answers are let in and nothing else.
//
// What it is not: it hands out no machine addresses (NextFree is a pure help
// for who does), serves no DHCP or DNS, and knows nothing of QEMU or of ARM's
// virtual networks.
//
// Everything it makes carries the instance's mark in its name, and Ensure,
// Sweep and Teardown look only at those names: what a killed process left is
// found again without any record.
//
// Importable by whoever starts machines or runs steps; imports nothing of this
// module. It needs root, and the programs ip and nft.
package network
