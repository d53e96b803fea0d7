package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"hallmark.dev/hallmark/internal/azure"
	"hallmark.dev/hallmark/internal/instance"
	"hallmark.dev/hallmark/internal/network"
	"hallmark.dev/hallmark/internal/vm"
)

// The api-versions that the bench speaks; those of the command line.
const (
	apiCompute  = "2024-07-01"
	apiGallery  = "2023-07-03"
	apiNetwork  = "2023-09-01"
	apiHallmark = "2026-11-01"
)

const group = "hallmark" // what `hallmark up` puts into a context

// plane is a control plane on a data directory of its own.
type plane struct {
	binary string
	dir    instance.Dir
	server instance.Server
	*azure.Client
}

// newPlane prepares a data directory. Base images come from the cache.
func (b *bench) newPlane(name string) (*plane, error) {
	p := &plane{binary: b.binary, dir: instance.Dir(filepath.Join(b.work, name))}
	bases := filepath.Join(b.cache, "base")
	return p, errors.Join(p.dir.Make(), os.MkdirAll(bases, 0o755), os.Symlink(bases, p.dir.Bases()))
}

func (p *plane) up(ctx context.Context) error {
	if _, err := p.cli(ctx, "up", "--data", string(p.dir), "--listen", "127.0.0.1:0", "--name", "bench"); err != nil {
		return err
	}
	server, running, err := p.dir.Running()
	if err != nil || !running {
		return errors.Join(errors.New("the control plane has ended"), err)
	}
	secret, err := os.ReadFile(p.dir.AdminSecret())
	if err != nil {
		return err
	}
	p.server = server
	p.Client, err = azure.New(azure.Endpoint{URL: server.URL, ClientID: server.ClientID, ClientSecret: strings.TrimSpace(string(secret)), CAFile: p.dir.CACertificate()})
	return err
}

func (p *plane) down(ctx context.Context) error {
	if _, running, err := p.dir.Running(); err != nil || !running {
		return err
	}
	_, err := p.cli(ctx, "down", "--data", string(p.dir))
	return err
}

// cli runs the command line with contexts of its own and returns its stdout.
func (p *plane) cli(ctx context.Context, arguments ...string) (string, error) {
	c := exec.CommandContext(ctx, p.binary, arguments...)
	c.Env = append(os.Environ(), "HALLMARK_CONFIG="+filepath.Join(filepath.Dir(string(p.dir)), "contexts.yaml"))
	var stdout, stderr strings.Builder
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("hallmark %s: %w: %s", strings.Join(arguments, " "), err, lastLines(stderr.String(), 8))
	}
	return stdout.String(), nil
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// resource is the id of a resource in the bench's group.
func (p *plane) resource(provider string, path ...string) string {
	return "/subscriptions/" + p.server.Subscription + "/resourceGroups/" + group + "/providers/" + provider + "/" + strings.Join(path, "/")
}

// remove ends everything of the control plane: the server, the machines, which
// would outlive it, and their network.
func (p *plane) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	errs := []error{p.down(ctx)}
	machines, err := vm.List(p.dir.Machines())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, m := range machines {
		errs = append(errs, m.Destroy(ctx))
	}
	settings, err := network.Load(p.dir.Network(), string(p.dir))
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	net, err := network.Open(settings)
	if err == nil {
		err = net.Teardown(ctx)
	}
	return errors.Join(append(errs, err)...)
}

// parallel runs do for 0 to n-1 at the same time.
func parallel(n int, do func(i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = do(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
