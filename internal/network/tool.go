package network

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// ToolError says that ip or nft failed: with which arguments, what it said, why.
type ToolError struct {
	Args   []string
	Output string
	Err    error
}

func (e *ToolError) Error() string {
	return fmt.Sprintf("%s: %v: %s", strings.Join(e.Args, " "), e.Err, e.Output)
}

func (e *ToolError) Unwrap() error { return e.Err }

func run(ctx context.Context, stdin string, args ...string) ([]byte, error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(cmd.Environ(), "LC_ALL=C")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	if err := cmd.Run(); err != nil {
		said := errs.String()
		return out.Bytes(), &ToolError{Args: args, Output: strings.TrimSpace(said[max(0, len(said)-2000):]), Err: err}
	}
	return out.Bytes(), nil
}

func ip(ctx context.Context, args ...string) error {
	_, err := run(ctx, "", append([]string{"ip"}, args...)...)
	return err
}

func nft(ctx context.Context, script string) error {
	_, err := run(ctx, script, "nft", "-f", "-")
	return err
}
