// Package e2e tests Hallmark from outside, as its users meet it: the real
// binary on a data directory of its own, driven by its command line, by
// Azure's clients for Go and by ssh, and looked at with the host's own tools.
// It imports nothing of this module.
//
// The tests need root, KVM or patience, and a package mirror; they are skipped
// unless HALLMARK_SYSTEM_TESTS is 1. A Debian base that an earlier run (or
// another package's tests) has assembled is taken from the user's cache.
package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// patience is for one command: an emulated machine on a busy host boots in
// minutes.
const patience = 12 * time.Minute

// workDir holds the binary; TestMain removes it.
var workDir string

func TestMain(m *testing.M) {
	var err error
	if workDir, err = os.MkdirTemp("", "hallmark-e2e-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(workDir)
	os.Exit(code)
}

func needSystem(t *testing.T) {
	t.Helper()
	if os.Getenv("HALLMARK_SYSTEM_TESTS") != "1" {
		t.Skip("runs the whole product and boots machines as root: set HALLMARK_SYSTEM_TESTS=1")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: disks are mounted and machines hang on a bridge")
	}
}

// product is the binary, built once.
var product = sync.OnceValues(func() (string, error) {
	path := filepath.Join(workDir, "hallmark")
	out, err := exec.Command("go", "build", "-o", path, "hallmark.dev/hallmark/cmd/hallmark").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the binary: %w\n%s", err, out)
	}
	return path, nil
})

// tool runs one of the host's programs and returns what it printed.
func tool(t *testing.T, name string, arguments ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, arguments...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("%s %q: %v\n%s%s", name, arguments, err, out, exit.Stderr)
	}
	if err != nil {
		t.Fatalf("%s %q: %v", name, arguments, err)
	}
	return string(out)
}

// until waits for something that is bound to happen.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("after %s still not: %s", patience, what)
}
