package region_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"hallmark.dev/hallmark/internal/cas"
	"hallmark.dev/hallmark/internal/cas/castest"
	"hallmark.dev/hallmark/internal/region"
)

// victimRoot, when set, makes the test binary the process that gets killed.
const victimRoot = "HALLMARK_TEST_REGION_VICTIM"

func TestMain(m *testing.M) {
	if root := os.Getenv(victimRoot); root != "" {
		fmt.Fprintln(os.Stderr, victim(root))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// victim ingests, materialises, removes and collects for ever, and says each
// step and each percent on a line, so that it can be killed at any of them.
func victim(root string) error {
	ctx := context.Background()
	for round := uint64(0); ; round++ {
		r, err := region.Open("victim", root)
		if err != nil {
			return err
		}
		path := filepath.Join(root, "..", "image.raw")
		if err := os.WriteFile(path, castest.Random(round%5, 8<<20), 0o600); err != nil {
			return err
		}
		say := func(what string) cas.Report {
			return func(p cas.Progress) { fmt.Println(what, p.Percent()) }
		}
		fmt.Println("ingest")
		m, _, err := r.Ingest(ctx, region.Image{Path: path, Format: "raw"}, nil, say("ingest"))
		if err != nil {
			return err
		}
		fmt.Println("materialise")
		if _, _, err := r.Materialise(ctx, m.Digest(), nil, say("materialise")); err != nil {
			return err
		}
		fmt.Println("collect")
		none := func(context.Context) ([]cas.Digest, error) { return nil, nil }
		if _, err := r.Collect(ctx, none, cas.Retention{}); err != nil {
			return err
		}
		fmt.Println("remove")
		if round%2 == 1 {
			if err := r.Remove(ctx, m.Digest(), nobody); err != nil {
				return err
			}
		}
		r.Close()
	}
}

// TestKill kills the process at 40 different points. After each, what is there is
// whole, nothing half-done is left, and the next start goes on.
func TestKill(t *testing.T) {
	needSystem(t)
	root := filepath.Join(t.TempDir(), "region")
	for kill := range 40 {
		runVictim(t, root, 1+kill*17)
		r, err := region.Open("victim", root)
		if err != nil {
			t.Fatal(err)
		}
		checkWhole(t, r, root)
		r.Close()
	}
}

// runVictim kills the process after so many lines.
func runVictim(t *testing.T, root string, lines int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), victimRoot+"="+root)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	scanner := bufio.NewScanner(out)
	for range lines {
		if !scanner.Scan() {
			t.Fatal("the process ended by itself")
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
}

func checkWhole(t *testing.T, r *region.Region, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && filepath.Base(filepath.Dir(path)) == "tmp" {
			t.Errorf("%s is left", path)
		}
		return err
	})
	replicas, listErr := r.Replicas()
	if err := errors.Join(err, listErr); err != nil {
		t.Fatal(err)
	}
	for _, replica := range replicas {
		if err := r.Verify(context.Background(), replica.Digest, nil); err != nil {
			t.Error(err)
		}
	}
}
