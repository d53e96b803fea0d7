package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/term"
)

// Shell opens a shell in the state that a run's failed step left, with the
// step's environment and network and without its secrets, which are kept
// nowhere. What is changed there stays in the failed state and never enters an
// image. It answers the shell's exit code, and ErrNoFailedState when there is
// nothing to look into.
func (b *Builder) Shell(ctx context.Context, run string, in io.Reader, out, errOut io.Writer) (int, error) {
	var state failedState
	if !nameShape.MatchString(run) {
		return -1, fmt.Errorf("%w: %q", ErrNoFailedState, run)
	}
	if err := readJSON(b.cache.path(failedDir, run+".json"), &state); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %q", ErrNoFailedState, run)
		}
		return -1, err
	}
	path := b.cache.path(layersDir, state.File)
	lock, err := lockFile(path)
	if err != nil {
		return -1, fmt.Errorf("the failed state of %s: %w", run, err)
	}
	defer lock.Close()
	_, pins, err := b.cache.layer(state.Parent)
	if err != nil {
		return -1, fmt.Errorf("the layers below the failed state of %s: %w", run, err)
	}
	defer releaseAll(pins)
	m, err := b.images.mount(ctx, path)
	if err != nil {
		return -1, err
	}
	code, err := b.shellIn(ctx, state, m, in, out, errOut)
	return code, errors.Join(err, m.Close())
}

func (b *Builder) shellIn(ctx context.Context, state failedState, m mounted, in io.Reader, out, errOut io.Writer) (int, error) {
	r := b.newRunner(state.Run, Plan{Variables: state.Env}, nil)
	defer r.close()
	j, err := r.newJob(ctx, Step{Name: "shell", Kind: Shell, Inline: []string{"true"}}, m)
	if err != nil {
		return -1, err
	}
	defer releaseCgroups(j.cgroups)
	j.in, j.out, j.err, j.interactive = in, out, errOut, isTerminal(in) && isTerminal(out)
	j.command = []string{"/bin/sh"}
	if (tree{m.Root()}).exists("/bin/bash") {
		j.command = []string{"/bin/bash", "--login"}
	}
	j.env["PS1"] = "[failed " + filepath.Base(state.Run) + "] \\w# "
	return b.container.run(ctx, j)
}

func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
