package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"hallmark.dev/hallmark/internal/disk"
)

// Result is a finished build.
type Result struct {
	Run         string
	Path        string // a standalone qcow2 that nobody may write to
	Digest      string // of the file's bytes
	Size        int64  // of the file in bytes
	VirtualSize int64
	Layers      []LayerUse
	Cached      bool // nothing had to run

	pin pin
}

// LayerUse says where a step's result came from.
type LayerUse struct {
	Step    string
	Digest  string
	Cached  bool
	Elapsed time.Duration
}

// Release lets the cache prune the file at Path. Call it once the bytes are
// somewhere else.
func (r Result) Release() { r.pin.release() }

// runner is one run of a plan.
type runner struct {
	*Builder
	run     string
	plan    Plan
	sink    func(Event)
	pins    []pin
	work    *os.File // the overlay being written, locked
	net     NetworkNamespace
	uses    []LayerUse
	steps   []Step // the plan's, with our own around them
	logs    string
	started time.Time
}

// Build runs a plan and answers the sealed image. run names the run and is a
// file name; events go to sink, which may be nil. A failed step comes back as a
// *StepError; its state is kept for Shell, and the layers before it are reused by
// the next build. When ctx ends, everything is cleaned up.
func (b *Builder) Build(ctx context.Context, run string, plan Plan, sink func(Event)) (Result, error) {
	if !nameShape.MatchString(run) {
		return Result{}, fmt.Errorf("run %q is not a file name of letters, digits, dots, dashes", run)
	}
	if err := plan.Validate(); err != nil {
		return Result{}, fmt.Errorf("invalid plan: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, orDefault(plan.Timeout, DefaultTimeout), fmt.Errorf("the build %w", ErrTimeout))
	defer cancel()
	r := b.newRunner(run, plan, sink)
	if err := os.MkdirAll(r.logs, 0o700); err != nil {
		return Result{}, err
	}
	result, err := r.all(ctx)
	if closeErr := r.close(); err == nil && closeErr != nil {
		result.Release()
		return Result{}, closeErr
	}
	if err == nil && b.CacheLimit > 0 {
		_, err = b.Prune(ctx, PruneOptions{MaxBytes: b.CacheLimit})
	}
	return result, err
}

func (b *Builder) newRunner(run string, plan Plan, sink func(Event)) *runner {
	if sink == nil {
		sink = func(Event) {}
	}
	r := &runner{Builder: b, run: run, plan: plan, sink: sink, logs: b.cache.path(runsDir, run), started: b.now()}
	if plan.OSDiskSizeGB > 0 {
		r.steps = append(r.steps, Step{Name: "grow the disk", Kind: grow})
	}
	r.steps = append(r.steps, plan.Steps...)
	return r
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

func (r *runner) all(ctx context.Context) (Result, error) {
	if err := r.dropFailed(); err != nil {
		return Result{}, err
	}
	at, err := r.base(ctx)
	if err != nil {
		return Result{}, err
	}
	for i, s := range r.steps {
		if at, err = r.step(ctx, i, s, at); err != nil {
			return Result{}, err
		}
	}
	return r.seal(ctx, at)
}

func (r *runner) close() error {
	releaseAll(r.pins)
	if r.net == nil {
		return nil
	}
	if err := r.net.Close(); err != nil {
		return fmt.Errorf("taking the steps' network down: %w", err)
	}
	return nil
}

func (r *runner) emit(stage, step string, kind EventKind, message string, elapsed time.Duration, percent int) {
	r.sink(Event{Time: r.now().UTC(), Run: r.run, Stage: stage, Step: step, Kind: kind, Message: message, Elapsed: elapsed, Percent: percent})
}

// percent is how far a build is before step i; the base and the seal count as
// one step each.
func (r *runner) percent(i int) int { return 100 * (i + 1) / (len(r.steps) + 2) }

// base admits the base image: its digest is checked, and it gets a name in the
// store, so that layers can name it by digest.
func (r *runner) base(ctx context.Context) (layer, error) {
	begin := r.now()
	r.emit(StageBase, "", Started, r.plan.Base.Path, 0, 0)
	l, known, err := r.admitBase(ctx)
	if err != nil {
		err = r.failure(StageBase, -1, Step{Name: "base image"}, -1, "", "", err)
		r.emit(StageBase, "", Failed, err.Error(), r.now().Sub(begin), 0)
		return layer{}, err
	}
	kind := Finished
	if known {
		kind = Cached
	}
	r.emit(StageBase, "", kind, l.Digest, r.now().Sub(begin), r.percent(0))
	return l, nil
}

func (r *runner) admitBase(ctx context.Context) (layer, bool, error) {
	base := r.plan.Base
	info, err := os.Stat(base.Path)
	if err != nil {
		return layer{}, false, err
	}
	if base.Size > 0 && info.Size() != base.Size {
		return layer{}, false, fmt.Errorf("%w: %s has %d bytes, not %d", ErrBaseDigest, base.Path, info.Size(), base.Size)
	}
	stamp := stampOf(info)
	l, pins, err := r.cache.layer(base.Digest)
	if err == nil {
		r.pins = append(r.pins, pins...)
		if l.Source != nil && *l.Source == stamp {
			return l, true, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return layer{}, false, err
	}
	got, digestErr := disk.Digest(ctx, base.Path)
	if digestErr != nil {
		return layer{}, false, digestErr
	}
	if got != base.Digest {
		return layer{}, false, fmt.Errorf("%w: %s has %s, not %s", ErrBaseDigest, base.Path, got, base.Digest)
	}
	if err == nil { // the same bytes in another file
		return l, true, nil
	}
	l, err = r.addBase(ctx, stamp)
	return l, false, err
}

func (r *runner) addBase(ctx context.Context, stamp fileStamp) (layer, error) {
	base := r.plan.Base
	info, err := r.images.inspect(ctx, base.Path, base.Format)
	if err != nil {
		return layer{}, err
	}
	if info.Backing != "" || info.DataFile != "" {
		return layer{}, fmt.Errorf("%s: %w", base.Path, disk.ErrLinked)
	}
	l := layer{Digest: base.Digest, File: hexOf(base.Digest) + "." + string(base.Format), Format: base.Format,
		Virtual: info.VirtualSize, Created: r.now().UTC(), Source: &stamp}
	if err := r.at(PointBaseLink, func() error { return r.linkBase(ctx, l.File) }); err != nil {
		return layer{}, err
	}
	err = r.at(PointBaseRecord, func() error { return writeRecord(r.cache.path(layersDir, hexOf(l.Digest)+".json"), l) })
	return l, err
}

// linkBase gives the base a second name: its bytes stay as long as layers stand
// on them. Across file systems it is copied. Either way the file is pinned before
// it has that name, because Sweep takes files without a record.
func (r *runner) linkBase(ctx context.Context, name string) error {
	to := r.cache.path(layersDir, name)
	source, err := filepath.EvalSymlinks(r.plan.Base.Path)
	if err != nil {
		return err
	}
	if err := removeIfThere(to); err != nil { // left by a crash: it has no record
		return err
	}
	p, err := pinFile(source)
	if err != nil {
		return err
	}
	r.pins = append(r.pins, p)
	if err := os.Link(source, to); err == nil {
		return disk.SyncFile(filepath.Dir(to))
	}
	return r.copyBase(ctx, source, to)
}

func (r *runner) copyBase(ctx context.Context, source, to string) error {
	temp := r.cache.path(layersDir, workPrefix+randomName())
	lock, err := createLocked(temp)
	if err != nil {
		return err
	}
	r.pins = append(r.pins, pin{lock})
	if err := disk.Copy(ctx, source, temp); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if got, err := disk.Digest(ctx, temp); err != nil || got != r.plan.Base.Digest {
		return errors.Join(err, os.Remove(temp), fmt.Errorf("%w: it changed while it was copied", ErrBaseDigest))
	}
	return moveDurably(temp, to)
}
