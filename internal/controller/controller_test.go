package controller_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/controller"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/mem"
	"hallmark.dev/hallmark/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const typ = arm.Type("Microsoft.Compute/virtualMachines")

func put(t *testing.T, s store.Store, name string) *store.Document {
	t.Helper()
	d := storetest.Doc(name)
	if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Put(d, store.Any) }); err != nil {
		t.Fatal(err)
	}
	return d
}

// run starts a runner and stops it at the end of f. The store must be of the same
// synctest bubble.
func run(t *testing.T, s store.Store, f func(r *controller.Runner), cs ...controller.Controller) {
	t.Helper()
	r := controller.NewRunner(s, slog.New(slog.DiscardHandler), cs)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	f(r)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

type log struct {
	mu   sync.Mutex
	seen []string
}

func (l *log) add(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = append(l.seen, s)
}

func (l *log) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.seen)
}

func TestEveryDocumentIsSeenAtStartAndAfterChanges(t *testing.T) {
	synctest.Test(t, testEveryDocumentIsSeenAtStartAndAfterChanges)
}

func testEveryDocumentIsSeenAtStartAndAfterChanges(t *testing.T) {
	s := mem.New()
	put(t, s, "a")
	put(t, s, "b")
	other := storetest.Doc("x")
	other.ID, other.Type = "/x/y", "X/y"
	if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Put(other, store.Absent) }); err != nil {
		t.Fatal(err)
	}
	var l log
	run(t, s, func(r *controller.Runner) {
		synctest.Wait()
		if l.len() != 2 {
			t.Errorf("at start: %v", l.seen)
		}
		put(t, s, "a")
		synctest.Wait()
		if l.len() != 3 {
			t.Errorf("after a change: %v", l.seen)
		}
		if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Delete(storetest.Doc("b").ID, store.Any) }); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if l.len() != 4 {
			t.Errorf("after a delete: %v", l.seen)
		}
	}, controller.Controller{Name: "c", Types: []arm.Type{"microsoft.compute/VIRTUALMACHINES"}, Reconcile: func(_ context.Context, key string) (time.Duration, error) {
		l.add(key)
		return 0, nil
	}})
}

func TestErrorsBackOffAndPanicsAreErrors(t *testing.T) {
	synctest.Test(t, testErrorsBackOffAndPanicsAreErrors)
}

func testErrorsBackOffAndPanicsAreErrors(t *testing.T) {
	s := mem.New()
	put(t, s, "a")
	var at []time.Time
	run(t, s, func(*controller.Runner) {
		time.Sleep(time.Hour) // of the bubble's clock
		synctest.Wait()
		if len(at) < 10 || len(at) > 100 {
			t.Errorf("%d tries in an hour", len(at))
		}
		for i := 2; i < len(at); i++ {
			if gap := at[i].Sub(at[i-1]); gap > 2*time.Minute || gap < 50*time.Millisecond {
				t.Errorf("try %d came after %v", i, gap)
			}
		}
	}, controller.Controller{Types: []arm.Type{typ}, Reconcile: func(context.Context, string) (time.Duration, error) {
		if at = append(at, time.Now()); len(at)%2 == 0 {
			panic("boom")
		}
		return 0, errors.New("not yet")
	}})
}

func TestAgain(t *testing.T) { synctest.Test(t, testAgain) }

func testAgain(t *testing.T) {
	s := mem.New()
	put(t, s, "a")
	var l log
	run(t, s, func(*controller.Runner) {
		time.Sleep(10*time.Minute + time.Second)
		if l.len() != 11 {
			t.Errorf("%d calls in ten minutes, want 11", l.len())
		}
	}, controller.Controller{Types: []arm.Type{typ}, Reconcile: func(_ context.Context, key string) (time.Duration, error) {
		l.add(key)
		return time.Minute, nil
	}})
}

func TestOneKeyIsNeverWorkedOnTwiceAtATime(t *testing.T) {
	synctest.Test(t, testOneKeyIsNeverWorkedOnTwiceAtATime)
}

