package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"hallmark.dev/hallmark/internal/build"
	"hallmark.dev/hallmark/internal/instance"
)

const shellHelp = `Opens a shell in the state that the failed step of a build left: the image's root, with the step's environment and network,
without its secrets. What is changed there never enters an image: mend the recipe, then build again.

RUN is a run of a pipeline (hallmark image runs) or of an image template. The state lies in the server's data directory, so that
this works on the server's host and as root only. It is kept until the template is run again, or the cache is pruned.`

func (a *App) imageShell() *cobra.Command {
	var where scope
	c := &cobra.Command{
		Use: "shell RUN", Short: "Open a shell in the state that a build's failed step left", Args: cobra.ExactArgs(1), Long: shellHelp,
		Example: "  hallmark image shell 01KAJY5T7V3M2XQ0B9C8D7E6F5\n  echo 'cat /etc/os-release' | hallmark image shell 01KAJY5T7V3M2XQ0B9C8D7E6F5",
	}
	where.register(c)
	c.RunE = func(c *cobra.Command, arguments []string) error {
		err := a.enterFailed(c.Context(), arguments[0])
		if !errors.Is(err, build.ErrNoFailedState) {
			return err
		}
		// Not a build's own name: then the name of a pipeline's run, which the server knows.
		buildRun, err := a.buildRunOf(c.Context(), where, arguments[0])
		if err != nil {
			return err
		}
		return a.enterFailed(c.Context(), buildRun)
	}
	return c
}

// buildRunOf is what the builder calls a pipeline's run.
func (a *App) buildRunOf(ctx context.Context, where scope, name string) (string, error) {
	s, err := a.open(where)
	if err != nil {
		return "", err
	}
	id, err := s.findRun(ctx, name)
	if err != nil {
		return "", err
	}
	run, err := s.run(ctx, id)
	if err != nil {
		return "", err
	}
	if run.BuildRunID == "" {
		return "", &Error{Code: ExitNothing, Err: fmt.Errorf("run %s has built nothing with the embedded image builder: there is no state to look into", name)}
	}
	return run.BuildRunID, nil
}

// serverDir is the data directory of the server that the context talks to, if it
// is one of this host, so that a command that a server's message names works as it
// stands there. --data goes before it.
func (a *App) serverDir() (instance.Dir, error) {
	dir, err := a.Dir()
	if err != nil || a.dataDir != defaultDataDir() {
		return dir, err
	}
	c, err := a.current()
	if err != nil {
		return dir, nil //nolint:nilerr // no context: the default directory
	}
	own := instance.Dir(filepath.Dir(filepath.Dir(c.SecretFile)))
	if c.SecretFile != "" && c.SecretFile == own.AdminSecret() {
		return own, nil
	}
	return dir, nil
}

func (a *App) enterFailed(ctx context.Context, buildRun string) error {
	if os.Geteuid() != 0 {
		return &Error{Code: ExitUsage, Err: errors.New("a shell in a failed build needs root: the image is mounted on this host"), Hint: "run it with sudo, on the host of the server"}
	}
	dir, err := a.serverDir()
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir.Builds()); err != nil {
		return &Error{Code: ExitNothing, Err: fmt.Errorf("no builds on this host: %w", err), Hint: "run it on the server's host; --data names another data directory"}
	}
	code, err := a.EnterFailed(ctx, dir, buildRun)
	switch {
	case errors.Is(err, build.ErrNoFailedState):
		return &Error{Code: ExitNothing, Err: err, Hint: "it is kept only where a step failed, until the same template is run again; hallmark cache show lists what is kept"}
	case err != nil:
		return err
	case code != 0:
		return &Error{Code: code, Err: fmt.Errorf("the shell ended with %d", code)}
	}
	return nil
}

// shellAfter opens the state of a run that has failed, and answers with the
// run's own failure all the same.
func (s *session) shellAfter(ctx context.Context, id string, failed error) error {
	run, err := s.run(ctx, id)
	if err != nil || run.BuildRunID == "" || run.Error == nil || run.Error.Code != "BuildFailed" {
		return failed
	}
	s.app.progress("\nA shell in the failed state; leave it with exit:")
	if err := s.app.enterFailed(ctx, run.BuildRunID); err != nil {
		s.app.progress("hallmark: %v", err)
	}
	return failed
}
