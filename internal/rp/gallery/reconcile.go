package gallery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/controller"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// ErrInUse is what Regions.Remove wraps when a replica has users.
var ErrInUse = errors.New("the replica is in use")

// publication is one call of Reconcile on one version.
type publication struct {
	*service
	w    *provider.Work
	body versionBody

	mu   sync.Mutex // engines report progress from goroutines of their own
	st   state
	lost error // a record that could not be written: decide anew
}

// reconcileVersion drives a version to: bytes stored, a replica in each target
// region, none elsewhere. Each step is recorded before it is begun, or can be found
// again by the digest.
func (s *service) reconcileVersion(ctx context.Context, w *provider.Work) (time.Duration, error) {
	st, err := readState(w.Doc)
	if err != nil {
		return 0, err
	}
	p := &publication{service: s, w: w, st: st}
	if w.Doc.Deleting {
		return p.remove(ctx)
	}
	if p.body, err = readVersion(w.Doc); err != nil {
		return 0, err
	}
	work, done := untilDeleted(ctx, w)
	defer done()
	again, err := p.drive(work)
	if work.Err() != nil { // deleted, or the process stops: the next call goes on
		return 0, nil
	}
	return again, err
}

var errDeleted = errors.New("the version is being deleted")

// untilDeleted is a context that ends as soon as somebody deletes the document, so
// that a long copy does not hold a delete up.
func untilDeleted(ctx context.Context, w *provider.Work) (context.Context, func()) {
	work, cancel := context.WithCancelCause(ctx)
	key, changed := w.Doc.Key, controller.Changed(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-work.Done():
				return
			case <-changed:
			}
			d, err := store.Get(work, w.Store, key)
			if errors.Is(err, store.ErrNotFound) || (err == nil && d.Deleting) {
				cancel(errDeleted)
			}
		}
	})
	return work, func() { cancel(nil); watching.Wait() }
}

func (p *publication) drive(ctx context.Context) (time.Duration, error) {
	if p.w.Doc.State() == arm.StateFailed && p.st.Export == "" {
		return 0, nil // a new write tries again
	}
	var refused *arm.Error
	switch err := p.publish(ctx); {
	case errors.As(err, &refused):
		return 0, p.update(ctx, func(d *provider.Draft) { d.Fail(refused) })
	case err != nil:
		return 0, err
	}
	if err := p.succeed(ctx); err != nil {
		return 0, err
	}
	if err := p.export(ctx); err != nil {
		return 0, err
	}
	return p.withdraw(ctx)
}

// publish stores the bytes and makes the replicas. An *arm.Error is final; any other
// error is worth another try.
func (p *publication) publish(ctx context.Context) error {
	if p.st.Image == nil {
		if err := p.take(ctx); err != nil {
			return err
		}
	}
	var failures []string
	for _, t := range p.body.targets() {
		err := p.replicate(ctx, t.location())
		if stop := p.interrupted(ctx); stop != nil {
			return stop
		}
		if err != nil {
			failures = append(failures, fmt.Sprintf("%s: %v", t.Name, err))
		}
	}
	if len(failures) == 0 {
		return nil
	}
	err := fmt.Errorf("replication failed: %s", strings.Join(failures, "; "))
	if p.w.Doc.State().Terminal() {
		return err // a published version whose replica got lost is mended, not failed
	}
	return arm.Errorf(500, "ReplicationFailed", "The image version was not replicated to all its regions. Replication failed in %s. Mend the cause and PUT the version again; what is ready is kept.",
		strings.Join(failures, "; ")).At(p.w.Doc.ID)
}

// take finds the source's bytes and stores them in the version's own location.
func (p *publication) take(ctx context.Context) error {
	src, err := p.find(ctx, p.w.Client, p.body.Properties.StorageProfile)
	if err != nil {
		return err
	}
	if src.digest != "" {
		found, err := p.Bytes.Stat(ctx, src.digest)
		if err != nil {
			return fmt.Errorf("looking for the bytes of %s: %w", src.id, err)
		}
		return p.record(ctx, found)
	}
	file, _, err := p.Artifacts.Resolve(src.uri)
	if err != nil {
		return err
	}
	home := p.w.Doc.Location
	if err := p.set(ctx, home, replica{State: replicating}); err != nil {
		return err
	}
	err = p.Bytes.Ingest(ctx, home, file, p.record, func(percent int) { p.report(ctx, home, percent/2) })
	if stop := p.interrupted(ctx); err == nil || stop != nil {
		return stop
	}
	if serr := p.set(ctx, home, replica{State: failed, Details: err.Error()}); serr != nil {
		return serr
	}
	return arm.Errorf(500, "ImageNotReadable", "The bytes of '%s' could not be taken in: %v. Mend the cause and PUT the version again.", src.id, err).At("properties.storageProfile").Because(err)
}

// record writes down which bytes the version has, for Reconcile and for clients.
func (p *publication) record(ctx context.Context, i Image) error {
	p.mu.Lock()
	p.st.Image = &i
	p.mu.Unlock()
	return p.update(ctx, func(d *provider.Draft) {
		d.Set("properties.hallmark", i)
		d.Set("properties.storageProfile.osDiskImage.sizeInGB", (i.VirtualSize+1<<30-1)>>30)
	})
}

