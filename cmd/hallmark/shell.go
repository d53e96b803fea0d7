package main

import (
	"context"
	"os"

	"hallmark.dev/hallmark/internal/build"
	"hallmark.dev/hallmark/internal/instance"
	"hallmark.dev/hallmark/internal/network"
)

// enterFailed opens a shell in what a failed build step left. It works beside a
// running server: build's methods may be called by several processes, and the
// network namespace has a name of its own.
func enterFailed(ctx context.Context, dir instance.Dir, run string) (int, error) {
	b, err := build.Open(dir.Builds())
	if err != nil {
		return -1, err
	}
	cfg, err := network.Load(dir.Network(), string(dir))
	if err != nil {
		return -1, err
	}
	net, err := network.Open(cfg)
	if err != nil {
		return -1, err
	}
	b.Network = func(ctx context.Context, run string) (build.NetworkNamespace, error) {
		// No server may have run since this host was started: the rules that keep
		// the shell away from the host must be there.
		if err := net.Ensure(ctx); err != nil {
			return nil, err
		}
		ns, err := net.Namespace(ctx, "shell-"+run)
		if err != nil {
			return nil, err
		}
		return namespace{ns}, nil
	}
	return b.Shell(ctx, run, os.Stdin, os.Stdout, os.Stderr)
}
