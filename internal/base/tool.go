package base

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/klauspost/compress/zstd"
	"hallmark.dev/hallmark/internal/disk"
)

// outputTail is how much of a program's output an error carries.
const outputTail = 3000

func run(ctx context.Context, dir string, env []string, args ...string) error {
	return execute(ctx, dir, env, "", args)
}

func runInput(ctx context.Context, dir, input string, args ...string) error {
	return execute(ctx, dir, nil, input, args)
}

// execute runs a program in dir. It dies with us: the kernel watches the thread
// that started it, so that thread stays until the program has ended.
func execute(ctx context.Context, dir string, env []string, input string, args []string) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, strings.NewReader(input), &said, &said
	cmd.Env = append(cleanEnv(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w (%v)", context.Cause(ctx), err)
		}
		return &disk.ToolError{Args: args, Output: tail(said.String()), Err: err}
	}
	return nil
}

// cleanEnv keeps secrets and settings of our own environment out of package
// scripts: only where programs and proxies are is passed on.
func cleanEnv() []string {
	env := []string{"LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "HOME=/root"}
	for _, name := range []string{"PATH", "http_proxy", "https_proxy", "no_proxy", "TMPDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

func tail(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > outputTail {
		s = "…" + s[len(s)-outputTail:]
	}
	return s
}

// decompress writes file's plain content to out where its name says that it is
// compressed, and returns the plain file.
func decompress(ctx context.Context, file, name, out string) (string, error) {
	switch filepath.Ext(name) {
	case ".xz":
		return out, unxz(ctx, file, out)
	case ".zst":
		return out, unzstd(ctx, file, out)
	}
	return file, nil
}

func unxz(ctx context.Context, file, out string) error {
	w, err := os.Create(out)
	if err != nil {
		return err
	}
	defer w.Close()
	var said bytes.Buffer
	args := []string{"xz", "--decompress", "--stdout", "--", file}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = w, &said
	if err := cmd.Run(); err != nil {
		return &disk.ToolError{Args: args, Output: tail(said.String()), Err: err}
	}
	return nil
}

func unzstd(ctx context.Context, file, out string) error {
	r, err := os.Open(file)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.Create(out)
	if err != nil {
		return err
	}
	defer w.Close()
	z, err := zstd.NewReader(contextReader{ctx, r})
	if err != nil {
		return err
	}
	defer z.Close()
	if _, err := io.Copy(w, z); err != nil {
		return fmt.Errorf("decompressing %s: %w", file, err)
	}
	return nil
}
