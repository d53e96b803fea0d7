package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// outputTail is how much of a child's output an error carries.
const outputTail = 2000

// ToolError says that a program failed: which, with which arguments, what it
// said last, and why.
type ToolError struct {
	Args   []string
	Output string
	Err    error
}

func (e *ToolError) Error() string {
	text := strings.Join(e.Args, " ") + ": " + e.Err.Error()
	if e.Output != "" {
		text += ": " + e.Output
	}
	if errors.Is(e.Err, exec.ErrNotFound) {
		text += " (install the Debian package that carries it; `scripts/setup` does)"
	}
	return text
}

func (e *ToolError) Unwrap() error { return e.Err }

// ExitCode is the program's exit status, -1 when it did not exit by itself.
func (e *ToolError) ExitCode() int {
	var exit *exec.ExitError
	if errors.As(e.Err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// run executes a program without a shell and returns its standard output.
func run(ctx context.Context, name string, args ...string) ([]byte, error) {
	var out, all bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(cmd.Environ(), "LC_ALL=C")
	cmd.Stdout, cmd.Stderr = &out, &all
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w (%v)", context.Cause(ctx), err)
		}
		said := all.String()
		if strings.TrimSpace(said) == "" {
			said = out.String()
		}
		return out.Bytes(), &ToolError{Args: append([]string{name}, args...), Output: tail(said), Err: err}
	}
	return out.Bytes(), nil
}

func tail(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > outputTail {
		s = "…" + s[len(s)-outputTail:]
	}
	return s
}
