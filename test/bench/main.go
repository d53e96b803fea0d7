// Command bench measures Hallmark's performance goals on this machine, in one
// run: rebuilds, chunks, creating machines, the store, the server's memory,
// requests and policies.
// It prints a table of what was measured, the goal, and their ratio.
//
// It starts control planes of its own on a temporary data directory and free
// ports, and takes them down again however it ends, SIGKILL aside. Base images
// stay in the user's cache directory, so that only the first run assembles them.
// It asserts nothing: a goal that is missed is a line in the table, and only a
// measurement that could not be taken is a failure.
//
//	scripts/bench                 # everything
//	scripts/bench -only store     # one part: build, chunks, machines, store, requests, graph, policy
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	binary := flag.String("hallmark", "bin/hallmark", "the `binary` to measure")
	only := flag.String("only", "", "comma-separated `parts`: build, chunks, machines, store, requests, graph, policy (default: all)")
	dir := flag.String("dir", "/var/tmp", "where the temporary data goes: a real disk with 12 GiB free")
	var p policyOptions
	p.register()
	flag.Parse()
	if p.child != "" {
		exitOn(p.runChild(context.Background()))
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	exitOn(run(ctx, *binary, *dir, *only, p))
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is what the parts share.
type bench struct {
	binary string
	work   string // temporary
	cache  string // stays
	began  time.Time
	table  table
	images *plane // a control plane with images in it; build and later parts use it
	built  built
	policy policyOptions
}

func run(ctx context.Context, binary, dir, only string, p policyOptions) (err error) {
	if os.Geteuid() != 0 && only != "policy" {
		return errors.New("building images and running machines needs root")
	}
	b, err := newBench(binary, dir)
	if err != nil {
		return err
	}
	b.policy = p
	defer func() { err = errors.Join(err, b.close(context.WithoutCancel(ctx))) }()
	facts := machineFacts(b.cache)
	fmt.Println(facts)
	var failed []error
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{{"build", b.measureBuild}, {"chunks", b.measureChunks}, {"machines", b.measureMachines}, {"store", b.measureStore}, {"requests", b.measureRequests}, {"graph", b.measureGraph}, {"policy", b.measurePolicy}} {
		if ctx.Err() != nil || only != "" && !strings.Contains(","+only+",", ","+part.name+",") {
			continue
		}
		b.say("== %s", part.name)
		if err := part.run(ctx); err != nil {
			b.say("%s could not be measured: %v", part.name, err)
			failed = append(failed, fmt.Errorf("%s could not be measured", part.name))
		}
	}
	fmt.Printf("\n%s\nload average now: %s; took %s\n\n%s", facts, loadAverage(), time.Since(b.began).Round(time.Second), &b.table)
	return cmp.Or(ctx.Err(), errors.Join(failed...))
}

func newBench(binary, dir string) (*bench, error) {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(binary); err != nil {
		return nil, fmt.Errorf("%w; run make build", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp(dir, "hallmark-bench-")
	if err != nil {
		return nil, err
	}
	return &bench{binary: binary, work: work, cache: filepath.Join(cache, "hallmark-test"), began: time.Now()}, nil
}

// say shows progress with the time since the start.
func (b *bench) say(format string, args ...any) {
	fmt.Printf("%6.1fs  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

func (b *bench) close(ctx context.Context) error {
	var err error
	if b.images != nil {
		err = b.images.remove(ctx)
	}
	return errors.Join(err, os.RemoveAll(b.work))
}
