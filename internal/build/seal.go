package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"hallmark.dev/hallmark/internal/disk"
)

// gone is what a sealed image does not hold: identity, traces and caches of the
// machine it was built on.
var gone = []string{
	"/etc/ssh/ssh_host_*", // cloud-init makes new ones
	"/var/lib/cloud/*",
	"/var/lib/systemd/random-seed", "/var/lib/systemd/credential.secret", "/var/lib/systemd/timers/*",
	"/var/lib/dhcp/*.leases", "/var/lib/NetworkManager/*.lease",
	"/var/lib/apt/lists/*", "/var/cache/apt/*.bin", "/var/cache/apt/archives/*.deb", "/var/cache/apt/archives/partial/*",
	"/var/cache/dnf/*", "/var/cache/yum/*", "/var/cache/debconf/*-old", "/var/lib/dpkg/*-old",
	"/var/log/journal/*", "/var/log/*.gz", "/var/log/*.[0-9]", "/var/log/*.old", "/var/log/*/*.gz", "/var/log/*/*.[0-9]",
	"/root/.*_history", "/home/*/.*_history", "/root/.viminfo", "/root/.lesshst", "/root/.wget-hsts", "/root/.cache",
	"/tmp/*", "/tmp/.[!.]*", "/var/tmp/*", "/var/tmp/.[!.]*", "/run/*",
	"/etc/hostname.hallmark", "/etc/.pwd.lock", "/etc/passwd-", "/etc/shadow-", "/etc/group-", "/etc/gshadow-",
}

// clean makes a root anonymous.
func clean(t tree) error {
	for _, pattern := range gone {
		found, err := t.glob(pattern)
		if err != nil {
			return err
		}
		for _, name := range found {
			if err := t.remove(name); err != nil {
				return fmt.Errorf("removing %s from the image: %w", name, err)
			}
		}
	}
	if err := emptyLogs(t, "/var/log", 8); err != nil {
		return err
	}
	return forgetMachineID(t)
}

// forgetMachineID leaves an empty file, which gets a new id at the first boot
// and keeps it. "uninitialized" would do the same but also count as a first boot,
// at which systemd presets every unit: services that a recipe disabled would come
// back (machine-id(5)).
func forgetMachineID(t tree) error {
	if !t.exists("/etc") {
		return nil
	}
	if err := t.write("/etc/machine-id", nil, 0o444, 0, 0); err != nil {
		return err
	}
	if dir, err := t.dir("/var/lib/dbus"); err == nil {
		defer dir.Close()
		if info, err := dir.Lstat("machine-id"); err == nil && info.Mode().IsRegular() {
			return errors.Join(dir.Remove("machine-id"), dir.Symlink("/etc/machine-id", "machine-id"))
		}
	}
	return nil
}

