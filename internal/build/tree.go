package build

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// tree is an image's root file system, seen from outside it. The image is not
// trusted: each path is resolved by the kernel as if the tree were the root, so
// that no symbolic link, absolute or not, leads out of it.
type tree struct {
	root string
}

// dir opens a directory of the tree for work on its entries. An os.Root follows
// no link out of that directory either.
func (t tree) dir(name string) (*os.Root, error) {
	fd, err := t.open(name, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", fd))
}

func (t tree) open(name string, flags uint64) (int, error) {
	root, err := unix.Open(t.root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: t.root, Err: err}
	}
	defer unix.Close(root)
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(root, strings.TrimPrefix(name, "/"), &how)
	if name == "/" {
		fd, err = unix.Openat2(root, ".", &how)
	}
	if err != nil {
		return -1, &fs.PathError{Op: "open in image", Path: name, Err: err}
	}
	return fd, nil
}

// makeDir is dir that makes missing directories, owned by root, mode 0755.
func (t tree) makeDir(name string) (*os.Root, error) {
	dir, err := t.dir(name)
	if err == nil || !errors.Is(err, fs.ErrNotExist) || name == "/" {
		return dir, err
	}
	parent, err := t.makeDir(path.Dir(name))
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	if err := parent.Mkdir(path.Base(name), 0o755); err != nil {
		return nil, err
	}
	if err := parent.Chmod(path.Base(name), 0o755); err != nil { // whatever the umask
		return nil, err
	}
	return t.dir(name)
}

// read returns a file's content, at most a few MiB: the image chooses the size.
func (t tree) read(name string) ([]byte, error) {
	const limit = 4 << 20
	fd, err := t.open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("%s in the image is no regular file of at most %d bytes", name, limit)
	}
	var b bytes.Buffer
	_, err = b.ReadFrom(f)
	return b.Bytes(), err
}

func (t tree) exists(name string) bool {
	fd, err := t.open(name, unix.O_PATH)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// write puts a file in place in one move, parents made, a link at the very end
// replaced.
func (t tree) write(name string, content []byte, mode fs.FileMode, uid, gid int) error {
	dir, err := t.makeDir(path.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	temp := ".hallmark-" + randomName()
	if err := writeIn(dir, temp, content, mode, uid, gid); err != nil {
		return errors.Join(fmt.Errorf("writing %s into the image: %w", name, err), dir.RemoveAll(temp))
	}
	if err := dir.Rename(temp, path.Base(name)); err != nil {
		return errors.Join(err, dir.RemoveAll(temp))
	}
	return nil
}

func writeIn(dir *os.Root, name string, content []byte, mode fs.FileMode, uid, gid int) error {
	f, err := dir.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(content); err != nil {
		return err
	}
	// The owner first: changing it clears setuid bits.
	if err := f.Chown(uid, gid); err != nil {
		return err
	}
	return f.Chmod(mode)
}

// remove deletes an entry and what is below it; a missing one is fine.
func (t tree) remove(name string) error {
	dir, err := t.dir(path.Dir(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.RemoveAll(path.Base(name))
}

// list names a directory's entries; none for a missing one.
func (t tree) list(name string) ([]fs.DirEntry, error) {
	dir, err := t.dir(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return fs.ReadDir(dir.FS(), ".")
}

// owner resolves "user", "user:group" or numbers with the image's own accounts.
func (t tree) owner(spec string) (uid, gid int, err error) {
	if spec == "" {
		return 0, 0, nil
	}
	user, group, grouped := strings.Cut(spec, ":")
	uid, gid, err = t.account("/etc/passwd", user)
	if err != nil || !grouped {
		return uid, gid, err
	}
	gid, _, err = t.account("/etc/group", group)
	return uid, gid, err
}

// account finds a name in passwd(5) or group(5): its id, and for a user the
// primary group.
func (t tree) account(file, name string) (id, primary int, err error) {
	if id, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(id), int(id), nil
	}
	text, err := t.read(file)
	if err != nil {
		return 0, 0, fmt.Errorf("looking up owner %q: %w", name, err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) < 4 || fields[0] != name {
			continue
		}
		if id, err = strconv.Atoi(fields[2]); err != nil {
			break
		}
		primary, _ = strconv.Atoi(fields[3]) // a group's fourth field is its members
		return id, primary, nil
	}
	return 0, 0, fmt.Errorf("owner %q is not in the image's %s", name, file)
}

// glob lists the paths that match pattern, whose last two elements at most may
// hold wildcards.
func (t tree) glob(pattern string) ([]string, error) {
	parents := []string{path.Dir(pattern)}
	if strings.ContainsAny(parents[0], "*?[") {
		var err error
		if parents, err = t.glob(parents[0]); err != nil {
			return nil, err
		}
	}
	var found []string
	for _, p := range parents {
		entries, err := t.list(p)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if ok, err := filepath.Match(path.Base(pattern), e.Name()); err != nil {
				return nil, err
			} else if ok {
				found = append(found, path.Join(p, e.Name()))
			}
		}
	}
	return found, nil
}

func randomName() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
