// Package vm runs one machine in QEMU.
//
// A machine is a folder: its configuration, its disk overlay, its firmware
// variables, its seed for cloud-init, its sockets and its logs (see files.go).
// What QEMU is told is planned by a pure function (Config.Plan); running it is
// separate. QEMU outlives whoever started it and is found again through the
// folder, so a Machine value holds no state that matters.
//
// Beside that: the seed that gives a machine its name, user, key and address;
// Azure's VM sizes and how they map to this host; whether a machine still fits;
// which accelerator works here.
//
// What it is not: it makes no networks (it takes a tap's name), keeps no list
// of machines, and knows nothing of ARM.
//
// Importable by compute, build and validation; imports disk only.
package vm
