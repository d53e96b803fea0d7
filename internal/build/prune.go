package build

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

type unixStat = syscall.Stat_t

// CacheEntry is one thing that the cache keeps.
type CacheEntry struct {
	Kind   string    `json:"kind"` // base, layer, image, failed
	Digest string    `json:"digest,omitempty"`
	Run    string    `json:"run,omitempty"` // of a failed state
	Step   string    `json:"step,omitempty"`
	Parent string    `json:"parent,omitempty"`
	Size   int64     `json:"size"` // bytes that it occupies on disk
	Used   time.Time `json:"used"`
	InUse  bool      `json:"inUse"`

	file, record string
}

// PruneOptions choose what goes: the least recently used first, until what stays
// fits MaxBytes; and whatever was not used for MaxAge. Zero means no such limit.
type PruneOptions struct {
	MaxBytes int64
	MaxAge   time.Duration
	All      bool // everything that is not in use
}

// Cache lists what the cache keeps, the most recently used first.
func (b *Builder) Cache(ctx context.Context) ([]CacheEntry, error) {
	var all []CacheEntry
	for _, list := range []func() ([]CacheEntry, error){b.cachedLayers, b.cachedImages, b.cachedFailures} {
		entries, err := list()
		if err != nil {
			return nil, err
		}
		all = append(all, entries...)
	}
	slices.SortStableFunc(all, func(a, b CacheEntry) int { return b.Used.Compare(a.Used) })
	return all, ctx.Err()
}

func (b *Builder) cachedLayers() ([]CacheEntry, error) {
	return eachRecord(b.cache.path(layersDir), func(record string, l layer) CacheEntry {
		kind := "layer"
		if l.Parent == "" {
			kind = "base"
		}
		return CacheEntry{Kind: kind, Digest: l.Digest, Parent: l.Parent, Step: l.Step, file: b.cache.path(layersDir, l.File), record: record}
	})
}

func (b *Builder) cachedImages() ([]CacheEntry, error) {
	return eachRecord(b.cache.path(imagesDir), func(record string, i image) CacheEntry {
		return CacheEntry{Kind: "image", Digest: i.Digest, file: b.cache.path(imagesDir, i.File), record: record}
	})
}

func (b *Builder) cachedFailures() ([]CacheEntry, error) {
	return eachRecord(b.cache.path(failedDir), func(record string, f failedState) CacheEntry {
		return CacheEntry{Kind: "failed", Run: f.Run, Step: f.Step, Parent: f.Parent, file: b.cache.path(layersDir, f.File), record: record}
	})
}

// eachRecord reads the JSON files of a directory; one that is unreadable is left
// to Sweep.
func eachRecord[T any](dir string, entry func(record string, v T) CacheEntry) ([]CacheEntry, error) {
	records, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var out []CacheEntry
	for _, path := range records {
		var v T
		info, statErr := os.Stat(path)
		if statErr != nil || readJSON(path, &v) != nil {
			continue
		}
		e := entry(path, v)
		e.Used, e.Size = info.ModTime(), allocated(e.file)
		e.InUse = isLocked(e.file)
		out = append(out, e)
	}
	return out, nil
}

// allocated is how much pruning a file would free: nothing while another name
// for it exists.
func allocated(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	s, ok := info.Sys().(*unixStat)
	if !ok || s.Nlink > 1 {
		return 0
	}
	return s.Blocks * 512
}

func isLocked(path string) bool {
	f, err := lockFile(path)
	if err != nil {
		return errors.Is(err, ErrInUse)
	}
	f.Close()
	return false
}

// lockFile takes a file for oneself, or fails with ErrInUse.
func lockFile(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, ErrInUse
	}
	return f, nil
}

// Prune removes what the options choose and answers what it removed. Whatever is
// in use, or is a parent of something that stays, stays.
func (b *Builder) Prune(ctx context.Context, o PruneOptions) ([]CacheEntry, error) {
	entries, err := b.Cache(ctx)
	if err != nil {
		return nil, err
	}
	var removed []CacheEntry
	total := int64(0)
	for _, e := range entries {
		total += e.Size
	}
	for {
		i := nextToPrune(entries, o, total, b.now())
		if i < 0 {
			return removed, b.pruneActions()
		}
		e := entries[i]
		entries = slices.Delete(entries, i, i+1)
		switch err := b.removeEntry(e); {
		case errors.Is(err, ErrInUse):
			e.InUse = true // its parents must stay, too
			entries = append(entries, e)
		case err != nil:
			return removed, err
		default:
			removed, total = append(removed, e), total-e.Size
		}
	}
}

