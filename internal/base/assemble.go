package base

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"hallmark.dev/hallmark/internal/disk"
)

// rootfs holds the files that a base has beside its packages'. They are put
// there before the packages are configured, which is when the initramfs is made.
//
//go:embed all:rootfs
var rootfs embed.FS

// recipeVersion rises when a change of this file or of partition.go makes other
// images of the same packages.
const recipeVersion = "2"

// packages beside the essential ones. The cloud kernel has the drivers of
// virtual machines only, and is half the size.
var packages = []string{
	"linux-image-cloud-amd64", "initramfs-tools", "zstd", "kmod", "udev", "e2fsprogs",
	"systemd", "systemd-sysv", "systemd-resolved", "systemd-timesyncd", "libpam-systemd", "libnss-resolve", "dbus",
	"cloud-init", "cloud-guest-utils", "qemu-guest-agent", "openssh-server",
	"sudo", "ca-certificates", "python3-minimal", "netbase", "iproute2", "procps", "less", "vim-tiny",
}

// enabled are units that Debian ships but does not enable; masked are those
// that only cost time in a machine like this.
var (
	enabled = []string{"systemd-networkd.service", "systemd-resolved.service", "systemd-timesyncd.service"}
	masked  = []string{"e2scrub_reap.service", "e2scrub_all.timer", "systemd-pstore.service", "systemd-binfmt.service"}
)

// leftOut is documentation and translations: a quarter of the image.
var leftOut = []string{
	"path-exclude=/usr/share/man/*", "path-exclude=/usr/share/locale/*",
	"path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright",
}

// The hooks run in a shell as mmdebstrap has them; they are constants, and the
// work folder comes through the environment. bootLoader fetches the signed boot
// loader with the chroot's own apt, which verifies it, without installing it:
// nothing in the image then changes the boot entry. seenReleases shows which
// suites the packages really came from.
const (
	bootLoader   = `set -e; cd "$HALLMARK_WORK/boot"; APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -q -o APT::Sandbox::User=root download shim-signed grub-efi-amd64-signed; for d in *.deb; do dpkg-deb -x "$d" .; done`
	seenReleases = `cp "$1"/var/lib/apt/lists/*_InRelease "$HALLMARK_WORK/releases/"`
	workVariable = "HALLMARK_WORK"
)

// recipeDigest names how a base is made, so that a new way makes new images.
func recipeDigest() string {
	h := sha256.New()
	fmt.Fprintln(h, recipeVersion, packages, enabled, masked, leftOut, bootLoader, grubConfig, diskSize)
	_ = fs.WalkDir(rootfs, ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := rootfs.ReadFile(path)
		fmt.Fprintln(h, path, len(text))
		h.Write(text)
		return err
	})
	return hex.EncodeToString(h.Sum(nil))
}

// planBootstrap is mmdebstrap's command line. Paths are relative to the work
// folder. It runs as the first process of a PID namespace of its own: when it
// is killed, the kernel ends everything that it has started.
func (d Debian) planBootstrap(m Mirror) []string {
	argv := []string{"unshare", "--fork", "--pid", "--kill-child", "mmdebstrap",
		"--mode=root", "--format=directory", "--variant=minbase", "--architectures=amd64",
		"--aptopt=Acquire::Retries \"3\"", "--include=" + strings.Join(packages, ",")}
	for _, o := range leftOut {
		argv = append(argv, "--dpkgopt="+o)
	}
	argv = append(argv,
		"--essential-hook=sync-in rootfs /",
		"--customize-hook="+bootLoader,
		"--customize-hook="+seenReleases,
		`--customize-hook=chroot "$1" systemctl -q enable `+strings.Join(enabled, " "),
		`--customize-hook=chroot "$1" systemctl -q mask `+strings.Join(masked, " "),
		d.Codename, "root")
	for _, s := range d.suites(m) {
		argv = append(argv, "deb [signed-by="+m.Keyring+"] "+s.uri+" "+s.name+" main")
	}
	return argv
}

// ErrMoved means that the mirror has published something since the version was
// resolved: resolve again.
var ErrMoved = errors.New("the package mirror has moved on since the version was resolved; try again")

