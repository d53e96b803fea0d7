package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hallmark.dev/hallmark/internal/disk"
)

// step answers the layer that a step makes of its parent, from the cache or by
// running it.
func (r *runner) step(ctx context.Context, i int, s Step, parent layer) (layer, error) {
	begin := r.now()
	content, err := contentDigest(ctx, s)
	if err != nil {
		return layer{}, r.failed(StageCustomize, i, s, begin, err)
	}
	key, err := actionKey(r.plan, parent.Digest, s, content, r.secretKey)
	if err != nil {
		return layer{}, r.failed(StageCustomize, i, s, begin, err)
	}
	if l, ok := r.cachedLayer(key); ok {
		r.finished(Cached, i, s, l, begin)
		return l, nil
	}
	r.emit(StageCustomize, s.Name, Started, r.mask(s.command()), 0, r.percent(i))
	l, err := r.make(ctx, i, s, parent, key, content)
	if err != nil {
		return layer{}, r.failed(StageCustomize, i, s, begin, err)
	}
	r.finished(Finished, i, s, l, begin)
	return l, nil
}

func (r *runner) finished(kind EventKind, i int, s Step, l layer, begin time.Time) {
	elapsed := r.now().Sub(begin)
	r.uses = append(r.uses, LayerUse{Step: s.Name, Digest: l.Digest, Cached: kind == Cached, Elapsed: elapsed})
	r.emit(StageCustomize, s.Name, kind, l.Digest, elapsed, r.percent(i+1))
}

// failed reports a failure as an event and as a StepError.
func (r *runner) failed(stage string, i int, s Step, begin time.Time, err error) error {
	var told *StepError
	if !errors.As(err, &told) {
		err = r.failure(stage, i, s, -1, "", "", err)
	}
	r.emit(stage, s.Name, Failed, err.Error(), r.now().Sub(begin), r.percent(i))
	return err
}

func (r *runner) cachedLayer(key string) (layer, bool) {
	if r.plan.NoCache {
		return layer{}, false
	}
	a, ok := r.cache.action(key, orDefault(r.plan.CacheMaxAge, DefaultCacheMaxAge), r.now())
	if !ok {
		return layer{}, false
	}
	l, pins, err := r.cache.layer(a.Result)
	if err != nil {
		return layer{}, false // pruned, or damaged: make it again
	}
	r.pins = append(r.pins, pins...)
	return l, true
}

// contentDigest is the digest of a File step's content, checked when the step
// says what it should be.
func contentDigest(ctx context.Context, s Step) (string, error) {
	if s.Kind != File {
		return "", nil
	}
	got := sum(s.Content)
	if s.Source != "" {
		d, err := disk.Digest(ctx, s.Source)
		if err != nil {
			return "", err
		}
		got = hexOf(d)
	}
	if s.SHA256 != "" && !strings.EqualFold(got, s.SHA256) {
		return "", fmt.Errorf("the file for %s has SHA-256 %s, not %s", s.Dest, got, s.SHA256)
	}
	return got, nil
}

// make runs a step on a new overlay and records what came of it.
func (r *runner) make(ctx context.Context, i int, s Step, parent layer, key, content string) (layer, error) {
	started := r.now().UTC()
	name := workPrefix + randomName()
	path := r.cache.path(layersDir, name)
	lock, err := createLocked(path)
	if err != nil {
		return layer{}, err
	}
	r.work = lock
	r.pins = append(r.pins, pin{lock}) // held until the run ends
	if err := r.fill(ctx, i, s, parent, path, content); err != nil {
		return layer{}, errors.Join(err, removeIfThere(path))
	}
	l, err := r.adopt(ctx, path, parent, s.Name)
	if err != nil {
		return layer{}, errors.Join(err, removeIfThere(path))
	}
	record := actionRecord{Key: key, Result: l.Digest, Step: s.Name, Network: s.UsesNetwork(), Started: started}
	err = r.at(PointActionRecord, func() error { return writeRecord(r.cache.path(actionsDir, key+".json"), record) })
	return l, err
}

// fill makes the overlay at path and lets the step write to it.
func (r *runner) fill(ctx context.Context, i int, s Step, parent layer, path, content string) error {
	size := int64(0)
	if s.Kind == grow {
		size = int64(r.plan.OSDiskSizeGB) << 30
		if size < parent.Virtual {
			return fmt.Errorf("osDiskSizeGB %d is less than the base image's %d bytes", r.plan.OSDiskSizeGB, parent.Virtual)
		}
	}
	err := r.at(PointLayerCreate, func() error { return r.images.overlay(ctx, path, parent.File, parent.Format, size) })
	if err != nil {
		return err
	}
	switch {
	case s.Kind == grow:
		return r.at(PointStepRun, func() error { return r.images.grow(ctx, path) })
	case s.Isolation == InVM:
		return r.inMachine(ctx, i, s, parent, path, content)
	}
	err = r.inRoot(ctx, i, s, parent, path, content)
	if !errors.Is(err, errBootChanged) {
		return err
	}
	if r.VM == nil {
		return fmt.Errorf("%w: %w", ErrNeedsVM, err)
	}
	r.emit(StageCustomize, s.Name, Progress, "the step changes /boot of an image with its own boot loader: running it again in a machine", 0, r.percent(i))
	if err := r.images.overlay(ctx, path, parent.File, parent.Format, size); err != nil {
		return err
	}
	return r.inMachine(ctx, i, s, parent, path, content)
}

