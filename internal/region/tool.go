package region

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
)

// qemuImg runs qemu-img, without a shell, and returns what it prints. The error
// carries the arguments, the end of its complaints, and the cause.
func qemuImg(ctx context.Context, args ...string) ([]byte, error) {
	var out, complaints bytes.Buffer
	cmd := exec.CommandContext(ctx, "qemu-img", args...)
	cmd.Stdout, cmd.Stderr = &out, &complaints
	// A child that outlives a killed parent would go on filling a file that the
	// next start has removed. The kernel ties this to the starting thread, which
	// therefore has to live as long as the child.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("qemu-img %s: %w%s", strings.Join(args, " "), err, complaint(complaints.String()))
	}
	return out.Bytes(), nil
}

func complaint(text string) string {
	const most = 2000
	text = strings.TrimSpace(text)
	if text == "" {
		return ""
	}
	return ": " + text[max(0, len(text)-most):]
}