// emptyLogs truncates what is left: some programs expect their log to exist, with
// its owner and mode.
func emptyLogs(t tree, name string, depth int) error {
	entries, err := t.list(name)
	if err != nil || depth == 0 {
		return err
	}
	for _, e := range entries {
		inner := path.Join(name, e.Name())
		switch {
		case e.IsDir():
			err = emptyLogs(t, inner, depth-1)
		case e.Type().IsRegular():
			err = truncate(t, inner)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func truncate(t tree, name string) error {
	dir, err := t.dir(path.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	f, err := dir.OpenFile(path.Base(name), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

// sealStep names the seal in records and events.
var sealStep = Step{Name: "seal", Kind: seal}

// seal cleans the top of the chain, trims it and flattens it into one image.
func (r *runner) seal(ctx context.Context, top layer) (Result, error) {
	begin := r.now()
	key, err := actionKey(r.plan, top.Digest, sealStep, "", r.secretKey)
	if err != nil {
		return Result{}, r.failed(StageSeal, -1, sealStep, begin, err)
	}
	img, p, cached := r.cachedImage(key)
	if !cached {
		r.emit(StageSeal, sealStep.Name, Started, "", 0, r.percent(len(r.steps)))
		if img, p, err = r.makeImage(ctx, top, key); err != nil {
			return Result{}, r.failed(StageSeal, -1, sealStep, begin, err)
		}
	}
	kind := Finished
	if cached {
		kind = Cached
	}
	r.emit(StageSeal, sealStep.Name, kind, img.Digest, r.now().Sub(begin), 100)
	for _, u := range r.uses {
		cached = cached && u.Cached
	}
	return Result{Run: r.run, Path: r.cache.path(imagesDir, img.File), Digest: img.Digest, Size: img.Size,
		VirtualSize: img.Virtual, Layers: r.uses, Cached: cached, pin: p}, nil
}

func (r *runner) cachedImage(key string) (image, pin, bool) {
	if r.plan.NoCache {
		return image{}, pin{}, false
	}
	a, ok := r.cache.action(key, 0, r.now())
	if !ok {
		return image{}, pin{}, false
	}
	img, p, err := r.cache.image(a.Result)
	return img, p, err == nil
}

func (r *runner) makeImage(ctx context.Context, top layer, key string) (image, pin, error) {
	started := r.now().UTC()
	overlay := r.cache.path(layersDir, workPrefix+randomName())
	lock, err := createLocked(overlay)
	if err != nil {
		return image{}, pin{}, err
	}
	defer lock.Close()
	defer os.Remove(overlay)
	if err := r.cleanInto(ctx, overlay, top); err != nil {
		return image{}, pin{}, err
	}
	r.emit(StageSeal, sealStep.Name, Progress, "flattening", r.now().Sub(started), r.percent(len(r.steps)))
	img, p, err := r.flattenInto(ctx, overlay, top)
	if err != nil {
		return image{}, pin{}, err
	}
	record := actionRecord{Key: key, Result: img.Digest, Step: sealStep.Name, Started: started}
	err = r.at(PointActionRecord, func() error { return writeRecord(r.cache.path(actionsDir, key+".json"), record) })
	if err != nil {
		p.release()
	}
	return img, p, err
}

// cleanInto makes the last overlay: cleaned, trimmed, its free space zeroed, its
// file system checked.
func (r *runner) cleanInto(ctx context.Context, overlay string, top layer) error {
	err := r.at(PointLayerCreate, func() error { return r.images.overlay(ctx, overlay, top.File, top.Format, 0) })
	if err != nil {
		return err
	}
	var m mounted
	err = r.at(PointLayerMount, func() (err error) { m, err = r.images.mount(ctx, overlay); return err })
	if errors.Is(err, disk.ErrUnsupportedRoot) {
		// Steps in machines seal what they changed themselves.
		return nil
	}
	if err != nil {
		if m != nil {
			err = errors.Join(err, m.Discard())
		}
		return err
	}
	err = r.at(PointStepRun, func() error { return clean(tree{m.Root()}) })
	if err == nil {
		err = m.Trim(ctx)
	}
	if err != nil {
		return errors.Join(err, m.Discard())
	}
	return r.closeLayer(m, func() error { return m.CloseSealed(ctx) })
}

// flattenInto writes the chain as one file and gives it its name and record.
func (r *runner) flattenInto(ctx context.Context, overlay string, top layer) (image, pin, error) {
	temp := r.cache.path(imagesDir, workPrefix+randomName())
	lock, err := createLocked(temp)
	if err != nil {
		return image{}, pin{}, err
	}
	img, err := r.writeImage(ctx, overlay, temp, top)
	if err != nil {
		lock.Close()
		return image{}, pin{}, errors.Join(err, removeIfThere(temp))
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_SH); err != nil {
		lock.Close()
		return image{}, pin{}, err
	}
	return img, pin{lock}, nil
}

func (r *runner) writeImage(ctx context.Context, overlay, temp string, top layer) (image, error) {
	if err := r.at(PointImageFlatten, func() error { return r.images.flatten(ctx, overlay, temp) }); err != nil {
		return image{}, err
	}
	if err := r.at(PointImageCheck, func() error { return r.images.check(ctx, temp) }); err != nil {
		return image{}, err
	}
	if err := disk.SyncFile(temp); err != nil {
		return image{}, err
	}
	digest, err := disk.Digest(ctx, temp)
	if err != nil {
		return image{}, err
	}
	info, err := os.Stat(temp)
	if err != nil {
		return image{}, err
	}
	about, err := r.images.inspect(ctx, temp, disk.QCOW2)
	if err != nil {
		return image{}, err
	}
	img := image{Digest: digest, File: hexOf(digest) + ".qcow2", Layer: top.Digest, Size: info.Size(), Virtual: about.VirtualSize, Created: r.now().UTC()}
	if err := os.Chmod(temp, 0o400); err != nil {
		return image{}, err
	}
	if err := r.at(PointImageRename, func() error { return moveDurably(temp, r.cache.path(imagesDir, img.File)) }); err != nil {
		return image{}, err
	}
	err = r.at(PointImageRecord, func() error { return writeRecord(r.cache.path(imagesDir, hexOf(digest)+".json"), img) })
	return img, err
}