// nextToPrune picks the least recently used entry that nothing needs, or -1.
// Failed states go before layers: nobody builds on them.
func nextToPrune(entries []CacheEntry, o PruneOptions, total int64, now time.Time) int {
	needed := map[string]bool{}
	for _, e := range entries {
		needed[e.Parent] = true
	}
	best := -1
	for i, e := range entries {
		tooOld := o.MaxAge > 0 && now.Sub(e.Used) > o.MaxAge
		tooMuch := o.MaxBytes > 0 && total > o.MaxBytes
		if e.InUse || (e.Digest != "" && e.Kind != "image" && needed[e.Digest]) || !(o.All || tooOld || tooMuch) {
			continue
		}
		if best < 0 || pruneOrder(e, entries[best]) < 0 {
			best = i
		}
	}
	return best
}

func pruneOrder(a, b CacheEntry) int {
	failedFirst := func(e CacheEntry) int {
		if e.Kind == "failed" {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(failedFirst(a), failedFirst(b)), a.Used.Compare(b.Used), cmp.Compare(a.record, b.record))
}

// removeEntry takes the record away first: a file without one does not count
// and is swept.
func (b *Builder) removeEntry(e CacheEntry) error {
	lock, err := lockFile(e.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if lock != nil {
		defer lock.Close()
	}
	if err := b.at(PointPruneRecord, func() error { return os.Remove(e.record) }); err != nil {
		return err
	}
	return b.at(PointPruneFile, func() error { return removeIfThere(e.file) })
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// pruneActions drops actions whose result is gone.
func (b *Builder) pruneActions() error {
	records, err := filepath.Glob(b.cache.path(actionsDir, "*.json"))
	if err != nil {
		return err
	}
	for _, path := range records {
		var a actionRecord
		if readJSON(path, &a) == nil && b.resultExists(a.Result) {
			continue
		}
		if err := removeIfThere(path); err != nil {
			return err
		}
	}
	return nil
}

func (b *Builder) resultExists(digest string) bool {
	for _, dir := range []string{layersDir, imagesDir} {
		if _, err := os.Stat(b.cache.path(dir, hexOf(digest)+".json")); err == nil {
			return true
		}
	}
	return false
}

// Sweep cleans up after builds that were killed: what they mounted and started,
// their unfinished files, files that were never recorded. What belongs to a
// living build is left alone. It answers what it did, one line each.
func (b *Builder) Sweep(ctx context.Context) ([]string, error) {
	done, err := b.images.sweep()
	if err != nil {
		return done, err
	}
	for _, dir := range []string{layersDir, imagesDir, actionsDir, failedDir, "."} {
		removed, err := b.sweepFiles(b.cache.path(dir))
		if done = append(done, removed...); err != nil {
			return done, err
		}
	}
	return done, ctx.Err()
}

func (b *Builder) sweepFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var done []string
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if !e.Type().IsRegular() || !b.isLitter(dir, e.Name()) {
			continue
		}
		lock, err := lockFile(path)
		if err != nil { // somebody works on it, or it is gone
			continue
		}
		// Its owner may have recorded it between our look and our lock.
		if b.isLitter(dir, e.Name()) {
			err = removeIfThere(path)
			done = append(done, "file "+path)
		}
		if lock.Close(); err != nil {
			return done, err
		}
	}
	return done, nil
}

// isLitter tells whether a file is unfinished or has no record.
func (b *Builder) isLitter(dir, name string) bool {
	if run, ok := strings.CutPrefix(name, failedPrefix); ok {
		_, err := os.Stat(b.cache.path(failedDir, strings.TrimSuffix(run, ".qcow2")+".json"))
		return errors.Is(err, fs.ErrNotExist)
	}
	if strings.HasPrefix(name, workPrefix) {
		return true
	}
	stem, isImage := strings.TrimSuffix(name, filepath.Ext(name)), filepath.Ext(name) == ".qcow2" || filepath.Ext(name) == ".raw"
	if !isImage {
		return false
	}
	_, err := os.Stat(filepath.Join(dir, stem+".json"))
	return errors.Is(err, fs.ErrNotExist)
}
