package disk

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// releasePatience bounds how long the kernel may take to let go of something
// whose users are gone.
const releasePatience = 20 * time.Second

// ErrInUse means that a mount belongs to a process that is alive.
var ErrInUse = errors.New("in use by a living process")

// Sweep cleans up after dead owners of mounts below dir: processes, mounts, loop
// devices, directories. It answers what it cleaned, one line each. Mounts whose
// owner lives are left alone. Safe to run at any time, by anyone, again.
func Sweep(dir string) ([]string, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var done []string
	for _, e := range entries {
		cleaned, sweepErr := sweepOne(filepath.Join(dir, e.Name()))
		if errors.Is(sweepErr, ErrInUse) {
			continue
		}
		done, err = append(done, cleaned...), errors.Join(err, sweepErr)
	}
	return done, err
}

func sweepOne(dir string) ([]string, error) {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() {
		return nil, err
	}
	lock, err := tryLock(filepath.Join(dir, lockName))
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	done := []string{"mount " + dir}
	killed, err := killUsers(dir)
	for _, k := range killed {
		done = append(done, "process "+k)
	}
	return done, errors.Join(err, cleanDirectory(dir))
}

// tryLock takes the lock of a mount's directory, or fails with ErrInUse. The
// lock ends with the process, so it says more than any recorded process id.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", filepath.Dir(path), ErrInUse)
		}
		return nil, err
	}
	return f, nil
}

// cleanDirectory removes whatever stands below a mount's directory, the inmost
// first, and then the directory.
func cleanDirectory(dir string) error {
	points, err := mountsBelow(dir)
	for _, p := range slices.Backward(points) {
		if p == dir { // a mount of itself: whoever has a file open in it loses nothing
			err = errors.Join(err, unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW))
			continue
		}
		err = errors.Join(err, unmountFirmly(p))
	}
	loops, loopErr := loopsBelow(dir)
	err = errors.Join(err, loopErr)
	for _, l := range loops {
		err = errors.Join(err, detachLoop(l))
	}
	if err != nil {
		return err
	}
	// Never descend into something still mounted: that would delete an image's
	// content.
	if left, leftErr := mountsBelow(dir); leftErr != nil || len(left) > 0 {
		return errors.Join(leftErr, fmt.Errorf("still mounted: %s", strings.Join(left, ", ")))
	}
	return os.RemoveAll(dir)
}

// mountsBelow lists dir, where it is a mount point, and the mount points below
// it, in the order they were mounted.
func mountsBelow(dir string) ([]string, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var points []string
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if point := mountPoint(lines.Text()); point == dir || strings.HasPrefix(point, dir+"/") {
			points = append(points, point)
		}
	}
	return points, lines.Err()
}

// mountPoint reads the fifth field of a line of mountinfo (proc_pid_mountinfo(5)).
func mountPoint(line string) string {
	fields := strings.Fields(line)
	if len(fields) < 5 {
		return ""
	}
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(fields[4])
}

// unmountFirmly waits a while for the last user to go, then detaches and says so
// by failing: bytes may still be on their way.
func unmountFirmly(point string) error {
	err := error(unix.EBUSY)
	for deadline := time.Now().Add(releasePatience); errors.Is(err, unix.EBUSY) && time.Now().Before(deadline); {
		if err = unix.Unmount(point, unix.UMOUNT_NOFOLLOW); errors.Is(err, unix.EBUSY) {
			time.Sleep(20 * time.Millisecond)
		}
	}
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if detachErr := unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); detachErr != nil {
		err = errors.Join(err, detachErr)
	}
	return fmt.Errorf("unmounting %s: %w", point, err)
}

func waitGone(path string, ours func() bool) error {
	for deadline := time.Now().Add(releasePatience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) || !ours() {
			return nil
		}
	}
	return fmt.Errorf("%s is still there: another mount namespace holds the file system", path)
}