func testOneKeyIsNeverWorkedOnTwiceAtATime(t *testing.T) {
	s := mem.New()
	for i := range 5 {
		put(t, s, fmt.Sprint(i))
	}
	var mu sync.Mutex
	running, most := map[string]bool{}, 0
	run(t, s, func(*controller.Runner) {
		for range 3 {
			time.Sleep(time.Second)
			put(t, s, "0")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if most != 4 {
			t.Errorf("%d at the same time, want 4 workers", most)
		}
	}, controller.Controller{Types: []arm.Type{typ}, Workers: 4, Reconcile: func(_ context.Context, key string) (time.Duration, error) {
		mu.Lock()
		if running[key] {
			t.Errorf("%s twice", key)
		}
		running[key] = true
		most = max(most, len(running))
		mu.Unlock()
		time.Sleep(1500 * time.Millisecond)
		mu.Lock()
		delete(running, key)
		mu.Unlock()
		return 0, nil
	}})
}

func TestLongWorkNoticesChanges(t *testing.T) { synctest.Test(t, testLongWorkNoticesChanges) }

func testLongWorkNoticesChanges(t *testing.T) {
	s := mem.New()
	put(t, s, "a")
	var l log
	run(t, s, func(*controller.Runner) {
		time.Sleep(time.Second)
		put(t, s, "a")
		synctest.Wait()
		if l.len() != 2 {
			t.Errorf("%v", l.seen)
		}
	}, controller.Controller{Types: []arm.Type{typ}, Reconcile: func(ctx context.Context, _ string) (time.Duration, error) {
		l.add("called")
		select {
		case <-controller.Changed(ctx):
		case <-ctx.Done():
		}
		return 0, nil
	}})
}

func TestWatchesAndRemovals(t *testing.T) { synctest.Test(t, testWatchesAndRemovals) }

func testWatchesAndRemovals(t *testing.T) {
	s := mem.New()
	a := put(t, s, "a")
	var l log
	run(t, s, func(*controller.Runner) {
		synctest.Wait()
		if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Delete(a.Key, store.Any) }); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if fmt.Sprint(l.seen) != "[watched:true watched:false removed]" {
			t.Errorf("%v", l.seen)
		}
	}, controller.Controller{
		Watches: map[arm.Type]func(string, *store.Document) []string{typ: func(_ string, d *store.Document) []string { return []string{fmt.Sprintf("watched:%v", d != nil)} }},
		Removed: func(string) []string { return []string{"removed"} },
		Reconcile: func(_ context.Context, key string) (time.Duration, error) {
			if key == "removed" {
				time.Sleep(time.Millisecond) // after the other one
			}
			l.add(key)
			return 0, nil
		},
		Workers: 2,
	})
}

// A controller that was killed between its steps, at any of them, ends in the same
// state: here each step writes a number, and every commit may lie.
func TestKilledAtAnyStepItGoesOn(t *testing.T) { synctest.Test(t, testKilledAtAnyStepItGoesOn) }

func testKilledAtAnyStepItGoesOn(t *testing.T) {
	for _, fault := range []mem.Fault{mem.FailNotApplied, mem.FailApplied} {
		for kill := range 6 {
			s := mem.New()
			d := put(t, s, "a")
			commits := 0
			s.SetFault(func(int) mem.Fault {
				if commits++; commits == kill+1 {
					return fault
				}
				return mem.None
			})
			run(t, s, func(r *controller.Runner) {
				if err := r.WaitRest(t.Context()); err != nil {
					t.Error(err)
				}
			}, controller.Controller{Types: []arm.Type{typ}, Reconcile: counting(s, 5)})
			if got, err := store.Get(t.Context(), s, d.Key); err != nil || string(got.Body) != "5" {
				t.Errorf("fault %d at %d: %s, %v", fault, kill, got.Body, err)
			}
		}
	}
}

func counting(s store.Store, goal int) func(context.Context, string) (time.Duration, error) {
	return func(ctx context.Context, key string) (time.Duration, error) {
		return 0, s.Update(ctx, func(tx store.Tx) error {
			d, err := tx.Get(key)
			if err != nil {
				return err
			}
			var n int
			_ = json.Unmarshal(d.Body, &n) // the first body is no number
			if n == goal {
				return nil
			}
			d.Body = json.RawMessage(fmt.Sprint(n + 1))
			return tx.Put(d, d.Revision)
		})
	}
}
