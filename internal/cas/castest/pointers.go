package castest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"hallmark.dev/hallmark/internal/cas"
)

// Pointers runs the contract of cas.Pointers. open opens the pointers that
// belong to a directory; the same directory may be open twice.
func Pointers(t *testing.T, open func(t *testing.T, dir string) cas.Pointers) {
	for name, test := range map[string]func(t *testing.T, first, second cas.Pointers){
		"swap needs the value of now":      testSwap,
		"one of many swaps wins":           testSwapRace,
		"hostile names and values refused": testPointerNames,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			test(t, open(t, dir), open(t, dir))
		})
	}
}

func testSwap(t *testing.T, first, second cas.Pointers) {
	ctx := context.Background()
	if _, err := first.Get(ctx, "latest"); !errors.Is(err, cas.ErrNotFound) {
		t.Errorf("got error %v, want %v", err, cas.ErrNotFound)
	}
	for i, step := range []struct {
		old, new []byte
		want     error
	}{
		{[]byte("x"), []byte("y"), cas.ErrConflict}, // does not exist
		{nil, []byte{}, nil},                        // empty, but there
		{nil, []byte("1"), cas.ErrConflict},
		{[]byte{}, []byte("1"), nil},
		{[]byte("2"), []byte("3"), cas.ErrConflict},
		{[]byte("1"), []byte("2"), nil},
		{[]byte("2"), []byte("2"), nil},
	} {
		if err := first.CompareAndSwap(ctx, "latest", step.old, step.new); !errors.Is(err, step.want) {
			t.Errorf("step %d: got error %v, want %v", i, err, step.want)
		}
	}
	if got, err := second.Get(ctx, "latest"); string(got) != "2" || err != nil {
		t.Errorf("another opener gets %q, %v", got, err)
	}
}

// testSwapRace: each of many increments must count.
func testSwapRace(t *testing.T, first, second cas.Pointers) {
	ctx := context.Background()
	if err := first.CompareAndSwap(ctx, "n", nil, []byte("0")); err != nil {
		t.Fatal(err)
	}
	const each = 10
	var group sync.WaitGroup
	for i := range 6 {
		group.Go(func() {
			p := []cas.Pointers{first, second}[i%2]
			for done := 0; done < each; {
				old, err := p.Get(ctx, "n")
				if err != nil {
					t.Error(err)
					return
				}
				var n int
				fmt.Sscan(string(old), &n)
				err = p.CompareAndSwap(ctx, "n", old, fmt.Append(nil, n+1))
				if err == nil {
					done++
				} else if !errors.Is(err, cas.ErrConflict) {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	if got, _ := first.Get(ctx, "n"); string(got) != "60" {
		t.Errorf("60 increments make %s", got)
	}
}

func testPointerNames(t *testing.T, p, _ cas.Pointers) {
	ctx := context.Background()
	for _, name := range []string{"", ".", "..", "../x", "a/b", "a\x00", "A", ".hidden", strings.Repeat("a", 201), "é"} {
		if _, err := p.Get(ctx, name); !errors.Is(err, cas.ErrPointerName) {
			t.Errorf("get %q: got error %v, want %v", name, err, cas.ErrPointerName)
		}
		if err := p.CompareAndSwap(ctx, name, nil, nil); !errors.Is(err, cas.ErrPointerName) {
			t.Errorf("swap %q: got error %v, want %v", name, err, cas.ErrPointerName)
		}
	}
	if err := p.CompareAndSwap(ctx, "a", nil, make([]byte, cas.MaxPointer+1)); !errors.Is(err, cas.ErrTooLarge) {
		t.Errorf("got error %v, want %v", err, cas.ErrTooLarge)
	}
	value := bytes.Repeat([]byte("v"), cas.MaxPointer)
	if err := p.CompareAndSwap(ctx, strings.Repeat("a", 200), nil, value); err != nil {
		t.Errorf("the longest name and value: %v", err)
	}
}
