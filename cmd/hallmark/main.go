// Command hallmark is the command line and, as `hallmark serve`, the embedded
// control plane. It reads configuration, wires packages together and runs them;
// it holds no logic of its own.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"hallmark.dev/hallmark/internal/cli"
)

// version is set by the linker.
var version = "unknown"

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	app := cli.NewApp(version)
	app.EnterFailed = enterFailed
	return app.Run(ctx, app.Command(serveCommand(app)), os.Args[1:])
}