// errBootChanged means that a step changed what a foreign image boots from; its
// boot loader's tools need a machine (grub-probe fails on a loop device).
var errBootChanged = errors.New("the step changes /boot of an image that boots by its own boot loader")

// inRoot runs a step on the mounted root.
func (r *runner) inRoot(ctx context.Context, i int, s Step, parent layer, path, content string) error {
	var m mounted
	err := r.at(PointLayerMount, func() (err error) { m, err = r.images.mount(ctx, path); return err })
	if err != nil {
		if m != nil {
			err = errors.Join(err, m.Discard())
		}
		if errors.Is(err, disk.ErrUnsupportedRoot) {
			return fmt.Errorf("%w: %w", ErrNeedsVM, err)
		}
		return err
	}
	boot := r.bootState(m)
	log, err := r.openLog(i, s)
	if err != nil {
		return errors.Join(err, m.Discard())
	}
	code := -1
	err = r.at(PointStepRun, func() (err error) { code, err = r.execute(ctx, s, m, log, content); return err })
	if logErr := log.Close(); err == nil {
		err = logErr
	}
	if err == nil && !validExit(s, code) {
		err = fmt.Errorf("it exited with %d", code)
	}
	if err != nil {
		return r.keepMounted(ctx, i, s, code, parent, path, m, log, err)
	}
	if r.bootState(m) != boot {
		return errors.Join(errBootChanged, m.Discard())
	}
	return r.closeLayer(m, m.Close)
}

// closeLayer finishes a mount; when that fails, nothing of it may stay.
func (r *runner) closeLayer(m mounted, closing func() error) error {
	if err := r.at(PointLayerClose, closing); err != nil {
		return errors.Join(err, m.Discard())
	}
	return nil
}

// bootState describes /boot of a foreign image, "" for others.
func (r *runner) bootState(m mounted) string {
	if !r.plan.Base.Foreign {
		return ""
	}
	var b strings.Builder
	t := tree{m.Root()}
	for _, pattern := range []string{"/boot/*", "/boot/*/*", "/boot/*/*/*"} {
		found, _ := t.glob(pattern)
		for _, name := range found {
			if fd, err := t.open(name, unix.O_PATH|unix.O_NOFOLLOW); err == nil {
				var st unix.Stat_t
				unix.Fstat(fd, &st)
				unix.Close(fd)
				fmt.Fprintln(&b, name, st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano())
			}
		}
	}
	return b.String()
}

func validExit(s Step, code int) bool {
	if len(s.ValidExitCodes) == 0 {
		return code == 0
	}
	for _, v := range s.ValidExitCodes {
		if v == code {
			return true
		}
	}
	return false
}

func (r *runner) inMachine(ctx context.Context, i int, s Step, parent layer, path, content string) error {
	if r.VM == nil {
		return fmt.Errorf("%w: no runner for machines is configured", ErrNeedsVM)
	}
	step, err := r.vmStep(s, path, content)
	if err != nil {
		return err
	}
	log, err := r.openLog(i, s)
	if err != nil {
		return err
	}
	step.Output = log
	code := -1
	err = r.at(PointStepRun, func() (err error) { code, err = r.VM.RunStep(ctx, step); return err })
	if logErr := log.Close(); err == nil {
		err = logErr
	}
	if err == nil && !validExit(s, code) {
		err = fmt.Errorf("it exited with %d", code)
	}
	if err != nil {
		failure := r.failure(StageCustomize, i, s, code, log.tail(), log.path, err)
		if r.cancelled(ctx) {
			return failure
		}
		return r.keepFailed(ctx, s, parent, path, failure)
	}
	return disk.SyncFile(path)
}

// adopt turns a finished overlay into a layer: checked, digested, named by its
// digest, recorded. Its bytes are on disk already.
func (r *runner) adopt(ctx context.Context, path string, parent layer, step string) (layer, error) {
	if err := r.at(PointLayerCheck, func() error { return r.images.check(ctx, path) }); err != nil {
		return layer{}, err
	}
	info, err := r.images.inspect(ctx, path, disk.QCOW2)
	if err != nil {
		return layer{}, err
	}
	digest, err := disk.Digest(ctx, path)
	if err != nil {
		return layer{}, err
	}
	l := layer{Digest: digest, File: hexOf(digest) + ".qcow2", Format: disk.QCOW2, Parent: parent.Digest,
		Virtual: info.VirtualSize, Created: r.now().UTC(), Step: step}
	if err := r.at(PointLayerRename, func() error { return moveDurably(path, r.cache.path(layersDir, l.File)) }); err != nil {
		return layer{}, err
	}
	err = r.at(PointLayerRecord, func() error { return writeRecord(r.cache.path(layersDir, hexOf(digest)+".json"), l) })
	if err == nil && r.work != nil {
		err = unix.Flock(int(r.work.Fd()), unix.LOCK_SH) // other builds may stand on it now
	}
	return l, err
}