// replicate makes the replica in one region, unless it is there.
func (p *publication) replicate(ctx context.Context, location string) error {
	before := p.region(location)
	ready, err := p.Regions.Ready(ctx, location, p.st.Image.Digest)
	if err == nil && ready && before.State == completed {
		return nil
	}
	if err == nil {
		err = p.makeReplica(ctx, location, before)
	}
	if stop := p.interrupted(ctx); err == nil || stop != nil {
		return stop
	}
	before.State, before.Details = failed, err.Error()
	if serr := p.set(ctx, location, before); serr != nil {
		return serr
	}
	return err
}

func (p *publication) makeReplica(ctx context.Context, location string, before replica) error {
	start := 0
	if before.State == replicating {
		start = before.Progress // the first half was taking the bytes in
	}
	// A replica that has to be made again is not announced each time it fails:
	// every change of the document is a reason to try again at once.
	if before.State != failed || !p.w.Doc.State().Terminal() {
		if err := p.set(ctx, location, replica{State: replicating, Progress: start, Moved: before.Moved}); err != nil {
			return err
		}
	}
	moved, err := p.Regions.Replicate(ctx, location, p.st.Image.Digest, func(percent int) {
		p.report(ctx, location, start+percent*(100-start)/100)
	})
	if err != nil {
		return err
	}
	return p.set(ctx, location, replica{State: completed, Progress: 100, Moved: max(moved, before.Moved)})
}

func (p *publication) succeed(ctx context.Context) error {
	if p.w.Doc.State().Terminal() {
		return nil
	}
	return p.update(ctx, func(d *provider.Draft) {
		const published = "properties.publishingProfile.publishedDate"
		if _, there := arm.Get(d.Doc.Body, published); !there {
			d.Set(published, p.w.Now())
		}
		d.Succeed()
	})
}

// withdraw removes the replicas in regions that are no targets any more. Where
// machines still run from one it waits for them: new ones cannot be created there, old
// ones go on.
func (p *publication) withdraw(ctx context.Context) (again time.Duration, err error) {
	for _, location := range slices.Sorted(maps.Keys(p.st.Regions)) {
		if p.body.targeted(location) {
			continue
		}
		waiting, err := p.giveUp(ctx, location)
		if err != nil {
			return 0, err
		}
		if waiting {
			again = retryInUse
			continue
		}
		delete(p.st.Regions, location)
		if err := p.update(ctx, func(*provider.Draft) {}); err != nil {
			return 0, err
		}
	}
	return again, nil
}

// giveUp removes one replica, or leaves it to whoever else needs it; waiting
// means that machines of this very version do.
func (p *publication) giveUp(ctx context.Context, location string) (waiting bool, err error) {
	if p.st.Image == nil {
		return false, nil
	}
	err = p.Regions.Remove(ctx, location, p.st.Image.Digest, func(ctx context.Context) (in []string, err error) {
		err = p.w.Store.View(ctx, func(tx store.ReadTx) (err error) {
			in, err = namedBy(tx, p.w.ID, p.st.Image.Digest, location)
			return err
		})
		return in, err
	})
	if !errors.Is(err, ErrInUse) {
		return false, err
	}
	in, err := p.users(ctx, location)
	return len(in) > 0, err
}

func (p *publication) users(ctx context.Context, location string) (in []string, err error) {
	err = p.w.Store.View(ctx, func(tx store.ReadTx) (err error) {
		in, err = users(tx, p.w.ID, location)
		return err
	})
	return in, err
}

// remove ends a delete. A machine that was created between the check and now keeps
// its disk: the version waits for it.
func (p *publication) remove(ctx context.Context) (time.Duration, error) {
	in, err := p.users(ctx, "")
	if err != nil {
		return 0, err
	}
	if len(in) > 0 {
		p.Log.WarnContext(ctx, "a version that is being deleted got a user; waiting", "version", p.w.Doc.ID, "users", in)
		return retryInUse, nil
	}
	for _, location := range slices.Sorted(maps.Keys(p.st.Regions)) {
		if waiting, err := p.giveUp(ctx, location); err != nil || waiting {
			return retryInUse, err
		}
	}
	return 0, p.w.Remove(ctx)
}

func (p *publication) region(location string) replica {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.st.Regions[location]
}

// set records the state of a region; nothing is written when it is that already.
func (p *publication) set(ctx context.Context, location string, r replica) error {
	p.mu.Lock()
	p.st.Regions[location] = r
	p.mu.Unlock()
	return p.update(ctx, func(*provider.Draft) {})
}

// report records progress in steps that are worth a write. A failure to do so is
// found by the next write that matters.
func (p *publication) report(ctx context.Context, location string, percent int) {
	const step = 10
	r := p.region(location)
	if percent/step > r.Progress/step && r.State == replicating {
		r.Progress = percent
		_ = p.set(ctx, location, r)
		p.mu.Lock()
		p.lost = nil
		p.mu.Unlock()
	}
}

// interrupted: what was done last says nothing about the image, because the process
// stops, the version is being deleted, or the store did not take a record.
func (p *publication) interrupted(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(context.Cause(ctx), p.lost)
}

// update writes the state, and whatever else change does, in one transaction.
func (p *publication) update(ctx context.Context, change func(*provider.Draft)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lost = p.w.Update(ctx, func(d *provider.Draft) {
		d.SetPrivate(p.st)
		change(d)
	})
	return p.lost
}
