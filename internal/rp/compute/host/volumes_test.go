package host

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const one, two = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"

func TestVolumesSweep(t *testing.T) {
	v := Volumes{Dir: t.TempDir()}
	for _, name := range []string{one + ".qcow2", two + ".qcow2", one + ".qcow2.part", "accelerator.json", "README"} {
		if err := os.WriteFile(filepath.Join(v.Dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.Sweep(t.Context(), func(name string) bool { return name == one }); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(v.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if diff := cmp.Diff([]string{one + ".qcow2", "README", "accelerator.json"}, left); diff != "" {
		t.Error(diff)
	}
	if err := v.Remove(t.Context(), two); err != nil { // gone already
		t.Error(err)
	}
}

// A name that is no volume's never becomes a path.
func TestVolumeNames(t *testing.T) {
	dir := t.TempDir()
	v, m := Volumes{Dir: filepath.Join(dir, "disks")}, Machines{Root: filepath.Join(dir, "machines")}
	for _, name := range []string{"", "..", "../x", one + "/..", "x"} {
		if v.Remove(t.Context(), name) == nil || v.Empty(t.Context(), name, 1) == nil || m.Remove(t.Context(), name) == nil {
			t.Errorf("%q was taken", name)
		}
	}
}

func TestSizeRefusesOtherFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "raw")
	if err := os.WriteFile(file, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (Volumes{}).Size(t.Context(), file); err == nil {
		t.Error("a raw file has a qcow2 size")
	}
}

func TestInterpreter(t *testing.T) {
	for script, want := range map[string][]string{
		"echo hello":             {"/bin/sh"},
		"#!/bin/bash -e\necho":   {"/bin/bash", "-e"},
		"#!/usr/bin/env python3": {"/usr/bin/env", "python3"},
		"#!":                     {"/bin/sh"},
		"":                       {"/bin/sh"},
	} {
		if got := interpreter(script); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", script, got, want)
		}
	}
}
