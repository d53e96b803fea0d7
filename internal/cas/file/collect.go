package file

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"hallmark.dev/hallmark/internal/cas"
)

// Collect implements cas.Collector. It may be killed at any point: a pack is
// removed only after what is used of it is durable in another.
func (s *Store) Collect(ctx context.Context, roots cas.Roots, rule cas.Retention) (cas.Collected, error) {
	s.collecting.Lock()
	defer s.collecting.Unlock()
	s.watch()
	defer s.unwatch()
	live, err := s.mark(ctx, roots)
	if err != nil {
		return cas.Collected{}, fmt.Errorf("collect in chunk store %s: nothing was removed: %w", s.dir, err)
	}
	var done cas.Collected
	for number, content := range s.contents() {
		if err = ctx.Err(); err == nil {
			err = s.collectPack(number, content, live, rule, &done)
		}
		if err != nil {
			err = fmt.Errorf("collect in chunk store %s: %w", s.dir, err)
			break
		}
	}
	return done, errors.Join(err, syncDir(filepath.Join(s.dir, packsDir)))
}

// watch keeps what open batches have touched, and what any touches from now on.
// That a batch closes does not release it: its image may have become a root
// after the roots were read.
func (s *Store) watch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = map[cas.ID]struct{}{}
	for b := range s.batches {
		maps.Copy(s.kept, b.touched)
	}
}

func (s *Store) unwatch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = nil
}

// mark returns every chunk, manifests included, that the roots use.
func (s *Store) mark(ctx context.Context, roots cas.Roots) (map[cas.ID]struct{}, error) {
	digests, err := roots(ctx)
	if err != nil {
		return nil, err
	}
	live := map[cas.ID]struct{}{}
	for _, digest := range digests {
		m, err := cas.LoadManifest(ctx, s, digest)
		if err != nil {
			return nil, err
		}
		live[cas.ID(digest)] = struct{}{}
		for _, e := range m.Extents {
			live[e.ID] = struct{}{}
		}
	}
	return live, nil
}

// contents lists what each pack is read for. Only a collection changes that of
// a pack that exists, so the lists stay right while it runs. A chunk that is in
// two packs is listed in the one that the index names.
func (s *Store) contents() map[uint32][]record {
	s.mu.Lock()
	defer s.mu.Unlock()
	lists := make(map[uint32][]record, len(s.packs))
	for number := range s.packs {
		lists[number] = nil
	}
	for id, at := range s.index {
		lists[at.pack] = append(lists[at.pack], record{id, at.offset, at.stored, at.plain})
	}
	return lists
}

// collectPack removes what is unused of one pack, if the rule allows.
func (s *Store) collectPack(number uint32, content []record, live map[cas.ID]struct{}, rule cas.Retention, done *cas.Collected) error {
	s.mu.Lock()
	p := s.packs[number]
	used, unused := s.sortOut(content, live)
	s.mu.Unlock()
	done.LiveChunks += len(used)
	waste := wasted(p.bytes, used)
	if waste <= 0 || len(used) > 0 && float64(waste) <= rule.Waste*float64(p.bytes) || s.tooNew(p.name, rule) {
		done.WastedBytes += max(waste, 0)
		return nil
	}
	freed, err := s.replace(number, used, unused)
	if freed {
		done.RemovedChunks += len(unused)
		done.FreedBytes += waste
	}
	return err
}

// sortOut parts a pack's records by whether anything uses them; s.mu is held.
func (s *Store) sortOut(content []record, live map[cas.ID]struct{}) (used, unused []record) {
	for _, r := range content {
		_, isLive := live[r.id]
		_, isKept := s.kept[r.id]
		if isLive || isKept {
			used = append(used, r)
		} else {
			unused = append(unused, r)
		}
	}
	slices.SortFunc(used, func(a, b record) int { return cmp.Compare(a.offset, b.offset) })
	return used, unused
}

// wasted returns the bytes of a pack that a rewritten one would not have.
func wasted(size int64, used []record) int64 {
	if len(used) == 0 {
		return size
	}
	need := int64(len(packMagic) + trailerSize)
	for _, r := range used {
		need += int64(r.stored) + recordSize
	}
	return size - need
}

func (s *Store) tooNew(name string, rule cas.Retention) bool {
	if rule.WrittenBefore.IsZero() {
		return false
	}
	info, err := os.Stat(s.packPath(name))
	return err != nil || !info.ModTime().Before(rule.WrittenBefore)
}

// replace puts a pack with only the used records in place of another. It backs
// out (false) when a batch has touched one of the unused meanwhile.
func (s *Store) replace(number uint32, used, unused []record) (bool, error) {
	fresh, records, err := s.rewrite(number, used)
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.packPath(s.packs[number].name)
	for _, r := range unused {
		if _, ok := s.kept[r.id]; ok {
			if len(used) > 0 {
				return false, os.Remove(s.packPath(fresh.name))
			}
			return false, nil
		}
	}
	for _, r := range append(used, unused...) {
		delete(s.index, r.id)
	}
	delete(s.packs, number)
	if len(used) > 0 {
		s.add(fresh, records)
	}
	return true, os.Remove(old)
}

// rewrite copies the used records, still compressed, into a new durable pack.
func (s *Store) rewrite(number uint32, used []record) (pack, []record, error) {
	if len(used) == 0 {
		return pack{}, nil, nil
	}
	s.mu.Lock()
	path := s.packPath(s.packs[number].name)
	s.mu.Unlock()
	from, err := os.Open(path)
	if err != nil {
		return pack{}, nil, err
	}
	defer from.Close()
	w, err := createPack(s.dir)
	if err != nil {
		return pack{}, nil, err
	}
	for _, r := range used {
		frame := make([]byte, r.stored)
		if _, err = from.ReadAt(frame, int64(r.offset)); err == nil {
			_, err = w.append(r.id, frame, int(r.plain))
		}
		if err != nil {
			w.discard()
			return pack{}, nil, fmt.Errorf("rewrite pack %s: %w", path, err)
		}
	}
	fresh, err := w.seal(s.dir)
	return fresh, w.records, err
}
