package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/storetest"
)

// childEnv names the store that a copy of this test binary writes to until it is killed.
const childEnv = "HALLMARK_TEST_WRITE_UNTIL_KILLED"

// Every write that was acknowledged is there after kill -9, and the store opens at once.
func TestAcknowledgedWritesSurviveKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	for round := range 3 {
		acknowledged := writeAndKill(t, path, round)
		s := open(t, path)
		for _, name := range acknowledged {
			if _, err := store.Get(t.Context(), s, storetest.Doc(name).ID); err != nil {
				t.Errorf("round %d: %v", round, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func writeAndKill(t *testing.T, path string, round int) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"="+path, fmt.Sprintf("ROUND=%d", round))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var names []string
	for lines := bufio.NewScanner(out); len(names) < 30 && lines.Scan(); {
		names = append(names, lines.Text())
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Exited() {
		t.Errorf("the child was to be killed: %v", err)
	}
	return names
}

// TestMain makes this binary its own child: one that writes until it is killed.
func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		fmt.Fprintln(os.Stderr, writeUntilKilled(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func writeUntilKilled(path string) error {
	s, err := Open(context.Background(), path)
	for i := 0; err == nil; i++ {
		name := fmt.Sprintf("r%s-%d", os.Getenv("ROUND"), i)
		err = s.Update(context.Background(), func(tx store.Tx) error { return tx.Put(storetest.Doc(name), store.Any) })
		if err == nil {
			fmt.Println(name) // acknowledged
		}
	}
	return err
}