// assemble makes a Debian base in work and writes it to out.
func (s *Store) assemble(ctx context.Context, d Debian, r Resolved, work, out string, report func(Event)) error {
	for _, sub := range []string{"boot", "releases"} {
		if err := os.Mkdir(filepath.Join(work, sub), 0o755); err != nil {
			return err
		}
	}
	if err := unpackRootfs(work); err != nil {
		return err
	}
	report(Event{Stage: "installing Debian " + d.Release + " from " + s.mirror.Main})
	env := []string{workVariable + "=" + work, "SOURCE_DATE_EPOCH=" + strconv.FormatInt(r.Released.Unix(), 10)}
	if err := run(ctx, work, env, d.planBootstrap(s.mirror)...); err != nil {
		return err
	}
	if err := sameReleases(filepath.Join(work, "releases"), r.Digest); err != nil {
		return err
	}
	if err := finish(filepath.Join(work, "root")); err != nil {
		return fmt.Errorf("finishing the root file system: %w", err)
	}
	report(Event{Stage: "writing the disk"})
	if err := makeDisk(ctx, work, r.Digest); err != nil {
		return err
	}
	return disk.Convert(ctx, filepath.Join(work, rawFile), disk.Raw, out, disk.QCOW2)
}

// unpackRootfs sets every mode: our umask must not decide who may read /etc.
func unpackRootfs(work string) error {
	return fs.WalkDir(rootfs, ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		target := filepath.Join(work, path)
		if e.IsDir() {
			return errors.Join(os.MkdirAll(target, 0o755), os.Chmod(target, 0o755))
		}
		text, err := rootfs.ReadFile(path)
		if err != nil {
			return err
		}
		return errors.Join(os.WriteFile(target, text, 0o644), os.Chmod(target, 0o644))
	})
}

func sameReleases(dir, digest string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var files [][]byte
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		files = append(files, text)
	}
	if setDigest(files) != digest {
		return ErrMoved
	}
	return nil
}

// traces are what belongs to one machine or one installation, and must not be
// in an image that many machines start from.
var traces = []string{"etc/ssh/ssh_host_*", "var/log/*.log", "var/log/apt", "var/cache/apt/*.bin", "var/lib/dbus/machine-id", "*.old"}

// finish works through an os.Root: no symbolic link in the tree leads out of it.
func finish(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, pattern := range traces {
		found, err := fs.Glob(root.FS(), pattern)
		if err != nil {
			return err
		}
		for _, path := range found {
			if err := root.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	// Empty, not missing: missing means "first boot" and has systemd preset every unit.
	if err := root.WriteFile("etc/machine-id", nil, 0o444); err != nil {
		return err
	}
	// Newer than /usr: the caches that systemd would renew on the first boot
	// (ldconfig, the journal's catalogue) are fresh (systemd-update-done.service(8)).
	for _, stamp := range []string{"etc/.updated", "var/.updated"} {
		if err := root.WriteFile(stamp, nil, 0o644); err != nil {
			return err
		}
	}
	if err := root.RemoveAll("etc/resolv.conf"); err != nil {
		return err
	}
	return root.Symlink("../run/systemd/resolve/stub-resolv.conf", "etc/resolv.conf")
}

// obtain fetches an image from its URL and converts it.
func (s *Store) obtain(ctx context.Context, f FileSource, r Resolved, work, out string, report func(Event)) error {
	sum := sha256.Sum256([]byte(f.URL + "\n" + r.Digest))
	name := fileName(f.URL)
	file := filepath.Join(s.dir, downloadDir, hex.EncodeToString(sum[:8]))
	if _, err := os.Stat(file); err != nil {
		err := s.download(ctx, f.URL, r.Digest, file, func(done, total int64) {
			report(Event{Stage: "fetching " + name, Done: done, Total: total})
		})
		if err != nil {
			return err
		}
	}
	report(Event{Stage: "converting " + name})
	plain, err := decompress(ctx, file, name, filepath.Join(work, "plain"))
	if err != nil {
		return err
	}
	if err := convert(ctx, plain, f.Format, out); err != nil {
		return err
	}
	return os.Remove(file) // the image is what is kept
}

func convert(ctx context.Context, file string, format disk.Format, out string) error {
	info, err := disk.InspectForeign(ctx, file)
	if err != nil {
		return err
	}
	if format == "vhd" {
		format = disk.VHD
	}
	if format == "" {
		format = info.Format
	}
	if known := []disk.Format{disk.QCOW2, disk.Raw, disk.VHD}; !slices.Contains(known, format) {
		return fmt.Errorf("the file's format is %s; qcow2, raw and vhd are taken", format)
	}
	return disk.Convert(ctx, file, format, out, disk.QCOW2)
}
