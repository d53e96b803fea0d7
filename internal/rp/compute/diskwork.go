package compute

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

func (s *service) reconcileDisk(ctx context.Context, w *provider.Work) (time.Duration, error) {
	b, p := readDisk(w.Doc)
	if w.Doc.Deleting {
		return 0, s.removeDisk(ctx, w, p)
	}
	if w.Doc.State().Terminal() {
		return 0, nil
	}
	ctx, stop := interruptible(ctx, w)
	defer stop()
	size, err := s.makeDisk(ctx, w, b, &p)
	if errors.Is(context.Cause(ctx), errDeleting) {
		return 0, nil // the delete calls again
	}
	if err != nil {
		return 0, s.failDisk(ctx, w, p, err)
	}
	if p.Former != p.Source.Digest {
		s.release(ctx, w, p.Former)
	}
	return 0, w.Update(ctx, func(d *provider.Draft) {
		p.Stale, p.Former = "", ""
		d.SetPrivate(p)
		d.Unset(pathProgress)
		d.Set("properties.diskSizeBytes", size)
		d.Set("properties.diskSizeGB", gibFor(size))
		d.Succeed()
	})
}

// makeDisk brings the volume to what the document asks for and returns its size.
func (s *service) makeDisk(ctx context.Context, w *provider.Work, b diskBody, p *diskState) (int64, error) {
	if !p.Made {
		if err := s.makeVolume(ctx, w, b, p); err != nil {
			return 0, err
		}
	}
	if p.Stale != "" {
		if err := s.Volumes.Remove(ctx, p.Stale); err != nil {
			return 0, fmt.Errorf("removing the replaced volume: %w", err)
		}
	}
	size, err := s.Volumes.Size(ctx, s.Volumes.File(p.Volume))
	if err != nil {
		return 0, fmt.Errorf("measuring the volume: %w", err)
	}
	if wanted := b.Properties.DiskSizeGB * gib; wanted > size {
		if err := s.reserveDisk(ctx, w, p, wanted); err != nil {
			return 0, err
		}
		return wanted, s.growVolume(ctx, w.Store, b.ManagedBy, p.Volume, wanted)
	}
	return size, nil
}

func (s *service) makeVolume(ctx context.Context, w *provider.Work, b diskBody, p *diskState) error {
	return s.withBacking(ctx, w, p.Source, func(backing string) error {
		size := b.Properties.DiskSizeGB * gib
		if backing != "" {
			has, err := s.Volumes.Size(ctx, backing)
			if err != nil {
				return fmt.Errorf("measuring what the disk is made from: %w", err)
			}
			size = max(size, has)
		}
		if err := s.reserveDisk(ctx, w, p, size); err != nil {
			return err
		}
		if err := s.writeVolume(ctx, p, backing, size); err != nil {
			return fmt.Errorf("making the volume: %w", err)
		}
		p.Made, p.Error, p.Backing = true, nil, ""
		if p.Source.Digest != "" || p.Source.Platform != nil {
			p.Backing = backing
		}
		return nil
	})
}

func (s *service) writeVolume(ctx context.Context, p *diskState, backing string, size int64) error {
	switch {
	case p.Source.Disk != "" || p.Source.Blob != "":
		return s.Volumes.Copy(ctx, p.Volume, backing, size)
	case backing != "":
		return s.Volumes.Overlay(ctx, p.Volume, backing, size)
	}
	return s.Volumes.Empty(ctx, p.Volume, size)
}

// withBacking calls do with the file that a volume stands on or is copied from; "" for
// none.
func (s *service) withBacking(ctx context.Context, w *provider.Work, from source, do func(path string) error) error {
	var path string
	var err error
	switch {
	case from.Digest != "":
		err := s.Replicas.Use(ctx, w.Doc.Location, from.Digest, do)
		if errors.Is(err, ErrNotReplicated) {
			return notReplicated(imageIDOf(w.Doc), w.Doc.Location, err)
		}
		return err
	case from.Platform != nil:
		path, err = s.assemble(ctx, w, *from.Platform)
	case from.Disk != "":
		return s.withDisk(ctx, w, from.Disk, do)
	case from.Blob != "":
		path, err = s.Artifacts.Resolve(ctx, from.Blob)
	}
	if err != nil {
		return err
	}
	return do(path)
}

func imageIDOf(d *store.Document) string { return arm.GetString(d.Body, "properties.hallmark.imageId") }

