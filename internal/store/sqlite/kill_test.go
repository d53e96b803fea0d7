package sqlite

import (
	"bufio"
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
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestWriteUntilKilled$")
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

func TestWriteUntilKilled(t *testing.T) {
	path := os.Getenv(childEnv)
	if path == "" {
		t.Skip("only as a child of TestAcknowledgedWritesSurviveKill")
	}
	s := open(t, path)
	for i := 0; ; i++ {
		name := fmt.Sprintf("r%s-%d", os.Getenv("ROUND"), i)
		putDoc(t, s, name)
		fmt.Println(name)
	}
}
