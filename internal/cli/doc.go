// Package cli is the hallmark command: `hallmark <noun> <verb>`, one file a
// noun. It is a client of an ARM endpoint like any other (see package azure);
// what a command does to a cloud, it asks of that endpoint. Only the commands
// that look after the local control plane itself (up, down, doctor, backup,
// cache) touch this machine.
//
// stdout carries what was asked for, stderr everything else. Only cmd/hallmark
// imports it.
package cli