// failure makes a StepError, with the reason that a person can act on in front.
func (r *runner) failure(stage string, i int, s Step, code int, output, logFile string, err error) *StepError {
	switch {
	case r.hostIsFull():
		err = fmt.Errorf("%w: %w", ErrHostFull, err)
	case strings.Contains(output, "No space left on device") && !errors.Is(err, ErrDiskFull):
		err = fmt.Errorf("%w: %w", ErrDiskFull, err)
	}
	index := i
	if i >= 0 && len(r.steps) > len(r.plan.Steps) {
		index-- // our own first step
	}
	return &StepError{Run: r.run, Stage: stage, Step: s.Name, Index: index, Command: shorten(r.mask(s.command()), 400),
		ExitCode: code, Output: output, LogFile: logFile, Hint: hint(err), Err: err}
}

// hostReserve is how little free space counts as none.
const hostReserve = 32 << 20

func (r *runner) hostIsFull() bool {
	var s unix.Statfs_t
	return unix.Statfs(r.cache.dir, &s) == nil && int64(s.Bavail)*s.Bsize < hostReserve
}

func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}

// failedState is what Shell needs to enter the state that a failed step left.
type failedState struct {
	Run     string            `json:"run"`
	PlanID  string            `json:"planId"`
	Step    string            `json:"step"`
	File    string            `json:"file"` // name in layersDir
	Parent  string            `json:"parent"`
	Env     map[string]string `json:"env"`
	Created time.Time         `json:"created"`
}

// keepMounted keeps the state of a step that failed on the mounted root.
func (r *runner) keepMounted(ctx context.Context, i int, s Step, code int, parent layer, path string, m mounted, log *stepLog, err error) error {
	if free, freeErr := m.Free(); freeErr == nil && free < 1<<20 {
		err = fmt.Errorf("%w: %w", ErrDiskFull, err)
	}
	failure := r.failure(StageCustomize, i, s, code, log.tail(), log.path, err)
	if r.cancelled(ctx) {
		return errors.Join(failure, m.Discard())
	}
	if closeErr := m.Close(); closeErr != nil { // then there is nothing worth keeping
		failure.Err = errors.Join(failure.Err, closeErr, m.Discard())
		return failure
	}
	return r.keepFailed(ctx, s, parent, path, failure)
}

// cancelled: somebody stopped the build, and wants nothing of it.
func (r *runner) cancelled(ctx context.Context) bool {
	return ctx.Err() != nil && !errors.Is(context.Cause(ctx), ErrTimeout)
}

// keepFailed puts the overlay of a failed step aside and calls the hook.
func (r *runner) keepFailed(ctx context.Context, s Step, parent layer, path string, failure *StepError) error {
	state := failedState{Run: r.run, PlanID: r.plan.ID, Step: s.Name, File: failedPrefix + r.run + ".qcow2", Parent: parent.Digest,
		Env: environment(r.plan, s), Created: r.now().UTC()}
	keepErr := r.at(PointFailedKeep, func() error { return moveDurably(path, r.cache.path(layersDir, state.File)) })
	if keepErr == nil {
		keepErr = r.at(PointFailedRecord, func() error { return writeRecord(r.cache.path(failedDir, r.run+".json"), state) })
	}
	if keepErr != nil {
		return errors.Join(failure, keepErr)
	}
	failure.Hint = hintKept(failure.Err, r.run)
	r.work.Close() // Shell takes the lock
	if r.plan.ShellOnFailure && r.OnFailure != nil {
		r.OnFailure(ctx, r.run, failure)
	}
	return failure
}

// dropFailed removes the failed states of earlier runs of the same recipe.
func (r *runner) dropFailed() error {
	entries, err := r.cachedFailures()
	if err != nil {
		return err
	}
	for _, e := range entries {
		var f failedState
		if readJSON(e.record, &f) != nil || (f.PlanID != r.plan.ID && f.Run != r.run) {
			continue
		}
		if err := r.removeEntry(e); err != nil && !errors.Is(err, ErrInUse) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

var _ io.Writer = (*stepLog)(nil)

func (r *runner) openLog(i int, s Step) (*stepLog, error) {
	path := fmt.Sprintf("%s/%02d-%s.log", r.logs, i+1, orName(fileName(s.Name)))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	l := &stepLog{path: path, file: f, line: func(line string) { r.emit(StageCustomize, s.Name, Log, line, 0, r.percent(i)) }}
	l.mask = newMasker(writerFunc(l.plain), r.hidden())
	return l, nil
}

func orName(s string) string {
	if s == "" {
		return "step"
	}
	return s
}
