// Package outside lets tests meet Hallmark as its users do: the real binary on
// a data directory of its own, driven by its command line and by Azure's clients
// for Go, and looked at with the host's own tools. It imports nothing of this
// module. Only tests import it.
//
// It needs root, KVM or patience, and a package mirror; its tests are skipped
// unless HALLMARK_SYSTEM_TESTS is 1. A Debian base that an earlier run (or
// another package's tests) has assembled is taken from the user's cache.
package outside

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

// Patience is for one command: an emulated machine on a busy host boots in
// minutes.
const Patience = 12 * time.Minute

// workDir holds the binary; Main removes it.
var workDir string

// Main is a package's TestMain.
func Main(m *testing.M) {
	var err error
	if workDir, err = os.MkdirTemp("", "hallmark-outside-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(workDir)
	os.Exit(code)
}

// NeedSystem skips a test that may not use the host.
func NeedSystem(t testing.TB) {
	t.Helper()
	if os.Getenv("HALLMARK_SYSTEM_TESTS") != "1" {
		t.Skip("runs the whole product and boots machines as root: set HALLMARK_SYSTEM_TESTS=1")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: disks are mounted and machines hang on a bridge")
	}
}

// Binary is the path of the product, built once.
var Binary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(workDir, "hallmark")
	out, err := exec.Command("go", "build", "-o", path, "hallmark.dev/hallmark/cmd/hallmark").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the binary: %w\n%s", err, out)
	}
	return path, nil
})

// Tool runs one of the host's programs and returns what it printed.
func Tool(t testing.TB, name string, arguments ...string) string {
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

// Until waits for something that is bound to happen.
func Until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("after %s still not: %s", Patience, what)
}