// pathProgress says, on disks and machines, what goes on while they are made.
const pathProgress = "properties.hallmark.progress"

// assemble may take minutes at first use of a base; progress is shown on the disk.
func (s *service) assemble(ctx context.Context, w *provider.Work, p PlatformImage) (string, error) {
	path, err := s.Catalogue.Assemble(ctx, p, func(line string) {
		s.Log.InfoContext(ctx, "assembling a marketplace image", "disk", w.Doc.ID, "publisher", p.Publisher, "offer", p.Offer, "sku", p.SKU, "version", p.Version, "step", line)
		if err := w.Update(ctx, func(d *provider.Draft) { d.Set(pathProgress, line) }); err != nil {
			s.Log.DebugContext(ctx, "progress is not shown", "disk", w.Doc.ID, "error", err) // the result matters, not this
		}
	})
	if err != nil {
		return "", fmt.Errorf("assembling the marketplace image %s:%s:%s:%s: %w", p.Publisher, p.Offer, p.SKU, p.Version, err)
	}
	return path, nil
}

// withDisk calls do with a file that has another disk's bytes: its own, or, while a
// running machine writes to that, a copy from one moment. An image is not made of such:
// it would have been taken from a system in the midst of its work.
func (s *service) withDisk(ctx context.Context, w *provider.Work, id string, do func(path string) error) error {
	file, owner, machine, err := s.writtenBy(ctx, w.Store, id)
	if err != nil {
		return err
	}
	if machine == "" {
		return do(file)
	}
	if w.Doc.Type.Equal(TypeImage) {
		return arm.Conflict("OperationNotAllowed", id, "Disk %s is in use by the running machine %s. Stop the machine and generalize it first: an image is made of a system that has been shut down.", id, owner)
	}
	copied := uuid.NewString()
	defer s.dropCopy(ctx, w, copied)
	err = s.copyLive(ctx, w, machine, file, copied)
	switch {
	case err == nil:
		return do(s.Volumes.File(copied))
	case ctx.Err() == nil && !s.Machines.Running(machine):
		return do(file) // it has stopped meanwhile: nothing writes any more
	}
	return err
}

// copyLive copies a disk that a running machine has into a volume that no document names: if
// this process is killed, the sweep at the next start removes it.
func (s *service) copyLive(ctx context.Context, w *provider.Work, machine, file, volume string) error {
	size, err := s.Volumes.Size(ctx, file)
	if err != nil {
		return fmt.Errorf("measuring the disk: %w", err)
	}
	if err := s.room(ctx, w, size); err != nil {
		return err
	}
	err = s.Volumes.Fill(ctx, volume, size, func(target string) error { return s.Machines.CopyDisk(ctx, machine, file, target) })
	if err != nil {
		return fmt.Errorf("copying the disk while its machine runs: %w", err)
	}
	return nil
}

func (s *service) dropCopy(ctx context.Context, w *provider.Work, volume string) {
	if err := s.Volumes.Remove(context.WithoutCancel(ctx), volume); err != nil {
		s.Log.WarnContext(ctx, "a temporary copy of a disk stays until the next start", "of", w.Doc.ID, "volume", volume, "error", err)
	}
}

// writtenBy is another disk's file, and the machine that runs and has it; "" for none.
func (s *service) writtenBy(ctx context.Context, st store.Store, id string) (file, owner, machine string, err error) {
	parsed, err := arm.ParseID(id)
	if err != nil {
		return "", "", "", err
	}
	d, err := store.Get(ctx, st, parsed.Key())
	if errors.Is(err, store.ErrNotFound) {
		return "", "", "", arm.NotFound(parsed)
	}
	if err != nil {
		return "", "", "", err
	}
	b, p := readDisk(d)
	if !p.Made {
		return "", "", "", arm.Conflict("OperationNotAllowed", id, "Disk %s is not ready: its provisioning state is %s.", id, d.State())
	}
	if name, runs := s.runningOwner(ctx, st, b.ManagedBy); runs {
		machine = name
	}
	return s.Volumes.File(p.Volume), b.ManagedBy, machine, nil
}

// runningOwner is the machine that has a disk, if it runs.
func (s *service) runningOwner(ctx context.Context, st store.Store, vm string) (machine string, runs bool) {
	id, err := arm.ParseID(vm)
	if vm == "" || err != nil {
		return "", false
	}
	d, err := store.Get(ctx, st, id.Key())
	if err != nil {
		return "", false
	}
	_, p := readVM(d)
	return p.Machine, s.Machines.Running(p.Machine)
}

