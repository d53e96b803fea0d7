package build

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// dieAt is the hook of the process that dies: SIGKILL, so that nothing of ours
// runs any more.
func dieAt(where string) func(Point, When) error {
	return func(p Point, w When) error {
		if string(p)+":"+string(w) == where {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil
	}
}

// killScenario passes every point: a build, a failing one, a prune.
func killScenario(w *world) {
	_, _, _ = w.build(w.plan(offline("one"), offline("two")))
	_, _, _ = w.build(w.plan(offline("one"), offline("FAIL")))
	_, _ = w.Prune(w.t.Context(), PruneOptions{All: true})
}

// TestDying is the process that TestKilledAtEveryPointGoesOn kills; alone it only
// passes through.
func TestDying(t *testing.T) {
	if os.Getenv("BUILD_TEST_DIE_AT") == "" {
		killScenario(newWorld(t))
		return
	}
	w := openWorld(t, os.Getenv("BUILD_TEST_DIR"))
	w.Hook = dieAt(os.Getenv("BUILD_TEST_DIE_AT"))
	killScenario(w)
	fmt.Println("survived")
}

func TestEveryPointIsPassed(t *testing.T) {
	w := newWorld(t)
	passed := map[Point]bool{}
	w.Hook = func(p Point, _ When) error { passed[p] = true; return nil }
	killScenario(w)
	for _, p := range Points() {
		if !passed[p] {
			t.Errorf("nothing passes %s", p)
		}
		delete(passed, p)
	}
	for p := range passed {
		t.Errorf("%s is not in Points", p)
	}
}

func TestKilledAtEveryPointGoesOn(t *testing.T) {
	for _, p := range Points() {
		for _, when := range []When{Before, After} {
			where := string(p) + ":" + string(when)
			t.Run(where, func(t *testing.T) {
				t.Parallel()
				newWorld(t) // skips where it must
				dir := t.TempDir()
				child := exec.Command(os.Args[0], "-test.run=^TestDying$")
				child.Env = append(os.Environ(), "BUILD_TEST_DIE_AT="+where, "BUILD_TEST_DIR="+dir)
				out, err := child.CombinedOutput()
				if strings.Contains(string(out), "survived") || err == nil {
					t.Fatalf("the child did not die: %v\n%s", err, out)
				}
				recovers(t, dir)
			})
		}
	}
}

// recovers sweeps and builds as a restarted process does.
func recovers(t *testing.T, dir string) {
	t.Helper()
	w := openWorld(t, dir)
	if _, err := w.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.consistent()
	if _, _, err := w.build(w.plan(offline("one"), offline("two"))); err != nil {
		t.Errorf("the build after the crash: %v", err)
	}
	if r, ran, err := w.build(w.plan(offline("one"), offline("two"))); err != nil || len(ran) > 0 || !r.Cached {
		t.Errorf("the next one ran %q, %v", ran, err)
	}
	w.consistent()
}

// A side effect may fail, or be done although it seems to have failed.
func TestFailureAtEveryPointLeavesNothing(t *testing.T) {
	injected := errors.New("injected")
	for _, p := range Points() {
		for _, when := range []When{Before, After} {
			t.Run(string(p)+":"+string(when), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.Hook = func(at Point, w When) error {
					if at == p && w == when {
						return injected
					}
					return nil
				}
				_, _, first := w.build(w.plan(offline("one"), offline("two")))
				_, _, second := w.build(w.plan(offline("one"), offline("FAIL")))
				_, third := w.Prune(t.Context(), PruneOptions{All: true})
				if !slices.ContainsFunc([]error{first, second, third}, func(err error) bool { return errors.Is(err, injected) }) {
					t.Errorf("the failure was swallowed: %v, %v, %v", first, second, third)
				}
				if left, _ := os.ReadDir(w.cache.path(mountsDir)); len(left) > 0 {
					t.Errorf("mounts are left without any crash: %v", left)
				}
				w.Hook = nil
				if _, err := w.Sweep(t.Context()); err != nil {
					t.Fatal(err)
				}
				w.consistent()
				if _, _, err := w.build(w.plan(offline("one"), offline("two"))); err != nil {
					t.Error(err)
				}
			})
		}
	}
}
