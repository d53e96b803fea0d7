package build

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// job is one program to run in an image's root.
type job struct {
	root        string
	uidBase     int
	namespace   string // path of a network namespace; "" is a network of its own with nothing in it
	boot        bool   // boot the image's init instead of command
	command     []string
	env         map[string]string
	binds       []bind
	cgroups     []string // directories to move into
	interactive bool     // on the caller's terminal
	in          io.Reader
	out, err    io.Writer
}

type bind struct {
	host, guest string
	writable    bool
}

// uidCount is how many ids a step's user namespace has.
const uidCount = 1 << 16

// dropped are the capabilities that installing software does not need. They
// would hold only inside the user namespace; without them, much less of the
// kernel can be reached from there. CAP_NET_RAW stays: it is worth nothing in a
// network namespace of the host, and without it ping, which carries it as a file
// capability, would not even start. nspawn itself drops CAP_NET_BIND_SERVICE when
// the network is not its own, so that a program that carries that one starts only
// in an offline step.
const dropped = "CAP_SYS_ADMIN,CAP_SYS_BOOT,CAP_SYS_PTRACE,CAP_SYS_TTY_CONFIG,CAP_SYS_RESOURCE,CAP_SYS_NICE," +
	"CAP_NET_BROADCAST,CAP_MKNOD,CAP_LINUX_IMMUTABLE,CAP_IPC_OWNER,CAP_LEASE"

// droppedBooted is the same for a booted image, whose init mounts.
const droppedBooted = "CAP_SYS_PTRACE,CAP_MKNOD,CAP_LINUX_IMMUTABLE"

// launch runs as the first process of a new process and mount namespace: it
// enters the control groups that precede "--", hides the host's nspawn state,
// which nspawn would otherwise leave traces in, and becomes its remaining
// arguments.
const launch = `set -e
while [ "$1" != -- ]; do echo 0 > "$1/cgroup.procs"; shift; done
shift
mkdir -p /run/systemd/nspawn
mount -t tmpfs -o mode=0755,size=1m tmpfs /run/systemd/nspawn
exec "$@"`

// allowPorts runs inside the step's network namespace, which does not belong to
// the step's user namespace: root there may otherwise not listen below 1024, as a
// booted image's services do, nor ping.
const allowPorts = `echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start
echo "0 2147483647" > /proc/sys/net/ipv4/ping_group_range
exec "$@"`

// jobArgs is the whole command line. The process namespace around it is what
// makes killing sure: when its first process dies, the kernel kills the rest.
func jobArgs(j job) []string {
	args := []string{"unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "--", "/bin/sh", "-c", launch, "launch"}
	args = append(append(args, j.cgroups...), "--")
	if j.namespace != "" {
		// nspawn 252 cannot join a namespace once it has a user namespace.
		args = append(args, "nsenter", "--net="+j.namespace, "--", "/bin/sh", "-c", allowPorts, "ports")
	}
	return append(args, nspawnArgs(j)...)
}

func nspawnArgs(j job) []string {
	args := []string{"systemd-nspawn", "--quiet", "--directory=" + j.root, "--settings=no", "--register=no", "--keep-unit",
		"--private-users=" + strconv.Itoa(j.uidBase) + ":" + strconv.Itoa(uidCount), "--private-users-ownership=map",
		"--hostname=localhost", "--timezone=off", "--resolv-conf=off", "--link-journal=no"}
	if j.namespace == "" {
		args = append(args, "--private-network")
	}
	args = append(args, "--console="+j.console())
	if j.boot {
		args = append(args, "--drop-capability="+droppedBooted, "--boot")
	} else {
		args = append(args, "--drop-capability="+dropped, "--as-pid2")
	}
	for _, b := range j.binds {
		args = append(args, b.flag())
	}
	for _, name := range slices.Sorted(keysOf(j.env)) {
		args = append(args, "--setenv="+name+"="+j.env[name])
	}
	return append(append(args, "--"), j.command...)
}

// console: an init says nothing on a console that is no terminal.
func (j job) console() string {
	switch {
	case j.interactive:
		return "interactive"
	case j.boot:
		return "read-only"
	}
	return "pipe"
}

func (b bind) flag() string {
	if b.writable {
		return "--bind=" + b.host + ":" + b.guest
	}
	return "--bind-ro=" + b.host + ":" + b.guest
}

// nspawn is the container that Builder uses.
type nspawn struct{}

// run runs a job to its end and answers its exit code. When ctx ends, everything
// in the container is killed.
func (nspawn) run(ctx context.Context, j job) (int, error) {
	args := jobArgs(j)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = j.in, j.out, j.err
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=" + os.Getenv("TERM")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 10 * time.Second // a killed container's pipes close at once
	err := runPinned(cmd)
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return -1, context.Cause(ctx)
	case err == nil:
		return 0, nil
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode(), nil
	}
	return -1, fmt.Errorf("starting the container with %s: %w", args[0], err)
}

// runPinned keeps the starting thread until the child is gone: the kernel sends
// the parent-death signal when the thread ends, not the process.
func runPinned(cmd *exec.Cmd) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		done <- cmd.Run()
	}()
	return <-done
}

// pickUIDs chooses a range of ids that no account of this host lies in, from
// where systemd-nspawn itself would choose.
func pickUIDs() (int, error) {
	const first, last = 524288 / uidCount, 1878982656 / uidCount
	for range 100 {
		var b [4]byte
		rand.Read(b[:])
		base := (first + int(binary.LittleEndian.Uint32(b[:]))%(last-first)) * uidCount
		if _, err := user.LookupId(strconv.Itoa(base)); err != nil {
			return base, nil
		}
	}
	return 0, errors.New("no free range of user ids for a build step")
}
