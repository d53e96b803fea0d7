package disk

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// quitPatience bounds how long a storage daemon may take to flush and leave.
const quitPatience = 2 * time.Minute

// export is one qemu-storage-daemon that shows an image as a plain file.
type export struct {
	cmd    *exec.Cmd
	qmp    net.Conn
	lines  *bufio.Reader
	output *lastBytes
	done   chan struct{} // closed once the daemon is gone
	err    error         // how it went, valid after done
}

// startExport serves image as the existing regular file at point. It returns
// when the file is ready. The daemon dies with this process.
func startExport(ctx context.Context, image string, format Format, point string, readOnly bool) (*export, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	e := &export{qmp: ours, lines: bufio.NewReader(ours), output: &lastBytes{}, done: make(chan struct{})}
	e.cmd = exec.Command("qemu-storage-daemon", exportArgs(image, format, point, readOnly)...)
	e.cmd.Stdout, e.cmd.Stderr, e.cmd.ExtraFiles = e.output, e.output, []*os.File{theirs}
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := e.start(); err != nil {
		ours.Close()
		return nil, &ToolError{Args: e.cmd.Args, Err: err}
	}
	theirs.Close()
	if err := e.greet(ctx); err != nil {
		e.kill()
		return nil, &ToolError{Args: e.cmd.Args, Output: tail(e.output.String()), Err: err}
	}
	return e, nil
}

// exportArgs is the daemon's command line. Options are processed in order, so
// the monitor, which comes last, answers only when the export stands. Discards
// are passed down, so that deleted bytes leave the image.
func exportArgs(image string, format Format, point string, readOnly bool) []string {
	ro, writable := "off", "on"
	if readOnly {
		ro, writable = "on", "off"
	}
	return []string{
		"--blockdev", "driver=file,node-name=file,discard=unmap,read-only=" + ro + ",filename=" + comma(image),
		"--blockdev", "driver=" + string(format) + ",node-name=disk,file=file,discard=unmap,detect-zeroes=" + detectZeroes(readOnly) + ",read-only=" + ro,
		"--export", "fuse,id=export,node-name=disk,writable=" + writable + ",mountpoint=" + comma(point),
		"--chardev", "socket,id=monitor,fd=3",
		"--monitor", "chardev=monitor",
	}
}

func detectZeroes(readOnly bool) string {
	if readOnly {
		return "off"
	}
	return "unmap"
}

// comma escapes a value for QEMU's option syntax.
func comma(s string) string { return strings.ReplaceAll(s, ",", ",,") }

// start keeps the starting thread alive as long as the daemon: the kernel sends
// the parent-death signal when the thread dies, not the process.
func (e *export) start() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := e.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		e.err = e.cmd.Wait()
		close(e.done)
	}()
	return <-started
}

func (e *export) greet(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { e.qmp.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := e.lines.ReadBytes('\n'); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("the storage daemon did not come up: %w", err)
	}
	return e.command("qmp_capabilities")
}

// command sends one QMP command and waits for its answer, skipping events.
func (e *export) command(name string) error {
	if _, err := fmt.Fprintf(e.qmp, `{"execute":%q}`+"\n", name); err != nil {
		return err
	}
	for {
		line, err := e.lines.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("QMP %s: %w", name, err)
		}
		var answer struct {
			Return json.RawMessage        `json:"return"`
			Error  *struct{ Desc string } `json:"error"`
			Event  string                 `json:"event"`
		}
		switch err := json.Unmarshal(line, &answer); {
		case err != nil:
			return fmt.Errorf("QMP %s: %w", name, err)
		case answer.Error != nil:
			return fmt.Errorf("QMP %s: %s", name, answer.Error.Desc)
		case answer.Return != nil:
			return nil
		}
	}
}

// quit asks the daemon to flush and leave, and waits until it has. Only a nil
// error means that every byte reached the image.
func (e *export) quit() error {
	defer e.qmp.Close()
	e.qmp.SetDeadline(time.Now().Add(quitPatience))
	if err := e.command("quit"); err != nil {
		e.kill()
		return &ToolError{Args: e.cmd.Args, Output: tail(e.output.String()), Err: err}
	}
	timer := time.NewTimer(quitPatience)
	defer timer.Stop()
	select {
	case <-e.done:
	case <-timer.C:
		e.kill()
		return &ToolError{Args: e.cmd.Args, Output: tail(e.output.String()), Err: errors.New("it did not leave when asked")}
	}
	if e.err != nil {
		return &ToolError{Args: e.cmd.Args, Output: tail(e.output.String()), Err: e.err}
	}
	return nil
}

func (e *export) kill() {
	e.cmd.Process.Kill()
	<-e.done
	e.qmp.Close()
}

func socketPair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "qmp"), os.NewFile(uintptr(fds[1]), "qmp-daemon")
	defer ours.Close() // FileConn works on a copy
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn, theirs, nil
}
