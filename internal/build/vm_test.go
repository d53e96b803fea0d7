package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fakeVM changes the overlay, as a machine does.
type fakeVM struct{ steps []VMStep }

func (f *fakeVM) RunStep(_ context.Context, s VMStep) (int, error) {
	f.steps = append(f.steps, s)
	fmt.Fprintln(s.Output, "in a machine with "+string(s.Secrets[0].Value))
	out, err := os.OpenFile(s.Image, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return -1, err
	}
	fmt.Fprintln(out, "changed by a machine")
	return len(f.steps) - 1, out.Close()
}

func TestStepsInAMachine(t *testing.T) {
	w := newWorld(t)
	step := shell("kernel", "apt-get install linux-image-amd64")
	step.Isolation = InVM
	p := w.plan(step)
	p.Secrets = []Secret{{"s", []byte("hidden-value")}}
	if _, _, err := w.build(p); !errors.Is(err, ErrNeedsVM) {
		t.Errorf("without a runner: %v, want ErrNeedsVM", err)
	}
	vm := &fakeVM{}
	w.VM = vm
	r, ran, err := w.build(p)
	if err != nil || len(ran) != 0 || len(vm.steps) != 1 {
		t.Fatalf("ran %q in a container and %d in a machine, %v", ran, len(vm.steps), err)
	}
	if _, err := os.Stat(r.Path); err != nil {
		t.Error(err)
	}
	logs, _ := filepath.Glob(w.cache.path(runsDir, "*", "*.log"))
	if text, err := os.ReadFile(logs[len(logs)-1]); err != nil || !strings.Contains(string(text), "in a machine with ***") {
		t.Errorf("the log holds %q, %v", text, err)
	}
	if _, _, err := w.build(p); err != nil || len(vm.steps) != 1 {
		t.Errorf("a step in a machine is not reused: %d, %v", len(vm.steps), err)
	}
	p.NoCache = true
	var failure *StepError
	if _, _, err := w.build(p); !errors.As(err, &failure) || failure.ExitCode != 1 {
		t.Errorf("a failing step in a machine: %v", err)
	}
	if !strings.Contains(failure.Hint, "hallmark image shell "+failure.Run) {
		t.Errorf("the hint is %q", failure.Hint)
	}
	entries, err := w.Cache(t.Context())
	if err != nil || !slices.ContainsFunc(entries, func(e CacheEntry) bool { return e.Kind == "failed" && e.Run == failure.Run }) {
		t.Errorf("the state of a step that failed in a machine is not kept: %v, %v", entries, err)
	}
	w.consistent()
}

// bootChanger is a container whose steps install a boot loader.
type bootChanger struct{ fakeContainer }

func (b bootChanger) run(ctx context.Context, j job) (int, error) {
	if err := os.MkdirAll(j.root+"/boot/grub", 0o755); err != nil {
		return -1, err
	}
	if err := os.WriteFile(j.root+"/boot/grub/grub.cfg", []byte("new"), 0o600); err != nil {
		return -1, err
	}
	return b.fakeContainer.run(ctx, j)
}

func TestForeignBootChangesMoveToAMachine(t *testing.T) {
	w := newWorld(t)
	vm := &fakeVM{}
	w.VM, w.container = vm, bootChanger{fakeContainer{&w.ran}}
	p := w.plan(shell("one", "one"))
	p.Secrets = []Secret{{"s", []byte("hidden-value")}}
	p.Base.Foreign = true
	if _, ran, err := w.build(p); err != nil || !slices.Equal(ran, []string{"one"}) || len(vm.steps) != 1 {
		t.Errorf("ran %q in a container, %d in a machine, %v", ran, len(vm.steps), err)
	}
	p.Base.Foreign = false
	p.NoCache = true
	if _, _, err := w.build(p); err != nil || len(vm.steps) != 1 {
		t.Errorf("our own base needs no machine: %d, %v", len(vm.steps), err)
	}
	w.consistent()
}