// growVolume goes through the machine where that has the file open.
func (s *service) growVolume(ctx context.Context, st store.Store, owner, volume string, size int64) error {
	if machine, runs := s.runningOwner(ctx, st, owner); runs {
		return s.Machines.GrowDisk(ctx, machine, s.Volumes.File(volume), size)
	}
	return s.Volumes.Grow(ctx, volume, size)
}

// Backings are the files that disks stand on, replicas and marketplace images: who
// keeps such files must not remove these.
func Backings(ctx context.Context, s store.Store) ([]string, error) {
	all, err := store.List(ctx, s, store.Query{Type: TypeDisk})
	if err != nil {
		return nil, fmt.Errorf("listing what disks stand on: %w", err)
	}
	var files []string
	for _, d := range all {
		if _, p := readDisk(d); p.Backing != "" {
			files = append(files, p.Backing)
		}
	}
	return files, nil
}

// reserveDisk records that the volume may grow to size bytes, unless the disk of the
// host cannot hold that beside what other volumes may still grow by.
func (s *service) reserveDisk(ctx context.Context, w *provider.Work, p *diskState, size int64) error {
	s.reserving.Lock()
	defer s.reserving.Unlock()
	if p.Reserved >= size {
		return nil
	}
	if err := s.room(ctx, w, size-s.Volumes.Allocated(p.Volume)); err != nil {
		return err
	}
	p.Reserved = size
	return w.Update(ctx, func(d *provider.Draft) { d.SetPrivate(p) })
}

// room refuses what the disk of the host cannot hold beside what other volumes may still
// grow by.
func (s *service) room(ctx context.Context, w *provider.Work, need int64) error {
	free, err := s.Volumes.Free()
	if err != nil {
		return fmt.Errorf("asking for free disk space: %w", err)
	}
	others, err := store.List(ctx, w.Store, store.Query{Type: TypeDisk})
	if err != nil {
		return err
	}
	var promised int64
	for _, d := range others {
		if _, o := readDisk(d); d.Key != w.Doc.Key {
			promised += max(0, o.Reserved-s.Volumes.Allocated(o.Volume))
		}
	}
	if need > free-promised {
		return arm.Conflict("AllocationFailed", w.Doc.ID, "Allocation failed: the disk needs %s, and %s of disk space are left (%s free, %s promised to other disks). Delete disks that nobody uses, or ask for a smaller one.",
			inGiB(need), inGiB(max(0, free-promised)), inGiB(free), inGiB(promised))
	}
	return nil
}

func inGiB(bytes int64) string { return fmt.Sprintf("%.1f GiB", float64(bytes)/float64(gib)) }

// failDisk ends a disk that cannot be made, unless the process is about to stop or
// the document has changed: then the next run goes on.
func (s *service) failDisk(ctx context.Context, w *provider.Work, p diskState, err error) error {
	e := asFailure(ctx, err, "InternalDiskManagementError")
	if e == nil {
		return err
	}
	p.Error, p.Reserved = e, 0
	if p.Made {
		p.Reserved = s.Volumes.Allocated(p.Volume)
	}
	return w.Update(ctx, func(d *provider.Draft) {
		d.SetPrivate(p)
		d.Unset(pathProgress)
		d.Fail(e)
	})
}

// asFailure turns an error into what the client is told, or nil if Reconcile should
// simply be called again: the process stops, or somebody else wrote first.
func asFailure(ctx context.Context, err error, code string) *arm.Error {
	var e *arm.Error
	switch {
	case ctx.Err() != nil, errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrClosed), errors.Is(err, store.ErrNotFound):
		return nil
	case errors.As(err, &e) && e.Status < 500:
		return e
	}
	return arm.Errorf(500, code, "%v", err)
}

func (s *service) removeDisk(ctx context.Context, w *provider.Work, p diskState) error {
	for _, volume := range []string{p.Volume, p.Stale} {
		if volume == "" {
			continue
		}
		if err := s.Volumes.Remove(ctx, volume); err != nil {
			return fmt.Errorf("removing the volume of %s: %w", w.Doc.ID, err)
		}
	}
	s.release(ctx, w, p.Source.Digest)
	return w.Remove(ctx)
}
